"""How much of a training's gradients fp16 flushes to zero."""

import math
import statistics

from sweep.forensics.counterfactuals import ReplayedRun
from sweep.records import NAN, HealthMetric, HealthSample
from sweep.training.precision import Fp16, Fp16Unscaled
from sweep.training.train import Training

NUM_STEPS = 3
LARGEST_HEALTHY_RATE = 0.2
"""Half of the parameters losing so much of their gradients hinder learning; 0 to 0.01 is usual."""


def initial_flush_rate(run: ReplayedRun) -> float:
    """Median over the parameters of the share of gradients that are zero in fp16 and not in fp32, in the first steps.

    NaN under other precisions, or where no gradient was finite.
    """
    config = run.config
    if not isinstance(config.training.precision, Fp16 | Fp16Unscaled):
        return NAN
    sampled = config.training.model_copy(update={"health_every_steps": 1, "eval_every_steps": run.max_steps})
    training = Training(
        config.model_copy(update={"training": sampled}),
        run.dataset,
        seed=run.seed,
        max_steps=run.max_steps,
        device=run.device,
    )
    rates: list[float] = []
    for record in training.records():
        if isinstance(record, HealthSample):
            rates += [r.value for r in record.records if r.metric is HealthMetric.FLUSH_RATE]
            if record.step >= NUM_STEPS:
                break
    known = [rate for rate in rates if math.isfinite(rate)]
    return statistics.median(known) if known else NAN
