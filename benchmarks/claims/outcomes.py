"""Every outcome of some blocks, how likely it is, and the distributions of a block's effect to try intervals on.

Effects lie on a lattice of K values, evenly spaced from -1 to 1: of averages over m trainings a level, K = 2 m + 1; of
a difference of differences of such averages, in halves, K = 4 m + 1.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import gammaln

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Outcomes:
    """Every outcome of N blocks."""

    values: Floats
    """That an effect can have, [K], increasing."""
    counts: npt.NDArray[np.int64]
    """Of blocks with each of them, [O, K]."""

    @property
    def blocks(self) -> int:
        """N."""
        return int(self.counts[0].sum())

    @property
    def means(self) -> Floats:
        """[O]."""
        return np.asarray(self.counts @ self.values / self.blocks)

    def mirrored(self) -> npt.NDArray[np.intp]:
        """The number of each outcome's mirror image, [O]: all effects with the other sign. For values around 0."""
        order = np.lexsort(self.counts.T)
        found = np.empty(len(order), dtype=np.intp)
        found[np.lexsort(self.counts[:, ::-1].T)] = order
        return found

    def chances(self, chances: Floats) -> Floats:
        """Of each outcome, [..., O], from those of the values, [..., K]."""
        ways = gammaln(self.blocks + 1) - gammaln(self.counts + 1).sum(axis=1)
        logs = np.where(chances > 0, np.log(np.maximum(chances, 1e-300)), -1e4)
        return np.asarray(np.exp(ways + logs @ self.counts.T))


def outcomes(blocks: int, values: Sequence[float] | Floats) -> Outcomes:
    """Every outcome of some blocks whose effects have some values."""
    bars = itertools.combinations(range(blocks + len(values) - 1), len(values) - 1)
    ends = np.array(list(bars), dtype=np.int64).reshape(-1, len(values) - 1)
    full = np.column_stack([np.full(len(ends), -1), ends, np.full(len(ends), blocks + len(values) - 1)])
    return Outcomes(np.asarray(values, dtype=np.float64), np.diff(full) - 1)


def of_trainings(rates: Sequence[float], weights: Sequence[int], each: int, together: float, alike: bool) -> Floats:
    """The distribution of a block's effect, [K], from the rates of its levels.

    Args:
        rates: chance of each level's trainings to be stable, [C].
        weights: 1 or -1, [C].
        each: trainings of a level.
        together: chance that one draw decides all trainings of the block (a level of a higher rate is stable if one of
            a lower is).
        alike: whether all trainings of a level end the same way.
    """
    own = np.ones(1)
    for rate, weight in zip(rates, weights, strict=True):
        one = np.zeros((each if alike else 1) + 1)
        one[[0, -1]] = (1 - rate, rate) if weight > 0 else (rate, 1 - rate)
        for _ in range(1 if alike else each):
            own = np.convolve(own, one)
    common = np.zeros_like(own)
    cuts = np.unique([0.0, 1.0, *rates])
    for start, stop in itertools.pairwise(cuts):
        stable = np.array(rates) >= stop
        common[each * int(np.where(np.array(weights) > 0, stable, ~stable).sum())] += stop - start
    return np.asarray(together * common + (1 - together) * own)


def averages(each: int = 2) -> list[Floats]:
    """Distributions of the difference of two levels' averages."""
    rates = itertools.product((0.02, 0.1, 0.3, 0.6, 0.9, 0.98), repeat=2)
    return [
        of_trainings(pair, (-1, 1), each, together, alike)
        for pair, together, alike in itertools.product(rates, (0.0, 0.5), (False, True))
    ]


def interactions(each: int = 1) -> list[Floats]:
    """Distributions of the difference of two such differences."""
    rates = itertools.product((0.05, 0.4, 0.9), repeat=4)
    return [
        of_trainings(four, (1, -1, -1, 1), each, together, False)
        for four, together in itertools.product(rates, (0.0, 0.5))
    ]


def with_mean(values: Floats, mean: float, mixtures: int, rng: np.random.Generator) -> Floats:
    """Distributions on some values with a mean, [D, K]: all those on two values, and random mixtures of these.

    Every distribution with that mean is such a mixture.
    """
    pairs = []
    for low, high in itertools.product(np.flatnonzero(values <= mean), np.flatnonzero(values > mean)):
        pair = np.zeros(len(values))
        pair[high] = (mean - values[low]) / (values[high] - values[low])
        pair[low] = 1 - pair[high]
        pairs.append(pair)
    sparse = rng.dirichlet(np.full(len(pairs), 0.3), mixtures)
    return np.vstack([*pairs, sparse @ np.array(pairs)])
