"""Stability sweeps for CTC-trained models: where training is stable, why it fails elsewhere, which settings to use.

From a shell: `slr-sweep run STUDY.yaml`, and `slr-sweep --help` for the other commands. From Python:

    load              opens a results folder: its tables as pandas frames, the report's figures as Plotly figures
    StabilityMonitor  watches any training loop, and says when a run is lost and how it went
    LateMonitor       the same for a loop on a GPU: takes tensors, and never makes the loop wait (needs torch)
    RunContext        what a monitor knows of a run: losses of learning nothing, budget, whether there is a scaler
    MonitorConfig     which rules watch, with their thresholds
    StepRecord        one training step, as a monitor is shown it
    Verdict           how a run went, with the reason and the evidence
    Outcome           the ways in which a run can go
    __version__       of this program

`help(sweep.StabilityMonitor)` and so on say the rest. Each is imported when it is first asked for: `import sweep`
itself takes next to no time.
"""

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sweep.judging.detectors import RunContext
    from sweep.judging.monitor import MonitorConfig, StabilityMonitor
    from sweep.records import Outcome, StepRecord, Verdict
    from sweep.report.notebook import Results
    from sweep.training.late import LateMonitor

    __version__: str
else:
    _HOMES = {
        "LateMonitor": "sweep.training.late",
        "MonitorConfig": "sweep.judging.monitor",
        "Outcome": "sweep.records",
        "RunContext": "sweep.judging.detectors",
        "StabilityMonitor": "sweep.judging.monitor",
        "StepRecord": "sweep.records",
        "Verdict": "sweep.records",
    }

    def __getattr__(name):
        # What is found is not kept here: help(sweep) would then show whatever happens to have been used, with all that
        # pydantic and enum give their classes.
        if name == "__version__":
            from sweep.command_line import version

            return version()
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib import import_module

        return getattr(import_module(_HOMES[name]), name)


__all__ = [
    "LateMonitor",
    "MonitorConfig",
    "Outcome",
    "RunContext",
    "StabilityMonitor",
    "StepRecord",
    "Verdict",
    "__version__",
    "load",
]


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
