"""How one training computes: the context of its forward pass, its loss scale, its guarded optimizer step."""

import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.amp import GradScaler
from torch.optim import Optimizer

from slr_models.errors import SettingError
from sweep.training.emulation import emulated_autocast

_FIRST_WITH_TF32_AND_BF16 = 8
"""Compute capability (major) of the first GPUs with these units: Ampere."""


class Precision:
    """How one training computes: the forward pass's context, the loss scale and the guarded optimizer step.

    The calls of one training step, in order; none of them waits for the device:

    | call                  | without a scaler    | with a scaler                                        |
    |-----------------------|---------------------|------------------------------------------------------|
    | `forward_context()`   | around model, loss  | around model and loss, not around backward           |
    | `scale_loss(loss)`    | the loss            | loss x loss scale; call backward on the result       |
    | `unscale_(optimizer)` | nothing             | divides the gradients, notes non-finite ones         |
    | `step(optimizer)`     | steps               | steps if all gradients are finite; updates the scale |

    `step` ends the step: exactly one follows each `unscale_`, also where the update is refused.
    """

    def __init__(
        self,
        implementation: str,
        device: torch.device,
        new_context: Callable[[], AbstractContextManager[object]],
        scaler: GradScaler | None = None,
    ) -> None:
        self.implementation = implementation
        """What really runs, for the report."""
        self._new_context = new_context
        self._scaler = scaler
        self._device = device

    @property
    def has_scaler(self) -> bool:
        """Whether the loss is scaled."""
        return self._scaler is not None

    def loss_scale(self) -> Tensor:
        """The scale in force for the next `scale_loss`, a float32 scalar of its own; NaN without a scaler."""
        if self._scaler is None:
            return torch.full((), math.nan, device=self._device)
        return self._scaler.scale(torch.ones((), device=self._device))

    def forward_context(self) -> AbstractContextManager[object]:
        """A new context for one forward pass and its loss."""
        return self._new_context()

    def scale_loss(self, loss: Tensor) -> Tensor:
        """The loss to call `backward` on."""
        return loss if self._scaler is None else self._scaler.scale(loss)

    def unscale_(self, optimizer: Optimizer) -> None:
        """Turns the gradients of the scaled loss into those of the loss, in place."""
        if self._scaler is not None:
            self._scaler.unscale_(optimizer)

    def step(self, optimizer: Optimizer, refused: Tensor | None = None) -> Tensor:
        """Updates the weights, unless something speaks against it, and the loss scale.

        Args:
            optimizer: One of torch's fused ones: these leave out a step by a flag on the device.
            refused: A bool scalar: whether the caller does not want this update. The loss scale still learns
                whether its gradients overflowed.

        Returns:
            Whether the optimizer stepped, a bool scalar. Without a scaler it does whatever the gradients hold,
            unless refused. With one it does not if a scaled gradient is NaN or infinite. A scale below 2^-128
            protects from nothing: its inverse is infinite, so that unscaling itself spoils the gradients after the
            check.
        """
        assert optimizer.defaults["fused"], "only fused optimizers read the flag `found_inf`"
        left_out = torch.zeros((), dtype=torch.bool, device=self._device) if refused is None else refused
        if self._scaler is not None:
            # The scaler's own `step` would pass on this finding alone.
            (overflowed,) = self._scaler._found_inf_per_device(optimizer).values()
            left_out = left_out | (overflowed > 0)
        optimizer.grad_scale = None  # type: ignore[attr-defined]
        optimizer.found_inf = left_out.float()  # type: ignore[attr-defined]
        optimizer.step()
        del optimizer.grad_scale, optimizer.found_inf  # type: ignore[attr-defined]
        if self._scaler is not None:
            self._scaler.update()
        return ~left_out

    def state_dict(self) -> dict[str, Any]:
        """State to continue from; empty without a scaler. Waits for the device."""
        return {} if self._scaler is None else self._scaler.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continues from `state_dict()` of a precision of the same kind."""
        if self._scaler is not None:
            self._scaler.load_state_dict(state)


def full_precision(device: torch.device) -> Precision:
    """fp32, with TensorFloat-32 off on a GPU.

    Raises:
        SettingError: the device is neither CPU nor CUDA.
    """
    if _is_cuda(device, "fp32"):
        return Precision("fp32 (TensorFloat-32 off)", device, lambda: _tf32(False))
    return Precision("fp32", device, nullcontext)


def tensor_float(device: torch.device) -> Precision:
    """fp32 storage with TensorFloat-32 products.

    Raises:
        SettingError: the device is no GPU, or one before Ampere.
    """
    if not _is_cuda(device, "tf32"):
        raise SettingError(
            "precision `tf32` needs an NVIDIA GPU, but this training runs on the CPU; "
            "use `fp32` here or run the study on a GPU."
        )
    _require_ampere(device, "tf32")
    return Precision("fp32 with TensorFloat-32 products", device, lambda: _tf32(True))


def bfloat16(device: torch.device) -> Precision:
    """bfloat16 activations.

    Raises:
        SettingError: the device is a GPU before Ampere, or neither CPU nor CUDA.
    """
    if _is_cuda(device, "bf16"):
        _require_ampere(device, "bf16")
    return _mixed("bf16", torch.bfloat16, device, None)


def float16(
    device: torch.device, *, initial_scale: float, growth_factor: float, backoff_factor: float, growth_interval: int
) -> Precision:
    """float16 activations with a fresh loss scale, whose settings are those of `precision.Fp16`.

    Raises:
        SettingError: the device is neither CPU nor CUDA.
    """
    _is_cuda(device, "fp16")
    scaler = GradScaler(
        device.type,
        init_scale=initial_scale,
        growth_factor=growth_factor,
        backoff_factor=backoff_factor,
        growth_interval=growth_interval,
    )
    return _mixed("fp16", torch.float16, device, scaler)


def float16_unscaled(device: torch.device) -> Precision:
    """float16 activations without a loss scale.

    Raises:
        SettingError: the device is neither CPU nor CUDA.
    """
    return _mixed("fp16", torch.float16, device, None)


def _mixed(name: str, dtype: torch.dtype, device: torch.device, scaler: GradScaler | None) -> Precision:
    suffix = "" if scaler is None else " + GradScaler"
    if _is_cuda(device, name):
        return Precision(f"CUDA autocast {name}{suffix}", device, lambda: _cuda_autocast(dtype), scaler)
    return Precision(
        f"{name} emulated on CPU (CUDA autocast op lists, fp32 accumulation){suffix}",
        device,
        lambda: emulated_autocast(dtype),
        scaler,
    )


def _is_cuda(device: torch.device, kind: str) -> bool:
    if device.type not in ("cpu", "cuda"):
        raise SettingError(
            f"precision `{kind}` is defined for the devices cpu and cuda, but the device is {device.type}; "
            "choose one of these two."
        )
    return device.type == "cuda"


def _require_ampere(device: torch.device, kind: str) -> None:
    major, minor = torch.cuda.get_device_capability(device)
    if major < _FIRST_WITH_TF32_AND_BF16:
        raise SettingError(
            f"precision `{kind}` needs a GPU of compute capability 8.0 (Ampere) or newer, but "
            f"{torch.cuda.get_device_name(device)} has {major}.{minor}; use `fp16` or `fp32`."
        )


@contextmanager
def _cuda_autocast(dtype: torch.dtype) -> Iterator[None]:
    """Autocast whose remaining fp32 products are IEEE fp32, whatever ran in this process before."""
    with _tf32(False), torch.autocast(device_type="cuda", dtype=dtype):
        yield


@contextmanager
def _tf32(allowed: bool) -> Iterator[None]:
    """Sets the process's TensorFloat-32 switches and leaves them so: the backward pass reads them later."""
    torch.backends.cuda.matmul.allow_tf32 = allowed
    torch.backends.cudnn.allow_tf32 = allowed
    yield
