"""How much each searched setting matters: for stability, and for the result; rows of a table with bars."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from sweep.analysis.region.influence import Range
from sweep.analysis.region.matters import Matters
from sweep.analysis.region.region import Region
from sweep.analysis.trials.dimensions import Dimension
from sweep.records import NotKnown

Question = Literal["stability", "result"]

_MEASURES: tuple[tuple[str, str, str, Question], ...] = (
    ("margin", "Stability, fANOVA", "share of the variation of how far a training was from the boundary", "stability"),
    ("fanova", "Result, fANOVA", "share of the variation of the objective over the whole space", "result"),
    ("ped_anova", "Best results, PED-ANOVA", "what the best settings have in common", "result"),
)
_UNKNOWN: Range = (math.nan, math.nan)


@dataclass(frozen=True)
class Measure:
    """One measure."""

    key: str
    """Of a table's column."""
    title: str
    meaning: str
    question: Question


@dataclass(frozen=True)
class Row:
    """One setting."""

    name: str
    path: str
    shares: tuple[float, ...]
    """In the order of the columns, in [0, 1]; NaN where the measure says nothing about this setting."""
    ranges: tuple[Range, ...]
    """Where nine of ten resamples of the settings have each share; NaN where that is not known."""
    told: tuple[bool, ...]
    """Whether the setting can be told from noise, for the question of each column."""

    @property
    def told_shares(self) -> list[float]:
        """The shares; NaN where the setting cannot be told from noise."""
        return [share if told else math.nan for share, told in zip(self.shares, self.told, strict=True)]


@dataclass(frozen=True)
class ImportanceTable:
    """The whole table."""

    columns: tuple[Measure, ...]
    rows: tuple[Row, ...]

    @property
    def tell(self) -> bool:
        """Whether any setting can be told from noise."""
        return any(any(row.told) for row in self.rows)


def importance_table(
    region: Region | NotKnown,
    importance: Mapping[str, Mapping[str, float]],
    dims: Sequence[Dimension],
    matters: Matters,
) -> ImportanceTable | None:
    """The settings, those that matter most for stability first; None where no measure is known.

    Args:
        region: its influences are those of the model of the boundary; its place is taken by fANOVA of the margin.
        importance: measure -> dotted path -> share.
        dims: the searched settings.
        matters: what can be told from noise.
    """
    columns: list[tuple[Measure, dict[str, float]]] = []
    ranges: dict[str, dict[str, Range]] = {
        "sobol_alone": {path: alone for path, (alone, _) in matters.ranges.items()},
        "sobol_total": {path: total for path, (_, total) in matters.ranges.items()},
    }
    if not isinstance(region, NotKnown) and any(i.total > 0 for i in region.influences):
        by_path = {i.path: i for i in region.influences}
        columns += [
            (
                Measure(
                    "sobol_alone",
                    "Stability, alone",
                    "share of the variation of P(stable) over the space by itself (Sobol index)",
                    "stability",
                ),
                {path: i.alone for path, i in by_path.items()},
            ),
            (
                Measure(
                    "sobol_total",
                    "Stability, with others",
                    "the same with all its interactions (total-effect Sobol index)",
                    "stability",
                ),
                {path: i.total for path, i in by_path.items()},
            ),
        ]
    for key, title, meaning, question in _MEASURES[1 if columns else 0 :]:
        if importance.get(key):
            columns.append((Measure(key, title, meaning, question), dict(importance[key])))
            lows, highs = importance.get(f"{key}_low", {}), importance.get(f"{key}_high", {})
            ranges[key] = {path: (low, highs[path]) for path, low in lows.items() if path in highs}
    if not columns:
        return None
    told = {"stability": matters.stability or frozenset(), "result": matters.result or frozenset()}
    rows = [
        Row(
            dim.name,
            dim.path,
            tuple(shares.get(dim.path, math.nan) for _, shares in columns),
            tuple(ranges[column.key].get(dim.path, _UNKNOWN) for column, _ in columns),
            tuple(dim.path in told[column.question] for column, _ in columns),
        )
        for dim in dims
        if any(dim.path in shares for _, shares in columns)
    ]
    decides = 1 if columns[0][0].key == "sobol_alone" else 0
    rows.sort(key=lambda row: (math.isnan(row.shares[decides]), -row.shares[decides]))
    return ImportanceTable(tuple(column for column, _ in columns), tuple(rows))
