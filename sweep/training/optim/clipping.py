"""How gradients are clipped, as settings; `clippers.py` does it."""

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from slr_models.spec import Spec

if TYPE_CHECKING:
    from sweep.training.optim.clippers import Clipper


class Off(Spec):
    """No clipping."""

    kind: Literal["off"] = "off"

    def build(self) -> "Clipper":
        """A clipper that does nothing."""
        from sweep.training.optim.clippers import off

        return off()


class ByNorm(Spec):
    """Scales all gradients by one factor, so that their global L2 norm is at most `max_norm`."""

    kind: Literal["norm"] = "norm"
    max_norm: float = Field(default=1.0, gt=0)
    """Largest norm, in the unit of the (unscaled) gradient."""

    def build(self) -> "Clipper":
        """A NaN or infinite norm spoils every gradient."""
        from sweep.training.optim.clippers import by_norm

        return by_norm(self.max_norm)


class ByValue(Spec):
    """Limits each gradient element to [-max_value, max_value]; this turns the gradient's direction."""

    kind: Literal["value"] = "value"
    max_value: float = Field(default=1.0, gt=0)
    """Largest absolute value."""

    def build(self) -> "Clipper":
        """An infinite element becomes finite; a NaN stays."""
        from sweep.training.optim.clippers import by_value

        return by_value(self.max_value)


class Agc(Spec):
    """Adaptive gradient clipping: limits the gradient of each output unit relative to its weights.

    Brock et al. 2021 (arXiv 2102.06171). A unit is a row of a weight matrix, an output channel of a
    convolution, or a whole vector. All parameters are clipped, the classifier's too (the paper exempts it).
    """

    kind: Literal["agc"] = "agc"
    max_ratio: float = Field(default=0.01, gt=0)
    """Largest norm of a unit's gradient over the norm of its weights."""
    eps: float = Field(default=1e-3, gt=0)
    """Least norm that a unit's weights are taken to have: zero-initialized ones must be able to move."""

    def build(self) -> "Clipper":
        """A non-finite unit stays non-finite; the others are clipped as usual."""
        from sweep.training.optim.clippers import by_unit

        return by_unit(self.max_ratio, self.eps)


class Adaptive(Spec):
    """ZClip (arXiv 2504.02507): limits norms that stand out of their own running mean and deviation.

    A norm that lies s > z deviations above the mean is cut to mean + z^2 / s * deviation: the farther out,
    the stronger the cut. The cut norm is what enters the running statistics.
    """

    kind: Literal["adaptive"] = "adaptive"
    z: float = Field(default=2.5, gt=0)
    """Deviations above the mean from which a norm is cut."""
    decay: float = Field(default=0.97, gt=0, lt=1)
    """Share of the running mean and variance that one step keeps."""
    warmup_steps: int = Field(default=25, ge=2, le=1_000_000_000)
    """Finite norms that set the first mean and variance; these are not clipped."""

    def build(self) -> "Clipper":
        """A non-finite norm is neither clipped nor remembered."""
        from sweep.training.optim.clippers import AdaptiveClipper

        return AdaptiveClipper(z=self.z, decay=self.decay, warmup_steps=self.warmup_steps)


class AdaGc(Spec):
    """AdaGC (arXiv 2502.11034): limits the gradient of each tensor by the running mean of its own clipped norms.

    Over the first steps all gradients are clipped by their global norm, and each tensor's mean is the smallest of its
    clipped norms; a norm of 0 is not taken into it, or a tensor that begins without a gradient would never move.
    """

    kind: Literal["adagc"] = "adagc"
    max_ratio: float = Field(default=1.05, ge=1)
    """Largest norm of a tensor's gradient over the running mean."""
    decay: float = Field(default=0.98, gt=0, lt=1)
    """Share of the running mean that one step keeps."""
    max_norm: float = Field(default=1.0, gt=0)
    """Largest global norm of the first steps."""
    warmup_steps: int = Field(default=100, ge=1, le=1_000_000_000)
    """How many steps are the first: those with a finite norm that are applied."""

    def build(self) -> "Clipper":
        """A non-finite norm is neither clipped nor remembered."""
        from sweep.training.optim.clippers import TensorClipper

        return TensorClipper(
            max_ratio=self.max_ratio, decay=self.decay, max_norm=self.max_norm, warmup_steps=self.warmup_steps
        )


ClipConfig = Annotated[Off | ByNorm | ByValue | Agc | Adaptive | AdaGc, Field(discriminator="kind")]
