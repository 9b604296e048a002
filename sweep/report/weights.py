"""How much each searched setting matters: for stability, and for the result; rows of a table with bars."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sweep.analysis.dimensions import Dimension
from sweep.analysis.region import Region

_MEASURES: tuple[tuple[str, str, str], ...] = (
    ("margin", "Stability, fANOVA", "share of the variation of how far a training was from the boundary"),
    ("fanova", "Result, fANOVA", "share of the variation of the objective over the whole space"),
    ("ped_anova", "Best results, PED-ANOVA", "what the best settings have in common"),
)


@dataclass(frozen=True)
class Column:
    """One measure."""

    key: str
    """Of a table's column."""
    title: str
    meaning: str


@dataclass(frozen=True)
class Row:
    """One setting."""

    name: str
    path: str
    shares: tuple[float, ...]
    """In the order of the columns, in [0, 1]; NaN where the measure says nothing about this setting."""


@dataclass(frozen=True)
class Weights:
    """The whole table."""

    columns: tuple[Column, ...]
    rows: tuple[Row, ...]


def weights(
    region: Region | None, importance: Mapping[str, Mapping[str, float]], dims: Sequence[Dimension]
) -> Weights | None:
    """The settings, those that matter most for stability first; None where no measure is known.

    Args:
        region: its influences are those of the model of the boundary; its place is taken by fANOVA of the margin.
        importance: measure -> dotted path -> share.
        dims: the searched settings.
    """
    columns: list[tuple[Column, dict[str, float]]] = []
    if region is not None and any(i.total > 0 for i in region.influences):
        by_path = {i.path: i for i in region.influences}
        columns += [
            (
                Column(
                    "sobol_alone",
                    "Stability, alone",
                    "share of the variation of P(stable) over the space by itself (Sobol index)",
                ),
                {path: i.alone for path, i in by_path.items()},
            ),
            (
                Column(
                    "sobol_total",
                    "Stability, with others",
                    "the same with all its interactions (total-effect Sobol index)",
                ),
                {path: i.total for path, i in by_path.items()},
            ),
        ]
    for key, title, meaning in _MEASURES[1 if columns else 0 :]:
        if importance.get(key):
            columns.append((Column(key, title, meaning), dict(importance[key])))
    if not columns:
        return None
    rows = [
        Row(dim.name, dim.path, tuple(shares.get(dim.path, math.nan) for _, shares in columns))
        for dim in dims
        if any(dim.path in shares for _, shares in columns)
    ]
    decides = 1 if columns[0][0].key == "sobol_alone" else 0
    rows.sort(key=lambda row: (math.isnan(row.shares[decides]), -row.shares[decides]))
    return Weights(tuple(column for column, _ in columns), tuple(rows))
