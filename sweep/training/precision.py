"""Number formats of training, as settings: what the forward pass computes in, how the loss is scaled; `amp.py` does it.

| kind          | on a GPU                            | on a CPU                                          |
|---------------|-------------------------------------|---------------------------------------------------|
| fp32          | IEEE fp32, TensorFloat-32 off       | fp32                                              |
| tf32          | fp32 storage, TensorFloat-32 matmul | an error: a CPU has no such unit                  |
| bf16          | CUDA autocast, TensorFloat-32 off   | the same op lists, emulated (`emulation.py`)     |
| fp16          | as bf16, with a GradScaler          | emulated + GradScaler                             |
| fp16_unscaled | as bf16, no loss scale              | emulated, no loss scale                           |

Weights, their gradients and the optimizer's state are fp32 in every kind.
"""

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from slr_models.spec import Spec

if TYPE_CHECKING:
    import torch

    from sweep.training.amp import Precision


class Fp32(Spec):
    """Single precision throughout."""

    kind: Literal["fp32"] = "fp32"

    def build(self, device: "torch.device") -> "Precision":
        """Raises SettingError on a device that is neither CPU nor CUDA, as every kind does."""
        from sweep.training.amp import full_precision

        return full_precision(device)


class Tf32(Spec):
    """fp32 storage, products on TensorFloat-32 units with 10 bits of mantissa. GPU only."""

    kind: Literal["tf32"] = "tf32"

    def build(self, device: "torch.device") -> "Precision":
        """Raises SettingError on a CPU or on a GPU before Ampere."""
        from sweep.training.amp import tensor_float

        return tensor_float(device)


class Bf16(Spec):
    """bfloat16 activations: the range of fp32, 8 bits of mantissa. Needs no loss scale."""

    kind: Literal["bf16"] = "bf16"

    def build(self, device: "torch.device") -> "Precision":
        """Raises SettingError on a GPU before Ampere."""
        from sweep.training.amp import bfloat16

        return bfloat16(device)


class Fp16(Spec):
    """float16 activations with dynamic loss scaling (`torch.amp.GradScaler`)."""

    kind: Literal["fp16"] = "fp16"
    initial_scale: float = Field(default=65536.0, gt=0)
    """First loss scale. The true start is found by halving at each overflow."""
    growth_interval: int = Field(default=2000, ge=1)
    """Steps without overflow after which the scale grows."""
    growth_factor: float = Field(default=2.0, gt=1)
    """Factor of a growth."""
    backoff_factor: float = Field(default=0.5, gt=0, lt=1)
    """Factor of the scale after an overflow."""

    def build(self, device: "torch.device") -> "Precision":
        """A fresh loss scale; keep the result for the whole training."""
        from sweep.training.amp import float16

        return float16(
            device,
            initial_scale=self.initial_scale,
            growth_factor=self.growth_factor,
            backoff_factor=self.backoff_factor,
            growth_interval=self.growth_interval,
        )


class Fp16Unscaled(Spec):
    """float16 activations without a loss scale: small gradients are flushed to zero."""

    kind: Literal["fp16_unscaled"] = "fp16_unscaled"

    def build(self, device: "torch.device") -> "Precision":
        """As `Fp16`, without its scaler."""
        from sweep.training.amp import float16_unscaled

        return float16_unscaled(device)


PrecisionConfig = Annotated[Fp32 | Tf32 | Bf16 | Fp16 | Fp16Unscaled, Field(discriminator="kind")]
