"""Stability sweeps for CTC-trained sign-language models.

`StabilityMonitor` watches any training loop; the rest is used through `python -m sweep.run STUDY.yaml`.
"""

from sweep.detectors import RunContext
from sweep.monitor import MonitorConfig, StabilityMonitor
from sweep.records import Outcome, StepRecord, Verdict

__all__ = ["MonitorConfig", "Outcome", "RunContext", "StabilityMonitor", "StepRecord", "Verdict"]
