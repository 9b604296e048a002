"""Optimizers: the update rule and its settings. The learning rate of each step comes from a schedule."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from slr_models.spec import Spec

if TYPE_CHECKING:
    import torch
    from torch.nn import Parameter

# All are built fused: one kernel for all weights on CPU and CUDA, which can be told on the device, without a
# sync, to leave out the step.


class _AdamRule(Spec):
    """What Adam and its kin share."""

    kind: str
    lr: float = Field(default=1e-3, gt=0)
    """Base learning rate; a weight moves by about this much a step, under StableAdamW by at most so much."""
    beta1: float = Field(default=0.9, ge=0, lt=1)
    """Memory of the mean gradient."""
    beta2: float = Field(default=0.999, ge=0, lt=1)
    """Memory of the mean squared gradient."""
    eps: float = Field(default=1e-8, gt=0)
    """Added to the root of the mean squared gradient."""
    weight_decay: float = Field(default=0.01, ge=0)
    """Share of each weight taken away a step, times the learning rate."""

    @property
    def _arguments(self) -> dict[str, Any]:
        betas = (self.beta1, self.beta2)
        return {"lr": self.lr, "betas": betas, "eps": self.eps, "weight_decay": self.weight_decay}


class AdamW(_AdamRule):
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019)."""

    kind: Literal["adamw"] = "adamw"

    def build(self, parameters: "Iterable[Parameter]") -> "torch.optim.Optimizer":
        """One group of all parameters."""
        from sweep.training.optim.fused import FusedAdam

        return FusedAdam(parameters, **self._arguments, decoupled_weight_decay=True, fused=True)


class StableAdamW(_AdamRule):
    """AdamW whose rate falls for a tensor while its gradients are larger than it remembers (StableAdamW).

    By Wortsman et al. 2023 (arXiv 2304.13013): lr / max(1, RMS_t), for each tensor on its own. Clipping of gradients is
    not needed beside it.
    """

    kind: Literal["stable_adamw"] = "stable_adamw"
    beta2: float = Field(default=0.99, ge=0, lt=1)
    """Memory of the mean squared gradient."""

    def build(self, parameters: "Iterable[Parameter]") -> "torch.optim.Optimizer":
        """One group of all parameters."""
        from sweep.training.optim.fused import StableFusedAdam

        return StableFusedAdam(parameters, **self._arguments, decoupled_weight_decay=True, fused=True)


class Muon(_AdamRule):
    """Muon (Jordan 2024), torch's: momentum made orthogonal, for weights of two and more dimensions; AdamW for others.

    Its updates are scaled to the size of AdamW's, so one learning rate holds for both. A kernel of a convolution counts
    as a matrix of a row for each output. Needs torch 2.9; on a GPU each step waits for the device.
    """

    kind: Literal["muon"] = "muon"
    momentum: float = Field(default=0.95, ge=0, lt=1)
    """Memory of Muon's mean gradient."""
    nesterov: bool = True
    """Looks one step ahead along the momentum."""

    def build(self, parameters: "Iterable[Parameter]") -> "torch.optim.Optimizer":
        """A group of matrices and one of the others.

        Raises:
            SettingError: this torch has no Muon.
        """
        from sweep.training.optim.fused import MuonWithAdam

        return MuonWithAdam(
            parameters,
            momentum=self.momentum,
            nesterov=self.nesterov,
            **self._arguments,
            decoupled_weight_decay=True,
        )


class Adam(_AdamRule):
    """Adam (Kingma & Ba 2015). Its weight decay is part of the gradient, so the adaptive step rescales it."""

    kind: Literal["adam"] = "adam"
    weight_decay: float = Field(default=0.0, ge=0)
    """L2 penalty: this times the weight is added to the gradient (after clipping)."""

    def build(self, parameters: "Iterable[Parameter]") -> "torch.optim.Optimizer":
        """One group of all parameters."""
        from sweep.training.optim.fused import FusedAdam

        return FusedAdam(parameters, **self._arguments, fused=True)


class Sgd(Spec):
    """Stochastic gradient descent. Unlike under Adam, the size of the gradient sets the size of the step."""

    kind: Literal["sgd"] = "sgd"
    lr: float = Field(default=1e-2, gt=0)
    """Base learning rate."""
    momentum: float = Field(default=0.9, ge=0, lt=1)
    """Memory of past steps; 0 for none."""
    nesterov: bool = False
    """Looks one step ahead along the momentum."""
    weight_decay: float = Field(default=0.0, ge=0)
    """L2 penalty: this times the weight is added to the gradient (after clipping)."""

    @model_validator(mode="after")
    def _nesterov_needs_momentum(self) -> Self:
        if self.nesterov and self.momentum == 0:
            raise ValueError("`nesterov: true` has no effect with `momentum: 0`; set a momentum or drop nesterov.")
        return self

    def build(self, parameters: "Iterable[Parameter]") -> "torch.optim.Optimizer":
        """One group of all parameters."""
        import torch

        weights = list(parameters)
        optimizer = torch.optim.SGD(
            weights,
            lr=self.lr,
            momentum=self.momentum,
            nesterov=self.nesterov,
            weight_decay=self.weight_decay,
            fused=True,
        )
        if self.momentum > 0:
            # torch makes these buffers in the first step without filling them, and a first step that is left out
            # does not fill them either. From zeros the first step is the same as torch's own.
            for weight in weights:
                optimizer.state[weight]["momentum_buffer"] = torch.zeros_like(weight)
        return optimizer


OptimizerConfig = Annotated[AdamW | Adam | Sgd | StableAdamW | Muon, Field(discriminator="kind")]
