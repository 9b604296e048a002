"""How often an end of the interval of a mean of bounded block effects misses, and how wide the interval is.

    nice python -m benchmarks.claims.intervals [--blocks 6,12,24,48]    # prints the tables and writes intervals.md

Effects of blocks are averages of differences of 0/1 responses, or differences of differences (see outcomes.py). Every
chance is added up over all outcomes, none is simulated. The largest error is looked for at means just beyond the ends
of the intervals, where it peaks, over all distributions on two values and random mixtures of them (in the second table,
over distributions on any three values); the other columns are means over 144 distributions of averages and 162 of
interactions that trainings of given rates have: rare and frequent failures, alike and unlike within a block.
"""

import argparse
import itertools
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from scipy.signal import convolve2d

from benchmarks.claims.methods import METHODS, SLOW, Method, bonett_price, gaffke
from benchmarks.claims.outcomes import Floats, Outcomes, averages, interactions, outcomes, with_mean
from sweep.analysis.claims.sequential import levels_at, look_blocks

REPORT = Path(__file__).with_suffix(".md")
ALPHA = 0.05
MEANS, MIXTURES = 40, 60
"""Means at which the largest error is looked for, and mixtures at each."""
LOOK_MEANS, LOOK_MIXTURES = 25, 12
FEW = 12
"""Blocks up to which the slow procedures and the finer lattice are tried."""
BEYOND = 2e-6
"""How far a mean lies beyond an end."""
HEADS = "largest error, % | mean error: averages | interactions | width, points: averages | interactions"


def main() -> None:
    """Prints and writes the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--blocks", default="6,12,24,48")
    sizes = [int(size) for size in parser.parse_args().blocks.split(",")]
    lines = []
    for line in itertools.chain(_head(), of_procedures(sizes), [""], of_looks(sizes)):
        print(line, flush=True)
        lines.append(line)
    REPORT.write_text("\n".join(lines) + "\n", encoding="utf-8")


def of_procedures(sizes: Sequence[int]) -> Iterator[str]:
    """A line for each procedure and number of blocks."""
    yield f"| effects | blocks | procedure | {HEADS} |"
    yield "|---|---|---|---|---|---|---|---|"
    for each, blocks in itertools.product((1, 2), sizes):
        if each > 1 and blocks > FEW:
            continue
        seen = outcomes(blocks, np.linspace(-1, 1, 4 * each + 1))
        known = np.array(averages(2 * each)), np.array(interactions(each))
        kind = f"averages of {2 * each}, interactions of {each}"
        for name, method in METHODS.items():
            if method in SLOW and (blocks > FEW or each > 1):
                continue
            ends = method(seen, ALPHA / 2)
            width = ends + ends[seen.mirrored()]
            errors, widths = zip(*(_of_known(seen, ends, width, own) for own in known), strict=True)
            largest = max(largest_error(seen, ends), *(float(one.max()) for one in errors))
            # Of an interaction, effects reach from -2 to 2.
            numbers = f"{100 * errors[0].mean():.2f} | {100 * errors[1].mean():.2f} | {100 * widths[0]:.0f} | "
            numbers += f"{200 * widths[1]:.0f}"
            yield f"| {kind} | {blocks} | {name} | {100 * largest:.2f} | {numbers} |"


def largest_error(seen: Outcomes, ends: Floats) -> float:
    """The largest chance of an upper end below the mean."""
    rng = np.random.default_rng(0)
    tried = (with_mean(seen.values, mean, MIXTURES, rng) for mean in _beyond([ends], seen.values[-1], MEANS))
    return max(float((seen.chances(one) @ (ends < one[0] @ seen.values - BEYOND / 2)).max()) for one in tried)


def of_looks(sizes: Sequence[int]) -> Iterator[str]:
    """A line for each procedure, number of blocks and number of looks: error over all looks."""
    yield "| blocks | looks | procedure | largest error over all looks, % |"
    yield "|---|---|---|---|"
    for blocks, looks, method in itertools.product(sizes, (1, 2, 4), (bonett_price, gaffke)):
        lattice = np.linspace(-1, 1, 5)
        worst = max(_over_looks(method, lattice, list(at), blocks, looks) for at in itertools.combinations(range(5), 3))
        name = next(name for name, known in METHODS.items() if known is method)
        yield f"| {blocks} | {looks} | {name} | {100 * worst:.2f} |"


def _over_looks(method: Method, lattice: Floats, at: list[int], blocks: int, looks: int) -> float:
    """The largest chance that at some look the upper end lies below the mean, of effects with three of the values."""
    sizes = look_blocks(blocks, looks)
    levels = levels_at(tuple(size / blocks for size in sizes), ALPHA)
    values = lattice[at]
    ends = []
    for size, level in zip(sizes, levels, strict=True):
        three = outcomes(size, values)
        counts = np.zeros((len(three.counts), len(lattice)), dtype=np.int64)
        counts[:, at] = three.counts
        ends.append(_grid(three, method(replace(three, values=lattice, counts=counts), level / 2), fill=np.inf))
    steps = [outcomes(size - before, values) for before, size in itertools.pairwise((0, *sizes))]
    rng, worst = np.random.default_rng(0), 0.0
    for mean in _beyond([end[np.isfinite(end)] for end in ends], values[-1], LOOK_MEANS):
        for one in with_mean(values, mean, LOOK_MIXTURES, rng):
            missed, going_on = 0.0, np.ones((1, 1))
            for step, end in zip(steps, ends, strict=True):
                seen = convolve2d(going_on, _grid(step, step.chances(one), fill=0.0))
                out = end < mean - BEYOND / 2
                missed += float(seen[out].sum())
                going_on = np.where(out, 0.0, seen)
            worst = max(worst, missed)
    return worst


def _grid(three: Outcomes, numbers: Floats, fill: float) -> Floats:
    """A number of each outcome, by how often the first and the second of three values came out, [N + 1, N + 1]."""
    table = np.full((three.blocks + 1, three.blocks + 1), fill)
    table[three.counts[:, 0], three.counts[:, 1]] = numbers
    return table


def _beyond(ends: Sequence[Floats], most: float, num: int) -> list[float]:
    """Means just beyond some of the ends, above which no mean has any."""
    places = np.unique(np.concatenate([end.ravel() for end in ends]).round(6))
    inside = places[places < most - 2 * BEYOND]
    return [float(place) for place in inside[:: max(1, len(inside) // num)] + BEYOND]


def _of_known(seen: Outcomes, ends: Floats, width: Floats, known: Floats) -> tuple[Floats, float]:
    """One-sided errors, [D], and mean width under some distributions, [D, K]."""
    chances = [seen.chances(one) for one in known]
    errors = [float(own[ends < one @ seen.values - BEYOND / 2].sum()) for own, one in zip(chances, known, strict=True)]
    return np.array(errors), float(np.mean([own @ width for own in chances]))


def _head() -> Iterator[str]:
    yield f"Made by `python -m benchmarks.claims.intervals`: one-sided errors where {100 * ALPHA / 2:g} % are stated."
    yield ""


if __name__ == "__main__":
    main()
