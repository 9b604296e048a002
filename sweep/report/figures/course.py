"""The course of one trial over its steps: losses, gradient norm, loss scale, and what happened to single steps."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go

from sweep.analysis.traces import Trace
from sweep.analysis.wording import number, percent
from sweep.records import Outcome
from sweep.report.figures.panel import axis_style, base_layout, log_axis, widened
from sweep.report.theme import MARKS, light

_AXES = {"loss": "y", "norm": "y2", "scale": "y3", "events": "y4"}
_GAP = 0.05
"""Between two rows, as a share of the height."""
_MAX_TICKS = 6
"""Of an axis, whose row is low."""
_NEAR = 0.2
"""Share of the steps: two labels this close have no room beside each other."""


@dataclass(frozen=True)
class CourseInfo:
    """What the figure shows."""

    trace: Trace
    verdict: Outcome
    alarm: Outcome | None
    """Of a trial that ran on after an alarm."""
    stop_step: int | None
    """The step of the alarm; None for a trial without one."""
    clip: float | None
    """The norm that gradients are clipped to; None where it is not known or not finite."""
    l_const: float | None
    """The loss of learning nothing, nats a label."""


def course_figure(info: CourseInfo) -> go.Figure:
    """The figure of one trial."""
    return go.Figure(course_content(info))


def course_content(info: CourseInfo) -> dict[str, Any]:
    """The figure as plain data, ready for JSON: hundreds of them are made at once, and Plotly's objects are slow.

    The rows lie from top to bottom on one axis of steps; what was never recorded has none.
    """
    trace, domains = info.trace, _domains(info.trace)
    margin = {"l": 146 if trace.events else 66, "r": 14, "t": 22, "b": 46}
    added = 100 * ("norm" in domains) + 90 * ("scale" in domains) + 26 * len(trace.events)
    limits = [value for value in (info.l_const,) if value is not None]
    layout: dict[str, Any] = {
        **base_layout(height=330 + added),
        "margin": margin,
        "xaxis": {
            **_titled("training step"),
            "anchor": _AXES[list(domains)[-1]],
            "range": [0, 1.02 * max(trace.num_steps, *trace.step, 1)],
        },
        "yaxis": _log_row("loss (nats/label)", domains["loss"], [*trace.loss, *trace.val_loss, *limits]),
    }
    data = [_line(trace.step, trace.loss, "training loss", "y"), *_evaluations(trace)]
    lines = [_level(info.l_const, "y", "learned nothing (L_const)")] if info.l_const else []
    if "norm" in domains:
        data.append(_line(trace.step, trace.grad_norm, "gradient norm", "y2"))
        values = [*trace.grad_norm, *([info.clip] if info.clip else [])]
        layout["yaxis2"] = _log_row("gradient norm<br>before clipping (L2)", domains["norm"], values)
        lines += [_level(info.clip, "y2", f"clipped to {number(info.clip)}")] if info.clip else []
    if "scale" in domains:
        data.append(_line(trace.scale_step, trace.scale, "loss scale", "y3", shape="hv"))
        layout["yaxis3"] = _log_row("loss scale", domains["scale"], trace.scale)
    if "events" in domains:
        data += [_event(name, steps, row) for row, (name, steps) in enumerate(trace.events.items())]
        layout["yaxis4"] = _event_row(trace, domains["events"])
    lines += _ends(info)
    layout |= {"shapes": [shape for shape, _ in lines], "annotations": [label for _, label in lines]}
    return {"data": data, "layout": layout}


def _domains(trace: Trace) -> dict[str, list[float]]:
    """Row -> its stretch of the height, from the top."""
    sizes = {"loss": 4.0}
    if any(value is not None for value in trace.grad_norm):
        sizes["norm"] = 4.0
    if trace.scale:
        sizes["scale"] = 2.0
    if trace.events:
        sizes["events"] = 0.6 + 0.5 * len(trace.events)
    unit = (1 - _GAP * (len(sizes) - 1)) / sum(sizes.values())
    domains, top = {}, 1.0
    for name, size in sizes.items():
        domains[name] = [max(0.0, top - unit * size), top]
        top -= unit * size + _GAP
    return domains


def _titled(text: str) -> dict[str, Any]:
    style = axis_style()
    return {**style, "title": {**style["title"], "text": text}}


def _log_row(title: str, domain: Sequence[float], values: Iterable[float | None]) -> dict[str, Any]:
    axis = log_axis(*widened((v for v in values if v is not None), log=True))
    every = 1 + (len(axis["tickvals"]) - 1) // _MAX_TICKS
    ticks = {key: axis[key][::every] for key in ("tickvals", "ticktext")}
    return {**_titled(title), **axis, **ticks, "domain": domain}


def _event_row(trace: Trace, domain: Sequence[float]) -> dict[str, Any]:
    return {
        **axis_style(),
        "domain": domain,
        "range": [-0.7, len(trace.events) - 0.3],
        "tickvals": list(range(len(trace.events))),
        "ticktext": [f"{name} ({trace.event_counts[name]})" for name in trace.events],
        "tickfont": {"size": 11},
        "showgrid": False,
        "showline": False,
        "ticks": "",
    }


def _line(
    steps: Sequence[int], values: Sequence[float | None], name: str, axis: str, shape: str = "linear"
) -> dict[str, Any]:
    return {
        "type": "scatter",
        "x": steps,
        "y": values,
        "yaxis": axis,
        "name": name,
        "mode": "lines",
        "line": {"color": light("accent"), "width": 1.4, "shape": shape},
        "hovertemplate": f"step %{{x}}: %{{y:.4g}}<extra>{name}</extra>",
    }


def _evaluations(trace: Trace) -> list[dict[str, Any]]:
    if all(value is None for value in trace.val_loss):
        return []
    return [
        {
            "type": "scatter",
            "x": trace.eval_step,
            "y": trace.val_loss,
            "yaxis": "y",
            "name": "validation loss",
            "mode": "lines+markers",
            "line": {"color": light("ink"), "width": 1, "dash": "dot"},
            "marker": {"color": light("ink"), "size": 6, "symbol": "circle-open"},
            "customdata": ["n/a" if wer is None else percent(wer, 1) for wer in trace.wer],
            "hovertemplate": "step %{x}: %{y:.4g}, WER %{customdata}<extra>validation loss</extra>",
        }
    ]


def _event(name: str, steps: Sequence[int], row: int) -> dict[str, Any]:
    return {
        "type": "scatter",
        "x": steps,
        "y": [row] * len(steps),
        "yaxis": "y4",
        "name": name,
        "mode": "markers",
        "marker": {"symbol": "line-ns-open", "size": 11, "color": light("ink"), "line": {"width": 1.3}},
        "hovertemplate": f"step %{{x}}<extra>{name}</extra>",
    }


_Labelled = tuple[dict[str, Any], dict[str, Any]]
"""A line and its label, as Plotly's shape and annotation."""


def _level(value: float, axis: str, text: str) -> _Labelled:
    line = {"color": light("muted"), "width": 1, "dash": "dash"}
    label = {"xref": "paper", "x": 0.97, "xanchor": "right", "yref": axis, "yanchor": "bottom", "text": text}
    return (
        {"type": "line", "xref": "paper", "x0": 0, "x1": 1, "yref": axis, "y0": value, "y1": value, "line": line},
        # Plotly places a label on a logarithmic axis by the exponent, but a shape by the value.
        {**label, "y": math.log10(value), "showarrow": False, "font": {"size": 11, "color": light("muted")}},
    )


def _ends(info: CourseInfo) -> list[_Labelled]:
    """Where the trial ended, and where it would have been stopped."""
    num_steps, stop = info.trace.num_steps, info.stop_step
    if info.alarm is None or stop is None:
        at = "" if stop is None else f" at step {stop}"
        return [_end(num_steps if stop is None else stop, f"{info.verdict.value}{at}", info.verdict, "right")]
    # Two labels where they have room, else one.
    near = num_steps - stop < _NEAR * num_steps
    alarm = f"would have been stopped: {info.alarm.value}"
    end = "end" if info.alarm is info.verdict else info.verdict.value
    return [
        _end(stop, "" if near else alarm, info.alarm, "left" if stop < num_steps / 3 else "right"),
        _end(num_steps, f"{alarm}, {end}" if near else end, info.verdict, "right"),
    ]


def _end(step: int, text: str, outcome: Outcome, anchor: str) -> _Labelled:
    colour = MARKS[outcome].light
    line = {"color": colour, "width": 1.5}
    label = {"xref": "x", "x": step, "xanchor": anchor, "yref": "paper", "y": 1, "yanchor": "bottom", "text": text}
    return (
        {"type": "line", "xref": "x", "x0": step, "x1": step, "yref": "paper", "y0": 0, "y1": 1, "line": line},
        {**label, "showarrow": False, "font": {"size": 12, "color": colour}},
    )
