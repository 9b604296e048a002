"""Stability sweeps for CTC-trained models: where training is stable, why it fails elsewhere, which settings to use.

From a shell: `slr-sweep run STUDY.yaml`, and `slr-sweep --help` for the other commands. From Python:

    load              opens a results folder: its tables as pandas frames, the report's figures as Plotly figures
    function_study    a study of a function of your own: `train(config, run)`, whatever it trains
    loguniform        how a setting of it varies: a real number, evenly on a logarithmic axis
    uniform           a real number, evenly
    integer           a whole number
    grid              one of a few numbers
    choice            one of a few values without an order
    Run               what such a function reports through; by itself, it judges a training without any study
    Stop              what ends it where it is lost
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

import atexit
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING


def _leave_at_once(_number: int, _frame: object) -> None:
    os.write(2, b"interrupted\n")
    os._exit(130)


# Where this is the program and no library, nothing is to be lost yet: what a Ctrl-C amid an import would print helps
# nobody. `sweep.command_line` goes on from here.
if sys.argv[:1] == ["-m"] or (sys.argv and Path(sys.argv[0]).stem == "slr-sweep"):
    for _number in (signal.SIGINT, signal.SIGTERM):
        if _number == signal.SIGTERM or signal.getsignal(_number) is not signal.SIG_IGN:
            signal.signal(_number, _leave_at_once)
        # The last act: while the interpreter takes itself apart, a signal would end it as if nobody had heeded it.
        atexit.register(signal.signal, _number, signal.SIG_IGN)

if TYPE_CHECKING:
    from sweep.judging.detectors import RunContext
    from sweep.judging.monitor import MonitorConfig, StabilityMonitor
    from sweep.own.handle import Run, Stop
    from sweep.records import Outcome, StepRecord, Verdict
    from sweep.report.notebook import Results
    from sweep.run.function import function_study
    from sweep.space import choice, grid, integer, loguniform, uniform
    from sweep.training.late import LateMonitor

    __version__: str
else:
    _HOMES = {
        "LateMonitor": "sweep.training.late",
        "MonitorConfig": "sweep.judging.monitor",
        "Outcome": "sweep.records",
        "Run": "sweep.own.handle",
        "RunContext": "sweep.judging.detectors",
        "StabilityMonitor": "sweep.judging.monitor",
        "StepRecord": "sweep.records",
        "Stop": "sweep.own.handle",
        "Verdict": "sweep.records",
        "choice": "sweep.space",
        "function_study": "sweep.run.function",
        "grid": "sweep.space",
        "integer": "sweep.space",
        "loguniform": "sweep.space",
        "uniform": "sweep.space",
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
    "Run",
    "RunContext",
    "StabilityMonitor",
    "StepRecord",
    "Stop",
    "Verdict",
    "__version__",
    "choice",
    "function_study",
    "grid",
    "integer",
    "load",
    "loguniform",
    "uniform",
]


def load(results: str | os.PathLike[str]) -> "Results":
    """Opens a results folder: its tables as pandas frames, the report's figures as Plotly figures.

    Args:
        results: results folder of a study, such as `results/smoke`, or its address, such as `s3://bucket/results/smoke`.

    Raises:
        ResultsError: it is not the results folder of a study.
        MachineError: the store at the address cannot be reached.
    """
    # Imported here: pandas, Plotly and scikit-learn take seconds that a training loop has no use for.
    from sweep.command_line import local, path_or_address
    from sweep.report.notebook import load_results
    from sweep.store.remote.study import study_copy

    given = path_or_address(os.fspath(results))
    copy = study_copy(given)
    return load_results(local(Path(given)) if copy is None else copy.folder)
