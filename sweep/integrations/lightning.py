"""Judges a training of Lightning's Trainer: `Trainer(..., callbacks=[StabilityCallback()])`.

Works with `lightning.pytorch` and with `pytorch_lightning`, whichever is there. Where the numbers come from:

| number      | from                                                                                                |
|-------------|-----------------------------------------------------------------------------------------------------|
| loss        | what `training_step` returns, averaged over the batches of an optimizer step and over the processes |
| gradient    | norm before clipping, of unscaled gradients                                                         |
| loss scale  | the scaler of the precision plugin; where it falls, it left the step out                            |
| weights     | looked through every 10 steps, and whenever a loss or gradient is not finite                        |
| validation  | `val_loss`, if `validation_step` logs its loss under that name                                      |

With manual optimization the loss is known only if `training_step` returns it; else gradients and weights are judged.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import torch
from torch import Tensor

from sweep.integrations.missing import needed

with needed("lightning", "pytorch_lightning", by=__name__):
    try:
        from lightning.pytorch import Callback, LightningModule, Trainer
        from lightning.pytorch.utilities.rank_zero import rank_zero_info  # type: ignore[attr-defined]
    except ModuleNotFoundError:
        # Lightning asks callbacks for their methods, not for their class: one class serves both packages.
        from pytorch_lightning import Callback, LightningModule, Trainer  # type: ignore[assignment]
        from pytorch_lightning.utilities.rank_zero import rank_zero_info  # type: ignore[attr-defined]

from sweep.integrations import tensors
from sweep.integrations.watch import OneProcess, Reporter, Seen, Watch, line, told
from sweep.judging import MonitorConfig
from sweep.records import Verdict

T = TypeVar("T")

VALIDATION_LOSS = "val_loss"


class StabilityCallback(Callback):
    """Stops a training that is lost, and says how it went.

    At an alarm, and else at the end, every logger gets `stability_verdict` and `stability_reason` as hyperparameters,
    and `stability_stop_step` (of an alarm) as a metric, which stands in `trainer.callback_metrics` too; one line is
    printed, and `verdict` is set. With several processes the mean over all of them is judged, and all stop together.
    The judge's memory is part of Lightning's checkpoints. After an alarm Lightning itself goes on until its
    `min_epochs` and `min_steps`, where they are set.
    """

    def __init__(
        self,
        l_const: float | None = None,
        budget_steps: int | None = None,
        stop: bool = True,
        config: MonitorConfig | None = None,
        run: Reporter | None = None,
    ) -> None:
        """All settings may be left out.

        Args:
            l_const: loss of a model that ignores its input, in the unit of the training's loss; sharpens the verdict.
            budget_steps: optimizer steps that the training is planned for; None for the Trainer's own plan.
            stop: whether an alarm stops the training, or is only told.
            config: the rules and their thresholds.
            run: that of a study, as its function was given it: the training reports through it, by the study's rules
                and for its budget, and ends where it says so. With several processes, the first one's.
        """
        self._stop = stop or run is not None
        self._watch = Watch(l_const, budget_steps, MonitorConfig() if config is None else config, run)
        self._memory: str | None = None
        """Of the checkpoint that the next training goes on from."""
        self._losses: list[Tensor] = []
        """Of the batches since the latest optimizer step."""
        self._grad_norms: list[Tensor] = []
        """One an optimizer that steps in this batch."""
        self._loss_scale: float | None = None
        self._steps = False
        """Whether an optimizer steps in this batch."""

    @property
    def verdict(self) -> Verdict | None:
        """Of the alarm, or of the end; None before."""
        return self._watch.verdict

    def state_dict(self) -> dict[str, Any]:
        """What Lightning writes into its checkpoint."""
        return {"memory": self._watch.memory()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Called before the training goes on."""
        self._memory = state_dict["memory"]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begins to watch, or goes on where the checkpoint ended."""
        planned_steps = trainer.estimated_stepping_batches  # infinite or -1 where nothing ends the training
        memory, self._memory = self._memory, None
        processes = _Processes(trainer) if trainer.world_size > 1 else OneProcess()
        self._watch.begin(int(planned_steps) if 0 < planned_steps < math.inf else None, processes, memory)
        self._forget_step()

    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        """Takes the gradient, which is unscaled and not yet clipped, and the loss scale."""
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        norm = tensors.gradient_norm(parameters)
        self._grad_norms += [] if norm is None else [norm]
        self._loss_scale = _loss_scale(trainer)
        self._steps = True

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Takes the batch's loss, and judges the step if the optimizer stepped."""
        loss = outputs.get("loss") if isinstance(outputs, Mapping) else outputs
        if isinstance(loss, Tensor) and loss.numel() == 1:
            # Lightning divides it by the number of batches that a whole step takes.
            self._losses.append(
                loss.detach() * (trainer.accumulate_grad_batches if pl_module.automatic_optimization else 1)
            )
        if not self._steps:
            return
        norm = torch.stack(self._grad_norms).norm() if self._grad_norms else None
        loss_value, grad_norm = tensors.read([tensors.mean(self._losses), norm])
        scale = _loss_scale(trainer)
        applied = scale is None or self._loss_scale is None or scale >= self._loss_scale
        seen = Seen(loss_value, grad_norm, self._loss_scale, applied)
        self._forget_step()
        if seen.asks_for_weights(trainer.global_step):
            seen = replace(seen, params_finite=tensors.are_finite(pl_module.parameters()))
        if self._watch.observe(trainer.global_step, seen):
            self._tell(trainer, self._watch.finish())
            trainer.should_stop |= self._stop

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Takes the validation loss."""
        val_loss = trainer.callback_metrics.get(VALIDATION_LOSS)
        if val_loss is not None and not trainer.sanity_checking:
            self._watch.observe_validation(trainer.global_step, float(val_loss))

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Says how the training ended."""
        if self.verdict is None:
            self._tell(trainer, self._watch.finish())

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Says how the training was when an exception ended it."""
        if self.verdict is None:
            self._tell(trainer, self._watch.break_off(exception))

    def _forget_step(self) -> None:
        self._losses.clear()
        self._grad_norms.clear()
        self._steps = False

    def _tell(self, trainer: Trainer, verdict: Verdict) -> None:
        entries = told(verdict)
        words = {name: value for name, value in entries.items() if isinstance(value, str)}
        numbers = {name: float(value) for name, value in entries.items() if not isinstance(value, str)}
        trainer.callback_metrics.update({name: torch.tensor(value) for name, value in numbers.items()})
        for own in trainer.loggers:
            own.log_hyperparams(words)
            if numbers:
                own.log_metrics(numbers, step=trainer.global_step)
        rank_zero_info(line(verdict, self._stop))


def _loss_scale(trainer: Trainer) -> float | None:
    # Only the plugins of float16 have a scaler, in Lightning's two packages and in plugins of others.
    scaler = getattr(trainer.precision_plugin, "scaler", None)
    return None if scaler is None else float(scaler.get_scale())


class _Processes:
    """Those of the Trainer's strategy."""

    def __init__(self, trainer: Trainer) -> None:
        self._strategy = trainer.strategy

    def gather(self, numbers: Sequence[float]) -> list[list[float]]:
        own = torch.tensor(numbers, dtype=torch.float64, device=self._strategy.root_device)
        every: list[list[float]] = self._strategy.all_gather(own).reshape(-1, len(numbers)).tolist()
        return every

    def first_says(self, decision: bool) -> bool:
        return self._strategy.reduce_boolean_decision(decision and self._strategy.is_global_zero, all=False)

    def of_first(self, value: T) -> T:
        return self._strategy.broadcast(value)
