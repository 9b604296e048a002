"""At which learning rates trainings begin to learn and break: short trainings whose rate rises from step to step.

One such ramp (L. N. Smith, "Cyclical learning rates", 2017, section 3.3) gives a point that depends on its seed and its
batches. Here several are trained, from fresh weights of other seeds, and forked from a training under way, and what is
read of them is told as an interval that a further one falls into. Those from fresh weights have a twin at a rate of 0,
on the same batches, which tells what was learned from how hard the batches are.

A ramp holds each rate for a moment only: a training of hundreds of steps learns at lower rates than its ramp, and it
breaks at lower ones, too. So a range to search has to be wider than the interval: see `RangeTest.to_search`.
"""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from slr_models.data.batch import Dataset
from sweep.records import StepRecord, is_finite
from sweep.training.config import TrialConfig
from sweep.training.optim.schedule import FixedSchedule
from sweep.training.train import Training

LOWEST, HIGHEST = 1e-6, 10.0
"""Between which the rate rises, geometrically."""
MIN_STEPS, MAX_STEPS = 42, 84
"""Of a ramp: six to twelve a decade."""
MAX_RAMPS = 8
_CALM = 1 / 7
"""Of a ramp, its first decade, in which nothing is learned yet: its losses tell the noise of the batches."""
_IN_A_ROW = 3
_TRUNK_STEPS = 40
"""Of the training that ramps are forked from."""
COVERAGE = 0.9
"""Probability that a further ramp falls into an interval."""
MARGIN = 3.0
"""Factor by which a range to search goes beyond what follows from the intervals."""


@dataclass(frozen=True)
class Ramp:
    """What one ramp showed."""

    is_forked: bool
    """Whether it began from a training under way, and not from fresh weights."""
    learns_at: float | None
    """The rate from which on it has learned something; None where it never does, and of a forked one."""
    breaks_at: float | None
    """The rate from which on the loss is lost again; None where it never is."""


@dataclass(frozen=True)
class RateInterval:
    """Where a further ramp would show the same, with a probability of `COVERAGE`."""

    low: float
    high: float
    seen: int
    """Ramps that showed it."""
    ramps: int
    """Ramps that could have."""


@dataclass(frozen=True)
class RangeTest:
    """What all ramps showed."""

    ramps: tuple[Ramp, ...]
    steps: int
    """Of each ramp, at most."""
    step_s: float
    """Median time of a step."""
    grad_norm: float
    """Median gradient norm between learning and breaking; NaN where there is none."""

    @property
    def learns(self) -> RateInterval | None:
        """Where trainings begin to learn; None where fewer than two ramps show it."""
        return interval([ramp.learns_at for ramp in self.ramps if not ramp.is_forked], self.steps)

    @property
    def breaks(self) -> RateInterval | None:
        """Where they break; None where fewer than two ramps show it."""
        return interval([ramp.breaks_at for ramp in self.ramps], self.steps)

    def slower(self, steps: int) -> float:
        """By which factor a training's rate may be lower than a ramp's, and its weights still move as far.

        The rates of a ramp up to r add up to r x (steps a decade) / ln 10; those of a training under a cosine, to half
        of its rate times its steps.

        Args:
            steps: of the training.
        """
        a_decade = self.steps / math.log10(HIGHEST / LOWEST)
        return max(1.0, steps / 2 / (a_decade / math.log(10)))

    def to_search(self, steps: int) -> tuple[float, float] | None:
        """A range of rates that reaches beyond both intervals; None where it is not known where learning begins.

        Args:
            steps: of a training.
        """
        if self.learns is None:
            return None
        low = self.learns.low / (MARGIN * self.slower(steps))
        top = HIGHEST if self.breaks is None else MARGIN * self.breaks.high
        return rounded_down(low), rounded_up(top)


def interval(rates: Sequence[float | None], steps: int) -> RateInterval | None:
    """An interval for the rate of a further ramp: Student's t on the logarithms, no narrower than a step of a ramp.

    Args:
        rates: of the ramps, None where one did not show it.
        steps: of a ramp.
    """
    from scipy.stats import t

    seen = np.log([rate for rate in rates if rate is not None])
    if len(seen) < 2:
        return None
    half = t.ppf((1 + COVERAGE) / 2, len(seen) - 1) * seen.std(ddof=1) * math.sqrt(1 + 1 / len(seen))
    half = max(half, math.log(HIGHEST / LOWEST) / steps)
    return RateInterval(math.exp(seen.mean() - half), math.exp(seen.mean() + half), len(seen), len(rates))


def range_test(
    config: TrialConfig, dataset: Dataset, *, device: torch.device, seconds: float, step_s: float
) -> RangeTest:
    """Trains ramps until their time is over, `MAX_RAMPS` at most: by turns from fresh weights, and forked.

    Args:
        config: what to train; its rate and schedule are those of the ramps.
        dataset: on what.
        device: where.
        seconds: to spend.
        step_s: about how long a step takes.
    """
    ends = time.monotonic() + seconds
    # Every second one has a twin.
    steps = int(min(max((seconds / step_s - _TRUNK_STEPS) / (1.5 * MAX_RAMPS), MIN_STEPS), MAX_STEPS))
    rates = np.geomspace(LOWEST, HIGHEST, steps).tolist()
    ramps, times, norms = list[Ramp](), list[float](), list[float]()
    trunk: dict[str, Any] | None = None
    while len(ramps) < MAX_RAMPS:
        number = len(ramps)
        base = _between(ramps)
        if number >= 2 and base is not None and trunk is None:
            trunk = _trained(_training(config, dataset, [base] * _TRUNK_STEPS, device, seed=0), ends)
        forked = trunk if number % 2 else None
        training = _training(config, dataset, rates, device, seed=number)
        if forked is not None:
            training.load_state_dict({**forked, "step": 0, "last_eval_step": 0})
        records = _records(training, steps, ends)
        if records is None:
            break
        losses = [_loss(record) for record in records]
        breaks = breaks_at_step(losses)
        still: list[StepRecord] | None = []
        if forked is None:
            still = _records(_training(config, dataset, [0.0] * steps, device, seed=number), breaks or steps, ends)
        if still is None:
            break
        learns = learns_at_step(losses[:breaks], [_loss(record) for record in still])
        ramp = Ramp(forked is not None, _rate(rates, learns), _rate(rates, breaks))
        ramps.append(ramp)
        times += [record.time_s for record in records[1:] if is_finite(record.time_s)]
        norms += [record.grad_norm for record in records[learns or 0 : breaks] if is_finite(record.grad_norm)]
    return RangeTest(
        tuple(ramps),
        steps,
        float(np.median(times)) if times else step_s,
        float(np.median(norms)) if norms else math.nan,
    )


def learns_at_step(losses: Sequence[float], still: Sequence[float]) -> int | None:
    """The step of a ramp from which on something has been learned; None where there is none.

    The losses are held against those of the same batches under weights that stay as they began, so that how hard a
    batch is plays no part. Learned is where three in a row lie below by a tenth of the most that is gained, and by
    three times the noise of the first decade, in which nothing is learned yet.

    Args:
        losses: of the steps, as far as none is lost.
        still: of the same steps at a rate of 0; empty where it is not asked.
    """
    calm = max(5, round(_CALM * len(losses)))
    if len(losses) < len(still) or len(still) <= calm:
        return None
    gained = np.array(still) - np.array(losses[: len(still)])
    least = max(0.1 * max(_medians(gained.tolist())), 3 * float(gained[:calm].std(ddof=1)))
    return _first_run([gain > least > 0 for gain in gained.tolist()])


def breaks_at_step(losses: Sequence[float]) -> int | None:
    """The step of a ramp from which on its loss is lost; None where there is none.

    That is where it is not finite, or three in a row lie above its best so far by half of the way to it, four times the
    noise of the first decade, and a fifth of the best.

    Args:
        losses: of the steps; the first decade tells the level that they start from.
    """
    first = np.array(losses[: max(5, round(_CALM * len(losses)))])
    level, noise = float(np.median(first)), float(first.std(ddof=1))
    best, above = level, 0
    for index, loss in enumerate(losses):
        if not math.isfinite(loss):
            return index - above
        best = min(best, float(np.median(losses[max(0, index - _IN_A_ROW + 1) : index + 1])))
        is_above = loss > best + max(0.5 * (level - best), 4 * noise, 0.2 * best)
        above = above + 1 if is_above else 0
        if above == _IN_A_ROW:
            return index - above + 1
    return None


def _medians(losses: Sequence[float]) -> list[float]:
    return [float(np.median(losses[max(0, i - _IN_A_ROW + 1) : i + 1])) for i in range(len(losses))]


def _loss(record: StepRecord) -> float:
    return math.nan if record.loss is None else record.loss


def _rate(rates: Sequence[float], step: int | None) -> float | None:
    return None if step is None else rates[step]


def _first_run(holds: Sequence[bool]) -> int | None:
    """Where several in a row hold for the first time."""
    runs = range(len(holds) - _IN_A_ROW + 1)
    return next((start for start in runs if all(holds[start : start + _IN_A_ROW])), None)


def _between(ramps: Sequence[Ramp]) -> float | None:
    """A rate at which training goes well, by the first ramp that tells; None where none does yet."""
    for ramp in ramps:
        if ramp.learns_at is not None and ramp.breaks_at is not None and ramp.learns_at < ramp.breaks_at:
            return math.sqrt(ramp.learns_at * ramp.breaks_at)
    return None


@dataclass(frozen=True)
class _Given:
    """The configuration of a schedule whose rates are given one by one."""

    rates: Sequence[float]

    def build(self, _base_lr: float, _max_steps: int, _lag_steps: int = 0) -> FixedSchedule:
        return FixedSchedule(lambda step: float(self.rates[min(step, len(self.rates) - 1)]))


def _training(
    config: TrialConfig, dataset: Dataset, rates: Sequence[float], device: torch.device, seed: int
) -> Training:
    num = len(rates)
    change = {"schedule": _Given(rates), "eval_every_steps": 10 * num, "health_every_steps": None}
    training = config.training.model_copy(update=change)
    # Longer than it is trained: no evaluation comes at its end.
    whole = config.model_copy(update={"training": training})
    return Training(whole, dataset, seed=seed, max_steps=2 * num, device=device)


def _records(training: Training, steps: int, ends: float) -> list[StepRecord] | None:
    """The steps of a ramp, up to where its loss is lost for good; None where its time is over before."""
    records: list[StepRecord] = []
    for record in training.records():
        if isinstance(record, StepRecord):
            records.append(record)
        lost = len(records) >= _IN_A_ROW and not any(is_finite(one.loss) for one in records[-_IN_A_ROW:])
        if len(records) == steps or lost:
            return records
        if time.monotonic() > ends:
            return None
    return None


def _trained(training: Training, ends: float) -> dict[str, Any] | None:
    """The state of a training at its end; None where its time is over before."""
    return None if _records(training, _TRUNK_STEPS, ends) is None else training.state_dict()


def rounded_down(value: float) -> float:
    """To one digit."""
    return float(f"{math.floor(_digit(value) + 1e-9) * _ten(value):.0e}")


def rounded_up(value: float) -> float:
    """To one digit."""
    return float(f"{math.ceil(_digit(value) - 1e-9) * _ten(value):.0e}")


def _ten(value: float) -> float:
    return 10.0 ** math.floor(math.log10(value))


def _digit(value: float) -> float:
    return value / _ten(value)
