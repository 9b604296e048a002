"""Stability sweeps for CTC-trained sign-language models.

`StabilityMonitor` watches any training loop, `load` opens a results folder in a notebook; the rest is used through
`python -m sweep.run STUDY.yaml`.
"""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from sweep.judging.detectors import RunContext
from sweep.judging.monitor import MonitorConfig, StabilityMonitor
from sweep.records import Outcome, StepRecord, Verdict

if TYPE_CHECKING:
    from sweep.report.notebook import Results

__all__ = ["MonitorConfig", "Outcome", "RunContext", "StabilityMonitor", "StepRecord", "Verdict", "load"]


def load(results: str | os.PathLike[str]) -> "Results":
    """Opens a results folder: its tables as pandas frames, the report's figures as Plotly figures.

    Args:
        results: results folder of a study, such as `results/smoke`.

    Raises:
        ResultsError: it is not the results folder of a study.
    """
    # Imported here: pandas, Plotly and scikit-learn take seconds that a training loop has no use for.
    from sweep.report.notebook import load_results

    return load_results(Path(results))
