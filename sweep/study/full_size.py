"""What a study says of another size than the searched ones: how far to predict the edge of stability, and its test."""

from pydantic import Field

from slr_models.spec import Spec
from sweep.boundary.encoding import Encoding, edge_path
from sweep.space import Choice, Dimension, Grid, Integer, LogUniform, Settings, Space, Uniform

MIN_SIZES = 3
"""From fewer sizes nobody can tell how the edge moves."""


class FullSize(Spec):
    """Predicts the edge of stability at a size that is not searched, from how it moves over the searched ones."""

    path: str
    """Dotted path of the size, such as model.width: a dimension of `space` with at least three values."""
    target: float = Field(gt=0, le=1e12)
    """The size to predict for, in the unit of that setting."""
    trainings: int = Field(0, ge=0, le=1000)
    """Trainings at that size after the confirmation: the first `safety.lr_factor` below the predicted edge, the second
    a factor 3 above it, which should diverge, the others like the first over more seeds. 0 predicts without a test."""


def has_edge(full_size: FullSize, space: Space) -> bool:
    """Whether the space has a dimension besides the size along which an edge can be told; its conditions are right."""
    return edge_path(Encoding(space)) not in (None, full_size.path)


def has_enough_sizes(dimension: Dimension) -> bool:
    """Whether the dimension holds `MIN_SIZES` different positive numbers."""
    match dimension:
        case Choice() | Grid():
            sizes = [v for v in dimension.ends if not isinstance(v, bool | str) and v > 0]
            return len(sizes) == len(dimension.ends) >= MIN_SIZES
        case Integer():
            low, high = dimension.int_
            return low > 0 and high - low + 1 >= MIN_SIZES
        case Uniform():
            return 0 < dimension.uniform[0] < dimension.uniform[1]
        case LogUniform():
            return dimension.loguniform[0] < dimension.loguniform[1]


def at_full_size(full_size: FullSize, space: Space, settings: Settings) -> Settings:
    """The settings with the size set to the target, in the type of that dimension."""
    whole = isinstance(space[full_size.path], Integer) and full_size.target.is_integer()
    return {**settings, full_size.path: int(full_size.target) if whole else full_size.target}
