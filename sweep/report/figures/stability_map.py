"""The chance of a stable training over two settings, the trials as marks upon it, one panel a precision.

With one numeric setting the chance is a curve, and the trials lie above it (stable) or below it.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from sweep.analysis.figures.stability_map import MapCell, MapInfo, MapPanel, height_of
from sweep.analysis.region.region import RegionPanel as Grid
from sweep.analysis.trials.dimensions import Dimension
from sweep.records import Outcome
from sweep.report.figures.panel import Panel, axis_style, base_figure, column, log_axis, widened
from sweep.report.theme import EDGE_COLOURS, MAP_COLOURS, MARKS, light
from sweep.wording import number, percent, plural, value_text

_DIGITS = 3
"""Of a probability in the page."""
_SPREAD = 0.13
"""Rows of marks of one level of a category lie so far apart, in levels, so that they hide each other less."""
_MARGIN = 0.03
"""Beside the searched range on each side, as a share of it: room for the marks at its ends."""


def stability_map_panels(
    info: MapInfo, grids: Sequence[Grid], panel_path: str | None, recommended: Mapping[str, Any]
) -> list[Panel]:
    """One panel a level, all on the same axes.

    Args:
        info: the trials.
        grids: the chance of a stable training over the same axes; without one of its level, trials stand alone.
        panel_path: dotted path of the setting that panels are split by, where there is a model of the boundary.
        recommended: dotted path -> value; marked where it lies on a panel.
    """
    by_level = {value_text(grid.level): grid for grid in grids}
    return [
        _panel(info, panel, by_level.get(value_text(panel.level)), _place(info, panel, panel_path, recommended))
        for panel in info.panels
    ]


def _place(
    info: MapInfo, panel: MapPanel, panel_path: str | None, recommended: Mapping[str, Any]
) -> tuple[float, float] | None:
    """Where the recommended setting lies on this panel; None where it lies on another, or nowhere."""
    x = recommended.get(info.x.path)
    if x is None or (panel_path is not None and value_text(recommended.get(panel_path)) != value_text(panel.level)):
        return None
    return float(x), math.nan if info.y is None else height_of(info.y, recommended.get(info.y.path))


def _panel(info: MapInfo, panel: MapPanel, grid: Grid | None, place: tuple[float, float] | None) -> Panel:
    title = "" if info.panel_name is None else f"{info.panel_name} {value_text(panel.level)}"
    if grid is None and panel.why_empty is not None:
        return Panel(title, "", None, panel.why_empty)
    figure = base_figure(height=340)
    num_judged = sum(not c.outcome.is_open for c in panel.cells)
    num_stable = sum(c.outcome.is_stable for c in panel.cells)
    summary = f"{num_stable} of {plural(num_judged, 'trial')} stable"
    x_axis, _ = _axis(info.x, [c.x for p in info.panels for c in p.cells])
    if info.y is None:
        figure.update_layout(xaxis=x_axis, yaxis=_chance_axis())
        _add_curve(figure, info, grid)
        _add_marks(figure, info, panel.cells, _beside_curve)
        if place is not None:
            _add_recommended(figure, place[0], _chance_at(grid, place[0]))
        return Panel(title, f"Chance of a stable training against {info.x.name}: {summary}.", figure)
    is_category = info.y.kind == "category"
    y_axis, y_off = (_category_axis if is_category else _axis)(info.y, [c.y for p in info.panels for c in p.cells])
    figure.update_layout(xaxis=x_axis, yaxis=y_axis)
    (_add_strips if is_category else _add_contours)(figure, info, grid)
    spread = _SPREAD if is_category else 0.0
    _add_marks(
        figure, info, panel.cells, lambda c: (c.y if math.isfinite(c.y) else y_off) + spread * (c.number % 5 - 2)
    )
    if place is not None:
        _add_recommended(figure, place[0], place[1] if math.isfinite(place[1]) else y_off)
    chance = "" if grid is None else f"; the chance of a stable training runs {_extent(grid)}"
    return Panel(title, f"{info.x.name} against {info.y.name}: {summary}{chance}.", figure)


def _extent(grid: Grid) -> str:
    values = [p for row in grid.p_stable for p in row if math.isfinite(p)]
    return f"from {percent(min(values))} to {percent(max(values))}"


def _add_contours(figure: go.Figure, info: MapInfo, grid: Grid | None) -> None:
    if grid is None or not grid.y_values:
        return
    assert info.y is not None, "contours need two axes"
    place = {"x": list(grid.x_values), "y": list(grid.y_values)}
    last = len(MAP_COLOURS) - 1
    figure.add_trace(
        go.Contour(
            **place,
            z=_rounded(grid.p_stable),
            text=_in_words(grid),
            zmin=0,
            zmax=1,
            autocontour=False,
            contours={"start": 0.1, "end": 0.9, "size": 0.1, "coloring": "fill", "showlines": False},
            colorscale=[[step / last, both[0]] for step, both in enumerate(MAP_COLOURS)],
            showscale=False,
            hovertemplate=f"{info.x.name} %{{x:.3g}}, {info.y.name} %{{y:.3g}}:<br>%{{z:.0%}} chance of a stable "
            "training<br>%{text}<extra></extra>",
            name="chance",
        )
    )
    for values, level, name, line in _lines(grid):
        if values:
            figure.add_trace(
                go.Contour(
                    **place,
                    z=_rounded(values),
                    autocontour=False,
                    contours={"start": level, "end": level, "size": 1, "coloring": "none"},
                    line=line,
                    showscale=False,
                    hoverinfo="skip",
                    name=name,
                )
            )


def _rounded(values: Sequence[Sequence[float]]) -> list[list[float]]:
    return [[round(p, _DIGITS) for p in row] for row in values]


def _add_strips(figure: go.Figure, info: MapInfo, grid: Grid | None) -> None:
    """A strip a level of a category: between two of them there is nothing."""
    if grid is None or not grid.y_values:
        return
    assert info.y is not None, "strips need two axes"
    last = len(MAP_COLOURS) - 1
    levels = [value_text(level) for level in info.y.levels]
    figure.add_trace(
        go.Heatmap(
            x=list(grid.x_values),
            y=list(grid.y_values),
            z=_rounded(grid.p_stable),
            text=[
                [f"{level}:<br>{words}" for words in row] for level, row in zip(levels, _in_words(grid), strict=True)
            ],
            zmin=0,
            zmax=1,
            ygap=3,
            colorscale=[[step / last, both[0]] for step, both in enumerate(MAP_COLOURS)],
            showscale=False,
            hovertemplate=f"{info.x.name} %{{x:.3g}}, {info.y.name} %{{text}}<br>%{{z:.0%}} chance of a stable training"
            "<extra></extra>",
            name="chance",
        )
    )
    for values, level, name, line in _lines(grid):
        x, y = [], []
        for height, row in zip(grid.y_values, values, strict=False):
            for value in _crossings(grid.x_values, row, level, info.x.log):
                x += [value, value, None]
                y += [height - 0.5, height + 0.5, None]
        if x:
            figure.add_trace(go.Scatter(x=x, y=y, mode="lines", line=line, hoverinfo="skip", name=name))


def _crossings(places: Sequence[float], row: Sequence[float], level: float, log: bool) -> list[float]:
    """Where a row of values passes a level, between its places."""
    found = []
    for (x0, p0), (x1, p1) in itertools.pairwise(zip(places, row, strict=True)):
        if (p0 - level) * (p1 - level) < 0:
            share = (level - p0) / (p1 - p0)
            found.append(x0 * (x1 / x0) ** share if log else x0 + share * (x1 - x0))
    return found


def _lines(grid: Grid) -> list[tuple[Sequence[Sequence[float]], float, str, dict[str, Any]]]:
    """What is drawn over the chances: values, the level at which they are told, its name, and its line."""
    return [
        (grid.p_stable, 0.95, "95 %", {"color": light("ink"), "width": 1.0}),
        (grid.p_break, 0.5, "hot edge", {"color": EDGE_COLOURS["hot"][0], "width": 2.5}),
        (_learned_unbroken(grid), 0.5, "cold edge", {"color": EDGE_COLOURS["cold"][0], "width": 2.5, "dash": "dash"}),
    ]


def _learned_unbroken(grid: Grid) -> tuple[tuple[float, ...], ...]:
    """The chance to learn where training does not break; NaN elsewhere, where nobody knows it."""
    rows = zip(grid.p_learn, grid.p_break, strict=True) if grid.p_learn else ()
    return tuple(
        tuple(p if broken < 0.5 else math.nan for p, broken in zip(learn, breaks, strict=True))
        for learn, breaks in rows
    )


def _in_words(grid: Grid) -> list[list[str]]:
    """The other two chances of each place."""
    learns = grid.p_learn or ((math.nan,) * len(grid.x_values),) * len(grid.p_break)
    return [
        [
            f"{b:.0%} to break" + ("" if math.isnan(p) else f", {p:.0%} to learn if it does not")
            for b, p in zip(breaks, learn, strict=True)
        ]
        for breaks, learn in zip(grid.p_break, learns, strict=True)
    ]


def _add_curve(figure: go.Figure, info: MapInfo, grid: Grid | None) -> None:
    for level, width in ((0.95, 1.0), (0.5, 1.0)):
        figure.add_shape(
            type="line", xref="paper", x0=0, x1=1, y0=level, y1=level,
            line={"color": light("muted"), "width": width, "dash": "dot" if level > 0.5 else "solid"},
        )  # fmt: skip
    if grid is None:
        return
    curves = [
        (grid.p_break, "chance to break", {"color": EDGE_COLOURS["hot"][0], "width": 1.5}),
        (grid.p_learn, "chance to learn, if it does not break",
         {"color": EDGE_COLOURS["cold"][0], "width": 1.5, "dash": "dash"}),
        (grid.p_stable, "chance of a stable training", {"color": light("ink"), "width": 2.5}),
    ]  # fmt: skip
    for values, name, line in curves:
        if values:
            figure.add_trace(
                go.Scatter(
                    x=list(grid.x_values),
                    y=_rounded(values)[0],
                    mode="lines",
                    line=line,
                    hovertemplate=f"{info.x.name} %{{x:.3g}}: %{{y:.0%}} {name}<extra></extra>",
                    name=name,
                )
            )


def _chance_at(grid: Grid | None, x: float) -> float:
    """The curve's height at the drawn point that lies nearest; 1 without a curve, where stable trials lie."""
    if grid is None:
        return 1.0
    nearest = min(range(len(grid.x_values)), key=lambda i: abs(grid.x_values[i] - x))
    return grid.p_stable[0][nearest]


def _beside_curve(cell: MapCell) -> float:
    """Stable trials above the curve's range, failed ones below it, open ones in its middle; in three rows so that they
    hide each other less."""
    away = 0.06 + 0.045 * (cell.number % 3)
    if cell.outcome.is_open:
        return 0.4 + away
    return 1 + away if cell.outcome.is_stable else -away


def _add_marks(figure: go.Figure, info: MapInfo, cells: Sequence[MapCell], height: Any) -> None:
    for outcome in Outcome:
        mine = [c for c in cells if c.outcome is outcome]
        if mine:
            mark = MARKS[outcome]
            figure.add_trace(
                go.Scatter(
                    x=column(c.x for c in mine),
                    y=column(height(c) for c in mine),
                    mode="markers",
                    marker={"color": mark.light, "symbol": mark.symbol, "size": 10, "opacity": 0.9},
                    customdata=column(c.trial_id for c in mine),
                    hovertext=column(_hover(info, c) for c in mine),
                    hoverinfo="text",
                    name=outcome.value,
                )
            )


def _add_recommended(figure: go.Figure, x: float, y: float) -> None:
    figure.add_trace(
        go.Scatter(
            x=[x],
            y=[y],
            mode="markers",
            marker={"color": light("ink"), "symbol": "circle-open", "size": 20, "line": {"width": 2}},
            hoverinfo="skip",
            name="recommended",
        )
    )


def _chance_axis() -> dict[str, Any]:
    style = axis_style()
    ticks = [0.0, 0.25, 0.5, 0.75, 0.95]
    return {
        **style,
        "range": [-0.2, 1.2],
        "tickvals": ticks,
        "ticktext": [percent(t) for t in ticks],
        "mirror": True,
        "title": {**style["title"], "text": "chance of a stable training"},
    }


def _axis(dim: Dimension, values: Sequence[float]) -> tuple[dict[str, Any], float]:
    """The axis of a setting, and the place on it for trials where the setting was off."""
    style = axis_style()
    ends = [v for v in (dim.low, dim.high) if math.isfinite(v)]
    low, high = widened([*values, *ends], dim.log, _MARGIN)
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


def _category_axis(dim: Dimension, values: Sequence[float]) -> tuple[dict[str, Any], float]:
    """The axis of a category, a place a level, and the place for trials where the setting was off."""
    style = axis_style()
    names = {float(k): value_text(level) for k, level in enumerate(dim.levels)}
    if any(not math.isfinite(v) for v in values):
        names = {-1.0: "off", **names}
    scale = {"range": [min(names) - 0.5, max(names) + 0.5], "tickvals": list(names), "ticktext": list(names.values())}
    return {**style, **scale, "mirror": True, "title": {**style["title"], "text": dim.name}}, -1.0


def _hover(info: MapInfo, cell: MapCell) -> str:
    at = f"{info.x.name} {number(cell.x)}"
    if info.y is not None:
        known = None if not math.isfinite(cell.y) else cell.y
        value = info.y.levels[int(known)] if known is not None and info.y.kind == "category" else known
        at += f", {info.y.name} {value_text(value)}"
    return f"Trial {cell.number}, seed {cell.seed}: {cell.outcome.value}<br>{at}"
