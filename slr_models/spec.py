"""Spec: the frozen base of every configuration object."""

from typing import Literal

from pydantic import BaseModel, ConfigDict


class Spec(BaseModel):
    """A typed, immutable configuration.

    Unknown keys are errors, so a misspelled setting can never be silently ignored. NaN and infinity are
    rejected: no setting means anything with them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)


OutputNormalization = Literal["once", "log_softmax_twice", "softmax_then_log_softmax"]
"""What turns a model's raw scores into log-probabilities; the last step is always the loss's own log_softmax."""
