"""Why a step applied no update, told from its numbers once they have been read."""

import math
from typing import Any

from sweep.records import SkipReason

SETTLED_STEPS = 20
"""A loss scale that gave finite gradients for so many steps in a row has found its level."""

CALIBRATION_RISE = 2.0
"""A loss so many times its lowest is on its way up: what overflows then is the training, not the first loss scale."""


class SkipNamer:
    """Names the skipped steps of one training; it is given all its steps, in their order."""

    def __init__(self) -> None:
        self._settled_scale = self._held_scale = math.nan
        self._good_steps = 0
        self._lowest_loss = math.inf

    def name(
        self,
        *,
        applied: bool,
        refusal: SkipReason | None,
        loss: float,
        grad_norm: float,
        loss_scale: float,
        num_infeasible: int,
    ) -> SkipReason | None:
        """The reason; None for a step that was applied.

        Args:
            applied: Whether the weights changed.
            refusal: What the bad-batch policy said.
            loss: Unscaled.
            grad_norm: Of the unscaled gradients, before clipping.
            loss_scale: In force during the step; NaN without a scaler.
            num_infeasible: Targets of the step that CTC cannot align.
        """
        self._note_scale(loss_scale, grad_norm)
        if math.isfinite(loss):
            self._lowest_loss = min(self._lowest_loss, loss)
        if applied:
            return None
        if refusal is SkipReason.THRESHOLD and math.isfinite(grad_norm):
            return SkipReason.THRESHOLD
        if num_infeasible > 0 and not math.isfinite(loss):
            return SkipReason.INFEASIBLE
        if math.isfinite(loss) and not math.isnan(loss_scale):
            # No scale has held for a while yet, or it just grew: overflow is how it finds its level.
            is_unsettled = math.isnan(self._settled_scale) and loss <= CALIBRATION_RISE * self._lowest_loss
            if is_unsettled or loss_scale > self._settled_scale:
                return SkipReason.CALIBRATION
        return SkipReason.NONFINITE

    def _note_scale(self, loss_scale: float, grad_norm: float) -> None:
        """Keeps the latest loss scale that held for SETTLED_STEPS steps in a row."""
        if not math.isfinite(grad_norm):
            self._good_steps = 0
            return
        self._good_steps = self._good_steps + 1 if loss_scale == self._held_scale else 1
        self._held_scale = loss_scale
        if self._good_steps >= SETTLED_STEPS:
            self._settled_scale = loss_scale

    def state_dict(self) -> dict[str, Any]:
        """State to continue from."""
        return {
            "settled_scale": self._settled_scale,
            "held_scale": self._held_scale,
            "good_steps": self._good_steps,
            "lowest_loss": self._lowest_loss,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continues from `state_dict()`; other entries are ignored."""
        self._settled_scale = state["settled_scale"]
        self._held_scale = state["held_scale"]
        self._good_steps = state["good_steps"]
        self._lowest_loss = state["lowest_loss"]
