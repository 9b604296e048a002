"""Passes trials on to TensorBoard, MLflow or Weights & Biases, through Ray's own loggers.

Ray's loggers expect Ray's trials and whatever they report. Ours report objects, and their verdict is known later than
Ray's, so the loggers are told by a view of the run: flat finite numbers at each evaluation, the verdict at the end.
"""

import importlib.util
import logging
import os
import queue
import re
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from slr_models.errors import SettingError
from sweep.records import TrialResult, is_finite
from sweep.redaction import redacted, without_password
from sweep.running.job import Job, Progress
from sweep.running.view import trial_title
from sweep.space import Scalar
from sweep.wording import first_line, settings_line, short_keys

CLOSE_S = 60.0
"""How long the end of a run waits for what is still to be sent."""
MAX_FOLDER_BYTES = 200
"""Of a trial's folder for TensorBoard, which its number tells apart; file systems take 255, encrypted ones less."""
_PACKAGES = {"tensorboard": "tensorboardX", "mlflow": "mlflow", "wandb": "wandb"}


@dataclass(eq=False)
class _LoggedTrial:
    """What Ray's loggers ask of a Ray trial."""

    trial_id: str
    title: str
    config: dict[str, Scalar | None]
    """Settings by their short names."""
    local_path: str
    experiment_dir_name: str
    checkpoint: None = None
    last_result: dict[str, Any] = field(default_factory=dict)

    @property
    def evaluated_params(self) -> dict[str, Scalar | None]:
        """What TensorBoard shows as hyperparameters."""
        return self.config

    def init_local_path(self) -> None:
        """Makes the trial's folder."""
        Path(self.local_path).mkdir(parents=True, exist_ok=True)

    def __str__(self) -> str:
        return self.title


class TrialLogger:
    """A view that tells one of Ray's loggers, on a thread of its own: a slow server holds up no training."""

    def __init__(
        self,
        name: str,
        callback: Any,
        study: str,
        folder_of: Callable[[str], Path],
        *,
        on_end: Callable[[_LoggedTrial, dict[str, str]], None] | None = None,
        address: str | None = None,
    ) -> None:
        """Starts the thread.

        Args:
            name: of the program that is told, for a person.
            callback: Ray's `LoggerCallback`, set up; what it asks of a Ray trial, ours has too.
            study: its name.
            folder_of: title of a trial -> where files of it go.
            on_end: told of each trial's verdict, reason and cause before it ends, where the callback knows no way.
            address: of a server, whose password libraries may put into their errors.
        """
        self.name = name
        self.problem: str | None = None
        """Why nothing is sent any more; None while all is well."""
        self._callback = callback
        self._study = study
        self._folder_of = folder_of
        # Weights & Biases would overwrite the trial of the same number in another run of the study.
        self._begun = int(time.time())
        self._on_end = on_end
        self._address = address
        self._trials: dict[str, _LoggedTrial] = {}
        self._events: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name=f"logs to {name}", daemon=True)
        self._thread.start()

    def __str__(self) -> str:
        return self.name

    def started(self, job: Job) -> None:
        """A training starts, or starts again."""
        if job.trial_id not in self._trials:
            trial = self._trials[job.trial_id] = self._logged(job)
            self._events.put(lambda: self._callback.log_trial_start(trial))

    def progressed(self, job: Job, progress: Progress) -> None:
        """A training was evaluated."""
        numbers = {
            "train_loss": progress.train_loss,
            "val_loss": progress.val_loss,
            "wer": progress.wer,
            "score": progress.score,
            "lr": progress.lr,
            "grad_norm": progress.grad_norm,
            "samples_per_s": progress.samples_per_s,
        }
        self._log(self._trials[job.trial_id], progress.step, numbers)

    def retried(self, job: Job, reason: str) -> None:
        """A training begins again at its first step, under the same name."""

    def explaining(self, job: Job) -> None:
        """A training ended badly; the search for its cause begins."""

    def explained(self, result: TrialResult) -> None:
        """The search for the cause of a training that an earlier run finished, and logged, has ended."""

    def finished(self, result: TrialResult) -> None:
        """A training ended."""
        numbers: dict[str, float | None] = {
            # Of an open end nobody can tell.
            "stable": None if result.verdict.is_open else float(result.stable),
            "objective": result.objective,
            "margin": result.margin,
            "applied_update_rate": result.applied_update_rate,
            "wall_s": result.wall_s,
        }
        if result.stop_step is not None:
            numbers["stop_step"] = float(result.stop_step)
        words = {
            "verdict": result.verdict.value,
            "numbers": result.numbers.value,
            "learning": result.learning.value,
            "reason": result.reason,
        }
        if result.cause is not None:
            words["cause"] = result.cause
        if result.settings_changed_at_step is not None:
            words["settings_at_the_end"] = settings_line(result.settings)
        failed = result.verdict.is_broken_off
        self._end(self._trials.pop(result.trial_id), result.num_steps, numbers, words, failed=failed)

    def close(self) -> None:
        """Ends the trials that are under way as interrupted, and waits for what is still to be sent."""
        for trial in list(self._trials.values()):
            words = {"verdict": "interrupted", "reason": "the run was interrupted; the trial begins anew with the next"}
            self._end(trial, 0, {}, words, failed=True)
        self._events.put(lambda: self._callback.on_experiment_end([]))
        self._events.put(None)
        self._thread.join(CLOSE_S)
        if self._thread.is_alive():
            self.problem = f"it took longer than {CLOSE_S:.0f} s to send the rest"

    def _logged(self, job: Job) -> _LoggedTrial:
        keys = short_keys(job.settings)
        title = trial_title(job)
        config: dict[str, Scalar | None] = {"seed": job.seed, "phase": str(job.phase)}
        config |= {keys[path]: value for path, value in job.settings.items()}
        folder = self._folder_of(title).resolve()
        # Weights & Biases names a folder by it, and takes few characters.
        trial_id = f"{re.sub(r'[^A-Za-z0-9_.-]+', '_', self._study)}-{job.trial_id}-{self._begun:x}"
        return _LoggedTrial(trial_id, title, config, str(folder), self._study)

    def _log(self, trial: _LoggedTrial, step: int, numbers: Mapping[str, float | None], **more: Any) -> None:
        # TensorBoard and MLflow draw no infinite value; what is unknown is left out.
        finite = {key: value for key, value in numbers.items() if is_finite(value)}
        result = {**finite, "training_iteration": step, **more}
        self._events.put(lambda: self._callback.log_trial_result(step, trial, result))

    def _end(
        self,
        trial: _LoggedTrial,
        step: int,
        numbers: Mapping[str, float | None],
        words: dict[str, str],
        *,
        failed: bool,
    ) -> None:
        def end() -> None:
            # TensorBoard writes hyperparameters at the end of a trial; its verdict stands among them.
            trial.config["verdict"] = words["verdict"]
            if self._on_end is not None:
                self._on_end(trial, words)
            self._callback.log_trial_end(trial, failed=failed)

        if numbers:
            # Weights & Biases takes words as configuration.
            self._log(trial, step, numbers, config=words)
        self._events.put(end)

    def _work(self) -> None:
        while (event := self._events.get()) is not None:
            if self.problem is None:
                try:
                    event()
                except BaseException as error:  # a logger's compiled part may raise what is no Exception
                    self.problem = redacted(f"{type(error).__name__}: {first_line(error)}", self._address)


def open_loggers(options: Sequence[str], study: str, results_dir: Path) -> list[TrialLogger]:
    """The loggers that `--log` asks for: `tensorboard`, `mlflow[=URI]`, `wandb[=PROJECT]`.

    Raises:
        SettingError: there is no such logger, it stands twice, its package is missing, or it cannot be reached.
    """
    asked = check_loggers(options)
    return [_open(name, target, study, results_dir) for name, target in asked.items()]


def check_loggers(options: Sequence[str]) -> dict[str, str | None]:
    """Name -> target, as `--log` asks for them.

    Raises:
        SettingError: there is no such logger, it stands twice, or its package is missing.
    """
    found: dict[str, str | None] = {}
    for option in options:
        name, has_target, target = option.partition("=")
        if name not in _PACKAGES or (has_target and (not target or name == "tensorboard")):
            raise SettingError(f"--log {option}: give tensorboard, mlflow, mlflow=URI, wandb or wandb=PROJECT")
        if name in found:
            raise SettingError(f"--log {option}: {name} stands twice, and a run logs to one of each")
        if importlib.util.find_spec(_PACKAGES[name]) is None:
            package = "mlflow-skinny" if name == "mlflow" else _PACKAGES[name]
            # What TensorBoard's files are written with comes with Ray Tune.
            extra = "" if name == "tensorboard" else f", or pip install 'slr-stability-sweep[{name}]'"
            raise SettingError(f"--log {option}: the package {package} is missing: pip install {package}{extra}")
        found[name] = target or None
    return found


def _open(name: str, target: str | None, study: str, results_dir: Path) -> TrialLogger:
    try:
        match name:
            case "tensorboard":
                return _tensorboard(study, results_dir)
            case "mlflow":
                return _mlflow(target, study, results_dir)
            case _:
                return _wandb(target, study, results_dir)
    except Exception as error:
        # Without the original, whose text and traceback may hold the address with its password.
        problem = f"--log {name}{'=' + target if target else ''}: {first_line(error)}"
        raise SettingError(redacted(problem, target, os.environ.get("MLFLOW_TRACKING_URI"))) from None


def _tensorboard(study: str, results_dir: Path) -> TrialLogger:
    from ray.tune.logger import TBXLoggerCallback

    # TensorBoard names a run by its folder.
    def folder(title: str) -> Path:
        # Files may have names of fewer letters here than a setting's value.
        encoding = sys.getfilesystemencoding()
        name = re.sub(r"[^\w .=+-]", "_", title.encode(encoding, "replace").decode(encoding))
        short = name.encode(encoding)[:MAX_FOLDER_BYTES].decode(encoding, "ignore")
        return results_dir / "tensorboard" / short.rstrip(" .")

    return TrialLogger("TensorBoard", TBXLoggerCallback(), study, folder)


def _mlflow(uri: str | None, study: str, results_dir: Path) -> TrialLogger:
    # Nothing but the trials goes to the network; a server that does not answer is known in seconds, not in minutes.
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
    import mlflow
    from ray.air.integrations.mlflow import MLflowLoggerCallback

    for noisy in ("mlflow", "alembic"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    results_dir.mkdir(parents=True, exist_ok=True)
    own = f"sqlite:///{results_dir.resolve() / 'mlflow.db'}"
    given = uri or os.environ.get("MLFLOW_TRACKING_URI") or own
    tracking_uri = given
    if given.startswith(("http://", "https://")):
        # MLflow, and what it is made of, puts addresses into errors, warnings and logs; passwords have another way.
        tracking_uri, user, password = without_password(given)
        if user:
            os.environ.update(MLFLOW_TRACKING_USERNAME=user, MLFLOW_TRACKING_PASSWORD=password)
    callback = MLflowLoggerCallback(tracking_uri=tracking_uri, experiment_name=study, tags={"study": study})
    callback.setup()
    client = mlflow.MlflowClient(tracking_uri=tracking_uri)

    def tag(trial: _LoggedTrial, words: dict[str, str]) -> None:
        for key, value in words.items():
            client.set_tag(callback._trial_runs[trial], key, value)

    return TrialLogger("MLflow", callback, study, lambda title: results_dir, on_end=tag, address=given)


def _wandb(project: str | None, study: str, results_dir: Path) -> TrialLogger:
    # Reports of crashes would go to the makers of wandb, whatever its mode.
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    from sweep.live.keyless_wandb import KeylessWandb

    results_dir.mkdir(parents=True, exist_ok=True)
    # It makes a folder `wandb` there.
    callback: Any = KeylessWandb(
        project=project or re.sub(r"[/\\#?%:]", "_", study),
        group=study,
        dir=str(results_dir.resolve()),
        mode=os.environ.get("WANDB_MODE"),
    )
    callback.setup()
    return TrialLogger("Weights & Biases", callback, study, lambda title: results_dir)
