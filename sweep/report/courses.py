"""A trial's course, as its figure needs it."""

import math

from sweep.analysis.dimensions import plain
from sweep.analysis.traces import Trace
from sweep.records import Outcome
from sweep.report.figures.course import CourseInfo
from sweep.report.view import View


def course_info(view: View, trace: Trace) -> CourseInfo:
    """The course of a finished trial of the study."""
    row = view.trials[view.trials["trial_id"] == trace.trial_id].iloc[0]
    stop, alarm, l_const = plain(row["stop_step"]), plain(row["alarm"]), plain(row["l_const"])
    fixed = (view.study.get("training") or {}).get("clip") or {}
    searched = {d.path.rpartition(".")[2]: plain(row.get(d.path)) for d in view.dims if ".clip." in d.path}
    clip = {**fixed, **{key: value for key, value in searched.items() if value is not None}}
    max_norm = clip.get("max_norm") if clip.get("kind") == "norm" else None
    return CourseInfo(
        trace=trace,
        verdict=Outcome(row["verdict"]),
        alarm=None if alarm is None else Outcome(alarm),
        stop_step=None if stop is None else int(stop),
        clip=float(max_norm) if max_norm is not None and math.isfinite(float(max_norm)) else None,
        l_const=None if l_const is None else float(l_const),
    )
