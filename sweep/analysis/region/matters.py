"""Which settings matter beyond noise, for stability and for the result, and which ones act together."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sweep.analysis.region.evidence import Evidence
from sweep.analysis.region.influence import Range, index_ranges
from sweep.analysis.region.noise import noise_chances, pair_chance, told_apart
from sweep.analysis.region.region import Region
from sweep.boundary.encoding import Encoding
from sweep.boundary.model import MarginModel, spread
from sweep.records import NotKnown
from sweep.space import Scalar, Settings

_MOST_PAIRS = 6
"""Strongest pairs that are tested."""
_LEVEL = 0.05
_NUM_PLACES, _NUM_OTHERS = 41, 64
_LEVELS = (0.1, 0.5, 0.9)
"""Places of a number's range at which a curve is drawn."""


@dataclass(frozen=True)
class SettingPair:
    """Two settings that decide something only together."""

    paths: tuple[str, str]
    share: float
    """Second-order Sobol index of P(stable), in [0, 1]."""
    chance: float
    """How often noise alone would look as if they acted together so much (p value)."""


@dataclass(frozen=True)
class Curve:
    """P(stable) along one setting at one value of another."""

    level: Scalar
    p_stable: tuple[float, ...]
    edges: tuple[float, ...]
    """Where P(stable) passes 0.5, from low to high."""


@dataclass(frozen=True)
class Together:
    """How a pair acts together: P(stable) along one setting at values of the other, averaged over all others."""

    x: str
    by: str
    """Dotted paths."""
    x_values: tuple[float, ...]
    curves: tuple[Curve, ...]


@dataclass(frozen=True)
class Matters:
    """What can be told from noise."""

    num_settings: int
    """Different settings whose trainings were judged."""
    stability: frozenset[str] | None
    """Settings on which stability depends; None where the settings are too few to tell."""
    result: frozenset[str] | None
    """Those on which the objective depends, in which a failed training is worse than any other."""
    ranges: Mapping[str, tuple[Range, Range]]
    """Dotted path -> ranges of its Sobol indices, alone and in total; empty without a model of the boundary."""
    pairs: tuple[SettingPair, ...]
    """Pairs that act together on stability beyond noise, strongest first."""
    together: Together | None
    """Of the strongest pair with a number in it."""


def matters(evidence: Evidence, found: Region | NotKnown) -> Matters:
    """Tests every setting, and the strongest pairs.

    Args:
        evidence: of the study.
        found: the region of this evidence.
    """
    encoding, known, settings, model = evidence.encoding, evidence.telling, evidence.settings, evidence.model
    margins = known["margin"].to_numpy(dtype=np.float64)
    # Ranks: what the objective adds for a failure would drown all else.
    ranks = known["objective"].astype(float).rank(na_option="bottom").to_numpy()
    num_settings = len(np.unique(encoding.encode(settings), axis=0)) if settings and evidence.space else 0
    chances = noise_chances(encoding, settings, [spread(margins).tolist(), ranks.tolist()]) if num_settings else None
    told = [] if chances is None else [told_apart(one, _LEVEL) for one in chances]
    pairs: tuple[SettingPair, ...] = ()
    ranges: dict[str, tuple[Range, Range]] = {}
    if not isinstance(found, NotKnown):
        pairs = _pairs(encoding, settings, margins < 0, found)
        ranges = index_ranges(encoding, settings, margins.tolist(), {i.path: i for i in found.influences})
    # What acts together with another setting matters, even where its own effect averages out.
    together = frozenset(path for pair in pairs for path in pair.paths)
    return Matters(
        num_settings=num_settings,
        stability=told[0] | together if told else None,
        result=told[1] if told else None,
        ranges=ranges,
        pairs=pairs,
        together=None
        if isinstance(model, NotKnown)
        else next((shown for one in pairs if (shown := _together(model, one.paths))), None),
    )


def _pairs(
    encoding: Encoding, settings: Sequence[Settings], stable: "np.ndarray[Any, np.dtype[np.bool_]]", found: Region
) -> tuple[SettingPair, ...]:
    num_possible = math.comb(len(encoding.paths), 2)
    tested = [
        SettingPair(one.paths, one.share, pair_chance(encoding, settings, stable.astype(float).tolist(), one.paths))
        for one in found.interactions[:_MOST_PAIRS]
    ]
    return tuple(one for one in tested if one.chance <= _LEVEL / num_possible)


def _together(model: MarginModel, pair: tuple[str, str]) -> Together | None:
    """None where neither of the two is a number."""
    encoding = model.encoding
    # Along the learning rate or what else edges are told of, if it is one of the two.
    numeric = sorted(
        (path for path in pair if encoding.axis(path) is not None), key=lambda path: not path.endswith(".lr")
    )
    if not numeric:
        return None
    x = numeric[0]
    by = pair[1] if x == pair[0] else pair[0]
    x_scale = encoding.axis(x)
    assert x_scale is not None, "it is a number"
    values = [x_scale.from_unit(place) for place in np.linspace(0, 1, _NUM_PLACES).tolist()]
    others = [other for other in encoding.sobol(_NUM_OTHERS, 0) if x in other and by in other]
    curves = []
    for level in _levels(encoding, by, others):
        grid = [{**other, by: level, x: value} for value in values for other in others]
        p = model.p_stable(grid).reshape(len(values), len(others)).mean(axis=1)
        crossings = np.flatnonzero((p[1:] >= 0.5) != (p[:-1] >= 0.5))
        places = (crossings + (0.5 - p[crossings]) / (p[crossings + 1] - p[crossings])) / (_NUM_PLACES - 1)
        curves.append(Curve(level, tuple(p.tolist()), tuple(x_scale.from_unit(place) for place in places.tolist())))
    return Together(x, by, tuple(values), tuple(curves)) if curves else None


def _levels(encoding: Encoding, path: str, drawn: Sequence[Settings]) -> list[Scalar]:
    """All values of a category; a low, a middle and a high one of a number. Empty if it was never drawn."""
    if not drawn or encoding.axis(path) is None:
        return list(encoding.space[path].ends) if drawn else []
    values = sorted((setting[path] for setting in drawn), key=float)
    return list(dict.fromkeys(values[round(place * (len(values) - 1))] for place in _LEVELS))
