"""What really became of a recorded training, judged by its whole course: the one definition of truth.

No rule that watches a training while it runs can see what is used here: the end, the validation loss after it, and
medians that are centred on their step. Per label in nats; `L` is the zero-information loss `l_const`.

| truth     | definition                                                                                        |
|-----------|---------------------------------------------------------------------------------------------------|
| nonfinite | loss, gradient or weights are not finite in most of the last 20 steps                             |
| healthy   | the validation loss and the end level are below 0.95 L, the end level is below 1.5 times the best |
|           | level, and at most half of the steps after calibration were skipped                               |
| skips     | nothing learned, and most steps after calibration were skipped                                    |
| loss      | nothing learned, and the end level is 1.5 times the best level or more; or 1.15 times, where the  |
|           | best was below 0.9 L (learned and lost)                                                           |
| nothing   | nothing learned otherwise                                                                         |
| doubtful  | everything else: such trainings are counted, and nothing else is said about them                  |

"Nothing learned" means that the validation loss and the end level are both 0.98 L or more. The level is a centred
median of 11 finite losses, the end level the median of the last tenth of them (20 at least).

Onset: the first step after the last at which all was well. For `nonfinite` well means finite, and a loss (median of
three) of at most four times the best until then; for `loss` a level below 1.5 times the best, or
below the geometric middle of best and end if that is less; for `skips` the onset is the first skipped step from which
on most steps are skipped; for `nothing` step 1.
"""

import math
from enum import StrEnum
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]


class Truth(StrEnum):
    """What became of a training. `SCALER` exists among injected faults only."""

    HEALTHY = "healthy"
    NONFINITE = "nonfinite"
    SCALER = "scaler"
    LOSS = "loss"
    SKIPS = "skips"
    NOTHING = "nothing"
    DOUBTFUL = "doubtful"

    @property
    def is_bad(self) -> bool:
        """Whether the training should have been stopped."""
        return self not in (Truth.HEALTHY, Truth.DOUBTFUL)


def judge(steps: pd.DataFrame, l_const: float, val_loss: float) -> tuple[Truth, int | None]:
    """The truth about a training and its onset (1-based step; None where nothing went wrong).

    `steps` has the columns of a results folder's step table, one row a step, to the planned end; `val_loss` is that of
    the last evaluation.
    """
    number = steps["step"].to_numpy()
    loss = steps["loss"].to_numpy(dtype=np.float64)
    finite = np.isfinite(loss)
    # A NaN norm means unknown unless norms were recorded.
    norm = steps["grad_norm"].to_numpy(dtype=np.float64)
    sound = finite & (np.isfinite(norm) | np.isnan(norm).all()) & steps["params_finite"].to_numpy(dtype=bool)
    if np.mean(~sound[-20:]) > 0.5:
        return Truth.NONFINITE, _onset(number, sound & ~_has_exploded(loss))
    level = _centred_level(loss)
    best, end = float(np.nanmin(level)), end_level(loss)
    skip_rates = _later_skip_rates(steps["applied"].to_numpy(dtype=bool))
    is_starved = bool(len(skip_rates)) and float(skip_rates[0]) > 0.5
    if val_loss < 0.95 * l_const and end < 0.95 * l_const:
        is_sound = end < 1.5 * best and not is_starved
        return (Truth.HEALTHY, None) if is_sound else (Truth.DOUBTFUL, None)
    # Written so that a NaN validation loss counts as nothing learned.
    if val_loss < 0.98 * l_const or end < 0.98 * l_const:
        return Truth.DOUBTFUL, None
    if is_starved:
        skipped = ~steps["applied"].to_numpy(dtype=bool)[-len(skip_rates) :]
        return Truth.SKIPS, int(number[-len(skip_rates) :][np.argmax(skipped & (skip_rates > 0.5))])
    if end >= 1.5 * best or (best < 0.9 * l_const and end >= 1.15 * best):
        return Truth.LOSS, _onset(number, level < min(1.5 * best, math.sqrt(best * end)))
    return Truth.NOTHING, int(number[0])


def lost_share(loss: Floats, l_const: float, val_loss: float) -> float:
    """How much of a failure a training is, from 0 (kept all that it learned) to 1 (ends as if it never had)."""
    if not np.isfinite(loss).any():
        return 1.0
    best, end = float(np.nanmin(_centred_level(loss))), end_level(loss)
    lost = (end - best) / (l_const - best) if best < l_const else 1.0
    # A NaN validation loss counts as nothing learned.
    unlearned = 1.0 if math.isnan(val_loss) else (max(end, val_loss) / l_const - 0.95) / (0.98 - 0.95)
    return min(max(lost, unlearned, 0.0), 1.0)


def ends_above_start(loss: Floats) -> bool:
    """Whether the end level lies above the median of the first five finite losses."""
    known = loss[np.isfinite(loss)]
    return bool(len(known)) and end_level(loss) > float(np.median(known[:5]))


def _centred_level(loss: Floats) -> Floats:
    series = pd.Series(np.where(np.isfinite(loss), loss, np.nan))
    return series.rolling(11, center=True, min_periods=1).median().to_numpy()


def end_level(loss: Floats) -> float:
    """Median of the last tenth of the finite losses: 20 at least, but of a short log its last quarter."""
    known = loss[np.isfinite(loss)]
    return float(np.median(known[-max(min(20, len(known) // 4), len(known) // 10, 1) :]))


def _has_exploded(loss: Floats) -> Flags:
    """Steps whose loss is more than four times the best until then; False where it is not finite."""
    level: Any = pd.Series(np.where(np.isfinite(loss), loss, np.nan)).rolling(3, center=True, min_periods=1).median()
    exploded: Flags = (level > 4 * level.cummin()).to_numpy()
    return exploded


def _later_skip_rates(applied: Flags) -> Floats:
    """At each step after the first applied one: the share of skipped steps from there to the end."""
    first = int(np.argmax(applied)) if applied.any() else 0
    skipped = ~applied[first:]
    rates: Floats = np.cumsum(skipped[::-1])[::-1] / np.arange(len(skipped), 0, -1)
    return rates


def _onset(number: npt.NDArray[Any], well: Flags) -> int:
    last_well = np.flatnonzero(well)
    return int(number[min(last_well[-1] + 1, len(number) - 1)]) if len(last_well) else int(number[0])
