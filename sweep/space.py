"""The search space: what may vary, by dotted path. Knows neither Ray nor Optuna.

A space is a mapping of a dotted path in the trial's configuration to one dimension:

    training.optimizer.lr:            {loguniform: [1e-4, 1e-1]}
    training.precision.kind:          {choice: [fp32, fp16]}
    training.precision.initial_scale: {grid: [256, 65536], when: {training.precision.kind: [fp16]}}
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Annotated, Any, Self, TypeVar

from pydantic import Discriminator, Field, Tag, ValidationError, model_validator

from slr_models.errors import SettingError, SettingProblem
from slr_models.spec import MAX_SIZE, MAX_WHOLE, Spec

D = TypeVar("D")
Scalar = bool | int | float | str
Settings = dict[str, Scalar]
"""One value for each active dimension, by dotted path."""

LEARNING_RATES = ("lr", "learning_rate")
"""Last parts of the paths of learning rates."""
MAX_VALUES = 1000
"""Of a choice or a grid."""
MIN_SIZE = 1e-100
"""Of a real number other than 0, as `slr_models.spec.MAX_SIZE`."""
MIN_SPREAD = 1e-9
"""Least distance of two bounds, as a share of the larger one: closer ones are not told apart on the axis of a range."""


def is_learning_rate(path: str) -> bool:
    """Whether a setting is called a learning rate."""
    return path.split(".")[-1] in LEARNING_RATES


def value_at(content: Mapping[str, Any], path: str, missing: Any = None) -> Any:
    """The value at a dotted path; `missing` where there is none."""
    here: Any = content
    for part in path.split("."):
        if not isinstance(here, Mapping) or part not in here:
            return missing
        here = here[part]
    return here


def flat(content: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """The values of nested sections, by dotted path."""
    found: dict[str, Any] = {}
    for name, value in content.items():
        found |= flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
    return found


_Condition = Annotated[tuple[Scalar, ...], Field(min_length=1)]


class _Conditional(Spec):
    when: dict[str, _Condition] = {}
    """Other dimension's path -> the values for which this dimension exists. All of them must hold."""


class Choice(_Conditional):
    """One of a few values without an order."""

    choice: tuple[Scalar, ...] = Field(min_length=1, max_length=MAX_VALUES)
    """The values."""

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        check_sizes(self.choice)
        _check_distinct(self.choice)
        return self

    @property
    def ends(self) -> tuple[Scalar, ...]:
        """Values that together show every error the dimension can make."""
        return self.choice


class Grid(_Conditional):
    """One of a few numbers."""

    grid: tuple[int | float, ...] = Field(min_length=1, max_length=MAX_VALUES)
    """The values."""

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        check_sizes(self.grid)
        _check_distinct(self.grid)
        return self

    @property
    def ends(self) -> tuple[Scalar, ...]:
        """Values that together show every error the dimension can make."""
        return self.grid


class Uniform(_Conditional):
    """A real number between two bounds, evenly."""

    uniform: tuple[float, float]
    """Lowest and highest value."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        _check_ordered(*self.uniform)
        return self

    @property
    def ends(self) -> tuple[Scalar, ...]:
        """Values that together show every error the dimension can make."""
        return self.uniform


class LogUniform(_Conditional):
    """A positive real number between two bounds, evenly on a logarithmic axis."""

    loguniform: tuple[float, float]
    """Lowest and highest value; both above zero."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        _check_ordered(*self.loguniform)
        if self.loguniform[0] <= 0:
            raise ValueError(
                f"a logarithmic axis has no zero: the lowest value must be above 0, got {self.loguniform[0]}"
            )
        return self

    @property
    def ends(self) -> tuple[Scalar, ...]:
        """Values that together show every error the dimension can make."""
        return self.loguniform


class Integer(_Conditional):
    """A whole number between two bounds, both included."""

    int_: tuple[int, int] = Field(alias="int")
    """Lowest and highest value."""
    log: bool = False
    """Whether the axis is logarithmic."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        _check_ordered(*self.int_)
        if self.log and self.int_[0] < 1:
            raise ValueError(f"a logarithmic axis has no zero: the lowest value must be at least 1, got {self.int_[0]}")
        return self

    @property
    def ends(self) -> tuple[Scalar, ...]:
        """Values that together show every error the dimension can make."""
        return self.int_


def choice(*values: Scalar) -> Choice:
    """One of a few values without an order."""
    return _made("choice", lambda: Choice(choice=values))


def grid(*values: float) -> Grid:
    """One of a few numbers."""
    return _made("grid", lambda: Grid(grid=values))


def uniform(low: float, high: float) -> Uniform:
    """A real number between two bounds, evenly."""
    return _made("uniform", lambda: Uniform(uniform=(low, high)))


def loguniform(low: float, high: float) -> LogUniform:
    """A positive real number between two bounds, evenly on a logarithmic axis."""
    return _made("loguniform", lambda: LogUniform(loguniform=(low, high)))


def integer(low: int, high: int, *, log: bool = False) -> Integer:
    """A whole number between two bounds, both included; `log`: on a logarithmic axis."""
    return _made("integer", lambda: Integer.model_validate({"int": (low, high), "log": log}))


def _made(name: str, make: Callable[[], D]) -> D:
    """A dimension; raises SettingError, by the name of the function that makes it."""
    try:
        return make()
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        what = first["msg"].removeprefix("Value error, ")
        given = "" if first["type"] == "value_error" else f", got {first['input']!r}"
        raise SettingError(f"sweep.{name}: {what}{given}") from error


KINDS = ("choice", "grid", "uniform", "loguniform", "int")


def _kind_of(value: Any) -> str | None:
    if isinstance(value, Choice | Grid | Uniform | LogUniform):
        return type(value).__name__.lower()
    if isinstance(value, Integer):
        return "int"
    kinds = [kind for kind in KINDS if isinstance(value, Mapping) and kind in value]
    return kinds[0] if kinds else None


Dimension = Annotated[
    Annotated[Choice, Tag("choice")]
    | Annotated[Grid, Tag("grid")]
    | Annotated[Uniform, Tag("uniform")]
    | Annotated[LogUniform, Tag("loguniform")]
    | Annotated[Integer, Tag("int")],
    Discriminator(
        _kind_of,
        custom_error_type="dimension_kind",
        custom_error_message="must be a mapping with one of the keys choice, grid, uniform, loguniform, int",
    ),
]
Space = dict[str, Dimension]


def check_sizes(values: Sequence[Scalar]) -> None:
    """Checks that values can be searched: numbers far beyond all that a computer tells apart, or counts, cannot.

    Raises:
        ValueError: one cannot.
    """
    for value in values:
        if isinstance(value, int) and abs(value) > MAX_WHOLE:
            raise ValueError(f"{value} is too large: whole numbers go to {MAX_WHOLE} (2 to the 53rd)")
        if isinstance(value, float) and value and not MIN_SIZE <= abs(value) <= MAX_SIZE:
            raise ValueError(f"{value} is out of range: numbers other than 0 go from {MIN_SIZE:g} to {MAX_SIZE:g}")


def _check_ordered(low: float, high: float) -> None:
    check_sizes((low, high))
    if not low < high:
        raise ValueError(f"the lowest value must be below the highest, got [{low}, {high}]")
    if high - low < MIN_SPREAD * max(abs(low), abs(high)):
        raise ValueError(f"the lowest and the highest value are too close to tell apart, got [{low}, {high}]")


def _check_distinct(values: tuple[Scalar, ...]) -> None:
    # True == 1 in Python; a choice may hold both.
    seen: set[tuple[bool, Scalar]] = set()
    for value in values:
        key = (isinstance(value, bool), value)
        if key in seen:
            raise ValueError(f"the value {value!r} stands twice")
        seen.add(key)


def condition_problems(space: Space) -> Iterator[SettingProblem]:
    """What is wrong with the conditions of a space: with each of them, or, where none is, a circle of them.

    Paths begin with `space`, as in a study file.
    """
    wrong = [problem for path, dimension in space.items() for problem in _wrong_conditions(path, dimension, space)]
    yield from wrong
    circle = [] if wrong else sorted(set(space) - set(_in_order(space)))
    if circle:
        yield SettingProblem(("space",), f"the conditions of {circle} in space go in a circle")


def _wrong_conditions(path: str, dimension: Dimension, space: Space) -> Iterator[SettingProblem]:
    for other, values in dimension.when.items():
        key = ("space", path, "when", other)
        if other not in space:
            yield SettingProblem(
                key,
                f"space.{path}.when names {other!r}, which is no dimension of this space",
                "name one, or leave out `when` if it is fixed",
            )
            continue
        target = space[other]
        if not isinstance(target, Choice | Grid):
            yield SettingProblem(key, f"space.{path}.when names {other!r}, which is not a choice or a grid")
            continue
        for value in values:
            if value not in target.ends:
                yield SettingProblem(
                    key,
                    f"space.{path}.when asks for {other} = {value!r}, which is none of its values {list(target.ends)}",
                )


def _in_order(space: Space) -> list[str]:
    """The paths, each after those that its condition names; without those that wait for each other in a circle."""
    done: list[str] = []
    while ready := [p for p in space if p not in done and all(other in done for other in space[p].when)]:
        done += ready
    return done


def ordered(space: Space) -> list[str]:
    """The paths, each after those that its condition names.

    Raises:
        SettingError: conditions name no dimension or a value that it cannot take, or go in a circle.
    """
    if wrong := tuple(condition_problems(space)):
        raise SettingError(*wrong)
    return _in_order(space)


def is_active(dimension: Dimension, settings: Mapping[str, Scalar]) -> bool:
    """Whether the dimension exists under the settings chosen so far (those of its conditions included)."""
    return all(other in settings and settings[other] in values for other, values in dimension.when.items())


def listing_problems(space: Space) -> Iterator[SettingProblem]:
    """Why the settings of a space cannot be listed: each dimension that is continuous. Paths begin with `space`."""
    for path, dimension in space.items():
        if isinstance(dimension, Uniform | LogUniform):
            yield SettingProblem(
                ("space", path), f"space.{path} is continuous, so a grid search cannot list it", "use grid: [...]"
            )


def grid_settings(space: Space) -> Iterator[Settings]:
    """Every combination of a space of choices, grids and integers; the first dimension varies slowest.

    There may be more of them than anybody can wait for: take as many as are needed.

    Raises:
        SettingError: dimensions are continuous, or conditions are wrong.
    """
    paths = ordered(space)
    if wrong := tuple(listing_problems(space)):
        raise SettingError(*wrong)
    yield from _combinations(space, paths, {})


def _combinations(space: Space, paths: Sequence[str], chosen: Settings) -> Iterator[Settings]:
    """Every combination of the dimensions at `paths` that exists, besides what has been chosen."""
    if not paths:
        yield chosen
        return
    path, *others = paths
    dimension = space[path]
    if not is_active(dimension, chosen):
        yield from _combinations(space, others, chosen)
        return
    for value in range(dimension.int_[0], dimension.int_[1] + 1) if isinstance(dimension, Integer) else dimension.ends:
        yield from _combinations(space, others, {**chosen, path: value})


def num_corners(space: Space) -> int:
    """How many `corner_settings` there are, at most; found without listing them."""
    others = {path: len(dim.ends) for path, dim in space.items() if isinstance(dim, Choice)}
    total = sum(others.values())
    return sum(len(dim.ends) * (1 + total - others.get(path, 0)) for path, dim in space.items())


def corner_settings(space: Space) -> Iterator[tuple[str, Settings]]:
    """Settings that take every dimension to its ends under every choice of the others, one at a time.

    Yields pairs of the path under test and the settings. Together they show each value that cannot be used
    and each dimension that some choice leaves without effect.
    """
    paths = ordered(space)
    categorical = [path for path in paths if isinstance(space[path], Choice)]

    def complete(fixed: Settings) -> Settings:
        settings: Settings = {}
        for path in paths:
            if is_active(space[path], settings):
                settings[path] = fixed.get(path, space[path].ends[0])
        return settings

    for path in paths:
        for end in space[path].ends:
            own: Settings = {path: end}
            for other, allowed in space[path].when.items():
                own[other] = allowed[0]
            yield path, complete(own)
            for other in categorical:
                if other != path and other not in own:
                    for value in space[other].ends:
                        yield path, complete({**own, other: value})


def contains(dimension: Dimension, value: Any) -> bool:
    """Whether the dimension can take the value."""
    if isinstance(dimension, Choice | Grid):
        return value in dimension.ends
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
        return False
    if isinstance(dimension, Integer):
        return float(value).is_integer() and dimension.int_[0] <= value <= dimension.int_[1]
    low, high = dimension.uniform if isinstance(dimension, Uniform) else dimension.loguniform
    return low <= value <= high
