"""Settings as points: of the unit cube that designs fill, and of the space in which a model measures distance."""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sweep.space import (
    Choice,
    Dimension,
    Grid,
    Integer,
    LogUniform,
    Scalar,
    Settings,
    Space,
    Uniform,
    grid_settings,
    is_active,
    is_learning_rate,
    ordered,
)

Floats = npt.NDArray[np.float64]

LOG_RATIO = 10.0
"""A grid of positive numbers that spans this factor or more counts as logarithmic."""


@dataclass(frozen=True)
class Axis:
    """A numeric dimension on its own scale."""

    low: float
    high: float
    log: bool

    @property
    def decades(self) -> float:
        """Length in powers of ten; NaN where the axis is not logarithmic."""
        return math.log10(self.high / self.low) if self.log else math.nan

    def to_unit(self, value: float) -> float:
        """0 at the low end, 1 at the high end; values outside the range lie outside [0, 1]."""
        if self.high == self.low:
            return 0.5
        if self.log:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)

    def from_unit(self, place: float) -> float:
        """The value at a place; the ends are exact."""
        if place in (0.0, 1.0):
            return (self.low, self.high)[int(place)]
        if self.log:
            return math.exp(math.log(self.low) + place * math.log(self.high / self.low))
        return self.low + place * (self.high - self.low)


def axis(dimension: Dimension) -> Axis | None:
    """The scale of a numeric dimension; None for one of values without an order."""
    match dimension:
        case Uniform():
            return Axis(*dimension.uniform, log=False)
        case LogUniform():
            return Axis(*dimension.loguniform, log=True)
        case Integer():
            low, high = map(float, dimension.int_)
            return Axis(low, high, log=dimension.log)
        case Choice() | Grid():
            values = dimension.ends
            if any(isinstance(value, bool | str) for value in values):
                return None
            numbers = [float(value) for value in values]
            low, high = min(numbers), max(numbers)
            return Axis(low, high, log=low > 0 and high / low >= LOG_RATIO)


class Encoding:
    """Turns settings of a space into rows of numbers and places of the unit cube into settings.

    | dimension                    | features                               | inactive       |
    |------------------------------|----------------------------------------|----------------|
    | number (a grid of them, too) | one: its place between low and high    | 0.5            |
    | values without an order      | one a value: 1 / sqrt(2) where it holds | all of them 0 |

    Two different values without an order are thus one range apart. Whether a conditional dimension is active
    needs no feature of its own, since the dimensions of its condition have theirs.
    """

    def __init__(self, space: Space) -> None:
        """For a space, all of whose conditions can be met.

        Raises:
            SettingError: the conditions of the space are wrong.
        """
        self.space = space
        self.paths = tuple(ordered(space))
        """The dimensions, each after those that its condition names."""
        self._axes = {path: axis(space[path]) for path in self.paths}
        self._levels = {path: _levels(space[path], self._axes[path]) for path in self.paths}
        owners: list[str] = []
        for path in self.paths:
            owners += [path] * (1 if self._axes[path] is not None else len(space[path].ends))
        self.owners = tuple(owners)
        """The dimension of each feature."""
        self._is_numeric = np.array([self._axes[path] is not None for path in self.paths])

    @property
    def num_features(self) -> int:
        """Features of a setting, F."""
        return len(self.owners)

    def axis(self, path: str) -> Axis | None:
        """The scale of a numeric dimension; None for one of values without an order."""
        return self._axes[path]

    def encode(self, settings: Sequence[Mapping[str, Scalar | None]]) -> Floats:
        """Features of N settings, [N, F]; a dimension that is missing or None is inactive."""
        features = np.zeros((len(settings), self.num_features))
        start = 0
        for path in self.paths:
            scale, values = self._axes[path], [setting.get(path) for setting in settings]
            if scale is not None:
                features[:, start] = [0.5 if v is None else scale.to_unit(float(v)) for v in values]
                start += 1
                continue
            for level in self.space[path].ends:
                features[:, start] = [math.sqrt(0.5) if _same(v, level) else 0.0 for v in values]
                start += 1
        return features

    def decode(self, places: Floats) -> list[Settings]:
        """The settings at N places of the unit cube, [N, D] in the order of `paths`, D dimensions."""
        result = []
        for row in places:
            setting: Settings = {}
            for path, place in zip(self.paths, row, strict=True):
                if is_active(self.space[path], setting):
                    setting[path] = self._value(path, float(place))
            result.append(setting)
        return result

    def encode_places(self, places: Floats) -> Floats:
        """Features of the settings at N places of the unit cube, [N, F]: `encode(decode(places))`, but fast."""
        columns: dict[str, Floats] = {}
        chosen: dict[str, npt.NDArray[np.int64]] = {}
        active: dict[str, npt.NDArray[np.bool_]] = {}
        for path, place in zip(self.paths, places.T, strict=True):
            dimension, scale, levels = self.space[path], self._axes[path], self._levels[path]
            active[path] = np.ones(len(places), dtype=bool)
            for other, values in dimension.when.items():
                allowed = [k for k, level in enumerate(self._levels[other]) if level in values]
                active[path] &= active[other] & np.isin(chosen[other], allowed)
            if levels:
                chosen[path] = np.minimum((place * len(levels)).astype(int), len(levels) - 1)
            if scale is None:
                columns[path] = (
                    math.sqrt(0.5) * (chosen[path][:, None] == np.arange(len(levels))) * active[path][:, None]
                )
                continue
            if levels:
                own = np.array([scale.to_unit(float(level)) for level in levels])[chosen[path]]
            elif isinstance(dimension, Integer):
                own = _whole_places(dimension, scale, place)
            else:
                own = place
            columns[path] = np.where(active[path], own, 0.5)[:, None]
        return np.concatenate([columns[path] for path in self.paths], axis=1) if columns else np.zeros((len(places), 0))

    def sobol(self, num: int, seed: int) -> list[Settings]:
        """`num` settings spread evenly: scrambled Sobol points, the first ones of a sequence that a seed fixes."""
        return self.decode(self.sobol_places(num, seed))

    def sobol_places(self, num: int, seed: int, *, overhang: float = 0.0) -> Floats:
        """As `sobol`, their places in the unit cube, [num, D].

        Numbers are spread over their range and `overhang` times its length beyond both of its ends; what lies beyond
        is put on the end.
        """
        if not self.paths:
            return np.zeros((num, 0))
        # Its import takes longer than all the rest of a study's.
        from scipy.stats import qmc

        sequence = qmc.Sobol(len(self.paths), scramble=True, rng=seed)
        # Whole powers of two keep the sequence balanced, and scipy quiet.
        places = sequence.random_base2(max(0, math.ceil(math.log2(max(num, 1)))))[:num]
        wide = np.clip(places * (1 + 2 * overhang) - overhang, 0.0, 1.0)
        return np.where(self._is_numeric, wide, places)

    def places_near(self, setting: Mapping[str, Scalar | None], num: int, rng: np.random.Generator) -> Floats:
        """Places of `num` settings around one, [num, D].

        Numbers lie a few hundredths to tenths of their range away, all else is the same.
        """
        middle = np.array([self.place(path, setting.get(path)) for path in self.paths])
        reach = rng.choice([0.03, 0.1, 0.2], size=(num, 1))
        places = middle + np.where(self._is_numeric, reach * rng.standard_normal((num, len(middle))), 0.0)
        return np.asarray(np.clip(places, 0.0, 1.0))

    def all_settings(self, limit: int) -> list[Settings] | None:
        """Every setting of a space without continuous dimensions; None above `limit` of them."""
        if any(isinstance(dimension, Uniform | LogUniform) for dimension in self.space.values()):
            return None
        found = list(itertools.islice(grid_settings(self.space), limit + 1))
        return found if len(found) <= limit else None

    def _value(self, path: str, place: float) -> Scalar:
        """The value of a dimension at a place in [0, 1]; each of several values takes an equal part."""
        dimension, scale, levels = self.space[path], self._axes[path], self._levels[path]
        if levels:
            return levels[min(int(place * len(levels)), len(levels) - 1)]
        assert scale is not None, "what has no list of values has a scale"
        if isinstance(dimension, Integer):
            low, high = dimension.int_
            return min(max(round(_owning(dimension, scale).from_unit(place)), low), high)
        return min(max(scale.from_unit(place), scale.low), scale.high)

    def place(self, path: str, value: Scalar | None) -> float:
        """Where in the unit cube a value lies; the middle for an inactive dimension."""
        scale, levels = self._axes[path], self._levels[path]
        if value is None:
            return 0.5
        if levels:
            return (next(i for i, level in enumerate(levels) if _same(value, level)) + 0.5) / len(levels)
        assert scale is not None, "what has no list of values has a scale"
        dimension = self.space[path]
        return (_owning(dimension, scale) if isinstance(dimension, Integer) else scale).to_unit(float(value))


def _same(value: Scalar | None, level: Scalar) -> bool:
    # True == 1 in Python; a space may hold both.
    return value == level and isinstance(value, bool) == isinstance(level, bool)


def _owning(dimension: Integer, scale: Axis) -> Axis:
    """On which each whole number owns the stretch that is rounded to it."""
    low, high = dimension.int_
    return Axis(low - 0.5, high + 0.5, scale.log)


def _whole_places(dimension: Integer, scale: Axis, places: Floats) -> Floats:
    """Where on their scale the whole numbers lie that own N places, [N]."""
    whole = [round(_owning(dimension, scale).from_unit(place)) for place in places.tolist()]
    low, high = dimension.int_
    return np.array([scale.to_unit(min(max(value, low), high)) for value in whole])


def _levels(dimension: Dimension, scale: Axis | None) -> tuple[Scalar, ...]:
    """The values of a dimension that has only a few; numbers in their order."""
    if isinstance(dimension, Choice | Grid):
        return tuple(dimension.ends) if scale is None else tuple(sorted(dimension.ends, key=float))
    return ()


def edge_path(encoding: Encoding) -> str | None:
    """The dimension along which edges are told: the learning rate, else the first numeric one; None without any."""
    numeric = [path for path in encoding.paths if encoding.axis(path) is not None]
    named = [path for path in numeric if is_learning_rate(path)]
    return next(iter(named + numeric), None)
