"""A study that says which nodes its trainings may use, on a cluster of Ray nodes of which one is such a node."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.reliability.runs import start, told
from sweep.store import read_trials
from tests.sweep.raylets import Raylets, raylets

pytestmark = [pytest.mark.ray, pytest.mark.long]

STUDY = """
name: features
model: {kind: baseline, width: 0.0625, norm: group}
data: {kind: synthetic, vocabulary_size: 4, num_train: 16, num_valid: 4, frames_per_label: 6, max_labels: 3}
training: {batch_size: 4, eval_every_steps: 5}
space: {training.optimizer.lr: {grid: [0.01, 0.02, 0.03, 0.04]}}
search: {kind: grid}
budget: {trials: 4, steps: 10}
resources: {node_with: [fast_disk, zone=a]}
confirm: {settings: 0, recommended: false}
forensics: {trials: 0}
"""
BY_WIDTH = """
space: {training.optimizer.lr: {grid: [0.01, 0.02, 0.03]}, model.width: {grid: [0.0625, 0.125]}}
resources: {where: [{when: {model.width: 0.125}, cpus: 2, node_with: [fast_disk]}]}
confirm: {settings: 0, recommended: false}
"""
# Trainings that tell under which raylet they run, with how many threads, and when.
PROGRAM = """
import os, sys, time
from pathlib import Path
import torch
from sweep.running import runner

FOLDER = Path(sys.argv.pop(1))


class Telling(runner.TrialActor):
    def step(self):
        told = FOLDER / self._members.only.job.trial_id
        begun = float(told.read_text().split()[2]) if told.exists() else time.time()
        time.sleep(0.5)
        told.write_text(f"{os.getppid()} {torch.get_num_threads()} {begun} {time.time()}")
        return super().step()


if __name__ == "__main__":
    runner.TrialActor = Telling
    from sweep.run import main
    sys.exit(main())
"""
TWO_CORES, ZONE, DISK = "--num-cpus=2", "--labels=zone=a", '--resources={"fast_disk": 1}'


@pytest.fixture
def nodes() -> Iterator[Raylets]:
    """Two nodes that have half of what is wanted, and one that has all."""
    with raylets(TWO_CORES, DISK) as nodes:
        nodes.join("zone", TWO_CORES, ZONE)
        nodes.join("both", TWO_CORES, ZONE, DISK)
        yield nodes


def test_trainings_run_only_where_all_that_is_wanted_is(tmp_path: Path, nodes: Raylets) -> None:
    study, program, ran = tmp_path / "features.yaml", tmp_path / "telling.py", tmp_path / "ran"
    study.write_text(STUDY)
    program.write_text(PROGRAM)
    ran.mkdir()
    python = (sys.executable, str(program), str(ran))
    run = start(study, tmp_path / "results", "--address", nodes.address, program=python, **nodes.environment)
    code, out, err = run.end(300)
    assert (code, err) == (0, ""), out
    assert "2 trials at a time: 2 cores; on the 1 of 3 nodes with fast_disk; zone=a\n" in out
    assert sorted(told(run.folder)) == sorted(path.name for path in ran.iterdir()) and len(told(run.folder)) == 4
    assert {path.read_text().split()[0] for path in ran.iterdir()} == {str(nodes.raylet("both").pid)}

    wrong = ("--set", "resources.node_with=[slow_disk]")
    refused = start(study, tmp_path / "other", "--address", nodes.address, *wrong, program=python, **nodes.environment)
    code, _, err = refused.end(300)
    assert code == 2 and err.count("\n") == 1
    assert "resources.node_with asks for slow_disk, which no node has together; there is fast_disk (2 of 3" in err
    assert "zone=a (2 of 3 nodes)" in err


def test_those_of_some_settings_run_where_these_want_them_beside_the_others(tmp_path: Path) -> None:
    study, program, ran = tmp_path / "features.yaml", tmp_path / "telling.py", tmp_path / "ran"
    without = ("space:", "resources:", "confirm:")
    study.write_text("\n".join(line for line in STUDY.splitlines() if not line.startswith(without)) + BY_WIDTH)
    program.write_text(PROGRAM)
    ran.mkdir()
    python = (sys.executable, str(program), str(ran))
    with raylets(TWO_CORES) as nodes:
        nodes.join("disk", TWO_CORES, DISK)
        at, results = ("--address", nodes.address), tmp_path / "results"
        wrong = ("--set", "resources.where=[{when: {model.width: 0.125}, node_with: [slow_disk]}]")
        code, _, err = start(study, tmp_path / "other", *at, *wrong, program=python, **nodes.environment).end(300)
        assert code == 2 and err.count("\n") == 1
        assert "where model.width is 0.125, resources.node_with asks for slow_disk, which no node has" in err
        code, out, err = start(study, results, *at, "--trials", "3", program=python, **nodes.environment).end(300)
        assert (code, err) == (0, ""), out
        run = start(study, results, *at, "--trials", "6", program=python, **nodes.environment)
        code, out, err = run.end(300)
        disk = str(nodes.raylet("disk").pid)
    assert (code, err) == (0, ""), out
    assert (
        "1 to 4 trials at a time: 4 with 4 cores; where model.width is 0.125, 1 with 2 cores, 2 a trial; on the 1 of 2 "
        "nodes with fast_disk\n"
    ) in out
    trials = read_trials(run.folder)
    assert len(trials) == 6 and (trials["verdict"] != "crashed").all()
    of = {path.name: path.read_text().split() for path in ran.iterdir()}
    wide, narrow = (set(trials.loc[trials["model.width"] == width, "trial_id"]) for width in (0.125, 0.0625))
    assert len(of) == len(trials) and wide and narrow
    assert {tuple(of[name][:2]) for name in wide} == {(disk, "2")}
    assert {of[name][1] for name in narrow} == {"1"} and {of[name][0] for name in narrow} - {disk}
    spans = {name: tuple(map(float, told[2:])) for name, told in of.items()}
    assert any(spans[a][0] < spans[b][1] and spans[b][0] < spans[a][1] for a in wide for b in narrow), "side by side"
