"""Runs a study's trials on Ray Tune, once `cluster` has started it.

One actor a lane is kept for all its trials (`reuse_actors`), since starting one costs seconds and a proxy trial
tens of seconds. An actor holds the shared dataset and nothing else from trial to trial.
"""

import _thread
import dataclasses
import math
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from ray import tune
from ray.air.execution import FixedResourceManager
from ray.tune.execution import class_cache, tune_controller
from ray.tune.search import Searcher
from ray.tune.stopper import Stopper

from slr_models.data.batch import Dataset
from slr_models.errors import MachineError
from sweep.machine import failure_in, refusal
from sweep.records import Outcome, TrialResult
from sweep.running.cluster import Cluster, environment, living_nodes
from sweep.running.job import Job, RunOptions, TrialReport
from sweep.running.judged import crashed_result
from sweep.running.nodes import NONE_LEFT, Nodes
from sweep.running.placement import Placement, Slot
from sweep.running.placements import Placements
from sweep.running.ray_scheduler import StudyScheduler, checkpoints_kept
from sweep.running.ray_trials import RayTrials
from sweep.running.room import Room, UnderWay
from sweep.running.session import StudySession
from sweep.running.trial import smaller_note
from sweep.running.trial_actor import (
    FOOTPRINT_KEY,
    IF_PRUNED_KEY,
    JOBS_KEY,
    NOT_REUSED,
    PROBLEM_KEY,
    REPORTS_KEY,
    TrialActor,
)
from sweep.running.view import ProgressView, trials_title
from sweep.training.config import eval_every_steps, with_micro_batch, with_smaller_micro_batch

_T = TypeVar("_T")

RAY_FOLDER = "ray"
"""In the results folder while trainings run: a folder for each that has begun, and what a scheduler keeps of them."""
SHARE_KEY = "share"
"""Of a trial's configuration: what it asks Ray for."""
LABELS_KEY = "labels"
"""Of a trial's configuration: what its node has to be labelled with."""
LATE_S = 30.0
"""A process that has not begun for so long waits for room; Ray starts one within a few seconds."""

_LOW_MEMORY = "running low on memory"
"""Of what Ray says where it ended a process before the system would have."""


class _LedgerSearcher(Searcher):
    """Hands Ray the session's next trainings, and the session what came of them.

    Where the machine fails, here or in a training, all of it ends: see `problem`.
    """

    def __init__(
        self,
        session: StudySession,
        options: RunOptions,
        placements: Placements,
        view: ProgressView,
        scheduler: StudyScheduler | None,
        ray_trials: RayTrials,
        check_ray: Callable[[], None] = lambda: None,
        told: Callable[[str], None] = lambda line: None,
        nodes: Nodes | None = None,
    ) -> None:
        super().__init__()
        self._ray_trials = ray_trials
        self._nodes = nodes
        """Of a cluster that was joined; None where there is this machine alone."""
        self._check_ray = check_ray
        self._session = session
        self._options = options
        self._placements = placements
        self._told = told
        self._view = view
        self._scheduler = scheduler
        self._jobs: dict[str, dict[str, Job]] = {}
        """The trainings under way: those of a process by their ids, by Ray's id of it."""
        self._given: dict[str, tuple[Placement, float]] = {}
        """What each process under way asks for, and when it was given to Ray, by Ray's id of it."""
        self._apart: set[str] = set()
        """Trainings that are to have a process for themselves, since one in which they were with others died."""
        self._next: Job | None = None
        """A training that was to start next, and could not start with those before it."""
        self._if_pruned: dict[str, TrialResult] = {}
        self._shares: dict[str, Slot] = {}
        """What each training was given at last, by its number in the study."""
        self._ray_ids: dict[str, str] = {}
        """Ray's id of the process that each training was given at last, likewise."""
        self._alone: set[str] = set()
        """Trainings that found no memory on a GPU that they shared."""
        self.problem: str | None = None
        """What the machine failed at; from then on nothing is started, and nothing told."""

    def suggest(  # type: ignore[override]  # Ray's own annotation forgets FINISHED
        self, trial_id: str
    ) -> dict[str, Any] | str | None:
        suggested = self._unless_machine_fails(lambda: self._suggested(trial_id))
        # Where nothing runs, Ray asks again and again, until it is told that nothing follows.
        return suggested if self.problem is None else Searcher.FINISHED

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        self._unless_machine_fails(lambda: self._heard(trial_id, result))

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        self._unless_machine_fails(lambda: self._ended(trial_id, result or {}, died=error))

    def _unless_machine_fails(self, act: Callable[[], _T]) -> _T | None:
        """What `act` gives; None where it is not to be done any more."""
        if self.problem is not None:
            return None
        try:
            return act()
        except MachineError as error:
            self.problem = str(error)
        except OSError as error:
            self.problem = refusal(error)
        return None

    def _suggested(self, trial_id: str) -> dict[str, Any] | str | None:
        if self._nodes is not None:
            self._heed(self._nodes)
        num_paused = self._scheduler.num_paused if self._scheduler else 0
        num_ahead = self._scheduler.num_ahead if self._scheduler else 0
        room = self._placements.room(self._under_way())
        if room is None and len(self._jobs) - num_paused >= self._placements.num_lanes + num_ahead:
            # Ray asks ahead. A search knows more, and time may be up, when the trial can really start.
            return None
        jobs = self._next_jobs(num_paused, room)
        if not jobs:
            return Searcher.FINISHED if self._session.done else None
        self._jobs[trial_id] = {job.trial_id: job for job in jobs}
        kind = self._placements.of(jobs[0].settings)
        self._given[trial_id] = kind, time.monotonic()
        share = kind.whole if jobs[0].trial_id in self._alone else kind.share
        # A Ray of our own has a single node, which was looked at.
        resources, labels = ({}, {}) if self._nodes is None else kind.node_needs
        for job in jobs:
            self._shares[job.trial_id] = share
            self._ray_ids[job.trial_id] = trial_id
            if job.told is None:
                self._view.started(job)
            else:
                self._view.explaining(job)
        asked = {SHARE_KEY: _bundle(share) | resources, LABELS_KEY: labels}
        return {JOBS_KEY: jobs, **asked, **(jobs[0].settings if len(jobs) == 1 else {})}

    def _under_way(self) -> Iterator[UnderWay]:
        """The processes that take room, or are to."""
        for trial_id, (kind, since) in self._given.items():
            is_late = not self._ray_trials.has_begun(trial_id) and time.monotonic() - since > LATE_S
            yield UnderWay(kind, self._ray_trials.node_id(trial_id), is_late)

    def _next_jobs(self, num_paused: int, room: Room | None) -> list[Job]:
        """The trainings of the next process; none where nothing can start now."""
        jobs, most = list[Job](), self._num_together
        while len(jobs) < most:
            job, self._next = self._next or self._session.next_job(num_paused, room), None
            if job is None:
                break
            is_apart = job.told is not None or job.trial_id in self._apart
            if is_apart and jobs:
                self._next = job
                break
            jobs.append(job)
            if is_apart:
                break
        return jobs

    @property
    def _num_together(self) -> int:
        """How many trainings the next process is to have: the lanes share out those that are left."""
        share = math.ceil(self._session.num_waiting / self._placements.num_lanes)
        return max(1, min(self._placements.num_together, share))

    def _heard(self, trial_id: str, result: dict[str, Any]) -> None:
        self._note(self._given[trial_id][0], result)
        for report in result[REPORTS_KEY]:
            job = self._jobs[trial_id][report.trial_id]
            self._note_of(job, report)
            if report.progress is not None:
                self._view.progressed(job, report.progress)
                if IF_PRUNED_KEY in result:
                    self._if_pruned[trial_id] = result[IF_PRUNED_KEY]
            elif report.is_last:
                del self._jobs[trial_id][report.trial_id]
                self._over(job, report.result, "", died=False)
            elif report.result is not None:
                self._session.tell(self._placed(job, report.result))
                self._view.explaining(job)

    def _note(self, kind: Placement, result: dict[str, Any]) -> None:
        if PROBLEM_KEY in result:
            raise MachineError(result[PROBLEM_KEY])
        if FOOTPRINT_KEY in result:
            self._place(self._placements.measured(kind, result[FOOTPRINT_KEY]))

    def _note_of(self, job: Job, report: TrialReport) -> None:
        if report.note is not None:
            self._view.retried(job, report.note)

    def _placed(self, job: Job, result: TrialResult) -> TrialResult:
        """The result, knowing where it was trained, and with how many it was to share its GPU, where that was found out
        on the way."""
        if job.told is not None:
            return result
        if self._nodes is not None:
            node_id = self._ray_trials.node_id(self._ray_ids[job.trial_id])
            result = dataclasses.replace(result, node=self._nodes.name(node_id))
        if not self._placements.usual.is_auto:
            return result
        return dataclasses.replace(result, gpu_shared_by=self._shares[job.trial_id].num_on_gpu)

    def _found_no_memory(self, job: Job, result: TrialResult) -> bool:
        """Whether a training ran out of memory where it shared a GPU; it is then tried again, and has one alone."""
        shared = self._placements.usual.is_auto and self._shares[job.trial_id].gpus < 1
        if result.verdict is not Outcome.OUT_OF_MEMORY or not shared or job.told is not None:
            return False
        self._alone.add(job.trial_id)
        self._session.again(job)
        self._view.retried(job, "the GPU that it shares has no memory left; it begins anew, with one alone")
        self._place(self._placements.ran_out_on_card(self._placements.of(job.settings)))
        return True

    def _place(self, changed: str | None) -> None:
        """Takes what changes for the trainings to come, if anything does."""
        if changed is not None:
            self._session.lanes_changed(self._placements.least_trials)
            self._told(f"from now on {changed}")

    def _heed(self, nodes: Nodes) -> None:
        """Takes what has become of the nodes, and of the trainings on them.

        Where none is left, one training still asks for its place: it starts where a node joins, and a cluster that
        scales itself sees that one is wanted.

        Raises:
            MachineError: there has been none for too long.
        """
        if (changed := nodes.changed()) is not None:
            self._placements.nodes_changed(nodes.alive)
            self._session.lanes_changed(self._placements.least_trials)
            left = f"from now on {self._placements.line}" if self._placements.num_fitting else NONE_LEFT
            self._told(f"{changed}; {left}")
        for death, with_node in nodes.understood():
            if with_node:
                self._preempt(list(death.jobs), nodes.name(death.node_id))
            else:
                self._died(list(death.jobs), death.said)
        nodes.check_wait(self._placements.num_fitting_of(kind for kind, _ in self._given.values()))

    def _preempt(self, jobs: list[Job], node: str | None) -> None:
        """Takes note that a process died with its node: its trainings go on elsewhere, and none of them has failed."""
        for job in reversed(jobs):
            if (told := self._session.result(job)) is not None:
                # The cause alone was still looked for.
                self._over(job, told, "", died=True)
                continue
            self._session.preempted(job)
            kept = self._options.results_dir / "checkpoints" / job.trial_id
            how = "goes on from its last checkpoint" if any(kept.glob("*.pt")) else "begins anew, without a checkpoint"
            self._view.retried(job, f"its node{'' if node is None else f' {node}'} was lost; it {how}")

    def _ended(self, trial_id: str, result: dict[str, Any], *, died: bool) -> None:
        jobs, (kind, _) = self._jobs.pop(trial_id), self._given.pop(trial_id)
        if died:
            # With Ray itself all trainings end, and none of them has failed.
            self._check_ray()
            said = self._ray_trials.text(trial_id)
            if self._nodes is None:
                self._died(list(jobs.values()), said)
            else:
                self._nodes.died(jobs.values(), said, self._ray_trials.node_id(trial_id))
            return
        self._note(kind, result)
        # A scheduler that ends a paused trial gives no result; one that ends a running one keeps its report from us.
        earlier = self._if_pruned.pop(trial_id, None)
        if_pruned = result.get(IF_PRUNED_KEY, earlier)
        last = {report.trial_id: report for report in result.get(REPORTS_KEY, ())}
        for job in reversed(jobs.values()):
            report = last.get(job.trial_id)
            if report is not None:
                self._note_of(job, report)
            finished = None if report is None else report.result
            self._over(job, finished or if_pruned, "", died=False)

    def _died(self, jobs: list[Job], said: str) -> None:
        """Takes the end of a process that died, given its trainings and what Ray says of it."""
        # Those that are tried again are put before all others.
        for job in reversed(jobs):
            if len(jobs) > 1 and self._session.result(job) is None:
                self._part(job, said)
            else:
                self._over(job, None, said, died=True)

    def _part(self, job: Job, said: str) -> None:
        """Takes note that a process of several trainings died, whoever of them is to blame; each gets its own."""
        if (refused := failure_in(said)) is not None:
            raise MachineError(refused)
        self._apart.add(job.trial_id)
        self._session.lost(job)
        why = "memory ran out, and Ray ended the process" if _LOW_MEMORY in said else "the process died"
        self._view.retried(job, f"{why} that it shared with others; it goes on in one of its own")

    def _over(self, job: Job, finished: TrialResult | None, said: str, *, died: bool) -> None:
        """Takes the end of a training.

        Args:
            job: the training.
            finished: its result, where it has one.
            said: what Ray says of the end of its process.
            died: whether that ended by itself.
        """
        if finished is not None:
            finished = self._placed(job, finished)
        if (told := self._session.result(job)) is not None:
            # Without a second result its process was stopped while it looked for the cause, or died, and would again.
            if finished is not None or died:
                self._session.note_cause(finished or told)
            if job.told is None:
                self._view.finished(finished or told)
            else:
                self._view.explained(finished or told)
            return
        if finished is None:
            finished = self._after_death(job, said)
            if finished is None:
                return
        elif self._found_no_memory(job, finished):
            return
        self._session.tell(finished)
        self._view.finished(finished)

    def _after_death(self, job: Job, said: str) -> TrialResult | None:
        """What comes of a training whose process died; None where it is tried again.

        Args:
            job: the training.
            said: what Ray says of it.

        Raises:
            MachineError: the machine failed.
        """
        if (refused := failure_in(said)) is not None:
            raise MachineError(refused)
        if NOT_REUSED in said:
            self._session.again(job)
            self._view.retried(job, f"{NOT_REUSED}; it begins in another process")
            return None
        is_memory = _LOW_MEMORY in said
        if is_memory:
            self._place(self._placements.ran_out_on_host(self._placements.of(job.settings)))
        if is_memory and self._options.accumulates:
            smaller = with_smaller_micro_batch(with_micro_batch(job.ctc_config, job.micro_batch))
            if smaller is not None:
                self._session.try_smaller(job, smaller.training.batch_size)
                self._view.retried(job, smaller_note(smaller))
                return None
        if self._session.lost(job):
            why = "memory ran out, and Ray ended its process" if is_memory else "its process died"
            self._view.retried(job, f"{why}; trying once more")
            return None
        if is_memory:
            reason = "memory ran out, and Ray ended the training's process, twice"
            return crashed_result(job, self._options, reason, Outcome.OUT_OF_MEMORY)
        return crashed_result(job, self._options, "the training's process died twice (killed, or out of memory)")

    def __getstate__(self) -> dict[str, Any]:
        # Ray pickles its searcher for its own resume, which is never used: the ledger is the state.
        return {}

    def save(self, checkpoint_path: str) -> None:
        # The ledger is the state; there is nothing else to save.
        return

    def restore(self, checkpoint_path: str) -> None:
        # The ledger is the state; there is nothing else to restore.
        return


class _AtProblem(Stopper):
    """Ends all trainings where the machine has failed."""

    def __init__(self, searcher: _LedgerSearcher) -> None:
        self._searcher = searcher

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        return self._searcher.problem is not None

    def __getstate__(self) -> dict[str, Any]:
        return {}


def run_trials(
    session: StudySession,
    dataset: Dataset | None,
    options: RunOptions,
    ray: Cluster,
    placements: Placements,
    view: ProgressView,
    end_at: float = math.inf,
    told: Callable[[str], None] = lambda line: None,
) -> bool:
    """Runs everything that the session has to run, inside `cluster`.

    Args:
        session: the study under way.
        dataset: all trainings'; None where programs of the user's own train.
        options: all trainings'.
        ray: where.
        placements: how many run there at once, and what each takes.
        view: hears of each.
        end_at: when those that run then are interrupted, on `time.monotonic`.
        told: hears a line whenever that changes, or nodes of a cluster come or go.

    Returns:
        False if it was interrupted (Ctrl-C, SIGTERM, or in time): what had finished is kept, and trainings that had
        not go on from their checkpoint, where they keep one, the next time.

    Raises:
        MachineError: the machine failed, here or in a training: what had finished is kept.
    """
    if session.done:
        return True
    session.lanes_changed(placements.least_trials)
    scheduler, kept = _scheduler(session, 0 if dataset is None else len(dataset.train))
    ray_trials = RayTrials(asks_where=not ray.is_own)
    nodes = None if ray.is_own else Nodes(living_nodes)
    searcher = _LedgerSearcher(session, options, placements, view, scheduler, ray_trials, ray.check, told, nodes)
    trainable = tune.with_parameters(
        TrialActor,
        dataset=dataset,
        options=options,
        # On the clock that all processes share.
        deadline=time.time() + min(session.left_s, end_at - time.monotonic()),
        is_scheduled=scheduler is not None,
    )
    tuner = tune.Tuner(
        tune.with_resources(trainable, lambda config: _request(config[SHARE_KEY], config[LABELS_KEY])),
        tune_config=tune.TuneConfig(
            search_alg=searcher,
            scheduler=scheduler,
            num_samples=-1,
            reuse_actors=True,
            trial_name_creator=lambda trial: trials_title(trial.config[JOBS_KEY]),
            trial_dirname_creator=lambda trial: trial.config[JOBS_KEY][0].trial_id,
        ),
        run_config=tune.RunConfig(
            name=RAY_FOLDER,
            storage_path=str(session.results_dir.resolve()),
            verbose=0,
            stop=_AtProblem(searcher),
            callbacks=[ray_trials],
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False, num_to_keep=kept),
        ),
    )
    # Otherwise Ray starts one actor at a time, and gives the first one that is free to the trial that still waits for
    # its own: short trials then take turns on one lane, while the others start actors that are dropped.
    side_by_side = {"TUNE_MAX_PENDING_TRIALS_PG": str(placements.most_lanes)}
    # What a killed run left there would be taken for trainings under way.
    shutil.rmtree(session.results_dir / RAY_FOLDER, ignore_errors=True)
    try:
        with environment(side_by_side), _ready_workers(ray), _interrupted_at(end_at):
            tuner.fit()
    except OSError as error:
        raise MachineError(refusal(error, session.results_dir)) from error
    finally:
        # What waited on disk is over, or begins anew; Ray Tune's own state is never read.
        shutil.rmtree(session.results_dir / RAY_FOLDER, ignore_errors=True)
    if searcher.problem is not None:
        raise MachineError(f"{searcher.problem} (nothing of a finished trial is lost)")
    return session.done


def _bundle(share: Slot) -> dict[str, float]:
    """A share as Ray counts it."""
    asked = {"CPU": share.cpus, "GPU": share.gpus, "memory": int(share.memory_mib * 2**20)}
    return {name: amount for name, amount in asked.items() if amount}


def _request(bundle: dict[str, float], labels: dict[str, str]) -> tune.PlacementGroupFactory:
    """What Ray is asked for: a share, on a node that has these labels."""
    selector: dict[str, Any] = {"bundle_label_selector": [labels]} if labels else {}
    return tune.PlacementGroupFactory([bundle], **selector)


@contextmanager
def _ready_workers(ray: Cluster) -> Iterator[None]:
    """Within, Ray Tune takes the workers that a Ray of our own has ready, which have imported what a training needs.

    For an actor in a placement group, or with variables of its own, Ray starts a new one, and that imports it again.
    """
    # No public parts of Ray. The variables are those that `cluster` sets for all of Ray's processes.
    manager, variables = vars(tune_controller)["PlacementGroupResourceManager"], dict(class_cache.DEFAULT_ENV_VARS)
    if ray.is_own:
        vars(tune_controller)["PlacementGroupResourceManager"] = FixedResourceManager
        class_cache.DEFAULT_ENV_VARS.clear()
    try:
        yield
    finally:
        vars(tune_controller)["PlacementGroupResourceManager"] = manager
        class_cache.DEFAULT_ENV_VARS.update(variables)


@contextmanager
def _interrupted_at(end_at: float) -> Iterator[None]:
    """Within, Ray Tune is told to end in good order at a time on `time.monotonic`, as it is by Ctrl-C."""
    over = threading.Event()

    def wait() -> None:
        if over.wait(max(end_at - time.monotonic(), 0)):
            return
        # It may have no handler yet, and takes no harm from hearing of it twice.
        while not over.is_set():
            _thread.interrupt_main(getattr(signal, "SIGUSR1", signal.SIGINT))
            over.wait(1.0)

    if end_at < math.inf:
        threading.Thread(target=wait, name="time-limit", daemon=True).start()
    try:
        yield
    finally:
        over.set()


def _scheduler(session: StudySession, num_train: int) -> tuple[StudyScheduler | None, int | None]:
    """The study's scheduler, if it has one, and how many saved states of a trial Ray keeps for it."""
    config, loaded = session.study.scheduler, session.loaded
    if config is None:
        return None, None
    if session.study.is_own:
        # Their evaluations come when the program likes; those schedulers that count them are not had with it.
        return StudyScheduler(config, loaded, 1), checkpoints_kept(config)
    first = loaded.trial_config(loaded.first_settings())
    every = eval_every_steps(first.training, num_train)
    num_evals = math.ceil(loaded.max_steps(first, num_train) / every)
    return StudyScheduler(config, loaded, num_evals), checkpoints_kept(config)
