"""How the edges of the stable region moved between two studies, and how much of the shared space is stable."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from scipy.stats import norm, t

from sweep.analysis.comparison.changes import ALPHA, Incomparable, StudyChange, Told, mover, told
from sweep.analysis.comparison.shared import Allowed, Shared, StudyRun
from sweep.analysis.comparison.stability import shared_panel
from sweep.analysis.region.evidence import Evidence
from sweep.analysis.region.region import SURE
from sweep.analysis.region.slices import active, typical
from sweep.boundary.edges import SURE as EDGE_SURE
from sweep.boundary.edges import Edge, edges, profile
from sweep.boundary.encoding import Axis, edge_path
from sweep.boundary.model import MarginModel
from sweep.records import NotKnown
from sweep.space import Settings
from sweep.wording import number, percent, setting_text, short_names, value_text

_REACH = float(norm.isf(ALPHA / 2))
_BAND = float(norm.ppf(EDGE_SURE))
"""Standard deviations from an edge to where P(stable) is 0.9 or 0.1."""
_SLACK = 0.02
"""By how much P(stable) may miss 0.9 or 0.1 at the ends of an edge: they are looked for in steps."""
_NUM_FOLDS = 6
_NUM_VOLUME = 4096
_LEAST_VOLUME = 256
_SEED = 0
_WORDS: Mapping[str, tuple[str, Literal["lower", "higher"]]] = {"hot": ("upper", "lower"), "cold": ("lower", "higher")}
"""Side of an edge -> its name, and in which direction it is worse."""


@dataclass(frozen=True)
class Maps:
    """The models of both boundaries, and where they are compared."""

    first: MarginModel
    second: MarginModel
    along: str
    """The edge dimension."""
    middle: Settings
    """What the settings that are not varied stand at in both."""
    without: tuple[tuple[MarginModel, ...], tuple[MarginModel, ...]]
    """Of each study the models without a sixth of its settings each; empty where one of them could not be fitted."""


def maps(a: StudyRun, b: StudyRun, shared: Shared) -> Maps | NotKnown:
    """Both models, fitted on all trainings of each study.

    Both are asked at the same settings: the mean of what was stable in either, within the shared part.
    """
    first, second = a.evidence.model, b.evidence.model
    if isinstance(first, NotKnown):
        return NotKnown(f"A has no map of the stable region: {first.reason}")
    if isinstance(second, NotKnown):
        return NotKnown(f"B has no map of the stable region: {second.reason}")
    paths = {edge_path(first.encoding), edge_path(second.encoding)}
    along = edge_path(first.encoding)
    if along is None or len(paths) > 1:
        return NotKnown(f"A tells its edges along {edge_path(first.encoding)}, B along {edge_path(second.encoding)}")
    axes = (first.encoding.axis(along), second.encoding.axis(along))
    if {axis.log for axis in axes if axis is not None} not in ({True}, {False}):
        return NotKnown(f"{along} is logarithmic in one of them alone")
    stable = [setting for run in (a, b) for setting in _stable(run, shared)]
    if not stable:
        return NotKnown("no training in the part of the space that both cover was stable")
    middle = {**_fixed(shared), **typical(second.encoding, stable), **typical(first.encoding, stable)}
    middle = {path: _within(shared.allowed.get(path), v) for path, v in middle.items()}
    return Maps(first, second, along, middle, (_without(a), _without(b)))


def _without(run: StudyRun) -> tuple[MarginModel, ...]:
    """The models of which each has not seen one fold of the settings."""
    groups = np.unique(run.trials["group"])
    folds = np.array_split(np.random.default_rng(_SEED).permutation(groups), _NUM_FOLDS)
    models = [Evidence(run.trials[~run.trials["group"].isin(fold)], run.space).model for fold in folds]
    found = tuple(model for model in models if not isinstance(model, NotKnown))
    return found if len(found) == _NUM_FOLDS else ()


def edge_changes(a: StudyRun, b: StudyRun, shared: Shared, found: Maps) -> Iterator[StudyChange | Incomparable]:
    """The upper and the lower edge, at each level of the precision (or first category)."""
    panel = shared_panel(a, b, shared)
    levels = (shared.allowed[panel.path].values or ()) if panel else (None,)
    names = short_names([*found.first.encoding.paths, *found.second.encoding.paths])
    for level in levels:
        where = f", {panel.name} {value_text(level)}" if panel else ""
        at = {**found.middle, **({panel.path: level} if panel else {})}
        yield from _slice_changes(found, at, names[found.along], where)


def place_text(found: Maps, panel_path: str | None) -> str:
    """At which values of the other settings the edges are told."""
    names = short_names([*found.first.encoding.paths, *found.second.encoding.paths])
    shown = {path: v for path, v in found.middle.items() if path in names and path not in (found.along, panel_path)}
    return f"edges at {setting_text(shown, names)}" if shown else ""


def volume(found: Maps, shared: Shared) -> Told | Incomparable:
    """How much of the shared part is stable, as each map has it."""
    if set(found.first.encoding.paths) != set(found.second.encoding.paths):
        return Incomparable("stable volume", "A and B do not search the same settings")
    sample = [s for s in found.first.encoding.sobol(_NUM_VOLUME, _SEED) if shared.holds(s)]
    if len(sample) < _LEAST_VOLUME:
        return Incomparable("stable volume", "the shared part is too small a part of the space")
    texts = [_volume_text(model, sample) for model in (found.first, found.second)]
    return told("stable volume of the shared part", texts, "in brackets: surely stable, to not surely unstable")


def _volume_text(model: MarginModel, sample: list[Settings]) -> str:
    p = model.p_stable(sample)
    sure, likely, possible = (float(np.mean(p >= level)) for level in (SURE, 0.5, 1 - SURE))
    return f"{percent(likely)} ({100 * sure:.0f} to {100 * possible:.0f} %)"


def _stable(run: StudyRun, shared: Shared) -> list[Settings]:
    rows = zip(run.evidence.settings, run.evidence.telling["stable"], strict=True)
    return [s for s, good in rows if good and shared.holds(s)]


def _fixed(shared: Shared) -> Settings:
    """The settings of which the shared part holds one value."""
    return {path: a.values[0] for path, a in shared.allowed.items() if a.values is not None and len(a.values) == 1}


def _within(allowed: Allowed | None, value: Any) -> Any:
    """The value, or what of the shared part is next to it."""
    if allowed is None or allowed.holds(value):
        return value
    if allowed.values is not None:
        return allowed.values[0]
    return min(max(float(value), allowed.low), allowed.high)


def _slice_changes(found: Maps, at: Settings, name: str, where: str) -> Iterator[StudyChange | Incomparable]:
    sides = []
    for model in (found.first, found.second):
        encoding = model.encoding
        here = active(encoding.space, encoding.paths, {path: at[path] for path in encoding.paths})
        if found.along not in here:
            yield Incomparable(f"edges of the {name}{where}", f"the {name} is not searched there")
            return
        sides.append({path: value for path, value in here.items() if path != found.along})
    for side, (word, worse_if) in _WORDS.items():
        subject = f"{word} edge of the {name}{where}"
        ends = [
            [edge for edge in edges(model, found.along, here) if edge.side == side]
            for model, here in zip((found.first, found.second), sides, strict=True)
        ]
        if not ends[0] and not ends[1]:
            continue
        texts = [
            " and ".join(_edge_text(edge) for edge in own) or _none_text(model, found.along, here, side)
            for own, model, here in zip(ends, (found.first, found.second), sides, strict=True)
        ]
        if len(ends[0]) != 1 or len(ends[1]) != 1:
            yield Incomparable(subject, f"not one in each map: A {texts[0]}; B {texts[1]}")
            continue
        scale = found.first.encoding.axis(found.along)
        assert scale is not None, "edges lie along a numeric dimension"
        limits = [
            _limits(model, models, found.along, here, own[0], scale)
            for model, models, here, own in zip((found.first, found.second), found.without, sides, ends, strict=True)
        ]
        yield _edge_change(subject, texts, limits[0], limits[1], scale, worse_if)


def _edge_change(
    subject: str,
    texts: list[str],
    first: tuple[float, float, float],
    second: tuple[float, float, float],
    scale: Axis,
    worse_if: Literal["lower", "higher"],
) -> StudyChange:
    estimate = second[0] - first[0]
    low, high = mover(first, second)
    # The level at which the interval would just reach 0.
    toward = abs((low if estimate > 0 else high) - estimate)
    z = 0.0 if estimate == 0 or math.isinf(toward) else _REACH * abs(estimate) / toward
    unit = "decades" if scale.log else "units"
    if math.isinf(low) and math.isinf(high):
        difference = f"{_signed(estimate)} {unit} (no limit either way)"
    elif low <= 0 <= high:
        difference = f"{_signed(estimate)} {unit} ({_signed(low)} to {_signed(high)})"
    else:
        nearest, farthest = sorted((abs(low), abs(high)))
        way = "down" if estimate < 0 else "up"
        difference = f"moved {way} by {number(abs(estimate), 2)} {unit} ({number(nearest, 2)} to {_end(farthest)})"
    return StudyChange(
        subject=subject,
        before=texts[0],
        after=texts[1],
        difference=difference,
        estimate=estimate,
        low=low,
        high=high,
        unit=unit,
        worse_if=worse_if,
        test="maps' own spread and jackknife",
        p=2 * float(norm.sf(z)),
        least_p=1.0 if math.isinf(toward) else 0.0,
    )


def _end(value: float) -> str:
    return "no limit" if math.isinf(value) else number(value, 2)


def _signed(value: float) -> str:
    return "no limit" if math.isinf(value) else f"{value:+.2f}"


def _edge_text(edge: Edge) -> str:
    low, high = sorted((edge.inner, edge.outer))
    return f"{number(edge.value, 2)} ({number(low, 2)} to {number(high, 2)})"


def _none_text(model: MarginModel, along: str, here: Settings, side: str) -> str:
    scale = model.encoding.axis(along)
    assert scale is not None, "edges lie along a numeric dimension"
    _, p = profile(model, along, here)
    ends = f"from {number(scale.low, 2)} to {number(scale.high, 2)}"
    if (p >= 0.5).all():
        return f"none, stable {ends} (chance at least {percent(math.floor(100 * float(p.min())) / 100)})"
    if (p < 0.5).all():
        return f"none, unstable {ends} (chance at most {percent(math.ceil(100 * float(p.max())) / 100)})"
    return f"none up to {number(scale.high, 2)}" if side == "hot" else f"none down to {number(scale.low, 2)}"


def _limits(
    model: MarginModel, without: Sequence[MarginModel], along: str, here: Settings, edge: Edge, scale: Axis
) -> tuple[float, float, float]:
    """Place of an edge on its own scale (log10 where it is logarithmic) and its 95 % interval.

    A map is surer of its edge than the trainings allow, so that to its own spread is added how far the edge moves when
    a sixth of the settings is left out (delete-a-group jackknife). An end is infinite where the map never gets to a
    chance of 0.9 or 0.1 there, both are where the edge is lost without some of the settings.
    """
    value = _place(edge.value, scale)
    moved = [_nearest(one, along, here, edge, scale) for one in without]
    if not moved or None in moved:
        return value, -math.inf, math.inf
    places = np.array(moved, dtype=float)
    spread = math.sqrt((len(places) - 1) / len(places) * float(((places - places.mean()) ** 2).sum()))
    jackknife = float(t.isf(ALPHA / 2, len(places) - 1)) * spread
    chances = model.p_stable([{**here, along: edge.inner}, {**here, along: edge.outer}]).tolist()
    reached = (chances[0] >= EDGE_SURE - _SLACK, chances[1] <= 1 - EDGE_SURE + _SLACK)
    reach = [
        math.hypot(_REACH / _BAND * (_place(end, scale) - value), jackknife) if known else math.inf
        for end, known in zip((edge.inner, edge.outer), reached, strict=True)
    ]
    below, above = reach if edge.side == "hot" else reach[::-1]
    return value, value - below, value + above


def _nearest(model: MarginModel, along: str, here: Settings, edge: Edge, scale: Axis) -> float | None:
    """Where another model has this edge; None where it has none of that side."""
    places = [_place(one.value, scale) for one in edges(model, along, here) if one.side == edge.side]
    return min(places, key=lambda place: abs(place - _place(edge.value, scale)), default=None)


def _place(value: float, scale: Axis) -> float:
    return math.log10(value) if scale.log else value
