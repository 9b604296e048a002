"""Dimensions of a space as Optuna calls them."""

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from sweep.space import Choice, Dimension, Grid, Integer, LogUniform, Uniform


def distribution(dimension: Dimension) -> BaseDistribution:
    """The distribution that a setting of a dimension is drawn from."""
    match dimension:
        case Choice() | Grid():
            return CategoricalDistribution(list(dimension.ends))
        case Uniform():
            return FloatDistribution(*dimension.uniform)
        case LogUniform():
            return FloatDistribution(*dimension.loguniform, log=True)
        case Integer():
            return IntDistribution(*dimension.int_, log=dimension.log)
