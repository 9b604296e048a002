"""The sections on the stable region and on the full size: how well it is known, how it moves with the size."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sweep.analysis.figures.stability_map import MapInfo
from sweep.analysis.region.contrast import LEVEL, Contrast
from sweep.analysis.region.region import MapCalibration, Region, RegionPanel
from sweep.analysis.trials.columns import common_value
from sweep.records import NotKnown
from sweep.report.contents.full_size import FullSizeTraining
from sweep.report.contents.transfer import Transfer
from sweep.report.contents.view import View
from sweep.report.figures.panel import Panel
from sweep.report.panels import map_name, map_panels, size_panels
from sweep.report.sections.answer import safety_card
from sweep.report.sections.edge_table import edge_table
from sweep.report.sections.facts import exploration_ended
from sweep.report.sections.section import Content
from sweep.wording import number, percent, plural, setting_text, value_text


@dataclass(frozen=True)
class ShownPlane:
    """A map as the page shows it."""

    anchor: str
    name: str
    panels: Sequence[Panel]
    notes: Sequence[str]


def map_content(view: View) -> Content:
    """The maps, their edges, and how much of the space is stable."""
    region = None if isinstance(view.region, NotKnown) else view.region
    panels = map_panels(view)
    return Content(
        {
            "view": view,
            "rec": view.recommendation,
            "outcomes": view.outcomes,
            "has_map": not isinstance(view.stability, NotKnown),
            "region": region,
            "planes": _planes(view, panels),
            "safety": safety_card(view),
            "openness": open_text(region) if region else "",
            "ended": exploration_ended(view),
            "volumes": region.volumes if region else (),
            "edges": edge_table(region, view.names) if region else None,
            "contrasts": contrast_lines(region) if region else [],
            "learned": learned_text(view),
            "reliability": reliability_text(region) if region else "",
        },
        panels,
    )


def size_content(view: View) -> Content:
    """How the edge moves with the model's size."""
    assert view.transfer is not None, "the section applies where a full size is asked for"
    panels = size_panels(view.transfer)
    return Content({"transfer_lines": transfer_lines(view.transfer), "size_panels": panels}, {"size": panels})


def _planes(view: View, panels: Mapping[str, Sequence[Panel]]) -> list[ShownPlane]:
    """The maps, the first of which the page shows; one without a figure where there is none."""
    if not view.planes:
        return [ShownPlane(map_name(0), "", panels[map_name(0)], [])]
    return [
        ShownPlane(
            map_name(index),
            plane.name,
            panels[map_name(index)],
            map_notes(plane.info, view.region, plane.grids, view.recommendation.setting, view.names),
        )
        for index, plane in enumerate(view.planes)
    ]


def map_notes(
    info: MapInfo,
    region: Region | NotKnown,
    grids: Sequence[RegionPanel],
    recommended: Mapping[str, Any],
    names: Mapping[str, str],
) -> list[str]:
    """What to know before reading the map.

    Args:
        info: the trials on the map.
        region: where training is stable, or why nobody can say.
        grids: the chances that are drawn.
        recommended: dotted path -> value; empty without a recommendation.
        names: dotted path -> short name.
    """
    others = sum(path not in _drawn(info, region) for path in names)
    notes = ["One mark a trial." if not others else "One mark a trial; settings not on an axis vary between the marks."]
    if info.y is None:
        any_open = any(cell.outcome.is_open for panel in info.panels for cell in panel.cells)
        middle = ", those of which nobody can tell in the middle" if any_open else ""
        notes[0] = f"One mark a trial: stable ones above the curve, failed ones below it{middle}."
    if isinstance(region, NotKnown):
        notes.append(f"No chance of a stable training is drawn. {region.reason}")
    elif others:
        if info.y is not None:
            notes[0] = (
                "One mark a trial; settings not on an axis vary, so a mark may disagree with the colour under it."
            )
        notes.append(fixed_text(region, grids, names))
        apart = _apart(region, grids, recommended)
        if apart:
            notes.append(
                f"The ring shows the recommended setting by its axes only; it has {setting_text(apart, names)}."
            )
    if info.num_changed:
        were = "trial is" if info.num_changed == 1 else "trials are"
        notes.append(
            f"{info.num_changed} {were} not on the map: a scheduler changed the settings on the way, so the outcome "
            "belongs to no one place."
        )
    return [note for note in notes if note]


def _drawn(info: MapInfo, region: Region | NotKnown) -> set[str]:
    """Settings that a reader sees on an axis or in a panel's title."""
    split = {region.panel.path} if isinstance(region, Region) and region.panel else set()
    return {info.x.path, *([info.y.path] if info.y else []), *split}


def _apart(region: Region, grids: Sequence[RegionPanel], recommended: Mapping[str, Any]) -> dict[str, Any]:
    """The recommended setting's values where they are not those of its panel's slice."""
    level = recommended.get(region.panel.path) if region.panel else None
    here = next((panel for panel in grids if value_text(panel.level) == value_text(level)), None)
    if here is None or not recommended:
        return {}
    return {
        path: recommended[path]
        for path, value in here.fixed.items()
        if recommended.get(path) is not None and value_text(recommended[path]) != value_text(value)
    }


def fixed_text(region: Region, grids: Sequence[RegionPanel], names: Mapping[str, str]) -> str:
    """At which values of the other settings the map is drawn; empty where every setting is on an axis."""
    shown = {region.panel.path} if region.panel else set()
    texts = {
        value_text(panel.level): setting_text({p: v for p, v in panel.fixed.items() if p not in shown}, names)
        for panel in grids
        if any(v is not None for p, v in panel.fixed.items() if p not in shown)
    }
    if not texts:
        return ""
    if len(set(texts.values())) == 1 and len(texts) == len(grids):
        return f"The colours are for {next(iter(texts.values()))}."
    return f"The colours are for {'; '.join(f'{text} ({level})' for level, text in texts.items())}."


def contrast_lines(region: Region) -> list[str]:
    """How far the hot edges of two categories lie apart, a sentence each."""
    if region.panel is None:
        return []
    unit = " decades" if region.along.log else ""
    return [
        f"The hot edge of {region.panel.name} {value_text(one.level)} lies {abs(one.distance):.2f}{unit} "
        f"{'above' if one.distance > 0 else 'below'} that of {value_text(one.reference)} ({percent(LEVEL)} interval "
        f"{one.low:+.2f} to {one.high:+.2f}): {_contrast_reading(one, unit)}"
        for one in region.contrasts
    ]


def _contrast_reading(one: Contrast, unit: str) -> str:
    if one.at_end:
        return "one of them may lie beyond the searched range."
    if one.is_told:
        return f"{'higher' if one.distance > 0 else 'lower'} beyond chance."
    return f"no difference can be told, and one of more than {number(max(-one.low, one.high), 2)}{unit} is unlikely."


def learned_text(view: View) -> str:
    """What counts as learned, in brackets."""
    below, l_const = view.stored.study.monitor.stable_below, common_value(view.trials, "l_const")
    if math.isnan(l_const):
        return f" (learned: the loss ends below {number(below)} times its beginning)"
    times = f"{number(below)} times the loss of learning nothing"
    return f" (learned: the loss ends below {number(below * l_const)}, {times})"


def reliability_text(region: Region) -> str:
    """How well the models foretell what they have not seen."""
    parts = [("breaking", region.break_calibration), ("learning", region.learn_calibration)]
    gains = [f"{name} {percent(1 - one.brier / one.base_brier)}" for name, one in parts if one is not None]
    alone = f" Of one boundary alone it is smaller by: {', '.join(gains)}." if gains else ""
    return calibration_text(region.calibration) + alone


def calibration_text(calibration: MapCalibration) -> str:
    """How well the model foretells settings that it has not seen, in plain words."""
    gain = 1 - calibration.brier / calibration.base_brier if calibration.base_brier else 0.0
    verdict = (
        f"{percent(gain)} smaller than that of always naming the overall rate ({number(calibration.base_brier, 2)})"
        if calibration.beats_base
        else f"no smaller than that of always naming the overall rate ({number(calibration.base_brier, 2)}): do not "
        "rely on the colours"
    )
    return (
        f"Each of {plural(calibration.num, 'training')} was predicted from the settings of the other four fifths, by a "
        "model that had not seen its own: the mean squared error of the chances (Brier score) is "
        f"{number(calibration.brier, 2)}, {verdict}. A stated chance is off by {number(100 * calibration.ece, 2)} "
        f"percentage points on average (ECE); chances that are all true would show up to "
        f"{number(100 * calibration.chance_ece, 2)} in nine of ten such studies."
    )


def open_text(region: Region) -> str:
    """How narrowly the edges are known."""
    if not math.isfinite(region.open_width):
        return ""
    unit = " decades" if region.along.log else ""
    return f"An edge is {number(region.open_width, 2)}{unit} wide on average, from a chance of 90 % to 10 %."


def transfer_lines(transfer: Transfer) -> list[str]:
    """How the edge moves with width, what to expect at the target, and how it went there."""
    fit, name, tested = transfer.fit, transfer.name, transfer.tested
    if isinstance(fit, NotKnown):
        return [f"Tested at full size: {_tests(tested)}."] if tested else []
    at = f"{name} {value_text(fit.target)}"
    lines = [
        f"The upper edge of the {transfer.along} goes with {name} to the power {number(fit.slope, 2)} (95 % interval "
        f"{number(fit.slope_low, 2)} to {number(fit.slope_high, 2)}, from {plural(len(fit.widths), 'value')} of it). "
        f"At {at} expect the edge at {number(fit.expected, 2)} (95 % prediction interval {number(fit.low, 2)} to "
        f"{number(fit.high, 2)})."
    ]
    if fit.reason:
        lines.append(fit.reason)
    lines.append(
        f"Tested at {at}: {_tests(tested)}." if tested else f"Nothing was trained at {at}: this is an extrapolation."
    )
    return lines


def _tests(tested: Sequence[FullSizeTraining]) -> str:
    by_lr: dict[float, list[str]] = {}
    for training in sorted(tested, key=lambda t: t.place):
        result = f" (WER {percent(training.wer)})" if training.outcome.is_stable and math.isfinite(training.wer) else ""
        by_lr.setdefault(training.place, []).append(f"{training.outcome.value}{result}")
    return "; ".join(f"with {number(lr, 2)} {', '.join(ends)}" for lr, ends in by_lr.items())
