"""Tiny real trainings that go wrong in known ways."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import pytest
import torch

from slr_models.data import SyntheticConfig
from slr_models.data.batch import Dataset
from sweep.forensics.counterfactuals import ReplayedRun
from sweep.judging.detectors import RunContext
from sweep.judging.monitor import StabilityMonitor
from sweep.records import StepRecord, Verdict
from sweep.training.config import TrialConfig
from sweep.training.snapshots import SnapshotRing
from sweep.training.train import Training

CPU = torch.device("cpu")
L_CONST, L_UNIF = 1.8, 2.04
"""Of the synthetic data below, to two digits."""


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@dataclass
class Story:
    """One training from its start to its verdict."""

    model: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict)
    steps: int = 60
    edit: Callable[[Dataset], Dataset] | None = None
    damage: Callable[[Training], None] | None = None
    damage_step: int = 50

    def __post_init__(self) -> None:
        data = {
            "kind": "synthetic",
            "vocabulary_size": 4,
            "num_train": 48,
            "num_valid": 4,
            "frames_per_label": 6,
            "max_labels": 3,
            **self.data,
        }
        training = {
            "batch_size": 4,
            "eval_every_steps": 10_000,
            "optimizer": {"kind": "adamw", "lr": 1e-3},
            "schedule": {"kind": "constant"},
            **self.training,
        }
        model = {"kind": "teacher", "width": 0.0625, "num_modules": 1, "num_encoder_layers": 1, **self.model}
        self.config = TrialConfig.model_validate({"model": model, "data": data, "training": training})
        self.dataset = SyntheticConfig.model_validate(data).build()
        if self.edit is not None:
            self.dataset = self.edit(self.dataset)

    @property
    def run(self) -> ReplayedRun:
        return ReplayedRun(self.config, self.dataset, 0, self.steps, CPU)

    def start(self) -> Training:
        return Training(self.config, self.dataset, seed=0, max_steps=self.steps, device=CPU)

    def tell(self) -> tuple[list[StepRecord], Verdict, SnapshotRing]:
        """Trains up to the alarm, once: replays leave what they begin from as it is."""
        return self._told

    @cached_property
    def _told(self) -> tuple[list[StepRecord], Verdict, SnapshotRing]:
        training, snapshots = self.start(), SnapshotRing(25, 4)
        has_scaler = self.config.training.precision.kind == "fp16"
        monitor = StabilityMonitor(RunContext(L_CONST, L_UNIF, self.steps, has_scaler))
        records = []
        snapshots.offer(training)
        for record in training.records():
            if isinstance(record, StepRecord):
                records.append(record)
                if monitor.observe(record) is not None:
                    break
                if self.damage is not None and training.step == self.damage_step:
                    self.damage(training)
                snapshots.offer(training)
        return records, monitor.finish(), snapshots


@pytest.fixture(scope="session")
def story() -> type[Story]:
    return Story
