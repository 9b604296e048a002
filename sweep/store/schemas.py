"""The Parquet schemas of a results folder."""

from enum import StrEnum
from types import NoneType
from typing import Any, get_args

import pyarrow as pa

from sweep.records import TrialResult

SCHEMA_VERSION = "1"
STEP_SCHEMA_VERSION = "2"
"""Since 2 a number of a step that was not logged is null, and a NaN is one that was; before, both were NaN."""


STEP_SCHEMA = pa.schema(
    [
        ("step", pa.int32()),
        ("loss", pa.float32()),
        ("grad_norm", pa.float32()),
        ("loss_scale", pa.float32()),
        ("applied", pa.bool_()),
        ("skip_reason", pa.string()),
        ("lr", pa.float32()),
        ("num_samples", pa.int32()),
        ("num_infeasible", pa.int32()),
        ("time_s", pa.float32()),
        ("blank_rate", pa.float32()),
        ("input_dependence", pa.float32()),
        ("params_finite", pa.bool_()),
    ],
    metadata={"schema_version": STEP_SCHEMA_VERSION},
)


EVAL_SCHEMA = pa.schema(
    [
        ("step", pa.int32()),
        ("val_loss", pa.float64()),
        ("wer", pa.float64()),
        ("substitutions", pa.int64()),
        ("deletions", pa.int64()),
        ("insertions", pa.int64()),
        ("num_labels", pa.int64()),
        ("blank_rate", pa.float64()),
        ("input_dependence", pa.float64()),
        ("time_s", pa.float64()),
        ("score", pa.float64()),
        ("wer_raw", pa.float64()),
    ],
    metadata={"schema_version": SCHEMA_VERSION},
)


HEALTH_SCHEMA = pa.schema(
    [
        ("step", pa.int32()),
        ("metric", pa.dictionary(pa.int32(), pa.string())),
        ("path", pa.dictionary(pa.int32(), pa.string())),
        ("value", pa.float32()),
    ],
    metadata={"schema_version": SCHEMA_VERSION},
)


def _arrow(kind: Any) -> pa.DataType:
    """How a column holds values of a type; any of them may be missing."""
    (known,) = [one for one in get_args(kind) or (kind,) if one is not NoneType]
    return pa.string() if issubclass(known, StrEnum) else _ARROW[known]


_ARROW = {str: pa.string(), bool: pa.bool_(), int: pa.int64(), float: pa.float64()}

TRIAL_SCHEMA = pa.schema(
    [(name, _arrow(kind)) for name, kind in TrialResult.columns().items()],
    metadata={"schema_version": SCHEMA_VERSION},
)
"""The fixed columns; a column a searched setting follows, named by its dotted path."""


MAP_SCHEMA = pa.schema(
    [(name, pa.float64()) for name in ("p_stable", "p_break", "p_learn")], metadata={"schema_version": SCHEMA_VERSION}
)
"""The fixed columns; `level` (the value of the setting that panels are split by) and the two axes stand beside it."""


EDGE_SCHEMA = pa.schema(
    [
        ("along", pa.string()),
        ("boundary", pa.string()),
        ("side", pa.string()),
        ("value", pa.float64()),
        ("inner", pa.float64()),
        ("outer", pa.float64()),
        ("width", pa.float64()),
        ("always", pa.string()),
        ("num_near", pa.int64()),
        ("stable_decades", pa.float64()),
    ],
    metadata={"schema_version": SCHEMA_VERSION},
)
"""The fixed columns; a column a setting of the slice stands beside them, named by its dotted path."""
