"""Spec: the frozen base of every configuration object."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

MAX_WHOLE = 2**53
"""Larger whole numbers are not told apart once something has them as real numbers."""
MAX_SIZE = 1e100
"""Of a real number: products and powers of two such stay finite."""


def _with_true_numbers(schema: Any, *, in_union: bool = False) -> Any:
    """A schema whose numbers are made of numbers alone, none of which is beyond all that a setting can mean.

    pydantic's own strict mode would refuse lists for tuples too, which is how YAML has them.
    """
    if isinstance(schema, list | tuple):
        return type(schema)(_with_true_numbers(part, in_union=in_union) for part in schema)
    if not isinstance(schema, dict):
        return schema
    kind = schema.get("type")
    if kind not in ("int", "float"):
        return {key: _with_true_numbers(value, in_union=kind == "union") for key, value in schema.items()}
    strict: Any = {**schema, "strict": True}
    if in_union:
        return strict
    largest = MAX_WHOLE if kind == "int" else MAX_SIZE
    strict = {"ge": -largest, "le": largest, **strict} if "lt" not in strict else strict
    # Of int | float, 1e3 is the float.
    return core_schema.no_info_before_validator_function(_whole, strict) if kind == "int" else strict


def _whole(value: Any) -> Any:
    """1e3 as 1000; all else as it is."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


class Spec(BaseModel):
    """A typed, immutable configuration.

    Unknown keys are errors, so a misspelled setting can never be silently ignored. NaN and infinity are
    rejected: no setting means anything with them. A number is one: neither true nor a text such as "9_0" is taken for
    it, while 1e3 is a whole number like 1000. One without limits of its own ends at `MAX_WHOLE` or `MAX_SIZE`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        schema: CoreSchema = _with_true_numbers(handler(source))
        return schema


OutputNormalization = Literal["once", "log_softmax_twice", "softmax_then_log_softmax"]
"""What turns a model's raw scores into log-probabilities; the last step is always the loss's own log_softmax."""
