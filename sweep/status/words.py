"""The answer as lines for a person."""

from collections.abc import Iterator

from sweep.status.answer import Recommended, Running, State, Status
from sweep.watch.folder import PHASES
from sweep.wording import duration, number, plural, settings_line

_ACTIVITIES = {
    "starting": "starting",
    **{phase.value: words for phase, words in PHASES.items()},
    "explaining": "looking for causes of failures",
    "concluding": "writing the answer",
}
MAX_RUNNING = 8
"""Trainings under way that have a line each."""


def headline(status: Status) -> str:
    """State, phase and counts: `smoke: running, exploring, 12 of 35 trainings done (7 stable, 5 diverged-loss)`."""
    if status.state is State.WAITING:
        return f"{status.study}: waiting for a run to begin it"
    parts = [_state(status), *([_ACTIVITIES[status.activity]] if status.activity else []), _done(status)]
    return f"{status.study}: {', '.join(parts)}"


def lines(status: Status) -> Iterator[tuple[str, str]]:
    """What else there is to say: what of, and that."""
    if status.why is not None:
        yield "why", status.why
    for one in status.running[:MAX_RUNNING]:
        yield "now", _running(one)
    if len(status.running) > MAX_RUNNING:
        yield "now", f"and {len(status.running) - MAX_RUNNING} more"
    if status.waiting:
        yield "waiting", plural(status.waiting, "training")
    if status.elapsed_s is not None:
        rest = "" if status.rest_s is None else f", about {duration(status.rest_s)} to go"
        yield "time", f"{duration(status.elapsed_s)} so far{rest}{_quiet(status)}"
    if status.best is not None:
        yield "best", f"{status.best.title}: {status.best.result}"
    if status.recommended is not None:
        yield "recommended", _recommended(status.recommended)
    if status.recommended is not None and status.recommended.safety is not None:
        yield "safety", status.recommended.safety
    elif status.safety_rule is not None:
        yield "safety", f"asked of what is recommended: {status.safety_rule}"
    if status.last_problem is not None:
        yield "last problem", problem(status) or ""
    yield "report", status.report or f"none yet: slr-sweep report {status.results} writes one, watch shows it"


def problem(status: Status) -> str | None:
    """The training that failed last, and why; None where none did."""
    last = status.last_problem
    if last is None:
        return None
    cause = "" if last.cause is None else f"; cause: {last.cause}"
    return f"{last.title}: {last.outcome} at step {last.step} of {last.steps}: {last.reason}{cause}"


def _state(status: Status) -> str:
    if status.state is State.SILENT and status.quiet_s is not None:
        return f"gone silent {duration(status.quiet_s)} ago"
    return status.state.value


def _done(status: Status) -> str:
    of = "" if status.planned is None else f" of {status.planned}"
    counts = ", ".join(f"{count} {outcome}" for outcome, count in status.outcomes.items())
    noun = "training" if (status.done if status.planned is None else status.planned) == 1 else "trainings"
    return f"{status.done}{of} {noun} done" + (f" ({counts})" if counts else "")


def _running(one: Running) -> str:
    if one.activity == "starting":
        return f"{one.title}: starting"
    if one.activity == "explaining":
        return f"{one.title}: looking for the cause of its end"
    of = "" if one.steps is None else f" of {one.steps}"
    losses = {"train loss": one.train_loss, "val. loss": one.val_loss}
    told = "".join(f", {name} {number(loss)}" for name, loss in losses.items() if loss is not None)
    return f"{one.title}: step {one.step}{of}{told}"


def _recommended(one: Recommended) -> str:
    result = "" if one.result is None else f": {one.result}"
    return f"{settings_line(one.settings)}".rstrip() + f" ({one.status}){result}"


def _quiet(status: Status) -> str:
    """When something was written last, where that is long ago."""
    if status.state is not State.RUNNING or status.quiet_s is None or status.quiet_s < 60:
        return ""
    return f"; nothing was written for {duration(status.quiet_s)}"
