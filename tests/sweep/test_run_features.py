"""A study that says which nodes its trainings may use, on a cluster of Ray nodes of which one is such a node."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.reliability.runs import start, told
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
# Trainings that tell under which raylet they run.
PROGRAM = """
import os, sys
from pathlib import Path
from sweep.running import runner

FOLDER = Path(sys.argv.pop(1))


class Telling(runner.TrialActor):
    def step(self):
        (FOLDER / self._members.only.job.trial_id).write_text(str(os.getppid()))
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
    assert {path.read_text() for path in ran.iterdir()} == {str(nodes.raylet("both").pid)}

    wrong = ("--set", "resources.node_with=[slow_disk]")
    refused = start(study, tmp_path / "other", "--address", nodes.address, *wrong, program=python, **nodes.environment)
    code, _, err = refused.end(300)
    assert code == 2 and err.count("\n") == 1
    assert "resources.node_with asks for slow_disk, which no node has together; there is fast_disk (2 of 3" in err
    assert "zone=a (2 of 3 nodes)" in err
