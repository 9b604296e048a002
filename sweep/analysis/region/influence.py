"""Which settings decide whether a training is stable: Sobol indices of P(stable) over the searched space."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import qmc

from sweep.boundary.encoding import Encoding, Floats
from sweep.boundary.model import MarginModel
from sweep.space import Scalar

_MOST_CALLS = 24_576
"""Settings whose P(stable) is asked for, at most."""
_SEED = 0
_LEAST_SHARE = 0.01
"""Interactions below this share are within the estimate's own error."""
_NUM_RESAMPLES, _CALLS_OF_RESAMPLE = 20, 2_048
"""Models that the ranges come from, and settings that each of them is asked for."""
_MOST_RESAMPLED = 60
"""Settings of a resample: the time of a fit grows with the third power."""
RANGE = 0.9
"""Share of the resamples whose indices lie in a range."""

Range = tuple[float, float]
"""Low and high end."""


@dataclass(frozen=True)
class Influence:
    """How much of the variation of P(stable) over the space one setting accounts for."""

    path: str
    name: str
    alone: float
    """First-order Sobol index, in [0, 1]: by itself."""
    total: float
    """Total-effect Sobol index, in [0, 1]: with all interactions that it takes part in."""


@dataclass(frozen=True)
class Interaction:
    """How much of the variation two settings account for only together."""

    paths: tuple[str, str]
    share: float
    """Second-order Sobol index, in [0, 1]."""


@dataclass(frozen=True)
class Indices:
    """Sobol indices of a function on the unit cube of D dimensions, each in [0, 1]."""

    alone: Floats
    """[D]"""
    total: Floats
    """[D]"""
    pairs: Floats
    """[D, D], symmetric, zero on the diagonal."""


def influences(model: MarginModel, names: Mapping[str, str]) -> tuple[tuple[Influence, ...], tuple[Interaction, ...]]:
    """Influences of all settings and the interactions worth a word, strongest first.

    A conditional setting counts where it is active. All zero if P(stable) is the same everywhere.

    Args:
        model: of the boundary.
        names: dotted path -> short name.
    """
    encoding = model.encoding
    found = sobol_indices(lambda places: model.p_stable(encoding.decode(places)), len(encoding.paths))
    singles = [
        Influence(path, names.get(path, path), float(found.alone[i]), float(found.total[i]))
        for i, path in enumerate(encoding.paths)
    ]
    pairs = [
        Interaction((encoding.paths[i], encoding.paths[j]), float(found.pairs[i, j]))
        for i in range(len(singles))
        for j in range(i + 1, len(singles))
        if found.pairs[i, j] >= _LEAST_SHARE
    ]
    return (
        tuple(sorted(singles, key=lambda one: -one.total)),
        tuple(sorted(pairs, key=lambda one: -one.share)),
    )


def index_ranges(
    encoding: Encoding,
    settings: Sequence[Mapping[str, Scalar | None]],
    margins: Sequence[float],
    found: Mapping[str, Influence],
) -> dict[str, tuple[Range, Range]]:
    """How far the indices move where other settings might have been tried: ranges over resamples of the settings.

    All seeds of a setting go together, and every resample has a model of its own, length scales included: with those
    kept, ranges came out three to ten times too narrow in simulations. Of more than 60 settings 60 are resampled,
    and the ranges narrowed by the root of how many more there are.

    Args:
        encoding: of the searched space.
        settings: of each training.
        margins: of each training.
        found: dotted path -> the indices of all trainings.

    Returns:
        Dotted path -> range of the index alone, and of that in total; each holds the index itself.
    """
    _, group = np.unique(encoding.encode(settings), axis=0, return_inverse=True)
    members = [np.flatnonzero(group == one) for one in range(int(group.max()) + 1)]
    num = min(len(members), _MOST_RESAMPLED)
    narrowing = (num / len(members)) ** 0.5
    rng = np.random.default_rng(_SEED)
    num_dims = len(encoding.paths)
    asked = encoding.decode(_design(num_dims, _CALLS_OF_RESAMPLE))
    every = []
    for _ in range(_NUM_RESAMPLES):
        rows = np.concatenate([members[one] for one in rng.integers(0, len(members), num)]).tolist()
        model = MarginModel(encoding, [settings[i] for i in rows], [margins[i] for i in rows])
        indices = _indices(model.p_stable(asked), num_dims)
        every.append((indices.alone, indices.total))
    ends = np.quantile(np.array(every), (0.5 - RANGE / 2, 0.5 + RANGE / 2), axis=0)
    return {
        path: (
            _range(ends[:, 0, dim], found[path].alone, narrowing),
            _range(ends[:, 1, dim], found[path].total, narrowing),
        )
        for dim, path in enumerate(encoding.paths)
    }


def _range(ends: Floats, index: float, narrowing: float) -> Range:
    low, high = (index + narrowing * (float(end) - index) for end in ends)
    return min(low, index), max(high, index)


def sobol_indices(function: Callable[[Floats], Floats], num_dims: int) -> Indices:
    """Indices by pick-freeze from two Sobol designs that swap one dimension at a time.

    Saltelli et al., Computer Physics Communications 181 (2010) for the first order, Jansen (1999) for the total
    effect, Saltelli (2002) for pairs. The estimates' own errors are cut off at 0 and 1.

    Args:
        function: places in the unit cube [N, D] -> values [N].
        num_dims: D.
    """
    return _indices(function(_design(num_dims, _MOST_CALLS)), num_dims)


def _design(num_dims: int, most: int) -> Floats:
    """Both designs, then both with one dimension swapped after the other: [(2 D + 2) rows, D]."""
    rows = 2 ** int(np.log2(most / (2 * num_dims + 2)))
    places = qmc.Sobol(2 * num_dims, scramble=True, rng=_SEED).random(rows)
    a, b = places[:, :num_dims], places[:, num_dims:]
    swapped = []
    for base, other in ((a, b), (b, a)):
        for dim in range(num_dims):
            mixed = base.copy()
            mixed[:, dim] = other[:, dim]
            swapped.append(mixed)
    return np.concatenate([a, b, *swapped])


def _indices(of_design: Floats, num_dims: int) -> Indices:
    """The indices of a function from its values at `_design`."""
    values = of_design.reshape(2 * num_dims + 2, -1)
    rows = values.shape[1]
    variance = float(values[:2].var())
    if variance < 1e-10:
        return Indices(np.zeros(num_dims), np.zeros(num_dims), np.zeros((num_dims, num_dims)))
    # Products of centred values lose less to rounding and sampling.
    values = values - values[:2].mean()
    f_a, f_b, f_ab, f_ba = values[0], values[1], values[2 : 2 + num_dims], values[2 + num_dims :]
    alone = (f_b * (f_ab - f_a)).mean(axis=1) / variance
    total = ((f_ab - f_a) ** 2).mean(axis=1) / (2 * variance)
    # Both designs serve the pair, so that the estimate does not depend on which of the two comes first.
    closed = (f_ba @ f_ab.T / rows - (f_a * f_b).mean()) / variance
    pairs = (closed + closed.T) / 2 - alone[:, None] - alone[None, :]
    np.fill_diagonal(pairs, 0.0)
    # What an index leaves over of its total bounds every pair that it takes part in.
    rest = np.maximum(total - alone, 0.0)
    pairs = np.minimum(np.clip(pairs, 0.0, 1.0), np.minimum(rest[:, None], rest[None, :]))
    return Indices(np.clip(alone, 0.0, 1.0), np.clip(total, 0.0, 1.0), pairs)
