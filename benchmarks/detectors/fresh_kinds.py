"""Kinds of traces that no threshold is chosen by: they are reported on, and no rule is tuned on them.

The shapes are those of other people's trainings too: language models (a power law), cosine restarts, classification
from ln K, regression, losses below zero; all seeded, with the truth by construction. Losses that play against each
other (GANs) are left out: their level says nothing.
"""

import math
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from benchmarks.detectors.faults import SAMPLE_EVERY, Course, Floats, as_trace, noise, synthetic
from benchmarks.detectors.trace_set import Trace
from benchmarks.detectors.truth import Truth
from sweep.judging.detectors import RunContext
from sweep.records import SkipReason

Rng = np.random.Generator


@dataclass(frozen=True)
class Fresh:
    """One kind of trace."""

    name: str
    truth: Truth
    make: Callable[[Rng, int], tuple[Course, int | None]]
    """From a source of randomness and the trace's number within its kind: the course, and the first bad row from 0."""
    count: int = 10


def fresh_traces(seed: int = 0, kinds: Sequence[Fresh] | None = None) -> list[Trace]:
    """All of them, or of some kinds; the same for the same seed, whichever other kinds there are."""
    return [_trace(kind, number, seed) for kind in kinds or KINDS for number in range(kind.count)]


def _trace(kind: Fresh, number: int, seed: int) -> Trace:
    rng = np.random.default_rng([seed, number, zlib.crc32(kind.name.encode())])
    course, onset = kind.make(rng, number)
    step = None if onset is None else course.step_of(onset)
    return as_trace(course, kind.name, kind.truth, f"{seed}/{number}", step, is_tuned=False)


# Shapes of healthy trainings.


def plain(rng: Rng, loss: Floats, l_const: float = math.nan) -> Course:
    """A course with these losses and usual norms, and no telemetry; its length is its budget."""
    count = len(loss)
    return Course(
        context=RunContext(l_const=l_const, budget_steps=count),
        loss=loss,
        grad_norm=rng.lognormal(0, 0.4, count),
        loss_scale=np.full(count, math.nan),
        applied=np.ones(count, dtype=bool),
        blank_rate=np.full(count, math.nan),
        input_dependence=np.full(count, math.nan),
        params_finite=np.ones(count, dtype=bool),
        reasons=[None] * count,
    )


def language_model(rng: Rng, count: int) -> Course:
    """A power law from the logarithm of the vocabulary to its floor."""
    start, floor = math.log(rng.uniform(2e4, 1e5)), rng.uniform(2.0, 3.5)
    fall = (1 + np.arange(count) / rng.uniform(3, 12)) ** -rng.uniform(0.35, 0.6)
    return plain(rng, (floor + (start - floor) * fall) * np.exp(noise(rng, count, rng.uniform(0.01, 0.04))))


def classification(rng: Rng, count: int) -> Course:
    """Exponential from the logarithm of the number of classes, which is its zero-information loss."""
    l_const = math.log(int(rng.choice([2, 10, 100, 1000])))
    floor = rng.uniform(0.1, 0.5)
    fall = floor + (1 - floor) * np.exp(-np.arange(count) / (count * rng.uniform(0.1, 0.25)))
    return plain(rng, l_const * fall * np.exp(noise(rng, count, rng.uniform(0.03, 0.12))), l_const)


def restarts(rng: Rng, count: int) -> Course:
    """A language model whose learning rate starts anew three times, and the loss goes up a little."""
    course = language_model(rng, count)
    cycle = count // 4
    since = np.arange(count) % cycle
    bump = np.where(np.arange(count) >= cycle, rng.uniform(0.1, 0.3) * np.exp(-since / (0.15 * cycle)), 0)
    course.loss *= 1 + bump
    return course


def regression(rng: Rng, count: int) -> Course:
    """Mean squared error that falls by one to three orders of magnitude; the variance of the targets is its L."""
    l_const = float(10 ** rng.uniform(-2, 3))
    floor = 10 ** -rng.uniform(1, 3)
    fall = floor + (1 - floor) * np.exp(-np.arange(count) / (count * rng.uniform(0.05, 0.2)))
    return plain(rng, l_const * fall * np.exp(noise(rng, count, rng.uniform(0.05, 0.25))), l_const)


def ctc(rng: Rng, count: int) -> Course:
    """As `faults.synthetic`, with telemetry."""
    return synthetic(rng, count, float(rng.choice([0.03, 0.06, 0.1])), final=float(rng.uniform(0.1, 0.5)))


SHAPES = (language_model, classification, restarts, regression, ctc)


def _shape(rng: Rng, number: int, count: int | None = None) -> Course:
    return SHAPES[number % len(SHAPES)](rng, count or int(rng.choice([300, 400, 600])))


def _noisy(rng: Rng, mean: Floats, sigma: float) -> Floats:
    noisy: Floats = mean * np.exp(rng.normal(0, sigma, len(mean)))
    return noisy


# Healthy ones.


def healthy(rng: Rng, number: int) -> tuple[Course, None]:
    """A shape as it is."""
    return _shape(rng, number), None


def optimizer_bump(rng: Rng, number: int) -> tuple[Course, None]:
    """Within 30 steps from 12 to 45 and back to 8, as while an optimizer warms up; then a power law."""
    count = int(rng.choice([300, 500]))
    steps = np.arange(count)
    peak = int(rng.integers(8, 16))
    way = np.interp(steps, [0, peak, 30, count], np.log([12, 45, 8, 8]))
    fall = np.maximum((1 + np.clip(steps - 30, 0, None) / 20) ** -0.5, 0.25)
    return plain(rng, _noisy(rng, np.exp(way) * fall, 0.04)), None


def late_plateau(rng: Rng, number: int) -> tuple[Course, None]:
    """Rests at L for 50 to 80 % of the budget, its dependence on the input flat until shortly before it learns."""
    count = int(rng.choice([400, 700, 1000]))
    course = synthetic(rng, count, 0.04, plateau_rate=float(rng.uniform(0.5, 0.8)), final=float(rng.uniform(0.3, 0.6)))
    steps, starts = np.arange(count), course.learns_from - 0.03 * count
    dependence = 4e-4 * np.exp(np.clip((steps - starts) / (0.01 * count), 0, 7.5)) * np.exp(rng.normal(0, 0.2, count))
    course.input_dependence = np.where(steps % SAMPLE_EVERY == 0, dependence, math.nan)
    return course, None


def slow_from_far(rng: Rng, number: int) -> tuple[Course, None]:
    """Starts at 10,000 and falls by 1.7 % a step."""
    count = int(rng.choice([300, 450]))
    return plain(rng, _noisy(rng, 1e4 * np.exp(np.log(0.983) * np.arange(count)), rng.uniform(0.02, 0.1))), None


def burst(*, restart: bool) -> Callable[[Rng, int], tuple[Course, None]]:
    """Twice the loss sits at L for 40 to 60 steps: lost in a restart and learned again, or a run of wrong labels."""

    def make(rng: Rng, number: int) -> tuple[Course, None]:
        course = (ctc, classification)[number % 2](rng, 900)
        for where in (0.55, 0.75):
            start, length = int(where * 900), int(rng.integers(40, 61))
            before = float(np.median(course.loss[start - 20 : start]))
            course.loss[start : start + length] = _noisy(rng, np.full(length, course.context.l_const), 0.05)
            if restart:
                back = np.arange(30) / 30
                way = course.context.l_const ** (1 - back) * before**back
                course.loss[start + length : start + length + 30] = _noisy(rng, way, 0.05)
        return course, None

    return make


def memorised_and_back(rng: Rng, number: int) -> tuple[Course, None]:
    """Down to 1e-5 and up again to 0.05, far below where it began."""
    count = 600
    l_const = math.log(10)
    way = np.interp(np.arange(count), [0, 250, 350, 450, count], np.log([l_const, 1e-5, 1e-5, 0.05, 0.05]))
    return plain(rng, _noisy(rng, np.exp(way), 0.15), l_const), None


def below_zero(rng: Rng, number: int) -> tuple[Course, None]:
    """A negative log likelihood of densities: from 1.5 down to -3."""
    count = 400
    mean = 1.5 - rng.uniform(3.5, 5) * (1 - np.exp(-np.arange(count) / rng.uniform(40, 120)))
    return plain(rng, mean + rng.normal(0, 0.1, count)), None


def around_zero(rng: Rng, number: int) -> tuple[Course, None]:
    """The loss of a policy: around zero, and without a trend."""
    return plain(rng, rng.normal(rng.uniform(-0.02, 0.02), rng.uniform(0.02, 0.2), 500)), None


def scaled(low: float, high: float) -> Callable[[Rng, int], tuple[Course, None]]:
    """A mean squared error that falls between two values."""

    def make(rng: Rng, number: int) -> tuple[Course, None]:
        count = 400
        fall = np.exp(-np.arange(count) / rng.uniform(40, 120))
        return plain(rng, _noisy(rng, low * (high / low) ** fall, 0.1)), None

    return make


def resumed(rng: Rng, number: int) -> tuple[Course, None]:
    """Goes on at step 140,749 of a training that has long converged; its planned steps are those of the whole."""
    course = plain(rng, _noisy(rng, np.full(400, rng.uniform(1.5, 3.0)), rng.uniform(0.01, 0.05)))
    course.context = replace(course.context, budget_steps=150_000)
    course.first_step = 140_749
    return course, None


def constant_scale(scale: float) -> Callable[[Rng, int], tuple[Course, None]]:
    """Logs a loss scale that never changes: -1 or 0 where a program has none, 12 where it is fixed."""

    def make(rng: Rng, number: int) -> tuple[Course, None]:
        course = _shape(rng, number)
        course.loss_scale[:] = scale
        return course, None

    return make


def epochs(rng: Rng, number: int) -> tuple[Course, None]:
    """One row an epoch: 25 to 60 of them."""
    return (classification, regression, language_model)[number % 3](rng, int(rng.integers(25, 61))), None


def thinned(every: int) -> Callable[[Rng, int], tuple[Course, None]]:
    """Only each so-manieth step of a long training is logged."""

    def make(rng: Rng, number: int) -> tuple[Course, None]:
        return _thin(_shape(rng, number, 3000), every), None

    return make


def _thin(course: Course, every: int) -> Course:
    keep = slice(every - 1, None, every)
    columns = {
        name: getattr(course, name)[keep]
        for name in ("loss", "grad_norm", "loss_scale", "applied", "blank_rate", "input_dependence", "params_finite")
    }
    return replace(course, **columns, reasons=course.reasons[keep], first_step=every, every=every)


# Bad ones.


def early_blow_up(*, half_way: bool) -> Callable[[Rng, int], tuple[Course, int]]:
    """Blows up within the first 20 losses and stays up, or comes back half of the way: it ends above its start."""

    def make(rng: Rng, number: int) -> tuple[Course, int]:
        course = _shape(rng, number)
        count, start = course.num_steps, int(rng.integers(3, 14))
        first, peak = float(np.median(course.loss[:3])), rng.uniform(8, 50)
        since = np.clip(np.arange(count) - start, 0, None)
        rise = np.minimum(since / rng.uniform(3, 6), 1) * math.log(peak)
        if half_way:
            rise *= 0.5 + 0.5 * np.exp(-np.clip(since - 10, 0, None) / rng.uniform(20, 60))
        late = np.arange(count) >= start
        course.loss[late] = _noisy(rng, first * np.exp(rise), 0.15)[late]
        return course, start

    return make


def rise_at_three(rng: Rng, number: int) -> tuple[Course, int]:
    """From its third step on three to ten times as high as it began."""
    course = _shape(rng, number)
    level = rng.uniform(3, 10) * float(np.mean(course.loss[:2]))
    course.loss[2:] = _noisy(rng, np.full(course.num_steps - 2, level), 0.1)
    return course, 2


def learned_and_lost(rng: Rng, number: int) -> tuple[Course, int]:
    """0.05 L for 300 steps, then 0.94 L for 600: nearly all that was learned is lost."""
    l_const = float(rng.choice([2.3, 3.4, 4.6]))
    way = np.interp(np.arange(1050), [0, 140, 150, 449, 455, 1049], np.log([1, 0.05, 0.05, 0.05, 0.94, 0.94]))
    return plain(rng, _noisy(rng, l_const * np.exp(way), 0.04), l_const), 450


def frozen(rng: Rng, number: int) -> tuple[Course, int]:
    """The loss is the same to the last bit for hundreds of steps: from the start, or before much is learned."""
    course = _shape(rng, number)
    start = 0 if number % 2 else int(rng.uniform(0.05, 0.2) * course.num_steps)
    course.loss[start:] = course.loss[start]
    course.grad_norm[start:] = course.grad_norm[start]
    return course, start


def growing_swings(rng: Rng, number: int) -> tuple[Course, int]:
    """Swings that grow to five times and a fifth of a level that stays the same."""
    course = _shape(rng, number)
    start = int(rng.uniform(0.4, 0.5) * course.num_steps)
    since = np.clip(np.arange(course.num_steps) - start, 0, None)
    level = np.where(since > 0, np.median(course.loss[start - 20 : start]), course.loss)
    swing = np.sin(2 * np.pi * since / rng.uniform(6, 20)) * math.log(5) * since / since[-1]
    course.loss = level * np.exp(swing)
    return course, start


def last_steps(rng: Rng, number: int) -> tuple[Course, int]:
    """Doubles at each of its last eight steps."""
    course = _shape(rng, number)
    course.loss[-8:] *= 2.0 ** np.arange(1, 9)
    course.grad_norm[-8:] *= 2.0 ** np.arange(1, 9)
    return course, course.num_steps - 8


def explodes_below_zero(rng: Rng, number: int) -> tuple[Course, int]:
    """A loss that improved below zero, and then explodes."""
    course, _ = below_zero(rng, number)
    start = int(rng.uniform(0.5, 0.7) * course.num_steps)
    since = np.clip(np.arange(course.num_steps) - start, 0, None)
    course.loss = course.loss + np.where(since > 0, rng.uniform(20, 1e4) * np.minimum(since / 15, 1), 0)
    return course, start


def zero_beside_nan(rng: Rng, number: int) -> tuple[Course, int]:
    """From some step on the loss is exactly 0 and the norm NaN: a program that logs 0 in place of NaN."""
    course = _shape(rng, number)
    start = int(rng.uniform(0.05, 0.7) * course.num_steps)
    course.loss[start:] = 0.0
    course.grad_norm[start:] = math.nan
    return course, start


def nan_norms(rng: Rng, number: int) -> tuple[Course, int]:
    """Norms are NaN, from the start or from some step on, and the loss moves no more."""
    course = _shape(rng, number)
    start = 0 if number % 2 else int(rng.uniform(0.05, 0.3) * course.num_steps)
    course.grad_norm[start:] = math.nan
    course.loss[start:] = _noisy(rng, np.full(course.num_steps - start, course.loss[start]), 0.03)
    return course, start


def last_nan(rng: Rng, number: int) -> tuple[Course, int]:
    """The last loss of all is NaN: there the program ended itself."""
    course = _shape(rng, number)
    course.loss[-1] = course.grad_norm[-1] = math.nan
    return course, course.num_steps - 1


def scale_to_zero(rng: Rng, number: int) -> tuple[Course, int]:
    """The loss scale halves at every step until it is logged as 0, and nothing more is learned."""
    course = _shape(rng, number)
    course.context = replace(course.context, has_scaler=True)
    start, count = int(rng.uniform(0.2, 0.6) * course.num_steps), course.num_steps
    since = np.clip(np.arange(count) - start, 0, None)
    course.loss_scale = np.where(since < 40, 65536.0 * 0.5 ** np.minimum(since, 40), 0.0)
    course.loss[start:] = _noisy(rng, np.full(count - start, course.loss[start]), 0.03)
    for index in range(start, count):
        course.grad_norm[index] = math.inf
        course.skip(index, SkipReason.NONFINITE)
    return course, start


def flat_epochs(rng: Rng, number: int) -> tuple[Course, int]:
    """25 to 60 epochs at ln 2 or ln K."""
    l_const = math.log((2, 10, 100)[number % 3])
    count = int(rng.integers(25, 61))
    return plain(rng, _noisy(rng, np.full(count, l_const), rng.uniform(0.001, 0.01)), l_const), 0


def lost_epochs(rng: Rng, number: int) -> tuple[Course, int]:
    """25 to 60 epochs of which the last third stays at two to ten times the first."""
    course, _ = epochs(rng, number)
    start = int(course.num_steps * 0.65)
    level = rng.uniform(2, 10) * float(np.median(course.loss[:3]))
    course.loss[start:] = _noisy(rng, np.full(course.num_steps - start, level), 0.1)
    return course, start


def flat(rng: Rng, number: int) -> tuple[Course, int]:
    """Never moves from where it began: from its zero-information loss, where that is known."""
    course = _shape(rng, number)
    level = float(np.median(course.loss[:3])) if math.isnan(course.context.l_const) else course.context.l_const
    course.loss = _noisy(rng, np.full(course.num_steps, level), rng.uniform(0.01, 0.05))
    course.input_dependence = np.where(np.isnan(course.input_dependence), math.nan, 1e-6)
    return course, 0


def jumped(rng: Rng, number: int) -> tuple[Course, int]:
    """Half way it jumps to one to four times its start, for good."""
    course = _shape(rng, number)
    return course, _jump(course, rng)


def _jump(course: Course, rng: Rng) -> int:
    start = int(rng.uniform(0.4, 0.7) * course.num_steps)
    level = rng.uniform(1.1, 4) * float(np.median(course.loss[:5]))
    course.loss[start:] = _noisy(rng, np.full(course.num_steps - start, level), 0.1)
    return start


def nan_for_ever(rng: Rng, number: int) -> tuple[Course, int]:
    """Half way losses and norms become NaN, for good."""
    course = _shape(rng, number)
    start = int(rng.uniform(0.3, 0.7) * course.num_steps)
    course.loss[start:] = course.grad_norm[start:] = math.nan
    return course, start


def thinned_jump(every: int) -> Callable[[Rng, int], tuple[Course, int]]:
    """A thinned log of a training that jumps up for good."""

    def make(rng: Rng, number: int) -> tuple[Course, int]:
        course = _thin(_shape(rng, number, 3000), every)
        return course, _jump(course, rng)

    return make


KINDS = (
    Fresh("other shapes", Truth.HEALTHY, healthy, count=25),
    Fresh("optimizer bump", Truth.HEALTHY, optimizer_bump),
    Fresh("late plateau, I flat", Truth.HEALTHY, late_plateau, count=20),
    Fresh("1e4, falling 1.7 % a step", Truth.HEALTHY, slow_from_far),
    Fresh("restarts to L", Truth.HEALTHY, burst(restart=True)),
    Fresh("bursts of wrong labels", Truth.HEALTHY, burst(restart=False)),
    Fresh("1e-5, then 0.05", Truth.HEALTHY, memorised_and_back),
    Fresh("below zero", Truth.HEALTHY, below_zero),
    Fresh("around zero", Truth.HEALTHY, around_zero),
    Fresh("around 1e-7", Truth.HEALTHY, scaled(1e-7, 1e-5)),
    Fresh("around 1e8", Truth.HEALTHY, scaled(1e7, 3e8)),
    Fresh("resumed, flat", Truth.HEALTHY, resumed),
    Fresh("loss scale -1", Truth.HEALTHY, constant_scale(-1.0)),
    Fresh("loss scale 0", Truth.HEALTHY, constant_scale(0.0)),
    Fresh("loss scale 12", Truth.HEALTHY, constant_scale(12.0)),
    Fresh("epoch by epoch", Truth.HEALTHY, epochs, count=15),
    Fresh("every 10th step", Truth.HEALTHY, thinned(10)),
    Fresh("every 50th step", Truth.HEALTHY, thinned(50)),
    Fresh("NaN for ever, other shapes", Truth.NONFINITE, nan_for_ever),
    Fresh("loss 0 beside NaN norms", Truth.NONFINITE, zero_beside_nan),
    Fresh("NaN norms, flat loss", Truth.NONFINITE, nan_norms),
    Fresh("NaN as last loss", Truth.NONFINITE, last_nan),
    Fresh("loss scale to 0", Truth.SCALER, scale_to_zero),
    Fresh("early blow-up", Truth.LOSS, early_blow_up(half_way=False), count=15),
    Fresh("early blow-up, half way back", Truth.LOSS, early_blow_up(half_way=True), count=15),
    Fresh("rise at step 3", Truth.LOSS, rise_at_three),
    Fresh("learned and lost", Truth.LOSS, learned_and_lost),
    Fresh("swings that grow", Truth.LOSS, growing_swings),
    Fresh("last eight steps", Truth.LOSS, last_steps),
    Fresh("below zero, then explodes", Truth.LOSS, explodes_below_zero),
    Fresh("jump, other shapes", Truth.LOSS, jumped),
    Fresh("epoch by epoch, lost", Truth.LOSS, lost_epochs),
    Fresh("every 10th step, jump", Truth.LOSS, thinned_jump(10)),
    Fresh("every 50th step, jump", Truth.LOSS, thinned_jump(50)),
    Fresh("same loss to the last bit", Truth.NOTHING, frozen),
    Fresh("flat, other shapes", Truth.NOTHING, flat),
    Fresh("epoch by epoch, flat", Truth.NOTHING, flat_epochs, count=15),
)
