"""How two settings act together: P(stable) along one of them, a line for each value of the other."""

from collections.abc import Mapping

import plotly.graph_objects as go

from sweep.analysis.region.matters import Together
from sweep.analysis.trials.dimensions import Dimension
from sweep.report.figures.panel import Panel, axis_style, base_figure, log_axis
from sweep.report.theme import light
from sweep.wording import number, value_text

_STYLES = (("accent", "solid"), ("ink", "dash"), ("muted", "dot"), ("accent", "dashdot"), ("ink", "longdash"))
"""Colour and dash of the lines, in turn; the colours of outcomes would say something else."""


def together_panel(found: Together, dims: Mapping[str, Dimension]) -> Panel:
    """One panel, its lines named at their right end.

    Args:
        found: of the pair.
        dims: the searched settings by their dotted paths.
    """
    x, by = dims[found.x], dims[found.by]
    figure = base_figure(height=300)
    style = axis_style()
    ends = found.x_values[0], found.x_values[-1]
    scale = log_axis(*ends) if x.log else {"range": list(ends)}
    figure.update_layout(
        showlegend=True,
        legend={"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom", "title": {"text": f"{by.name}: "}},
        margin={"l": 62, "r": 16, "t": 40, "b": 46},
        xaxis={**style, **scale, "title": {**style["title"], "text": f"{x.name} (log scale)" if x.log else x.name}},
        yaxis={
            **style,
            "range": [0, 1.02],
            "tickformat": ".0%",
            "title": {**style["title"], "text": "chance of a stable training"},
        },
    )
    figure.add_shape(
        type="line", xref="paper", x0=0, x1=1, y0=0.5, y1=0.5, line={"color": light("line"), "width": 1}, layer="below"
    )
    for index, curve in enumerate(found.curves):
        colour, dash = _STYLES[index % len(_STYLES)]
        name = value_text(curve.level)
        figure.add_trace(
            go.Scatter(
                x=list(found.x_values),
                y=[round(p, 3) for p in curve.p_stable],
                mode="lines",
                name=name,
                line={"color": light(colour), "dash": dash, "width": 2.5},
                hovertemplate=f"{x.name} %{{x:.2g}}, {by.name} {name}: %{{y:.0%}}<extra></extra>",
            )
        )
    edges = "; ".join(
        f"with {by.name} {value_text(curve.level)} it passes 50 % at {' and '.join(number(e, 2) for e in curve.edges)}"
        if curve.edges
        else f"with {by.name} {value_text(curve.level)} it does not pass 50 %"
        for curve in found.curves
    )
    return Panel(
        f"{x.beginning} by {by.name}",
        f"Chance of a stable training along the {x.name}: {edges}.",
        figure,
    )
