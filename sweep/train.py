"""The training loop: a generator that yields records and decides nothing.

Dimension legend: B batch, T input frames, F features, S output frames, V vocabulary, U labels of a target.
"""

import math
import time
from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field

from slr_models.ctc import (
    beam_decode,
    blank_rate,
    ctc_losses,
    greedy_decode,
    input_dependence,
    is_feasible,
)
from slr_models.data import DataConfig
from slr_models.data.batch import Batch, Dataset, Split, collate
from slr_models.models import ModelConfig
from slr_models.spec import Spec
from slr_models.wer import ErrorCounts, count_errors
from sweep.optim import (
    AdamW,
    BadBatchConfig,
    ByNorm,
    ClipConfig,
    Cosine,
    OptimizerConfig,
    ScheduleConfig,
    SkipNonfinite,
    grad_norm,
)
from sweep.precision import Fp32, PrecisionConfig
from sweep.records import NAN, EvalRecord, SkipReason, StepRecord
from sweep.telemetry import params_finite

SETTLED_STEPS = 20
"""A loss scale that gave finite gradients for so many steps in a row has found its level."""


class Greedy(Spec):
    """The best label of each frame, repeats merged, blanks dropped."""

    kind: Literal["greedy"] = "greedy"


class Beam(Spec):
    """Prefix beam search; needs the extra `beam`."""

    kind: Literal["beam"] = "beam"
    width: int = Field(10, ge=1)
    """Prefixes kept a frame."""


class TrainingConfig(Spec):
    """How a model is trained and evaluated."""

    precision: PrecisionConfig = Fp32()
    optimizer: OptimizerConfig = AdamW()
    schedule: ScheduleConfig = Cosine()
    clip: ClipConfig = ByNorm()
    bad_batch: BadBatchConfig = SkipNonfinite()
    batch_size: int = Field(8, ge=1)
    """Utterances a micro-batch."""
    accumulate: int = Field(1, ge=1)
    """Micro-batches whose gradients are averaged for one update."""
    eval_every_steps: int | None = Field(None, ge=1)
    """Steps between evaluations; null: at the end of every epoch. The last step is always evaluated."""
    telemetry_every_steps: int = Field(5, ge=1)
    """Steps between measurements of blank rate, input dependence and finite weights."""
    decoder: Greedy | Beam = Field(Greedy(), discriminator="kind")
    """How validation transcripts are read off."""


class TrialConfig(Spec):
    """All that one training depends on, apart from its seed and length."""

    model: ModelConfig
    data: DataConfig
    training: TrainingConfig = TrainingConfig()


def steps_per_epoch(config: TrainingConfig, num_train: int) -> int:
    """Updates in one pass over the training split; an incomplete last one is left out if there are others."""
    return max(1, num_train // (config.batch_size * config.accumulate))


def infeasible_targets(model: ModelConfig, split: Split) -> npt.NDArray[np.bool_]:
    """Which targets of a split are longer than CTC can align with the model's output, [N]."""
    lengths = split.lengths.tolist()
    return np.array(
        [not is_feasible(model.output_length(n), split.target(i).tolist()) for i, n in enumerate(lengths)], dtype=bool
    )


class Training:
    """One training in progress: model, optimizer and all other state, to be run, saved and resumed.

    | method            | effect                                                                             |
    |-------------------|------------------------------------------------------------------------------------|
    | `records()`       | goes on from the current step to the last, yielding a record a step and evaluation |
    | `state_dict()`    | everything that the rest of the training depends on                                |
    | `load_state_dict` | puts it back: the rest is then bit-identical on a CPU                              |

    A generator left in the middle may be dropped: a new `records()` goes on from the last record yielded.
    """

    def __init__(
        self, config: TrialConfig, dataset: Dataset, *, seed: int, max_steps: int, device: torch.device
    ) -> None:
        """Builds model and optimizer; `seed` fixes weights, data order and dropout."""
        training = config.training
        self.config = config
        self.max_steps = max_steps
        self.step = 0
        self._dataset = dataset
        self._seed = seed
        self._device = device
        self._steps_per_epoch = steps_per_epoch(training, len(dataset.train))
        self._infeasible_train = infeasible_targets(config.model, dataset.train)
        self._infeasible_valid = infeasible_targets(config.model, dataset.valid)
        self.model = config.model.build(dataset.num_features, dataset.groups, len(dataset.vocabulary), seed).to(device)
        self._parameters = [p for p in self.model.parameters() if p.requires_grad]
        self.optimizer = training.optimizer.build(self._parameters)
        self.precision = training.precision.build(device)
        self._schedule = training.schedule.build(training.optimizer.lr, max_steps)
        self._clipper = training.clip.build()
        self._policy = training.bad_batch.build()
        self._settled_scale = self._held_scale = NAN
        self._good_steps = 0
        self._last_eval_step = 0
        # Dropout draws from the global generator: seeded here, saved and restored with the state.
        torch.manual_seed(seed)

    def records(self) -> Iterator[StepRecord | EvalRecord]:
        """Trains on to the last step."""
        while True:
            if self._is_eval_due():
                yield self._evaluate()
            if self.step >= self.max_steps:
                return
            yield self._train_step()

    def state_dict(self) -> dict[str, Any]:
        """All state, loadable with `torch.load(weights_only=True)`."""
        return {
            "step": self.step,
            "settled_scale": self._settled_scale,
            "held_scale": self._held_scale,
            "good_steps": self._good_steps,
            "last_eval_step": self._last_eval_step,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "precision": self.precision.state_dict(),
            "schedule": self._schedule.state_dict(),
            "clipper": self._clipper.state_dict(),
            "policy": self._policy.state_dict(),
            "rng": torch.get_rng_state(),
            "cuda_rng": torch.cuda.get_rng_state(self._device) if self._device.type == "cuda" else None,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores what `state_dict` gave, into a training built from the same configuration."""
        self.step = state["step"]
        self._settled_scale = state["settled_scale"]
        self._held_scale = state["held_scale"]
        self._good_steps = state["good_steps"]
        self._last_eval_step = state["last_eval_step"]
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.precision.load_state_dict(state["precision"])
        self._schedule.load_state_dict(state["schedule"])
        self._clipper.load_state_dict(state["clipper"])
        self._policy.load_state_dict(state["policy"])
        torch.set_rng_state(state["rng"])
        if state["cuda_rng"] is not None:
            torch.cuda.set_rng_state(state["cuda_rng"], self._device)

    def _train_step(self) -> StepRecord:
        started = time.perf_counter()
        config = self.config.training
        lr = self._schedule.lr(self.step)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        self.optimizer.zero_grad(set_to_none=True)
        self.model.train()
        measure = self.step % config.telemetry_every_steps == 0
        loss_scale = self.precision.loss_scale
        loss = torch.zeros((), device=self._device)
        num_samples = num_infeasible = 0
        probe = [NAN, NAN]
        micro_batches = list(self._micro_batches())
        for indices in micro_batches:
            batch = collate(self._dataset.train, indices).to(self._device)
            num_samples += len(indices)
            num_infeasible += int(self._infeasible_train[indices].sum())
            with self.precision.forward_context():
                logits_BSV = self.model(batch.features_BTF, batch.lengths_B)
                lengths_B = self.model.output_lengths(batch.lengths_B)
                batch_loss = ctc_losses(logits_BSV, lengths_B, batch.targets_BU, batch.target_lengths_B).mean()
            # A training split smaller than one update has fewer micro-batches than asked for.
            self.precision.scale_loss(batch_loss / len(micro_batches)).backward()
            loss += batch_loss.detach() / len(micro_batches)
            if measure:
                probe = [
                    blank_rate(logits_BSV.detach(), lengths_B).item(),
                    input_dependence(logits_BSV.detach(), lengths_B).item(),
                ]
        self.precision.unscale_(self.optimizer)
        norm = grad_norm(self._parameters)
        loss_value, norm_value = torch.stack([loss, norm]).tolist()
        reason = self._policy.decide(loss_value, norm_value)
        self._note_scale(loss_scale, norm_value)
        if reason is None:
            self._clipper.clip_(self._parameters, norm)
            applied = self.precision.step(self.optimizer)
        else:
            self.precision.skip(self.optimizer)
            applied = False
        finite = True
        if applied and (measure or not math.isfinite(loss_value) or not math.isfinite(norm_value)):
            finite = bool(params_finite(self._parameters))
        self.step += 1
        return StepRecord(
            step=self.step,
            loss=loss_value,
            grad_norm=norm_value,
            loss_scale=loss_scale,
            applied=applied,
            skip_reason=None if applied else self._classify(reason, loss_value, norm_value, loss_scale, num_infeasible),
            lr=lr,
            num_samples=num_samples,
            num_infeasible=num_infeasible,
            time_s=time.perf_counter() - started,
            blank_rate=probe[0],
            input_dependence=probe[1],
            params_finite=finite,
        )

    def _classify(
        self, reason: SkipReason | None, loss: float, norm: float, loss_scale: float, num_infeasible: int
    ) -> SkipReason:
        """Names why a step was not applied."""
        if reason is SkipReason.THRESHOLD and math.isfinite(norm):
            return SkipReason.THRESHOLD
        if num_infeasible > 0 and not math.isfinite(loss):
            return SkipReason.INFEASIBLE
        if math.isfinite(loss) and not math.isnan(loss_scale):
            # No scale has held for a while yet, or it just grew: overflow is how it finds its level.
            if math.isnan(self._settled_scale) or loss_scale > self._settled_scale:
                return SkipReason.CALIBRATION
        return SkipReason.NONFINITE

    def _note_scale(self, loss_scale: float, norm: float) -> None:
        """Keeps the latest loss scale that held for SETTLED_STEPS steps in a row."""
        if not math.isfinite(norm):
            self._good_steps = 0
            return
        self._good_steps = self._good_steps + 1 if loss_scale == self._held_scale else 1
        self._held_scale = loss_scale
        if self._good_steps >= SETTLED_STEPS:
            self._settled_scale = loss_scale

    def _micro_batches(self) -> Iterator[list[int]]:
        """Indices of the next update's micro-batches: a function of seed and step alone."""
        config = self.config.training
        epoch, position = divmod(self.step, self._steps_per_epoch)
        order = np.random.default_rng([self._seed, epoch]).permutation(len(self._dataset.train))
        start = position * config.batch_size * config.accumulate
        for offset in range(config.accumulate):
            indices = order[start + offset * config.batch_size : start + (offset + 1) * config.batch_size]
            if len(indices):
                yield [int(i) for i in indices]

    def _is_eval_due(self) -> bool:
        every = self.config.training.eval_every_steps or self._steps_per_epoch
        return self._last_eval_step < self.step and (self.step % every == 0 or self.step >= self.max_steps)

    @torch.no_grad()
    def _evaluate(self) -> EvalRecord:
        started = time.perf_counter()
        split = self._dataset.valid
        self.model.eval()
        # Neighbours in length share a batch, so little of it is padding.
        order = np.argsort(split.lengths, kind="stable")
        losses: list[torch.Tensor] = []
        counts = ErrorCounts()
        weights: list[float] = []
        blanks: list[float] = []
        dependence: list[float] = []
        for start in range(0, len(order), 2 * self.config.training.batch_size):
            indices = [int(i) for i in order[start : start + 2 * self.config.training.batch_size]]
            batch = collate(split, indices).to(self._device)
            with self.precision.forward_context():
                logits_BSV = self.model(batch.features_BTF, batch.lengths_B)
                lengths_B = self.model.output_lengths(batch.lengths_B)
                losses.append(ctc_losses(logits_BSV, lengths_B, batch.targets_BU, batch.target_lengths_B))
            counts += self._count_errors(batch, logits_BSV, lengths_B)
            weights.append(float(len(indices)))
            blanks.append(blank_rate(logits_BSV, lengths_B).item())
            dependence.append(input_dependence(logits_BSV, lengths_B).item())
        self._last_eval_step = self.step
        # An infeasible target has no loss; it counts in the WER alone.
        feasible = torch.from_numpy(~self._infeasible_valid[order])
        val_loss = torch.cat(losses).cpu()[feasible].mean().item()
        self._schedule.observe_eval(val_loss)
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
        )

    def _count_errors(self, batch: Batch, logits_BSV: torch.Tensor, lengths_B: torch.Tensor) -> ErrorCounts:
        decoder = self.config.training.decoder
        if isinstance(decoder, Beam):
            hypotheses = beam_decode(logits_BSV, lengths_B, decoder.width)
        else:
            hypotheses = greedy_decode(logits_BSV, lengths_B)
        counts = ErrorCounts()
        for index, hypothesis in zip(batch.indices, hypotheses, strict=True):
            counts += count_errors(self._dataset.valid.target(index).tolist(), hypothesis)
        return counts
