"""Runs a study's trials on Ray Tune: the only file that starts Ray.

One actor a lane is kept for all its trials (`reuse_actors`), since starting one costs seconds and a proxy trial
tens of seconds. An actor holds the shared dataset and nothing else from trial to trial.
"""

import gc
import logging
import math
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
import torch
from ray import tune

try:
    from ray._raylet import setproctitle  # type: ignore[attr-defined]  # part of the compiled module
except ImportError:
    # No public part of Ray. Without it, `top` and the dashboard's list of processes name trials no more.
    setproctitle = None
from ray.tune.search import Searcher

from slr_models.data.batch import Dataset
from slr_models.errors import MachineError, SettingError
from sweep.command_line import signals_interrupt
from sweep.records import TrialResult
from sweep.running.job import Job, RunOptions
from sweep.running.ray_scheduler import PROGRESS_KEY, TIME_KEY, WORTH_KEY, StudyScheduler, checkpoints_kept, millionths
from sweep.running.session import StudySession
from sweep.running.trial import TrialRunner, crashed_result
from sweep.running.view import ProgressView, trial_title
from sweep.study import Resources
from sweep.training.config import eval_every_steps
from sweep.wording import first_line

RAY_FOLDER = "ray"
RESULT_KEY = "trial_result"
IF_PRUNED_KEY = "if_pruned"
"""What the trial comes to if a scheduler ends it at this evaluation."""

_RAY_ENVIRONMENT = {
    # Our own store and table replace Ray's per-trial loggers and console output.
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "RAY_AIR_NEW_OUTPUT": "0",
    # Nothing is sent to the network.
    "RAY_USAGE_STATS_ENABLED": "0",
    # A training without a GPU of its own leaves CUDA_VISIBLE_DEVICES alone.
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}
"""Read by Ray when it starts and when it runs, here and in its processes, which inherit them."""
_RAY_LOG_LEVELS = {
    "ray": logging.ERROR,
    # Ray Tune logs a traceback for every trial whose process dies; ours says so in a line, and tries again.
    "ray.tune": logging.CRITICAL,
}


class _TrialActor(tune.Trainable):
    """Ray's handle on our trials: one `step()` is the stretch up to the next evaluation."""

    def setup(  # type: ignore[override]  # with_parameters adds the shared objects
        self,
        config: dict[str, Any],
        dataset: Dataset,
        options: RunOptions,
        num_threads: int,
        deadline: float,
        is_scheduled: bool = False,
    ) -> None:
        torch.set_num_threads(num_threads)
        self._deadline = deadline
        self._is_scheduled = is_scheduled
        self._runner = TrialRunner(dataset, options)
        self._start(config["job"])

    def _start(self, job: Job) -> None:
        self._trial = self._runner.start(job)
        self._is_over = False
        # The dashboard shows it as the actor's log.
        print(f"trial {trial_title(job)}", flush=True)

    def __repr__(self) -> str:
        # The dashboard asks once, when the actor is made, so it must hold for all trials to come.
        return f"trials of {self._runner.options.results_dir.name}"

    def step(self) -> dict[str, Any]:
        if setproctitle is not None:
            # Ray names a process by the method that it runs, and does so again after each.
            setproctitle(f"ray::{trial_title(self._trial.job)}")
        if self._is_over:
            return self._end(self._trial.explain(), done=True)
        report = self._trial.advance()
        if isinstance(report, TrialResult):
            # The driver has the result before the search for its cause begins: nothing that happens then can lose it.
            # The study's time, which trainings that have begun may overrun, is not spent on explanations.
            self._is_over = self._trial.can_explain and time.time() < self._deadline
            return self._end(report, done=not self._is_over)
        told: dict[str, Any] = {PROGRESS_KEY: report, "done": False}
        if self._is_scheduled:
            told[TIME_KEY] = millionths(report.step, report.max_steps)
            told[WORTH_KEY] = self._trial.worth
            told[IF_PRUNED_KEY] = self._trial.pruned()
        return told

    def _end(self, result: TrialResult, *, done: bool) -> dict[str, Any]:
        if done:
            print(f"trial {result.trial_id}: {result.verdict.value} after step {result.num_steps}", flush=True)
        told: dict[str, Any] = {RESULT_KEY: result, "done": done}
        if self._is_scheduled:
            told[TIME_KEY] = millionths(result.num_steps, result.max_steps)
            told[WORTH_KEY] = result.objective
        return told

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        # The old trial's model goes before the new one's comes: peak memory is each trial's own, and several
        # trials share a GPU.
        del self._trial
        gc.collect()
        if torch.cuda.is_initialized():
            torch.cuda.empty_cache()
        self._start(new_config["job"])
        return True

    # For schedulers that pause trials, or copy them. A study's own checkpoints lie beside a trial's records, so that
    # they outlive Ray's bookkeeping, and a trial that starts again finds them by itself.

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        self._trial.save(Path(checkpoint_dir))

    def load_checkpoint(self, checkpoint: str) -> None:  # type: ignore[override]  # a folder, since one was saved
        self._trial.restore(Path(checkpoint))


class _LedgerSearcher(Searcher):
    """Hands Ray the session's next trainings, and the session what came of them."""

    def __init__(
        self,
        session: StudySession,
        options: RunOptions,
        num_lanes: int,
        view: ProgressView,
        scheduler: StudyScheduler | None,
    ) -> None:
        super().__init__()
        self._session = session
        self._options = options
        self._num_lanes = num_lanes
        self._view = view
        self._scheduler = scheduler
        self._jobs: dict[str, Job] = {}
        self._if_pruned: dict[str, TrialResult] = {}

    def suggest(  # type: ignore[override]  # Ray's own annotation forgets FINISHED
        self, trial_id: str
    ) -> dict[str, Any] | str | None:
        num_paused = self._scheduler.num_paused if self._scheduler else 0
        num_ahead = self._scheduler.num_ahead if self._scheduler else 0
        if len(self._jobs) - num_paused >= self._num_lanes + num_ahead:
            # Ray asks ahead. A search knows more, and time may be up, when the trial can really start.
            return None
        job = self._session.next_job(num_paused)
        if job is None:
            return Searcher.FINISHED if self._session.done else None
        self._jobs[trial_id] = job
        self._view.started(job)
        return {"job": job, **job.settings}

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        if PROGRESS_KEY in result:
            self._view.progressed(self._jobs[trial_id], result[PROGRESS_KEY])
            if IF_PRUNED_KEY in result:
                self._if_pruned[trial_id] = result[IF_PRUNED_KEY]
        elif RESULT_KEY in result:
            self._session.tell(result[RESULT_KEY])
            self._view.explaining(self._jobs[trial_id])

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        job = self._jobs.pop(trial_id)
        # A scheduler that ends a paused trial gives no result; one that ends a running one keeps its report from us.
        earlier = self._if_pruned.pop(trial_id, None)
        if_pruned = None if error else (result or {}).get(IF_PRUNED_KEY, earlier)
        finished = (result or {}).get(RESULT_KEY, if_pruned)
        if (told := self._session.result(job)) is not None:
            # Without a second result its process died, or was stopped, while it looked for the cause.
            if finished is not None:
                self._session.note_cause(finished)
            self._view.finished(finished or told)
            return
        if finished is None:
            if self._session.lost(job):
                self._view.retried(job)
                return
            finished = crashed_result(
                job, self._options, "the training's process died twice (killed, or out of memory)"
            )
        self._session.tell(finished)
        self._view.finished(finished)

    def __getstate__(self) -> dict[str, Any]:
        # Ray pickles its searcher for its own resume, which is never used: the ledger is the state.
        return {}

    def save(self, checkpoint_path: str) -> None:
        # The ledger is the state; there is nothing else to save.
        return

    def restore(self, checkpoint_path: str) -> None:
        # The ledger is the state; there is nothing else to restore.
        return


@dataclass(frozen=True)
class Cluster:
    """Where trials run."""

    dashboard_url: str | None
    num_lanes: int
    """Trials that can run at the same time."""


class NotStartedError(MachineError):
    """This machine cannot run Ray now."""


@contextmanager
def cluster(address: str | None, resources: Resources) -> Iterator[Cluster]:
    """Starts Ray on this machine, its dashboard on loopback alone, or joins the cluster at `address`; then leaves it.

    Raises:
        SettingError: there is no cluster at the address, or no machine can hold even one trial.
        NotStartedError: Ray does not start on this machine.
    """
    with _environment(_RAY_ENVIRONMENT), _log_levels(_RAY_LOG_LEVELS):
        context = _connected(address, resources)
        try:
            lanes = sum(_lanes(node["Resources"], resources) for node in ray.nodes() if node["Alive"])
            if lanes == 0:
                have = ray.cluster_resources()
                raise SettingError(
                    f"resources asks for {resources.cpus} CPUs and {resources.gpus:g} GPUs a trial, but there are "
                    f"{have.get('CPU', 0):g} CPUs and {have.get('GPU', 0):g} GPUs: ask for less"
                )
            url = context.dashboard_url
            # Ray has put a handler of its own, which would end this process amid a trial.
            with signals_interrupt():
                yield Cluster(f"http://{url}" if url else None, lanes)
        finally:
            ray.shutdown()


def _connected(address: str | None, resources: Resources) -> Any:
    """Ray's context, once it runs."""
    if address is None:
        try:
            return ray.init(
                # Not a cluster that happens to run here, or that RAY_ADDRESS names.
                address="local",
                include_dashboard=True,
                dashboard_host="127.0.0.1",
                _node_ip_address="127.0.0.1",
                log_to_driver=False,
                logging_level=logging.ERROR,
                num_gpus=torch.cuda.device_count() if resources.gpus else 0,
            )
        except Exception as error:
            # Ray raises bare exceptions where its processes do not come up in time.
            ray.shutdown()
            raise NotStartedError(
                f"Ray could not be started on this machine ({first_line(error)}): is it very busy, or out of memory or "
                f"disk space? The same command tries again"
            ) from error
    if "://" in address:
        raise SettingError(
            f"--address {address}: Ray Client addresses cannot be used, since the study's ledger is a local file: "
            f"start the command on a machine of the cluster with --address auto, or give host:port"
        )
    try:
        return ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, ValueError) as error:
        raise SettingError(
            f"--address {address}: no Ray cluster answers there, or it wants another RAY_AUTH_TOKEN, with "
            f"RAY_AUTH_MODE=token ({error})"
        ) from error


@contextmanager
def _environment(defaults: Mapping[str, str]) -> Iterator[None]:
    """Sets the variables of the environment that the user has not set; takes them away at the end."""
    added = {name: value for name, value in defaults.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)


@contextmanager
def _log_levels(levels: Mapping[str, int]) -> Iterator[None]:
    """Sets the levels of loggers, and puts them back at the end."""
    before = {name: logging.getLogger(name).level for name in levels}
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)
    try:
        yield
    finally:
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)


def _lanes(node: dict[str, float], resources: Resources) -> int:
    lanes = int(node.get("CPU", 0) // resources.cpus)
    if resources.gpus:
        # Fractions such as 0.1 are not exact, ten of them still fill a GPU.
        lanes = min(lanes, int(node.get("GPU", 0) / resources.gpus + 1e-9))
    return lanes


def run_trials(
    session: StudySession, dataset: Dataset, options: RunOptions, num_lanes: int, view: ProgressView
) -> bool:
    """Runs everything that the session has to run, inside `cluster`.

    Returns:
        False if it was interrupted (Ctrl-C or SIGTERM): what had finished is kept.
    """
    if session.done:
        return True
    resources = session.study.resources
    scheduler, kept = _scheduler(session, len(dataset.train))
    trainable = tune.with_parameters(
        _TrialActor,
        dataset=dataset,
        options=options,
        num_threads=resources.cpus,
        # On the clock that all processes share.
        deadline=time.time() + session.left_s,
        is_scheduled=scheduler is not None,
    )
    tuner = tune.Tuner(
        tune.with_resources(trainable, {"cpu": resources.cpus, "gpu": resources.gpus}),
        tune_config=tune.TuneConfig(
            search_alg=_LedgerSearcher(session, options, num_lanes, view, scheduler),
            scheduler=scheduler,
            num_samples=-1,
            reuse_actors=True,
            trial_name_creator=lambda trial: trial_title(trial.config["job"]),
            trial_dirname_creator=lambda trial: trial.config["job"].trial_id,
        ),
        run_config=tune.RunConfig(
            name=RAY_FOLDER,
            storage_path=str(session.results_dir.resolve()),
            verbose=0,
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False, num_to_keep=kept),
        ),
    )
    # Otherwise Ray starts one actor at a time, and gives the first one that is free to the trial that still waits for
    # its own: short trials then take turns on one lane, while the others start actors that are dropped.
    side_by_side = {"TUNE_MAX_PENDING_TRIALS_PG": str(num_lanes)}
    try:
        with _environment(side_by_side):
            tuner.fit()
    finally:
        # What waited on disk is over, or begins anew.
        for folder in (session.results_dir / RAY_FOLDER).glob("*/checkpoint_*"):
            shutil.rmtree(folder, ignore_errors=True)
    return session.done


def _scheduler(session: StudySession, num_train: int) -> tuple[StudyScheduler | None, int | None]:
    """The study's scheduler, if it has one, and how many saved states of a trial Ray keeps for it."""
    config, loaded = session.study.scheduler, session.loaded
    if config is None:
        return None, None
    first = loaded.trial_config(loaded.first_settings())
    every = eval_every_steps(first.training, num_train)
    num_evals = math.ceil(loaded.max_steps(first, num_train) / every)
    return StudyScheduler(config, loaded, num_evals), checkpoints_kept(config)
