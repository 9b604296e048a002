"""The command line as a person uses it, with a real Ray: runs, mistakes, kills, continuing, extending."""

import dataclasses
import http.server
import json
import math
import os
import pickle
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
import yaml

from sweep import store
from sweep.boundary.model import MarginModel
from sweep.records import Outcome, TrialResult
from sweep.report import write_report
from sweep.report.contents.view import load_view
from sweep.run import main
from sweep.running.conclusion import conclude, details
from sweep.running.job import Job, Progress, RunOptions
from sweep.running.judged import crashed_result
from sweep.running.session import StudySession
from sweep.running.trial import TrialRunner
from sweep.store.ledger import Ledger
from sweep.study import load, stored

STUDY = """
name: tiny
model: {kind: baseline, width: 0.0625, norm: group}
data: {kind: synthetic, vocabulary_size: 4, num_train: 48, num_valid: 8, frames_per_label: 6, max_labels: 3}
training: {batch_size: 4, eval_every_steps: 15}
space:
  training.precision.kind: {choice: [fp32, fp16]}
  training.optimizer.lr: {loguniform: [1e-3, 100]}
search: {kind: random, seed: 1, try_first: [{training.optimizer.lr: 5e-3, training.precision.kind: fp32}]}
budget: {trials: 4, steps: 60}
confirm: {settings: 1, seeds: 1}
forensics: {trials: 1, replay_steps: 10, learning_replay_steps: 20, repeats: 1}
"""

EXPLORING = ("--set", "confirm.settings=0", "--set", "forensics.trials=0")
"""With nothing after the exploration."""


@pytest.fixture
def study(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(STUDY)
    return path


def command(study: Path, results: Path, *more: str) -> list[str]:
    return [sys.executable, "-m", "sweep.run", str(study), "--results", str(results), *more]


def run(study: Path, results: Path, *more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(study, results, *more), capture_output=True, text=True, timeout=300, env=_usual())


def _usual() -> dict[str, str]:
    """The environment without what the tests set of Ray."""
    return {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}


def test_the_leaders_race_over_the_same_fresh_seeds_and_the_answer_names_the_runner_up(
    study, tmp_path, run_without_ray
) -> None:
    race = "{settings: 1, seeds: 2, max_trainings: 6}"
    study.write_text(STUDY.replace("{settings: 1, seeds: 1}", race).replace("trials: 4", "trials: 5"))
    code, out, err = run_without_ray(study, tmp_path, "--set", "forensics.trials=0")
    assert (code, err) == (0, "")
    folder = tmp_path / "tiny"
    trials = store.read_trials(folder)
    fresh = trials[trials["phase"] == "confirm"]
    seeds = fresh.groupby("group")["seed"].apply(list)
    assert len(seeds) == 2 and 4 <= len(fresh) <= 6, "two leaders"
    assert seeds.iloc[0] == seeds.iloc[1], "pairs"
    assert "Too few trainings for the safety rule" in out and "--trials +" in out
    answer = load_view(folder).recommendation
    assert answer.runner_up and answer.runner_up in out and answer.expected in out
    assert answer.runner_up.split(" (")[0] in (folder / "report.html").read_text()
    code, out, err = run_without_ray(study, tmp_path, "--set", "forensics.trials=0")
    assert code == 0 and "starting Ray" not in out, "it is decided"


def test_a_study_runs_to_its_report_and_can_be_extended(study, tmp_path, run_here, run_without_ray) -> None:
    done = run(study, tmp_path / "results", "--log", "tensorboard")
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "results" / "tiny"
    assert done.stdout.splitlines()[-1] == str(folder / "report.html")
    assert "dashboard: http://127.0.0.1:" in done.stdout
    assert done.stderr == "", "no log spam"
    trials = store.read_trials(folder)
    assert (trials["phase"] == "explore").sum() == 4
    curves = sorted(path.name for path in (folder / "tensorboard").iterdir())
    assert [name.split()[0] for name in curves] == sorted(trials["trial_id"])
    assert curves[0] == "0000 precision=fp32 lr=0.005" and "not all was logged" not in done.stdout
    assert trials["objective"].notna().all()
    for trial_id, steps in zip(trials["trial_id"], trials["num_steps"], strict=True):
        assert len(store.read_steps(folder, trial_id)) == steps
    content = store.read_study(folder)
    assert content["provenance"]["versions"]["torch"] and content["provenance"]["data"]["num_train"] == 48
    assert content["provenance"]["num_lanes"] >= 1
    assert (folder / "report.html").stat().st_size > 100_000
    assert ("<script" in (folder / "report.html").read_text()) and "http://cdn" not in (
        folder / "report.html"
    ).read_text()

    loaded = load(study)
    dataset = loaded.study.data.build()
    alone = TrialRunner(dataset, RunOptions(tmp_path / "alone", "wer", loaded.study.monitor, True, "none"))
    ledger = Ledger(folder)
    ledger.close()
    for ask in ledger.asks[-2:]:
        config = loaded.trial_config(ask.settings)
        trial = alone.start(Job(ask.trial_id, ask.number, ask.group, ask.seed, ask.phase, ask.settings, config, 60))
        while isinstance(trial.advance(), Progress):
            pass
        mine, rays = (store.read_steps(f, ask.trial_id).drop(columns="time_s") for f in (tmp_path / "alone", folder))
        assert mine.equals(rays), "an actor that ran other trials before gives the same curve to the last bit"

    code, out, err = run_here(study, tmp_path / "results")
    assert code == 0 and "starting Ray" not in out, "a finished study is not run again"
    code, out, err = run_here(study, tmp_path / "results", "--trials", "+2", "--jobs", "1")
    assert (code, err) == (0, "")
    trials = store.read_trials(folder)
    assert (trials["phase"] == "explore").sum() == 6
    lines = [json.loads(line) for line in (folder / "ledger.jsonl").read_text().splitlines()]
    asked = [line["trial_id"] for line in lines if line["event"] == "ask"]
    told = [line["trial_id"] for line in lines if line["event"] == "tell"]
    assert len(set(asked)) == len(asked) and sorted(asked) == sorted(told)
    explained = [line["trial_id"] for line in lines if line["event"] == "cause"]
    for trial_id, cause in zip(trials["trial_id"], trials["cause"], strict=True):
        if trial_id in explained:
            found = store.read_explanation(folder, trial_id)
            assert found is not None and found.text == cause
    bad = trials[~trials["stable"]]
    assert len(bad) and (bad["cause"].notna() | ~bad["trial_id"].isin(explained)).all()
    assert len(explained) == len((folder / "evidence" / "replayed.txt").read_text().splitlines()) > 0

    if (folder / "recipe.yaml").is_file():
        recipe = yaml.safe_load((folder / "recipe.yaml").read_text())
        assert "space" not in recipe or not recipe["space"]
        code, out, err = run_without_ray(folder / "recipe.yaml", tmp_path / "again")
        assert (code, err) == (0, "")


def test_a_killed_driver_loses_no_finished_trial_and_the_same_command_goes_on(study, tmp_path, run_here) -> None:
    folder = tmp_path / "results" / "tiny"
    command_line = command(study, tmp_path / "results", *EXPLORING)
    process = subprocess.Popen(command_line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=_usual())
    _wait_for_results(folder, 1, process)
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = _told(folder)
    # The workers of a killed driver may take a moment to go.
    code, _, err = run_here(study, tmp_path / "results", *EXPLORING, "--jobs", "1")
    assert (code, err) == (0, "")
    after = _told(folder)
    assert after[: len(before)] == before, "nothing is lost, nothing is run twice"
    assert len(after) == len(set(after))
    trials = store.read_trials(folder)
    assert (trials["phase"] == "explore").sum() == 4 and trials["trial_id"].is_unique


def ignore_sigint() -> None:
    """As a shell script does for what it starts in the background, and some CI runners for everything."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def heed_sigint() -> None:
    """As for a program that a person starts, wherever the tests run."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.mark.ray
@pytest.mark.parametrize("way", ["Ctrl-C", "SIGTERM in the background"])
def test_an_interrupted_run_keeps_what_is_done_and_reports_it(study, tmp_path, way) -> None:
    folder = tmp_path / "results" / "tiny"
    process = subprocess.Popen(
        command(study, tmp_path / "results", "--trials", "40"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=heed_sigint if way == "Ctrl-C" else ignore_sigint,
        env=_usual(),
    )
    _wait_for_results(folder, 1, process)
    if way == "Ctrl-C":
        os.killpg(process.pid, signal.SIGINT)  # a terminal's reaches the whole process group
    else:
        process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 130, err
    assert "the same command goes on" in out
    assert "Traceback" not in err
    assert out.splitlines()[-1] == str(folder / "report.html")
    assert len(store.read_trials(folder)) == len(_told(folder)) >= 1
    assert (folder / "report.html").is_file()


def _told(folder: Path) -> list[str]:
    lines = [json.loads(line) for line in (folder / "ledger.jsonl").read_bytes().splitlines() if line.endswith(b"}")]
    return [line["trial_id"] for line in lines if line["event"] == "tell"]


def _wait_for_results(folder: Path, number: int, process: subprocess.Popen) -> None:
    deadline = time.monotonic() + 180
    while time.monotonic() < deadline and process.poll() is None:
        if (folder / "ledger.jsonl").is_file() and len(_told(folder)) >= number:
            return
        time.sleep(0.1)
    raise AssertionError(f"no {number} results; the process ended with {process.poll()}")


def made_up(job: Job, folder: Path) -> TrialResult:
    """A training that is stable below a learning rate of 0.1, and better the closer to it."""
    lr = job.settings["training.optimizer.lr"]
    distance = abs(math.log10(lr / 0.1))
    blank = crashed_result(job, RunOptions(folder, "wer", None, True, "none"), "made up")
    stable = {"verdict": Outcome.STABLE, "objective": 0.2 + distance / 10, "margin": -0.01 - distance / 5}
    bad = {"verdict": Outcome.DIVERGED_LOSS, "objective": 2.5, "margin": 0.01 + distance / 5, "stop_step": 5}
    numbers = {"wer": 0.2 + distance / 10, "val_loss": 1.0, "l_const": 2.0, "num_steps": 60, "wall_s": 1.0}
    return dataclasses.replace(blank, **numbers, **(stable if lr < 0.1 else bad))


def finish(session: StudySession, folder: Path, limit: int = 100) -> None:
    while limit and (job := session.next_job()) is not None:
        session.tell(made_up(job, folder))
        limit -= 1


@pytest.mark.slow
def test_a_run_ends_with_the_recommendation_the_map_and_what_matters_in_its_folder(study, tmp_path) -> None:
    loaded = load(study, ["budget.trials=24", "search={kind: random, seed: 1}"])
    folder = tmp_path / "results"
    session = StudySession(loaded, folder, 48)
    content = loaded.study.model_dump(mode="json", by_alias=True)
    store.write_yaml(folder / "study.yaml", {**content, "provenance": {"exploration_ended": "an earlier run's"}})
    finish(session, folder, limit=2)
    early, findings, _ = conclude(session, loaded)
    assert not findings
    assert early.safety is None and not (folder / "edges.parquet").exists() and store.read_importance(folder) == {}
    finish(session, folder)
    answer, *_ = conclude(session, loaded)
    session.close()
    assert answer.status == "confirmed" and answer.safety.meets and answer.safety.p_stable >= 0.95
    assert list(details(session, answer))[0].startswith("Safety rule met: P(breaking) is")
    assert "Margin: " in list(details(session, answer))[0]
    assert "exploration_ended" not in store.read_study(folder)["provenance"]
    recipe = yaml.safe_load((folder / "recipe.yaml").read_text())
    lr = recipe["training"]["optimizer"]["lr"]
    assert lr == session.settings(answer.chosen.group.group)["training.optimizer.lr"]
    assert repr(lr) in (folder / "recipe.py").read_text()
    compile((folder / "recipe.py").read_text(), "recipe.py", "exec")
    edges = pd.read_parquet(folder / "edges.parquet")
    assert (edges["along"] == "training.optimizer.lr").all()
    # The made-up edge lies at 0.1 of five decades; two dozen trials tell that of either precision within one.
    found = edges["value"].dropna()
    assert len(found) and found.between(0.01, 1).all() and edges["side"].dropna().eq("hot").all()
    grid = pd.read_parquet(folder / "stability_map.parquet")
    assert {"level", "training.optimizer.lr", "p_stable"} <= set(grid) and grid["p_stable"].between(0, 1).all()
    shares = store.read_importance(folder)
    assert shares["margin"]["training.optimizer.lr"] > 0.8
    load(folder / "recipe.yaml")


@pytest.mark.slow
def test_the_end_of_a_run_fits_the_model_of_the_boundary_once(study, tmp_path, monkeypatch) -> None:
    loaded = load(study, ["budget.trials=24", "search={kind: random, seed: 1}"])
    folder = tmp_path / "results"
    session = StudySession(loaded, folder, 48)
    store.write_yaml(folder / "study.yaml", {**loaded.study.model_dump(mode="json", by_alias=True), "provenance": {}})
    finish(session, folder)
    fitted, made = [], MarginModel.__init__

    def noted(self, encoding, settings, margins, **more) -> None:
        fitted.append((list(settings), tuple(margins)))
        made(self, encoding, settings, margins, **more)

    monkeypatch.setattr(MarginModel, "__init__", noted)
    answer, _, view = conclude(session, loaded)
    write_report(view)
    session.close()
    assert answer.safety is not None and (folder / "edges.parquet").is_file()
    whole = load_view(folder).evidence.settings
    of_all = [margins for settings, margins in fitted if settings == whole]
    assert 1 <= len(of_all) == len(set(of_all)) <= 2, "of the boundary and of breaking; all others leave settings out"


@pytest.mark.slow
def test_a_recipe_of_a_study_with_a_full_size_can_be_trained(study, tmp_path) -> None:
    space = "space={model.width: {grid: [0.0625, 0.125, 0.1875]}, training.optimizer.lr: {loguniform: [1e-3, 10]}}"
    full = "full_size={path: model.width, target: 0.25, trainings: 2}"
    changes = ["budget.trials=14", "search={kind: random, seed: 1}", space, full]
    loaded = load(study, changes)
    folder = tmp_path / "results"
    session = StudySession(loaded, folder, 48)
    content = loaded.study.model_dump(mode="json", by_alias=True)
    store.write_yaml(folder / "study.yaml", {**content, "provenance": {}})
    finish(session, folder)
    answer, *_ = conclude(session, loaded)
    told = [line for line in details(session, answer) if "full size" in line]
    session.close()
    below, above = told
    assert "below the predicted edge" in below and "width=0.25" in below and ": stable, WER" in below
    assert "above the predicted edge" in above and "diverged-loss" in above
    assert pd.read_parquet(folder / "edges.parquet")["model.width"].max() < 0.2, "the map is that of the space"
    load(folder / "recipe.yaml")
    elsewhere = StudySession(load(study, [*changes, "full_size.target=0.5"]), folder, 48)
    assert not any("full size" in line for line in details(elsewhere, answer)), "those were tests of another size"
    elsewhere.close()


def test_a_number_of_trials_mends_a_file_that_has_too_few(study, tmp_path, capsys) -> None:
    few = [str(study), "--results", str(tmp_path / "r"), "--set", "repeats=6", "--dry-run"]
    assert main(few) == 2 and "too few for one setting with repeats: 6" in capsys.readouterr().err
    assert main([*few, "--trials", "12"]) == 0 and "12 to explore: 2 settings x 6 seeds" in capsys.readouterr().out
    assert main([*few, "--trials", "12", "--set", "model.widht=1"]) == 2 and "widht" in capsys.readouterr().err


@pytest.mark.slow
def test_more_trials_than_the_search_wants_are_told_of(study, tmp_path, capsys) -> None:
    changes = ["budget.trials=20", "search={kind: stability, mode: map, num_startup: 10, stop_accuracy: 0.5}"]
    folder = tmp_path / "results" / "tiny"
    loaded = load(study, changes)
    session = StudySession(loaded, folder, 48)
    content = loaded.study.model_dump(mode="json", by_alias=True)
    store.write_yaml(folder / "study.yaml", {**content, "provenance": {}})
    finish(session, folder)
    session.close()
    explored = sum(result.phase == "explore" for result in session.results)
    assert explored < 20
    arguments = [str(study), "--results", str(tmp_path / "results")]
    arguments += [part for change in changes for part in ("--set", change)]
    assert main([*arguments, "--trials", "+5"]) == 0
    out = capsys.readouterr().out
    assert f"--trials +5 added nothing to the {explored} trials of the exploration" in out and "stop_accuracy" in out
    assert main(arguments) == 0
    assert "added nothing" not in capsys.readouterr().out, "nobody asked for more"


def test_a_dry_run_prints_the_plan_and_writes_nothing(study, tmp_path, capsys) -> None:
    assert main([str(study), "--results", str(tmp_path / "results"), "--dry-run"]) == 0
    out = capsys.readouterr().out
    for part in (
        "4 to explore: 4 settings x 1 seeds, about",
        "2 to confirm: the best setting and the recommended one x 1 fresh seeds, about",
        "up to 60 a trial",
        "expected time",
        "ms a step",
        "% of its time; measured now",
        "loguniform",
        "10% run on",
        "causes: one bad trial is explained by replays of up to",
        "with all replays, with",
    ):
        assert part in out
    assert not (tmp_path / "results").exists()


@pytest.mark.ray
def test_a_run_on_one_core_trains_one_at_a_time(study, tmp_path, capsys) -> None:
    allowed = os.sched_getaffinity(0)
    if len(allowed) < 2 or not hasattr(os, "sched_setaffinity"):
        pytest.skip("one core alone is here")
    os.sched_setaffinity(0, {min(allowed)})
    try:
        done = run(study, tmp_path / "results", "--trials", "3", *EXPLORING)
        assert main([str(study), "--results", str(tmp_path / "results"), "--dry-run", "--jobs", "2", *EXPLORING]) == 0
    finally:
        os.sched_setaffinity(0, allowed)
    assert (done.returncode, done.stderr) == (0, "")
    why = f"1 of {os.cpu_count()} cores: CPU affinity"
    assert f"\n  1 trial at a time: {why}\n" in done.stdout
    made = store.read_study(tmp_path / "results" / "tiny")["provenance"]
    assert made["num_lanes"] == 1 and (made["host"]["cores"], made["host"]["cores_limited"]) == (1, why)
    assert most_at_once(tmp_path / "results" / "tiny") == 1
    planned = capsys.readouterr().out
    assert f"\n1 trial at a time, fewer than the 2 allowed: {why}\n" in planned
    assert "with 1 at a time on this machine" in planned


def test_jobs_limit_how_many_run_at_once_for_one_run(study, tmp_path, run_here) -> None:
    few = [*EXPLORING, "--set", "budget.steps=20", "--set", "resources.max_parallel=9"]
    code, out, err = run_here(study, tmp_path / "results", *few, "--trials", "3", "--jobs", "1")
    assert (code, err) == (0, "") and "\n  1 trial at a time, as limited; " in out
    folder = tmp_path / "results" / "tiny"
    assert store.read_study(folder)["provenance"]["num_lanes"] == 1 and most_at_once(folder) == 1
    code, out, err = run_here(study, tmp_path / "results", *few, "--trials", "+1")
    assert (code, err) == (0, "") and " at a time, fewer than the 9 allowed: " in out


def most_at_once(folder: Path) -> int:
    """The most trainings that were asked for, and not told of yet."""
    running, most = set(), 0
    for line in (folder / "ledger.jsonl").read_text().splitlines():
        event = json.loads(line)
        if event["event"] == "ask":
            running.add(event["trial_id"])
        elif event["event"] == "tell":
            running.discard(event["trial_id"])
        most = max(most, len(running))
    return most


@pytest.mark.parametrize("given", ["0", "-1", "x", "1.5", "", "1e3", "100001", "9" * 5000])
def test_a_number_of_jobs_that_is_none_is_told_in_one_line(study, tmp_path, capsys, given: str) -> None:
    assert main([str(study), "--results", str(tmp_path / "results"), f"--jobs={given}"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: --jobs ") and line.endswith("such as 2") and len(line) < 200


def test_a_dry_run_refuses_what_the_run_would_refuse(study, tmp_path, capsys) -> None:
    folder = tmp_path / "results" / "tiny"
    loaded = load(study)
    StudySession(loaded, folder, 48).close()
    store.write_yaml(folder / "study.yaml", {**stored(loaded.study), "provenance": {}})
    files = {path: path.read_bytes() for path in folder.iterdir()}
    told = []
    for more in ([], ["--dry-run"]):
        assert main([str(study), "--results", str(tmp_path / "results"), "--set", "budget.steps=61", *more]) == 2
        told.append(capsys.readouterr().err)
    assert told[0] == told[1] and "another version of this study (changed: budget)" in told[0]
    assert {path: path.read_bytes() for path in folder.iterdir()} == files


def test_a_dry_run_times_what_is_tested_at_full_size(study, tmp_path, capsys) -> None:
    space = "space={model.width: {grid: [0.0625, 0.125, 0.1875]}, training.optimizer.lr: {loguniform: [1e-3, 1]}}"
    full = "full_size={path: model.width, target: 0.25, trainings: 2}"
    arguments = ["--set", space, "--set", "search={kind: random}", "--set", full, "--dry-run"]
    assert main([str(study), "--results", str(tmp_path / "results"), *arguments]) == 0
    assert "2 at full size: model.width 0.25, about" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("kind: baseline", "kind: basline"), "model.kind is 'basline'"),
        (("trials: 4", "trials: 0"), "budget.trials"),
        (("name: tiny", "nam: tiny"), "nam is not a setting"),
        (("kind: synthetic,", "kind: landmarks, path: /no/such/folder,"), "error"),
    ],
)
def test_a_mistake_is_one_clear_error_and_leaves_nothing_behind(study, tmp_path, capsys, change, message) -> None:
    study.write_text(STUDY.replace(*change))
    assert main([str(study), "--results", str(tmp_path / "results")]) == 2
    err = capsys.readouterr().err
    assert message in err and err.startswith("error: ") and "Traceback" not in err
    assert not (tmp_path / "results").exists()


def test_a_model_that_does_not_fit_is_found_before_any_trial(study, tmp_path, capsys) -> None:
    study.write_text(
        STUDY.replace(
            "model: {kind: baseline, width: 0.0625, norm: group}",
            "model: {kind: custom, factory: 'os:getcwd', output_stride: 4}",
        )
    )
    assert main([str(study), "--results", str(tmp_path / "results")]) == 2
    assert "os:getcwd" in capsys.readouterr().err
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("training.schedule.warmup_steps=500", "warmup_steps"),
        ("space.training.schedule.warmup_steps={int: [0, 500]}", "warmup_steps"),
        ("training.precision={kind: tf32}", "GPU"),
        ("resources.gpus=1", "torch finds no GPU"),
        ("resources.gpus=auto", "resources.gpus is auto, but torch finds no GPU"),
        ("resources.gpus=2", "resources.gpus is 2, but a training of model.kind baseline uses one GPU"),
        ("resources.gpus=1.5", "resources.gpus: 1.5 GPUs cannot be had"),
        ("resources.cpus=5000", "resources.cpus is 5000, but"),
        ("data.infeasible_rate=1.0", "no training target can be aligned by CTC"),
    ],
)
def test_what_only_shows_when_it_is_built_is_found_before_any_trial(study, tmp_path, capsys, override, message) -> None:
    if torch.cuda.is_available():
        pytest.skip("these are the mistakes of a machine without a GPU")
    extra = [] if "precision" not in override else ["--set", "space={training.optimizer.lr: {loguniform: [1e-3, 1]}}"]
    extra += ["--set", "search={kind: random}"]
    assert main([str(study), "--results", str(tmp_path / "results"), "--set", override, *extra]) == 2
    err = capsys.readouterr().err
    assert message in err and "Traceback" not in err
    assert not (tmp_path / "results").exists()


def test_a_machine_where_ray_does_not_start_is_no_mistake_of_the_user(study, tmp_path, capsys, monkeypatch) -> None:
    monkeypatch.setenv("RAY_TMPDIR", str(study))  # a file, where Ray wants a folder
    assert main([str(study), "--results", str(tmp_path / "r")]) == 3
    err = capsys.readouterr().err
    assert err.startswith("error: Ray could not be started on this machine ([Errno 20] Not a directory")
    assert "The same command tries again" in err


def test_a_ray_client_address_is_refused(study, tmp_path, capsys) -> None:
    assert main([str(study), "--results", str(tmp_path / "results"), "--address", "ray://127.0.0.1:1"]) == 2
    assert "Ray Client" in capsys.readouterr().err


def test_an_address_where_nobody_listens_is_one_line_and_no_wait(study, tmp_path, capfd) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    assert main([str(study), "--results", str(tmp_path / "results"), "--address", f"127.0.0.1:{port}"]) == 2
    out, err = capfd.readouterr()
    assert out.splitlines()[-1] == "starting Ray"
    assert err.startswith(f"error: --address 127.0.0.1:{port}: no Ray cluster answers there") and err.count("\n") == 1


def test_a_grid_that_the_budget_cuts_off_is_told(study, tmp_path, capsys) -> None:
    grid = "space={training.optimizer.lr: {grid: [1, 2, 3, 4, 5, 6]}}"
    arguments = ["--set", grid, "--set", "search={kind: grid}", "--dry-run"]
    assert main([str(study), "--results", str(tmp_path / "results"), *arguments]) == 0
    assert "the grid has 6 settings, and budget.trials lets only the first 4 run" in capsys.readouterr().out


def test_a_model_whose_forward_fails_is_one_clear_error(study, tmp_path, capsys, monkeypatch) -> None:
    (tmp_path / "failing_model.py").write_text(
        "from slr_models.models import CtcModel\n"
        "class M(CtcModel):\n"
        "    def output_lengths(self, lengths_B):\n        return (lengths_B + 3) // 4\n"
        "    def forward(self, features_BTF, lengths_B):\n        raise RuntimeError('my bug')\n"
        "def build(num_features, groups, vocabulary_size):\n    return M()\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    model = "model={kind: custom, factory: 'failing_model:build', output_stride: 4}"
    assert main([str(study), "--results", str(tmp_path / "results"), "--set", model]) == 2
    err = capsys.readouterr().err
    assert "RuntimeError: my bug" in err and "failing_model.py:6" in err and "Traceback" not in err


def test_a_folder_that_is_not_ours_is_left_alone(study, tmp_path, capsys) -> None:
    folder = tmp_path / "results" / "tiny"
    folder.mkdir(parents=True)
    pd.DataFrame({"a": [1]}).to_csv(folder / "mine.csv")
    assert main([str(study), "--results", str(tmp_path / "results")]) == 2
    assert "holds no study" in capsys.readouterr().err
    assert [p.name for p in folder.iterdir()] == ["mine.csv"]


def test_ray_reads_no_pickle_that_lies_in_its_folder(study, tmp_path, run_here) -> None:
    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(tmp_path / "mark"),)

    of_ray = tmp_path / "results" / "tiny" / "ray"
    (of_ray / "0000").mkdir(parents=True)
    (of_ray.parent / "ledger.jsonl").touch()
    names = ("tuner.pkl", "trainable.pkl", "searcher-state.pkl", "search_gen_state.json", "experiment_state-1.json")
    for name in (*names, ".validate_storage_marker", "0000/params.pkl", "0000/result.json", "0000/.metadata.pkl"):
        (of_ray / name).write_bytes(pickle.dumps(Evil()))
    less = ("--trials", "1", "--set", "budget.steps=20", *EXPLORING)
    code, _, err = run_here(study, tmp_path / "results", *less)
    assert (code, err) == (0, "") and len(store.read_trials(of_ray.parent)) == 1
    assert not (tmp_path / "mark").exists()


@pytest.mark.ray
def test_passwords_stand_in_no_file_of_the_results_or_of_ray(study, tmp_path) -> None:
    """The server of MLflow and of messages closes the connection; Weights & Biases writes to files."""
    pytest.importorskip("mlflow")
    pytest.importorskip("wandb")
    password, key, token = "s3cret-w0rd", "0123456789abcdef" * 2 + "01234567", "t0ken-of-r4y-" * 3
    hook = "h00k-of-sl4ck"
    with (
        tempfile.TemporaryDirectory(prefix="ray") as of_ray,
        http.server.HTTPServer(("127.0.0.1", 0), _Mlflow) as server,
    ):
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        environment = {
            **_usual(),
            "RAY_TMPDIR": of_ray,
            "RAY_AUTH_TOKEN": token,
            "WANDB_API_KEY": key,
            # The key goes to the process that logs all the same.
            "WANDB_MODE": "offline",
            "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
            "HTTPS_PROXY": f"http://me:{password}@127.0.0.1:9",
        }
        loggers = ["--log", f"mlflow=http://me:{password}@127.0.0.1:{server.server_port}", "--log", "wandb"]
        loggers += ["--notify", f"slack+http://127.0.0.1:{server.server_port}/{hook}"]
        less = ["--set", "budget.trials=1", "--set", "budget.steps=20", *EXPLORING]
        secrets = {secret.encode() for secret in (password, key, token, hook)}
        run_it = command(study, tmp_path / "results", *loggers, *less)
        pipe = subprocess.PIPE
        seen: set[str] = set()
        holding: set[Path] = set()
        with subprocess.Popen(
            run_it, stdout=pipe, stderr=subprocess.STDOUT, text=True, env=environment, cwd=tmp_path
        ) as ran:
            # Ray's folder goes with the run, so it is looked through as long as that lasts.
            while ran.poll() is None:
                _look_through(Path(of_ray), secrets, seen, holding)
                time.sleep(0.5)
            said = ran.stdout.read() if ran.stdout else ""
        server.shutdown()
        assert ran.returncode == 0 and "note: not all was logged to MLflow" in said, said
        assert said.count("note: --notify: a message was not delivered") == 1, said
        _look_through(tmp_path, secrets, seen, holding)
        assert {"runtime_env_agent.log", "raylet.out", "study.yaml", "ledger.jsonl", "report.html"} <= seen
        assert not holding and not [secret for secret in secrets if secret.decode() in said]


def _look_through(folder: Path, secrets: set[bytes], seen: set[str], holding: set[Path]) -> None:
    """Notes the names of all files, and which of them hold a secret."""
    # Unlike `rglob`, it passes over folders that are taken away meanwhile.
    for path in (Path(place, name) for place, _, names in os.walk(folder) for name in names):
        try:
            content = path.read_bytes() if path.is_file() else b""
        except OSError:
            # It is gone by now.
            continue
        seen.add(path.name)
        if any(secret in content for secret in secrets):
            holding.add(path)


class _Mlflow(http.server.BaseHTTPRequestHandler):
    """Knows every experiment, and takes no run."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'{"experiment": {"experiment_id": "1", "name": "tiny", "lifecycle_stage": "active"}}')

    def do_POST(self) -> None:
        self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing."""
