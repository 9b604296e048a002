"""How much of everything the parts do."""

from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter

from slr_models.data import SyntheticConfig
from sweep.training.config import TrialConfig

MODELS = ("teacher", "baseline", "mobilenet_teacher", "cnn_bilstm")
"""Every shipped one."""


@dataclass(frozen=True, kw_only=True)
class Scale:
    """Sizes of trainings and measurements."""

    data: SyntheticConfig
    batch_size: int
    width: float
    """Of all models but those that are trained on the CPU as well."""
    learning_rates: tuple[float, ...]
    training_steps: int
    """Of a training that is judged."""
    emulated_width: float
    emulated_seeds: tuple[int, ...]
    emulated_steps: int
    monitored_steps: int
    """Of each loop."""
    packed: tuple[int, ...]
    """Trainings side by side, in rising numbers from 1."""
    packed_s: float
    """How long each number of them is measured."""
    precision_batches: tuple[int, ...]
    precision_steps: int
    """Of each precision."""

    def config(self, model: str, width: float, precision: dict[str, Any], lr: float) -> TrialConfig:
        """A training with these settings."""
        return TypeAdapter(TrialConfig).validate_python(
            {
                "model": {"kind": model, "width": width},
                "data": self.data.model_dump(),
                "training": {
                    "precision": precision,
                    "optimizer": {"kind": "adamw", "lr": lr},
                    "batch_size": self.batch_size,
                    # Evaluations and samples of health are no part of what is timed.
                    "eval_every_steps": 1_000_000,
                    "health_every_steps": None,
                },
            }
        )


FULL = Scale(
    data=SyntheticConfig(num_features=225, num_train=512, num_valid=16, min_labels=4, max_labels=8),
    batch_size=8,
    width=1.0,
    learning_rates=(1e-3, 1e-4, 1e-1),
    training_steps=100,
    emulated_width=0.125,
    emulated_seeds=(0, 1),
    emulated_steps=40,
    monitored_steps=100,
    packed=(1, 2, 4, 8),
    packed_s=4.0,
    precision_batches=(8, 64),
    precision_steps=20,
)

QUICK = Scale(
    data=SyntheticConfig(
        vocabulary_size=4, num_features=12, num_train=16, num_valid=2, frames_per_label=6, max_labels=3
    ),
    batch_size=2,
    width=0.0625,
    learning_rates=(1e-3,),
    training_steps=3,
    emulated_width=0.0625,
    emulated_seeds=(0,),
    emulated_steps=3,
    monitored_steps=2,
    packed=(1, 2),
    packed_s=0.2,
    precision_batches=(2,),
    precision_steps=2,
)
