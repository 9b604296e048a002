"""An effect with its interval, held against what is too small to matter and what was claimed: one row of a forest plot.

HTML boxes at percentages of the width: the row follows the page's width and its text keeps its size.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from markupsafe import Markup

from sweep.report.figures.axis import FigureAxis, axis_of


@dataclass(frozen=True)
class EffectInfo:
    """What the row shows, in the units that the reader sees."""

    estimate: float
    """NaN while there is nothing to estimate from."""
    low: float
    high: float
    """The interval; infinite or NaN where it is open."""
    value: float
    """What the effect is compared with."""
    zone: tuple[float, float]
    """Effects too small to matter."""
    claimed: tuple[float, float]
    """Effects as large as claimed; infinite where the claim has no end."""
    axis: FigureAxis
    ticks: tuple[tuple[float, str], ...]
    """(place from 0 to 1, text)"""
    sides: tuple[str, str]
    """What a low and a high effect mean."""
    name: str
    """Of the axis, with its unit."""
    summary: str
    """What a reader who cannot see the row should know."""


def effect_info(
    estimate: float,
    low: float,
    high: float,
    value: float,
    zone: tuple[float, float],
    expected: Literal["higher", "lower", "equal"],
    sides: tuple[str, str],
    name: str,
    text: Callable[[float], str],
    summary: str,
    log: bool = False,
) -> EffectInfo:
    """Lays the axis through everything that is finite; what was claimed goes on to the axis' end."""
    claimed = {"higher": (zone[1], math.inf), "lower": (-math.inf, zone[0]), "equal": zone}[expected]
    reach = zone[1] / zone[0] if log else zone[1] - zone[0]
    # On either side of the zone there is room as wide as itself at least half over: else nobody sees it as a zone.
    beside = (zone[0] / reach**0.5, zone[1] * reach**0.5) if log else (zone[0] - reach / 2, zone[1] + reach / 2)
    axis = axis_of((estimate, low, high, value, *beside), log, 0.04)
    ticks = tuple(axis.ticks(text, 5))
    return EffectInfo(estimate, low, high, value, zone, claimed, axis, ticks, sides, name, summary)


def draw_effect(info: EffectInfo) -> Markup:
    """The row as HTML."""
    # Where equality was claimed, the zone is the claim.
    parts = [_span("zone", info.axis, *info.zone), _span("claimed", info.axis, *info.claimed)]
    parts.append(Markup('<span class="null" style="left:{}%"></span>').format(_percent(info.axis, info.value)))
    if not math.isnan(info.estimate):
        low = -math.inf if math.isnan(info.low) else info.low
        high = math.inf if math.isnan(info.high) else info.high
        ends = " from" * (low > info.axis.low) + " to" * (high < info.axis.high)
        parts.append(_span("interval" + ends, info.axis, low, high))
        parts.append(Markup('<span class="point" style="left:{}%"></span>').format(_percent(info.axis, info.estimate)))
    ticks = Markup("").join(
        Markup('<span style="left:{}%">{}</span>').format(f"{100 * place:.2f}", text) for place, text in info.ticks
    )
    return Markup(
        '<div class="effect" role="img" aria-label="{}"><div class="ground">{}</div><div class="ticks">{}</div>'
        '<div class="sides"><span>&#8592;&#160;{}</span><span>{}&#160;&#8594;</span></div>'
        '<p class="axis-name">{}</p></div>'
    ).format(info.summary, Markup("").join(parts), ticks, *info.sides, info.name)


def _span(kind: str, axis: FigureAxis, low: float, high: float) -> Markup:
    left, right = axis.place(low), axis.place(high)
    return Markup('<span class="{}" style="left:{}%;width:{}%"></span>').format(
        kind, f"{100 * left:.2f}", f"{100 * (right - left):.2f}"
    )


def _percent(axis: FigureAxis, value: float) -> str:
    return f"{100 * axis.place(value):.2f}"
