"""What Ray's handle on a trial does, and schedulers on real Ray; whole studies are in test_run.py."""

import dataclasses
import json
import logging
import math
import os
import re
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest
import ray
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState
from ray.tune.schedulers import TrialScheduler

from slr_models.data import SyntheticConfig
from slr_models.errors import SettingError
from sweep import store, yaml_source
from sweep.forensics.settings import ForensicsConfig
from sweep.judging.monitor import MonitorConfig
from sweep.live.loggers import open_loggers
from sweep.live.metrics import Metrics
from sweep.live.views import Views
from sweep.records import TrialResult
from sweep.running import cluster, runner
from sweep.running.job import Job, Progress, RunOptions, TrialReport
from sweep.running.placement import Node
from sweep.running.placements import Placements
from sweep.running.ray_scheduler import StudyScheduler
from sweep.running.session import StudySession
from sweep.running.trial import TrialRunner
from sweep.running.trial_actor import JOBS_KEY, REPORTS_KEY, TrialActor
from sweep.search.bridge import JOURNAL_FILE
from sweep.store.ledger_lines import LEDGER_FILE
from sweep.study import LoadedStudy, Resources, validate
from sweep.training.config import TrialConfig
from sweep.wording import first_line

DATA = {"kind": "synthetic", "vocabulary_size": 4, "num_train": 16, "num_valid": 4, "max_labels": 3}
HOT = {"optimizer": {"kind": "sgd", "lr": 1e4}, "clip": {"kind": "off"}, "bad_batch": {"kind": "never_skip"}}


def last_reports(tmp_path, deadline: float) -> list[dict]:
    """All that an actor says from the result of a diverging trial on."""
    config = TrialConfig.model_validate(
        {"model": {"kind": "baseline", "width": 0.0625}, "data": DATA, "training": {"batch_size": 4, **HOT}}
    )
    settings = ForensicsConfig(snapshot_every_steps=2, replay_steps=5, repeats=1)
    options = RunOptions(tmp_path, "wer", MonitorConfig(), True, "none", forensics=settings)
    actor = TrialActor.__new__(TrialActor)
    job = Job("0000", 0, 0, 0, "explore", {}, config, 20)
    actor.setup({JOBS_KEY: [job]}, SyntheticConfig.model_validate(DATA).build(), options, deadline)
    reports = [actor.step()]
    while not reports[-1]["done"]:
        reports.append(actor.step())
    return [report for report in reports if report[REPORTS_KEY][0].result is not None]


@pytest.mark.slow
def test_no_explanation_begins_once_the_study_s_time_is_up(tmp_path) -> None:
    late = last_reports(tmp_path / "late", time.time() - 1)
    assert [report["done"] for report in late] == [True]
    assert late[0][REPORTS_KEY][0].result.verdict.is_diverged
    in_time = last_reports(tmp_path / "in-time", math.inf)
    assert [report["done"] for report in in_time] == [False, True]


STUDY = """
name: s
model: {kind: baseline, width: 0.0625, norm: group}
data: {kind: synthetic, vocabulary_size: 4, num_train: 16, num_valid: 4, frames_per_label: 6, max_labels: 3}
training:
  batch_size: 4
  eval_every_steps: 5
  health_every_steps: null
  optimizer: {kind: sgd, lr: 0.1}
  clip: {kind: 'off'}
  bad_batch: {kind: never_skip}
objective: val_loss
confirm: {settings: 0, recommended: false}
audit: {rate: 0}
forensics: {trials: 0}
"""
ONE_LANE = "resources: {max_parallel: 1}\n"
ONE = Placements(Resources(), [Node(cpus=1)])


class _Watching:
    """A view that keeps what it is told."""

    def __init__(self) -> None:
        self.jobs: list[Job] = []
        self.results: list[TrialResult] = []
        self.lines: list[str] = []
        """What changed of how many run at once."""

    def started(self, job: Job) -> None:
        self.jobs.append(job)

    def progressed(self, job: Job, progress: Progress) -> None:
        assert progress.step <= progress.max_steps

    def retried(self, job: Job, reason: str) -> None:
        raise AssertionError(f"{job.trial_id}: {reason}")

    def explaining(self, job: Job) -> None:
        raise AssertionError("nothing is explained here")

    def explained(self, result: TrialResult) -> None:
        raise AssertionError("nothing is explained here")

    def finished(self, result: TrialResult) -> None:
        self.results.append(result)


def test_an_exception_that_says_nothing_is_named() -> None:
    assert first_line(RuntimeError("\n  the port is taken\nsecond line")) == "the port is taken"
    assert first_line(TimeoutError()) == "TimeoutError" and first_line(RuntimeError(" \n")) == "RuntimeError"


@pytest.fixture(scope="module")
def joined(ray_address: str) -> Iterator[cluster.Cluster]:
    with cluster.cluster(ray_address, Resources()) as joined:
        yield joined


@ray.remote(num_cpus=0)
def environment() -> dict[str, str]:
    return dict(os.environ)


def test_ray_s_settings_hold_in_its_processes_and_only_while_it_runs(joined, monkeypatch) -> None:
    assert joined.warnings == ()
    for seen in (dict(os.environ), ray.get(environment.remote())):
        assert seen["RAY_USAGE_STATS_ENABLED"] == "0" and seen["TUNE_DISABLE_AUTO_CALLBACK_LOGGERS"] == "1"
    monkeypatch.delenv("RAY_AIR_NEW_OUTPUT")
    monkeypatch.setenv("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "1")
    before, level = dict(os.environ), logging.getLogger("ray.tune").level
    with cluster.environment(cluster._RAY_ENVIRONMENT), cluster._log_levels({"ray.tune": logging.DEBUG}):
        assert os.environ["RAY_AIR_NEW_OUTPUT"] == "0"
        assert os.environ["RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"] == "1", "what the user has set is kept"
    assert dict(os.environ) == before and logging.getLogger("ray.tune").level == level


def test_an_address_that_is_refused_leaves_a_running_ray_alone(joined) -> None:
    with pytest.raises(SettingError, match="Ray Client addresses"), cluster.cluster("ray://host:10001", Resources()):
        pass
    assert ray.is_initialized()


@pytest.fixture
def decisions(monkeypatch) -> list[tuple[str, str]]:
    """What the scheduler decides: number of a trial and decision, as they come."""
    made: list[tuple[str, str]] = []
    decide = StudyScheduler.on_trial_result

    def watched(self, controller, trial, result) -> str:
        decision = decide(self, controller, trial, result)
        made.append((trial.config[JOBS_KEY][0].trial_id, decision))
        return decision

    monkeypatch.setattr(StudyScheduler, "on_trial_result", watched)
    return made


def options(loaded: LoadedStudy, folder: Path) -> RunOptions:
    study = loaded.study
    return RunOptions(folder, study.objective, study.monitor, True, "none", forensics=study.forensics)


def run(folder: Path, text: str, joined: cluster.Cluster) -> _Watching:
    loaded = validate(yaml_source.parse(STUDY + text, "s.yaml"))
    dataset = loaded.study.data.build()
    session, view = StudySession(loaded, folder, len(dataset.train)), _Watching()
    views = Views(view, [Metrics(folder.name, session, session.results)], print)
    try:
        placements = Placements(loaded.study.resources, joined.nodes)
        assert runner.run_trials(
            session, dataset, options(loaded, folder), joined, placements, views, told=view.lines.append
        )
    finally:
        session.close()
    assert not list((folder / "ray").glob("*/checkpoint_*")), "what waited on disk is removed"
    return view


def exported(study: str) -> dict[str, float]:
    """What Prometheus would get of a study now: series, with the outcome behind it where it has one -> value."""
    (node,) = [node for node in ray.nodes() if node["Alive"]]
    with urllib.request.urlopen(f"http://127.0.0.1:{node['MetricsExportPort']}/metrics", timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    found = {}
    for line in lines:
        if f'study="{study}"' in line:
            outcome = re.search(r'outcome="([^"]+)"', line)
            found[" ".join([line.partition("{")[0], *(outcome.groups() if outcome else ())])] = float(line.split()[-1])
    return found


def told(folder: Path) -> list[FrozenTrial]:
    storage = JournalStorage(JournalFileBackend(str(folder / JOURNAL_FILE)))
    return optuna.load_study(study_name="s", storage=storage).trials


def alone(folder: Path, result: TrialResult, text: str):
    """The steps of a trial's settings, trained in one go without Ray."""
    loaded = validate(yaml_source.parse(STUDY + text, "s.yaml"))
    config = loaded.trial_config(result.settings)
    job = Job(result.trial_id, 0, 0, result.seed, "explore", result.settings, config, result.max_steps)
    trial = TrialRunner(loaded.study.data.build(), options(loaded, folder / "alone")).start(job)
    while isinstance(trial.advance(), Progress):
        pass
    return store.read_steps(folder / "alone", result.trial_id).drop(columns="time_s")


ASHA = """
space: {training.optimizer.lr: {grid: [0.1, 0.001, 10000]}}
search: {kind: grid}
budget: {trials: 3, steps: 30}
scheduler: {kind: asha, grace_rate: 0.3, reduction_factor: 2}
"""


def test_asha_prunes_the_mediocre_while_divergence_stays_a_result(tmp_path, joined) -> None:
    view = run(tmp_path, ASHA + ONE_LANE, joined)
    good, mediocre, diverging = told(tmp_path)
    assert good.state is TrialState.COMPLETE and good.user_attrs["num_steps"] == 30
    assert mediocre.state is TrialState.PRUNED and not mediocre.constraints
    assert mediocre.intermediate_values.keys() == {5, 10} and mediocre.intermediate_values[10] > 0.9
    assert diverging.state is TrialState.COMPLETE and 2 < diverging.value <= 3
    assert list(diverging.constraints.values())[0] > 0 and diverging.user_attrs["verdict"].startswith("diverged")
    trials = store.read_trials(tmp_path).set_index("trial_id")
    assert list(trials["verdict"])[1] == "pruned" and math.isnan(trials.loc["0001", "margin"])
    pruned = trials.loc["0001"]
    assert pruned["num_steps"] == 10 < pruned["max_steps"] and math.isnan(pruned["stop_step"])
    assert math.isfinite(pruned["objective"]) and pruned["training.optimizer.lr"] == 0.001 and pruned["wall_s"] > 0
    assert len(store.read_steps(tmp_path, "0001")) == 10 and len(store.read_evals(tmp_path, "0001")) == 2
    for kind in ("steps", "evals"):
        assert sorted(os.listdir(tmp_path / kind)) == [f"000{n}.parquet" for n in range(3)], "also of the pruned one"
    assert len(view.results) == 3

    final = {
        "ray_sweep_trials stable": 1,
        "ray_sweep_trials pruned": 1,
        f"ray_sweep_trials {diverging.user_attrs['verdict']}": 1,
        "ray_sweep_trials_stable": 1,
        "ray_sweep_trials_diverged": 1,
        "ray_sweep_trials_planned": 3,
        "ray_sweep_trials_running": 0,
        "ray_sweep_steps_per_second": 0,  # nothing runs any more
        "ray_sweep_steps_total": trials["num_steps"].sum(),
        "ray_sweep_steps_saved": 30 - trials.loc["0002", "num_steps"],
        "ray_sweep_best_objective": pytest.approx(good.value),
        "ray_sweep_trials_audited": 0,
        "ray_sweep_false_stops": 0,
    }
    until = time.monotonic() + 60
    while (values := exported(tmp_path.name)) != final and time.monotonic() < until:
        time.sleep(0.5)
    assert values == final

    # As if the driver had been killed while the last one ran.
    ledger = tmp_path / LEDGER_FILE
    events = [json.loads(line) for line in ledger.read_text().splitlines()]
    kept = [e for e in events if not (e["event"] == "tell" and e["trial_id"] == "0002")]
    ledger.write_text("".join(json.dumps(e) + "\n" for e in kept))
    (tmp_path / "trials.parquet").unlink()
    again = run(tmp_path, ASHA + ONE_LANE, joined)
    assert [job.trial_id for job in again.jobs] == ["0002"], "a pruned trial is not run again"
    assert [t.state for t in told(tmp_path)] == [TrialState.COMPLETE, TrialState.PRUNED, TrialState.COMPLETE]
    assert told(tmp_path)[1].intermediate_values == mediocre.intermediate_values


HYPERBAND = """
space: {training.optimizer.lr: {grid: [0.1, 0.05, 0.02, 0.01, 0.001, 0.2, 0.03]}}
search: {kind: grid}
budget: {trials: 7, steps: 20}
scheduler: {kind: hyperband, reduction_factor: 2}
"""


def test_a_training_that_hyperband_pauses_goes_on_as_if_it_had_not(tmp_path, joined, decisions) -> None:
    # One lane: on several, which of them wait and which go on depends on how fast each is.
    view = run(tmp_path, HYPERBAND + ONE_LANE, joined)
    assert len(view.results) == 7
    pauses = Counter(name for name, decision in decisions if decision == TrialScheduler.PAUSE)
    full = [r for r in view.results if r.trial_id in pauses and not r.pruned]
    assert full, "some were paused and went on"
    for result in full:
        mine = store.read_steps(tmp_path, result.trial_id)
        assert list(mine["step"]) == list(range(1, 21))
        assert mine.drop(columns="time_s").equals(alone(tmp_path, result, HYPERBAND))
    assert any(r.pruned for r in view.results)


PBT = """
space:
  training.optimizer.lr: {loguniform: [0.001, 0.3]}
  training.precision.kind: {choice: [fp32, bf16]}
search: {kind: random}
budget: {trials: 5, steps: 25}
scheduler: {kind: pbt, interval_rate: 0.2, quantile_rate: 0.4}
"""


def test_a_population_changes_settings_on_the_way_and_says_so(tmp_path, joined) -> None:
    view = run(tmp_path, PBT, joined)
    assert sorted(r.trial_id for r in view.results) == [f"{k:04d}" for k in range(5)]
    asked = {job.trial_id: job.settings for job in view.jobs}
    trials = store.read_trials(tmp_path).set_index("trial_id")
    changed = [r for r in view.results if r.settings_changed_at_step is not None]
    assert changed and all(not r.pruned for r in view.results)
    for result in view.results:
        steps = store.read_steps(tmp_path, result.trial_id)
        assert list(steps["step"]) == list(range(1, result.num_steps + 1))
        is_changed = result.settings_changed_at_step is not None
        assert is_changed == (result.settings != asked[result.trial_id])
        assert math.isnan(trials.loc[result.trial_id, "settings_changed_at_step"]) != is_changed
        lr = result.settings["training.optimizer.lr"]
        assert trials.loc[result.trial_id, "training.optimizer.lr"] == lr and 0.001 <= lr <= 0.3
        if not is_changed:
            mine = steps.drop(columns="time_s")
            assert mine.equals(alone(tmp_path, result, PBT)), "taking turns changes nothing"
    # What came of a training whose settings changed says nothing about those that it began with.
    assert [t.state for t in told(tmp_path)].count(TrialState.PRUNED) == len(changed)


def test_where_ray_ends_a_training_for_lack_of_memory_fewer_run_at_once(tmp_path) -> None:
    class Saying(runner.RayTrials):
        def text(self, trial_id: str) -> str:
            return "the node was running low on memory"

    class Retried(_Watching):
        def retried(self, job: Job, reason: str) -> None:
            assert reason == "memory ran out, and Ray ended its process; trying once more"

    loaded = validate(yaml_source.parse(STUDY + ASHA.replace("trials: 3", "trials: 12"), "s.yaml"))
    placements, lines = Placements(Resources(), [Node(cpus=3)]), list[str]()
    with StudySession(loaded, tmp_path, 16) as session:
        searcher = runner._LedgerSearcher(
            session, options(loaded, tmp_path), placements, Retried(), None, Saying(), told=lines.append
        )
        assert all(isinstance(searcher.suggest(f"ray{number}"), dict) for number in range(3))
        assert searcher.suggest("ray3") is None
        searcher.on_trial_complete("ray1", error=True)
        assert lines == ["from now on memory ran out: 1 trial at a time, as limited; 3 would fit: 3 cores"]
        assert searcher.suggest("ray4") is None, "two still run"
        for name in ("ray0", "ray2"):
            (job,) = searcher._jobs[name].values()
            row = runner.crashed_result(job, searcher._options, "")
            searcher.on_trial_complete(name, {REPORTS_KEY: [TrialReport(job.trial_id, result=row, is_last=True)]})
        again = searcher.suggest("ray5")
        assert isinstance(again, dict) and again[JOBS_KEY][0].trial_id == "0001" and searcher.suggest("ray6") is None


def test_a_crashed_training_is_not_taken_for_a_pruned_one(tmp_path) -> None:
    loaded = validate(yaml_source.parse(STUDY + ASHA, "s.yaml"))
    session, view = StudySession(loaded, tmp_path, 16), _Watching()
    searcher = runner._LedgerSearcher(session, options(loaded, tmp_path), ONE, view, None, runner.RayTrials())
    for attempt in range(2):
        (job,) = searcher.suggest(f"ray{attempt}")[JOBS_KEY]
        row = dataclasses.replace(runner.crashed_result(job, options(loaded, tmp_path), ""), num_steps=5)
        searcher.on_trial_result(
            f"ray{attempt}", {runner.IF_PRUNED_KEY: row, REPORTS_KEY: [TrialReport(job.trial_id, _progress())]}
        )
        if attempt == 0:
            view.retried = lambda job, reason: None  # type: ignore[method-assign]
        searcher.on_trial_complete(trial_id=f"ray{attempt}", error=True)
    assert [r.verdict.value for r in view.results] == ["crashed"]
    session.close()


STACKED = "search: {kind: random}\nbudget: {trials: 7, steps: 10}\nresources: {stacked: 3}\n"
SPACE = "space: {training.optimizer.lr: {loguniform: [1.0e-3, 1.0e-1]}}\n"


def _names(suggested: dict | str | None) -> list[str]:
    assert isinstance(suggested, dict)
    return [job.trial_id for job in suggested[JOBS_KEY]]


def test_the_lanes_share_out_what_is_left(tmp_path) -> None:
    loaded = validate(yaml_source.parse(STUDY + SPACE + STACKED, "s.yaml"))
    placements = Placements(loaded.study.resources, [Node(cpus=2)])
    with StudySession(loaded, tmp_path, 16) as session:
        searcher = runner._LedgerSearcher(
            session, options(loaded, tmp_path), placements, _Watching(), None, runner.RayTrials()
        )
        assert _names(searcher.suggest("a")) == ["0000", "0001", "0002"]
        assert _names(searcher.suggest("b")) == ["0003", "0004"], "four are left for two lanes"
        assert searcher.suggest("c") is None, "both lanes are taken"
        for name in ("0003", "0004"):
            row = runner.crashed_result(searcher._jobs["b"][name], searcher._options, "")
            report = {REPORTS_KEY: [TrialReport(name, result=row, is_last=True)]}
            if name == "0003":
                searcher.on_trial_result("b", report)
            else:
                searcher.on_trial_complete("b", report)
        assert sorted(result.trial_id for result in session.results) == ["0003", "0004"]
        assert _names(searcher.suggest("c")) == ["0005"]


def test_trainings_whose_process_died_go_on_in_processes_of_their_own(tmp_path) -> None:
    loaded = validate(yaml_source.parse(STUDY + SPACE + STACKED, "s.yaml"))
    placements = Placements(loaded.study.resources, [Node(cpus=1)])
    told: list[tuple[str, str]] = []
    view = _Watching()
    view.retried = lambda job, reason: told.append((job.trial_id, reason))  # type: ignore[method-assign]
    with StudySession(loaded, tmp_path, 16) as session:
        searcher = runner._LedgerSearcher(
            session, options(loaded, tmp_path), placements, view, None, runner.RayTrials()
        )
        jobs = searcher.suggest("a")[JOBS_KEY]
        row = runner.crashed_result(jobs[1], searcher._options, "")
        searcher.on_trial_result("a", {REPORTS_KEY: [TrialReport("0001", result=row, is_last=True)]})
        searcher.on_trial_complete("a", error=True)
        why = "the process died that it shared with others; it goes on in one of its own"
        assert sorted(told) == [("0000", why), ("0002", why)] and [r.trial_id for r in session.results] == ["0001"]
        for name in ("0000", "0002"):
            assert _names(searcher.suggest(name)) == [name]
            searcher.on_trial_complete(name, error=True)
        assert [r.verdict.value for r in session.results if r.trial_id != "0001"] == ["crashed", "crashed"]
        assert _names(searcher.suggest("b")) == ["0003", "0004", "0005"], "the others are together again"


@pytest.mark.slow
def test_stacked_trainings_of_a_study_end_as_they_would_alone(tmp_path, joined) -> None:
    ends = {}
    for kind, stacked in (("alone", 1), ("stacked", 3)):
        text = f"{SPACE}{STACKED.partition('resources')[0]}resources: {{max_parallel: 3, stacked: {stacked}}}\n"
        (tmp_path / kind).mkdir()
        view = run(tmp_path / kind, text, joined)
        ends[kind] = {r.trial_id: (r.verdict, r.num_steps, round(r.val_loss, 1)) for r in view.results}
    assert ends["alone"] == ends["stacked"] and len(ends["alone"]) == 7


@pytest.mark.slow
def test_weights_and_biases_gets_a_run_a_trial_without_a_network(tmp_path, monkeypatch) -> None:
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    job = Job("0007", 7, 7, 3, "explore", {"training.optimizer.lr": 0.25}, None, 100)
    (logger,) = open_loggers(["wandb=demo"], "s", tmp_path)
    logger.started(job)
    logger.progressed(job, Progress(50, 100, 2.5, 2.0, 0.75))
    loaded = validate(yaml_source.parse(STUDY + ASHA, "s.yaml"))
    logger.finished(runner.crashed_result(job, options(loaded, tmp_path), "its process died"))
    logger.close()
    assert logger.problem is None
    (written,) = (tmp_path / "wandb").glob("offline-run-*/*.wandb")
    content = written.read_bytes()
    for part in (b"0007 lr=0.25", b"demo", b"val_loss", b"crashed", b"its process died"):
        assert part in content


def _progress() -> Progress:
    return Progress(step=5, max_steps=30, train_loss=1.0, val_loss=1.0, wer=1.0)
