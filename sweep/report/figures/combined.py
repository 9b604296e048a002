"""Several panels as one figure, as a notebook shows it: with titles, reasons and a legend of its own.

The page lays panels out itself and has its own legends; a notebook shows one figure at a time.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from textwrap import wrap
from typing import Any

import plotly.graph_objects as go

from sweep.report.figures.panel import Panel, base_figure
from sweep.report.theme import light

_GAP = 0.09
"""Between two columns, as a share of the width: room for the ticks and the title of an axis."""
_TITLE, LEGEND_HEIGHT = 26, 40
"""Room for a panel's title and for the legend, in pixels."""
ALONE: dict[str, Any] = {
    "paper_bgcolor": light("paper"),
    "legend": {"orientation": "h", "yref": "container", "y": 0, "yanchor": "bottom", "x": 0},
}
"""Layout of a figure without a page around it: readable on a dark notebook too."""
_EMPTY_HEIGHT = 120
"""Of a row in which no panel has a figure, in pixels."""


@dataclass(frozen=True)
class _Cell:
    """Where a panel is drawn: shares of the width and the height, from the left and from below."""

    x: tuple[float, float]
    y: tuple[float, float]

    def at(self, axis: str, share: float) -> float:
        low, high = self.x if axis == "x" else self.y
        return low + share * (high - low)


def combined(panels: Sequence[Panel], columns: int, legend: Collection[str]) -> go.Figure:
    """The panels row by row, with all their axes.

    Args:
        panels: at least one; those without a figure show why.
        columns: panels in a row, at most; the rows are as even as they can be.
        legend: names of the traces that a legend tells apart, in any panel.
    """
    columns = math.ceil(len(panels) / math.ceil(len(panels) / columns))
    parts = [None if panel.figure is None else panel.figure.to_plotly_json() for panel in panels]
    margins = [part["layout"]["margin"] for part in parts if part is not None]
    edge = {side: max((m[side] for m in margins), default=40) for side in ("l", "r", "t", "b")}
    title = _TITLE * any(panel.title for panel in panels)
    heights = [
        max((part["layout"]["height"] for part in parts[start : start + columns] if part), default=_EMPTY_HEIGHT)
        for start in range(0, len(panels), columns)
    ]
    cells = _cells(len(panels), columns, [h - edge["t"] - edge["b"] for h in heights], title + edge["t"] + edge["b"])
    data: list[Any] = []
    layout: dict[str, Any] = {"shapes": [], "annotations": []}
    used = {"x": 0, "y": 0}
    for panel, part, cell in zip(panels, parts, cells, strict=True):
        if panel.title:
            layout["annotations"].append(_title(panel.title, cell, edge["t"]))
        if part is None:
            layout["annotations"].append(_reason(panel.why_empty or "", cell))
            continue
        names = _names(part["layout"], used)
        for name, at in names.items():
            layout[_layout_key(at)] = _moved_axis(part["layout"][_layout_key(name)], name[0], cell, names)
        layout["shapes"] += [_moved(item, cell, names) for item in part["layout"].get("shapes", ())]
        layout["annotations"] += [_moved(item, cell, names) for item in part["layout"].get("annotations", ())]
        data += [_moved_trace(trace, names) for trace in part["data"]]
    shown = _legend(data, legend)
    figure = base_figure(height=sum(heights) + title * len(heights) + LEGEND_HEIGHT * shown)
    figure.add_traces(data)
    margin = {**edge, "t": edge["t"] + title, "b": edge["b"] + LEGEND_HEIGHT * shown}
    figure.update_layout(layout | ALONE | {"margin": margin, "showlegend": shown})
    return figure


def _cells(count: int, columns: int, heights: Sequence[float], gap: float) -> list[_Cell]:
    """The panels' places; heights of the rows and the gap between them in pixels."""
    width = (1 - _GAP * (columns - 1)) / columns
    whole = sum(heights) + gap * (len(heights) - 1)
    tops = [sum(heights[:row]) + gap * row for row in range(math.ceil(count / columns))]
    return [
        _Cell(
            (i % columns * (width + _GAP), min(1.0, i % columns * (width + _GAP) + width)),
            (max(0.0, 1 - (tops[i // columns] + heights[i // columns]) / whole), 1 - tops[i // columns] / whole),
        )
        for i in range(count)
    ]


def _layout_key(axis: str) -> str:
    """`x2` -> `xaxis2`, as Plotly's layouts name it."""
    return f"{axis[0]}axis{axis[1:]}"


def _names(layout: Mapping[str, Any], used: dict[str, int]) -> dict[str, str]:
    """A panel's axes -> the next ones that are free."""
    names = {}
    for axis in sorted(key.replace("axis", "") for key in layout if key[1:].startswith("axis")):
        used[axis[0]] += 1
        names[axis] = axis[0] + (str(used[axis[0]]) if used[axis[0]] > 1 else "")
    return names


def _moved_axis(axis: Mapping[str, Any], letter: str, cell: _Cell, names: Mapping[str, str]) -> dict[str, Any]:
    domain = [cell.at(letter, share) for share in axis.get("domain", (0, 1))]
    anchor = names[axis.get("anchor", "y" if letter == "x" else "x")]
    return {**axis, "domain": domain, "anchor": anchor}


def _moved_trace(trace: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    return {**trace, **{f"{letter}axis": names[trace.get(f"{letter}axis", letter)] for letter in "xy"}}


def _moved(item: Mapping[str, Any], cell: _Cell, names: Mapping[str, str]) -> dict[str, Any]:
    """A shape or an annotation on the axes and in the cell of its panel."""
    moved = dict(item)
    for letter in "xy":
        ref = item.get(f"{letter}ref", letter)
        if ref != "paper":
            moved[f"{letter}ref"] = names[ref]
            continue
        places = [key for key in (letter, f"{letter}0", f"{letter}1") if key in item]
        moved |= {key: cell.at(letter, item[key]) for key in places}
    return moved


def _title(text: str, cell: _Cell, above: float) -> dict[str, Any]:
    place = {"xref": "paper", "x": cell.x[0], "xanchor": "left", "yref": "paper", "y": cell.y[1], "yanchor": "bottom"}
    return {**place, "yshift": above, "text": f"<b>{text}</b>", "showarrow": False, "font": {"size": 13}}


def _reason(text: str, cell: _Cell) -> dict[str, Any]:
    place = {"xref": "paper", "x": cell.at("x", 0.5), "yref": "paper", "y": cell.at("y", 0.5)}
    return {**place, "text": "<br>".join(wrap(text, 48)), "showarrow": False, "font": {"color": light("muted")}}


def _legend(data: Sequence[dict[str, Any]], legend: Collection[str]) -> bool:
    """Puts each name into the legend once; returns whether there is any."""
    seen: set[str] = set()
    for trace in data:
        name = trace.get("name", "")
        trace["showlegend"] = name in legend and name not in seen
        if name in legend:
            trace["legendgroup"] = name
            seen.add(name)
    return bool(seen)
