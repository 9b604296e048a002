"""The course of one trial over its steps: losses, gradient norm, loss scale, and what happened to single steps.

The page draws courses by itself, one trial or several at once, from the same parts (`STYLES`): it holds thousands.
"""

import math
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import plotly.graph_objects as go

from sweep.analysis.traces import Trace
from sweep.analysis.wording import number, percent
from sweep.records import Outcome
from sweep.report.figures.panel import axis_style, base_layout, log_axis, widened
from sweep.report.theme import MARKS, light

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

    trace: Trace
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

    @cached_property
    def has_norm(self) -> bool:
        """Whether any gradient norm is known."""
        return bool(np.isfinite(self.trace.grad_norm).any())

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


def layout() -> dict[str, Any]:
    """The figure's layout with all its rows, before their domains, heights and events are known."""
    style = axis_style()

    def titled(text: str) -> dict[str, Any]:
        return {**style, "title": {**style["title"], "text": text}}

    return {
        **base_layout(height=0),
        "margin": {"l": 66, "r": 14, "t": 22, "b": 46},
        "xaxis": titled("training step"),
        "yaxis": titled(ROWS["loss"].title),
        "yaxis2": titled(ROWS["norm"].title),
        "yaxis3": titled(ROWS["scale"].title),
        "yaxis4": {**style, "tickfont": {"size": 11}, "showgrid": False, "showline": False, "ticks": ""},
    }


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


def course_figure(course: Course) -> go.Figure:
    """The figure of one trial; what was never recorded has no row."""
    one, kinds, drawn = course.trace, styles(), layout()
    present = {"loss": True, "norm": course.has_norm, "scale": len(one.scale) > 0, "events": bool(one.events)}
    rows = [row for row in ROWS if present[row]]
    values: dict[Row, Iterable[float]] = {
        "loss": [*one.loss, *one.val_loss, course.l_const or math.nan],
        "norm": [*one.grad_norm, course.clip or math.nan],
        "scale": one.scale,
    }
    for row in rows:
        if row in values:
            drawn[_key(row)] |= _few_ticks(log_axis(*widened(values[row], log=True)))
    for row, domain in domains(rows, len(one.events)).items():
        drawn[_key(row)]["domain"] = domain
    for row in set(ROWS) - set(rows):
        del drawn[_key(row)]
    drawn["height"] = sum(ROWS[row].pixels * (len(one.events) if row == "events" else 1) for row in rows)
    drawn["xaxis"] |= {"anchor": ROWS[rows[-1]].axis, "range": [0, 1.02 * max(one.num_steps, *one.step.tolist(), 1)]}
    data = [{**kinds["loss"], **_curve(one.step, one.loss, "training loss", "y")}]
    if len(one.eval_step):
        wer = ["n/a" if math.isnan(v) else percent(v, 1) for v in one.wer.tolist()]
        found = {
            **kinds["evaluation"],
            **_curve(one.eval_step, one.val_loss, "validation loss", "y"),
            "customdata": wer,
        }
        data.append({**found, "hovertemplate": "step %{x}: %{y:.4g}, WER %{customdata}<extra>validation loss</extra>"})
    if "norm" in rows:
        data.append({**kinds["norm"], **_curve(one.step, one.grad_norm, "gradient norm", "y2")})
    if "scale" in rows:
        data.append({**kinds["scale"], **_curve(one.scale_step, one.scale, "loss scale", "y3")})
    if "events" in rows:
        drawn["margin"]["l"] = EVENTS_MARGIN
        names = [f"{name} ({one.event_counts[name]})" for name in one.events]
        drawn["yaxis4"] |= {"range": [len(names) - 0.3, -0.7], "tickvals": list(range(len(names))), "ticktext": names}
        for at, (name, steps) in enumerate(one.events.items()):
            data.append({**kinds["event"], **_curve(steps, np.full(len(steps), float(at)), name, "y4")})
    levels = [(ROWS[row].axis, value, text) for row, value, text in course.levels]
    drawn["shapes"] = [
        *({**kinds["level"], "yref": axis, "y0": value, "y1": value} for axis, value, _ in levels),
        *(_ending(kinds["end"], step, MARKS[o].light) for step, _, o, _ in course.ends),
    ]
    # Plotly places a label on a logarithmic axis by the exponent, but a shape by the value.
    drawn["annotations"] = [
        *(
            {**kinds["levelLabel"], "yref": ROWS[row].axis, "y": math.log10(v), "text": t}
            for row, v, t in course.levels
        ),
        *(_end_label(kinds["endLabel"], step, t, MARKS[o].light, side) for step, t, o, side in course.ends),
    ]
    return go.Figure({"data": data, "layout": drawn})


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


def _ending(style: dict[str, Any], step: int, colour: str) -> dict[str, Any]:
    return {**style, "x0": step, "x1": step, "line": {**style["line"], "color": colour}}


def _end_label(style: dict[str, Any], step: int, text: str, colour: str, side: str) -> dict[str, Any]:
    return {**style, "x": step, "xanchor": side, "text": text, "font": {**style["font"], "color": colour}}
