"""The trainings of a run: on Ray, with whoever looks on."""

import argparse
import contextlib
import functools
import threading
from collections.abc import Callable, Sequence

from rich.console import Console

from slr_models.data.batch import Dataset
from sweep.live.loggers import TrialLogger, open_loggers
from sweep.live.metrics import Metrics
from sweep.live.notices import FirstDivergence, Notices
from sweep.live.prometheus import listed
from sweep.live.terminal import Terminal
from sweep.live.views import Views
from sweep.run.outlook import opening
from sweep.run.time_limit import TimeLimit
from sweep.running.cluster import cluster
from sweep.running.job import RunOptions
from sweep.running.placements import Placements
from sweep.running.provenance import note_lanes
from sweep.running.ray_watch import LastWords
from sweep.running.session import StudySession
from sweep.running.view import ProgressView
from sweep.search import StabilitySearch
from sweep.study import Study
from sweep.study.design import cells
from sweep.wording import first_line


def train(
    options: argparse.Namespace,
    session: StudySession,
    dataset: Dataset | None,
    run_options: RunOptions,
    console: Console,
    limit: TimeLimit,
    notices: Notices,
    last_words: LastWords,
) -> bool:
    """Trains what is left of a study; False if it was interrupted, or its time is over.

    Raises:
        MachineError: Ray does not start, or the machine fails.
    """
    if session.results:
        console.print(f"  going on: {len(session.results)} trials are done", highlight=False)
    if session.done or limit.is_over:
        return session.done
    study = session.study
    loggers = open_loggers(options.loggers, study.name, session.results_dir)
    console.print(opening(session, limit), highlight=False)
    console.print("starting Ray", highlight=False)
    _meanwhile(functools.partial(_import_for_training, study))
    with cluster(options.address, study.resources, last_words) as ray:
        placements = Placements(study.resources, ray.nodes, ray.limits)
        note_lanes(session.results_dir, placements.num_trials)
        console.print(f"  {placements.line}", highlight=False)
        if ray.dashboard_url:
            console.print(f"  dashboard: {ray.dashboard_url}", highlight=False)
        for warning in ray.warnings:
            console.print(f"  warning: {warning}", highlight=False, style="yellow")
        drawn = None if study.design is None else study.space.keys()
        terminal = Terminal(
            console, course=session, search=_search(study), done=session.results, drawn=drawn, score=study.score
        )
        try:
            others: list[ProgressView] = [
                *_metrics(session, console),
                *loggers,
                FirstDivergence(notices, session.results),
            ]
            say = functools.partial(console.print, highlight=False)
            view = Views(terminal, others, say)

            def changed(line: str) -> None:
                say(line)
                note_lanes(session.results_dir, placements.num_trials)

            with terminal, listed(session.results_dir, ray.metrics):
                from sweep.running import runner

                return runner.run_trials(
                    session, dataset, run_options, ray, placements, view, limit.trainings_end_at, changed
                )
        finally:
            _meanwhile(_import_for_answer)
            _close(loggers, console)


def _meanwhile(work: Callable[[], None]) -> None:
    """Does some work while this thread waits for Ray, which takes seconds to start and to end."""

    def quietly() -> None:
        # Whoever needs it does it again, and is told what fails.
        with contextlib.suppress(Exception):
            work()

    threading.Thread(target=quietly, name="meanwhile", daemon=True).start()


def _import_for_training(study: Study) -> None:
    import sweep.running.runner

    if study.design is None and isinstance(study.search, StabilitySearch):
        import sweep.search.stability  # noqa: F401


def _import_for_answer() -> None:
    import sweep.report.page
    import sweep.running.conclusion  # noqa: F401


def _metrics(session: StudySession, console: Console) -> list[Metrics]:
    """What a run exports; none where Ray does not take it, since nobody's training depends on it."""
    try:
        return [Metrics(session.study.name, session, session.results)]
    except Exception as error:
        console.print(f"  note: no metrics are exported ({first_line(error)})", highlight=False, style="yellow")
        return []


def _close(loggers: Sequence[TrialLogger], console: Console) -> None:
    for logger in loggers:
        try:
            logger.close()
            problem = logger.problem
        except Exception as error:
            problem = first_line(error)
        if problem is not None:
            note = f"  note: not all was logged to {logger.name}: {problem}"
            console.print(note, highlight=False, style="yellow")


def _search(study: Study) -> str:
    """What leads the exploration, for a person: `stability search, balanced mode`."""
    if study.design is not None:
        return f"{study.design.kind} design, {study.design.blocks} blocks x {len(cells(study.design))} cells"
    mode = f", {study.search.mode} mode" if isinstance(study.search, StabilitySearch) else ""
    return f"{study.search.kind} search{mode}"
