"""Judges a training of Keras 3: `model.fit(..., callbacks=[StabilityCallback()])`.

Where the numbers come from:

| number     | from                                                                                                  |
|------------|-------------------------------------------------------------------------------------------------------|
| loss       | what the loss metric gained since the step before; what Keras logs is its mean over the epoch so far  |
| gradient   | with the torch backend the norm before clipping; with others unknown                                  |
| loss scale | `LossScaleOptimizer`, which also tells the steps that it left out                                     |
| weights    | looked through every 10 steps, and whenever a loss or gradient is not finite                          |
| validation | `val_loss` of an epoch                                                                                |

From a NaN on that metric is NaN until the epoch ends: the losses in between are unknown, and the weights are looked
through at every step. With `steps_per_execution` Keras calls after so many steps, which are judged as one. With the JAX
backend every call asks Keras for its state (`jax_state_sync`), which takes time.
"""

import json
import logging
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sweep.integrations.missing import needed

with needed("keras", by=__name__):
    import keras

from sweep.integrations.watch import OneProcess, Reporter, Seen, Watch, line, told
from sweep.judging import MonitorConfig
from sweep.records import Verdict

logger = logging.getLogger(__name__)

STATE_FILE = "stability.json"
KEPT_STATES = 2
"""Of the latest backups: `BackupAndRestore(double_checkpoint=True)` may go back by one."""

FLOAT32_RESOLUTION = 2.0**-23
LARGEST_ERROR = 0.02
"""Share of a loss; where the metric holds less of it, several steps are taken together."""


class StabilityCallback(keras.callbacks.Callback):  # type: ignore[misc]
    """Stops a training that is lost, and says how it went.

    The history that `fit` returns gets `stability_verdict`, `stability_reason` and (of an alarm) `stability_stop_step`,
    at its last epoch; one line is printed, and `verdict` is set.

    `keras.callbacks.BackupAndRestore` offers other callbacks no place in its backup. To go on after an interruption
    with what was seen before, list this one after it and give both the same `backup_dir`: whenever the model is backed
    up, the judge's memory is put beside it, and it is taken up again by a model that comes back with that many steps.
    """

    def __init__(
        self,
        l_const: float | None = None,
        budget_steps: int | None = None,
        stop: bool = True,
        config: MonitorConfig | None = None,
        backup_dir: str | Path | None = None,
        run: Reporter | None = None,
    ) -> None:
        """All settings may be left out.

        Args:
            l_const: loss of a model that ignores its input, in the unit of the training's loss; sharpens the verdict.
            budget_steps: optimizer steps that the training is planned for; None for what `fit` is told.
            stop: whether an alarm stops the training, or is only told.
            config: the rules and their thresholds.
            backup_dir: folder of `BackupAndRestore`; None keeps nothing.
            run: that of a study, as its function was given it: the training reports through it, by the study's rules
                and for its budget, and ends where it says so. With several processes, the first one's.
        """
        super().__init__()
        self._stop = stop or run is not None
        self._watch = Watch(l_const, budget_steps, MonitorConfig() if config is None else config, run)
        self._backup = None if backup_dir is None else _Backup(Path(backup_dir))
        self._losses = _LossGains()
        self._norms: list[float] = []
        """Of the batches since the latest optimizer step."""
        self._step = 0
        self._iterations = 0
        """Applied steps, as the optimizer counts them."""
        self._loss_scale: float | None = None
        """In force for the next batch."""

    @property
    def verdict(self) -> Verdict | None:
        """Of the alarm, or of the end; None before."""
        return self._watch.verdict

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Begins to watch, or goes on where the model's backup was made."""
        self._iterations, self._loss_scale = self._read_optimizer()
        self._step, memory = self._iterations, None
        if self._backup is not None:
            self._backup.is_new()
            if (found := self._backup.read(self._iterations)) is not None:
                self._step, memory = found
            elif self._iterations:
                logger.warning(
                    "stability: %s holds nothing of step %d, where the model is: judged from here on as if it began "
                    "here. List StabilityCallback after BackupAndRestore",
                    self._backup.path,
                    self._iterations,
                )
        self._watch.begin(self._planned_steps(), OneProcess(), memory)

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Keras has set its metrics back."""
        self._losses.begin_epoch()

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Takes the batch's loss, and judges the step if the optimizer stepped."""
        if keras.backend.backend() == "jax":
            self.model.jax_state_sync()
        self._losses.take(self.model, logs or {})
        scale_before, iterations_before = self._loss_scale, self._iterations
        if (norm := self._gradient_norm()) is not None:
            self._norms.append(norm)
        self._iterations, self._loss_scale = self._read_optimizer()
        num_applied = self._iterations - iterations_before
        left_out = scale_before is not None and self._loss_scale is not None and self._loss_scale < scale_before
        if num_applied or left_out:
            self._step += max(num_applied, 1)
            self._judge(scale_before, applied=num_applied > 0)
        self._keep()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Takes the validation loss; keeps the memory, if the model was backed up."""
        if logs is not None and "val_loss" in logs:
            self._watch.observe_validation(self._step, float(logs["val_loss"]))
        self._keep()

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Says how the training ended, also in the history that `fit` returns."""
        if self.verdict is None:
            self._tell(self._watch.finish())
        # There is none where the user made the list of callbacks without it.
        history = getattr(self.model, "history", None)
        if isinstance(history, keras.callbacks.History):
            for name, value in told(self._watch.finish()).items():
                # As long as the other columns: histories are made into tables.
                history.history[name] = [None] * (len(history.epoch) - 1) + [value]

    def _judge(self, loss_scale: float | None, applied: bool) -> None:
        grad_norm = sum(self._norms) / len(self._norms) if self._norms else None
        seen = Seen(self._losses.mean(), grad_norm, loss_scale, applied)
        self._norms.clear()
        if self._losses.hidden or seen.asks_for_weights(self._step):
            seen = replace(seen, params_finite=self._params_finite())
        if self._watch.observe(self._step, seen):
            self._tell(self._watch.finish())
            self.model.stop_training |= self._stop

    def _tell(self, verdict: Verdict) -> None:
        if self.params.get("verbose"):
            # On a line of its own, below the progress bar.
            print(f"\n{line(verdict, self._stop)}")
        logger.info(line(verdict, self._stop))

    def _keep(self) -> None:
        if self._backup is not None and self._backup.is_new():
            self._backup.write(self._iterations, self._step, self._watch.memory())

    def _planned_steps(self) -> int | None:
        epochs, batches = self.params.get("epochs"), self.params.get("steps")
        if not epochs or not batches:
            return None
        optimizer = self.model.optimizer
        if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
            optimizer = optimizer.inner_optimizer
        return int(epochs * batches // (optimizer.gradient_accumulation_steps or 1))

    def _read_optimizer(self) -> tuple[int, float | None]:
        """Steps that it applied, and the loss scale."""
        optimizer = self.model.optimizer
        scale = None
        if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
            scale = float(optimizer.dynamic_scale if optimizer.built else optimizer.initial_scale)
        return int(optimizer.iterations), scale

    def _gradient_norm(self) -> float | None:
        """Of the batch; unscaled."""
        if keras.backend.backend() != "torch":
            return None
        from sweep.integrations import tensors

        norm = tensors.gradient_norm(variable.value for variable in self.model.trainable_variables)
        return None if norm is None else norm.item() / (self._loss_scale or 1.0)

    def _params_finite(self) -> bool:
        finite = [keras.ops.all(keras.ops.isfinite(variable)) for variable in self.model.trainable_variables]
        return not finite or bool(keras.ops.all(keras.ops.stack(finite)))


class _LossGains:
    """The losses of single batches, from metrics that only grow.

    `total` and `count` of the metric are read instead of the mean that is logged: the mean's last digits hold less of
    a batch, and batches may differ in size.
    """

    hidden = False
    """Whether a NaN earlier in the epoch hides the losses."""

    def __init__(self) -> None:
        self._total = self._count = 0.0
        """Of the metric, after the batch before."""
        self._gained = self._weight = 0.0
        """Since the latest loss."""
        self._resolution = 0.0
        """Smallest difference that the metric can hold."""

    def begin_epoch(self) -> None:
        """The metric begins at 0 again."""
        self._total = self._count = 0.0
        self.hidden = False

    def take(self, model: keras.Model, logs: dict[str, Any]) -> None:
        """Takes a batch."""
        for metric in model.metrics:
            if isinstance(metric, keras.metrics.Mean) and metric.name == "loss":
                total, count = float(metric.total), float(metric.count)
                if count > self._count:
                    self._add(total, count)
                    return
        # A `train_step` of the user's own, that logs each batch's loss as it is.
        if "loss" in logs:
            self._gained += float(logs["loss"])
            self._weight += 1.0
            self._resolution = 0.0

    def _add(self, total: float, count: float) -> None:
        self.hidden = not math.isfinite(self._total)
        if not self.hidden:
            self._gained += total - self._total
            self._weight += count - self._count
            self._resolution = abs(total) * FLOAT32_RESOLUTION
        self._total, self._count = total, count

    def mean(self) -> float | None:
        """Of the batches since the loss before; None where they are hidden, or too small to be told from rounding."""
        if not self._weight or self._resolution > LARGEST_ERROR * abs(self._gained):
            return None
        mean = self._gained / self._weight
        self._gained = self._weight = 0.0
        return mean


@dataclass
class _Backup:
    """The memory beside the model's backup, in a file of our own."""

    path: Path
    """The folder."""
    written_ns: int = 0
    """When the latest backup of the model was seen."""

    def is_new(self) -> bool:
        """Whether the model was backed up since the call before."""
        files = [file for file in self.path.iterdir() if file.name != STATE_FILE] if self.path.is_dir() else []
        written_ns = max((file.stat().st_mtime_ns for file in files), default=0)
        is_new, self.written_ns = written_ns > self.written_ns, written_ns
        return is_new

    def write(self, iterations: int, step: int, memory: str) -> None:
        """Keeps the memory of a model with so many applied steps."""
        states = {**self._states(), str(iterations): {"step": step, "memory": memory}}
        latest = dict(list(states.items())[-KEPT_STATES:])
        # Replaced as a whole: a kill leaves the old file or the new one.
        new = self.path / f"{STATE_FILE}.new"
        new.write_text(json.dumps(latest), encoding="utf-8")
        new.replace(self.path / STATE_FILE)

    def read(self, iterations: int) -> tuple[int, str] | None:
        """Step and memory of a model with so many applied steps; None where it is unknown."""
        state = self._states().get(str(iterations)) if iterations else None
        return None if state is None else (state["step"], state["memory"])

    def _states(self) -> dict[str, dict[str, Any]]:
        file = self.path / STATE_FILE
        states: dict[str, dict[str, Any]] = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
        return states
