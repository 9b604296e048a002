"""What the figure of a trial's course shows besides the curves, and how the page keeps the courses of all trials."""

import json
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from sweep.analysis.figures.course import CourseRows, points_kept
from sweep.analysis.trials.dimensions import Dimension, plain
from sweep.records import Outcome
from sweep.report.contents.view import View
from sweep.report.figures.course import Course
from sweep.report.sections.section import Content
from sweep.study.settings import Study
from sweep.training.optim.clipping import ByNorm, Off

SHARP, COARSE = 4096, 512
"""Steps of a packed logarithm, a decade: 0.06 and 0.45 % apart."""
FEW = 1000
"""Trials up to which courses are packed sharply."""


def traces_content(view: View) -> Content:
    """The courses of all trials, for the page's script."""
    num = len(view.traces)
    words = {
        "num_traced": num,
        "num_trials": len(view.trials),
        "num_points": points_kept(num),
        "traced_examples": [(label, trial_id) for label, trial_id in view.examples if trial_id in view.traced],
    }
    return Content(words, data={"courses": courses_payload(view)})


def courses_payload(view: View) -> str:
    """Trial id -> its packed course, as a text of its own: only those that are looked at are read; as JSON."""
    sharpness = SHARP if len(view.traces) <= FEW else COARSE
    every = courses(view.traces, view.trials, view.study, view.dims)
    content = {course.trace.trial_id: packed_course(course, sharpness) for course in every}
    return json.dumps(content, separators=(",", ":"))


def courses(
    traces: Iterable[CourseRows], trials: pd.DataFrame, study: Study, dims: Iterable[Dimension]
) -> Iterator[Course]:
    """The courses of finished trials of the study."""
    rows = {str(row["trial_id"]): row for row in trials.to_dict("records")}
    fixed = Off() if study.is_own else study.training.clip
    clip_paths = [dim.path for dim in dims if ".clip." in dim.path]
    for one in traces:
        row = rows[one.trial_id]
        searched = {path.rpartition(".")[2]: plain(row.get(path)) for path in clip_paths}
        kind = searched.get("kind") or fixed.kind
        max_norm = searched.get("max_norm") or (fixed.max_norm if isinstance(fixed, ByNorm) else None)
        stop, alarm, l_const = plain(row["stop_step"]), plain(row["alarm"]), plain(row["l_const"])
        yield Course(
            trace=one,
            number=int(row["number"]),
            verdict=Outcome(row["verdict"]),
            alarm=None if alarm is None else Outcome(alarm),
            stop_step=None if stop is None else int(stop),
            clip=float(max_norm) if kind == "norm" and max_norm is not None else None,
            l_const=None if l_const is None else float(l_const),
            score=study.score,
        )


def packed_course(course: Course, sharpness: int) -> str:
    """A course as JSON that gzip makes small: steps as differences, curves as differences of their logarithms.

    A curve is a list of whole numbers: what the logarithm (base 10, `sharpness` steps a decade) grew by since the
    last known one; null where a value is not known or not above zero.
    """
    one = course.trace
    content: dict[str, Any] = {
        "q": sharpness,
        "n": one.num_steps,
        "step": _grown(one.step),
        "loss": _logs(one.loss, sharpness),
        "evalStep": _grown(one.eval_step),
        "valLoss": _logs(one.val_loss, SHARP),
        "results": course.results,
        "events": [[name, one.event_counts[name], _grown(at)] for name, at in one.events.items()],
        "levels": [[row, value, text] for row, value, text in course.levels],
        "ends": [[step, text, outcome.value, anchor] for step, text, outcome, anchor in course.ends],
    }
    if course.has_norm:
        content["norm"] = _logs(one.grad_norm, sharpness)
    if len(one.scale):
        content |= {"scaleStep": _grown(one.scale_step), "scale": one.scale.tolist()}
    return json.dumps(content, separators=(",", ":"), allow_nan=False)


def _grown(values: npt.NDArray[np.int64]) -> list[int]:
    return np.diff(values, prepend=0).tolist()  # type: ignore[no-any-return]


def _logs(values: npt.NDArray[np.float64], sharpness: int) -> list[int | None]:
    known = np.flatnonzero(values > 0)
    logs = np.round(np.log10(values[known]) * sharpness).astype(np.int64)
    found: list[int | None] = [None] * len(values)
    for at, grown in zip(known.tolist(), np.diff(logs, prepend=0).tolist(), strict=True):
        found[at] = grown
    return found
