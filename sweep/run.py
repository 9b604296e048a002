"""python -m sweep.run STUDY.yaml: runs a study, or goes on with it, and writes its report."""

import argparse
import datetime
import functools
import importlib.metadata
import math
import os
import platform
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from rich.console import Console

from slr_models.data.batch import Dataset
from slr_models.errors import SettingError, UserError
from sweep import runner, store
from sweep.analysis.claims.stated import WITHDRAWN_KEY, exploratory_lines, removed_note
from sweep.analysis.claims.verdict import Finding, judge, to_json
from sweep.analysis.dimensions import dimensions, panel_dimension
from sweep.analysis.recipe import recipe
from sweep.analysis.recommend import Recommendation, recommend
from sweep.analysis.region import fit_margin, region, region_tables
from sweep.analysis.snippet import snippet
from sweep.analysis.tried import of_space
from sweep.command_line import add_study, tell_user_error
from sweep.course import is_full_size_test
from sweep.design import cells
from sweep.ledger import EXPLORE_PHASE
from sweep.loggers import check_loggers, open_loggers
from sweep.metrics import Metrics
from sweep.preflight import Checked, hopeless, plan, preflight
from sweep.progress import Terminal, settings_line
from sweep.report import build_report
from sweep.report.claims import headline, terminal_lines
from sweep.search import StabilitySearch
from sweep.session import StudySession, check_same_study, with_trials
from sweep.study import LoadedStudy, Study, load, stored
from sweep.trial import RunOptions
from sweep.views import Views

EXIT_NOT_STARTED = 1
EXIT_INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    options = _parse(arguments)
    console = Console(soft_wrap=True)
    try:
        return _run(options, console)
    except UserError as error:
        return tell_user_error(error)
    except runner.NotStartedError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_NOT_STARTED
    except KeyboardInterrupt:
        print("interrupted: nothing of a finished trial is lost; the same command goes on", file=sys.stderr)
        return EXIT_INTERRUPTED


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m sweep.run",
        description="Run a stability study, or go on with one, and write its HTML report.",
    )
    add_study(parser)
    parser.add_argument("--results", type=Path, default=Path("results"), metavar="DIR", help="default: results")
    parser.add_argument("--trials", metavar="N|+N", help="number of trials, or how many more than there are")
    parser.add_argument("--dry-run", action="store_true", help="print the plan and the expected time, train nothing")
    parser.add_argument(
        "--log",
        dest="loggers",
        action="append",
        default=[],
        metavar="LOGGER",
        help="also log every trial to tensorboard, mlflow[=URI] or wandb[=PROJECT]; may be given several times",
    )
    parser.add_argument("--address", help="of a running Ray cluster; default: start Ray on this machine")
    return parser.parse_args(arguments)


def _run(options: argparse.Namespace, console: Console) -> int:
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
        return 0
    for line in hopeless(study):
        console.print(f"  warning: {line}", highlight=False, style="yellow")
    session = StudySession(loaded, results_dir, len(dataset.train))
    before = _num_explored(session)
    try:
        _write_study(session, dataset, checked)
        _tell_of_changed_claims(results_dir, console)
        finished = _sweep(options, session, dataset, run_options, console)
        answer, findings = conclude(session, loaded)
        report = build_report(results_dir)
    finally:
        session.close()
    done = len(session.results)
    if not finished:
        console.print(f"interrupted after {done} trials; the same command goes on", highlight=False)
    console.print(answer.headline if recommends(study) else headline(findings), highlight=False, style="bold")
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
    return 0 if finished else EXIT_INTERRUPTED


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
    return sum(result.phase == EXPLORE_PHASE for result in session.results)


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
        _note_lanes(session.results_dir, cluster.num_lanes)
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
    content = store.read_study(results_dir)
    for line in exploratory_lines(content):
        console.print(f"  {line}", highlight=False)
    if removed := removed_note(content):
        console.print(f"  note: {removed}", highlight=False, style="yellow")


def _write_study(session: StudySession, dataset: Dataset, checked: Checked) -> None:
    facts, results_dir = dataset.facts, session.results_dir
    content = stored(session.study)
    previous = store.read_study(results_dir)["provenance"] if (results_dir / "study.yaml").is_file() else {}
    content["provenance"] = {
        "num_lanes": previous.get("num_lanes"),
        "started_at": previous.get("started_at") or datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "versions": {
            "python": platform.python_version(),
            **{
                name: importlib.metadata.version(name)
                for name in ("slr-stability-sweep", "torch", "ray", "optuna", "numpy", "pandas", "plotly")
            },
        },
        "host": {
            "platform": platform.platform(),
            "cpu": _cpu_name(),
            "cores": os.cpu_count(),
            "gpu": torch.cuda.get_device_name(0) if torch.cuda.is_available() else None,
        },
        "data": {
            "source": facts.source,
            "valid_measures": facts.valid_measures,
            "frame_rate_hz": facts.frame_rate_hz,
            "exclusions": dict(facts.exclusions),
            "notes": [*facts.notes, *checked.warnings],
            "num_train": len(dataset.train),
            "num_valid": len(dataset.valid),
            "vocabulary_size": len(dataset.vocabulary),
            "num_features": dataset.num_features,
        },
        "model": {"num_parameters": checked.num_parameters, "num_layers": checked.num_layers},
        "l_const": checked.l_const,
        "l_unif": checked.l_unif,
    }
    if session.claims_withdrawn_after:
        content["provenance"][WITHDRAWN_KEY] = session.claims_withdrawn_after
    store.write_yaml(results_dir / "study.yaml", content)


def _note_lanes(results_dir: Path, num_lanes: int) -> None:
    """How many trainings can run at once is known only where Ray runs."""
    content = store.read_study(results_dir)
    content["provenance"]["num_lanes"] = num_lanes
    store.write_yaml(results_dir / "study.yaml", content)


def _cpu_name() -> str:
    if sys.platform == "linux":
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _search(study: Study) -> str:
    """What leads the exploration, for a person: `stability search, balanced mode`."""
    if study.design is not None:
        return f"{study.design.kind} design, {study.design.blocks} blocks x {len(cells(study.design))} cells"
    mode = f", {study.search.mode} mode" if isinstance(study.search, StabilitySearch) else ""
    return f"{study.search.kind} search{mode}"


def conclude(session: StudySession, loaded: LoadedStudy) -> tuple[Recommendation, list[Finding]]:
    """Writes what follows from the finished trials, besides the report; returns it, and what became of the claims."""
    results_dir, study = session.results_dir, session.study
    session.write_trials()
    content = store.read_study(results_dir)
    content["provenance"].pop("exploration_ended", None)
    if session.stop_reason is not None:
        content["provenance"]["exploration_ended"] = session.stop_reason
    store.write_yaml(results_dir / "study.yaml", content)
    trials = store.read_trials(results_dir)
    safety = (study.safety.lr_factor, study.safety.p_stable)
    answer = recommend(trials, content["space"], study.objective, safety=safety)
    recipe_path, snippet_path = results_dir / "recipe.yaml", results_dir / "recipe.py"
    # A design without a confirmation compares; what it would recommend, nobody has tried with fresh seeds.
    if answer.chosen is not None and recommends(study):
        config = loaded.trial_config(session.settings(answer.chosen.group.group)).model_dump(mode="json", by_alias=True)
        store.write_yaml(recipe_path, recipe(answer, content, config))
        store.write_text(snippet_path, snippet(config["training"], config["model"]))
    else:
        recipe_path.unlink(missing_ok=True)
        snippet_path.unlink(missing_ok=True)
    _write_map(results_dir, trials, content["space"])
    store.write_importance(results_dir, session.importances())
    findings = judge(trials, content, functools.partial(store.read_evals, results_dir))
    if study.design is not None:
        store.write_claims(results_dir, to_json(findings))
    return answer, findings


def _write_map(results_dir: Path, trials: pd.DataFrame, space: Mapping[str, Any]) -> None:
    model = fit_margin(trials, space)
    if isinstance(model, str):
        store.remove_map(results_dir)
        return
    known = of_space(trials)
    dims = dimensions(space, known)
    store.write_map(results_dir, *region_tables(region(model, known, dims, panel_dimension(dims))))


def recommends(study: Study) -> bool:
    """Whether the answer is a setting to use: of a design, only where settings are confirmed; else it is the claims."""
    return study.design is None or study.confirm.settings > 0


def details(session: StudySession, answer: Recommendation, findings: Sequence[Finding] = ()) -> Iterator[str]:
    """What a person should know of the answer besides its headline: the claims, a line each, among it."""
    if session.stop_reason is not None:
        yield f"The {'exploration' if session.study.design is None else 'study'} ended early: {session.stop_reason}."
    if findings and recommends(session.study):
        yield headline(findings)
    yield from terminal_lines(findings)
    if answer.safety is not None and recommends(session.study):
        margin = answer.safety.margin_decades
        yield answer.safety.why + (f" Margin: {margin:.2f} decades." if math.isfinite(margin) else "")
    if session.full_size_problem is not None:
        yield f"Nothing was tested at full size: {session.full_size_problem}"
    full_size = session.study.full_size
    tests = sorted((r for r in session.results if is_full_size_test(full_size, r)), key=lambda r: r.number)
    for test in tests:
        where = "below" if test.group == tests[0].group else "above"
        outcome = f"stable, WER {test.wer:.2f}" if test.stable else f"{test.verdict.value}: {test.reason}"
        trial = f"trial {test.trial_id} {settings_line(test.settings)}"
        yield f"At full size, {where} the predicted edge, {trial}: {outcome}"


if __name__ == "__main__":
    sys.exit(main())
