"""The records of one trial in memory: steps, evaluations, health samples, and what they come to."""

import math
import statistics
from dataclasses import dataclass, field

from sweep.records import NAN, EvalRecord, HealthMetric, HealthRecord, HealthSample, SkipReason, StepRecord, is_finite

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

    def noise_scale(self, micro_batch: int, num_micro_batches: int) -> float:
        """Gradient noise scale in utterances, from the norms of a micro-batch's gradient and of the update's.

        tr(Sigma) / |G|^2, both without bias and averaged over the samples (McCandlish et al. 2018, appendix A.1). NaN
        where neither was measured, or where |G|^2 comes out below 0, as noise hides it.
        """
        micro, update = (
            [r.value**2 for r in self.health_records if r.metric is metric]
            for metric in (HealthMetric.MICRO_GRAD_NORM, HealthMetric.UPDATE_GRAD_NORM)
        )
        pairs = [both for both in zip(micro, update, strict=True) if all(map(math.isfinite, both))]
        if not pairs:
            return NAN
        small, large = (statistics.fmean(values) for values in zip(*pairs, strict=True))
        square = (num_micro_batches * large - small) / (num_micro_batches - 1)
        trace = (small - large) * micro_batch * num_micro_batches / (num_micro_batches - 1)
        return max(0.0, trace / square) if square > 0 else NAN

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
