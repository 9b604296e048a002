"""A designed experiment: blocks of trainings that differ by the levels of their factors alone.

A block draws one setting of the study's `space` and one seed, and trains every cell under both. So whatever is
compared within a block has the same initial weights, the same order of data and the same drawn settings (common random
numbers), and blocks are independent of each other.
"""

import itertools
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import BeforeValidator, Field, model_validator

from slr_models.spec import MAX_WHOLE, Spec
from sweep.boundary.encoding import Encoding
from sweep.space import MAX_VALUES, Choice, Dimension, Grid, Scalar, Settings, Space, check_sizes

MIN_HALVED = 3
"""Factors that a half needs: with two, each would be the other's alias."""
MIN_QUARTERED = 5
"""Factors that a quarter needs: with four, two of them would be each other's alias."""
MAX_COMBINATIONS = MAX_VALUES
"""Of levels, before a fraction leaves any out: a block trains them all."""
MAX_TRAININGS = 100_000
"""Of a design; what nobody can wait for is a mistake."""


def level_name(value: Any) -> Any:
    """The name of a level that a value stands for: 1e-4 -> "0.0001", 65536.0 -> "65536", true -> "true"."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer() and abs(value) <= MAX_WHOLE:
        return str(int(value))
    return str(value) if isinstance(value, int | float) else value


LevelName = Annotated[str, BeforeValidator(level_name, json_schema_input_type=Scalar)]


def _long_form(given: Any) -> Any:
    """A factor as level name -> settings, where it may be written as one path -> values."""
    if not isinstance(given, Mapping):
        raise ValueError(
            f"a factor is written as level name: {{path: value}}, or in short as path: [values], got {given!r}"
        )
    if not any(isinstance(value, list | tuple) for value in given.values()):
        if (empty := next((name for name, settings in given.items() if settings is None), None)) is not None:
            raise ValueError(
                f"the level {empty} is null: write what it sets, as {{path: value}}, or {{}} for what the study has"
            )
        return {level_name(name): settings for name, settings in given.items()}
    if len(given) > 1:
        raise ValueError(
            "the short form path: [values] takes one path: name the levels to set several paths, such as "
            "small: {training.batch_size: 2, training.accumulate: 2}"
        )
    ((path, values),) = given.items()
    for value in values:
        if value is None:
            raise ValueError(f"a level sets {path} to a value, and null is none: leave it out of the list")
        if not isinstance(value, Scalar):
            raise ValueError(f"a level sets {path} to one value, such as a number or a word, got {value!r}")
    names = [level_name(value) for value in values]
    if (twice := _first_repeated(names)) is not None:
        raise ValueError(f"the value {twice} stands twice")
    return {name: {path: value} for name, value in zip(names, values, strict=True)}


_Levels = Annotated[dict[str, Settings], Field(min_length=1)]
_Values = Annotated[dict[str, Annotated[list[Scalar], Field(min_length=1)]], Field(min_length=1, max_length=1)]
Factor = Annotated[_Levels, BeforeValidator(_long_form, json_schema_input_type=_Levels | _Values)]
"""Level name -> the settings that the level puts in, by dotted path. The first level is the reference."""


class Paired(Spec):
    """Blocks of trainings, each over every cell (combination of levels) of crossed factors.

    Fractions of two-level factors leave cells out, and with them the power to tell some effects apart (their aliases).
    With the reference coded +1 and the other level -1, a defining word is a set of factors whose codes multiply to +1
    in every cell that is kept; the cell of all references is always among them. An effect cannot be told from the one
    whose factors are the symmetric difference of its own and those of a word.

    | fraction | words                                       | of 3 | of 5           | of 6             |
    |----------|---------------------------------------------|------|----------------|------------------|
    | half     | all factors                                 | ABC  | ABCDE          | ABCDEF           |
    | quarter  | the factors in three groups, pairs of these | -    | ABCD, ABE, CDE | ABCD, ABEF, CDEF |

    So in a half of 3 factors A is the alias of B x C, and A x B that of C; in a quarter of 5, E is that of A x B.

    Source: Box and Hunter, Technometrics 3 (1961), 311-351.
    """

    kind: Literal["paired"] = "paired"
    blocks: int = Field(24, ge=2, le=100_000)
    """Blocks planned: drawn setting x seed, each trained in every cell. The most pairs that a claim can have."""
    looks: int = Field(4, ge=1, le=100)
    """Analyses planned, evenly spaced over the blocks, the last at their end. The study ends at the first look at which
    every claim is settled; 1 for a study that trains all of its blocks in any case."""
    factors: dict[str, Factor] = Field(min_length=1)
    """What is compared: name -> levels, crossed with each other. Either level name -> {dotted path: value, ...}, or in
    short {dotted path: [values]} with levels named by their values. The first level of each is its reference."""
    fraction: Literal["full", "half", "quarter"] = "full"
    """Share of all cells that is trained. Less than all of them needs factors of two levels each."""
    seed: int = Field(0, ge=0)
    """Seed of what blocks draw and of the order of their cells (not of the trainings)."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.looks > self.blocks:
            raise ValueError(f"looks is {self.looks}, more than there are blocks ({self.blocks}): ask for fewer")
        # First, since all that follows lists levels or combinations of them.
        combinations = math.prod(map(len, self.factors.values()))
        if combinations > MAX_COMBINATIONS:
            raise ValueError(
                f"the levels of all factors make {combinations} combinations, more than {MAX_COMBINATIONS}: leave "
                f"levels or factors out"
            )
        for name, levels in self.factors.items():
            _check_factor(name, levels)
        owners: dict[str, str] = {}
        for name, levels in self.factors.items():
            for path in _paths(levels):
                if path in owners:
                    raise ValueError(f"the factors {owners[path]} and {name} both set {path}: leave it to one of them")
                owners[path] = name
        self._check_fraction()
        if (trainings := num_trainings(self)) > MAX_TRAININGS:
            raise ValueError(f"blocks x cells make {trainings} trainings, more than {MAX_TRAININGS}: lower blocks")
        return self

    def _check_fraction(self) -> None:
        if self.fraction == "full":
            return
        wrong = next((name for name, levels in self.factors.items() if len(levels) != 2), None)
        if wrong is not None:
            raise ValueError(
                f"fraction: {self.fraction} needs factors of two levels, and {wrong} has {len(self.factors[wrong])}: "
                f"leave levels out, or use fraction: full"
            )
        needed = MIN_HALVED if self.fraction == "half" else MIN_QUARTERED
        if len(self.factors) < needed:
            raise ValueError(
                f"fraction: {self.fraction} needs at least {needed} factors to tell their effects apart, and there are "
                f"{len(self.factors)}: use fraction: full"
            )


def _check_factor(name: str, levels: Mapping[str, Settings]) -> None:
    for part in (name, *levels):
        if not part.strip() or not part.isprintable() or "," in part or "=" in part:
            raise ValueError(f"{part!r} cannot name a factor or a level: cells are named factor=level, factor=level")
    for level, settings in levels.items():
        try:
            check_sizes(list(settings.values()))
        except ValueError as error:
            raise ValueError(f"the level {level} of {name}: {error}") from None
    for one, other in itertools.combinations(levels, 2):
        if levels[one] == levels[other]:
            raise ValueError(f"the levels {one} and {other} of {name} are the same: let them differ, or leave one out")


def _paths(levels: Mapping[str, Settings]) -> list[str]:
    """All paths that a factor sets, each once."""
    return list(dict.fromkeys(path for settings in levels.values() for path in settings))


def _first_repeated(names: Sequence[Any]) -> Any | None:
    count = Counter(names)
    return next((name for name in names if count[name] > 1), None)


@dataclass(frozen=True)
class Cell:
    """One combination of levels."""

    levels: Mapping[str, str]
    """Factor -> level, in the order of the design."""
    settings: Settings
    """What the levels put in, by dotted path."""

    @property
    def name(self) -> str:
        """For the table of trials: `model=teacher, precision=fp16`."""
        return ", ".join(f"{factor}={level}" for factor, level in self.levels.items())


@dataclass(frozen=True)
class Planned:
    """One training of a design."""

    block: int
    """Counts from 0."""
    cell: Cell
    settings: Settings
    """What the block drew, and the cell's own settings."""
    seed: int
    """Of the training: initial weights and data order."""


def words(design: Paired) -> list[frozenset[str]]:
    """The defining words of a fraction, as sets of factors; none of a full factorial."""
    names = list(design.factors)
    match design.fraction:
        case "full":
            return []
        case "half":
            return [frozenset(names)]
        case "quarter":
            # Three groups of about equal size make the shortest of the three words as long as it can be.
            third = math.ceil(len(names) / 3)
            groups = (names[:third], names[third : 2 * third], names[2 * third :])
            return [frozenset(a) | frozenset(b) for a, b in itertools.combinations(groups, 2)]


def cells(design: Paired) -> list[Cell]:
    """Every combination of levels that is trained, the first factor varying slowest; all references come first."""
    kept = words(design)
    result = []
    for combination in itertools.product(*design.factors.values()):
        levels = dict(zip(design.factors, combination, strict=True))
        others = {name for name, level in levels.items() if level != next(iter(design.factors[name]))}
        if all(len(others & word) % 2 == 0 for word in kept):
            settings = {path: v for name, level in levels.items() for path, v in design.factors[name][level].items()}
            result.append(Cell(levels, settings))
    return result


def num_trainings(design: Paired) -> int:
    """Trainings of the whole design."""
    return design.blocks * len(cells(design))


def training(design: Paired, space: Space, index: int, seed: int) -> Planned:
    """The training at a place of the design's order: block after block, the cells of each in an order of their own.

    Args:
        design: the design.
        space: what blocks draw: block b takes point b of a scrambled Sobol sequence.
        index: counts from 0.
        seed: the study's; block b trains with seed + b.
    """
    every = cells(design)
    block, place = divmod(index, len(every))
    cell = every[int(np.random.default_rng([design.seed, block]).permutation(len(every))[place])]
    drawn = Encoding(space).sobol(block + 1, design.seed)[block]
    return Planned(block, cell, {**drawn, **cell.settings}, seed + block)


def dimensions(design: Paired) -> Space:
    """What the factors vary, as dimensions of a space: dotted path -> the values that levels put in."""
    return {path: _dimension(levels, path) for levels in design.factors.values() for path in _paths(levels)}


def _dimension(levels: Mapping[str, Settings], path: str) -> Dimension:
    values: list[Scalar] = []
    for settings in levels.values():
        if path in settings and not any(_same(settings[path], value) for value in values):
            values.append(settings[path])
    numbers = [value for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
    return Grid(grid=tuple(numbers)) if len(numbers) == len(values) else Choice(choice=tuple(values))


def _same(one: Scalar, other: Scalar) -> bool:
    return isinstance(one, bool) == isinstance(other, bool) and one == other
