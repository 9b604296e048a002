"""What one driver manages with a thousand lanes: a study of thousands of trials whose trainings are made up.

Ray Tune's own controller, the run's searcher, session, ledger and tables do what they do in a run; in place of Ray's
processes stand lanes, each a machine with one GPU, that train for so many seconds. Time is simulated: it goes on by the
CPU time that the driver really takes, and jumps to the next answer where the driver waits. So lanes stand idle exactly
as long as the driver lets them wait. Left out is what Ray does beneath (starting processes, sending calls, scheduling),
and waiting for the disk.

    python -m benchmarks.speed.lanes_scale [--lanes 1000] [--trials 10000] [--seconds 600] [--evals 5] [--search random]

Prints the CPU time of the driver a trial by what it was spent on, how busy the lanes were, and what the end takes:
the last table of trials, the answer, and the report. How long a suggestion of the stability search takes at such sizes
is told by `python -m benchmarks.speed.suggestion --trials 1000,10000 --running 1000`.
"""

import argparse
import heapq
import itertools
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import numpy as np
import yaml
from ray.air.execution import ResourceManager
from ray.air.execution._internal import actor_manager, event_manager
from ray.air.execution.resources.request import AcquiredResources
from ray.train._internal import storage as ray_storage
from ray.tune import CheckpointConfig, PlacementGroupFactory, Trainable
from ray.tune.execution import class_cache, tune_controller
from ray.tune.experiment import Experiment
from ray.tune.search import SearchGenerator

from benchmarks.speed.driver_scale import STUDY, result_of
from sweep.report import write_report
from sweep.running import runner
from sweep.running.conclusion import conclude
from sweep.running.job import Progress, RunOptions, TrialReport
from sweep.running.placement import Node
from sweep.running.placements import Placements
from sweep.running.provenance import write_study
from sweep.running.session import StudySession
from sweep.running.trial_actor import JOBS_KEY, REPORTS_KEY
from sweep.study import LoadedStudy, Resources, load
from sweep.wording import plural


class Clock:
    """Simulated time, s: the driver's CPU time, and what it waits for."""

    def __init__(self) -> None:
        self._now = 0.0
        self._since = time.process_time()
        self.worked_s = 0.0

    def now(self) -> float:
        """What it is now."""
        worked = time.process_time() - self._since
        self._since += worked
        self.worked_s += worked
        self._now += worked
        return self._now

    def wait_until(self, due: float) -> None:
        """Goes on to a time, unless it is over."""
        self._now = max(self.now(), due)


class Made:
    """What stands in Ray's place: lanes that answer after simulated seconds."""

    def __init__(self, clock: Clock, seconds: float, evals: int) -> None:
        self._clock, self._seconds, self._evals = clock, seconds, evals
        self._due: list[tuple[float, int, Any]] = []
        self._counter = itertools.count()
        self._rng = np.random.default_rng(0)
        self.busy_s = 0.0
        """Of all lanes."""
        self.actor = SimpleNamespace(ActorClass=_LaneClass)
        """What Ray Tune asks for with `isinstance`."""
        self.ObjectRef = _Future

    def remote(self, *_: Any, **__: Any) -> Any:
        """As `ray.remote`, which makes a class of actors of a class."""
        return lambda cls: _LaneClass(self)

    def call(self, answer: Any, after_s: float = 0.0) -> "_Future":
        """A call whose answer is there after so many seconds."""
        future = _Future(answer)
        heapq.heappush(self._due, (self._clock.now() + after_s, next(self._counter), future))
        return future

    def wait(self, futures: list[Any], **_: Any) -> tuple[list[Any], list[Any]]:
        """As `ray.wait` for one future. No future is ever dropped here, so the first to be due is one of them."""
        due, _number, future = heapq.heappop(self._due)
        self._clock.wait_until(due)
        return [future], []

    def get(self, future: "_Future") -> Any:
        """As `ray.get`."""
        return future.answer() if callable(future.answer) else future.answer

    def kill(self, actor: Any) -> None:
        """As `ray.kill`."""

    def stretch_s(self) -> float:
        """Until the next evaluation of a training: trainings differ by a tenth."""
        length = self._seconds / self._evals * float(np.exp(self._rng.normal(0, 0.1)))
        self.busy_s += length
        return length

    def answers(self, config: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """What a training reports, evaluation by evaluation."""
        (job,) = config[JOBS_KEY]
        for step in range(1, self._evals):
            report = TrialReport(job.trial_id, progress=Progress(step, self._evals, 1.0, 1.0, 0.5))
            yield {REPORTS_KEY: [report], "done": False}
        yield {REPORTS_KEY: [TrialReport(job.trial_id, result=result_of(job, self._rng), is_last=True)], "done": True}


class _Future:
    def __init__(self, answer: Any) -> None:
        self.answer = answer


class _LaneClass:
    def __init__(self, made: Made) -> None:
        self._made = made

    def options(self, **_: Any) -> "_LaneClass":
        return self

    def remote(self, config: dict[str, Any], **_: Any) -> "_Lane":
        return _Lane(self._made, config)


class _Lane:
    """An actor's handle."""

    def __init__(self, made: Made, config: dict[str, Any]) -> None:
        self._made, self._answers = made, made.answers(config)
        self.__ray_ready__ = _Method(lambda: made.call(True))
        self.train = _Method(lambda: made.call(lambda: next(self._answers), made.stretch_s()))
        self.reset = _Method(self._reset)
        # Nobody waits for it.
        self.get_auto_filled_metrics = _Method(lambda *_, **__: _Future({}))
        self.stop = _Method(lambda: made.call(None))

    def _reset(self, config: dict[str, Any], **_: Any) -> _Future:
        self._answers = self._made.answers(config)
        return self._made.call(True)


class _Method:
    def __init__(self, call: Callable[..., _Future]) -> None:
        self.remote = call


class _Lanes(ResourceManager):
    """So many lanes, all of which are there from the start."""

    def __init__(self, num: int) -> None:
        self._free = num
        self._asked: list[Any] = []

    def request_resources(self, resource_request: Any) -> None:
        self._asked.append(resource_request)

    def cancel_resource_request(self, resource_request: Any) -> None:
        self._asked.remove(resource_request)

    def has_resources_ready(self, resource_request: Any) -> bool:
        return self._free > 0 and bool(self._asked)

    def acquire_resources(self, resource_request: Any) -> AcquiredResources:
        self._asked.remove(resource_request)
        self._free -= 1
        return _Acquired(resource_request)

    def free_resources(self, acquired_resource: AcquiredResources) -> None:
        self._free += 1

    def clear(self) -> None:
        self._asked.clear()


class _Acquired(AcquiredResources):
    def annotate_remote_entities(self, entities: list[Any]) -> list[Any]:
        return entities

    def _annotate_remote_entity(self, entity: Any, bundle: dict[str, float], bundle_index: int) -> Any:
        return entity


class _Silent:
    """A view of a run that nobody looks at."""

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *_: None


@contextmanager
def in_place_of_ray(made: Made, folder: Path) -> Iterator[None]:
    """Within, Ray Tune calls what is made up, and keeps in a folder what it would keep in Ray's session."""
    with ExitStack() as stack:
        for module in (actor_manager, event_manager, class_cache):
            stack.enter_context(mock.patch.object(module, "ray", made))
        stack.enter_context(mock.patch.object(ray_storage, "_get_ray_train_session_dir", lambda: str(folder)))
        yield


class Timed:
    """CPU time by what it was spent on."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def around(self, owner: Any, name: str, title: str) -> None:
        """Counts every call of a method."""
        method = getattr(owner, name)

        def timed(*args: Any, **kwargs: Any) -> Any:
            begun = time.process_time()
            try:
                return method(*args, **kwargs)
            finally:
                self.seconds[title] = self.seconds.get(title, 0.0) + time.process_time() - begun

        setattr(owner, name, timed)


def loaded_study(folder: Path, trials: int, search: str) -> LoadedStudy:
    """The study of `driver_scale`, of so many trials."""
    path = folder / "scale.yaml"
    settings = {"kind": search} | ({"stop_accuracy": 1} if search == "stability" else {})
    path.write_text(yaml.safe_dump(STUDY | {"search": settings, "budget": {"trials": trials, "steps": 100}}))
    return load(path)


def simulate(folder: Path, lanes: int, trials: int, seconds: float, evals: int, search: str) -> Iterator[str]:
    """Runs the study; yields what was measured, a line each."""
    loaded = loaded_study(folder, trials, search)
    clock, timed = Clock(), Timed()
    made = Made(clock, seconds, evals)
    options = RunOptions(folder / "results", "wer", loaded.study.monitor, True, "none")
    placements = Placements(Resources(gpus=1), [Node(cpus=1, gpus=1)] * lanes)
    with StudySession(loaded, folder / "results", 256, clock=clock.now) as session, in_place_of_ray(made, folder):
        write_study(session, None, None)
        timed.around(session, "next_job", "the next setting, with its line in the ledger")
        timed.around(session, "tell", "a result: ledger, search, tables")
        ray_trials = runner._RayTrials()
        searcher = runner._LedgerSearcher(session, options, placements, _Silent(), None, ray_trials)  # type: ignore[arg-type]
        controller = _controller(searcher, ray_trials, session, lanes)
        while not controller.is_finished():
            controller.step()
        assert len(session.results) == trials, f"{len(session.results)} results; {searcher.problem}"
        wall_s, worked_s = clock.now(), clock.worked_s
        yield (
            f"{trials} trials of {seconds:g} s on {lanes} lanes, {plural(evals, 'evaluation')} each, {search} search: "
            f"{wall_s:.0f} s simulated, lanes busy {made.busy_s / lanes / wall_s:.1%} of it"
        )
        spent = {**timed.seconds, "Ray Tune's controller": worked_s - sum(timed.seconds.values())}
        for title, taken in spent.items():
            yield f"  {1e3 * taken / trials:8.2f} ms a trial: {title}"
        yield f"  {1e3 * worked_s / trials:8.2f} ms a trial: all of the driver, {trials / worked_s:.0f} trials a second"
        yield from _end(session, loaded)


def _controller(
    searcher: runner._LedgerSearcher, ray_trials: Any, session: StudySession, lanes: int
) -> tune_controller.TuneController:
    """As `run_trials` has Ray Tune make it."""
    experiment = Experiment(
        name="ray",
        run=Trainable,
        storage_path=str(session.results_dir.resolve()),
        num_samples=sys.maxsize,
        resources_per_trial=PlacementGroupFactory([{"CPU": 1}]),
        trial_dirname_creator=lambda trial: trial.config[JOBS_KEY][0].trial_id,
    )
    search = SearchGenerator(searcher)
    controller = tune_controller.TuneController(
        search_alg=search,
        callbacks=[ray_trials],
        reuse_actors=True,
        storage=experiment.storage,
        trial_checkpoint_config=CheckpointConfig(checkpoint_at_end=False),
        checkpoint_period=1e9,  # type: ignore[arg-type]  # Ray takes any number
        resource_manager_factory=lambda: _Lanes(lanes),
    )
    search.add_configurations([experiment])
    controller.update_max_pending_trials(lanes)
    controller.setup_experiments(experiments=[experiment], total_num_samples=search.total_samples)
    return controller


def _end(session: StudySession, loaded: LoadedStudy) -> Iterator[str]:
    """What is done once all trainings are over."""
    steps: dict[str, Callable[[], Any]] = {"the table of trials": session.write_trials}
    view: list[Any] = []
    steps["the answer"] = lambda: view.append(conclude(session, loaded)[2])
    steps["the report, without courses"] = lambda: write_report(view[0])
    for title, act in steps.items():
        begun, begun_wall = time.process_time(), time.perf_counter()
        act()
        yield f"  {title}: {time.process_time() - begun:.1f} s of CPU time, {time.perf_counter() - begun_wall:.1f} s"


def main() -> None:
    """Prints what was measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lanes", type=int, default=1000)
    parser.add_argument("--trials", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--evals", type=int, default=5)
    parser.add_argument("--search", default="random")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for line in simulate(
            Path(folder), options.lanes, options.trials, options.seconds, options.evals, options.search
        ):
            print(line, flush=True)


if __name__ == "__main__":
    main()
