"""What a training is asked for, what all trainings of a study share, and where a running one stands: plain data."""

import math
from dataclasses import dataclass
from pathlib import Path

from sweep.forensics.settings import ForensicsConfig
from sweep.judging.foregone import ForegoneConfig
from sweep.judging.monitor import MonitorConfig
from sweep.own.program import OwnConfig, OwnProgram
from sweep.records import Checkpoints, Metric, Phase, TrialResult
from sweep.space import Settings
from sweep.training.config import TrialConfig


@dataclass(frozen=True)
class Job:
    """One training to run."""

    trial_id: str
    number: int
    group: int
    seed: int
    phase: Phase
    settings: Settings
    config: TrialConfig | OwnConfig
    max_steps: int | None
    """Its length, in updates; None where a program of the user's decides it."""
    audit: bool = False
    """Whether it runs on to its end after an alarm that could be wrong, or where it is as good as stable."""
    maps: bool = False
    """Whether it is to tell where the boundary lies alone, so that it may end where it is as good as stable."""
    num_threads: int = 1
    """Of torch, and cores."""
    block: int | None = None
    """Of a design: which block it belongs to."""
    cell: str | None = None
    """Of a design: its levels."""
    micro_batch: int | None = None
    """Utterances a micro-batch, where memory ran out with as many as `config` asks for."""
    told: TrialResult | None = None
    """What came of it, where an earlier run trained it and its cause alone is still to be looked for."""

    @property
    def ctc_config(self) -> TrialConfig:
        """Of a training in our own loop."""
        assert isinstance(self.config, TrialConfig), "a training in our own loop"
        return self.config

    @property
    def length(self) -> int:
        """Its length, in updates, of a training that is planned."""
        assert self.max_steps is not None, "a training whose length is known"
        return self.max_steps


@dataclass(frozen=True)
class RunOptions:
    """What all trials of a study share."""

    results_dir: Path
    metric: Metric
    monitor: MonitorConfig
    early_stop: bool
    """Whether a trial ends at an alarm, or where it is as good as stable; if not, its result still says where it would
    have ended."""
    checkpoints: Checkpoints
    accumulates: bool = False
    """Whether a training that runs out of memory is tried again with smaller micro-batches, and more of them."""
    device: str = "cpu"
    forensics: ForensicsConfig = ForensicsConfig()
    foregone: ForegoneConfig | None = None
    """When one that only maps is as good as stable; None: none is."""
    own: OwnProgram | None = None
    """The program that trains, where it is the user's own."""
    stored_at: str | None = None
    """The study's address on an object store, where the processes that train send and fetch their files themselves,
    since their machines do not share `results_dir`; None where they do."""


@dataclass(frozen=True)
class Progress:
    """Where a running trial stands, after an evaluation."""

    step: int
    max_steps: int | None
    train_loss: float
    val_loss: float
    wer: float
    lr: float | None = None
    """Of the latest step, as are the others; None where unknown."""
    grad_norm: float | None = None
    """Before clipping."""
    samples_per_s: float | None = None
    score: float = math.nan
    """What a program of the user's is judged by, as it reported it; NaN elsewhere."""


@dataclass(frozen=True)
class TrialReport:
    """What a training has to tell: where it stands after an evaluation, or its result."""

    trial_id: str
    progress: Progress | None = None
    result: TrialResult | None = None
    is_last: bool = False
    """Whether nothing follows; after a result, its cause may."""
    note: str | None = None
    """Why it began again at its first step since the report before, in a sentence for the user."""
