"""Nodes of a cluster that come and go, and deaths on them, told by what Ray would say of them; a real Ray is in
test_run_nodes.py."""

from pathlib import Path

import pytest

from sweep import yaml_source
from sweep.judging.monitor import MonitorConfig
from sweep.running import nodes as nodes_module
from sweep.running import runner
from sweep.running.job import Job, RunOptions
from sweep.running.nodes import Nodes
from sweep.running.placement import Node
from sweep.running.placements import Placements
from sweep.running.session import StudySession
from sweep.study import validate

STUDY = """
name: s
model: {kind: baseline, width: 0.0625, norm: group}
data: {kind: synthetic, vocabulary_size: 4, num_train: 16, num_valid: 4, frames_per_label: 6, max_labels: 3}
training: {batch_size: 4}
space: {training.optimizer.lr: {loguniform: [1.0e-3, 1.0e-1]}}
search: {kind: random}
budget: {trials: 2, steps: 10}
confirm: {settings: 0, recommended: false}
"""
UNREACHABLE = "The actor 7a is unavailable: The actor is temporarily unavailable: RpcError: RPC error: Socket closed"
CRASHED = "The actor is dead because its worker process has died. Worker exit type: SYSTEM_ERROR"


class Cluster:
    """A cluster as Ray describes it, with a clock; nodes answer where they are told to."""

    def __init__(self, *names: str) -> None:
        self.now = 0.0
        self.alive = {name: Node(cpus=1, name=name) for name in names}
        self.answering: set[str] = set()
        self.nodes = Nodes(lambda: self.alive, lambda node_id: node_id, lambda: self.now)

    def answered(self, asked: str | None) -> str | None:
        return "alive" if asked in self.answering else None


class Ended(runner.RayTrials):
    """Trainings whose processes ended, on a node each."""

    def __init__(self, said: str, where: dict[str, str]) -> None:
        super().__init__()
        self._said, self.on = said, where

    def text(self, trial_id: str) -> str:
        return self._said

    def node_id(self, trial_id: str) -> str | None:
        return self.on.get(trial_id)


class View:
    def __init__(self) -> None:
        self.retries: list[str] = []

    def started(self, job: Job) -> None:
        """As views do."""

    def retried(self, job: Job, reason: str) -> None:
        self.retries.append(f"{job.trial_id}: {reason}")

    def finished(self, result: object) -> None:
        """As views do."""


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Cluster:
    cluster = Cluster("a", "b")
    monkeypatch.setattr(nodes_module, "answered", cluster.answered)
    return cluster


class Study:
    """A study of which no training really runs."""

    def __init__(self, folder: Path, cluster: Cluster, said: str) -> None:
        loaded = validate(yaml_source.parse(STUDY, "s.yaml"))
        self.session = StudySession(loaded, folder, 16)
        self.view, self.lines = View(), list[str]()
        self.ended = Ended(said, {"ray0": "a", "ray1": "b", "ray2": "b", "ray3": "b"})
        self.searcher = runner._LedgerSearcher(
            self.session,
            RunOptions(folder, "wer", MonitorConfig(), True, "last"),
            Placements(loaded.study.resources, cluster.nodes.alive),
            self.view,
            None,
            self.ended,
            told=self.lines.append,
            nodes=cluster.nodes,
        )

    def __enter__(self) -> "Study":
        return self

    def __exit__(self, *_: object) -> None:
        self.session.close()

    def start(self, trial_id: str) -> list[str] | str | None:
        suggested = self.searcher.suggest(trial_id)
        return [job.trial_id for job in suggested["jobs"]] if isinstance(suggested, dict) else suggested


def test_a_training_is_never_blamed_for_the_loss_of_its_node(tmp_path, cluster) -> None:
    with Study(tmp_path, cluster, UNREACHABLE) as study:
        assert study.start("ray0") == ["0000"] and study.start("ray1") == ["0001"]
        for attempt in range(1, 4):
            study.searcher.on_trial_complete(f"ray{attempt}", error=True)
            cluster.now += 20
            assert study.start("early") is None, "nobody knows yet whose end it was"
            del cluster.alive["b"]
            cluster.now += 2
            assert study.start("none") is None, "one trial runs on the one node that is left"
            cluster.alive["b"] = Node(cpus=1, name="b")
            cluster.now += 2
            assert study.start(f"ray{attempt + 1}") == ["0001"]
    assert study.lines[:2] == [
        "node b is lost: what it trained goes on elsewhere; from now on 1 trial at a time: 1 core",
        "node b is there now; from now on 2 trials at a time: 2 cores",
    ]
    assert study.view.retries == 3 * ["0001: its node b was lost; it begins anew, without a checkpoint"]
    assert study.session.results == []


@pytest.mark.parametrize("said", [UNREACHABLE, CRASHED])
def test_a_process_that_dies_on_a_node_that_answers_counts(tmp_path, cluster, said: str) -> None:
    cluster.answering = {"a", "b"}
    with Study(tmp_path, cluster, said) as study:
        assert study.start("ray0") == ["0000"] and study.start("ray1") == ["0001"]
        study.searcher.on_trial_complete("ray1", error=True)
        assert study.start("ray2") == ["0001"]
        study.searcher.on_trial_complete("ray2", error=True)
        study.start("ray3")
    assert study.view.retries == ["0001: its process died; trying once more"]
    assert [(result.trial_id, result.verdict.value) for result in study.session.results] == [("0001", "crashed")]


def test_where_no_node_is_left_a_run_waits_and_then_ends(tmp_path, cluster) -> None:
    with Study(tmp_path, cluster, UNREACHABLE) as study:
        cluster.alive.clear()
        cluster.now += 2
        assert study.start("ray0") == ["0000"], "it starts where a node joins"
        assert study.lines == [
            "nodes a, b are lost: what they trained goes on elsewhere; no node is left that can hold a trial: waiting "
            "for one, up to 10 minutes"
        ]
        cluster.now += 590
        assert study.start("ray1") is None and study.searcher.problem is None
        cluster.alive["c"] = Node(cpus=1, name="c")
        cluster.now += 20
        assert study.start("ray1") is None and study.searcher.problem is None
        cluster.alive.clear()
        cluster.now += 20
        assert study.start("ray1") is None
        cluster.now += 601
        assert study.start("ray1") == "FINISHED" and study.searcher.problem is not None
        assert study.searcher.problem.startswith("no node of the cluster can hold a trial, and none that can has")


@pytest.mark.parametrize("said", ["The actor died because its node has died. Node Id: 7f", UNREACHABLE])
def test_what_has_not_begun_when_its_node_goes_is_not_blamed(tmp_path, cluster, said: str) -> None:
    with Study(tmp_path, cluster, said) as study:
        study.ended.on = {}
        for attempt in range(3):
            assert study.start(f"ray{attempt}") == ["0000"]
            study.searcher.on_trial_complete(f"ray{attempt}", error=True)
        assert study.start("ray3") == ["0000"] and study.session.results == []
