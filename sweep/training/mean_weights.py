"""An exponential mean of a model's weights, by which a training may be evaluated."""

import copy

import torch

from slr_models.models import CtcModel


class MeanWeights:
    """A copy of a model that follows it slowly: Polyak averaging with a memory that rises to its full length."""

    def __init__(self, model: CtcModel, memory: float) -> None:
        """Begins at the model's weights.

        Args:
            model: what is trained.
            memory: share of the mean that a step keeps, in (0, 1).
        """
        self.model = copy.deepcopy(model).requires_grad_(False)
        self._memory = memory

    @torch.no_grad()
    def update(self, model: CtcModel, step: int) -> None:
        """Takes the weights after a step, counted from 0; buffers (statistics of normalisation) are those of now."""
        kept = min(self._memory, (1 + step) / (10 + step))
        torch._foreach_lerp_(list(self.model.parameters()), list(model.parameters()), 1.0 - kept)
        for mean, buffer in zip(self.model.buffers(), model.buffers(), strict=True):
            mean.copy_(buffer)
