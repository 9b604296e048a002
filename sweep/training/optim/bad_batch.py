"""Whether the update of a bad batch is applied, as settings; `policies.py` judges the batches."""

import math
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import Field, model_validator

from slr_models.spec import Spec

if TYPE_CHECKING:
    from sweep.training.optim.policies import BadBatchPolicy


class NeverSkip(Spec):
    """Applies every batch. Without a loss scaler, one non-finite gradient then makes weights NaN."""

    kind: Literal["never_skip"] = "never_skip"

    def build(self) -> "BadBatchPolicy":
        """A loss scaler still refuses steps with non-finite gradients by itself."""
        from sweep.training.optim.policies import ThresholdPolicy

        return ThresholdPolicy(skip_nonfinite=False, threshold=math.inf)


class SkipNonfinite(Spec):
    """Skips a batch whose loss or gradient norm is NaN or infinite."""

    kind: Literal["skip_nonfinite"] = "skip_nonfinite"

    def build(self) -> "BadBatchPolicy":
        """A policy without state."""
        from sweep.training.optim.policies import ThresholdPolicy

        return ThresholdPolicy(skip_nonfinite=True, threshold=math.inf)


class SkipAbove(Spec):
    """Skips a batch whose gradient norm is above a fixed threshold, or not finite.

    The norm grows with the number of output frames a label: a threshold fits one model on one data set.
    """

    kind: Literal["skip_above"] = "skip_above"
    threshold: float = Field(gt=0)
    """Largest norm that is applied, before clipping."""

    def build(self) -> "BadBatchPolicy":
        """A policy without state."""
        from sweep.training.optim.policies import ThresholdPolicy

        return ThresholdPolicy(skip_nonfinite=True, threshold=self.threshold)


class RobustZ(Spec):
    """Skips a batch whose log gradient norm stands out of the recent ones, or is not finite.

    z = (log norm - median) / (1.4826 MAD) over the last `window` finite norms, skipped ones included: when
    norms rise for good, the policy follows after half a window and cannot lock the training out.
    """

    kind: Literal["robust_z"] = "robust_z"
    z: float = Field(default=6.0, gt=0)
    """Deviations above the median from which a batch is skipped."""
    window: int = Field(default=128, ge=8, le=1_000_000)
    """Finite norms that are remembered."""
    warmup_steps: int = Field(default=32, ge=4, le=1_000_000_000)
    """Finite norms to be seen before the first judgement."""

    @model_validator(mode="after")
    def _warmup_fits_window(self) -> Self:
        if self.warmup_steps > self.window:
            raise ValueError(
                f"`warmup_steps` must be at most `window`, but {self.warmup_steps} > {self.window}; "
                "with fewer remembered norms the policy would never judge."
            )
        return self

    def build(self) -> "BadBatchPolicy":
        """A policy with an empty window."""
        from sweep.training.optim.policies import RobustZPolicy

        return RobustZPolicy(z=self.z, window=self.window, warmup_steps=self.warmup_steps)


BadBatchConfig = Annotated[NeverSkip | SkipNonfinite | SkipAbove | RobustZ, Field(discriminator="kind")]
