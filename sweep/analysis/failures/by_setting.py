"""Where each failure happens: outcomes and causes at the levels of a searched setting, or in bins of its range."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd

from sweep.analysis.region.evidence import Evidence
from sweep.analysis.trials.dimensions import Dimension
from sweep.analysis.trials.outcomes import OutcomeCounts, at_level, failed, mapped, outcome_counts
from sweep.records import Cause, Explanation, Phase
from sweep.space import Choice, Grid, Integer
from sweep.space import Dimension as SearchedDimension
from sweep.wording import number, value_text

_NUM_BINS, _MOST_BINS = 4, 7
"""Bins that a range is cut into: about so many, and never more. A study has tens of trials, hardly hundreds."""


@dataclass(frozen=True)
class SettingPart:
    """The trials at one level of a setting, or in one bin of its range."""

    text: str
    """Such as `fp16` or `0.001 to 0.01`: a bin holds its lower end, the last one both."""
    outcomes: OutcomeCounts
    """A part without trials is kept: that nobody looked there is a finding too."""
    causes: tuple[tuple[Cause, int], ...]
    """Of its explained trials that failed, the most frequent first."""

    @property
    def num_failed(self) -> int:
        """Judged trials that were not stable."""
        return self.outcomes.stable.total - self.outcomes.stable.count


@dataclass(frozen=True)
class SettingFailures:
    """How trials ended along one searched setting, whatever the other settings were."""

    dim: Dimension
    parts: tuple[SettingPart, ...]


def compared(trials: pd.DataFrame) -> pd.DataFrame:
    """The trials that say where failures happen.

    Without open ends, those at full size, those whose settings a scheduler changed, and confirming ones, which were
    run because their setting had been stable.
    """
    known = mapped(trials)
    return known[~known["phase"].isin((Phase.CONFIRM, Phase.FULL_SIZE))]


def failures_by_setting(
    evidence: Evidence, dims: Sequence[Dimension], explanations: Mapping[str, Explanation]
) -> list[SettingFailures]:
    """One entry a searched setting, in their order; trials without a setting are no part of its entry.

    Left out is a setting of which there is nothing to compare: a single level, or a range of one value.

    Args:
        evidence: the trials, and what was searched.
        dims: the searched settings, in the order in which they are told of.
        explanations: by trial id.
    """
    seen = compared(evidence.trials)
    found = []
    for dim in dims:
        parts = _parts(seen, dim, evidence.space[dim.path]) if dim.path in seen else []
        if len(parts) > 1 and any(len(part) for _, part in parts):
            found.append(SettingFailures(dim, tuple(_part(text, part, explanations) for text, part in parts)))
    return found


def causes_of(trial_ids: Sequence[str], explanations: Mapping[str, Explanation]) -> tuple[tuple[Cause, int], ...]:
    """The causes of these trials, as far as they were explained, the most frequent first."""
    counts = Counter(explanations[t].cause for t in trial_ids if t in explanations)
    return tuple(sorted(counts.items(), key=lambda item: (-item[1], list(Cause).index(item[0]))))


def _part(text: str, part: pd.DataFrame, explanations: Mapping[str, Explanation]) -> SettingPart:
    ids = [str(t) for t in failed(part)["trial_id"]]
    return SettingPart(text, outcome_counts(part, text), causes_of(ids, explanations))


def _parts(seen: pd.DataFrame, dim: Dimension, searched: SearchedDimension) -> list[tuple[str, pd.DataFrame]]:
    if dim.kind == "category":
        return [(value_text(v), at_level(seen, dim.path, v)) for v in dim.levels if v is not None]
    active = seen[seen[dim.path].notna()]
    values = active[dim.path].astype(float)
    levels = _levels(searched)
    if levels:
        return [(number(level, 6), active[np.isclose(values, level, rtol=1e-9, atol=0)]) for level in levels]
    inner = inner_edges(dim.low, dim.high, dim.log)
    which = np.digitize(values, inner)
    ends = [dim.low, *inner, dim.high]
    texts = (f"{number(low, 2)} to {number(high, 2)}" for low, high in pairwise(ends))
    return [(text, active[which == index]) for index, text in enumerate(texts)]


def _levels(searched: SearchedDimension) -> list[float]:
    """The values of a numeric setting that has only few; empty for a range."""
    values: set[float] = set()
    if isinstance(searched, Choice | Grid):
        values = {float(v) for v in searched.ends}
    elif isinstance(searched, Integer) and not searched.log:
        low, high = searched.int_
        # A range may have more numbers than memory holds.
        values = set(map(float, range(low, high + 1))) if high - low < _MOST_BINS else set()
    return sorted(values) if len(values) <= _MOST_BINS else []


def inner_edges(low: float, high: float, log: bool) -> list[float]:
    """Round values that cut a range into about four bins; empty where it has no extent."""
    if not high > low or (log and low <= 0):
        return []
    if not log:
        power = 10.0 ** math.floor(math.log10((high - low) / _NUM_BINS))
        candidates = [_multiples(low, high, factor * power) for factor in (1, 2, 2.5, 5, 10)]
    else:
        candidates = [_products(low, high, steps) for steps in ((1,), (1, 3), (1, 2, 5))]
    edges = min(candidates, key=lambda found: abs(len(found) + 1 - _NUM_BINS))
    every = math.ceil((len(edges) + 1) / _MOST_BINS)
    return edges[every - 1 :: every]


def _multiples(low: float, high: float, step: float) -> list[float]:
    first, last = math.ceil(low / step + 0.5 - 1e-9), math.floor(high / step - 0.5 + 1e-9)
    digits = 2 - math.floor(math.log10(step))  # 3 x 0.1 is to be 0.3
    return [round(index * step, digits) for index in range(first, last + 1)]


def _products(low: float, high: float, steps: Sequence[float]) -> list[float]:
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    every = (float(f"{step}e{power}") for power in powers for step in steps)
    # A bin at an end that is less than half as wide as the others is one with its neighbour.
    room = 10.0 ** (0.5 / len(steps))
    return [edge for edge in every if low * room <= edge <= high / room]
