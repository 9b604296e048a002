"""A job array with a real Ray and real studies: its tasks are raylets of this machine, on loopback."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.reliability.runs import lines, told, violations, wait_until
from sweep import store
from tests.deploy import arrays, on_loopback
from tests.deploy.arrays import ROOT, Array

pytestmark = [pytest.mark.ray, pytest.mark.long]

STUDY = on_loopback.study(trials=12)
# A run begins with as many nodes as the test wants: else the first one has trained all before others are there.
WAITS = 'python deploy/wait_for_nodes.py --address "$6" --nodes "$(<"$FOLDER/nodes")" || exit 9\n'

# Half of what a head takes to start; `test_slurm_on_ray.py` has one.
WITHOUT_DASHBOARD = '[[ $2 == --head ]] && set -- "$@" --include-dashboard=false\n'


@pytest.fixture
def array(tmp_path: Path) -> Iterator[Array]:
    stand_ins = {
        **on_loopback.STAND_INS,
        "ray": WITHOUT_DASHBOARD + on_loopback.STAND_INS["ray"],
        "slr-sweep": WAITS + on_loopback.STAND_INS["slr-sweep"],
    }
    usual = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    environment = {
        **{name: value for name, value in usual.items() if name not in ("PATH", "HOME")},
        "PYTHONPATH": str(ROOT),
        "RAY_ON_LOOPBACK": on_loopback.RAY_ON_LOOPBACK,
        "LOOK_S": "1",
        # A training has a core, so that two at a time need two nodes.
        "SLURM_CPUS_PER_TASK": "1",
    }
    study = tmp_path / "tiny.yaml"
    study.write_text(STUDY)
    (tmp_path / "nodes").write_text("3")
    with arrays.array(tmp_path, stand_ins, str(study), **environment) as array:
        yield array


def what_was_said(array: Array) -> str:
    return "\n".join(array.said(task) for task in (1, 2, 3))


def test_tasks_train_together_until_the_study_is_done(array: Array) -> None:
    array.together(1, 2, 3)
    folder = array.results / "tiny"
    wait_until(lambda: len(told(folder)) >= 2, 400)
    array.signal(3, signal.SIGTERM)
    assert array.end(3, within_s=100) == [128 + signal.SIGTERM] and array.left(3) == []
    array.start(3, SLURM_RESTART_COUNT="1")
    assert array.end(1, 2, 3, within_s=500) == [0, 0, 0], what_was_said(array)
    trials = store.read_trials(folder)
    assert len(trials) == 12 and trials["node"].nunique() > 1
    assert set(trials["node"]) <= {f"localhost-task{task}" for task in (1, 2, 3)}
    assert "trying once more" not in array.said(1), "what is taken away is no failure of a training"
    assert array.num_runs == 1 and [array.left(task) for task in (1, 2, 3)] == [[], [], []]


def test_the_study_goes_on_when_the_leader_is_killed(array: Array) -> None:
    array.together(1, 2, 3)
    folder = array.results / "tiny"
    wait_until(lambda: len(told(folder)) >= 3, 400)
    (array.folder / "nodes").write_text("2")
    array.kill(1)
    before = lines(folder, "tell")
    assert len(before) < 12
    assert array.end(2, 3, within_s=500) == [0, 0], what_was_said(array)
    assert violations(before, folder) == [] and len(told(folder)) == 12
    assert array.told("0001.end") == "lost" and array.told("0002.end") == "0" and array.num_runs == 2
    nodes = store.read_trials(folder).set_index("trial_id")["node"]
    assert nodes.drop([tell["trial_id"] for tell in before]).nunique() == 2, "both that are left have trained"


def test_a_study_with_a_mistake_ends_all_tasks(array: Array) -> None:
    (array.folder / "tiny.yaml").write_text(STUDY.replace("optimizer.lr", "optimizer.rate"))
    array.start(1, 2, 3)
    assert array.end(1, 2, 3, within_s=500) == [2, 2, 2], what_was_said(array)
    assert array.num_runs == 1
