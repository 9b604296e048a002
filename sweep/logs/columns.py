"""Which column of a log means what: one table of spellings for all formats.

| field            | unit and meaning                          | other spellings that are understood          |
|------------------|-------------------------------------------|----------------------------------------------|
| loss             | nats a label                              | train_loss, training_loss, batch_loss, ...   |
| grad_norm        | before clipping, of unscaled gradients    | gradient_norm, gnorm, total_norm, ...        |
| loss_scale       | in force at the step                      | scale, grad_scale, scaler, ...               |
| applied          | whether the weights were updated          | stepped; reversed: skipped, overflow, ...    |
| skip_reason      | calibration, nonfinite, threshold, ...    | reason                                       |
| step             | number of the update                      | global_step, iteration, batch, ...           |
| lr               | learning rate                             | learning_rate                                |
| blank_rate       | share of blank frames                     | blank_ratio, blank_fraction, ...             |
| input_dependence | nats                                      | mutual_information                           |
| params_finite    | whether all weights are finite            | weights_finite                               |
| num_infeasible   | targets of the step that CTC cannot align | infeasible                                   |

A name counts in any case and with any separators ("Train/Loss", "grad-norm", "lossScale"), and with a prefix such as
"train/" or "metrics/". The exact name comes first, then the others in the order of the table.
"""

import re
from collections.abc import Iterable

SPELLINGS: dict[str, tuple[str, ...]] = {
    "loss": (
        "loss",
        "train_loss",
        "training_loss",
        "loss_train",
        "ctc_loss",
        "loss_ctc",
        "train_loss_step",
        "loss_step",
        "step_loss",
        "batch_loss",
        "total_loss",
        "lm_loss",
        "mean_loss",
        "avg_loss",
        "average_loss",
        "running_loss",
        "train_loss_epoch",
        "loss_epoch",
        "epoch_loss",
    ),
    "grad_norm": (
        "grad_norm",
        "gradient_norm",
        "gradnorm",
        "grad_norms",
        "gnorm",
        "grad_l2_norm",
        "grad_2_0_norm_total",
        "grad_norm_total",
        "total_grad_norm",
        "global_grad_norm",
        "l2_norm_grad_global",
        "grad_global_norm",
        "global_norm",
        "total_norm",
        "norm_grad",
        "gradient",
        "gradients",
        "grad",
    ),
    "loss_scale": (
        "loss_scale",
        "scale",
        "grad_scale",
        "scaler_scale",
        "amp_scale",
        "fp16_scale",
        "loss_scaler",
        "scaler",
        "lossscale",
    ),
    "applied": ("applied", "stepped", "step_applied", "update_applied", "optimizer_stepped"),
    "skipped": ("skipped", "skip", "step_skipped", "skipped_step", "is_skipped", "overflow", "found_inf"),
    "skip_reason": ("skip_reason", "reason"),
    "step": (
        "step",
        "global_step",
        "steps",
        "num_steps",
        "iteration",
        "iterations",
        "iter",
        "it",
        "num_updates",
        "update",
        "batch",
        "batch_idx",
        "batch_index",
        "mini_batch",
    ),
    "lr": ("lr", "learning_rate"),
    "blank_rate": ("blank_rate", "blank_ratio", "blank_fraction", "blank_frac", "blank_share"),
    "input_dependence": ("input_dependence", "mutual_information", "mutual_info"),
    "params_finite": ("params_finite", "parameters_finite", "weights_finite"),
    "num_infeasible": ("num_infeasible", "infeasible", "n_infeasible", "infeasible_targets"),
}
"""Field -> its spellings, best first. `skipped` is `applied` reversed."""

_PREFIXES = (
    "train_",
    "training_",
    "trainer_",
    "metrics_",
    "optim_",
    "optimizer_",
    "debug_",
    "amp_",
    "log_",
    "scalars_",
)

_RANK = {name: (field, rank) for field, names in SPELLINGS.items() for rank, name in enumerate(names, start=1)}
_PREFIX_RANK = 100
"""A name with a prefix comes after all without one."""


def normal_form(name: str) -> str:
    """Lower case, words joined by one underscore: "Train/gradNorm" -> "train_grad_norm"."""
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name)
    return re.sub(r"[^a-z0-9]+", "_", words.lower()).strip("_")


def field_of(name: str) -> tuple[str, int] | None:
    """The field that a column of this name holds, and its rank among that field's spellings; None for any other."""
    if name in SPELLINGS:
        return name, 0
    normal = normal_form(name)
    if normal in _RANK:
        return _RANK[normal]
    for prefix in _PREFIXES:
        known = _RANK.get(normal.removeprefix(prefix)) if normal.startswith(prefix) else None
        if known is not None:
            return known[0], known[1] + _PREFIX_RANK
    return None


def candidates(names: Iterable[str]) -> dict[str, list[str]]:
    """Field -> the columns that may hold it, best first."""
    ranked: dict[str, list[tuple[int, str]]] = {}
    for name in names:
        if (known := field_of(name)) is not None:
            ranked.setdefault(known[0], []).append((known[1], name))
    return {field: [name for _, name in sorted(found)] for field, found in ranked.items()}
