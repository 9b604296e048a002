"""The edges of the stable region as rows of a table, with a bar that shows each slice's stable stretch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sweep.analysis.region.region import EdgeRow, Region, Stretch
from sweep.analysis.trials.dimensions import Dimension
from sweep.boundary.edges import Edge
from sweep.wording import number, setting_text, value_text


@dataclass(frozen=True)
class EdgeLine:
    """One slice."""

    settings: tuple[str, ...]
    """A text for each of the table's `columns`."""
    cold: str
    cold_interval: str
    """Where the chance of its boundary is 10 and 90 %; empty where there is no edge."""
    hot: str
    hot_interval: str
    length: str
    num_near: int
    stretches: tuple[Stretch, ...]
    reading: str
    """The same for a reader who cannot see the bar."""


@dataclass(frozen=True)
class EdgeTable:
    """All slices, and what they share."""

    columns: tuple[str, ...]
    """Names of the settings that differ between rows."""
    fixed: str
    """The settings that all rows share, as text; empty where there are none."""
    ends: tuple[str, str]
    """The ends of the edge dimension's range."""
    unit: str
    lines: tuple[EdgeLine, ...]


def edge_table(region: Region, names: Mapping[str, str]) -> EdgeTable:
    """Makes the table's texts.

    Args:
        region: with one row a slice.
        names: dotted path -> short name.
    """
    paths = list(dict.fromkeys(path for row in region.edges for path in row.at))
    differ = [p for p in paths if len({value_text(row.at.get(p)) for row in region.edges}) > 1]
    shared = {p: region.edges[0].at[p] for p in paths if p not in differ}
    return EdgeTable(
        columns=tuple(names.get(path, path) for path in differ),
        fixed=setting_text(shared, names) if any(v is not None for v in shared.values()) else "",
        ends=(number(region.along.low), number(region.along.high)),
        unit="decades" if region.along.log else "units",
        lines=tuple(_line(row, differ, region.along) for row in region.edges),
    )


def _line(row: EdgeRow, differ: Sequence[str], along: Dimension) -> EdgeLine:
    cold = [one.edge for one in row.edges if one.edge.side == "cold"]
    hot = [one.edge for one in row.edges if one.edge.side == "hot"]
    unstable = row.always == "unstable"
    unknown = row.always is not None and not row.sure
    nothing = "not known yet" if unknown else "never stable" if unstable else "no edge in range"
    return EdgeLine(
        settings=tuple(value_text(row.at.get(path)) for path in differ),
        cold=_values(cold) or nothing,
        cold_interval=_intervals(cold),
        hot=_values(hot) or nothing,
        hot_interval=_intervals(hot),
        length=f"{row.stable_decades:.1f}" if along.log else number(row.stable_decades, 2),
        num_near=row.num_near,
        stretches=row.stretches,
        reading=_reading(row, cold, hot),
    )


def _values(edges: Sequence[Edge]) -> str:
    return "; ".join(number(edge.value, 2) for edge in edges)


def _intervals(edges: Sequence[Edge]) -> str:
    return "; ".join(interval_text(edge) for edge in edges)


def interval_text(edge: Edge) -> str:
    """`0.006 to 0.03`: where the chance of its boundary passes 90 and 10 %."""
    low, high = sorted((edge.inner, edge.outer))
    return f"{number(low, 2)} to {number(high, 2)}"


def _reading(row: EdgeRow, cold: Sequence[Edge], hot: Sequence[Edge]) -> str:
    if row.always is not None:
        return f"{row.always if row.sure else f'probably {row.always}'} over the whole range"
    parts = [f"works above {number(e.value, 2)}" for e in cold] + [f"fails above {number(e.value, 2)}" for e in hot]
    return ", ".join(parts)
