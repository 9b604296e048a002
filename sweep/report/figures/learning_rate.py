"""Final validation loss and WER against the learning rate; diverged trials on a band at the top."""

import math
from collections.abc import Sequence

import plotly.graph_objects as go

from sweep.analysis.figures.learning_rate import LrInfo, LrPanel, LrPoint, LrSensitivity
from sweep.records import Outcome
from sweep.report.figures.panel import Panel, axis_style, base_figure, column, log_axis, widened
from sweep.report.theme import MARKS, light
from sweep.wording import number, percent, plural, value_text

LOSS_FLOOR = 1e-3
"""A smaller loss is drawn here, nats a label."""


def learning_rate_panels(info: LrInfo, sensitivity: Sequence[LrSensitivity] = ()) -> list[Panel]:
    """One panel a level, all on the same axes.

    Args:
        info: the trials.
        sensitivity: the mean loss and WER along the learning rate, by level; drawn as curves.
    """
    points = [p for panel in info.panels for p in panel.points]
    if not points:
        return [Panel("", "", None, "No trial has finished yet.")]
    x_range = widened((p.lr for p in points), info.log)
    losses = [max(p.val_loss, LOSS_FLOOR) for p in points if not p.lost]
    lines = [v for v in (info.l_const, info.l_unif) if math.isfinite(v)]
    y_range = widened([*losses, *lines], log=True)
    known = [p.wer for p in points if math.isfinite(p.wer) and not (p.lost and info.score is not None)]
    results = (0.0, max([1.0, *known]) * 1.06) if info.score is None else _around(known)
    curves = {value_text(one.level): one.curve for one in sensitivity}
    return [
        _panel(info, panel, x_range, y_range, results, curves.get(value_text(panel.level), ())) for panel in info.panels
    ]


def _panel(
    info: LrInfo,
    panel: LrPanel,
    x_range: tuple[float, float],
    y_range: tuple[float, float],
    results: tuple[float, float],
    curve: Sequence[tuple[float, float, float]],
) -> Panel:
    title = "" if info.panel_name is None else f"{info.panel_name} {value_text(panel.level)}"
    if not panel.points:
        return Panel(title, "", None, "No trial was run here yet.")
    figure = base_figure(height=430)
    style = axis_style()
    x_scale = log_axis(*x_range) if info.log else {"range": list(x_range)}
    name = f"{info.lr_name} (log scale)" if info.log else info.lr_name
    figure.update_layout(
        xaxis={**style, **x_scale, "anchor": "y2", "title": {**style["title"], "text": name}},
        yaxis={
            **style,
            **log_axis(*y_range),
            "domain": [0.42, 0.88],
            "title": {**style["title"], "text": "val. loss (nats/label)" if info.score is None else "loss"},
        },
        yaxis2={
            **style,
            "domain": [0.0, 0.36],
            "range": list(results),
            **({"tickformat": ".0%"} if info.score is None else {}),
            "title": {**style["title"], "text": info.result_name},
        },
        yaxis3={
            **style,
            "domain": [0.91, 1.0],
            "range": [-1, 1],
            "tickvals": [0],
            "ticktext": ["diverged<br>or failed"],
            "showgrid": False,
            "ticks": "",
            "showline": False,
        },
    )
    for top, bottom in ((0.88, 0.42), (1.0, 0.91)):
        figure.add_shape(
            type="rect",
            xref="paper",
            yref="paper",
            x0=0,
            x1=1,
            y0=bottom,
            y1=top,
            line={"width": 0},
            fillcolor=light("panel"),
            layer="below",
        )
    _reference_line(figure, info.l_const, "learned nothing (L_const)", "top")
    _reference_line(figure, info.l_unif, "uniform output (L_unif)", "bottom")
    for axis, heights, unit in (
        ("y", [p[1] for p in curve], ".3g"),
        ("y2", [p[2] for p in curve], ".0%" if info.score is None else ".3g"),
    ):
        if len(curve) > 1:
            figure.add_trace(_curve([p[0] for p in curve], heights, axis, unit))
    for outcome in Outcome:
        mine = [p for p in panel.points if p.outcome is outcome]
        _add(info, figure, outcome, [p for p in mine if not p.lost], "y", lambda p: max(p.val_loss, LOSS_FLOOR))
        _add(
            info,
            figure,
            outcome,
            [p for p in mine if not p.lost and math.isfinite(p.wer)],
            "y2",
            lambda p: p.wer,
        )
        _add(info, figure, outcome, [p for p in mine if p.lost], "y3", lambda p: 0.45 * (p.number % 3 - 1))
    # An axis without marks is drawn too: an empty band says that nothing was lost.
    for axis in ("y", "y2", "y3"):
        figure.add_trace(go.Scatter(x=[], y=[], xaxis="x", yaxis=axis, mode="markers", hoverinfo="skip"))
    num_lost = sum(p.lost for p in panel.points)
    summary = f"{plural(len(panel.points), 'trial')}, {num_lost} of them diverged or failed"
    return Panel(
        title, f"{info.loss_name.capitalize()} and {info.result_name} against the {info.lr_name}: {summary}.", figure
    )


def _curve(rates: Sequence[float], heights: Sequence[float], axis: str, unit: str) -> go.Scatter:
    return go.Scatter(
        x=rates,
        y=[max(height, LOSS_FLOOR) if axis == "y" else height for height in heights],
        xaxis="x",
        yaxis=axis,
        mode="lines",
        line={"color": light("muted"), "width": 1.5},
        hovertemplate=f"mean around %{{x:.2g}}: %{{y:{unit}}}<extra></extra>",
        name="mean",
    )


def _reference_line(figure: go.Figure, value: float, label: str, anchor: str) -> None:
    if not math.isfinite(value):
        return
    figure.add_shape(
        type="line",
        xref="paper",
        x0=0,
        x1=1,
        yref="y",
        y0=value,
        y1=value,
        line={"color": light("muted"), "width": 1, "dash": "dash"},
    )
    figure.add_annotation(
        xref="paper",
        x=1,
        xanchor="right",
        yref="y",
        y=math.log10(value),
        yanchor=anchor,
        text=label,
        showarrow=False,
        font={"size": 11, "color": light("muted")},
    )


def _add(
    info: LrInfo, figure: go.Figure, outcome: Outcome, points: Sequence[LrPoint], axis: str, height: object
) -> None:
    if not points:
        return
    mark = MARKS[outcome]
    assert callable(height)
    figure.add_trace(
        go.Scatter(
            x=column(p.lr for p in points),
            y=column(height(p) for p in points),
            xaxis="x",
            yaxis=axis,
            mode="markers",
            cliponaxis=axis != "y2",
            marker={"color": mark.light, "symbol": mark.symbol, "size": 9, "opacity": 0.85},
            customdata=column(p.trial_id for p in points),
            hovertext=column(_hover(info, p) for p in points),
            hoverinfo="text",
            name=outcome.value,
        )
    )


def _around(values: Sequence[float]) -> tuple[float, float]:
    """The range of an axis that shows these."""
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    edge = 0.06 * (high - low) or 0.06 * abs(high) or 1.0
    return low - edge, high + edge


def _hover(info: LrInfo, point: LrPoint) -> str:
    if info.score is not None:
        return (
            f"Trial {point.number}, seed {point.seed}: {point.outcome.value}<br>"
            f"{info.lr_name} {number(point.lr)}<br>"
            f"loss {number(point.val_loss)}, {info.score.name} {number(point.wer)}"
        )
    return (
        f"Trial {point.number}, seed {point.seed}: {point.outcome.value}<br>"
        f"learning rate {number(point.lr)}<br>"
        f"validation loss {number(point.val_loss)} nats a label, WER {percent(point.wer)}"
    )
