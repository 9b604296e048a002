"""The records of one trial in memory: steps, evaluations, health samples, and what they come to."""

import math
import statistics
from dataclasses import dataclass, field

from sweep.records import NAN, EvalRecord, HealthRecord, HealthSample, SkipReason, StepRecord, is_finite

MAX_HEALTH_SAMPLES = 200
"""Samples of a trial's health that are kept; see `TrialRecords.keep_health`."""
END_STEPS = 20
"""Steps whose median training loss stands for the end of a training."""


@dataclass
class TrialRecords:
    steps: list[StepRecord] = field(default_factory=list)
    evals: list[EvalRecord] = field(default_factory=list)
    health: list[HealthSample] = field(default_factory=list)

    def keep_health(self, sample: HealthSample) -> None:
        """Takes a sample. Where there are too many, every second one of the older half goes, again and again.

        So a training of any length keeps its latest samples, which tell how it came to its end, and ever fewer of
        those before.
        """
        self.health.append(sample)
        if len(self.health) > MAX_HEALTH_SAMPLES:
            half = MAX_HEALTH_SAMPLES // 2
            self.health = self.health[:half:2] + self.health[half:]

    @property
    def health_records(self) -> list[HealthRecord]:
        """All that was measured in the samples kept."""
        return [record for sample in self.health for record in sample.records]

    def num_skipped(self, reason: SkipReason) -> int:
        """Steps that applied no update for this reason."""
        return sum(record.skip_reason is reason for record in self.steps)

    def step_time_s(self) -> float:
        """Median wall time of a step; NaN if none was timed."""
        known = [r.time_s for r in self.steps if is_finite(r.time_s)]
        return statistics.median(known) if known else NAN

    def end_loss(self) -> float:
        """Median of the last training losses; infinite if none of them is finite."""
        losses = [r.loss for r in self.steps[-END_STEPS:] if is_finite(r.loss)]
        return statistics.median(losses) if losses else math.inf
