"""Why a training went bad: plain data, written as evidence/<trial>/explanation.json and read by the report."""

import re
from dataclasses import dataclass
from enum import StrEnum


class Cause(StrEnum):
    """What made a training go bad. The words are what a person reads; `Explanation.cause` adds the particulars."""

    LR_TOO_HIGH = "learning rate too high"
    LR_TOO_LOW = "learning rate too low"
    NO_CLIPPING = "gradients not clipped"
    CLIP_TOO_TIGHT = "gradients clipped too tightly"
    INIT_TOO_LARGE = "initial weights too large"
    INIT_TOO_SMALL = "initial weights too small"
    HALF_OVERFLOW_ATTENTION = "fp16 overflow in attention scores"
    HALF_OVERFLOW = "fp16 overflow in the forward pass"
    HALF_GRADIENT_OVERFLOW = "fp16 overflow of gradients"
    HALF_UNDERFLOW = "fp16 flushes gradients to zero"
    SCALE_CALIBRATION = "loss-scale calibration, not a divergence"
    SKIP_THRESHOLD = "the skip threshold rejects healthy batches"
    BAD_STEP_APPLIED = "a non-finite gradient was applied"
    OPTIMIZER_STATE = "damaged or stale optimizer state"
    SINGLE_BATCH = "one batch sets it off"
    INFEASIBLE_SAMPLE = "a target that CTC cannot align"
    NONFINITE_FEATURES = "NaN or infinite features"
    FEATURE_OUTLIER = "features out of scale"
    OUT_OF_MEMORY = "out of memory"
    EXCEPTION = "an exception"
    NOTHING = "nothing to explain"
    UNKNOWN = "unknown"


class Place(StrEnum):
    """Where the first non-finite value was, in the order of a training step."""

    FEATURES = "features"
    WEIGHT_BEFORE = "weight before the step"
    FORWARD = "forward"
    LOSS = "loss"
    BACKWARD = "backward"
    GRADIENT = "gradient"
    OPTIMIZER_STATE = "optimizer state"
    WEIGHT = "weight"


@dataclass(frozen=True)
class FirstNonfinite:
    """The first value that was NaN or infinite, all before it being finite."""

    place: Place
    step: int
    operation: str
    """Such as `linear`, `matmul` or `ConvolutionBackward`; empty where no operation made it (features, weights)."""
    path: str
    """Dotted name of the module, of the parameter, or the utterance; empty if unknown."""
    dtype: str
    input_absmax: float
    """Largest finite absolute input of the operation; NaN if unknown."""
    output_absmax: float
    """Largest finite absolute value of its output; NaN if there is none."""
    num_nan: int
    num_inf: int


@dataclass(frozen=True)
class Counterfactual:
    """The same batches from the same snapshot with one thing changed, several times over."""

    change: str
    """Such as `same`, `fp32`, `LR / 10`, `drop step 17`, `fresh optimizer state`."""
    num_rescued: int
    num_repeats: int
    end_loss: float
    """Median over the repeats of the median of the last losses, nats a label; NaN if none was finite."""

    @property
    def rescues(self) -> bool:
        """Whether most repeats were rescued."""
        return 2 * self.num_rescued > self.num_repeats


@dataclass(frozen=True)
class Explanation:
    """The answer to "why", with its evidence."""

    cause: Cause
    text: str
    """The cause in plain words with its particulars, one line: `fp16 overflow in attention scores (encoder.0)`."""
    details: tuple[str, ...] = ()
    """Further sentences: what was seen, with numbers."""
    first_nonfinite: FirstNonfinite | None = None
    counterfactuals: tuple[Counterfactual, ...] = ()
    snapshot_step: int | None = None
    """The step after which the replays began; 0 is the initial model."""
    num_replayed_steps: int = 0
    """Training steps that the explanation cost."""


def few_words(cause: str) -> str:
    """A cause without its particulars: what stands before the first colon, bracket or semicolon."""
    return re.split(r"[:;(]", cause, maxsplit=1)[0].strip()
