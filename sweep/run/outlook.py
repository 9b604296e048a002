"""What a run says first, of what is before it, and last, of what to do next."""

import math
import shlex
import time
from pathlib import Path

from sweep.forensics.allowance import most_left
from sweep.own.program import Target
from sweep.records import Phase
from sweep.run.time_limit import TimeLimit
from sweep.running.session import StudySession
from sweep.search import GridSearch
from sweep.study import Study
from sweep.wording import duration, plural


def opening(session: StudySession, limit: TimeLimit) -> str:
    """What will be trained, and how long that takes: at the pace so far, at most as the study's limits have it."""
    study = session.study
    done = len(session.results)
    explored = num_explored(session)
    explore, follow = session.num_exploring - explored, session.num_following - (done - explored)
    what = [f"up to {plural(explore, 'training')} to {'explore' if study.design is None else 'compare'}"] * bool(
        explore
    )
    what += [f"up to {follow} to confirm or test"] * bool(follow)
    times = [f"at most {duration(left_s)} ({name})" for name, left_s in _bounds(session, limit) if left_s < math.inf]
    if done:
        times.insert(0, f"about {duration(session.spent_s / done * (explore + follow))} at the pace so far")
    known = "; ".join(times) or "how long that takes is said when two have ended (--dry-run measures a few steps)"
    trainings = f"{', then '.join(what) or 'what is left'}{_length(study)}"
    return f"to train: {trainings}{_causes(session, explore + follow)}; {known}"


def _causes(session: StudySession, num_trainings: int) -> str:
    """The replays that may come on top of so many trainings."""
    num = most_left(session.results_dir, session.study.forensics, num_trainings)
    return f", and replays to explain up to {plural(num, 'bad one')}" if num else ""


def num_explored(session: StudySession) -> int:
    """Trainings of the exploration that have ended."""
    return sum(result.phase == Phase.EXPLORE for result in session.results)


def _bounds(session: StudySession, limit: TimeLimit) -> list[tuple[str, float]]:
    budget_s = session.study.budget.wall_time_s
    return [
        ("budget.wall_time_s", math.inf if budget_s is None else max(budget_s - session.spent_s, 0.0)),
        (f"--time {limit.text}", max(limit.trainings_end_at - time.monotonic(), 0.0)),
    ]


def _length(study: Study) -> str:
    budget = study.budget
    if budget.steps is not None:
        return f", {plural(budget.steps, 'step')} each"
    return "" if budget.epochs is None else f", {budget.epochs:g} epochs each"


def next_steps(session: StudySession, function: Target | None, *, finished: bool) -> str:
    """What can be done now; ends where the report's path follows."""
    folder = shlex.quote(str(_shown(session.results_dir)))
    steps = [] if finished else ["the same command goes on"]
    if (session.results_dir / "recipe.yaml").exists() and function is None:
        steps.append(f"slr-sweep run {folder}/recipe.yaml trains with these settings")
    elif failed := next((r for r in session.results if not r.stable and not session.study.is_own), None):
        steps.append(f"slr-sweep explain {folder} {failed.trial_id} looks into why one failed")
    study = session.study
    if finished and study.design is None and study.space and not isinstance(study.search, GridSearch):
        again = "the same command with --trials +N" if function is None else 'study.run(trials="+N")'
        steps += [] if session.search_has_ended else [f"{again} explores further"]
    return f"next: {'; '.join([*steps, 'open the report:'])}"


def _shown(folder: Path) -> Path:
    """As it is typed from here."""
    return folder.relative_to(Path.cwd()) if folder.is_relative_to(Path.cwd()) else folder
