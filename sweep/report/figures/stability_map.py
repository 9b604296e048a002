"""Stable and unstable trials in the plane of two settings, one panel a precision."""

import math
from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go

from sweep.analysis.dimensions import Dimension
from sweep.analysis.stability_map import MapCell, MapInfo, MapPanel
from sweep.analysis.wording import number, plural, value_text
from sweep.records import Outcome
from sweep.report.figures.panel import Panel, axis_style, base_figure, log_axis, widened
from sweep.report.theme import MARKS


def stability_map_panels(info: MapInfo | str) -> list[Panel]:
    """One panel a level, all on the same axes; a single empty one where there is no map."""
    if isinstance(info, str):
        return [Panel("", "", None, info)]
    return [_panel(info, panel) for panel in info.panels]


def _panel(info: MapInfo, panel: MapPanel) -> Panel:
    title = "" if info.panel_name is None else f"{info.panel_name} {value_text(panel.level)}"
    if panel.why_empty is not None:
        return Panel(title, "", None, panel.why_empty)
    x_axis, _ = _axis(info.x, [c.x for p in info.panels for c in p.cells])
    y_axis, y_off = _axis(info.y, [c.y for p in info.panels for c in p.cells])
    figure = base_figure(height=340)
    figure.update_layout(xaxis=x_axis, yaxis=y_axis)
    for outcome in Outcome:
        cells = [c for c in panel.cells if c.outcome is outcome]
        if cells:
            mark = MARKS[outcome]
            figure.add_trace(
                go.Scatter(
                    x=[c.x for c in cells],
                    y=[c.y if math.isfinite(c.y) else y_off for c in cells],
                    mode="markers",
                    marker={"color": mark.light, "symbol": mark.symbol, "size": 10, "opacity": 0.85},
                    customdata=[c.trial_id for c in cells],
                    hovertext=[_hover(info, c) for c in cells],
                    hoverinfo="text",
                    name=outcome.value,
                )
            )
    num_stable = sum(c.outcome.is_stable for c in panel.cells)
    summary = f"{num_stable} of {plural(len(panel.cells), 'trial')} stable"
    return Panel(title, f"{info.x.name} against {info.y.name}: {summary}.", figure)


def _axis(dim: Dimension, values: Sequence[float]) -> tuple[dict[str, Any], float]:
    """The axis of a setting, and the place on it for trials where the setting was off."""
    style = axis_style()
    ends = [v for v in (dim.low, dim.high) if math.isfinite(v)]
    low, high = widened([*values, *ends], dim.log)
    any_off = any(not math.isfinite(v) for v in values)
    off = low
    if any_off:
        low = low / (high / low) ** 0.12 if dim.log else low - 0.12 * (high - low)
    scale: dict[str, Any] = log_axis(low, high) if dim.log else {"range": [low, high]}
    if any_off and dim.log:
        kept = [t for t in scale["tickvals"] if t > off * 1.05]
        scale |= {"tickvals": [off, *kept], "ticktext": ["off", *(number(t, 2) for t in kept)]}
    name = f"{dim.name} (log scale)" if dim.log else dim.name
    return {**style, **scale, "mirror": True, "title": {**style["title"], "text": name}}, off


def _hover(info: MapInfo, cell: MapCell) -> str:
    y = value_text(cell.y if math.isfinite(cell.y) else None)
    return (
        f"Trial {cell.number}, seed {cell.seed}: {cell.outcome.value}<br>"
        f"{info.x.name} {number(cell.x)}, {info.y.name} {y}"
    )
