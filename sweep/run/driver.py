"""From the parsed command line of a run to its report."""

import argparse
import contextlib
import functools
import time
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from slr_models import user_code
from slr_models.data.batch import Dataset
from slr_models.errors import MachineError, SettingError, UserError
from sweep.analysis.claims.stated import exploratory_lines, removed_note
from sweep.analysis.trials.carried import carried_over
from sweep.command_line import EXIT_DONE, EXIT_INTERRUPTED, EXIT_UNFINISHED
from sweep.live.loggers import check_loggers
from sweep.live.notices import Notices
from sweep.live.webhooks import addresses
from sweep.own.program import Target
from sweep.records import Outcome
from sweep.run.kept import Kept, check_scheduler, kept
from sweep.run.lanes import check_this_machine, with_jobs
from sweep.run.outlook import next_steps, num_explored
from sweep.run.process_title import hide_secrets
from sweep.run.time_limit import TimeLimit, time_limit
from sweep.run.trainings import train
from sweep.running.continuing import as_begun, check_same_study, trials_given, with_trials
from sweep.running.job import RunOptions
from sweep.running.namesakes import check_names
from sweep.running.own_study import own_program, own_warnings, trained
from sweep.running.preflight import preflight
from sweep.running.provenance import results_id, write_study
from sweep.running.session import StudySession
from sweep.running.signing import sign
from sweep.search import StabilitySearch
from sweep.store.latest_run import RunEnd, note_end
from sweep.store.lock import HELD_FILE, without_flock
from sweep.study import LoadedStudy, Study, load, read_study
from sweep.study.changed_defaults import left_open
from sweep.study.code import named_by, told

if TYPE_CHECKING:
    from sweep.search.database import DatabaseMirror


def run(options: argparse.Namespace, console: Console) -> int:
    """Runs a study as `sweep.run.command` was told to; returns the exit code.

    Raises:
        UserError: a mistake in what the user gave.
        MachineError: Ray does not start on this machine.
        OSError: results cannot be written.
    """
    check_loggers(options.loggers)
    addresses(options.notify)
    limit = time_limit(options.time, options.started)
    hide_secrets(options.notify)
    loaded = _load(options)
    if named_by(loaded.study):
        user_code.look_in(Path.cwd(), options.study.parent)
    return run_study(loaded, options, console, limit)


def run_study(
    loaded: LoadedStudy, options: argparse.Namespace, console: Console, limit: TimeLimit, function: Target | None = None
) -> int:
    """Runs a validated study; returns the exit code.

    Args:
        loaded: the study.
        options: as the command line has them.
        console: where it says what it does.
        limit: when it is to end.
        function: what trains, where that is a function given in Python.

    Raises:
        UserError: a mistake in what the user gave.
        MachineError: Ray does not start on this machine.
        OSError: results cannot be written.
    """
    say = functools.partial(console.print, highlight=False, markup=False, style="yellow")
    told = [] if options.dry_run else addresses(options.notify)
    note = functools.partial(console.print, highlight=False, markup=False)
    with (
        Notices(told, loaded.study.name, say) as notices,
        kept(
            options.results,
            loaded.study.name,
            writes=not options.dry_run,
            address=options.address,
            say=lambda line: note(f"  {line}"),
        ) as results,
    ):
        return _run(loaded, options, console, limit, function, notices, results)


def _run(
    loaded: LoadedStudy,
    options: argparse.Namespace,
    console: Console,
    limit: TimeLimit,
    function: Target | None,
    notices: Notices,
    kept: Kept,
) -> int:
    check_names()
    check_scheduler(kept, loaded.study.scheduler)
    results_dir = kept.folder
    loaded = as_begun(loaded, results_dir)
    is_new = check_same_study(results_dir, loaded.study) is None
    loaded = LoadedStudy(with_trials(loaded.study, options.trials, results_dir), loaded.source)
    loaded = with_jobs(loaded, options.jobs)
    study = loaded.study
    folder_id = results_id(results_dir)
    mirror = None if options.storage is None else _mirror(options, study, folder_id, console)
    if options.address is None:
        check_this_machine(study.resources, needs_gpu=not options.dry_run)
    code = tuple(named_by(study))
    dataset = None if study.is_own else _dataset(loaded, console)
    if study.own is not None:
        what = f"{study.name}: {trained(study.own, function)}"
        console.print(what, highlight=False, markup=False)
    if code:
        console.print(f"  this study runs code of {told(code)}", highlight=False, markup=False)
    run_options = RunOptions(
        results_dir=results_dir.resolve(),
        metric=study.metric,
        monitor=study.monitor,
        early_stop=study.early_stop,
        foregone=study.search.foregone if isinstance(study.search, StabilitySearch) else None,
        checkpoints=study.checkpoints,
        forensics=study.forensics,
        accumulates=study.resources.out_of_memory == "accumulate",
        device="cuda" if study.resources.gpus else "cpu",
        own=own_program(loaded, function),
        stored_at=kept.stored_at,
    )
    checked = None if dataset is None else preflight(loaded, dataset, run_options)
    warnings = tuple(own_warnings(study)) if checked is None else checked.warnings
    carried, told_of_others = carried_over(study, results_dir)
    for line in told_of_others:
        console.print(f"  warm start from {line}", highlight=False, markup=False)
    for changed in left_open(loaded) if is_new else ():
        console.print(f"  note: {changed.note}", highlight=False, style="yellow")
    for warning in warnings:
        console.print(f"  note: {warning}", highlight=False, style="yellow")
    if options.dry_run:
        from sweep.running.plan import own_plan, plan

        for line in (
            own_plan(study) if dataset is None else plan(loaded, dataset, run_options, is_here=options.address is None)
        ):
            console.print(line, highlight=False)
        return EXIT_DONE
    if study.design is not None:
        from sweep.running.plan import hopeless

        for line in hopeless(study):
            console.print(f"  warning: {line}", highlight=False, style="yellow")
    num_train = 0 if dataset is None else len(dataset.train)
    session = StudySession(
        loaded,
        results_dir,
        num_train,
        retry=[Outcome(name) for name in options.retry],
        carried=carried,
        keep=kept.keep,
        mirror=mirror,
    )
    for note in session.notes:
        console.print(f"  note: {note}", highlight=False, style="yellow", markup=False)
    if options.retry:
        num = session.num_retried
        found = f"{num} training{'s run' if num > 1 else ' runs'} again" if num else "no training ended so"
        console.print(f"  --retry {' '.join(options.retry)}: {found}", highlight=False)
    before = num_explored(session)
    _tell_of_lock(results_dir, console)
    with session, notices.failures_of(results_dir), contextlib.ExitStack() as stack:
        trains = None if study.own is None else trained(study.own, function)
        write_study(session, dataset, checked, trains, None if mirror is None else folder_id)
        if mirror is not None:
            # Not before the folder says which study is its own.
            stack.enter_context(mirror)
        # `explain` takes no program of the user's own, so nobody builds it from the folder.
        if (problem := sign(results_dir, () if study.is_own else code)) is not None:
            note = f"  note: the study is not signed, so that explain will ask for --trust: {problem}"
            console.print(note, highlight=False, markup=False, style="yellow")
        _tell_of_changed_claims(results_dir, console)

        def last_words(error: MachineError) -> None:
            notices.last_words(results_dir, error)
            kept.leave()

        finished = train(options, session, dataset, run_options, console, limit, notices, last_words)
        out_of_time = not finished and limit.is_over
        # The first training did not wait for all that makes the answer.
        from sweep.report import write_report
        from sweep.report.sections.answer import caveats
        from sweep.report.sections.claims import headline
        from sweep.running.conclusion import conclude, details

        kept.gather()
        answer, findings, view = conclude(session, loaded)
        report = write_report(view, private=options.private)
        ended = RunEnd.FINISHED if finished else RunEnd.OUT_OF_TIME if out_of_time else RunEnd.INTERRUPTED
        note_end(results_dir, ended)
    done = len(session.results)
    answered = answer.headline if study.recommends else headline(findings)
    notices.ended(ended, session.results, answered, session.spent_s)
    if not finished:
        why = f"--time {limit.text} is over" if out_of_time else "interrupted"
        console.print(f"{why} after {done} trials; the same command goes on", highlight=False)
    console.print(answered, highlight=False, style="bold")
    for line in details(session, answer, findings, caveats(view)):
        console.print(f"  {line}", highlight=False)
    if options.trials is not None and session.search_has_ended and num_explored(session) == before:
        console.print(
            f"  note: --trials {options.trials} added nothing to the {before} trials of the exploration, which the "
            f"search has ended: raise search.stop_accuracy to go on (1: it never ends by itself)",
            highlight=False,
            style="yellow",
        )
    if options.private:
        console.print(
            "  --private: the report names neither this machine nor its user, nor paths; other files of its folder do",
            highlight=False,
        )
    console.print(next_steps(session, function, finished=finished), highlight=False)
    print(kept.report(report))
    if finished:
        return EXIT_DONE
    return EXIT_UNFINISHED if out_of_time else EXIT_INTERRUPTED


def _dataset(loaded: LoadedStudy, console: Console) -> Dataset:
    """The data of our own loop."""
    _, data = loaded.study.made
    console.print(f"{loaded.study.name}: reading {data.kind} data", highlight=False)
    started = time.perf_counter()
    try:
        dataset = data.build()
    except UserError as error:
        raise UserError(f"{loaded.source.where(('data',))}: data: {error}") from error
    console.print(
        f"  {len(dataset.train)} training and {len(dataset.valid)} validation utterances, "
        f"{dataset.num_features} features, {len(dataset.vocabulary) - 1} labels "
        f"({time.perf_counter() - started:.1f} s)",
        highlight=False,
    )
    for note in dataset.facts.notes:
        console.print(f"  note: {note}", highlight=False, markup=False)
    return dataset


def _load(options: argparse.Namespace) -> LoadedStudy:
    try:
        return load(options.study, options.overrides)
    except SettingError:
        if options.trials is None or options.trials.startswith("+"):
            raise
        # The file's own number of trials may be what is wrong, such as too few for its repeats.
        return load(options.study, [*options.overrides, f"budget.trials={trials_given(options.trials)}"])


def _mirror(options: argparse.Namespace, study: Study, folder_id: str, console: Console) -> "DatabaseMirror | None":
    """What `--storage` asks for; in a dry run it is only checked how that reads."""
    if study.design is not None:
        raise UserError("--storage: a study with a design has no search that could be shown there: leave it out")
    # It takes a second to import.
    from sweep.search.database import DatabaseMirror, address

    url = address(options.storage)
    if options.dry_run:
        return None
    mirror = DatabaseMirror(url, study.name, folder_id, functools.partial(console.print, highlight=False, markup=False))
    console.print(f"  storage: {mirror.where}, study {study.name}", highlight=False, markup=False)
    return mirror


def _tell_of_lock(results_dir: Path, console: Console) -> None:
    if (problem := without_flock(results_dir)) is not None:
        instead = results_dir / HELD_FILE
        note = f"  note: files cannot be locked with flock there ({problem}): {instead} keeps other runs out"
        console.print(note, highlight=False, style="yellow")


def _tell_of_changed_claims(results_dir: Path, console: Console) -> None:
    found = read_study(results_dir)
    for line in exploratory_lines(found.study.claims):
        console.print(f"  {line}", highlight=False)
    if removed := removed_note(found.provenance.claims_withdrawn_after):
        console.print(f"  note: {removed}", highlight=False, style="yellow")
