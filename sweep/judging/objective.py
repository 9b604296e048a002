"""What a finished training is worth to a search: a finite number, and a distance from instability."""

import math

from sweep.records import Metric

STABLE_CAP = 2.0
"""No stable training is worth more (worse) than this."""
USUAL_STABLE_BELOW = 0.95
"""Multiple of the zero-information loss below which a stable training ends, unless another is given."""
NEVER_STABLE = 1.05 / USUAL_STABLE_BELOW
"""Multiple of that bound where the distance is 0: noise of the last losses does not carry a stable training there."""
UNSTABLE_INTERIM = 3.0
"""What an evaluation is worth whose loss is not finite: as an unstable training that ended at once."""


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
        l_const: the zero-information loss, nats a label; if unknown (not finite and positive), no validation
            loss is worth less than STABLE_CAP.
        survived_rate: share of its budget that the training lived through, in [0, 1]; NaN counts as 0.
    """
    if not stable:
        return STABLE_CAP + 0.1 + 0.9 * _lost_rate(survived_rate)
    if metric == "wer":
        value = wer
    else:
        value = val_loss / l_const if _is_positive(l_const) else math.nan
    return STABLE_CAP if math.isnan(value) else min(max(value, 0.0), STABLE_CAP)


def own_objective(score: float, *, stable: bool, survived_rate: float = 1.0) -> float:
    """As `objective`, of a score of the user's own: any number, of which nobody knows the scale.

    A stable training is worth `1 + s / (1 + |s|)` with `s` the score, which lies in (0, 2) and keeps the order;
    STABLE_CAP where that is not finite.

    Args:
        score: smaller is better.
        stable: the verdict.
        survived_rate: share of its budget that the training lived through, in [0, 1]; NaN counts as 0.
    """
    if not stable:
        return STABLE_CAP + 0.1 + 0.9 * _lost_rate(survived_rate)
    if not math.isfinite(score):
        return STABLE_CAP
    return 1.0 + score / (1.0 + abs(score))


def interim(metric: Metric, *, wer: float, val_loss: float, l_const: float) -> float:
    """What a scheduler hears of an evaluation: as `objective` for a stable training; always finite.

    One whose validation loss is not finite lies above every other (UNSTABLE_INTERIM), also where the WER is the metric:
    a model whose weights are NaN still has a WER. A comparison with NaN would never end such a training.
    """
    if not math.isfinite(val_loss):
        return UNSTABLE_INTERIM
    return objective(metric, stable=True, wer=wer, val_loss=val_loss, l_const=l_const, survived_rate=1.0)


def margin(
    *,
    stable: bool,
    stopped: bool,
    end_loss: float,
    l_const: float,
    survived_rate: float,
    stable_below: float = USUAL_STABLE_BELOW,
) -> float:
    """Signed distance from instability in [-1, 1]; negative is stable.

    A training that ran to its end lies at `log10(end_loss / (NEVER_STABLE stable_below l_const))`; one that was
    stopped, and is not stable, at `0.3 + 0.7 (1 - survived_rate)`. The sign always agrees with the verdict: where the
    distance does not, or cannot be known, it is 0.01, the smallest that has a sign.

    Args:
        stable: the verdict.
        stopped: whether the training was stopped early.
        end_loss: median training loss of the last steps, nats a label; may be NaN or infinite.
        l_const: the zero-information loss, nats a label; unknown unless finite and positive.
        survived_rate: share of its budget that the training lived through, in [0, 1]; NaN counts as 0.
        stable_below: multiple of `l_const` below which a training has to end to be called stable.
    """
    if stopped and not stable:
        return 0.3 + 0.7 * _lost_rate(survived_rate)
    if not math.isfinite(end_loss):
        distance = 0.0 if stable else 1.0
    elif not _is_positive(l_const):
        distance = 0.0
    else:
        # The difference of logarithms cannot overflow as the quotient can.
        distance = math.log10(max(end_loss, 1e-12)) - math.log10(l_const) - math.log10(NEVER_STABLE * stable_below)
    return max(min(distance, -0.01), -1.0) if stable else min(max(distance, 0.01), 1.0)


def _lost_rate(survived_rate: float) -> float:
    """Share of the budget that an ended training did not live through, in [0, 1]."""
    return 1.0 if math.isnan(survived_rate) else 1.0 - min(max(survived_rate, 0.0), 1.0)


def _is_positive(loss: float) -> bool:
    return math.isfinite(loss) and loss > 0
