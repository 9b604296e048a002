"""The section on failed trainings, with its sentences and sizes."""

import math
import statistics
from collections.abc import Callable, Mapping, Sequence

from sweep.analysis.failures.by_setting import SettingFailures, SettingPart
from sweep.analysis.failures.half_precision import nearest_modules
from sweep.analysis.trials.answers import answers_by_outcome, basis_text
from sweep.records import Side
from sweep.report.contents.failures import Failures, HalfPrecision
from sweep.report.contents.view import View
from sweep.report.panels import headroom_panels, loss_scale_panels
from sweep.report.sections.facts import outcome_notes
from sweep.report.sections.section import Content
from sweep.report.sections.story import story
from sweep.wording import number, percent, plural

NUM_MODULES = 8
"""Modules whose headroom is listed."""
_THICKEST, _THINNEST = 26, 4
"""Height of a bar, in pixels."""


def failures_content(view: View) -> Content:
    """Where, how and why trainings failed, and one of them step by step."""
    half, example = view.failures.half, view.failures.example
    headroom, scale = headroom_panels(half), loss_scale_panels(half)
    answers = answers_by_outcome(view.searched)
    words = {
        "view": view,
        "is_ctc": not view.study.is_own,
        "rec": view.recommendation,
        "outcomes": view.outcomes,
        "traced": view.traced,
        "failures_lead": lead(view.failures),
        "outcome_notes": outcome_notes(view),
        "answers": answers,
        "basis_text": basis_text(answers),
        "thickness": thickness(view.failures.by_setting),
        "of_limit": of_limit,
        "headroom_panels": headroom,
        "modules": nearest_modules(half.headroom)[:NUM_MODULES],
        "scale_panels": scale,
        "calibrations": calibrations(half),
        "example": story(example, view.dims) if example else None,
    }
    return Content(words, {"headroom": headroom, "scale": scale})


def lead(failures: Failures) -> str:
    """How many failed, how, and what was found to be the cause most often."""
    if not failures.num_judged:
        return "No training has been judged yet."
    if not failures.num_failed:
        return f"None of {plural(failures.num_judged, 'judged training')} failed."
    most = ", ".join(f"{count} {outcome.value}" for outcome, count in failures.outcomes)
    text = f"{failures.num_failed} of {plural(failures.num_judged, 'judged training')} failed: {most}."
    text += f" {_numbers_text(failures.num_broken, failures.num_sound)}{_sides_text(failures.sides)}"
    if not failures.causes:
        return text
    looked = "In the one" if failures.num_explained == 1 else f"In the {failures.num_explained}"
    found = ", ".join(f"{count} {cause.value}" for cause, count in failures.causes)
    return f"{text} {looked} looked into, the cause was: {found}."


def _numbers_text(num_broken: int, num_sound: int) -> str:
    """How many failed trainings broke, and how many failed although nothing did."""
    broke = f"In {num_broken} the numbers broke" if num_broken else "In none the numbers broke"
    return f"{broke}; {num_sound} kept sound numbers, but did not learn, lost it again, or memorised the training data."


def _sides_text(sides: Mapping[Side, int]) -> str:
    """How many failed at too large steps, and how many at too small ones; empty where none has a side."""
    words = {
        Side.TOO_HOT: "too hot (it broke, was thrown about, or lies beyond the steps that work)",
        Side.TOO_COLD: "too cold (nothing broke, but it was too slow for its budget)",
        Side.UNTOLD: "on a side that nobody can tell",
    }
    told = [f"{sides[side]} failed {what}" for side, what in words.items() if sides.get(side)]
    return f" {', '.join(told)}." if told else ""


def thickness(settings: Sequence[SettingFailures]) -> Callable[[SettingPart], int]:
    """How thick a bar is for its number of trials, in pixels: all settings share the measure, so that a bar's area
    shows its trials; none is too thin to be seen."""
    most = max((part.outcomes.num_trials for one in settings for part in one.parts), default=1)

    def height(part: SettingPart) -> int:
        count = part.outcomes.num_trials
        return max(round(_THICKEST * count / max(most, 1)), _THINNEST) if count else 0

    return height


def of_limit(value: float, limit: float) -> str:
    """A size against the largest number of its format: `61900 (94 %)`; n/a where it is not known."""
    if math.isnan(value):
        return "n/a"
    share = value / limit
    if not share >= 0.01:
        return number(value)
    return f"{number(value)} ({percent(share)})" if share < 2 else f"{number(value)} ({number(share, 2)} times)"


def calibrations(half: HalfPrecision) -> str:
    """How many updates it took until the loss scale fitted, of stable and of failed trainings."""
    parts = []
    for is_good, counts in half.calibrations.items():
        if counts:
            span = str(max(counts)) if min(counts) == max(counts) else f"{min(counts)} to {max(counts)}"
            median = "" if len(counts) == 1 else f", median {number(statistics.median(counts))}"
            who = plural(len(counts), "stable training" if is_good else "failed training")
            parts.append(f"{span} in {who}{median}")
    return (
        f"Updates left out while the scale found its level or tried a larger one: {'; '.join(parts)}." if parts else ""
    )
