"""What all figures share: a panel is a titled figure, or the reason why there is none."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import plotly.graph_objects as go

from sweep.report.theme import light
from sweep.wording import number

FONT_FAMILY = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"


@dataclass(frozen=True)
class Panel:
    """One drawing area of the page."""

    title: str
    summary: str
    """What a reader who cannot see the figure should know."""
    figure: go.Figure | None
    why_empty: str | None = None
    """Set exactly where there is no figure."""


def base_figure(height: int) -> go.Figure:
    """An empty figure in the page's style; its colours are the light theme's."""
    return go.Figure(layout=base_layout(height))


def base_layout(height: int) -> dict[str, Any]:
    """The layout of an empty figure."""
    return {
        "template": {},
        "height": height,
        "margin": {"l": 62, "r": 12, "t": 8, "b": 46},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"family": FONT_FAMILY, "size": 12, "color": light("ink")},
        "showlegend": False,
        "hovermode": "closest",
        "hoverlabel": {
            "bgcolor": light("panel"),
            "bordercolor": light("line"),
            "font": {"color": light("ink"), "size": 12},
            "align": "left",
        },
    }


def axis_style() -> dict[str, Any]:
    """Style of every axis."""
    return {
        "color": light("muted"),
        "gridcolor": light("grid"),
        "linecolor": light("line"),
        "tickcolor": light("line"),
        "ticks": "outside",
        "ticklen": 4,
        "showline": True,
        "zeroline": False,
        "title": {"standoff": 8, "font": {"size": 12, "color": light("muted")}},
    }


def column(values: Iterable[Any]) -> npt.NDArray[np.object_]:
    """Values of many marks as an array, which Plotly takes as it is: lists it checks value by value."""
    return np.array(list(values), dtype=object)


def log_axis(low: float, high: float) -> dict[str, Any]:
    """A logarithmic axis from `low` to `high` with few, plainly written ticks."""
    low_exp, high_exp = math.log10(low), math.log10(high)
    steps: tuple[float, ...] = (1, 2, 5) if high_exp - low_exp < 1.7 else (1, 3)
    if high_exp - low_exp < 0.7:
        steps = (1, 1.5, 2, 3, 5, 7)
    if high_exp - low_exp > 3:
        steps = (1,)
    every = 1 + int((high_exp - low_exp) // 8)
    ticks = [
        step * 10.0**exponent
        for exponent in range(math.floor(low_exp), math.ceil(high_exp) + 1, every)
        for step in steps
        if low <= step * 10.0**exponent <= high
    ]
    return {
        "type": "log",
        "range": [low_exp, high_exp],
        "tickmode": "array",
        "tickvals": ticks,
        "ticktext": [number(tick, 2) for tick in ticks],
    }


def widened(values: Iterable[float], log: bool, share: float = 0.06) -> tuple[float, float]:
    """The values' range with a margin on both sides; (1, 10) without any finite value."""
    known = [v for v in values if math.isfinite(v) and (v > 0 or not log)]
    if not known:
        return 1.0, 10.0
    low, high = min(known), max(known)
    if log:
        factor = max((high / low) ** share, 1.15)
        return low / factor, high * factor
    pad = (high - low) * share or abs(high) * share or 1.0
    return low - pad, high + pad
