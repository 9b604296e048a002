"""Seeded traces with known truth: healthy ones with harmless oddities, and the same with injected faults.

Bases are real healthy trainings and synthetic ones. A change works on the columns of a base and says from which step
on it is bad (None: never). Losses are nats a label.
"""

import dataclasses
import math
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from benchmarks.detectors.trace_set import Trace
from benchmarks.detectors.truth import Truth, end_level, lost_share
from sweep.judging.detectors import RunContext
from sweep.records import SkipReason, StepRecord

Floats = npt.NDArray[np.float64]
SAMPLE_EVERY = 5
"""Steps between two samples of blank rate and input dependence."""


@dataclass
class Course:
    """A training as columns, one value a step; changes work in place.

    A NaN was logged where it is a loss or a norm; elsewhere it stands for what nobody logged.
    """

    context: RunContext
    loss: Floats
    grad_norm: Floats
    loss_scale: Floats
    applied: npt.NDArray[np.bool_]
    blank_rate: Floats
    input_dependence: Floats
    params_finite: npt.NDArray[np.bool_]
    reasons: list[SkipReason | None] = field(default_factory=list)
    learns_from: int = 0
    """Step from which a synthetic base learns."""
    logs_norms: bool = True
    first_step: int = 1
    every: int = 1
    """Only every so many steps are logged."""

    @property
    def num_steps(self) -> int:
        """Its length."""
        return len(self.loss)

    def step_of(self, index: int) -> int:
        """The step that a row was logged at."""
        return self.first_step + index * self.every

    def skip(self, index: int, reason: SkipReason) -> None:
        """Makes a step apply no update."""
        self.applied[index] = False
        self.reasons[index] = reason

    def records(self) -> tuple[StepRecord, ...]:
        """As the monitor reads it."""
        return tuple(
            StepRecord(
                step=self.step_of(k),
                loss=float(self.loss[k]),
                grad_norm=float(self.grad_norm[k]) if self.logs_norms else None,
                loss_scale=_logged(self.loss_scale[k]),
                applied=bool(self.applied[k]),
                skip_reason=self.reasons[k],
                num_samples=8,
                blank_rate=_logged(self.blank_rate[k]),
                input_dependence=_logged(self.input_dependence[k]),
                params_finite=bool(self.params_finite[k]),
            )
            for k in range(self.num_steps)
        )


def _logged(value: float) -> float | None:
    return None if math.isnan(value) else float(value)


def _column(values: Iterable[float | None]) -> Floats:
    return np.array([math.nan if value is None else value for value in values])


Change = Callable[[Course, np.random.Generator], int | None]
"""Changes a course; the first bad step (1-based), or None."""


def from_trace(trace: Trace) -> Course:
    """A stored training as columns."""
    records = trace.records
    return Course(
        context=trace.context,
        loss=_column(r.loss for r in records),
        grad_norm=_column(r.grad_norm for r in records),
        loss_scale=_column(r.loss_scale for r in records),
        applied=np.array([r.applied for r in records]),
        blank_rate=_column(r.blank_rate for r in records),
        input_dependence=_column(r.input_dependence for r in records),
        params_finite=np.array([r.params_finite for r in records]),
        reasons=[r.skip_reason for r in records],
        logs_norms=any(r.grad_norm is not None and not math.isnan(r.grad_norm) for r in records),
    )


def synthetic(
    rng: np.random.Generator,
    num_steps: int,
    sigma: float,
    *,
    plateau_rate: float = 0.2,
    final: float = 0.3,
    tail: int | None = None,
    memory: float = 0.0,
) -> Course:
    """A healthy CTC training: falls to the zero-information loss, rests there all blank while I grows, learns.

    Args:
        rng: source of all randomness.
        num_steps: length.
        sigma: noise of one log loss.
        plateau_rate: part of the run after which it learns.
        final: end level as a multiple of the zero-information loss.
        tail: degrees of freedom of Student-t noise; Gaussian if None.
        memory: correlation of the noise with that of the step before.
    """
    l_const, ratio = float(np.exp(rng.uniform(np.log(1.5), np.log(6)))), float(rng.uniform(2.5, 5))
    steps = np.arange(num_steps)
    plateau = max(int(plateau_rate * num_steps), 1)
    learned = 1 - np.exp(-np.clip(steps - plateau, 0, None) / (num_steps * (1 - plateau_rate) / 4))
    learned /= learned[-1]
    fall = rng.uniform(0.5, 1.0) * (ratio - 1) * l_const * np.exp(-steps / (0.1 * plateau + 5))
    mean = (l_const + fall) * (1 - (1 - final) * learned)
    dependence = np.minimum(3e-4 * np.exp(5 * steps / plateau), 1) * np.exp(rng.normal(0, 0.2, num_steps))
    sampled = steps % SAMPLE_EVERY == 0
    blank = np.where((steps > 10) & (steps < plateau + 10), 1.0, 0.7)
    return Course(
        context=RunContext(l_const, ratio * l_const, num_steps),
        loss=mean * np.exp(noise(rng, num_steps, sigma, tail, memory)),
        grad_norm=rng.lognormal(1, 0.5, num_steps),
        loss_scale=np.full(num_steps, math.nan),
        applied=np.ones(num_steps, dtype=bool),
        blank_rate=np.where(sampled, blank, math.nan),
        input_dependence=np.where(sampled, dependence, math.nan),
        params_finite=np.ones(num_steps, dtype=bool),
        reasons=[None] * num_steps,
        learns_from=plateau,
    )


def noise(rng: np.random.Generator, num_steps: int, sigma: float, tail: int | None = None, memory: float = 0) -> Floats:
    """Noise of log losses with standard deviation `sigma` (scale, for Student-t)."""
    white = sigma * (rng.normal(size=num_steps) if tail is None else rng.standard_t(tail, num_steps))
    if memory:
        for k in range(1, num_steps):
            white[k] = memory * white[k - 1] + math.sqrt(1 - memory**2) * white[k]
    return np.clip(white, -4, 4)


# Healthy oddities.


def nothing(course: Course, rng: np.random.Generator) -> None:
    """A healthy training as it is."""


def few_nonfinite(count: int, value: float, *, gradient: bool = True) -> Change:
    """Single non-finite losses, at least six steps apart, skipped as the loop would."""

    def change(course: Course, rng: np.random.Generator) -> None:
        for index in rng.choice(course.num_steps // 6, size=count, replace=False) * 6:
            course.loss[index] = value
            if gradient:
                course.grad_norm[index] = math.nan
            course.skip(index, SkipReason.NONFINITE)

    return change


def few_infinite_gradients(course: Course, rng: np.random.Generator) -> None:
    """One step in a hundred has an infinite gradient and a usual loss."""
    for index in np.flatnonzero(rng.random(course.num_steps) < 0.01):
        course.grad_norm[index] = math.inf
        course.skip(int(index), SkipReason.NONFINITE)


def spikes(count: int, length: int, *, decaying: bool = False, highest: float = 1000.0) -> Change:
    """Losses of 3 to `highest` times the usual that come back, at once or in a decay with time constant `length`."""

    def change(course: Course, rng: np.random.Generator) -> None:
        room = course.num_steps // (count + 1)
        for k in range(count):
            start = int(rng.integers(k * room + 30, (k + 1) * room + 20))
            height = float(np.exp(rng.uniform(np.log(3), np.log(highest))))
            distance = np.arange(course.num_steps) - start
            if decaying:
                shape = np.where(distance >= 0, np.exp(-np.clip(distance, 0, None) / length), 0)
            else:
                shape = ((distance >= 0) & (distance < length)).astype(float)
            course.loss *= height**shape
            course.grad_norm *= height**shape

    return change


def wide_spike(shortest: int, longest: int) -> Change:
    """A flat spike of 3 to 20 times the usual loss that comes back, of a length between two."""

    def change(course: Course, rng: np.random.Generator) -> None:
        spikes(1, int(rng.integers(shortest, longest + 1)), highest=20.0)(course, rng)

    return change


def warm_up_bump(course: Course, rng: np.random.Generator) -> None:
    """The loss doubles to quadruples and comes back where the learning rate peaks, on the plateau."""
    middle, width = rng.uniform(0.5, 1.2) * course.learns_from, rng.uniform(8, 18)
    bump = np.exp(-0.5 * ((np.arange(course.num_steps) - middle) / width) ** 2)
    course.loss *= 1 + rng.uniform(1, 3) * bump


def restart_bump(course: Course, rng: np.random.Generator) -> None:
    """Half way, what was learned is partly lost and learned again, as after a restart of the learning rate."""
    middle, width = rng.uniform(0.55, 0.7) * course.num_steps, rng.uniform(5, 12)
    bump = np.exp(-0.5 * ((np.arange(course.num_steps) - middle) / width) ** 2)
    course.loss *= 1 + rng.uniform(0.5, 2.5) * bump


def cadence(course: Course, rng: np.random.Generator) -> None:
    """Every k-th step logs another loss, as where micro-batches or data sources take turns."""
    period, factor = int(rng.choice([2, 4, 8, 16])), rng.uniform(1.3, 2.5)
    course.loss *= np.where(np.arange(course.num_steps) % period == 0, factor, 1.0)


def epochs(course: Course, rng: np.random.Generator) -> None:
    """The loss climbs within an epoch and steps down at its end."""
    length = int(rng.integers(25, 120))
    course.loss *= 1 + rng.uniform(0.05, 0.3) * (np.arange(course.num_steps) % length) / length


def other_noise(course: Course, rng: np.random.Generator) -> None:
    """From some step on the loss is logged with three times the noise, or a third of it (another batch size)."""
    start = int(rng.uniform(0.3, 0.7) * course.num_steps)
    smooth = np.exp(np.convolve(np.pad(np.log(course.loss), 10, mode="edge"), np.ones(21) / 21, mode="valid"))
    ratio = course.loss / smooth
    course.loss[start:] = (smooth * ratio ** rng.choice([1 / 3, 3]))[start:]


def calibration(course: Course, rng: np.random.Generator) -> None:
    """A loss scaler that halves 2 to 15 times first, and overflows once at each later growth."""
    course.context = dataclasses.replace(course.context, has_scaler=True)
    bits, halvings = float(rng.choice([16, 24, 32])), int(rng.integers(2, 16))
    usable, since, growth = bits - halvings, 0, int(rng.integers(25, 200))
    for k in range(course.num_steps):
        course.loss_scale[k] = 2.0**bits
        if bits > usable:
            course.grad_norm[k] = math.inf
            course.skip(k, SkipReason.CALIBRATION)
            bits, since = bits - 1, 0
            continue
        since += 1
        if since == growth:
            bits, since = bits + 1, 0


def some_skips(course: Course, rng: np.random.Generator) -> None:
    """A threshold skips up to 30 % of the batches."""
    for index in np.flatnonzero(rng.random(course.num_steps) < rng.uniform(0.05, 0.3)):
        course.grad_norm[index] *= 20
        course.skip(int(index), SkipReason.THRESHOLD)


def without_floors(course: Course, rng: np.random.Generator) -> None:
    """Zero-information and uniform losses are unknown."""
    course.context = RunContext(budget_steps=course.context.budget_steps, has_scaler=course.context.has_scaler)


def loss_alone(course: Course, rng: np.random.Generator) -> None:
    """Only the loss is logged, and nothing is known of the run."""
    course.context = RunContext()
    course.logs_norms = False
    for column in (course.loss_scale, course.blank_rate, course.input_dependence):
        column[:] = math.nan
    course.applied[:] = True
    course.reasons = [None] * course.num_steps


# Faults.


def _onset(course: Course, rng: np.random.Generator, earliest: float = 0.35, latest: float = 0.6) -> int:
    return int(rng.uniform(earliest, latest) * course.num_steps)


def nonfinite(value: float, rate: float = 1.0, *, early: bool = False) -> Change:
    """Losses and gradients are not finite any more, all or most of them."""

    def change(course: Course, rng: np.random.Generator) -> int:
        start = int(rng.integers(0, 30)) if early else _onset(course, rng, 0.1, 0.9)
        bad = np.flatnonzero((np.arange(course.num_steps) >= start) & (rng.random(course.num_steps) < rate))
        for index in bad:
            course.loss[index] = value
            course.grad_norm[index] = math.nan
            course.skip(int(index), SkipReason.NONFINITE)
        return int(bad[0]) + 1

    return change


def bad_weights(course: Course, rng: np.random.Generator) -> int:
    """A step makes the weights NaN, which is noticed; every later loss is NaN."""
    start = _onset(course, rng, 0.1, 0.9)
    course.params_finite[start:] = False
    course.grad_norm[start] = math.inf
    course.loss[start + 1 :] = math.nan
    course.grad_norm[start + 1 :] = math.nan
    return start + 1


def dead_gradients(course: Course, rng: np.random.Generator) -> int:
    """Gradients are infinite for good while the loss stays finite; no loss scaler."""
    start = _onset(course, rng, 0.1, 0.9)
    course.grad_norm[start:] = math.inf
    course.loss[start:] = course.loss[start]
    for index in range(start, course.num_steps):
        course.skip(index, SkipReason.NONFINITE)
    return start + 1


def scale_collapse(rate: float) -> Change:
    """The loss scale falls for good: gradients overflow at (nearly) every step, whatever the scale."""

    def change(course: Course, rng: np.random.Generator) -> int:
        calibration(course, rng)
        start, scale = _onset(course, rng, 0.2, 0.8), math.nan
        for k in range(start, course.num_steps):
            scale = course.loss_scale[k] if math.isnan(scale) else scale
            course.loss_scale[k] = scale
            if rng.random() < rate:
                course.grad_norm[k] = math.inf
                course.skip(k, SkipReason.NONFINITE)
                scale /= 2
        course.loss[start:] = course.loss[start] * np.exp(rng.normal(0, 0.1, course.num_steps - start))
        return start + 1

    return change


def drift(percent: float) -> Change:
    """The loss grows by a fixed share a step."""

    def change(course: Course, rng: np.random.Generator) -> int:
        start = _onset(course, rng, 0.25, 0.35)
        growth = np.log1p(percent / 100) * np.clip(np.arange(course.num_steps) - start, 0, None)
        course.loss *= np.exp(np.minimum(growth, math.log(1e6)))
        return start + 1

    return change


def jump(factor: float, *, late: bool = False, wild: float = 0.0) -> Change:
    """The loss leaves its course and stays at `factor` times the zero-information loss, with noise `wild`."""

    def change(course: Course, rng: np.random.Generator) -> int:
        start = _onset(course, rng, 0.7, 0.85) if late else _onset(course, rng)
        count = course.num_steps - start
        level = factor * max(course.context.l_const, float(np.median(course.loss[start - 20 : start])))
        course.loss[start:] = level * np.exp(rng.normal(0, max(wild, 0.1), count))
        return start + 1

    return change


def relapse(course: Course, rng: np.random.Generator) -> int:
    """What was learned is lost within ten steps: back to the zero-information loss, for good."""
    start = _onset(course, rng, 0.5, 0.65)
    count = course.num_steps - start
    before = float(np.median(course.loss[start - 20 : start]))
    way = np.minimum(np.arange(count) / 10, 1)
    course.loss[start:] = before ** (1 - way) * course.context.l_const**way * np.exp(rng.normal(0, 0.05, count))
    sampled = np.flatnonzero(~np.isnan(course.input_dependence))
    course.input_dependence[sampled[sampled >= start + 10]] = 1e-6
    course.blank_rate[sampled[sampled >= start + 10]] = 1.0
    return start + 1


def explosion(course: Course, rng: np.random.Generator) -> int:
    """The loss doubles every few steps, and is NaN thirty steps later."""
    start = _onset(course, rng)
    rise = np.clip(np.arange(course.num_steps) - start, 0, None) / rng.uniform(2, 6)
    course.loss *= 2.0 ** np.minimum(rise, 40)
    course.loss[start + 30 :] = math.nan
    course.grad_norm[start + 30 :] = math.nan
    return start + 1


def oscillation(course: Course, rng: np.random.Generator) -> int:
    """Growing swings of the loss, around a level that rises too."""
    start, period = _onset(course, rng, 0.25, 0.4), rng.uniform(8, 30)
    time = np.clip(np.arange(course.num_steps) - start, 0, None)
    course.loss *= np.exp(np.minimum(time / 40, 4.0) * (1 + 0.5 * np.sin(2 * np.pi * time / period)))
    return start + 1


def rising_from_the_start(course: Course, rng: np.random.Generator) -> int:
    """Never learns: the loss grows from its first steps to tens of times a uniform output's."""
    steps = np.arange(course.num_steps)
    rise = rng.uniform(2, 4) * (1 - np.exp(-steps / rng.uniform(30, 80)))
    course.loss = course.context.l_unif * np.exp(rise + rng.normal(0, 0.2, course.num_steps))
    return 1


def skipping(rate: float) -> Change:
    """A threshold skips most batches from some step on, and nothing more is learned."""

    def change(course: Course, rng: np.random.Generator) -> int:
        start = 0 if rng.random() < 0.5 else _onset(course, rng, 0.1, 0.6)
        course.loss[start:] = course.loss[start] * np.exp(rng.normal(0, 0.1, course.num_steps - start))
        skipped = np.flatnonzero((np.arange(course.num_steps) >= start) & (rng.random(course.num_steps) < rate))
        for index in skipped:
            course.grad_norm[index] = rng.uniform(50, 100)
            course.skip(int(index), SkipReason.THRESHOLD)
        return int(skipped[0]) + 1

    return change


def blank_collapse(*, hot: bool) -> Change:
    """All frames blank for good: within ten steps and with I falling to nothing (hot), or in a slow fall (cold)."""

    def change(course: Course, rng: np.random.Generator) -> int:
        l_const, steps = course.context.l_const, np.arange(course.num_steps)
        time_constant = 4.0 if hot else 0.05 * course.num_steps
        excess = rng.uniform(0.005, 0.03) if hot else 0.0
        mean = l_const * (1 + excess) + 0.8 * (course.context.l_unif - l_const) * np.exp(-steps / time_constant)
        course.loss = mean * np.exp(rng.normal(0, 0.06, course.num_steps))
        dead = 1e-7 + 1e-2 * np.exp(-steps / 5.0) if hot else np.full(course.num_steps, 3e-4)
        sampled = ~np.isnan(course.input_dependence)
        course.input_dependence[sampled] = (dead * np.exp(rng.normal(0, 0.2, course.num_steps)))[sampled]
        course.blank_rate[sampled] = 1.0
        return 1

    return change


def stalled(*, sampled: bool) -> Change:
    """The loss rests at 1 to 2 times the zero-information loss for good."""

    def change(course: Course, rng: np.random.Generator) -> int:
        level = course.context.l_const * rng.uniform(1.0, 2.0)
        fall = 1 + 2 * np.exp(-np.arange(course.num_steps) / 10)
        course.loss = level * fall * np.exp(rng.normal(0, rng.uniform(0.03, 0.15), course.num_steps))
        known = ~np.isnan(course.input_dependence)
        course.input_dependence[known] = 3e-3 if sampled else math.nan
        course.blank_rate[known] = 0.9 if sampled else math.nan
        return 1

    return change


@dataclass(frozen=True)
class Kind:
    """One row of the catalogue."""

    name: str
    truth: Truth
    changes: tuple[Change, ...] = (nothing,)
    """Applied in turn; the last that says so gives the onset."""
    base: str = "any"
    """any (half real), real, synthetic, long (1,000 to 2,000 steps), heavy (t noise), correlated, late."""
    count: int = 10


CATALOGUE = (
    Kind("healthy, synthetic", Truth.HEALTHY, base="synthetic", count=30),
    Kind("healthy, long", Truth.HEALTHY, base="long"),
    Kind("healthy, heavy tail", Truth.HEALTHY, base="heavy", count=20),
    Kind("healthy, correlated noise", Truth.HEALTHY, base="correlated"),
    Kind("plateau, then learning", Truth.HEALTHY, base="late", count=20),
    Kind("plateau, floors unknown", Truth.HEALTHY, (without_floors,), base="late"),
    Kind("one NaN", Truth.HEALTHY, (few_nonfinite(1, math.nan),)),
    Kind("one inf", Truth.HEALTHY, (few_nonfinite(1, math.inf),)),
    Kind("five single NaN", Truth.HEALTHY, (few_nonfinite(5, math.nan),)),
    Kind("one NaN, loss alone", Truth.HEALTHY, (few_nonfinite(1, math.nan), loss_alone)),
    Kind("1 % infinite gradients", Truth.HEALTHY, (few_infinite_gradients,)),
    Kind("1-step spike", Truth.HEALTHY, (spikes(1, 1),)),
    Kind("3-step spike", Truth.HEALTHY, (spikes(1, 3),)),
    Kind("10-step spike", Truth.HEALTHY, (spikes(1, 10),)),
    Kind("25-step spike", Truth.HEALTHY, (spikes(1, 25, highest=20.0),)),
    Kind("20- to 27-step spike", Truth.HEALTHY, (wide_spike(20, 27),), count=20),
    # So long that at the time nothing tells them from a loss that stays up.
    Kind("28- to 45-step spike", Truth.DOUBTFUL, (wide_spike(28, 45),), count=20),
    Kind("decaying spike", Truth.HEALTHY, (spikes(1, 6, decaying=True),)),
    Kind("five 3-step spikes", Truth.HEALTHY, (spikes(5, 3),)),
    Kind("three decaying spikes", Truth.HEALTHY, (spikes(3, 6, decaying=True),)),
    Kind("warm-up bump", Truth.HEALTHY, (warm_up_bump,), base="synthetic"),
    Kind("restart bump", Truth.HEALTHY, (restart_bump,)),
    Kind("cadence", Truth.HEALTHY, (cadence,)),
    Kind("epoch steps", Truth.HEALTHY, (epochs,), base="synthetic"),
    Kind("other noise", Truth.HEALTHY, (other_noise,)),
    Kind("calibration", Truth.HEALTHY, (calibration,), base="synthetic"),
    Kind("some skips", Truth.HEALTHY, (some_skips,)),
    Kind("healthy, floors unknown", Truth.HEALTHY, (without_floors,)),
    Kind("healthy, loss alone", Truth.HEALTHY, (loss_alone,)),
    Kind("NaN for ever", Truth.NONFINITE, (nonfinite(math.nan),)),
    Kind("inf for ever", Truth.NONFINITE, (nonfinite(math.inf),)),
    Kind("NaN from the first steps", Truth.NONFINITE, (nonfinite(math.nan, early=True),)),
    Kind("mostly NaN", Truth.NONFINITE, (nonfinite(math.nan, 0.8),)),
    Kind("NaN for ever, loss alone", Truth.NONFINITE, (nonfinite(math.nan), loss_alone)),
    Kind("NaN weights", Truth.NONFINITE, (bad_weights,)),
    Kind("infinite gradients for ever", Truth.NONFINITE, (dead_gradients,)),
    Kind("scale collapse", Truth.SCALER, (scale_collapse(1.0),), base="synthetic"),
    Kind("slow scale collapse", Truth.SCALER, (scale_collapse(0.4),), base="synthetic"),
    Kind("drift 0.5 %", Truth.LOSS, (drift(0.5),), base="long"),
    Kind("drift 1 %", Truth.LOSS, (drift(1.0),), base="long"),
    Kind("drift 2 %", Truth.LOSS, (drift(2.0),), base="synthetic"),
    Kind("drift 5 %", Truth.LOSS, (drift(5.0),)),
    Kind("drift 2 %, loss alone", Truth.LOSS, (drift(2.0), loss_alone), base="synthetic"),
    Kind("jump x 2", Truth.LOSS, (jump(2.0),)),
    Kind("jump x 4", Truth.LOSS, (jump(4.0),)),
    Kind("jump x 30", Truth.LOSS, (jump(30.0),)),
    Kind("jump x 1000", Truth.LOSS, (jump(1000.0),)),
    Kind("wild jump x 10", Truth.LOSS, (jump(10.0, wild=1.0),)),
    Kind("late jump x 4", Truth.LOSS, (jump(4.0, late=True),)),
    Kind("jump x 4, floors unknown", Truth.LOSS, (jump(4.0), without_floors)),
    Kind("jump x 4 after a NaN", Truth.LOSS, (few_nonfinite(3, math.nan), jump(4.0))),
    Kind("relapse to the plateau", Truth.LOSS, (relapse,), base="synthetic"),
    Kind("explosion, then NaN", Truth.LOSS, (explosion,)),
    Kind("growing oscillation", Truth.LOSS, (oscillation,), base="synthetic"),
    Kind("rising from the start", Truth.LOSS, (rising_from_the_start,), base="synthetic"),
    Kind("all batches skipped", Truth.SKIPS, (skipping(1.0),)),
    Kind("70 % of batches skipped", Truth.SKIPS, (skipping(0.7),)),
    Kind("blank collapse, hot", Truth.NOTHING, (blank_collapse(hot=True),), base="synthetic"),
    Kind("blank collapse, cold", Truth.NOTHING, (blank_collapse(hot=False),), base="synthetic"),
    Kind("stalled", Truth.NOTHING, (stalled(sampled=True),), base="synthetic"),
    Kind("stalled, I unknown", Truth.NOTHING, (stalled(sampled=False),), base="synthetic"),
)


def inject(real: Sequence[Trace], seed: int = 0, catalogue: Sequence[Kind] = CATALOGUE) -> list[Trace]:
    """All traces of the catalogue; the same for the same seed and the same real bases."""
    healthy = [trace for trace in real if trace.truth is Truth.HEALTHY]
    return [_make(kind, number, healthy, seed) for kind in catalogue for number in range(kind.count)]


def _make(kind: Kind, number: int, healthy: Sequence[Trace], seed: int) -> Trace:
    # A kind's traces do not depend on which other kinds there are.
    rng = np.random.default_rng([seed, number, zlib.crc32(kind.name.encode())])
    course = _base(kind.base, rng, number, healthy)
    onset: int | None = None
    for change in kind.changes:
        began = change(course, rng)
        onset = began if began is not None else onset
    return as_trace(course, kind.name, kind.truth, f"{seed}/{number}", onset)


def as_trace(
    course: Course, kind: str, truth: Truth, number: str, onset: int | None, *, is_tuned: bool = True
) -> Trace:
    """A made course as a trace; `onset` is its first bad step."""
    share = math.nan
    if truth is Truth.DOUBTFUL:
        # A made training has no validation loss.
        share = lost_share(course.loss, course.context.l_const, end_level(course.loss))
    return Trace(
        name=f"{kind}/{number}",
        kind=kind,
        is_real=False,
        context=course.context,
        truth=truth,
        onset=onset,
        records=course.records(),
        lost_share=share,
        is_tuned=is_tuned,
    )


def _base(base: str, rng: np.random.Generator, number: int, healthy: Sequence[Trace]) -> Course:
    if base == "any" and number % 2 == 1 and healthy:
        course = from_trace(healthy[int(rng.integers(len(healthy)))])
        course.learns_from = int(0.2 * course.num_steps)
        return course
    num_steps, sigma = int(rng.choice([300, 400, 600])), float(rng.choice([0.03, 0.06, 0.1, 0.2]))
    if base == "long":
        return synthetic(rng, int(rng.choice([1000, 1500, 2000])), sigma)
    if base == "heavy":
        return synthetic(rng, num_steps, 0.12, tail=int(rng.choice([2, 3])))
    if base == "correlated":
        return synthetic(rng, num_steps, 0.2, memory=0.6)
    if base == "late":
        return synthetic(rng, num_steps, sigma / 2, plateau_rate=float(rng.uniform(0.3, 0.5)), final=0.5)
    return synthetic(rng, num_steps, sigma, final=float(rng.uniform(0.1, 0.6)))
