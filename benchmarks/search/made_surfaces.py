"""Spaces whose every chance is known: surfaces of six kinds, drawn from a seed, to work with or to report on.

| kind          | where training is stable                                                                    |
|---------------|---------------------------------------------------------------------------------------------|
| rotated edge  | below a hot edge that leans across three settings, above a cold one                           |
| narrow band   | in 0.4 to 0.8 decades of a learning rate that has six, wandering with a second setting        |
| island        | within an ellipsoid in three settings, 4 to 12 % of the space                                 |
| shifted edges | below a hot edge that lies lower in one of two precisions                                     |
| noisy seeds   | as a rotated edge, but a fifth of all outcomes is flipped by the seed                         |
| many settings | as a rotated edge in two of eight settings                                                    |

What fails on the hot side breaks, at a margin of 0.3 and more; what fails on the cold side just does not get below the
bound. Draws 0 to 99 of a kind are to work with, those from 100 on to report on.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from pydantic import TypeAdapter
from scipy.special import ndtr

from benchmarks.search.surface import Told
from sweep.boundary.encoding import Encoding
from sweep.judging.objective import STABLE_CAP
from sweep.space import Settings, Space

Floats = npt.NDArray[np.float64]
Distance = Callable[[Floats, Sequence[Settings]], Floats]
"""How far places of the unit cube, [N, numbers], lie outside of what is stable: decades, negative inside, [N]."""

HELD_OUT = 100
"""The first draw that nothing may be chosen by."""
DECADES = 6.0
"""Of every numeric setting."""
SPREAD = 0.12
"""Decades by which the seed moves an edge."""
MAX_STEPS = 100


@dataclass(frozen=True)
class Surface:
    """A space with the chance of every setting to train stably."""

    name: str
    space: Space
    hot: Distance
    """How far beyond what breaks; negative where nothing does."""
    cold: Distance
    """How far below what learns."""
    flipped: float = 0.0
    """Share of outcomes that the seed alone decides."""

    along = "lr"
    seeds = range(1_000_000)
    max_steps = MAX_STEPS

    @property
    def encoding(self) -> Encoding:
        """Of the space."""
        return Encoding(self.space)

    def _distances(self, settings: Sequence[Settings]) -> tuple[Floats, Floats]:
        numbers = [path for path in self.space if path != "precision"]
        places = np.array([[math.log10(float(s[path])) / DECADES + 1 for path in numbers] for s in settings])
        return self.hot(places, settings), self.cold(places, settings)

    def p_stable(self, settings: Sequence[Settings]) -> Floats:
        """The chance of a training with a fresh seed to be stable, [N]."""
        hot, cold = self._distances(settings)
        p = ndtr(-hot / SPREAD) * ndtr(-cold / SPREAD)
        return self.flipped + (1 - 2 * self.flipped) * p

    def p_sound(self, setting: Settings) -> float:
        """The chance of a training with a fresh seed not to break."""
        hot, _ = self._distances([setting])
        return float((1 - self.flipped) * ndtr(-hot[0] / SPREAD))

    def train(self, setting: Settings, seed: int) -> Told:
        """What a search hears of a training."""
        rng = np.random.default_rng([seed, 11])
        hot, cold = (float(d[0]) + SPREAD * rng.standard_normal() for d in self._distances([setting]))
        if rng.random() < self.flipped:
            # As if the seed had carried it over the nearer edge, or back.
            hot = -hot if hot > cold else abs(hot)
            cold = min(cold, -0.05)
        if hot > 0:
            survived = max(0.05, 0.9 - 0.4 * hot)
            return Told(
                False,
                min(0.3 + 0.7 * (1 - survived), 1.0),
                3.0 - survived,
                round(MAX_STEPS * survived),
                math.nan,
                MAX_STEPS,
            )
        if cold > 0:
            return Told(False, min(max(0.15 * cold, 0.01), 0.3), STABLE_CAP + 0.1, MAX_STEPS, 1.0, MAX_STEPS)
        depth = min(-hot, -cold)
        loss = math.exp(-depth) * math.exp(0.1 * rng.standard_normal())
        return Told(True, -min(max(0.35 * depth, 0.01), 1.0), min(loss, STABLE_CAP), MAX_STEPS, loss, MAX_STEPS)

    def true_objective(self, setting: Settings) -> float:
        """What a setting is truly worth: the mean over many seeds."""
        return float(np.mean([self.train(setting, seed).objective for seed in range(40)]))


def _space(names: Sequence[str], precisions: Sequence[str] = ()) -> Space:
    content = {name: {"loguniform": [10**-DECADES, 1.0]} for name in names}
    return TypeAdapter(Space).validate_python(
        content | ({"precision": {"choice": list(precisions)}} if precisions else {})
    )


def _plane(weights: Floats, offset: float) -> Distance:
    """Beyond a plane: decades along the first setting."""
    return lambda places, _: DECADES * (places[:, : len(weights)] @ weights - offset)


def _edges(rng: np.random.Generator, num: int) -> tuple[Distance, Distance]:
    leaning = np.array([1.0, *rng.uniform(0.2, 0.7, num - 1) * rng.choice([-1, 1], num - 1)])
    middle = float(leaning[1:].sum() / 2)
    hot = rng.uniform(0.5, 0.75)
    cold = np.array([-1.0, *rng.uniform(-0.2, 0.2, num - 1)])
    return _plane(leaning, hot + middle), _plane(cold, -rng.uniform(0.1, 0.25) + float(cold[1:].sum() / 2))


def _rotated(rng: np.random.Generator) -> tuple[Space, Distance, Distance]:
    return _space(["lr", "clip", "init"]), *_edges(rng, 3)


def _band(rng: np.random.Generator) -> tuple[Space, Distance, Distance]:
    middle, width = rng.uniform(0.35, 0.65), rng.uniform(0.4, 0.8) / DECADES
    swing, waves, phase = rng.uniform(0.03, 0.1), rng.uniform(0.5, 1.2), rng.uniform(0, 2 * math.pi)

    def centre(places: Floats) -> Floats:
        return middle + swing * np.sin(2 * math.pi * waves * places[:, 1] + phase)

    return (
        _space(["lr", "clip"]),
        lambda places, _: DECADES * (places[:, 0] - centre(places) - width / 2),
        lambda places, _: DECADES * (centre(places) - places[:, 0] - width / 2),
    )


def _island(rng: np.random.Generator) -> tuple[Space, Distance, Distance]:
    share = rng.uniform(0.04, 0.12)
    radius = (share * 3 / (4 * math.pi)) ** (1 / 3)
    stretch = np.exp(rng.uniform(-0.3, 0.3, 3))
    radii = radius * stretch / stretch.prod() ** (1 / 3)
    middle = rng.uniform(radii + 0.02, 0.98 - radii)

    def outside(places: Floats) -> Floats:
        return DECADES * radius * (np.sqrt((((places[:, :3] - middle) / radii) ** 2).sum(axis=1)) - 1)

    return (
        _space(["lr", "clip", "init"]),
        lambda places, _: np.where(places[:, 0] >= middle[0], outside(places), -1.0),
        lambda places, _: np.where(places[:, 0] < middle[0], outside(places), -1.0),
    )


def _shifted(rng: np.random.Generator) -> tuple[Space, Distance, Distance]:
    hot, cold = _edges(rng, 2)
    shift = rng.uniform(0.4, 1.2)

    def of_precision(places: Floats, settings: Sequence[Settings]) -> Floats:
        lower = np.array([s["precision"] == "fp16" for s in settings])
        return hot(places, settings) + np.where(lower, shift, 0.0)

    return _space(["lr", "clip"], ["fp32", "fp16"]), of_precision, cold


def _many(rng: np.random.Generator) -> tuple[Space, Distance, Distance]:
    return _space(["lr", "init", *(f"other_{k}" for k in range(6))]), *_edges(rng, 2)


_KINDS: dict[str, Callable[[np.random.Generator], tuple[Space, Distance, Distance]]] = {
    "rotated edge": _rotated,
    "narrow band": _band,
    "island": _island,
    "shifted edges": _shifted,
    "noisy seeds": _rotated,
    "many settings": _many,
}
KINDS = tuple(_KINDS)


def surface(kind: str, draw: int) -> Surface:
    """A surface of a kind; the same for the same draw."""
    rng = np.random.default_rng([KINDS.index(kind), draw])
    space, hot, cold = _KINDS[kind](rng)
    return Surface(f"{kind} {draw}", space, hot, cold, 0.2 if kind == "noisy seeds" else 0.0)
