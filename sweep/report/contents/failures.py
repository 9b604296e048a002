"""What the report tells about failed trainings: where, why, how near to overflow, and one of them step by step."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from sweep import store
from sweep.analysis.failures.by_setting import SettingFailures, causes_of, compared, failures_by_setting
from sweep.analysis.failures.causes import FailingOperation, failing_operations, worked_example
from sweep.analysis.failures.half_precision import (
    HALF,
    SCALED,
    HalfTrial,
    HeadroomCourse,
    ScaleCourse,
    drawn,
    half_trials,
    headroom_course,
    scale_course,
)
from sweep.analysis.failures.step_trace import StepTrace, found_again, step_trace
from sweep.analysis.region.evidence import Evidence
from sweep.analysis.trials.answers import answers
from sweep.analysis.trials.dimensions import plain
from sweep.analysis.trials.outcomes import failed, judged
from sweep.judging.detectors.base import RunContext
from sweep.records import NAN, Cause, Explanation, Numbers, Outcome, Phase, Side
from sweep.report.contents.files import Files
from sweep.study.reading import StoredStudy
from sweep.study.settings import Study


@dataclass(frozen=True)
class HalfPrecision:
    """Trainings in fp16, and those of them that are drawn."""

    num_trials: int
    headroom: tuple[HeadroomCourse, ...]
    why_no_headroom: str
    """Empty where there is some."""
    num_scaled: int
    """Trainings with a loss scaler."""
    scales: tuple[ScaleCourse, ...]
    calibrations: Mapping[bool, tuple[int, ...]]
    """Stable or not -> updates that each training with a loss scaler left out while the scale found its level."""


@dataclass(frozen=True)
class Example:
    """A failed training, traced."""

    trial_id: str
    row: Mapping[str, Any]
    """Of the table of trials; None for what is missing."""
    trace: StepTrace
    explanation: Explanation | None
    has_traceback: bool
    """Whether an exception ended it, whose traceback was kept."""


@dataclass(frozen=True)
class Failures:
    """Everything that the section shows; of judged trials inside the searched space."""

    outcomes: tuple[tuple[Outcome, int], ...]
    """How the failed ones ended, the most frequent first."""
    causes: tuple[tuple[Cause, int], ...]
    """What was found where somebody looked, the most frequent first."""
    sides: Mapping[Side, int]
    """How many failed on which side of what works; those that a crash or the like ended have none."""
    num_failed: int
    num_broken: int
    """Failed trials whose numbers were not sound any more."""
    num_sound: int
    """Failed trials whose numbers were sound to the end. Of the others nobody knows: their process failed."""
    num_judged: int
    num_explained: int
    """Failed trials that somebody looked into."""
    num_compared: int
    """Trials that `by_setting` counts."""
    by_setting: tuple[SettingFailures, ...]
    operations: tuple[FailingOperation, ...]
    half: HalfPrecision
    example: Example | None


def failures(
    files: Files,
    stored: StoredStudy,
    evidence: Evidence,
    explanations: Mapping[str, Explanation],
) -> Failures:
    """Reads what it needs of the records: those of the drawn trials and of the example, however many trials there are.

    Args:
        files: where the records lie.
        stored: the study.
        evidence: all finished trials; the category that panels are split by comes first.
        explanations: by trial id.
    """
    trials = evidence.trials
    inside = trials[trials["phase"] != Phase.FULL_SIZE]
    ended, bad = judged(inside), failed(inside)
    ordered = sorted(evidence.dims, key=lambda dim: dim != evidence.panel)
    example = worked_example(ended, explanations)
    numbers = [one.numbers for one in answers(bad)]
    kinds = Counter(Outcome(verdict) for verdict in bad["verdict"])
    return Failures(
        outcomes=tuple(kinds.most_common()),
        causes=causes_of([str(t) for t in bad["trial_id"]], explanations),
        sides=Counter(side for i in bad["trial_id"] if (side := evidence.sides.get(str(i))) is not None),
        num_failed=len(bad),
        num_broken=numbers.count(Numbers.BROKEN),
        num_sound=numbers.count(Numbers.SOUND),
        num_judged=len(ended),
        num_explained=int(bad["trial_id"].isin(list(explanations)).sum()),
        num_compared=len(compared(trials)),
        by_setting=tuple(failures_by_setting(evidence, ordered, explanations)),
        operations=tuple(failing_operations(ended, explanations)),
        half=_half_precision(files, stored.study, inside),
        example=None if example is None else _example(files, stored, ended, example, explanations.get(example)),
    )


def _half_precision(files: Files, study: Study, trials: pd.DataFrame) -> HalfPrecision:
    half, scaled = half_trials(judged(trials), study, HALF), half_trials(judged(trials), study, SCALED)
    # A scale that never fitted is to be seen, though nobody can tell how the training would have gone.
    unsettled = half_trials(trials[trials["verdict"] == Outcome.CALIBRATING.value], study, SCALED)
    sampled = ((h, files.health(h.trial_id)) for h in drawn(half))
    courses = (headroom_course(h, rows) for h, rows in sampled if rows is not None)
    headroom = tuple(course for course in courses if course is not None)
    return HalfPrecision(
        num_trials=len(half),
        headroom=headroom,
        why_no_headroom="" if headroom else _why_no_headroom(study, len(half)),
        num_scaled=len(scaled) + len(unsettled),
        scales=tuple(_scale_courses(files, drawn(pd.concat([scaled, unsettled])))),
        calibrations={
            good: tuple(int(n) for n in scaled["skipped_calibration"][scaled["stable"].astype(bool) == good].fillna(0))
            for good in (True, False)
        },
    )


def _why_no_headroom(study: Study, num_trials: int) -> str:
    if not num_trials:
        return (
            "No training computed in float16, the one format that is easily left: its largest number is 65504. fp32 "
            "and bf16 go up to 3.4e38."
        )
    if study.training.health_every_steps is None:
        return (
            "Headroom was not sampled: this study has training.health_every_steps: null. A number, such as 50, turns "
            "it on."
        )
    return "No sample of the headroom is in this folder: it holds no health/*.parquet of these trainings."


def _scale_courses(files: Files, trials: Iterable[HalfTrial]) -> Iterator[ScaleCourse]:
    for trial in trials:
        steps = files.step_frame(trial.trial_id)
        # A process may have died before it wrote any record.
        course = None if steps is None else scale_course(trial, steps)
        if course is not None:
            yield course


def _example(
    files: Files, stored: StoredStudy, ended: pd.DataFrame, trial_id: str, explanation: Explanation | None
) -> Example:
    of_trial = ended[ended["trial_id"] == trial_id]
    row = {str(key): plain(value) for key, value in of_trial.iloc[0].to_dict().items()}
    records = files.steps(trial_id)
    context = RunContext(
        l_const=_or_nan(row["l_const"]),
        l_unif=_or_nan(row["l_unif"]),
        budget_steps=None if row["max_steps"] is None else int(row["max_steps"]),
        has_scaler=len(half_trials(of_trial, stored.study, SCALED)) > 0,
    )
    finding = found_again(
        records, files.evals(trial_id), Outcome(row["verdict"]), context, stored.content.get("monitor") or {}
    )
    first = explanation.first_nonfinite if explanation is not None else None
    stop_step = None if row["stop_step"] is None else int(row["stop_step"])
    trace = step_trace(records, stop_step, finding, None if first is None else first.step, context.l_const)
    has_traceback = store.evidence_path(files.folder, trial_id, "traceback.txt").is_file()
    return Example(trial_id, row, trace, explanation, has_traceback)


def _or_nan(value: float | None) -> float:
    return NAN if value is None else float(value)
