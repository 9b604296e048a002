"""The upper edge of the learning rate against the model's width, with what is expected at full size."""

from collections.abc import Sequence

import plotly.graph_objects as go

from sweep.analysis.region.transfer_fit import WidthFit, band
from sweep.records import NotKnown, Outcome
from sweep.report.contents.full_size import FullSizeTraining
from sweep.report.figures.panel import Panel, axis_style, base_figure, log_axis, widened
from sweep.report.theme import MARKS, light
from sweep.wording import number

_INTERVAL = 1.96
"""Standard errors of an edge on either side of it."""
_NUM_BAND = 24
"""Stretches of the band."""
_REACH = 2.0
"""Decades beside the edges that an interval is drawn for; an unknown edge has an endless one."""


def transfer_panel(fit: WidthFit | NotKnown, tested: Sequence[FullSizeTraining], name: str, along: str) -> Panel:
    """The figure, or why there is none.

    Args:
        fit: how the edge goes with width.
        tested: trainings at the target.
        name: of the width.
        along: name of the edge dimension.
    """
    if isinstance(fit, NotKnown):
        return Panel("", "", None, fit.reason)
    figure = base_figure(height=340)
    style = axis_style()
    spans = [10 ** min(_INTERVAL * error, _REACH) for error in fit.errors]
    drawn = [*fit.edges, fit.expected, *(t.place for t in tested)]
    lowest, highest = min(drawn) / 10**_REACH, max(drawn) * 10**_REACH
    low, high = max(fit.low, lowest), min(fit.high, highest)
    heights = [v for edge, span in zip(fit.edges, spans, strict=True) for v in (edge / span, edge * span)]
    x_axis = log_axis(*widened([*fit.widths, fit.target], log=True))
    x_axis |= {"tickvals": [*fit.widths, fit.target], "ticktext": [number(w, 3) for w in (*fit.widths, fit.target)]}
    interval = _interval(fit, lowest, highest)
    y_axis = log_axis(*widened([*heights, low, high, *drawn, *interval[1]], log=True))
    figure.update_layout(
        xaxis={**style, **x_axis, "mirror": True, "title": {**style["title"], "text": f"{name} (log scale)"}},
        yaxis={**style, **y_axis, "mirror": True, "title": {**style["title"], "text": f"{along} (log scale)"}},
    )
    _add_band(figure, *interval)
    _add_line(figure, fit)
    figure.add_trace(
        _with_bars(fit.widths, fit.edges, [e * s - e for e, s in zip(fit.edges, spans, strict=True)],
                   [e - e / s for e, s in zip(fit.edges, spans, strict=True)], "circle", "edge")
    )  # fmt: skip
    figure.add_trace(
        _with_bars([fit.target], [fit.expected], [high - fit.expected], [fit.expected - low],
                   "circle-open", "expected")
    )  # fmt: skip
    for outcome in Outcome:
        mine = [t for t in tested if t.outcome is outcome]
        if mine:
            mark = MARKS[outcome]
            figure.add_trace(
                go.Scatter(
                    x=[fit.target] * len(mine),
                    y=[t.place for t in mine],
                    mode="markers",
                    marker={"color": mark.light, "symbol": mark.symbol, "size": 11},
                    customdata=[t.trial_id for t in mine],
                    hovertext=[f"Trial {t.number}, seed {t.seed}: {t.outcome.value}<br>{along} {number(t.place)}"
                               for t in mine],
                    hoverinfo="text",
                    name=outcome.value,
                )
            )  # fmt: skip
    summary = f"Edge of the {along} at {len(fit.widths)} values of {name}, expected at {number(fit.target)}: "
    return Panel("", f"{summary}{number(fit.expected)}, {number(fit.low)} to {number(fit.high)}.", figure)


def _interval(fit: WidthFit, lowest: float, highest: float) -> tuple[list[float], list[float]]:
    """The prediction interval at every width up to the target, as the outline of an area."""
    first, last = min(*fit.widths, fit.target), max(*fit.widths, fit.target)
    widths = [first * (last / first) ** (step / _NUM_BAND) for step in range(_NUM_BAND + 1)]
    ends = [band(fit, width)[1:] for width in widths]
    edges = [*(min(high, highest) for _, high in ends), *(max(low, lowest) for low, _ in reversed(ends))]
    return [*widths, *reversed(widths)], edges


def _add_band(figure: go.Figure, widths: Sequence[float], edges: Sequence[float]) -> None:
    figure.add_trace(
        go.Scatter(
            x=list(widths),
            y=list(edges),
            mode="none",
            fill="toself",
            fillcolor=light("accent"),
            opacity=0.15,
            hoverinfo="skip",
            name="interval",
        )
    )


def _add_line(figure: go.Figure, fit: WidthFit) -> None:
    """The fitted power law from the smallest width to the target, both of which it passes at the expected edge."""
    ends = [min(*fit.widths, fit.target), max(*fit.widths, fit.target)]
    figure.add_trace(
        go.Scatter(
            x=ends,
            y=[fit.expected * (width / fit.target) ** fit.slope for width in ends],
            mode="lines",
            line={"color": light("accent"), "width": 1.5},
            hoverinfo="skip",
            name="fit",
        )
    )


def _with_bars(
    widths: Sequence[float],
    edges: Sequence[float],
    above: Sequence[float],
    below: Sequence[float],
    symbol: str,
    name: str,
) -> go.Scatter:
    return go.Scatter(
        x=list(widths),
        y=list(edges),
        error_y={
            "type": "data",
            "symmetric": False,
            "array": list(above),
            "arrayminus": list(below),
            "color": light("accent"),
            "thickness": 1.5,
            "width": 5,
        },
        mode="markers",
        marker={"color": light("accent"), "symbol": symbol, "size": 9, "line": {"width": 2, "color": light("accent")}},
        hovertemplate="%{x:.3g}: %{y:.3g}<extra>" + name + "</extra>",
        name=name,
    )
