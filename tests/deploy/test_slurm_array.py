"""What the tasks of an array make out among themselves; stand-ins on PATH take the place of Slurm, Ray and the run."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from benchmarks.reliability.runs import wait_until
from deploy.array_task import Terms
from tests.deploy import arrays
from tests.deploy.arrays import ROOT, Array

STAND_INS = {
    # A head listens, a node waits, until they are ended.
    "ray": f'exec {sys.executable} -c "$RAY" "$@"',
    # Ends with the code that the test gives to the first, second, ... run.
    "slr-sweep": 'file=$FOLDER/code-$(grep -c ^slr-sweep "$FOLDER/calls")\n'
    'until [[ -s $file ]]; do sleep 0.05; done; exit "$(<"$file")"',
    # A cluster that is waited for is there, but for as often as the test says.
    "python": f'if [[ $1 == *array_task.py ]]; then exec {sys.executable} "$@"; fi\n'
    '(($(grep -c nodes.py "$FOLDER/calls") > ${NOT_UP:-0}))',
}
RAY = """
import socket, sys, time
port = [one for one in sys.argv if one.startswith("--port=")]
if port:
    listener = socket.create_server(("127.0.0.1", int(port[0].removeprefix("--port="))))
    while True:
        listener.accept()[0].close()
time.sleep(100)
"""


@pytest.fixture
def array(tmp_path: Path) -> Iterator[Array]:
    with arrays.array(tmp_path, STAND_INS, "my.yaml", RAY=RAY, LOOK_S="0.1", SLURM_CPUS_PER_TASK="8") as array:
        yield array


def run_ends(array: Array, number: int, code: int) -> None:
    (array.folder / f"code-{number}").write_text(str(code))


def test_the_first_task_leads_and_the_others_train_until_the_study_is_done(array: Array) -> None:
    array.together(1, 2, 3, SLURM_GPUS_ON_NODE="4")
    (head,) = array.calls("ray", 1)
    (run,) = array.calls("slr-sweep")
    limit = re.fullmatch(
        rf"slr-sweep 1 run my.yaml --results {array.results} --address (127.0.0.1:\d+) --time (\d+)s --trials 12", run
    )
    assert limit and 2900 < int(limit[2]) <= 3000, "ten minutes before the task ends"
    assert "ray 1 start --head --node-ip-address=127.0.0.1" in head
    for task in (2, 3):
        (node,) = array.calls("ray", task)
        assert f"ray {task} start --address={limit[1]} --node-name=localhost-task{task} " in node
        assert "--num-cpus=8 --num-gpus=4 " in node and node.endswith("--block")
    run_ends(array, 1, 0)
    assert array.end(1, 2, 3) == [0, 0, 0]
    array.start(4)
    assert array.end(4) == [0] and array.calls("ray", 4) == [], "what comes late has nothing to do"
    assert not array.calls("scontrol") and not array.calls("squeue")


def test_a_mistake_ends_all_of_them(array: Array) -> None:
    array.together(1, 2, 3)
    run_ends(array, 1, 2)
    assert array.end(1, 2, 3) == [2, 2, 2] and array.num_runs == 1
    assert f"the study has ended with exit code 2, says the log of {array.name(1)}" in array.said(3)


def test_another_task_leads_when_the_leader_is_killed(array: Array) -> None:
    array.together(1, 2, 3)
    array.kill(1)
    wait_until(lambda: array.num_runs == 2, 30)
    assert f"{array.name(1)}, which led, is lost" in array.said(2) + array.said(3)
    new = array.told("0002.leader")[-1]
    other = {"2": "3", "3": "2"}[new]
    wait_until(lambda: any(array.told("0002.address") in one for one in array.calls("ray", int(other))), 30)
    run_ends(array, 2, 0)
    assert array.end(2, 3) == [0, 0] and array.num_runs == 2


def test_a_leader_that_is_silent_but_runs_stays_the_leader(array: Array) -> None:
    array.together(1, 2)
    array.kill_head(1)
    wait_until(lambda: len(array.calls("squeue")) >= 3, 30)
    assert array.num_runs == 1
    run_ends(array, 1, 3)
    wait_until(lambda: array.num_runs == 2, 30)
    run_ends(array, 2, 0)
    assert array.end(1, 2) == [3, 0]


def test_a_leader_that_is_asked_to_end_gives_its_place_at_once(array: Array) -> None:
    array.together(1, 2)
    array.signal(1, signal.SIGTERM)
    wait_until(lambda: array.num_runs == 2, 30)
    assert array.end(1) == [128 + signal.SIGTERM] and array.told("0001.end") == "lost" and not array.calls("squeue")
    run_ends(array, 2, 0)
    assert array.end(2) == [0]


def test_a_leader_that_slurm_queued_again_knows_that_it_is_lost(array: Array) -> None:
    array.together(1)
    array.kill(1)
    array.together(1, SLURM_RESTART_COUNT="1")
    assert array.told("0001.end") == "lost" and array.told("0002.leader") == array.name(1)
    run_ends(array, 2, 0)
    assert array.end(1) == [0]


def test_a_leader_whose_time_is_up_is_queued_again_and_another_leads(array: Array) -> None:
    array.together(1, 2)
    run_ends(array, 1, 75)
    wait_until(lambda: array.num_runs == 2, 30)
    assert array.end(1) == [75]
    # Never by the number of the job, which for one of the tasks is that of the whole array.
    assert array.calls("scontrol") == [f"scontrol 1 requeue {array.name(1)}"]
    array.start(1, SLURM_RESTART_COUNT="1")
    run_ends(array, 2, 0)
    assert array.end(1, 2) == [0, 0]


def test_a_task_whose_time_is_up_leaves_and_is_queued_again(array: Array) -> None:
    array.together(1)
    array.start(2, left_s=65, KEEP_BACK_S="-300")
    array.start(3, left_s=65, KEEP_BACK_S="-300", SLURM_RESTART_COUNT="2", MOST_REQUEUES="2")
    wait_until(lambda: array.trains(2) and array.trains(3), 30)
    assert array.end(2, 3) == [75, 75] and array.calls("scontrol") == [f"scontrol 2 requeue {array.name(2)}"]
    assert "not done after 2 requeues" in array.said(3)
    run_ends(array, 1, 0)
    assert array.end(1) == [0]


def test_a_failure_is_tried_by_another_task_but_not_for_ever(array: Array) -> None:
    array.together(1, 2, 3, 4, 5)
    for number in (1, 2, 3):
        run_ends(array, number, 3)
    assert array.end(1, 2, 3, 4, 5) == [3] * 5 and array.num_runs == 3


def test_ray_that_does_not_come_up_is_started_again_but_not_for_ever(array: Array) -> None:
    array.together(1, NOT_UP="1")
    assert len(array.calls("ray")) == 2
    run_ends(array, 1, 3)
    array.start(2, NOT_UP="7")
    assert array.end(1, 2) == [3, 3] and array.num_runs == 1 and len(array.calls("ray", 2)) == 5


def test_what_a_lost_leader_has_locked_may_be_free_later(array: Array) -> None:
    array.together(1, 2)
    array.kill(1)
    run_ends(array, 2, 2)
    run_ends(array, 3, 0)
    assert array.end(2) == [0] and array.num_runs == 3


def test_what_cannot_be_is_a_line(array: Array) -> None:
    array.start(1, left_s=800)
    assert array.end(1) == [2] and "no time is left: ask for more than 900 s" in array.said(1)
    array.results.parent.joinpath("results").write_text("")
    array.start(2)
    assert array.end(2) == [3] and array.said(2).count("\n") == 1 and "results" in array.said(2)
    done = subprocess.run(["bash", "deploy/slurm-array.sh", "my.yaml"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode and "usage: sbatch --array=1-16 deploy/slurm-array.sh STUDY.yaml RESULTS" in done.stderr
    assert os.access(ROOT / "deploy" / "slurm-array.sh", os.X_OK) and not array.calls("ray")


def test_of_those_that_write_at_once_one_does(tmp_path: Path) -> None:
    terms = [Terms(tmp_path / "terms", f"4711_{task}") for task in range(8)]
    with ThreadPoolExecutor(8) as pool:
        for number in range(1, 21):
            made = list(
                pool.map(lambda one, number=number: one[1].write(number, "leader", str(one[0])), enumerate(terms))
            )
            assert made.count(True) == 1
            last = terms[0].last
            assert last is not None and (last.number, last.leader) == (number, str(made.index(True)))


def test_tasks_that_start_at_once_have_one_token(tmp_path: Path) -> None:
    one = "bash -c 'source deploy/ray_environment.sh; echo $RAY_AUTH_TOKEN'"
    told = subprocess.run(
        ["bash", "-c", f"for job in {{1..8}}; do SLURM_JOB_ID=$job {one} & done; wait"],
        cwd=ROOT, env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)}, stdout=subprocess.PIPE, text=True,
    ).stdout.split()  # fmt: skip
    assert len(told) == 8 and len(set(told)) == 1 and re.fullmatch("[0-9a-f]{64}", told[0])
    assert [path.name for path in (tmp_path / ".ray").iterdir()] == ["auth_token"]
