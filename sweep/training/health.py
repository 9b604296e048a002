"""Numeric health of a model in training, sampled now and then: headroom, attention logits, flushed gradients, updates.

The values are gathered on the model's device as one packed tensor, so that sampling waits for nothing:

    with probe.watch():
        ...                              # forward passes, backward
        probe.compare_gradients(losses)  # in half precision, before clipping
        ...                              # clipping, optimizer step
    pending = probe.sample(step)
    ...                                  # any time later
    sample = pending.read()              # or pending.unpack(the values of pending.packed, brought over by the caller)

A watched step leaves the training bit-identical to one that was not watched.

Dimension legend: B batch, T frames of the queries, S frames of the keys, D model size, H heads, E = D / H.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer

from slr_models.models.blocks import SelfAttention
from sweep.records import HealthMetric, HealthRecord, HealthSample
from sweep.training.peak_memory import peak_memory_mib, reset_peak_memory
from sweep.training.telemetry import ABSENT, absmax, adam_rms, flush_rate, headroom_bits, update_ratios


@dataclass(frozen=True)
class _Slot:
    """What one value of a packed sample is."""

    metric: HealthMetric
    path: str
    dtype: torch.dtype
    """Format of the values that were measured."""


@dataclass(frozen=True)
class PendingHealth:
    """A sample whose values may still be on their way on a GPU."""

    step: int
    packed: Tensor
    """All values, [N] float32, on the model's device."""
    slots: tuple[_Slot, ...]
    """What they are, [N]."""

    def read(self) -> HealthSample:
        """Brings the values to the host in one transfer, and waits for it."""
        return self.unpack(self.packed.tolist())

    def unpack(self, values: Sequence[float]) -> HealthSample:
        """The sample, from the values of `packed`.

        Without what is not defined (see `sweep.telemetry.ABSENT`) and, if the optimizer changed no weight because
        the step was refused, without update ratios and RMS_t.
        """
        measured = [(slot, value) for slot, value in zip(self.slots, values, strict=True) if value != ABSENT]
        refused = all(value == 0 for slot, value in measured if slot.metric is HealthMetric.UPDATE_RATIO)
        records: list[HealthRecord] = []
        for slot, value in measured:
            if refused and slot.metric in (HealthMetric.UPDATE_RATIO, HealthMetric.ADAM_RMS):
                continue
            records.append(HealthRecord(self.step, slot.metric, slot.path, value))
            if slot.metric is HealthMetric.OUTPUT_ABSMAX:
                bits = headroom_bits(value, slot.dtype)
                records.append(HealthRecord(self.step, HealthMetric.HEADROOM_BITS, slot.path, bits))
        return HealthSample(self.step, tuple(records))


class HealthProbe:
    """Watches whole training steps of one model and one optimizer.

    | call                  | when                                                                   |
    |-----------------------|------------------------------------------------------------------------|
    | `watch()`             | around a step, from before its first forward pass to after its update  |
    | `compare_gradients()` | within, after a backward pass; for half precision only                 |
    | `note_gradient_norms` | within, before clipping; where several micro-batches make an update    |
    | `sample()`            | after the block                                                        |

    Measured are all modules without children and all attentions (outputs of all their calls in the step, padding
    included: an overflow there is one as well), and all parameters with a gradient. The gradients must be unscaled
    before the optimizer steps.
    """

    def __init__(self, model: nn.Module, optimizer: Optimizer) -> None:
        """Costs nothing until `watch`: the hooks are there only meanwhile."""
        self._model = model
        self._optimizer = optimizer
        self._names = {parameter: name for name, parameter in model.named_parameters()}
        self._values: dict[_Slot, Tensor] = {}
        self._before: dict[nn.Parameter, Tensor] = {}
        self._rng: tuple[Tensor, Tensor | None] | None = None
        self._is_listening = False
        self.peak_memory_mib = 0.0
        """The largest memory that was in use before a comparison: each of them starts to measure it anew, so that its
        own, in full precision, is not taken for the training's."""

    @contextmanager
    def watch(self) -> Iterator[None]:
        """Gathers the values of one training step."""
        self._values.clear()
        self._before.clear()
        self._rng = _rng_state(self._device)
        self._is_listening = True
        handles = [
            module.register_forward_hook(self._module_hook(path), with_kwargs=True)
            for path, module in _observed_modules(self._model)
        ]
        handles.append(self._optimizer.register_step_pre_hook(self._before_update))
        handles.append(self._optimizer.register_step_post_hook(self._after_update))
        try:
            yield
        finally:
            self._is_listening = False
            self._rng = None
            self._before.clear()
            for handle in handles:
                handle.remove()

    def compare_gradients(self, losses: Callable[[], Iterable[Tensor]]) -> None:
        """Measures how many gradients half precision flushed to zero, against a second pass in float32.

        Weights, gradients, buffers and random state stay as they are. On a GPU torch may draw other dropout masks
        for float32 than for half precision. Where a GPU has no memory left for it, nothing is measured.

        Args:
            losses: runs the forward passes that the present gradients come from again, without autocast, and gives
                the loss of each. They must be the first of the step.
        """
        assert self._rng is not None, "compare_gradients belongs into the block of watch()"
        parameters = [p for p in self._names if p.grad is not None]
        buffers = [(buffer, buffer.clone()) for buffer in self._model.buffers()]
        now = _rng_state(self._device)
        self.peak_memory_mib = max(peak_memory_mib(self._device), self.peak_memory_mib)
        self._is_listening = False
        _set_rng_state(self._device, self._rng)
        try:
            references = _summed_gradients(losses(), parameters)
        except torch.OutOfMemoryError:
            # The training itself fits, and must not end for the sake of a measurement.
            return
        finally:
            self._is_listening = True
            _set_rng_state(self._device, now)
            with torch.no_grad():
                for buffer, saved in buffers:
                    buffer.copy_(saved)
            reset_peak_memory(self._device)
        for parameter, reference in zip(parameters, references, strict=True):
            assert parameter.grad is not None
            self._note(HealthMetric.FLUSH_RATE, self._names[parameter], flush_rate(parameter.grad, reference))

    def note_gradient_norms(self, micro: Tensor, update: Tensor) -> None:
        """The norms of the gradient of one micro-batch and of the whole update, neither of them scaled."""
        self._note(HealthMetric.MICRO_GRAD_NORM, "", micro)
        self._note(HealthMetric.UPDATE_GRAD_NORM, "", update)

    def sample(self, step: int) -> PendingHealth:
        """What was gathered in the last `watch` block, as of this step. Waits for nothing."""
        values = [value.float() for value in self._values.values()]
        packed = torch.stack(values) if values else torch.empty(0, device=self._device)
        return PendingHealth(step, packed, tuple(self._values))

    @property
    def _device(self) -> torch.device:
        return next(iter(self._names)).device

    def _note(self, metric: HealthMetric, path: str, value: Tensor, dtype: torch.dtype = torch.float32) -> None:
        slot = _Slot(metric, path, dtype)
        seen = self._values.get(slot)
        # Unlike Python's max, torch.maximum keeps a NaN.
        self._values[slot] = value if seen is None else torch.maximum(seen, value)

    def _module_hook(self, path: str) -> Callable[..., None]:
        @torch.no_grad()
        def observe(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: object) -> None:
            if not self._is_listening:
                return
            for tensor in _floating_tensors(output):
                self._note(HealthMetric.OUTPUT_ABSMAX, path, absmax(tensor), tensor.dtype)
            if isinstance(module, SelfAttention | nn.MultiheadAttention):
                self._is_listening = False
                # In float32, and without autocast's cache of cast weights, which the training still needs.
                with torch.autocast("cuda", enabled=False):
                    if isinstance(module, SelfAttention):
                        logit = module.largest_logit(*args, **kwargs)
                    else:
                        logit = _largest_logit(module, *args, **kwargs)
                self._is_listening = True
                self._note(HealthMetric.ATTENTION_LOGIT_MAX, path, logit)

        return observe

    @torch.no_grad()
    def _before_update(self, optimizer: Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._before = {p: p.detach().clone() for p in self._names if p.grad is not None}

    @torch.no_grad()
    def _after_update(self, optimizer: Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if self._before:
            after = [p.detach() for p in self._before]
            self._note_all(HealthMetric.UPDATE_RATIO, self._before, update_ratios(list(self._before.values()), after))
        # AdamW is one as well; Muon's matrices have no mean square.
        if isinstance(optimizer, torch.optim.Adam):
            for group in optimizer.param_groups:
                known = [p for p in group["params"] if p in self._before and "exp_avg_sq" in optimizer.state[p]]
                self._note_adam(known, group)

    def _note_adam(self, parameters: Sequence[nn.Parameter], group: dict[str, Any]) -> None:
        if not parameters:
            return
        states = [self._optimizer.state[p] for p in parameters]
        steps_N = torch.stack([state["step"] for state in states]).float()
        gradients = [p.grad for p in parameters if p.grad is not None]
        squares = [state["exp_avg_sq"] for state in states]
        rms_N = adam_rms(gradients, squares, steps_N, group["betas"][1], group["eps"])
        self._note_all(HealthMetric.ADAM_RMS, parameters, rms_N)

    def _note_all(self, metric: HealthMetric, parameters: Iterable[nn.Parameter], values_N: Tensor) -> None:
        for parameter, value in zip(parameters, values_N.unbind(), strict=True):
            self._note(metric, self._names[parameter], value)


def _observed_modules(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Modules without children and attentions, with their dotted names."""
    for path, module in model.named_modules():
        if isinstance(module, SelfAttention | nn.MultiheadAttention) or next(module.children(), None) is None:
            yield path, module


def _floating_tensors(output: object) -> Iterator[Tensor]:
    """The tensors of a module's output that hold floating point numbers, however they are nested in tuples."""
    if isinstance(output, Tensor):
        if output.is_floating_point() and output.numel() > 0:
            yield output
    elif isinstance(output, tuple | list):
        for item in output:
            yield from _floating_tensors(item)


def _largest_logit(
    attention: nn.MultiheadAttention,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    key_padding_mask: Tensor | None = None,
    *_: object,
    **__: object,
) -> Tensor:
    """As `SelfAttention.largest_logit`, of torch's layer; padded queries count. Takes what its forward takes."""
    size, heads = attention.embed_dim, attention.num_heads
    if attention.in_proj_weight is not None:
        weight_q, weight_k = attention.in_proj_weight[:size], attention.in_proj_weight[size : 2 * size]
    else:
        weight_q, weight_k = attention.q_proj_weight, attention.k_proj_weight
    bias = attention.in_proj_bias
    bias_q, bias_k = (None, None) if bias is None else (bias[:size], bias[size : 2 * size])

    def split(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        x_BTD = x[None] if x.ndim == 2 else x if attention.batch_first else x.transpose(0, 1)
        projected: Tensor = F.linear(x_BTD.float(), weight, bias).unflatten(2, (heads, size // heads))
        return projected.transpose(1, 2)

    query_BHTE, key_BHSE = split(query, weight_q, bias_q), split(key, weight_k, bias_k)
    logits_BHTS = query_BHTE @ key_BHSE.transpose(2, 3) * (size // heads) ** -0.5
    if key_padding_mask is not None:
        padding_BS = key_padding_mask if key_padding_mask.dtype is torch.bool else key_padding_mask == -math.inf
        logits_BHTS = logits_BHTS.masked_fill(padding_BS.reshape(-1, 1, 1, key_BHSE.shape[2]), 0.0)
    return absmax(logits_BHTS)


def _summed_gradients(losses: Iterable[Tensor], parameters: Sequence[Tensor]) -> list[Tensor]:
    """Gradients of the sum of the losses, one loss at a time, without touching `.grad`."""
    totals = [torch.zeros_like(p) for p in parameters]
    for loss in losses:
        gradients = torch.autograd.grad(loss, parameters, materialize_grads=True, allow_unused=True)
        torch._foreach_add_(totals, gradients)
    return totals


def _rng_state(device: torch.device) -> tuple[Tensor, Tensor | None]:
    """State of the random generators that a training on this device draws from."""
    return torch.get_rng_state(), torch.cuda.get_rng_state(device) if device.type == "cuda" else None


def _set_rng_state(device: torch.device, state: tuple[Tensor, Tensor | None]) -> None:
    torch.set_rng_state(state[0])
    if state[1] is not None:
        torch.cuda.set_rng_state(state[1], device)
