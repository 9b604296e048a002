"""The pairs behind a claim as a small drawing: one line a pair, or one square a pair where the response is yes or no.

Inline SVG and HTML in the page's colours, without Plotly: many claims stay light, print, and need no script.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup, escape

from sweep.report.figures.axis import FigureAxis, axis_of
from sweep.wording import number

_WIDTH, _WIDE, _HEIGHT = 300, 420, 172
"""Of a drawing in pixels; one of four levels and more is wide."""
_LEFT, _TOP, _BOTTOM = 52.0, 10.0, 22.0
"""Room for the axis and the names of the levels, in pixels."""
_MEAN_ROOM = 58.0
"""Room beside the outer levels for their means."""
_SPREAD = 28
"""How far to either side the dots of a single level lie."""
_LETTER, _LONGEST = 7.5, 20
"""Width of a letter of a level's name, in pixels; letters that a name may have."""


@dataclass(frozen=True)
class SlopeInfo:
    """Pairs with a numeric response."""

    title: str
    """Which part of the claim it is; empty where there is but one."""
    labels: tuple[str, ...]
    """Names of the levels, from left to right."""
    blocks: tuple[int, ...]
    values: np.ndarray
    """Response of each training [N, L]; every value is finite."""
    censored: np.ndarray
    """Whether a value is a bound alone [N, L], bool."""
    failed: np.ndarray
    """Whether a value stands for a training that failed [N, L], bool."""
    means: tuple[float, ...]
    """What the thick line goes through [L]."""
    axis: FigureAxis
    text: Callable[[float], str]
    """How a value is written."""


@dataclass(frozen=True)
class SquaresInfo:
    """Pairs with a yes-or-no response."""

    title: str
    rows: tuple[tuple[str, int, str], ...]
    """(what happened, pairs, kind): kind is `both`, `first`, `second` or `neither`."""


def slope_info(
    title: str,
    labels: Sequence[str],
    blocks: Sequence[int],
    values: np.ndarray,
    censored: np.ndarray,
    text: Callable[[float], str],
    log: bool = False,
    failed: np.ndarray | None = None,
) -> SlopeInfo:
    """What the lines show; on a logarithmic axis the thick one goes through the geometric means."""
    log = log and bool((values > 0).all())
    means = np.exp(np.log(values).mean(axis=0)) if log else values.mean(axis=0)
    return SlopeInfo(
        title, tuple(labels), tuple(int(b) for b in blocks), values, censored,
        np.zeros(values.shape, bool) if failed is None else failed, tuple(float(m) for m in means),
        axis_of(values.ravel().tolist(), log), text,
    )  # fmt: skip


def squares_info(title: str, labels: Sequence[str], values: np.ndarray, yes: str) -> SquaresInfo:
    """Counts of pairs [N, 2] of 0 and 1 by what happened under the two levels.

    Args:
        title: which part of the claim it is.
        labels: names of the two levels.
        values: 1 where a training was `yes`.
        yes: the word for 1, such as `stable`.
    """
    first, second = (values[:, column] > 0.5 for column in (0, 1))
    return SquaresInfo(
        title,
        (
            (f"both {yes}", int((first & second).sum()), "both"),
            (f"only {labels[0]} {yes}", int((first & ~second).sum()), "first"),
            (f"only {labels[1]} {yes}", int((~first & second).sum()), "second"),
            (f"neither {yes}", int((~first & ~second).sum()), "neither"),
        ),
    )


def draw_squares(info: SquaresInfo) -> Markup:
    """Four rows of squares."""
    rows = Markup("").join(
        Markup(
            '<div class="count {}"><span>{}</span><b>{}</b><div class="units" aria-hidden="true">{}</div></div>'
        ).format(kind, told, count, Markup("<span></span>") * count)
        for told, count, kind in info.rows
    )
    return Markup('<div class="squares">{}{}</div>').format(_title(info.title), rows)


def draw_slopes(info: SlopeInfo) -> Markup:
    """A thin line a pair, and a thick one through the means."""
    num_levels = len(info.labels)
    width = _width(info)
    left, right = _LEFT + _MEAN_ROOM, width - _MEAN_ROOM - 8
    places = [left + (right - left) * (i / (num_levels - 1) if num_levels > 1 else 0.5) for i in range(num_levels)]

    def height(value: float) -> float:
        return _HEIGHT - _BOTTOM - info.axis.place(value) * (_HEIGHT - _TOP - _BOTTOM)

    parts = [_grid(info)]
    parts += [_pair(info, row, places, height) for row in range(len(info.blocks))]
    parts += [_means(info, places, height), _labels(info, places)]
    summary = ", ".join(f"{name} {info.text(mean)}" for name, mean in zip(info.labels, info.means, strict=True))
    told = f"{len(info.blocks)} pairs; mean of {summary}"
    svg = Markup('<svg class="slopes" width="{0}" viewBox="0 0 {0} {1}" role="img" aria-label="{2}">{3}</svg>').format(
        width, _HEIGHT, told, Markup("").join(parts)
    )
    mark = Markup('<p class="muted failed-key"><b>&times;</b> failed</p>') if info.failed.any() else Markup("")
    return Markup('<div class="pairs-plot">{}{}{}</div>').format(_title(info.title), svg, mark)


def _width(info: SlopeInfo) -> int:
    return _WIDE if len(info.labels) > 3 else _WIDTH


def _title(title: str) -> Markup:
    return Markup('<p class="part">{}</p>').format(title) if title else Markup("")


def _grid(info: SlopeInfo) -> Markup:
    lines = []
    for place, text in info.axis.ticks(info.text, 4):
        y = _HEIGHT - _BOTTOM - place * (_HEIGHT - _TOP - _BOTTOM)
        lines.append(
            f'<path class="grid" d="M{_LEFT:.0f} {y:.1f}H{_width(info)}"/>'
            f'<text class="tick" x="{_LEFT - 6:.0f}" y="{y + 3.5:.1f}" text-anchor="end">{escape(text)}</text>'
        )
    return Markup("".join(lines))


def _pair(info: SlopeInfo, row: int, places: Sequence[float], height: Callable[[float], float]) -> Markup:
    """One pair: a line, a dot where there is but one level, a triangle at a bound, a cross at a failure."""
    values = info.values[row]
    points = [(x, height(float(v))) for x, v in zip(places, values, strict=True)]
    opacity = min(0.75, max(0.18, 9 / len(info.blocks)))
    told = f"block {info.blocks[row]}: " + ", ".join(
        f"{name} {'beyond ' if bound else ''}{info.text(float(value))}{' (failed)' if failed else ''}"
        for name, value, bound, failed in zip(info.labels, values, info.censored[row], info.failed[row], strict=True)
    )
    shapes = '<path class="pair" d="M' + "L".join(f"{x:.1f} {y:.1f}" for x, y in points) + '"/>'
    if len(points) == 1:
        # Spread sideways, always the same way, so that equal values can be told apart.
        x = points[0][0] + _SPREAD * math.sin(2.4 * row)
        shapes = f'<circle class="dot" cx="{x:.1f}" cy="{points[0][1]:.1f}" r="3"/>'
    for (x, y), bound in zip(points, info.censored[row], strict=True):
        if bound:
            shapes += f'<path class="bound" d="M{x:.1f} {y - 4.5:.1f}l4.5 7h-9z"/>'
    for (x, y), failed, bound in zip(points, info.failed[row], info.censored[row], strict=True):
        if failed and not bound:
            shapes += f'<path class="failed" d="M{x - 4:.1f} {y - 4:.1f}l8 8m0-8l-8 8"/>'
    return Markup(f'<g opacity="{opacity:.2f}"><title>{escape(told)}</title>{shapes}</g>')


def _means(info: SlopeInfo, places: Sequence[float], height: Callable[[float], float]) -> Markup:
    points = [(x, height(mean)) for x, mean in zip(places, info.means, strict=True)]
    if len(points) == 1:
        x, y = points[0]
        return Markup('<path class="mean" d="M{} {}h{}"/>').format(
            f"{x - _SPREAD:.1f}", f"{y:.1f}", 2 * _SPREAD
        ) + _mean(info, x + _SPREAD, y, 0)
    line = Markup('<path class="mean" d="M{}"/>').format("L".join(f"{x:.1f} {y:.1f}" for x, y in points))
    dots = Markup("").join(
        Markup('<circle class="mean-dot" cx="{}" cy="{}" r="4"/>').format(f"{x:.1f}", f"{y:.1f}") for x, y in points
    )
    return line + dots + _mean(info, *points[0], 0) + _mean(info, *points[-1], -1)


def _mean(info: SlopeInfo, x: float, y: float, index: int) -> Markup:
    """A mean's value: left of the first of several levels, right of the last."""
    is_left = index == 0 and len(info.means) > 1
    return Markup('<text class="mean-text" x="{}" y="{}" text-anchor="{}">{}</text>').format(
        f"{x - 9 if is_left else x + 9:.1f}",
        f"{y + 4:.1f}",
        "end" if is_left else "start",
        info.text(info.means[index]),
    )


def _labels(info: SlopeInfo, places: Sequence[float]) -> Markup:
    names = [_short(name) for name in info.labels]
    room = places[1] - places[0] if len(places) > 2 else _WIDE
    every = max(1, math.ceil(max(len(name) for name in names) * _LETTER / room))
    return Markup("").join(
        Markup('<text class="level" x="{}" y="{}" text-anchor="middle">{}</text>').format(f"{x:.1f}", _HEIGHT - 5, name)
        for index, (x, name) in enumerate(zip(places, names, strict=True))
        if index % every == 0
    )


def _short(name: str) -> str:
    """A level's name in the room that there is; long numbers in powers of ten."""
    if len(name) > 6 and name.replace(".", "", 1).isdigit():
        return number(float(name))
    return name if len(name) <= _LONGEST else name[: _LONGEST - 3] + "..."
