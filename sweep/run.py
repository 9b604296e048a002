"""python -m sweep.run STUDY.yaml: runs a study, or goes on with it, and writes its report."""

import argparse
import datetime
import importlib.metadata
import os
import platform
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from slr_models.ctc import is_feasible
from slr_models.data.batch import Dataset, Split
from slr_models.errors import UserError
from sweep import runner, store
from sweep.analysis.recipe import recipe
from sweep.analysis.recommend import recommend
from sweep.progress import Terminal
from sweep.report import build_report
from sweep.session import StudySession, with_trials
from sweep.space import corner_settings
from sweep.study import LoadedStudy, Study, load, num_settings
from sweep.train import Training, TrialConfig
from sweep.trial import RunOptions, TrialRunner

EXIT_USER_ERROR = 2
EXIT_INTERRUPTED = 130
DRY_RUN_STEPS = 6


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    options = _parse(arguments)
    console = Console(soft_wrap=True)
    try:
        return _run(options, console)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_USER_ERROR
    except KeyboardInterrupt:
        print("interrupted: nothing of a finished trial is lost; the same command goes on", file=sys.stderr)
        return EXIT_INTERRUPTED


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m sweep.run",
        description="Run a stability study, or go on with one, and write its HTML report.",
    )
    parser.add_argument("study", type=Path, metavar="STUDY.yaml")
    parser.add_argument("--results", type=Path, default=Path("results"), metavar="DIR", help="default: results")
    parser.add_argument("--trials", metavar="N|+N", help="number of trials, or how many more than there are")
    parser.add_argument("--set", dest="overrides", action="append", default=[], metavar="dotted.path=value")
    parser.add_argument("--dry-run", action="store_true", help="print the plan and the expected time, train nothing")
    parser.add_argument("--address", help="of a running Ray cluster; default: start Ray on this machine")
    return parser.parse_args(arguments)


def _run(options: argparse.Namespace, console: Console) -> int:
    loaded = load(options.study, options.overrides)
    results_dir: Path = options.results / loaded.study.name
    if options.trials is not None:
        loaded = LoadedStudy(with_trials(loaded.study, options.trials, _num_explored(results_dir)), loaded.source)
    study = loaded.study
    console.print(f"{study.name}: reading {study.data.kind} data", highlight=False)
    started = time.perf_counter()
    dataset = study.data.build()
    console.print(
        f"  {len(dataset.train)} training and {len(dataset.valid)} validation utterances, "
        f"{dataset.num_features} features, {len(dataset.vocabulary) - 1} labels "
        f"({time.perf_counter() - started:.1f} s)",
        highlight=False,
    )
    run_options = RunOptions(
        results_dir=results_dir.resolve(),
        max_steps=loaded.max_steps(len(dataset.train)),
        metric=study.objective,
        monitor=study.monitor,
        early_stop=study.early_stop,
        checkpoints=study.checkpoints,
        device="cuda" if study.resources.gpus else "cpu",
    )
    if study.resources.gpus and options.address is None and not options.dry_run and not torch.cuda.is_available():
        raise UserError(
            f"resources.gpus is {study.resources.gpus:g}, but torch finds no GPU here: set resources.gpus to 0, "
            f"install a CUDA build of torch, or give --address of a cluster with GPUs"
        )
    checked = _preflight(loaded, dataset, run_options)
    for warning in checked.warnings:
        console.print(f"  note: {warning}", highlight=False, style="yellow")
    if options.dry_run:
        _print_plan(loaded, dataset, run_options, console)
        return 0
    session = StudySession(loaded, results_dir)
    try:
        _write_study(study, results_dir, dataset, checked)
        finished = _sweep(options, session, dataset, run_options, console)
        report = _conclude(session, loaded)
    finally:
        session.close()
    done = len(session.results)
    if not finished:
        console.print(f"interrupted after {done} trials; the same command goes on", highlight=False)
    print(report)
    return 0 if finished else EXIT_INTERRUPTED


def _num_explored(results_dir: Path) -> int:
    if not (results_dir / "trials.parquet").is_file():
        return 0
    trials = store.read_trials(results_dir)
    return int((trials["phase"] == "explore").sum())


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
    console.print("starting Ray", highlight=False)
    with runner.cluster(options.address, resources) as dashboard_url:
        if dashboard_url:
            console.print(f"  dashboard: {dashboard_url}", highlight=False)
        view = Terminal(
            console,
            num_planned=session.num_planned,
            done=session.results,
        )
        with view:
            return runner.run_trials(session, dataset, run_options, resources, view)


@dataclass(frozen=True)
class _Checked:
    """What was found out before the first trial."""

    num_parameters: int
    num_layers: int
    l_const: float
    l_unif: float
    warnings: tuple[str, ...]


def _preflight(loaded: LoadedStudy, dataset: Dataset, options: RunOptions) -> _Checked:
    """Builds the model once and puts one utterance through it, so that mistakes show before any trial starts."""
    config = loaded.trial_config(loaded.first_settings())
    model = config.model.build(dataset.num_features, dataset.groups, len(dataset.vocabulary), 0)
    _check_forward(model, config, dataset)
    if options.device == "cpu":
        for _, settings in corner_settings(loaded.study.space):
            # Raises where a precision needs a GPU.
            loaded.trial_config(settings).training.precision.build(torch.device("cpu"))
    l_const, l_unif = TrialRunner(dataset, options).floors(config)
    warnings = []
    for name, split in (("training", dataset.train), ("validation", dataset.valid)):
        infeasible = _num_infeasible(config, split)
        if infeasible:
            warnings.append(
                f"{infeasible} of {len(split)} {name} targets are longer than CTC can align with the model's "
                f"output: their loss is infinite"
            )
    return _Checked(
        num_parameters=sum(p.numel() for p in model.parameters()),
        num_layers=model.num_layers,
        l_const=l_const,
        l_unif=l_unif,
        warnings=tuple(warnings),
    )


@torch.no_grad()
def _check_forward(model: Any, config: TrialConfig, dataset: Dataset) -> None:
    features = torch.from_numpy(dataset.train.utterance(0).copy())[None]
    lengths = torch.tensor([features.shape[1]])
    model.eval()
    logits = model(features, lengths)
    expected = (1, config.model.output_length(features.shape[1]), len(dataset.vocabulary))
    if tuple(logits.shape) != expected:
        raise UserError(
            f"model: its output has the shape {tuple(logits.shape)}, but (batch, output frames, vocabulary) "
            f"should be {expected}"
        )


def _num_infeasible(config: TrialConfig, split: Split) -> int:
    return sum(
        not is_feasible(config.model.output_length(int(length)), split.target(i).tolist())
        for i, length in enumerate(split.lengths)
    )


def _write_study(study: Study, results_dir: Path, dataset: Dataset, checked: _Checked) -> None:
    facts = dataset.facts
    content = study.model_dump(mode="json", by_alias=True)
    previous = store.read_study(results_dir)["provenance"] if (results_dir / "study.yaml").is_file() else {}
    content["provenance"] = {
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
    store.write_yaml(results_dir / "study.yaml", content)


def _cpu_name() -> str:
    if sys.platform == "linux":
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _conclude(session: StudySession, loaded: LoadedStudy) -> Path:
    """Writes recipe.yaml where there is a recommendation, and the report."""
    results_dir = session.results_dir
    content = store.read_study(results_dir)
    answer = recommend(store.read_trials(results_dir), content["space"], session.study.objective)
    recipe_path = results_dir / "recipe.yaml"
    if answer.chosen is not None:
        config = loaded.trial_config(session.settings(answer.chosen.group.group))
        store.write_yaml(recipe_path, recipe(answer, content, config.model_dump(mode="json", by_alias=True)))
    else:
        recipe_path.unlink(missing_ok=True)
    return build_report(results_dir)


def _print_plan(loaded: LoadedStudy, dataset: Dataset, options: RunOptions, console: Console) -> None:
    study = loaded.study
    explore = num_settings(study) * study.repeats
    confirm = study.confirm.settings * study.confirm.seeds
    torch.set_num_threads(study.resources.cpus)
    config = loaded.trial_config(loaded.first_settings())
    device = torch.device(options.device if torch.cuda.is_available() else "cpu")
    training = Training(config, dataset, seed=study.seed, max_steps=options.max_steps, device=device)
    times = []
    for record in training.records():
        times.append(record.time_s)
        if len(times) == DRY_RUN_STEPS:
            break
    # The first step warms up.
    step_s = sorted(times[1:])[len(times[1:]) // 2] if len(times) > 1 else times[0]
    lanes = max(1, (os.cpu_count() or 1) // study.resources.cpus)
    total_s = (explore + confirm) * options.max_steps * step_s / lanes
    console.print(f"space: {len(study.space)} dimensions, {study.search.kind} search", highlight=False)
    for path, dimension in study.space.items():
        shown = dimension.model_dump(mode="json", by_alias=True, exclude_defaults=True)
        console.print(f"  {path}: {shown}", highlight=False)
    console.print(
        f"trials: {explore} to explore ({num_settings(study)} settings x {study.repeats} seeds), {confirm} to confirm",
        highlight=False,
    )
    console.print(f"steps: up to {options.max_steps} a trial", highlight=False)
    console.print(
        f"expected time: at most {total_s / 60:.0f} min with {lanes} at a time on this machine "
        f"({step_s * 1000:.0f} ms a step of the first setting, measured now; diverged trials end earlier)",
        highlight=False,
    )
    if study.budget.wall_time_s is not None:
        console.print(f"wall time limit: {study.budget.wall_time_s / 60:.0f} min", highlight=False)


if __name__ == "__main__":
    sys.exit(main())
