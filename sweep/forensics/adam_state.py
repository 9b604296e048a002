"""Whether an optimizer's state can be what it claims to be."""

import math

import torch

from sweep.training.optim import Adam, AdamW, OptimizerConfig, StableAdamW
from sweep.training.snapshots import Snapshot

TOLERANCE = 1.1
LEAST_MOMENT = 1e-15
"""Smaller moments are left out: their squares underflow."""
LARGEST_IMPOSSIBLE_RATE = 0.01
"""Share of a parameter's entries from which its state counts as damaged."""


def impossible_rate(config: OptimizerConfig, snapshot: Snapshot) -> float:
    """Largest share, over the parameters, of Adam moments that no sequence of gradients gives; 0 for others.

    With m = (1 - b1) sum b1^k g_k and v = (1 - b2) sum b2^k g_k^2, Cauchy-Schwarz bounds |m| / sqrt(v) by
    (1 - b1) / sqrt((1 - b2) (1 - b1^2 / b2)), which is 7.27 at the usual betas, whatever the gradients were.
    """
    if not isinstance(config, Adam | AdamW | StableAdamW) or config.beta1**2 >= config.beta2:
        return 0.0
    bound = (1 - config.beta1) / math.sqrt((1 - config.beta2) * (1 - config.beta1**2 / config.beta2))
    rates = [0.0]
    for state in snapshot.state["optimizer"]["state"].values():
        mean, square = state["exp_avg"].abs().double(), state["exp_avg_sq"].double()
        impossible = (mean > LEAST_MOMENT) & ((mean > TOLERANCE * bound * square.sqrt()) | (square < 0))
        rates.append(impossible.to(torch.float32).mean().item())
    return max(rates)


def is_damaged(config: OptimizerConfig, snapshot: Snapshot) -> bool:
    """Whether a parameter's state holds more impossible moments than rounding explains."""
    return impossible_rate(config, snapshot) > LARGEST_IMPOSSIBLE_RATE
