"""From the parsed command line of a run to its report."""

import argparse
import functools
import os
import time
from pathlib import Path

import torch
from rich.console import Console

from slr_models.data.batch import Dataset
from slr_models.errors import SettingError, UserError
from sweep.analysis.claims.stated import exploratory_lines, removed_note
from sweep.command_line import EXIT_DONE, EXIT_INTERRUPTED
from sweep.live.loggers import check_loggers, open_loggers
from sweep.live.metrics import Metrics
from sweep.live.terminal import Terminal
from sweep.live.views import Views
from sweep.records import Phase
from sweep.report import build_report
from sweep.report.sections.claims import headline
from sweep.running import runner
from sweep.running.conclusion import conclude, details
from sweep.running.continuing import check_same_study, with_trials
from sweep.running.job import RunOptions
from sweep.running.plan import hopeless, plan
from sweep.running.preflight import preflight
from sweep.running.provenance import note_lanes, write_study
from sweep.running.session import StudySession
from sweep.search import StabilitySearch
from sweep.study import LoadedStudy, Study, load, read_study
from sweep.study.design import cells


def run(options: argparse.Namespace, console: Console) -> int:
    """Runs a study as `sweep.run.command` was told to; returns the exit code.

    Raises:
        UserError: a mistake in what the user gave.
        MachineError: Ray does not start on this machine.
        OSError: results cannot be written.
    """
    check_loggers(options.loggers)
    loaded = _load(options)
    results_dir: Path = options.results / loaded.study.name
    loaded = LoadedStudy(with_trials(loaded.study, options.trials, results_dir), loaded.source)
    study = loaded.study
    console.print(f"{study.name}: reading {study.data.kind} data", highlight=False)
    started = time.perf_counter()
    try:
        dataset = study.data.build()
    except UserError as error:
        raise UserError(f"{loaded.source.where(('data',))}: data: {error}") from error
    console.print(
        f"  {len(dataset.train)} training and {len(dataset.valid)} validation utterances, "
        f"{dataset.num_features} features, {len(dataset.vocabulary) - 1} labels "
        f"({time.perf_counter() - started:.1f} s)",
        highlight=False,
    )
    run_options = RunOptions(
        results_dir=results_dir.resolve(),
        metric=study.objective,
        monitor=study.monitor,
        early_stop=study.early_stop,
        checkpoints=study.checkpoints,
        forensics=study.forensics,
        device="cuda" if study.resources.gpus else "cpu",
    )
    if study.resources.gpus and options.address is None and not options.dry_run and not torch.cuda.is_available():
        raise UserError(
            f"resources.gpus is {study.resources.gpus:g}, but torch finds no GPU here: set resources.gpus to 0, "
            f"install a CUDA build of torch, or give --address of a cluster with GPUs"
        )
    cores = os.cpu_count() or 1
    if study.resources.cpus > cores and options.address is None:
        raise UserError(f"resources.cpus is {study.resources.cpus}, but this machine has {cores} cores: ask for less")
    checked = preflight(loaded, dataset, run_options)
    for warning in checked.warnings:
        console.print(f"  note: {warning}", highlight=False, style="yellow")
    if options.dry_run:
        check_same_study(results_dir, study)
        for line in plan(loaded, dataset, run_options):
            console.print(line, highlight=False)
        return EXIT_DONE
    for line in hopeless(study):
        console.print(f"  warning: {line}", highlight=False, style="yellow")
    session = StudySession(loaded, results_dir, len(dataset.train))
    before = _num_explored(session)
    try:
        write_study(session, dataset, checked)
        _tell_of_changed_claims(results_dir, console)
        finished = _sweep(options, session, dataset, run_options, console)
        answer, findings = conclude(session, loaded)
        report = build_report(results_dir)
    finally:
        session.close()
    done = len(session.results)
    if not finished:
        console.print(f"interrupted after {done} trials; the same command goes on", highlight=False)
    console.print(answer.headline if study.recommends else headline(findings), highlight=False, style="bold")
    for line in details(session, answer, findings):
        console.print(f"  {line}", highlight=False)
    if options.trials is not None and session.search_has_ended and _num_explored(session) == before:
        console.print(
            f"  note: --trials {options.trials} added nothing to the {before} trials of the exploration, which the "
            f"search has ended: lower search.stop_width to go on (0: it never ends by itself)",
            highlight=False,
            style="yellow",
        )
    print(report)
    return EXIT_DONE if finished else EXIT_INTERRUPTED


def _load(options: argparse.Namespace) -> LoadedStudy:
    try:
        return load(options.study, options.overrides)
    except SettingError:
        trials = options.trials or ""
        if not (trials.isascii() and trials.isdecimal() and int(trials)):
            raise
        # The file's own number of trials may be what is wrong, such as too few for its repeats.
        return load(options.study, [*options.overrides, f"budget.trials={trials}"])


def _num_explored(session: StudySession) -> int:
    return sum(result.phase == Phase.EXPLORE for result in session.results)


def _sweep(
    options: argparse.Namespace,
    session: StudySession,
    dataset: Dataset,
    run_options: RunOptions,
    console: Console,
) -> bool:
    resources = session.study.resources
    if session.results:
        console.print(f"  going on: {len(session.results)} trials are done", highlight=False)
    if session.done:
        return True
    study = session.study
    loggers = open_loggers(options.loggers, study.name, session.results_dir)
    console.print("starting Ray", highlight=False)
    with runner.cluster(options.address, resources) as cluster:
        note_lanes(session.results_dir, cluster.num_lanes)
        if cluster.dashboard_url:
            console.print(f"  dashboard: {cluster.dashboard_url}", highlight=False)
        drawn = None if study.design is None else study.space.keys()
        terminal = Terminal(console, course=session, search=_search(study), done=session.results, drawn=drawn)
        metrics = Metrics(study.name, session, session.results)
        view = Views(terminal, [metrics, *loggers], functools.partial(console.print, highlight=False))
        try:
            with terminal:
                return runner.run_trials(session, dataset, run_options, cluster.num_lanes, view)
        finally:
            for logger in loggers:
                logger.close()
                if logger.problem is not None:
                    note = f"  note: not all was logged to {logger.name}: {logger.problem}"
                    console.print(note, highlight=False, style="yellow")


def _tell_of_changed_claims(results_dir: Path, console: Console) -> None:
    found = read_study(results_dir)
    for line in exploratory_lines(found.study.claims):
        console.print(f"  {line}", highlight=False)
    if removed := removed_note(found.provenance.claims_withdrawn_after):
        console.print(f"  note: {removed}", highlight=False, style="yellow")


def _search(study: Study) -> str:
    """What leads the exploration, for a person: `stability search, balanced mode`."""
    if study.design is not None:
        return f"{study.design.kind} design, {study.design.blocks} blocks x {len(cells(study.design))} cells"
    mode = f", {study.search.mode} mode" if isinstance(study.search, StabilitySearch) else ""
    return f"{study.search.kind} search{mode}"
