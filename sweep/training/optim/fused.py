"""Adam and AdamW as torch's fused ones, to the bit, without what these do for each weight beside the update.

torch counts the steps of every weight in a tensor of its own: with a hundred small weights that costs a CPU more than
the update itself. Here all weights that have seen as many steps share one counter.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter

_State = dict[str, Tensor]


class FusedAdam(torch.optim.Adam):
    """`torch.optim.Adam(fused=True)`, or AdamW with `decoupled_weight_decay`; state and hooks are torch's."""

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Updates the weights that have a gradient, unless `found_inf` says that this step is left out."""
        assert closure is None, "the loss is computed before the step"
        for group in self.param_groups:
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
            for state in (self.state[p] for p in group["params"] if p in self.state):
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
        steps = states[0]["step"]
        steps += 1
        beta1, beta2 = group["betas"]
        found_inf: Tensor | None = getattr(self, "found_inf", None)
        update = torch._fused_adamw_ if group["decoupled_weight_decay"] else torch._fused_adam_
        update(
            parameters,
            [p.grad for p in parameters if p.grad is not None],
            [state["exp_avg"] for state in states],
            [state["exp_avg_sq"] for state in states],
            [],
            [steps] * len(states),
            amsgrad=False,
            lr=group["lr"],
            beta1=beta1,
            beta2=beta2,
            weight_decay=group["weight_decay"],
            eps=group["eps"],
            maximize=False,
            grad_scale=getattr(self, "grad_scale", None),
            found_inf=found_inf,
        )
        if found_inf is not None:
            steps -= found_inf
