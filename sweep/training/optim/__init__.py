"""Everything between the gradient and the new weights: optimizer, schedule, clipping and bad-batch policy.

Here are their settings, read without torch; `clippers.py` and `policies.py` do what two of them say.
"""

from sweep.training.optim.bad_batch import BadBatchConfig, NeverSkip, RobustZ, SkipAbove, SkipNonfinite
from sweep.training.optim.clipping import AdaGc, Adaptive, Agc, ByNorm, ByValue, ClipConfig, Off
from sweep.training.optim.optimizer import Adam, AdamW, Muon, OptimizerConfig, Sgd, StableAdamW
from sweep.training.optim.schedule import (
    Constant,
    Cosine,
    OneCycle,
    Plateau,
    Schedule,
    ScheduleConfig,
    WarmupStableDecay,
)
from sweep.training.optim.skip_reason import SkipNamer

__all__ = [
    "AdaGc",
    "Adam",
    "AdamW",
    "Adaptive",
    "Agc",
    "BadBatchConfig",
    "ByNorm",
    "ByValue",
    "ClipConfig",
    "Constant",
    "Cosine",
    "Muon",
    "NeverSkip",
    "Off",
    "OneCycle",
    "OptimizerConfig",
    "Plateau",
    "RobustZ",
    "Schedule",
    "ScheduleConfig",
    "Sgd",
    "SkipAbove",
    "SkipNamer",
    "SkipNonfinite",
    "StableAdamW",
    "WarmupStableDecay",
]
