"""Parallel coordinates as inline SVG: a line a trial in the colour of its outcome.

Not Plotly's own `parcoords`: that draws by WebGL, so its lines cannot be clicked, do not print sharply, need a second
drawing for the dark theme, and a screen reader finds nothing in it. These lines are part of the page; page.js lets a
reader choose ranges on the axes.
"""

import functools
import itertools
import math
from collections.abc import Collection
from textwrap import wrap

import plotly.graph_objects as go
from markupsafe import Markup

from sweep.analysis.figures.parallel import ParallelAxis, ParallelInfo, ParallelLine
from sweep.records import Outcome
from sweep.report.figures.axis import FigureAxis
from sweep.report.figures.panel import base_figure
from sweep.report.theme import MARKS, light
from sweep.wording import number, percent

_COLUMN, _LEFT, _RIGHT = 136.0, 84.0, 118.0
"""Distance of two axes, and room for the texts beside the first and the last, in pixels."""
_TOP, _HEIGHT, _SLOT, _BOTTOM = 40.0, 280.0, 26.0, 10.0
"""Room for the names, length of an axis, distance of what lies beyond its ends, room below, in pixels."""
_BRUSH = 30.0
"""Width of the stretch beside an axis in which a reader may draw."""
_BELOW, _ABOVE = -0.1, 1.1
"""Where a notebook has what lies beyond an axis, which runs from 0 to 1."""
_JITTER = 0.28
"""Part of a level's room over which its lines are spread."""


def draw_parallel(info: ParallelInfo, clickable: Collection[str], summary: str) -> Markup:
    """The drawing as HTML.

    Args:
        info: axes and lines.
        clickable: trials whose course is in the page.
        summary: what a reader who cannot see it should know.
    """
    width = _LEFT + _COLUMN * (len(info.axes) - 1) + _RIGHT
    bottom = _TOP + _SLOT + _HEIGHT + _SLOT * any(axis.below for axis in info.axes)
    height = bottom + _BOTTOM
    places = [[_place(axis, value, i) for axis, value in zip(info.axes, line.values, strict=True)]
              for i, line in enumerate(info.lines)]  # fmt: skip
    opacity = round(min(0.9, max(0.3, 5 / math.sqrt(max(len(info.lines), 1)))), 2)
    lines = Markup("").join(_line(*pair, clickable) for pair in zip(info.lines, places, strict=True))
    axes = Markup("").join(_axis(axis, index, bottom) for index, axis in enumerate(info.axes))
    return Markup(
        '<svg class="parallel" viewBox="0 0 {} {}" style="min-width:{}px;max-width:{}px" role="group" '
        'aria-label="{}"><g class="lines" stroke-opacity="{}">{}</g>{}</svg>'
    ).format(round(width), round(height), round(width), round(width * 1.2), summary, opacity, lines, axes)


def parallel_figure(info: ParallelInfo) -> go.Figure:
    """The same lines as Plotly's own parallel coordinates, for a notebook: a stretch of an axis keeps its lines."""
    outcomes = [outcome for outcome in Outcome if any(line.outcome is outcome for line in info.lines)]
    shades = [MARKS[outcome].light for outcome in outcomes for _ in range(2)]
    edges = [index / len(outcomes) for index in range(len(outcomes) + 1)]
    figure = base_figure(height=420)
    figure.add_trace(
        go.Parcoords(
            line={
                "color": [outcomes.index(line.outcome) for line in info.lines],
                "cmin": -0.5,
                "cmax": len(outcomes) - 0.5,
                "colorscale": list(zip([e for pair in itertools.pairwise(edges) for e in pair], shades, strict=True)),
            },
            dimensions=[
                {
                    "label": f"{axis.name} (log scale)" if axis.log else axis.name,
                    "values": [_within(_place(axis, line.values[at], index)) for index, line in enumerate(info.lines)],
                    "range": [_BELOW if axis.below else 0, _ABOVE if axis.above else 1],
                    "tickvals": [place for place, _ in _ends_and_ticks(axis)],
                    "ticktext": [text for _, text in _ends_and_ticks(axis)],
                }
                for at, axis in enumerate(info.axes)
            ],
        )
    )
    return figure.update_layout(margin={"l": 90, "r": 90, "t": 60, "b": 30}, paper_bgcolor=light("paper"))


def _within(place: float) -> float:
    return min(max(place, _BELOW), _ABOVE)


def _ends_and_ticks(axis: ParallelAxis) -> list[tuple[float, str]]:
    beyond = [(place, text) for place, text in ((_BELOW, axis.below), (_ABOVE, axis.above)) if text]
    return [*_ticks(axis), *beyond]


def _y(place: float) -> float:
    """Pixels of a place; those beyond 0 and 1 lie in the slots."""
    if place < 0:
        return _TOP + _SLOT + _HEIGHT + _SLOT * 0.8
    if place > 1:
        return _TOP + _SLOT * 0.3
    return _TOP + _SLOT + _HEIGHT * (1 - place)


def _place(axis: ParallelAxis, value: float, index: int) -> float:
    if math.isinf(value):
        return -1.0 if value < 0 else 2.0
    if axis.kind == "number":
        return FigureAxis(axis.low, axis.high, axis.log).place(value)
    # The golden ratio spreads the lines of a level evenly, whatever their number.
    spread = _JITTER * ((index * 0.618034) % 1 - 0.5)
    return (value + 0.5 + spread) / len(axis.levels)


def _line(line: ParallelLine, places: list[float], clickable: Collection[str]) -> Markup:
    points = " ".join(f"{_LEFT + _COLUMN * i:.0f},{_y(place):.1f}" for i, place in enumerate(places))
    click = Markup(' data-line="{}"').format(line.trial_id) if line.trial_id in clickable else ""
    return Markup('<polyline points="{}" class="o-{}" data-good="{}"{}><title>{}</title></polyline>').format(
        points, line.outcome.value, int(line.outcome.is_stable), click, line.text
    )


def _axis(axis: ParallelAxis, index: int, bottom: float) -> Markup:
    x = _LEFT + _COLUMN * index
    ticks = [(_y(place), text) for place, text in _ticks(axis)]
    ticks += [(_y(-1), axis.below)] if axis.below else []
    marks = [Markup('<line class="tick" x1="{0}" x2="{1}" y1="{2}" y2="{2}"/>').format(x - 4, x, round(y, 1))
             for y, _ in ticks]  # fmt: skip
    if axis.above:
        ticks.append((_y(2), axis.above))
    # Beside the last axis there is no line that a text could cover.
    is_last = axis.name == "outcome"
    place, anchor = (x + 8, "start") if is_last else (x - 7, "end")
    tick = Markup('<text paint-order="stroke" x="{}" y="{}" text-anchor="{}">{}</text>')
    texts = [tick.format(place, round(y + 3.5, 1), anchor, text) for y, text in _split(ticks)]
    title = Markup('<text paint-order="stroke" class="name" x="{}" y="14" text-anchor="middle">{}</text>').format(
        x, axis.name
    )
    if axis.log:
        title += Markup('<text paint-order="stroke" x="{}" y="28" text-anchor="middle">log scale</text>').format(x)
    return Markup(
        '<g class="axis">{}<line class="rule" x1="{}" x2="{}" y1="{}" y2="{}"/>{}{}'
        '<rect class="chosen" x="{}" width="{}" y="0" height="0"/>'
        '<rect class="brush" data-axis="{}" x="{}" width="{}" y="{}" height="{}" tabindex="0" role="slider" '
        'aria-orientation="vertical" aria-valuemin="0" aria-valuemax="100" aria-valuenow="50" aria-valuetext="all" '
        'aria-label="{}: drag over the lines to keep, or arrow keys; Escape keeps all"/></g>'
    ).format(
        title, x, x, round(_y(1), 1), round(_y(0), 1), Markup("").join(marks), Markup("").join(texts),
        x - 6, 12, index, x - _BRUSH / 2, _BRUSH, round(_TOP, 1), round(bottom + _BOTTOM / 2 - _TOP, 1), axis.name,
    )  # fmt: skip


def _split(ticks: list[tuple[float, str]]) -> list[tuple[float, str]]:
    """Long texts in two rows."""
    found = []
    for y, text in ticks:
        rows = wrap(text, 12) if len(text) > 18 else [text]
        found += [(y + 11 * (i - (len(rows) - 1) / 2), row) for i, row in enumerate(rows)]
    return found


def _ticks(axis: ParallelAxis) -> list[tuple[float, str]]:
    if axis.kind == "category":
        return [((i + 0.5) / len(axis.levels), level) for i, level in enumerate(axis.levels)]
    text = percent if axis.is_share else functools.partial(number, digits=2)
    if axis.high <= axis.low:
        return [(0.5, text(axis.low))]
    return FigureAxis(axis.low, axis.high, axis.log).ticks(text, 5)
