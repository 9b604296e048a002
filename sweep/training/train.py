"""The training loop: a generator that yields records and decides nothing.

Dimension legend: B batch, T input frames, F features, S output frames, V vocabulary, U labels of a target.
"""

import math
import time
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from slr_models.ctc import (
    as_scores,
    beam_decode,
    blank_rate,
    ctc_losses,
    greedy_decode,
    input_dependence,
    is_feasible,
    sureness,
)
from slr_models.data.batch import Dataset, Split
from slr_models.data.batches import Batch, collate, shuffled_updates
from slr_models.data.unseen import unseen_targets
from slr_models.models import CtcModel, ModelConfig
from slr_models.wer import ErrorCounts, Scored, Scoring
from sweep.records import EvalRecord, HealthSample, StepRecord
from sweep.training.config import Beam, TrialConfig, steps_per_epoch
from sweep.training.health import HealthProbe, PendingHealth
from sweep.training.late import GPU_LAG_STEPS, LateReader, Stopwatch
from sweep.training.mean_weights import MeanWeights
from sweep.training.optim import SkipNamer
from sweep.training.optim.clippers import grad_norm
from sweep.training.optim.policies import refusal_reason
from sweep.training.precision import Fp16, Fp16Unscaled
from sweep.training.telemetry import params_finite


def infeasible_targets(model: ModelConfig, split: Split) -> npt.NDArray[np.bool_]:
    """Which targets of a split are longer than CTC can align with the model's output, [N]."""
    lengths = split.lengths.tolist()
    return np.array(
        [not is_feasible(model.output_length(n), split.target(i).tolist()) for i, n in enumerate(lengths)], dtype=bool
    )


@dataclass(frozen=True)
class Gradients:
    """What the backward pass of a step leaves beside the gradients themselves; scalars on the training's device."""

    loss: Tensor
    blank_rate: Tensor
    """Of the last micro-batch; NaN where it was not measured."""
    input_dependence: Tensor
    """Likewise."""
    stopwatch: Stopwatch | None = None
    """Of the passes of all trainings that were computed together; None where the step timed its own."""
    num_together: int = 1
    micro_norm: Tensor | None = None
    """Norm of the scaled gradient of the first micro-batch, as its share of the update; None where not measured."""


@dataclass(frozen=True)
class GradientsDue:
    """The next step is about to compute its gradients, which may be computed together with those of others instead."""

    micro_batches: list[list[int]]
    """Their utterances."""
    is_measured: bool
    """Whether blank rate and input dependence are due."""


@dataclass(frozen=True)
class _OpenStep:
    """A step that has begun: all that it needs but its gradients."""

    lr: float
    is_measured: bool
    is_sampled: bool
    """Whether the model's health is."""
    is_compared: bool
    """Whether its gradients are compared with full precision."""
    loss_scale: Tensor
    micro_batches: list[list[int]]


@dataclass(frozen=True)
class _Step:
    """What the host knows of a step whose values it has not read yet."""

    step: int
    lr: float
    is_measured: bool
    """Whether blank rate and input dependence were sampled."""
    num_samples: int
    num_infeasible: int
    stopwatch: Stopwatch
    shared: Gradients
    """Computed with other trainings, where they have a stopwatch."""
    health: PendingHealth | None

    @property
    def elapsed_s(self) -> float:
        """Its own part, and its share of what was computed together."""
        together = self.shared.stopwatch
        return self.stopwatch.elapsed_s + (together.elapsed_s / self.shared.num_together if together else 0.0)


class Training:
    """One training in progress: model, optimizer and all other state, to be run, saved and resumed.

    | method            | effect                                                                             |
    |-------------------|------------------------------------------------------------------------------------|
    | `records()`       | goes on from the current step to the last, yielding a record a step and evaluation |
    | `skip_step()`     | leaves out the next step and its batch                                             |
    | `state_dict()`    | everything that the rest of the training depends on                                |
    | `load_state_dict` | puts it back: the rest is then bit-identical on a CPU                              |

    A generator left in the middle may be dropped: a new `records()` goes on from the last record yielded.

    On a GPU no step waits for the device (torch's own CTC loss does, to copy its lengths). Everything is decided there,
    and a record comes `lag_steps` steps after its step, so that one who stops at a record has computed so many steps
    too many. An evaluation comes after the records of all steps before it.
    """

    def __init__(
        self,
        config: TrialConfig,
        dataset: Dataset,
        *,
        seed: int,
        max_steps: int,
        device: torch.device,
        order_seed: int | None = None,
        lag_steps: int | None = None,
    ) -> None:
        """Builds model and optimizer.

        Args:
            config: What to train.
            dataset: On what.
            seed: Fixes weights and dropout.
            max_steps: Length of the training, in updates.
            device: The CPU or a CUDA device.
            order_seed: Fixes the order of the data; None for `seed`.
            lag_steps: Steps that records come late; None for 4 on a GPU and 0 on a CPU.
        """
        training = config.training
        self.config = config
        self.max_steps = max_steps
        self.step = 0
        self._dataset = dataset
        self._order_seed = seed if order_seed is None else order_seed
        self.device = device
        self._epoch: int | None = None
        self._epoch_updates: list[list[int]] = []
        """The utterances of each update of that epoch."""
        self._steps_per_epoch = steps_per_epoch(training, len(dataset.train))
        self._infeasible_train = infeasible_targets(config.model, dataset.train)
        self._has_loss = ~(infeasible_targets(config.model, dataset.valid) | unseen_targets(dataset))
        """Of validation targets; the others count in the WER alone."""
        self._scoring = Scoring(dataset)
        self.model = config.model.build(dataset.num_features, dataset.groups, len(dataset.vocabulary), seed).to(device)
        self.model.train()
        self.parameters = {name: p for name, p in self.model.named_parameters() if p.requires_grad}
        self._parameters = list(self.parameters.values())
        self.optimizer = training.optimizer.build(self._parameters)
        self._mean = None if training.ema is None else MeanWeights(self.model, training.ema)
        self.precision = training.precision.build(device)
        lag = (GPU_LAG_STEPS if device.type == "cuda" else 0) if lag_steps is None else lag_steps
        self._schedule = training.schedule.build(training.optimizer.lr, max_steps, lag)
        self._clipper = training.clip.build()
        self._policy = training.bad_batch.build()
        self._skips = SkipNamer()
        self._probe = HealthProbe(self.model, self.optimizer)
        self._last_eval_step = 0
        self.unknown = torch.full((), math.nan, device=device)
        """Stands for a measurement that was not made."""
        self._unchecked = torch.ones((), device=device)
        self._lag_steps = lag_steps
        self._reader: LateReader[_Step] = LateReader(lag_steps)
        self._ready: deque[StepRecord | HealthSample] = deque()
        self._given: Gradients | None = None
        # Dropout draws from the global generator: seeded here, saved and restored with the state.
        torch.manual_seed(seed)

    def records(self) -> Iterator[StepRecord | EvalRecord | HealthSample]:
        """Trains on to the last step. The health of a sampled step follows its record."""
        for record in self.paused_records():
            if not isinstance(record, GradientsDue):
                yield record

    def paused_records(self) -> Iterator[StepRecord | EvalRecord | HealthSample | GradientsDue]:
        """As `records()`, with a pause before the gradients of each step that `sweep.training.stacked` can compute.

        Who has computed them by then calls `take_gradients`; else the training does so itself.
        """
        while True:
            is_at_end = self.step >= self.max_steps
            if is_at_end or self._is_eval_due():
                self._note_all(self._reader.flush())
            if self._ready:
                yield self._ready.popleft()
            elif self._is_eval_due():
                yield self._evaluate()
            elif is_at_end:
                return
            else:
                step = self._open_step()
                self._given = None
                if not step.is_sampled:
                    yield GradientsDue(step.micro_batches, step.is_measured)
                self._train_step(step, self._given)

    def take_gradients(self, given: Gradients) -> None:
        """Takes what was computed for the pause that the training is in: its parameters have their gradients."""
        self._given = given

    @property
    def earlier_peak_memory_mib(self) -> float:
        """The largest memory up to the latest comparison with full precision, which starts to measure it anew."""
        return self._probe.peak_memory_mib

    def skip_step(self) -> None:
        """Leaves out the next step: its batch is not trained on, and no record tells of it."""
        self.step += 1
        self._schedule.observe_step(self.step, False)

    def state_dict(self) -> dict[str, Any]:
        """All state, loadable with `torch.load(weights_only=True)`. Waits for the steps begun.

        Their records are not part of it: they still come from this training's `records()`.
        """
        self._note_all(self._reader.flush())
        return {
            "step": self.step,
            **self._skips.state_dict(),
            "last_eval_step": self._last_eval_step,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            **({} if self._mean is None else {"mean": self._mean.model.state_dict()}),
            "precision": self.precision.state_dict(),
            "schedule": self._schedule.state_dict(),
            "clipper": self._clipper.state_dict(),
            "policy": self._policy.state_dict(),
            "rng": torch.get_rng_state(),
            "cuda_rng": torch.cuda.get_rng_state(self.device) if self.device.type == "cuda" else None,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores what `state_dict` gave, into a training built from the same configuration."""
        self._reader = LateReader(self._lag_steps)
        self._ready.clear()
        self.step = state["step"]
        self._skips.load_state_dict(state)
        self._last_eval_step = state["last_eval_step"]
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self._mean is not None:
            self._mean.model.load_state_dict(state["mean"])
        self.precision.load_state_dict(state["precision"])
        self._schedule.load_state_dict(state["schedule"])
        self._clipper.load_state_dict(state["clipper"])
        self._policy.load_state_dict(state["policy"])
        torch.set_rng_state(state["rng"])
        if state["cuda_rng"] is not None:
            torch.cuda.set_rng_state(state["cuda_rng"], self.device)

    def _open_step(self) -> _OpenStep:
        config = self.config.training
        lr = self._schedule.lr(self.step)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        is_measured = self.step % config.telemetry_every_steps == 0
        every = config.health_every_steps
        is_sampled = every is not None and self.step % every == 1 % every
        # A second backward pass, in full precision: with every other sample.
        is_compared = is_sampled and every is not None and self.step // every % 2 == 0
        is_compared = is_compared and isinstance(config.precision, Fp16 | Fp16Unscaled)
        return _OpenStep(lr, is_measured, is_sampled, is_compared, self.precision.loss_scale(), self.next_batches())

    def _train_step(self, opened: _OpenStep, given: Gradients | None) -> None:
        """Computes a step without waiting for its values; those that are due by now become records.

        Args:
            opened: the step.
            given: what somebody else has computed of it.
        """
        stopwatch = Stopwatch(self.device)
        micro_batches, is_measured = opened.micro_batches, opened.is_measured
        with self._probe.watch() if opened.is_sampled else nullcontext():
            gradients = given or self._backward(micro_batches, opened)
            loss = gradients.loss
            self.precision.unscale_(self.optimizer)
            norm = grad_norm(self._parameters)
            if gradients.micro_norm is not None:
                micro_norm = gradients.micro_norm * len(micro_batches)
                scale = opened.loss_scale if self.precision.has_scaler else 1.0
                self._probe.note_gradient_norms(micro_norm / scale, norm)
            refusal = self._policy.decide(loss, norm)
            self._clipper.clip_(self._parameters, norm, refusal > 0)
            applied = self.precision.step(self.optimizer, refusal > 0)
        if self._mean is not None:
            self._mean.update(self.model, self.step)
        finite = self._params_finite(loss, norm, is_measured)
        self.step += 1
        telemetry = [gradients.blank_rate, gradients.input_dependence]
        values = torch.stack([loss, norm, opened.loss_scale, refusal, applied.float(), finite.float(), *telemetry])
        health = self._probe.sample(self.step) if opened.is_sampled else None
        if health is not None:
            values = torch.cat([values, health.packed])
        stopwatch.stop()
        indices = [index for indices in micro_batches for index in indices]
        num_infeasible = int(self._infeasible_train[indices].sum())
        step = _Step(self.step, opened.lr, is_measured, len(indices), num_infeasible, stopwatch, gradients, health)
        self._note_all(self._reader.push(step, values))

    def _params_finite(self, loss: Tensor, norm: Tensor, is_measured: bool) -> Tensor:
        """Whether all weights are finite as this step leaves them; True if that was not looked at."""
        if self.device.type == "cpu":
            # The numbers are there already, and the look is dear: it is due when they look bad, refused or not.
            is_due = is_measured or not (math.isfinite(loss.item()) and math.isfinite(norm.item()))
        else:
            # The look is cheap, while the numbers of this step would have to be waited for.
            is_due = True
        return params_finite(self._parameters) if is_due else self._unchecked

    def _backward(self, micro_batches: list[list[int]], opened: _OpenStep) -> Gradients:
        """Computes the gradients of the scaled loss."""
        for parameter in self._parameters:
            parameter.grad = None
        if not self.model.training:
            # A walk over all modules, which costs a small model some per cent of its step.
            self.model.train()
        loss = torch.zeros((), device=self.device)
        blanks = dependence = self.unknown
        micro_norm = None
        for indices in micro_batches:
            batch = self.batch(indices)
            with self.precision.forward_context():
                logits_BSV, lengths_B, losses_B = self._forward(batch)
                batch_loss = losses_B.mean()
                smooth = self.config.training.label_smoothing
                taught = batch_loss
                if smooth:
                    taught = (1 - smooth) * batch_loss + smooth * sureness(logits_BSV, lengths_B)
            # A training split smaller than one update has fewer micro-batches than asked for.
            self.precision.scale_loss(taught / len(micro_batches)).backward()
            loss += batch_loss.detach() / len(micro_batches)
            if opened.is_measured:
                blanks = blank_rate(logits_BSV.detach(), lengths_B)
                dependence = input_dependence(logits_BSV.detach(), lengths_B)
            if opened.is_sampled and indices is micro_batches[0] and self._is_whole(micro_batches):
                micro_norm = grad_norm(self._parameters)
            if opened.is_compared and indices is micro_batches[0]:
                # Now the gradients are those of one micro-batch, which is enough to tell.
                self._probe.compare_gradients(lambda: [self._full_precision_loss(micro_batches[0])])
        return Gradients(loss, blanks, dependence, micro_norm=micro_norm)

    def _is_whole(self, micro_batches: list[list[int]]) -> bool:
        """Whether an update has several micro-batches, as many and as large as was asked for."""
        asked = self.config.training
        sizes = [len(indices) for indices in micro_batches]
        return asked.accumulate > 1 and sizes == [asked.batch_size] * asked.accumulate

    def _full_precision_loss(self, indices: list[int]) -> Tensor:
        _, _, losses_B = self._forward(self.batch(indices))
        return losses_B.mean()

    def _forward(self, batch: Batch, model: CtcModel | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Logits [B, S, V] as the loss gets them, their lengths [B] (on the CPU) and the losses [B]; of the trained
        model if no other is given."""
        model = model or self.model
        logits_BSV = as_scores(model(batch.features_BTF, batch.lengths_B), self.config.training.normalization)
        lengths_B = self.model.output_lengths(batch.host_lengths_B)
        return logits_BSV, lengths_B, ctc_losses(logits_BSV, lengths_B, batch.targets_BU, batch.target_lengths_B)

    def _note_all(self, steps: Iterable[tuple[_Step, list[float]]]) -> None:
        for step, values in steps:
            self._note(step, values)

    def _note(self, step: _Step, values: list[float]) -> None:
        """Makes records of a step whose values have been read; they come in the order of the steps."""
        loss, norm, loss_scale, refusal, applied, finite, blanks, dependence, *health = values
        self._schedule.observe_step(step.step, bool(applied))
        reason = self._skips.name(
            applied=bool(applied),
            refusal=refusal_reason(refusal),
            loss=loss,
            grad_norm=norm,
            loss_scale=loss_scale,
            num_infeasible=step.num_infeasible,
        )
        self._ready.append(
            StepRecord(
                step=step.step,
                loss=loss,
                grad_norm=norm,
                loss_scale=loss_scale if self.precision.has_scaler else None,
                applied=bool(applied),
                skip_reason=reason,
                lr=step.lr,
                num_samples=step.num_samples,
                num_infeasible=step.num_infeasible,
                time_s=step.elapsed_s,
                blank_rate=blanks if step.is_measured else None,
                input_dependence=dependence if step.is_measured else None,
                params_finite=bool(finite),
            )
        )
        if step.health is not None:
            self._ready.append(step.health.unpack(health))

    def next_batches(self) -> list[list[int]]:
        """Positions of the next step's utterances, a list a micro-batch: a function of order seed and step alone."""
        config = self.config.training
        epoch, position = divmod(self.step, self._steps_per_epoch)
        if self._epoch != epoch:
            size = config.batch_size * config.accumulate
            rng = np.random.default_rng([self._order_seed, epoch])
            self._epoch_updates = shuffled_updates(rng, self._dataset.train.lengths, size, config.length_window)
            self._epoch = epoch
        update = self._epoch_updates[position]
        return [update[i : i + config.batch_size] for i in range(0, len(update), config.batch_size)]

    def batch(self, indices: list[int]) -> Batch:
        """Utterances of the training split, on the training's device."""
        return collate(self._dataset.train, indices).to(self.device)

    def _is_eval_due(self) -> bool:
        every = self.config.training.eval_every_steps or self._steps_per_epoch
        return self._last_eval_step < self.step and (self.step % every == 0 or self.step >= self.max_steps)

    def _eval_order(self) -> npt.NDArray[np.int64]:
        """The validation utterances that are due now, by length, so that little of a batch is padding."""
        subset, num_valid = self.config.training.eval_subset, len(self._dataset.valid)
        order = np.argsort(self._dataset.valid.lengths, kind="stable")
        if subset is None or subset >= num_valid or self.step >= self.max_steps:
            return order
        # Drawn without the seed of the training: all trainings are compared on the same utterances.
        return order[np.sort(np.random.default_rng(0).choice(num_valid, subset, replace=False))]

    @property
    def evaluated_model(self) -> CtcModel:
        """Its weights are those that evaluations measure."""
        return self.model if self._mean is None else self._mean.model

    @torch.no_grad()
    def _evaluate(self) -> EvalRecord:
        started = time.perf_counter()
        split, model = self._dataset.valid, self.evaluated_model
        model.eval()
        order = self._eval_order()
        losses: list[Tensor] = []
        scored: list[Scored] = []
        weights: list[float] = []
        blanks: list[float] = []
        dependence: list[float] = []
        for start in range(0, len(order), 2 * self.config.training.batch_size):
            indices = [int(i) for i in order[start : start + 2 * self.config.training.batch_size]]
            batch = collate(split, indices).to(self.device)
            with self.precision.forward_context():
                logits_BSV, lengths_B, losses_B = self._forward(batch, model)
            losses.append(losses_B)
            scored += self._score(batch, logits_BSV, lengths_B)
            weights.append(float(len(indices)))
            blanks.append(blank_rate(logits_BSV, lengths_B).item())
            dependence.append(input_dependence(logits_BSV, lengths_B).item())
        self._last_eval_step = self.step
        val_loss = torch.cat(losses).cpu()[torch.from_numpy(self._has_loss[order])].mean().item()
        self._schedule.observe_eval(val_loss)
        counts = sum((one.errors for one in scored), ErrorCounts())
        raw = sum((one.raw for one in scored if one.raw is not None), ErrorCounts())
        return EvalRecord(
            step=self.step,
            val_loss=val_loss,
            substitutions=counts.substitutions,
            deletions=counts.deletions,
            insertions=counts.insertions,
            num_labels=counts.num_labels,
            blank_rate=float(np.average(blanks, weights=weights)),
            input_dependence=float(np.average(dependence, weights=weights)),
            time_s=time.perf_counter() - started,
            wer_raw=None if self._dataset.clean_up is None else raw.rate,
        )

    def _score(self, batch: Batch, logits_BSV: Tensor, lengths_B: Tensor) -> list[Scored]:
        decoder = self.config.training.decoder
        if isinstance(decoder, Beam):
            hypotheses = beam_decode(logits_BSV, lengths_B, decoder.width)
        else:
            hypotheses = greedy_decode(logits_BSV, lengths_B)
        return [self._scoring.count(index, said) for index, said in zip(batch.indices, hypotheses, strict=True)]
