"""Whether a training that is still under way is as good as stable: nothing that follows is likely to change that.

What is asked was chosen on the recorded trainings of `benchmarks/detectors/traces`; a study that uses it lets a share
of such trainings run on, and its report says how often the label was wrong.
"""

import statistics
from collections.abc import Sequence

from pydantic import Field

from slr_models.spec import Spec
from sweep.records import EvalRecord, StepRecord, is_finite
from sweep.wording import number

LATEST = 20
"""Steps that are looked at: their losses, and whether the learning rate still rises."""
_NEAR_BEST = 1.5
"""Multiple of the lowest such level so far that the latest one may have: a training on its way up is not settled."""


class ForegoneConfig(Spec):
    """Ends trainings that only tell where the boundary lies as soon as their label is as good as certain."""

    after_rate: float = Field(0.2, gt=0, lt=1)
    """Share of a training's steps before which nothing is foregone."""
    below: float = Field(0.8, gt=0, le=1)
    """Multiple of the loss that a stable training has to end below (`monitor.stable_below` times the zero-information
    loss), under which both the training loss and the validation loss have to be."""


def foregone(
    config: ForegoneConfig,
    steps: Sequence[StepRecord],
    last: EvalRecord,
    *,
    bound: float,
    max_steps: int,
) -> str | None:
    """Why a training is as good as stable at an evaluation; None where it is not.

    It is where it is past `after_rate` and past the rise of its learning rate, its latest losses are finite, near the
    lowest that they have been and clearly below the bound, and so is its validation loss.

    Args:
        config: what is asked.
        steps: all steps so far, without an alarm among them.
        last: the evaluation.
        bound: loss that a stable training ends below, nats a label.
        max_steps: how many steps the training has.
    """
    num = len(steps)
    if num < max(config.after_rate * max_steps, 2 * LATEST) or last.step >= max_steps:
        return None
    rates = [record.lr for record in steps[-LATEST:] if record.lr is not None]
    if not rates or rates[-1] > rates[0]:
        return None
    losses = [record.loss for record in steps]
    latest = losses[-LATEST:]
    if not all(map(is_finite, latest)) or not is_finite(last.val_loss):
        return None
    level = statistics.median(loss for loss in latest if loss is not None)
    if max(level, last.val_loss) >= config.below * bound or level > _NEAR_BEST * _lowest(losses):
        return None
    return (
        f"as good as stable after step {last.step} of {max_steps}, where it was ended: the loss was at {number(level)} "
        f"and the validation loss at {number(last.val_loss)}, past the highest learning rate; stable asks for less "
        f"than {number(bound)}"
    )


def _lowest(losses: Sequence[float | None]) -> float:
    """The lowest median of LATEST losses in a row, looked at every half of that."""
    windows = (losses[k - LATEST : k] for k in range(len(losses), LATEST - 1, -LATEST // 2))
    return min(statistics.median(loss for loss in window if is_finite(loss)) for window in windows if _known(window))


def _known(window: Sequence[float | None]) -> bool:
    return any(map(is_finite, window))
