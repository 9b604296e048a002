"""The Parquet schemas of a results folder."""

import pyarrow as pa

SCHEMA_VERSION = "1"


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
    metadata={"schema_version": SCHEMA_VERSION},
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


TRIAL_SCHEMA = pa.schema(
    [
        ("trial_id", pa.string()),
        ("number", pa.int64()),
        ("group", pa.int64()),
        ("seed", pa.int64()),
        ("phase", pa.string()),
        ("block", pa.int64()),
        ("cell", pa.string()),
        ("verdict", pa.string()),
        ("stable", pa.bool_()),
        ("cause", pa.string()),
        ("reason", pa.string()),
        ("audited", pa.bool_()),
        ("alarm", pa.string()),
        ("stop_step", pa.int64()),
        ("num_steps", pa.int64()),
        ("max_steps", pa.int64()),
        ("objective", pa.float64()),
        ("margin", pa.float64()),
        ("final_train_loss", pa.float64()),
        ("val_loss", pa.float64()),
        ("best_val_loss", pa.float64()),
        ("wer", pa.float64()),
        ("best_wer", pa.float64()),
        ("l_const", pa.float64()),
        ("l_unif", pa.float64()),
        ("applied_update_rate", pa.float64()),
        ("skipped_calibration", pa.int64()),
        ("skipped_nonfinite", pa.int64()),
        ("skipped_threshold", pa.int64()),
        ("skipped_infeasible", pa.int64()),
        ("wall_s", pa.float64()),
        ("cpu_s", pa.float64()),
        ("forensics_s", pa.float64()),
        ("step_time_s", pa.float64()),
        ("peak_memory_mib", pa.float64()),
        ("precision_implementation", pa.string()),
        ("settings_changed_at_step", pa.int64()),
    ],
    metadata={"schema_version": SCHEMA_VERSION},
)
"""The fixed columns; a column a searched setting follows, named by its dotted path."""


MAP_SCHEMA = pa.schema([("p_stable", pa.float64())], metadata={"schema_version": SCHEMA_VERSION})
"""The fixed column; `level` (the value of the setting that panels are split by) and the two axes stand beside it."""


EDGE_SCHEMA = pa.schema(
    [
        ("along", pa.string()),
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
