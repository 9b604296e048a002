"""How much each searched setting matters, as bars: a colour a measure."""

import plotly.graph_objects as go

from sweep.report.contents.importance import ImportanceTable
from sweep.report.figures.combined import ALONE, LEGEND_HEIGHT
from sweep.report.figures.panel import axis_style, base_figure
from sweep.report.theme import MARKS, light

_COLOURS = (light("accent"), *(mark.dark for mark in list(MARKS.values())[:2]), light("muted"))
"""In the order of the measures."""


def importance_figure(weights: ImportanceTable) -> go.Figure:
    """The settings from top to bottom, those that matter most first; a share that is not known has no bar."""
    figure = base_figure(height=90 + LEGEND_HEIGHT + len(weights.rows) * (14 + 14 * len(weights.columns)))
    style = axis_style()
    figure.update_layout(
        ALONE,
        showlegend=True,
        margin={"l": 62, "r": 12, "t": 8, "b": 46 + LEGEND_HEIGHT},
        barmode="group",
        bargap=0.3,
        xaxis={**style, "range": [0, 1], "tickformat": ".0%", "title": {**style["title"], "text": "share"}},
        yaxis={**style, "autorange": "reversed", "automargin": True},
    )
    for index, (column, colour) in enumerate(zip(weights.columns, _COLOURS, strict=False)):
        figure.add_trace(
            go.Bar(
                x=[row.told_shares[index] for row in weights.rows],
                y=[row.name for row in weights.rows],
                orientation="h",
                name=column.title,
                marker={"color": colour},
                hovertemplate=f"%{{y}}: %{{x:.1%}}<extra>{column.title}</extra>",
            )
        )
    return figure
