"""What a finished training is worth to a search: a finite number, and a distance from instability."""

import math
from typing import Literal

Metric = Literal["wer", "val_loss"]

STABLE_CAP = 2.0
"""No stable training is worth more (worse) than this."""


def objective(
    metric: Metric, *, stable: bool, wer: float, val_loss: float, l_const: float, survived_rate: float
) -> float:
    """The value to minimize; always finite, and every unstable training is worse than every stable one.

    A stable training is worth its WER, or its validation loss relative to `l_const`, capped at STABLE_CAP.
    An unstable one lies in (2, 3]: the earlier it ended, the worse.

    Args:
        metric: what a stable training is judged by.
        stable: the verdict.
        wer: word error rate, may exceed 1.
        val_loss: nats a label.
        l_const: the zero-information loss, nats a label.
        survived_rate: share of its budget that the training lived through, in [0, 1].
    """
    if stable:
        value = wer if metric == "wer" else val_loss / l_const
        return STABLE_CAP if math.isnan(value) else min(value, STABLE_CAP)
    return STABLE_CAP + 0.1 + 0.9 * (1.0 - min(max(survived_rate, 0.0), 1.0))


def margin(*, stable: bool, stopped: bool, end_loss: float, l_const: float, survived_rate: float) -> float:
    """Signed distance from instability in [-1, 1]; negative is stable.

    A training that ran to its end lies at `log10(end_loss / (1.05 l_const))`; one that was stopped at
    `0.3 + 0.7 (1 - survived_rate)`. The sign always agrees with the verdict.

    Args:
        stable: the verdict.
        stopped: whether the training was stopped early.
        end_loss: median training loss of the last steps, nats a label; may be NaN or infinite.
        l_const: the zero-information loss, nats a label.
        survived_rate: share of its budget that the training lived through, in [0, 1].
    """
    if stopped:
        return 0.3 + 0.7 * (1.0 - min(max(survived_rate, 0.0), 1.0))
    if not math.isfinite(end_loss):
        return 1.0
    distance = min(max(math.log10(max(end_loss, 1e-12) / (1.05 * l_const)), -1.0), 1.0)
    return min(distance, -0.01) if stable else max(distance, 0.01)
