"""Judges a training of Hugging Face's Trainer: `Trainer(..., callbacks=[StabilityCallback()])`.

Where the numbers come from:

| number      | from                                                                                             |
|-------------|--------------------------------------------------------------------------------------------------|
| loss        | the model's own output in every forward pass of the step, averaged over micro-batches and ranks  |
| gradient    | norm as the optimizer gets it: unscaled, after clipping (a NaN stays one)                        |
| loss scale  | the scaler of accelerate, which also tells the steps that it left out                            |
| weights     | looked through every 10 steps, and whenever a loss or gradient is not finite                     |
| validation  | `eval_loss` of an evaluation                                                                     |

So neither `logging_steps`, over which the Trainer averages the losses that it logs, nor `logging_nan_inf_filter`, which
logs the average of earlier losses for a NaN, hides anything. Where the model's output holds no loss, or another one
than the Trainer minimises (label smoothing, `compute_loss_func`, an own `compute_loss`), the losses are those that the
Trainer logs, and a warning says which settings blur them. An exception that ends `train` is not judged: the Trainer
tells no callback of it.
"""

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import torch
from torch import Tensor

from sweep.integrations.missing import needed

with needed("transformers[torch]", "transformers", "accelerate", "tqdm", by=__name__):
    from accelerate.optimizer import AcceleratedOptimizer
    from accelerate.utils import broadcast, broadcast_object_list, gather
    from tqdm.auto import tqdm
    from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
    from transformers.trainer_callback import ExportableState
    from transformers.trainer_utils import IntervalStrategy

from sweep.integrations import tensors
from sweep.integrations.watch import OneProcess, Reporter, Seen, Watch, line, told
from sweep.judging import MonitorConfig
from sweep.records import Verdict

T = TypeVar("T")

logger = logging.getLogger(__name__)

LARGEST_LOSS_GAP = 0.02
"""Share of the logged loss: a model whose own is further from it does not return the loss that is minimised."""


class StabilityCallback(TrainerCallback, ExportableState):  # type: ignore[misc]
    """Stops a training that is lost, and says how it went.

    At an alarm, and else at the end, `state.log_history` gets an entry with `stability_verdict`, `stability_reason` and
    (of an alarm) `stability_stop_step`; one line is printed, and `verdict` is set. With several processes the mean over
    all of them is judged, and all stop together.

    The judge's memory is part of the Trainer's checkpoints; `train(resume_from_checkpoint=...)` goes on with it whether
    or not `restore_callback_states_from_checkpoint` is set. With that setting the Trainer makes the callback anew, so
    read the verdict from the log.
    """

    def __init__(
        self,
        l_const: float | None = None,
        budget_steps: int | None = None,
        stop: bool = True,
        config: MonitorConfig | Mapping[str, Any] | None = None,
        run: Reporter | None = None,
    ) -> None:
        """All settings may be left out.

        Args:
            l_const: loss of a model that ignores its input, in the unit of the training's loss; sharpens the verdict.
            budget_steps: optimizer steps that the training is planned for; None for the Trainer's `max_steps`.
            stop: whether an alarm stops the training, or is only told.
            config: the rules and their thresholds; a mapping is what a checkpoint holds.
            run: that of a study, as its function was given it: the training reports through it, by the study's rules
                and for its budget, and ends where it says so. With several processes, the first one's.
        """
        self._config = MonitorConfig() if config is None else MonitorConfig.model_validate(config)
        self._settings = {"l_const": l_const, "budget_steps": budget_steps, "stop": stop}
        self._stop = stop or run is not None
        self._watch = Watch(l_const, budget_steps, self._config, run)
        self._hook: torch.utils.hooks.RemovableHandle | None = None
        self._source = _LossSource()
        self._seen: Seen | None = None
        """A step whose loss the Trainer is about to log."""
        self._grad_norm: Tensor | None = None
        self._loss_scale: float | None = None
        self.held: dict[str, Any] | None = None
        """What the Trainer puts back from a checkpoint; it is read from the Trainer's state, with or without that."""

    @property
    def verdict(self) -> Verdict | None:
        """Of the alarm, or of the end; None before."""
        return self._watch.verdict

    def state(self) -> dict[str, dict[str, Any]]:
        """What the Trainer writes into its checkpoint."""
        args = {**self._settings, "config": self._config.model_dump(mode="json")}
        held = {"memory": self._watch.memory(), "judges_logged": self._source.logged}
        return {"args": args, "attributes": {"held": held}}

    def on_train_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: torch.nn.Module | None = None,
        **kwargs: Any,
    ) -> None:
        """Begins to watch, or goes on where the checkpoint ended."""
        assert model is not None
        processes = _Processes(args.device) if args.world_size > 1 else OneProcess()
        # The Trainer holds what a checkpoint says of a callback under the name of its class.
        name = type(self).__name__
        held = _held(state.stateful_callbacks.get(name)) if state.global_step > 0 else {}
        self._watch.begin(state.max_steps, processes, held.get("memory"))
        self._source = _LossSource(logged=held.get("judges_logged", False))
        # A checkpoint made without this callback has no place for it, and the Trainer's next one would fail there.
        state.stateful_callbacks.setdefault(name, self.state())
        self._seen = None
        if self._hook is not None:
            # Of a training that an exception ended.
            self._hook.remove()
        self._hook = model.register_forward_hook(self._source.see, with_kwargs=True)

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Forgets the micro-batches of the step before."""
        if self._seen is not None:
            # The Trainer was about to log a loss, and did not.
            seen, self._seen = self._seen, None
            self._judge(args, state, control, seen)
        self._source.losses.clear()

    def on_pre_optimizer_step(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: torch.nn.Module | None = None,
        optimizer: torch.optim.Optimizer | None = None,
        **kwargs: Any,
    ) -> None:
        """Takes the gradient and the loss scale of the step."""
        assert model is not None
        self._grad_norm = tensors.gradient_norm(model.parameters())
        scaler = optimizer.scaler if isinstance(optimizer, AcceleratedOptimizer) else None
        self._loss_scale = None if scaler is None else float(scaler.get_scale())

    def on_step_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: torch.nn.Module | None = None,
        optimizer: torch.optim.Optimizer | None = None,
        **kwargs: Any,
    ) -> None:
        """Judges the step, unless the Trainer is about to log its loss."""
        assert model is not None
        source = self._source
        if not source.logged and not source.losses:
            self._take_logged(args, state, control, "the model's output holds no loss")
        loss, grad_norm = tensors.read([source.step_loss(args), self._grad_norm])
        applied = not (isinstance(optimizer, AcceleratedOptimizer) and optimizer.step_was_skipped)
        seen = Seen(None if source.logged else loss, grad_norm, self._loss_scale, applied)
        if seen.asks_for_weights(state.global_step):
            seen = replace(seen, params_finite=tensors.are_finite(model.parameters()))
        if source.logged and control.should_log:
            self._seen = seen
        else:
            self._judge(args, state, control, seen)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: Mapping[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        """Takes a logged loss where there is no other, or sees whether it is the one that the model returns."""
        # Others may log what they call a loss; with a learning rate beside it, it is the Trainer's own.
        if logs is None or "loss" not in logs or "learning_rate" not in logs:
            return
        logged = float(logs["loss"])
        if self._seen is not None:
            seen, self._seen = self._seen, None
            self._judge(args, state, control, replace(seen, loss=logged))
        elif self._watch.processes.first_says(self._source.differs(logged)):
            reason = (
                f"the model returns another loss ({self._source.mean:.4g}) than the Trainer minimises ({logged:.4g})"
            )
            self._take_logged(args, state, control, reason)
        self._source.total, self._source.num = 0.0, 0

    def on_evaluate(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        metrics: Mapping[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        """Takes the validation loss."""
        if metrics is not None and "eval_loss" in metrics:
            self._watch.observe_validation(state.global_step, metrics["eval_loss"])

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Says how the training ended."""
        if self._hook is not None:
            self._hook.remove()
            self._hook = None
        if self._watch.verdict is None:
            self._tell(args, state, self._watch.finish())

    def _judge(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, seen: Seen) -> None:
        alarm = self._watch.observe(state.global_step, seen)
        if self._watch.latest_loss is not None:
            self._source.total += self._watch.latest_loss
            self._source.num += 1
        if alarm:
            self._tell(args, state, self._watch.finish())
            control.should_training_stop |= self._stop

    def _tell(self, args: TrainingArguments, state: TrainerState, verdict: Verdict) -> None:
        state.log_history.append({**told(verdict), "epoch": state.epoch, "step": state.global_step})
        if state.is_world_process_zero:
            # As the Trainer shows what it logs: above its progress bar, or by print.
            (print if args.disable_tqdm else tqdm.write)(line(verdict, self._stop))
            logger.info(line(verdict, self._stop))

    def _take_logged(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, reason: str) -> None:
        """From here on judges the losses that the Trainer logs; what was seen of others is forgotten."""
        self._source.logged = True
        self._watch.begin(state.max_steps, self._watch.processes)
        blurred = []
        if args.logging_strategy != IntervalStrategy.STEPS or state.logging_steps != 1:
            blurred.append("logging_strategy='steps' and logging_steps=1 (else losses are means of several steps)")
        if args.logging_nan_inf_filter:
            blurred.append("logging_nan_inf_filter=False (else a NaN is logged as the mean of earlier losses)")
        if state.is_world_process_zero:
            advice = f"; set {' and '.join(blurred)}" if blurred else ""
            logger.warning("stability: %s, so the losses that the Trainer logs are judged%s", reason, advice)


@dataclass
class _LossSource:
    """Where a step's loss comes from: the model's forward passes, or the Trainer's log."""

    logged: bool = False
    losses: list[Tensor] = field(default_factory=list)
    """Of the forward passes of this step."""
    summed: bool = False
    """Whether they add up to the step's loss, each divided by the items of the whole step; else their mean is it."""
    total: float = 0.0
    """Of the judged losses since the Trainer logged one."""
    num: int = 0
    """How many these are."""

    def see(self, module: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        """The forward hook: keeps the loss of a training pass, without waiting for the device."""
        if self.logged or not module.training or not torch.is_grad_enabled():
            return
        loss = output.get("loss") if isinstance(output, Mapping) else None
        if isinstance(output, (tuple, list)) and output:
            loss = output[0]
        if isinstance(loss, Tensor) and loss.is_floating_point() and loss.numel() == 1:
            self.losses.append(loss.detach().reshape(()))
            self.summed = kwargs.get("num_items_in_batch") is not None

    def step_loss(self, args: TrainingArguments) -> Tensor | None:
        """Of this process."""
        loss = tensors.mean(self.losses)
        if loss is None or not self.summed:
            return loss
        # Each is divided by the items of all processes, if the Trainer counts those.
        return loss * len(self.losses) * (args.world_size if args.average_tokens_across_devices else 1)

    @property
    def mean(self) -> float:
        """Of the judged losses since the Trainer logged one."""
        return self.total / self.num

    def differs(self, logged: float) -> bool:
        """Whether the Trainer logged another loss; it logs other numbers for NaN, so these tell nothing."""
        if self.logged or not self.num or not math.isfinite(self.mean) or not math.isfinite(logged):
            return False
        return not math.isclose(self.mean, logged, rel_tol=LARGEST_LOSS_GAP, abs_tol=1e-4)


class _Processes:
    """Those of torch.distributed, by accelerate."""

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def gather(self, numbers: Sequence[float]) -> list[list[float]]:
        own = torch.tensor([numbers], dtype=torch.float64, device=self._device)
        every: list[list[float]] = gather(own).tolist()
        return every

    def first_says(self, decision: bool) -> bool:
        return bool(broadcast(torch.tensor([float(decision)], device=self._device)).item())

    def of_first(self, value: T) -> T:
        shared: list[T] = broadcast_object_list([value])
        return shared[0]


def _held(stored: dict[str, Any] | list[dict[str, Any]] | None) -> dict[str, Any]:
    """What a checkpoint holds of the callback; empty where it was made without it. Several are stored as a list."""
    latest = stored[-1] if isinstance(stored, list) else stored
    return {} if latest is None else latest["attributes"]["held"]
