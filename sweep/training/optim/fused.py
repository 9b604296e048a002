"""Adam and AdamW as torch's fused ones, to the bit, without what these do for each weight beside the update.

torch counts the steps of every weight in a tensor of its own: with a hundred small weights that costs a CPU more than
the update itself. Here all weights that have seen as many steps share one counter. Two rules build on it, which leave
out a step by the same flag: `StableFusedAdam` and `MuonWithAdam`.
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter

from slr_models.errors import SettingError
from sweep.training.telemetry import adam_rms

_State = dict[str, Tensor]


class FusedAdam(torch.optim.Adam):
    """`torch.optim.Adam(fused=True)`, or AdamW with `decoupled_weight_decay`; state and hooks are torch's."""

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Updates the weights that have a gradient, unless `found_inf` says that this step is left out."""
        assert closure is None, "the loss is computed before the step"
        for group in self.param_groups:
            self._update_group(group)

    def _update_group(self, group: dict[str, Any]) -> None:
        begun: dict[torch.device, Tensor] = {}
        parameters = [p for p in group["params"] if p.grad is not None]
        states = [self.state[p] or self._start(p, begun) for p in parameters]
        by_counter: dict[int, tuple[list[Tensor], list[_State]]] = {}
        for parameter, state in zip(parameters, states, strict=True):
            together = by_counter.setdefault(id(state["step"]), ([], []))
            together[0].append(parameter)
            together[1].append(state)
        for together in by_counter.values():
            self._update(*together, group)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """As torch's, also with a state that torch's own optimizer saved."""
        super().load_state_dict(state_dict)
        for group in self.param_groups:
            counters: dict[tuple[torch.device, float], Tensor] = {}
            for state in (self.state[p] for p in group["params"] if "step" in self.state.get(p, {})):
                steps = state["step"]
                state["step"] = counters.setdefault((steps.device, steps.item()), steps)

    def _start(self, parameter: Parameter, begun: dict[torch.device, Tensor]) -> _State:
        """State for a weight that had no gradient before; all of a group that begin in one step share a counter."""
        counter = begun.setdefault(parameter.device, torch.zeros((), device=parameter.device))
        zeros = (torch.zeros_like(parameter), torch.zeros_like(parameter))
        state: _State = {"step": counter, "exp_avg": zeros[0], "exp_avg_sq": zeros[1]}
        self.state[parameter] = state
        return state

    def _update(self, parameters: list[Tensor], states: list[_State], group: dict[str, Any]) -> None:
        """Updates weights that share a counter."""
        steps = states[0]["step"]
        steps += 1
        self._apply(parameters, states, group, group["lr"])
        found_inf: Tensor | None = getattr(self, "found_inf", None)
        if found_inf is not None:
            steps -= found_inf

    def _apply(self, parameters: list[Tensor], states: list[_State], group: dict[str, Any], lr: float | Tensor) -> None:
        """Updates weights whose counter already counts this step."""
        beta1, beta2 = group["betas"]
        update = torch._fused_adamw_ if group["decoupled_weight_decay"] else torch._fused_adam_
        update(
            parameters,
            [p.grad for p in parameters if p.grad is not None],
            [state["exp_avg"] for state in states],
            [state["exp_avg_sq"] for state in states],
            [],
            [states[0]["step"]] * len(states),
            amsgrad=False,
            lr=lr,
            beta1=beta1,
            beta2=beta2,
            weight_decay=group["weight_decay"],
            eps=group["eps"],
            maximize=False,
            grad_scale=getattr(self, "grad_scale", None),
            found_inf=getattr(self, "found_inf", None),
        )


class StableFusedAdam(FusedAdam):
    """StableAdamW (Wortsman et al. 2023, arXiv 2304.13013, algorithm 2): a rate for each tensor, lr / max(1, RMS_t)."""

    def _apply(self, parameters: list[Tensor], states: list[_State], group: dict[str, Any], lr: float | Tensor) -> None:
        beta2 = group["betas"][1]
        gradients = [p.grad for p in parameters if p.grad is not None]
        # As they will be after this step, which may be left out yet.
        squares = torch._foreach_mul([state["exp_avg_sq"] for state in states], beta2)
        torch._foreach_addcmul_(squares, gradients, gradients, 1 - beta2)
        steps_N = states[0]["step"].expand(len(states))
        rates_N = lr / adam_rms(gradients, squares, steps_N, beta2, group["eps"]).clamp(min=1.0)
        for parameter, state, rate in zip(parameters, states, rates_N.unbind(), strict=True):
            super()._apply([parameter], [state], group, rate)


class MuonWithAdam(FusedAdam):
    """torch's Muon (Jordan 2024) for weights of two and more dimensions, taken as matrices; AdamW for the others."""

    def __init__(self, parameters: Iterable[Parameter], *, momentum: float, nesterov: bool, **adam: Any) -> None:
        """Both take one learning rate: Muon's updates are brought to the size of AdamW's (arXiv 2502.16982).

        Args:
            parameters: of the model.
            momentum: memory of Muon's mean gradient.
            nesterov: whether it looks a step ahead.
            adam: arguments of `FusedAdam`; rate and weight decay hold for both.

        Raises:
            SettingError: this torch has no Muon.
        """
        if not hasattr(torch.optim, "Muon"):
            raise SettingError(f"optimizer `muon` needs torch 2.9 or newer, and {torch.__version__} is installed")
        weights = list(parameters)
        groups = [
            {"params": [p for p in weights if (p.ndim >= 2) is is_matrix], "is_matrix": is_matrix}
            for is_matrix in (True, False)
        ]
        super().__init__([group for group in groups if group["params"]], fused=True, **adam)
        self._momentum, self._nesterov = momentum, nesterov

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Updates the weights, unless `found_inf` says that this step is left out; that is read from the device."""
        found_inf: Tensor | None = getattr(self, "found_inf", None)
        if found_inf is None or not found_inf.item():
            super().step(closure)

    def _update_group(self, group: dict[str, Any]) -> None:
        if not group["is_matrix"]:
            super()._update_group(group)
            return
        from torch.optim._muon import muon

        parameters = [p for p in group["params"] if p.grad is not None]
        for parameter in parameters:
            if not self.state[parameter]:
                buffer = torch.zeros_like(parameter)
                self.state[parameter] = {"step": torch.zeros((), device=buffer.device), "momentum_buffer": buffer}
            self.state[parameter]["step"] += 1
        muon(
            [p.flatten(1) for p in parameters],
            [p.grad.flatten(1) for p in parameters],
            [self.state[p]["momentum_buffer"].flatten(1) for p in parameters],
            lr=group["lr"],
            weight_decay=group["weight_decay"],
            momentum=self._momentum,
            nesterov=self._nesterov,
            # Those of torch's own Muon.
            ns_coefficients=(3.4445, -4.7750, 2.0315),
            ns_steps=5,
            eps=1e-7,
            adjust_lr_fn="match_rms_adamw",
            has_complex=False,
        )
