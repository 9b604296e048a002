"""Trainings in fp16 over their steps: headroom before overflow, and the loss scale with its skipped updates."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from sweep.analysis.failures.half_precision import HeadroomCourse, ScaleCourse
from sweep.forensics.health_alerts import HEADROOM_BITS_LEVEL
from sweep.records import SkipReason
from sweep.report.figures.panel import Panel, axis_style, base_figure, log_axis
from sweep.report.theme import MARKS, light
from sweep.wording import number, plural

_HEIGHT = 380
_MAX_TICKS = 7
_THIN, _THICK = 1.0, 1.8
_FAINT = 0.55
"""Opacity of stable trainings: they are what the failed ones are held against."""
_BUNDLE = 0.6
"""Octaves over which lines of one and the same loss scale are spread, so that each can be seen."""
_HALF_MAX = 65504.0
_LEAST_SCALE, _MOST_SCALE = 2.0**-30, 2.0**126
"""Loss scales beyond, down to the 0 of a training that went on without one gradient left, lie on the edge."""


def headroom_panel(courses: Sequence[HeadroomCourse]) -> Panel:
    """How many doublings were left before overflow; one that overflowed lies on the line of none."""
    # A module that gives zeros has no end of doublings left.
    top = max((b for c in courses for b in c.bits if b < math.inf), default=0.0)
    figure = _figure("doublings before overflow", max(s for c in courses for s in c.step))
    figure.update_yaxes(range=[-0.6, max(top, HEADROOM_BITS_LEVEL) * 1.08], dtick=2 if top < 18 else 4)
    _level(figure, 0.0, "overflow: 65504")
    _level(figure, HEADROOM_BITS_LEVEL, "a warning below")
    for course in _stable_first(courses):
        outcome = course.trial.outcome
        mark = MARKS[outcome]
        hover = [_headroom_hover(course, index) for index in range(len(course.step))]
        figure.add_trace(
            go.Scatter(
                x=course.step,
                y=[max(bits, 0.0) for bits in course.bits],
                mode="lines+markers",
                line={"color": mark.light, "width": _THIN if outcome.is_stable else _THICK},
                marker={"color": mark.light, "symbol": mark.symbol, "size": 4 if outcome.is_stable else 7},
                opacity=_FAINT if outcome.is_stable else 1.0,
                customdata=[course.trial.trial_id] * len(course.step),
                hovertext=hover,
                hoverinfo="text",
                name=outcome.value,
            )
        )
    num_over = sum(min(c.bits) == -math.inf for c in courses)
    summary = (
        f"Headroom of {plural(len(courses), 'training')} in fp16 over their steps. In {num_over} a value overflowed at "
        "a sampled step. The table below names the modules."
    )
    return Panel("", summary, figure)


def scale_panels(courses: Sequence[ScaleCourse]) -> list[Panel]:
    """Failed and stable trainings on the same axes; every skipped update is a mark on its line."""
    scales = [scale for c in courses for scale in c.scale]
    last_step = max(s for c in courses for s in c.step)
    parts = {good: [c for c in courses if c.trial.outcome.is_stable is good] for good in (False, True)}
    bad = "Failed, or still calibrating" if any(c.trial.outcome.is_open for c in courses) else "Failed"
    return [
        _scale_panel("Stable" if good else bad, part, last_step, (_in_range(min(scales)), _in_range(max(scales))))
        for good, part in parts.items()
    ]


def _scale_panel(title: str, courses: Sequence[ScaleCourse], last_step: int, span: tuple[float, float]) -> Panel:
    if not courses:
        return Panel(title, "", None, f"No {title.lower()} training had a loss scaler.")
    figure = _figure("loss scale (log axis)", last_step)
    figure.update_yaxes(**_log2_axis(*span))
    shifts = {
        c.trial.trial_id: 2.0 ** (_BUNDLE * (i + 0.5) / len(courses) - _BUNDLE / 2) for i, c in enumerate(courses)
    }
    for course in courses:
        trial, mark, shift = course.trial, MARKS[course.trial.outcome], shifts[course.trial.trial_id]
        figure.add_trace(
            go.Scatter(
                x=course.step,
                y=[_in_range(scale) * shift for scale in course.scale],
                mode="lines+markers",
                line={"color": mark.light, "width": _THIN if trial.outcome.is_stable else _THICK, "shape": "hv"},
                # Only the last step has a mark: how the training ended.
                marker={"color": mark.light, "symbol": mark.symbol, "size": [0] * (len(course.step) - 1) + [9]},
                customdata=[trial.trial_id] * len(course.step),
                hovertext=[
                    f"Trial {trial.number}: {trial.outcome.value}<br>step {step}: loss scale {number(scale, 6)}"
                    for step, scale in zip(course.step, course.scale, strict=True)
                ],
                hoverinfo="text",
                name=trial.outcome.value,
            )
        )
    healthy = (SkipReason.CALIBRATION,)
    _skips(figure, courses, shifts, healthy, "circle-open", light("muted"))
    _skips(figure, courses, shifts, [why for why in SkipReason if why not in healthy], "x-thin", light("ink"))
    lows, highs = min(s for c in courses for s in c.scale), max(s for c in courses for s in c.scale)
    summary = (
        f"Loss scale of {plural(len(courses), title.lower() + ' training')} over the steps; it lay between "
        f"{number(lows, 6)} and {number(highs, 6)}."
    )
    return Panel(f"{title}: {plural(len(courses), 'training')}", summary, figure)


def _figure(title: str, last_step: int) -> go.Figure:
    figure = base_figure(_HEIGHT)
    style = axis_style()
    steps = log_axis(0.9, max(last_step, 10) * 1.15)
    figure.update_layout(
        xaxis={**style, **steps, "title": {**style["title"], "text": "training step (log axis)"}},
        yaxis={**style, "title": {**style["title"], "text": title}},
    )
    return figure


def _stable_first(courses: Iterable[Any]) -> list[Any]:
    """Failed trainings are drawn on top."""
    return sorted(courses, key=lambda course: not course.trial.outcome.is_stable)


def _headroom_hover(course: HeadroomCourse, index: int) -> str:
    bits = course.bits[index]
    left = "overflowed" if bits == -math.inf else f"{number(bits, 2)} doublings left, up to {number(_size(bits))}"
    who = f"Trial {course.trial.number}: {course.trial.outcome.value}"
    return f"{who}<br>step {course.step[index]}: {course.path[index]} {left}"


def _size(bits: float) -> float:
    """The largest value that leaves so much headroom."""
    return _HALF_MAX / math.exp2(bits)


def _level(figure: go.Figure, value: float, text: str) -> None:
    line = {"color": light("muted"), "width": 1, "dash": "dash"}
    figure.add_shape(type="line", xref="paper", x0=0, x1=1, yref="y", y0=value, y1=value, line=line)
    font = {"size": 11, "color": light("muted")}
    figure.add_annotation(
        xref="paper", x=0, xanchor="left", yref="y", y=value, yanchor="bottom", text=text, showarrow=False, font=font
    )


def _in_range(scale: float) -> float:
    return min(max(scale, _LEAST_SCALE), _MOST_SCALE)


def _log2_axis(low: float, high: float) -> dict[str, Any]:
    """A logarithmic axis whose ticks are powers of two."""
    first, last = math.floor(math.log2(low)), math.ceil(math.log2(high))
    every = max(1, math.ceil((last - first) / _MAX_TICKS))
    powers = range(first - first % every, last + 1, every)
    pad = 0.05 * max(last - first, 4)
    return {
        "type": "log",
        "range": [math.log10(2) * (first - pad), math.log10(2) * (last + pad)],
        "tickmode": "array",
        "tickvals": [2.0**power for power in powers],
        "ticktext": [f"2<sup>{power}</sup>" for power in powers],
    }


def _skips(
    figure: go.Figure,
    courses: Iterable[ScaleCourse],
    shifts: Mapping[str, float],
    reasons: Sequence[SkipReason],
    symbol: str,
    colour: str,
) -> None:
    marks = [(c.trial, step, scale, why) for c in courses for step, scale, why in c.skips if why in reasons]
    if not marks:
        return
    figure.add_trace(
        go.Scatter(
            x=[step for _, step, _, _ in marks],
            y=[_in_range(scale) * shifts[trial.trial_id] for trial, _, scale, _ in marks],
            mode="markers",
            marker={"symbol": symbol, "size": 6, "color": colour, "line": {"width": 1.2, "color": colour}},
            customdata=[trial.trial_id for trial, _, _, _ in marks],
            hovertext=[
                f"Trial {trial.number}, step {step}: update skipped ({why.value}), loss scale {number(scale, 6)}"
                for trial, step, scale, why in marks
            ],
            hoverinfo="text",
        )
    )
