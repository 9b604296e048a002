"""A study on a cluster of several Ray nodes: one is killed under a training, another joins."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.reliability.runs import Run, start, told, wait_until
from sweep import store, yaml_source
from sweep.running.job import Job, Progress, RunOptions
from sweep.running.trial import TrialRunner
from sweep.study import validate
from tests.sweep.raylets import Raylets, raylets

pytestmark = [pytest.mark.ray, pytest.mark.long]

STUDY = """
name: nodes
model: {kind: baseline, width: 0.0625, norm: group}
data: {kind: synthetic, vocabulary_size: 4, num_train: 16, num_valid: 4, frames_per_label: 6, max_labels: 3}
training: {batch_size: 4, eval_every_steps: 5}
space: {training.optimizer.lr: {grid: [0.01, 0.02, 0.03, 0.04, 0.05]}}
search: {kind: grid}
budget: {trials: 5, steps: 15}
checkpoints: last
confirm: {settings: 0, recommended: false}
audit: {rate: 0}
forensics: {trials: 0}
"""
# Trainings that tell under which raylet they go on, and do so when they may: else speed would decide what runs where.
PROGRAM = """
import os, sys, time
from pathlib import Path
from sweep.running import runner

FOLDER = Path(sys.argv.pop(1))


class Waiting(runner.TrialActor):
    def step(self):
        trial = self._members.only.job.trial_id
        if trial == "0002":
            os._exit(1)
        if trial in ("0003", "0004") or hasattr(self, "_has_begun"):
            told = FOLDER / f"on-{trial}"
            told.write_text(str(os.getppid()))
            told.rename(FOLDER / trial)
            while not (FOLDER / f"go-{trial}").exists():
                time.sleep(0.05)
        self._has_begun = True
        return super().step()


if __name__ == "__main__":
    runner.TrialActor = Waiting
    from sweep.run import main
    sys.exit(main())
"""

# A node that is gone is given up after two seconds rather than fifteen.
SOON = {
    "RAY_health_check_initial_delay_ms": "500",
    "RAY_health_check_period_ms": "500",
    "RAY_health_check_failure_threshold": "4",
}
ONE_CORE = "--num-cpus=1"


@pytest.fixture
def nodes() -> Iterator[Raylets]:
    with raylets(ONE_CORE, environment=SOON) as nodes:
        yield nodes


def said(run: Run) -> str:
    """What it has printed so far; its place in the file is the run's own."""
    return os.pread(run.out.fileno(), 1_000_000, 0).decode()


def undisturbed(folder: Path, trial_id: str, number: int):
    """The steps of a training, trained here in one go."""
    loaded = validate(yaml_source.parse(STUDY, "nodes.yaml"))
    study, row = loaded.study, store.read_trials(folder).set_index("trial_id").loc[trial_id]
    settings = {"training.optimizer.lr": row["training.optimizer.lr"]}
    options = RunOptions(folder / "alone", study.objective, study.monitor, True, "none", forensics=study.forensics)
    job = Job(trial_id, number, number, int(row["seed"]), "explore", settings, loaded.trial_config(settings), 15)
    trial = TrialRunner(study.data.build(), options).start(job)
    while isinstance(trial.advance(), Progress):
        pass
    return store.read_steps(folder / "alone", trial_id).drop(columns="time_s")


def test_a_node_that_is_lost_costs_no_training_and_one_that_joins_is_used(tmp_path: Path, nodes: Raylets) -> None:
    study, program, gates = tmp_path / "nodes.yaml", tmp_path / "waiting.py", tmp_path / "gates"
    study.write_text(STUDY)
    program.write_text(PROGRAM)
    gates.mkdir()
    nodes.join("spot-1", ONE_CORE)
    python = (sys.executable, str(program), str(gates))
    run = start(study, tmp_path / "results", "--address", nodes.address, program=python, **nodes.environment)

    def wait_for(reached) -> None:
        try:
            wait_until(lambda: reached() or run.process.poll() is not None, 240)
        except TimeoutError:
            pytest.fail(said(run))
        assert run.process.poll() is None, run.end()

    wait_for(lambda: (gates / "0000").exists() and (gates / "0001").exists())
    raylet = nodes.raylet("spot-1")
    under = {(gates / trial).read_text(): trial for trial in ("0000", "0001")}
    preempted = under.pop(str(raylet.pid))
    (other,) = under.values()
    raylet.kill()
    # What had time to end before its process does too would be no loss.
    (gates / f"go-{other}").touch()
    wait_for(lambda: "its node spot-1 was lost; it goes on from its last checkpoint" in said(run))
    assert "node spot-1 is lost: what it trained goes on elsewhere; from now on 1 trial at a time: 1 core\n" in said(
        run
    )
    (gates / f"go-{preempted}").touch()
    wait_for(lambda: (gates / "0003").exists())
    nodes.join("spot-2", ONE_CORE)
    wait_for(lambda: (gates / "0004").exists())
    for trial in ("0003", "0004"):
        (gates / f"go-{trial}").touch()
    code, out, err = run.end(240)
    assert (code, err) == (0, ""), out
    assert "node spot-2 is there now; from now on 2 trials at a time: 2 cores\n" in out
    assert "trial 0002: its process died; trying once more\n" in out and out.count("trying once more") == 1
    trials = store.read_trials(run.folder).set_index("trial_id")
    assert sorted(told(run.folder)) == sorted(trials.index) and len(trials) == 5
    assert [trial for trial in trials.index if trials["verdict"][trial] == "crashed"] == ["0002"]
    assert set(trials["node"]) >= {"head", "spot-2"}
    assert trials["node"]["0003"] != trials["node"]["0004"], "both nodes trained at once"
    for number, trial in enumerate(["0000", "0001"]):
        steps = store.read_steps(run.folder, trial).drop(columns="time_s")
        assert len(steps) == 15 and steps.equals(undisturbed(run.folder, trial, number)), trial
    assert run.left_behind() == []
