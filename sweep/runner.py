"""Runs a study's trials on Ray Tune: the only file that starts Ray.

One actor a lane is kept for all its trials (`reuse_actors`), since starting one costs seconds and a proxy trial
tens of seconds. An actor holds the shared dataset and nothing else from trial to trial.
"""

import gc
import logging
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

# Read by Ray when it is imported. Our own store and table replace Ray's per-trial loggers and console output,
# and nothing is sent to the network.
os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_DEDUP_LOGS", "0")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")

import ray
import torch
from ray import tune
from ray.tune.search import Searcher

from slr_models.data.batch import Dataset
from slr_models.errors import SettingError
from sweep.progress import ProgressView
from sweep.records import TrialResult
from sweep.session import StudySession
from sweep.study import Resources
from sweep.trial import Job, RunOptions, TrialRunner, crashed_result

RESULT_KEY = "trial_result"
PROGRESS_KEY = "progress"


class _TrialActor(tune.Trainable):
    """Ray's handle on our trials: one `step()` is the stretch up to the next evaluation."""

    def setup(  # type: ignore[override]  # with_parameters adds the shared objects
        self, config: dict[str, Any], dataset: Dataset, options: RunOptions, num_threads: int, deadline: float
    ) -> None:
        torch.set_num_threads(num_threads)
        self._deadline = deadline
        self._runner = TrialRunner(dataset, options)
        self._start(config["job"])

    def _start(self, job: Job) -> None:
        self._trial = self._runner.start(job)
        self._is_over = False

    def step(self) -> dict[str, Any]:
        if self._is_over:
            return {RESULT_KEY: self._trial.explain(), "done": True}
        report = self._trial.advance()
        if isinstance(report, TrialResult):
            # The driver has the result before the search for its cause begins: nothing that happens then can lose it.
            # The study's time, which trainings that have begun may overrun, is not spent on explanations.
            self._is_over = self._trial.can_explain and time.time() < self._deadline
            return {RESULT_KEY: report, "done": not self._is_over}
        return {PROGRESS_KEY: report, "done": False}

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        # The old trial's model goes before the new one's comes: peak memory is each trial's own, and several
        # trials share a GPU.
        del self._trial
        gc.collect()
        if torch.cuda.is_initialized():
            torch.cuda.empty_cache()
        self._start(new_config["job"])
        return True

    def save_checkpoint(self, checkpoint_dir: str) -> dict[str, Any]:
        # A trial keeps its own checkpoints beside its records, so that they outlive Ray's bookkeeping.
        return {}

    def load_checkpoint(self, checkpoint: dict[str, Any] | None) -> None:
        # A resumed trial finds its own checkpoint when it starts.
        return


class _LedgerSearcher(Searcher):
    """Hands Ray the session's next trainings, and the session what came of them."""

    def __init__(self, session: StudySession, options: RunOptions, num_lanes: int, view: ProgressView) -> None:
        super().__init__()
        self._session = session
        self._options = options
        self._num_lanes = num_lanes
        self._view = view
        self._jobs: dict[str, Job] = {}

    def suggest(  # type: ignore[override]  # Ray's own annotation forgets FINISHED
        self, trial_id: str
    ) -> dict[str, Any] | str | None:
        if len(self._jobs) >= self._num_lanes:
            # Ray asks ahead. A search knows more, and time may be up, when the trial can really start.
            return None
        job = self._session.next_job()
        if job is None:
            return Searcher.FINISHED if self._session.done else None
        self._jobs[trial_id] = job
        self._view.started(job)
        return {"job": job, **job.settings}

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        if PROGRESS_KEY in result:
            self._view.progressed(self._jobs[trial_id], result[PROGRESS_KEY])
        elif RESULT_KEY in result:
            self._session.tell(result[RESULT_KEY])
            self._view.explaining(self._jobs[trial_id])

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        job = self._jobs.pop(trial_id)
        finished = (result or {}).get(RESULT_KEY)
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


@contextmanager
def cluster(address: str | None, resources: Resources) -> Iterator[Cluster]:
    """Starts Ray on this machine (bound to loopback), or joins the cluster at `address`; leaves it at the end.

    Raises:
        SettingError: there is no cluster at the address, or no machine can hold even one trial.
    """
    logging.getLogger("ray").setLevel(logging.ERROR)
    # Ray Tune logs a traceback for every trial whose process dies; ours says so in a line, and tries again.
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
    if address is None:
        context = ray.init(
            # Not a cluster that happens to run here, or that RAY_ADDRESS names.
            address="local",
            include_dashboard=True,
            dashboard_host="127.0.0.1",
            _node_ip_address="127.0.0.1",
            log_to_driver=False,
            logging_level=logging.ERROR,
            num_gpus=torch.cuda.device_count() if resources.gpus else 0,
        )
    elif "://" in address:
        raise SettingError(
            f"--address {address}: Ray Client addresses cannot be used, since the study's ledger is a local file: "
            f"start the command on a machine of the cluster with --address auto, or give host:port"
        )
    else:
        try:
            context = ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
        except (ConnectionError, ValueError) as error:
            raise SettingError(
                f"--address {address}: no Ray cluster answers there, or it wants another RAY_AUTH_TOKEN ({error})"
            ) from error
    try:
        lanes = sum(_lanes(node["Resources"], resources) for node in ray.nodes() if node["Alive"])
        if lanes == 0:
            have = ray.cluster_resources()
            raise SettingError(
                f"resources asks for {resources.cpus} CPUs and {resources.gpus:g} GPUs a trial, but there are "
                f"{have.get('CPU', 0):g} CPUs and {have.get('GPU', 0):g} GPUs: ask for less"
            )
        url = context.dashboard_url
        yield Cluster(f"http://{url}" if url else None, lanes)
    finally:
        ray.shutdown()


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
    trainable = tune.with_parameters(
        _TrialActor,
        dataset=dataset,
        options=options,
        num_threads=resources.cpus,
        # On the clock that all processes share.
        deadline=time.time() + session.left_s,
    )
    tuner = tune.Tuner(
        tune.with_resources(trainable, {"cpu": resources.cpus, "gpu": resources.gpus}),
        tune_config=tune.TuneConfig(
            search_alg=_LedgerSearcher(session, options, num_lanes, view),
            num_samples=-1,
            reuse_actors=True,
            trial_name_creator=_trial_name,
            trial_dirname_creator=lambda trial: trial.config["job"].trial_id,
        ),
        run_config=tune.RunConfig(
            name="ray",
            storage_path=str(session.results_dir.resolve()),
            verbose=0,
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
        ),
    )
    with _sigterm_as_interrupt():
        tuner.fit()
    return session.done


def _trial_name(trial: Any) -> str:
    """Number and settings, for the Ray dashboard: `0007_fp16_lr=0.0012`."""
    job: Job = trial.config["job"]
    parts = [
        f"{path.rsplit('.', 1)[-1]}={value:.3g}" if isinstance(value, float) else str(value)
        for path, value in job.settings.items()
    ]
    return "_".join([job.trial_id, *parts])[:80]


@contextmanager
def _sigterm_as_interrupt() -> Iterator[None]:
    """Ends a run as cleanly on SIGTERM (a job scheduler's way) as on Ctrl-C."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, lambda *_: os.kill(os.getpid(), signal.SIGINT))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
