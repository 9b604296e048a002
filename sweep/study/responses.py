"""What a claim may measure, in words."""

from dataclasses import dataclass
from typing import Literal

ResponseName = Literal[
    "stable",
    "broken",
    "learned",
    "wer",
    "val_loss",
    "steps_to_loss",
    "edge_lr",
    "step_time_s",
    "samples_per_s",
    "peak_memory_mib",
    "leading_infs",
    "skipped_rate",
    "train_loss",
    "score",
]


@dataclass(frozen=True)
class Response:
    """What is measured of a training."""

    name: str
    """A noun that takes an article."""
    unit: str
    """Of a difference between two trainings; shares are told apart in points of a hundred."""
    counted: str
    """What a training counts as, in words."""
    is_share: bool = False


_LOSS = "that of a failed training counts as learning nothing (L_const) or more, up to L_unif"

RESPONSES: dict[ResponseName, Response] = {
    "stable": Response("share of stable trainings", "points", "1 for a stable training, 0 for any other", True),
    "broken": Response(
        "share of broken trainings",
        "points",
        "1 for a training that failed too hot (it diverged, lost what it had learned, or was thrown about), 0 for any "
        "other",
        True,
    ),
    "learned": Response(
        "share of trainings that learned", "points", "1 for a training that ended with something learned, else 0", True
    ),
    "wer": Response("WER", "points", "WER at the end, at most 100 %; that of a failed training counts as 100 %", True),
    "val_loss": Response("validation loss", "nats/label", f"validation loss at the end; {_LOSS}"),
    "train_loss": Response("training loss", "nats/label", f"training loss at the end; {_LOSS}"),
    "score": Response(
        "score",
        "of the score",
        "what the study's objective names, as it was reported; that of a failed training counts as the worst of a "
        "stable one",
    ),
    "steps_to_loss": Response(
        "steps to reach the loss",
        "steps",
        "steps until the validation loss is below the given share of L_const; one that never is, counts with all its "
        "steps",
    ),
    "edge_lr": Response(
        "edge of the learning rate",
        "decades",
        "the learning rate between the highest stable and the lowest unstable one of the block",
    ),
    "step_time_s": Response("time of a step", "s", "median time of a training step"),
    "samples_per_s": Response("samples a second", "samples/s", "training samples a second"),
    "peak_memory_mib": Response("peak memory", "MiB", "peak memory of the training"),
    "leading_infs": Response(
        "leading infinite gradients", "batches", "batches skipped before the loss scale had settled"
    ),
    "skipped_rate": Response(
        "share of skipped updates", "points", "share of updates that were skipped once the loss scale had settled", True
    ),
}
