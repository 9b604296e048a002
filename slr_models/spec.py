"""Spec: the frozen base of every configuration object."""

from pydantic import BaseModel, ConfigDict


class Spec(BaseModel):
    """A typed, immutable configuration.

    Unknown keys are errors, so a misspelled setting can never be silently ignored. NaN and infinity are
    rejected: no setting means anything with them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)
