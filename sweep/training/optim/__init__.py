"""Everything between the gradient and the new weights: optimizer, schedule, clipping and bad-batch policy."""

from sweep.training.optim.bad_batch import (
    BadBatchConfig,
    BadBatchPolicy,
    NeverSkip,
    RobustZ,
    SkipAbove,
    SkipNonfinite,
    refusal_reason,
)
from sweep.training.optim.clipping import Adaptive, Agc, ByNorm, ByValue, ClipConfig, Clipper, Off, grad_norm
from sweep.training.optim.optimizer import Adam, AdamW, OptimizerConfig, Sgd
from sweep.training.optim.schedule import Constant, Cosine, OneCycle, Plateau, Schedule, ScheduleConfig
from sweep.training.optim.skip_reason import SkipNamer

__all__ = [
    "Adam",
    "AdamW",
    "Adaptive",
    "Agc",
    "BadBatchConfig",
    "BadBatchPolicy",
    "ByNorm",
    "ByValue",
    "ClipConfig",
    "Clipper",
    "Constant",
    "Cosine",
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
    "grad_norm",
    "refusal_reason",
]
