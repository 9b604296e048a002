"""The course of one trial over its steps: losses, gradient norm, loss scale, and what happened to single steps.

The page draws courses by itself, one trial or several at once, from the same parts (`STYLES`): it holds thousands.
"""

import itertools
import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import plotly.graph_objects as go

from sweep.analysis.figures.course import CourseRows
from sweep.own.program import Score
from sweep.records import Outcome
from sweep.report.figures.panel import axis_style, base_layout, log_axis, widened
from sweep.report.theme import MARKS, TRIAL_COLOURS, light
from sweep.wording import number, percent

GAP = 0.05
"""Between two rows, as a share of the height."""
_NEAR = 0.2
"""Share of the steps: two labels this close have no room beside each other."""

MAX_TICKS = 6
"""Of an axis, whose row is low."""

Row = Literal["loss", "norm", "scale", "events"]


@dataclass(frozen=True)
class RowStyle:
    """One of the figure's rows, which lie above each other on one axis of steps."""

    axis: str
    """Plotly's name, such as `y2`."""
    share: float
    """Of the height, against the other rows; of the events, what their axis needs besides `EVENT_SHARE` for each."""
    pixels: int
    """What the row adds to the figure's height; of the events each."""
    title: str = ""


ROWS: dict[Row, RowStyle] = {
    "loss": RowStyle("y", 4.0, 330, "loss (nats/label)"),
    "norm": RowStyle("y2", 4.0, 100, "gradient norm<br>before clipping (L2)"),
    "scale": RowStyle("y3", 2.0, 90, "loss scale"),
    "events": RowStyle("y4", 0.6, 26),
}
EVENT_SHARE = 0.5


@dataclass(frozen=True, eq=False)
class Course:
    """What the figure shows."""

    trace: CourseRows
    number: int
    verdict: Outcome
    alarm: Outcome | None
    """Of a trial that ran on after an alarm."""
    stop_step: int | None
    """The step of the alarm; None for a trial without one."""
    clip: float | None
    """The norm that gradients are clipped to; None where it is not known or not finite."""
    l_const: float | None
    """The loss of learning nothing, nats a label."""
    score: Score | None = None
    """What trainings of the user's own are ranked by."""

    @cached_property
    def has_norm(self) -> bool:
        """Whether any gradient norm is known."""
        return bool(np.isfinite(self.trace.grad_norm).any())

    @property
    def results(self) -> list[str]:
        """What each evaluation came to besides its loss, as it follows that in a text; empty where nothing is known."""
        if self.score is None:
            return ["" if math.isnan(v) else f", WER {percent(v, 1)}" for v in self.trace.wer.tolist()]
        name, turned = self.score.name, self.score.as_reported
        return ["" if math.isnan(v) else f", {name} {number(turned(v))}" for v in self.trace.score.tolist()]

    @property
    def levels(self) -> Iterator[tuple[Row, float, str]]:
        """Lines across a row: (row, value, text)."""
        if self.l_const:
            yield "loss", self.l_const, "learned nothing (L_const)"
        if self.clip and self.has_norm:
            yield "norm", self.clip, f"clipped to {number(self.clip)}"

    @property
    def ends(self) -> list[tuple[int, str, Outcome, str]]:
        """Where the trial ended, and where it would have been stopped: (step, text, outcome, side of the text)."""
        num_steps, stop = self.trace.num_steps, self.stop_step
        if self.alarm is None or stop is None:
            at = "" if stop is None else f" at step {stop}"
            return [(num_steps if stop is None else stop, f"{self.verdict.value}{at}", self.verdict, "right")]
        # Two labels where they have room, else one.
        near = num_steps - stop < _NEAR * num_steps
        alarm = f"would have been stopped: {self.alarm.value}"
        end = "end" if self.alarm is self.verdict else self.verdict.value
        return [
            (stop, "" if near else alarm, self.alarm, "left" if stop < num_steps / 3 else "right"),
            (num_steps, f"{alarm}, {end}" if near else end, self.verdict, "right"),
        ]


def layout(loss_title: str = ROWS["loss"].title) -> dict[str, Any]:
    """The figure's layout with all its rows, before their domains, heights and events are known."""
    style = axis_style()

    def titled(text: str) -> dict[str, Any]:
        return {**style, "title": {**style["title"], "text": text}}

    return {
        **base_layout(height=0),
        "margin": {"l": 66, "r": 14, "t": 22, "b": 46},
        "xaxis": titled("training step"),
        "yaxis": titled(loss_title),
        "yaxis2": titled(ROWS["norm"].title),
        "yaxis3": titled(ROWS["scale"].title),
        "yaxis4": {**style, "tickfont": {"size": 11}, "showgrid": False, "showline": False, "ticks": ""},
    }


OWN_LOSS = "loss"
"""What its axis is called where programs of the user's own train, in whatever unit."""
EVENTS_MARGIN = 146
"""Room for the names of the events, in pixels."""


def styles() -> dict[str, dict[str, Any]]:
    """How each kind of curve is drawn, and lines with their labels; whoever draws adds values, axis and name."""
    accent, ink, muted = light("accent"), light("ink"), light("muted")
    across = {"type": "line"}
    label = {"showarrow": False, "font": {"size": 11, "color": muted}, "yanchor": "bottom"}
    return {
        "loss": {"type": "scatter", "mode": "lines", "line": {"color": accent, "width": 1.4}},
        "norm": {"type": "scatter", "mode": "lines", "line": {"color": accent, "width": 1.4}},
        "scale": {"type": "scatter", "mode": "lines", "line": {"color": accent, "width": 1.4, "shape": "hv"}},
        "evaluation": {
            "type": "scatter",
            "mode": "lines+markers",
            "line": {"color": ink, "width": 1, "dash": "dot"},
            "marker": {"color": ink, "size": 6, "symbol": "circle-open"},
        },
        "event": {
            "type": "scatter",
            "mode": "markers",
            "marker": {"symbol": "line-ns-open", "size": 11, "color": ink, "line": {"width": 1.3}},
        },
        "level": {**across, "xref": "paper", "x0": 0, "x1": 1, "line": {"color": muted, "width": 1, "dash": "dash"}},
        "levelLabel": {**label, "xref": "paper", "x": 0.97, "xanchor": "right"},
        "end": {**across, "xref": "x", "yref": "paper", "y0": 0, "y1": 1, "line": {"width": 1.5}},
        "endLabel": {**label, "xref": "x", "yref": "paper", "y": 1, "font": {"size": 12}},
    }  # fmt: skip


def course_figure(*courses: Course) -> go.Figure:
    """The figure of one trial, or of several in one; what was never recorded has no row."""
    several, drawn = len(courses) > 1, layout()
    if any(course.score is not None for course in courses):
        drawn = layout(OWN_LOSS)
    events = [(c, name) for c in courses for name in c.trace.events]
    present = {
        "loss": True,
        "norm": any(c.has_norm for c in courses),
        "scale": any(len(c.trace.scale) for c in courses),
        "events": bool(events),
    }
    rows = [row for row in ROWS if present[row]]
    for row, values in _values(courses).items():
        drawn[_key(row)] |= _few_ticks(log_axis(*widened(values, log=True)))
    for row, domain in domains(rows, len(events)).items():
        drawn[_key(row)]["domain"] = domain
    for row in set(ROWS) - set(rows):
        del drawn[_key(row)]
    drawn["height"] = sum(ROWS[row].pixels * (len(events) if row == "events" else 1) for row in rows)
    last = max(1, *(max(c.trace.num_steps, *c.trace.step.tolist(), 0) for c in courses))
    drawn["xaxis"] |= {"anchor": ROWS[rows[-1]].axis, "range": [0, 1.02 * last]}
    if events:
        texts = [f"{f'{c.number} ' if several else ''}{name} ({c.trace.event_counts[name]})" for c, name in events]
        drawn["margin"]["l"] = EVENTS_MARGIN
        drawn["yaxis4"] |= {"range": [len(texts) - 0.3, -0.7], "tickvals": list(range(len(texts))), "ticktext": texts}
    data, lines, num_events = [], [], 0
    for course, (colour, _) in zip(courses, itertools.cycle(TRIAL_COLOURS)):
        data += _curves(course, colour if several else None, num_events)
        lines += _lines(course, colour if several else None)
        num_events += len(course.trace.events)
    drawn |= {"shapes": [line for line, _ in lines], "annotations": [label for _, label in lines if label]}
    return go.Figure({"data": data, "layout": drawn})


def _values(courses: Sequence[Course]) -> dict[Row, list[float]]:
    """Row -> all that its logarithmic axis must hold."""
    values: dict[Row, list[float]] = {"loss": [], "norm": [], "scale": []}
    for course in courses:
        values["loss"] += [*course.trace.loss, *course.trace.val_loss]
        values["norm"] += course.trace.grad_norm.tolist()
        values["scale"] += course.trace.scale.tolist()
        for row, value, _ in course.levels:
            values[row].append(value)
    return values


def _curves(course: Course, colour: str | None, first_event: int) -> list[dict[str, Any]]:
    """A trial's curves; in a colour, and with its number in their names, where it is one of several."""
    one, kinds, called = course.trace, styles(), f"{course.number}: " if colour else ""
    if colour:
        for kind in ("loss", "norm", "scale", "evaluation"):
            kinds[kind]["line"] = kinds[kind]["line"] | {"color": colour}
        for kind in ("evaluation", "event"):
            kinds[kind]["marker"] = kinds[kind]["marker"] | {"color": colour}
    data = [{**kinds["loss"], **_curve(one.step, one.loss, f"{called}training loss", "y")}]
    if len(one.eval_step):
        name = f"{called}validation loss"
        found = {**kinds["evaluation"], **_curve(one.eval_step, one.val_loss, name, "y")}
        hover = f"step %{{x}}: %{{y:.4g}}%{{customdata}}<extra>{name}</extra>"
        data.append({**found, "customdata": course.results, "hovertemplate": hover})
    if course.has_norm:
        data.append({**kinds["norm"], **_curve(one.step, one.grad_norm, f"{called}gradient norm", "y2")})
    if len(one.scale):
        data.append({**kinds["scale"], **_curve(one.scale_step, one.scale, f"{called}loss scale", "y3")})
    for at, (name, steps) in enumerate(one.events.items(), start=first_event):
        data.append({**kinds["event"], **_curve(steps, np.full(len(steps), float(at)), called + name, "y4")})
    return data


def _lines(course: Course, colour: str | None) -> list[tuple[dict[str, Any], dict[str, Any] | None]]:
    """Levels and ends, as Plotly's shapes with their labels; the ends of one of several trials have none."""
    kinds = styles()
    found: list[tuple[dict[str, Any], dict[str, Any] | None]] = []
    for row, value, text in course.levels:
        ref = {"yref": ROWS[row].axis}
        line = kinds["level"]["line"] | ({"color": colour} if colour and row != "loss" else {})
        # Plotly places a label on a logarithmic axis by the exponent, but a shape by the value.
        label = {**kinds["levelLabel"], **ref, "y": math.log10(value), "text": text}
        # The clip norms of several trials may lie close; their colours tell whose they are.
        told = label if not colour or row == "loss" else None
        found.append(({**kinds["level"], **ref, "line": line, "y0": value, "y1": value}, told))
    for step, text, outcome, side in course.ends:
        style = {"color": colour or MARKS[outcome].light, "dash": "dot" if colour else "solid"}
        shape = {**kinds["end"], "x0": step, "x1": step, "line": kinds["end"]["line"] | style}
        font = kinds["endLabel"]["font"] | {"color": style["color"]}
        label = {**kinds["endLabel"], "x": step, "xanchor": side, "text": text, "font": font}
        found.append((shape, None if colour else label))
    return found


def domains(rows: Collection[Row], num_events: int) -> dict[Row, list[float]]:
    """Row -> its stretch of the height, from the top."""
    sizes = {row: ROWS[row].share + (EVENT_SHARE * num_events if row == "events" else 0) for row in rows}
    unit = (1 - GAP * (len(sizes) - 1)) / sum(sizes.values())
    found, top = {}, 1.0
    for row, size in sizes.items():
        found[row] = [max(0.0, top - unit * size), top]
        top -= unit * size + GAP
    return found


def _few_ticks(axis: dict[str, Any]) -> dict[str, Any]:
    every = 1 + (len(axis["tickvals"]) - 1) // MAX_TICKS
    return axis | {key: axis[key][::every] for key in ("tickvals", "ticktext")}


def _key(row: Row) -> str:
    return f"yaxis{ROWS[row].axis[1:]}"


def _curve(steps: Any, values: Any, name: str, axis: str) -> dict[str, Any]:
    return {
        "x": steps.tolist(),
        "y": [None if math.isnan(v) else v for v in values.tolist()],
        "yaxis": axis,
        "name": name,
        "hovertemplate": f"step %{{x}}<extra>{name}</extra>"
        if axis == "y4"
        else f"step %{{x}}: %{{y:.4g}}<extra>{name}</extra>",
    }
