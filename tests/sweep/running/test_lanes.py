"""How many trainings a real Ray runs at once, once it is known what they take of the memory."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from sweep import yaml_source
from sweep.records import Outcome, TrialResult
from sweep.running import cluster, runner
from sweep.running.job import Job, Progress, RunOptions
from sweep.running.placement import Node
from sweep.running.placements import Placements
from sweep.running.session import StudySession
from sweep.study import Resources, validate
from sweep.training.footprint import Footprint

pytestmark = pytest.mark.ray
MEMORY_MIB = 4000.0
STUDY = """
name: s
model: {kind: baseline, width: 0.0625}
data: {kind: synthetic, vocabulary_size: 4, num_train: 16, num_valid: 4, frames_per_label: 6, max_labels: 3}
training: {batch_size: 4, eval_every_steps: 10}
space: {training.optimizer.lr: {grid: [0.01, 0.011, 0.012, 0.013, 0.014, 0.015]}}
search: {kind: grid}
budget: {trials: 6, steps: 20}
confirm: {settings: 0, recommended: false}
forensics: {trials: 0}
"""


@pytest.fixture(scope="module")
def here() -> Iterator[cluster.Cluster]:
    """A Ray that thinks that there are two cores, a GPU and so much memory."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cluster, "this_machine", lambda resources: Node(2, 1, MEMORY_MIB))
        with cluster.cluster(None, Resources()) as here:
            yield here


class _Counting:
    """A view that counts what runs."""

    def __init__(self) -> None:
        self.running: set[str] = set()
        self.at_once: list[int] = []
        """Trainings that ran when each one began, itself among them."""
        self.retried_because: list[str] = []
        self.results: list[TrialResult] = []
        self.lines: list[str] = []

    def started(self, job: Job) -> None:
        self.running.add(job.trial_id)
        self.at_once.append(len(self.running))

    def progressed(self, job: Job, progress: Progress) -> None:
        assert job.trial_id in self.running

    def retried(self, job: Job, reason: str) -> None:
        self.running.discard(job.trial_id)
        self.retried_because.append(reason)

    def explaining(self, job: Job) -> None:
        raise AssertionError("nothing is explained here")

    def explained(self, result: TrialResult) -> None:
        raise AssertionError("nothing is explained here")

    def finished(self, result: TrialResult) -> None:
        self.running.remove(result.trial_id)
        self.results.append(result)


def run(folder: Path, resources: str, here: cluster.Cluster) -> _Counting:
    loaded = validate(yaml_source.parse(STUDY + resources, "s.yaml"))
    study, dataset = loaded.study, loaded.study.data.build()
    options = RunOptions(folder, study.objective, study.monitor, True, "none", forensics=study.forensics)
    placements, view = Placements(study.resources, here.nodes, here.limits), _Counting()
    with StudySession(loaded, folder, len(dataset.train)) as session:
        assert runner.run_trials(session, dataset, options, here, placements, view, told=view.lines.append)
    return view


def actors_that_take(monkeypatch: pytest.MonkeyPatch, footprint: Footprint) -> None:
    class Taking(runner.TrialActor):
        def _footprint(self, result: TrialResult) -> Footprint:
            return footprint

    monkeypatch.setattr(runner, "TrialActor", Taking)


def test_trainings_that_fit_into_the_memory_run_on_all_cores(tmp_path, here) -> None:
    view = run(tmp_path, "", here)
    assert view.lines == [] and max(view.at_once) == 2 and len(view.results) == 6
    assert {result.gpu_shared_by for result in view.results} == {None}


def test_what_does_not_fit_into_the_memory_twice_runs_alone_from_then_on(tmp_path, here, monkeypatch) -> None:
    actors_that_take(monkeypatch, Footprint(0.6 * MEMORY_MIB))
    view = run(tmp_path, "", here)
    assert view.lines == [
        "from now on 1 trial at a time: 2 cores; 3.91 GiB of memory for trials, which take up to 2.3 GiB each, and "
        "head-room"
    ]
    assert len(view.results) == 6 and max(view.at_once) == 2
    assert view.at_once[3:] == [1, 1, 1], "the first two began before anything was known"


@pytest.fixture(scope="module")
def on_a_gpu(tmp_path_factory: pytest.TempPathFactory, here: cluster.Cluster) -> _Counting:
    """Trainings on a GPU that holds many of them; one of them says that it found no memory beside another."""

    class Crowded(runner.TrialActor):
        def _footprint(self, result: TrialResult) -> Footprint:
            return Footprint(100.0, 3000.0, 80_000.0)

        def step(self) -> dict:
            import dataclasses

            import ray

            said = super().step()
            share = ray.get_runtime_context().get_assigned_resources().get("GPU", 0)
            (report,) = said[runner.REPORTS_KEY]
            if report.result is not None and report.trial_id == "0003" and share < 1:
                failed = dataclasses.replace(report.result, verdict=Outcome.OUT_OF_MEMORY)
                said[runner.REPORTS_KEY] = [dataclasses.replace(report, result=failed)]
            return said

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runner, "TrialActor", Crowded)
        return run(tmp_path_factory.mktemp("gpu"), "resources: {gpus: auto}\n", here)


def test_the_first_has_the_gpu_alone_and_then_as_many_share_it_as_it_holds(on_a_gpu) -> None:
    first, after_one_without_memory = on_a_gpu.lines
    assert first.startswith("from now on 2 trials at a time: 2 cores; 1 GPU, 2 a GPU, whose memory holds 23")
    assert "whose memory holds 22" in after_one_without_memory
    shared = {result.trial_id: result.gpu_shared_by for result in on_a_gpu.results}
    assert shared == {"0000": 1, "0001": 2, "0002": 2, "0003": 1, "0004": 2, "0005": 2}
    assert on_a_gpu.at_once[:2] == [1, 1] and max(on_a_gpu.at_once) == 2


def test_what_finds_no_memory_on_a_shared_gpu_is_tried_again_alone(on_a_gpu) -> None:
    why = "the GPU that it shares has no memory left; it begins anew, with one alone"
    assert on_a_gpu.retried_because == [why]
    ends = {result.trial_id: (result.verdict, result.gpu_shared_by) for result in on_a_gpu.results}
    assert len(ends) == 6 and ends["0003"][0] is not Outcome.OUT_OF_MEMORY and ends["0003"][1] == 1


def test_what_takes_both_cores_gets_them_and_has_as_many_threads(tmp_path, here, monkeypatch) -> None:
    class Telling(runner.TrialActor):
        def step(self) -> dict:
            import ray
            import torch

            cores = ray.get_runtime_context().get_assigned_resources()["CPU"]
            (tmp_path / self._members.only.job.trial_id).write_text(f"{cores:g} {torch.get_num_threads()}")
            return super().step()

    monkeypatch.setattr(runner, "TrialActor", Telling)
    wide = "resources: {where: [{when: {training.optimizer.lr: [0.011, 0.013]}, cpus: 2}]}\n"
    view = run(tmp_path, wide, here)
    cores = {result.trial_id: (tmp_path / result.trial_id).read_text() for result in view.results}
    assert cores == {f"{n:04d}": "2 2" if n in (1, 3) else "1 1" for n in range(6)}
    assert view.at_once == [1, 1, 1, 1, 1, 2], "each waits for room in its turn; the last two small ones are together"
