"""The parameters of an Optuna study as a space of settings, and settings as values of these parameters.

| distribution                                 | dimension                                                          |
|----------------------------------------------|--------------------------------------------------------------------|
| float, int                                   | a range, on a logarithmic axis where it has one                    |
| ... in few steps, or of one value            | a grid                                                             |
| ... in many steps                            | a range; a proposal is put on the nearest step                     |
| categorical                                  | a choice; of values other than numbers, texts and booleans (None,  |
|                                              | say), a choice of their places, `#0` for the first                 |
"""

from collections.abc import Mapping
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from pydantic import TypeAdapter, ValidationError

from sweep.boundary.encoding import Encoding
from sweep.search.distributions import distribution
from sweep.space import Choice, Dimension, Grid, Integer, LogUniform, Scalar, Settings, Space, Uniform, contains

FEW_STEPS = 32
"""A range of at most so many steps is a list of values, each of which can be tried."""

CONSTRAINTS = "constraints"
"""System attribute that holds a trial's constraints as optuna-dashboard reads them, and Optuna does."""

_DIMENSION = TypeAdapter[Dimension](Dimension)

Given = Dimension | BaseDistribution | Mapping[str, Any]


class Parameters:
    """Named parameters, as Optuna knows them and as the map knows them."""

    def __init__(self, given: Mapping[str, Given]) -> None:
        """Of Optuna's distributions, of dimensions, or of dimensions as a study file has them.

        Raises:
            ValueError: one is of a kind that is not known.
        """
        self.space: Space = {name: _dimension(name, one) for name, one in given.items()}
        """Name -> dimension."""
        self.distributions: dict[str, BaseDistribution] = {
            name: one if isinstance(one, BaseDistribution) else distribution(self.space[name])
            for name, one in given.items()
        }
        self.encoding = Encoding(self.space)

    def setting(self, params: Mapping[str, Any]) -> Settings:
        """The setting of a trial's parameters; those that are not known here are left out.

        Raises:
            ValueError: a value is none of a parameter's choices.
        """
        return {name: self._inside(name, value) for name, value in params.items() if name in self.space}

    def holds(self, name: str, value: Any) -> bool:
        """Whether a parameter may have a value."""
        given = self.distributions[name]
        if isinstance(given, CategoricalDistribution):
            # True == 1 in Python; choices may hold both.
            same = (c for c in given.choices if c is value or c == value)
            return any(isinstance(c, bool) == isinstance(value, bool) for c in same)
        return contains(self.space[name], value)

    def params(self, setting: Mapping[str, Scalar]) -> dict[str, Any]:
        """A setting as values that Optuna's distributions hold."""
        return {name: self._outside(name, value) for name, value in setting.items()}

    def _inside(self, name: str, value: Any) -> Scalar:
        given = self.distributions[name]
        if isinstance(given, CategoricalDistribution) and not _are_plain(given):
            return _label(int(given.to_internal_repr(value)))
        scalar: Scalar = value
        return scalar

    def _outside(self, name: str, value: Scalar) -> Any:
        given = self.distributions[name]
        match given:
            case CategoricalDistribution() if not _are_plain(given):
                return given.choices[int(str(value).removeprefix("#"))]
            case FloatDistribution(low=low, high=high, step=float(step)):
                return min(low + step * round((float(value) - low) / step), high)
            case IntDistribution(low=low, step=step):
                return low + step * round((float(value) - low) / step)
            case _:
                return value


def _are_plain(given: CategoricalDistribution) -> bool:
    return all(isinstance(choice, bool | int | float | str) for choice in given.choices)


def _label(place: int) -> str:
    return f"#{place}"


def _dimension(name: str, given: Given) -> Dimension:
    match given:
        case FloatDistribution(low=low, high=high, log=log, step=step):
            if low == high or (step and round((high - low) / step) < FEW_STEPS):
                return Grid(grid=tuple(low + (step or 0.0) * k for k in range(round((high - low) / (step or 1.0)) + 1)))
            return LogUniform(loguniform=(low, high)) if log else Uniform(uniform=(low, high))
        case IntDistribution(low=low, high=high, log=log, step=step):
            if low == high or (step != 1 and (high - low) // step < FEW_STEPS):
                return Grid(grid=tuple(range(low, high + 1, step)))
            return Integer.model_validate({"int": (low, high), "log": log})
        case CategoricalDistribution(choices=choices):
            return Choice.model_validate(
                {"choice": choices if _are_plain(given) else [*map(_label, range(len(choices)))]}
            )
        case BaseDistribution():
            raise ValueError(f"StabilitySampler knows no distribution such as {given}")
        case Choice() | Grid() | Uniform() | LogUniform() | Integer():
            return given
        case _:
            try:
                return _DIMENSION.validate_python(given)
            except ValidationError as error:
                raise ValueError(
                    f"space[{name!r}] is {given!r}, which is neither a distribution of Optuna nor a dimension such as "
                    f'{{"loguniform": [1e-5, 1]}}'
                ) from error
