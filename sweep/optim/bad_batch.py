"""Bad-batch policies: whether the update of a batch is applied, judged by its loss and gradient norm."""

import math
import statistics
from collections import deque
from typing import Annotated, Any, Literal, Protocol, Self

from pydantic import Field, model_validator

from slr_models.spec import Spec
from sweep.records import SkipReason

_LEAST_DEVIATION = 0.05
"""Deviation of log norms that is taken for granted: 5 % of wobble is never an outlier."""


class BadBatchPolicy(Protocol):
    """Judges the batches of one training, in their order."""

    def decide(self, loss: float, grad_norm: float) -> SkipReason | None:
        """Why not to apply this batch; None to apply it.

        Args:
            loss: Unscaled loss; may be NaN or infinite.
            grad_norm: Norm of the unscaled gradient before clipping; may be NaN or infinite.
        """

    def state_dict(self) -> dict[str, Any]:
        """State to continue from."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continues from `state_dict()` of the same configuration."""


class _ThresholdPolicy:
    """A policy that remembers nothing."""

    def __init__(self, skip_nonfinite: bool, threshold: float) -> None:
        self._skip_nonfinite = skip_nonfinite
        self._threshold = threshold

    def decide(self, loss: float, grad_norm: float) -> SkipReason | None:
        if not (math.isfinite(loss) and math.isfinite(grad_norm)):
            return SkipReason.NONFINITE if self._skip_nonfinite else None
        return SkipReason.THRESHOLD if grad_norm > self._threshold else None

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        pass


class NeverSkip(Spec):
    """Applies every batch. Without a loss scaler, one non-finite gradient then makes weights NaN."""

    kind: Literal["never_skip"] = "never_skip"

    def build(self) -> BadBatchPolicy:
        """A loss scaler still refuses steps with non-finite gradients by itself."""
        return _ThresholdPolicy(skip_nonfinite=False, threshold=math.inf)


class SkipNonfinite(Spec):
    """Skips a batch whose loss or gradient norm is NaN or infinite."""

    kind: Literal["skip_nonfinite"] = "skip_nonfinite"

    def build(self) -> BadBatchPolicy:
        """A policy without state."""
        return _ThresholdPolicy(skip_nonfinite=True, threshold=math.inf)


class SkipAbove(Spec):
    """Skips a batch whose gradient norm is above a fixed threshold, or not finite.

    The norm grows with the number of output frames a label: a threshold fits one model on one data set.
    """

    kind: Literal["skip_above"] = "skip_above"
    threshold: float = Field(gt=0)
    """Largest norm that is applied, before clipping."""

    def build(self) -> BadBatchPolicy:
        """A policy without state."""
        return _ThresholdPolicy(skip_nonfinite=True, threshold=self.threshold)


class RobustZ(Spec):
    """Skips a batch whose log gradient norm stands out of the recent ones, or is not finite.

    z = (log norm - median) / (1.4826 MAD) over the last `window` finite norms, skipped ones included: when
    norms rise for good, the policy follows after half a window and cannot lock the training out.
    """

    kind: Literal["robust_z"] = "robust_z"
    z: float = Field(default=6.0, gt=0)
    """Deviations above the median from which a batch is skipped."""
    window: int = Field(default=128, ge=8)
    """Finite norms that are remembered."""
    warmup_steps: int = Field(default=32, ge=4)
    """Finite norms to be seen before the first judgement."""

    @model_validator(mode="after")
    def _warmup_fits_window(self) -> Self:
        if self.warmup_steps > self.window:
            raise ValueError(
                f"`warmup_steps` must be at most `window`, but {self.warmup_steps} > {self.window}; "
                "with fewer remembered norms the policy would never judge."
            )
        return self

    def build(self) -> BadBatchPolicy:
        """A policy with an empty window."""
        return _RobustZPolicy(self)


BadBatchConfig = Annotated[NeverSkip | SkipNonfinite | SkipAbove | RobustZ, Field(discriminator="kind")]


class _RobustZPolicy:
    def __init__(self, config: RobustZ) -> None:
        self._config = config
        self._log_norms: deque[float] = deque(maxlen=config.window)

    def decide(self, loss: float, grad_norm: float) -> SkipReason | None:
        if not (math.isfinite(loss) and math.isfinite(grad_norm)):
            return SkipReason.NONFINITE
        if grad_norm <= 0.0:
            return None
        log_norm = math.log(grad_norm)
        is_outlier = len(self._log_norms) >= self._config.warmup_steps and self._z(log_norm) > self._config.z
        self._log_norms.append(log_norm)
        return SkipReason.THRESHOLD if is_outlier else None

    def _z(self, log_norm: float) -> float:
        median = statistics.median(self._log_norms)
        deviation = 1.4826 * statistics.median(abs(x - median) for x in self._log_norms)
        return (log_norm - median) / max(deviation, _LEAST_DEVIATION)

    def state_dict(self) -> dict[str, Any]:
        return {"log_norms": list(self._log_norms)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._log_norms.clear()
        self._log_norms.extend(state["log_norms"])
