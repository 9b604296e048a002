"""Packages from PyPI that judge a training by its log, run as they are: here they are fed, and heard.

    pip install losslint trainspotter trainproof runmedic trainpulse training-doctor trainscope

None of them is needed by anything else; the benchmark leaves out those that are not installed.

| package         | fed                       | counted as a stop                                  | at the end       |
|-----------------|---------------------------|----------------------------------------------------|------------------|
| losslint        | the log so far, ten times | a finding of severity error (its exit status 1)    | the same         |
| trainspotter    | the same                  | a finding of severity error (`--fail-on error`)    | the same         |
| trainproof      | the same                  | the verdict FAIL                                   | the same         |
| runmedic        | the same                  | a finding of severity critical                     | the same         |
| trainpulse      | step by step              | an alert of severity critical (not `is_healthy`)   | stopped = failed |
| training-doctor | step by step, checked     | a diagnosis of severity critical                   | stopped = failed |
|                 | at every 20th             |                                                    |                  |
| trainscope      | step by step              | a spike upwards by its default detector (CUSUM)    | stopped = failed |

The first four judge a log as a whole, and read a growing one again and again ("watch"). Here they look ten times, at
equal distances, so that their delay is coarse. All of them know loss and gradient norm alone. On PyPI are more, by
their descriptions for live models rather than logs, and not tried: stabilityguard, arc-vigil, gradscope, torchmortem.
"""

import functools
import importlib
import importlib.metadata
import importlib.util
import math
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.detectors.rules import End, Heard, Logged, PeerRule, Rule, Setting, grid, logged, stepwise
from benchmarks.detectors.trace_set import Trace

_LOOKS = 10


@functools.cache
def _load(name: str) -> Any:
    return importlib.import_module(name)


def _linter(fails: Callable[[Sequence[Logged], Setting], bool]) -> Callable[[Trace, Setting], Heard]:
    """Hears a trace with a program that judges a log as a whole."""

    def hear(trace: Trace, setting: Setting) -> Heard:
        records, failed = logged(trace), False
        step: int | None = None
        ends = sorted({max(1, len(records) * look // _LOOKS) for look in range(1, _LOOKS + 1)})
        for end in ends:
            # What it says in the middle is asked for until it stops once; at the end it is asked in any case.
            if step is not None and end < len(records):
                continue
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                failed = fails(records[:end], setting)
            if failed and step is None:
                step = records[end - 1].step
        return Heard(step, End.FAILED if failed else End.FINE)

    return hear


def _losslint(records: Sequence[Logged], setting: Setting) -> bool:
    log = _load("losslint.parsing").RunLog(
        steps=[r.step for r in records],
        # It takes None for a value that was not logged.
        series={"loss": [r.loss for r in records], "grad_norm": [r.grad_norm for r in records]},
        source=Path("log"),
    )
    checks = _load("losslint.checks")
    return any(f.severity == "error" for f in checks.run_all_checks(log, checks.CheckOptions(**setting)))


def _trainspotter(records: Sequence[Logged], setting: Setting) -> bool:
    run = _load("trainspotter").Run()
    for r in records:
        run.add_point("train/loss", r.step, r.loss)
        if r.grad_norm is not None:
            run.add_point("grad_norm", r.step, r.grad_norm)
    rules = _load("trainspotter.detectors")
    # Of its nine detectors these two alone have findings of severity error.
    both = [rules.SpikeDetector(metrics=("train/loss",)), rules.DivergenceDetector()]
    return any(f.severity == "error" for f in rules.run_all(run, both))


def _trainproof(records: Sequence[Logged], setting: Setting) -> bool:
    rows = [{"step": r.step, "loss": r.loss, "grad_norm": r.grad_norm} for r in records]
    return bool(_load("trainproof.epoch").check_records(rows)["verdict"] == "FAIL")


def _runmedic(records: Sequence[Logged], setting: Setting) -> bool:
    run = _load("runmedic.model").Run("log", "csv", "log")
    for r in records:
        run.get("train_loss").add(r.step, r.loss)
        if r.grad_norm is not None:
            run.get("grad_norm").add(r.step, r.grad_norm)
    roles = _load("runmedic.roles").detect(run.finalize())
    return any(f.severity == "critical" for f in _load("runmedic.checks").run_checks(run, roles))


class _TrainPulse:
    def __init__(self, trace: Trace, setting: Setting) -> None:
        package = _load("trainpulse._types")
        self._critical = package.AlertSeverity.CRITICAL
        self._monitor = _load("trainpulse.monitor").Monitor(package.MonitorConfig(**setting))

    def stops(self, record: Logged) -> bool:
        """Reads the next step."""
        alerts = self._monitor.log("loss", record.step, record.loss)
        if record.grad_norm is not None:
            alerts = alerts + self._monitor.log("grad_norm", record.step, record.grad_norm)
        return any(alert.severity == self._critical for alert in alerts)


class _TrainingDoctor:
    def __init__(self, trace: Trace, setting: Setting) -> None:
        package = _load("training_doctor")
        self._doctor, self._critical = package.Doctor(), package.Severity.CRITICAL
        self._num_steps = 0

    def stops(self, record: Logged) -> bool:
        """Reads the next step."""
        norm = {} if record.grad_norm is None else {"grad_norm": record.grad_norm}
        self._doctor.store.log(record.step, loss=record.loss, **norm)
        self._num_steps += 1
        return self._num_steps % 20 == 0 and any(d.severity == self._critical for d in self._doctor.check())


class _TrainScope:
    def __init__(self, trace: Trace, setting: Setting) -> None:
        self._detector = _load("trainscope.core.detectors.changepoint").ChangePointDetector(**setting)

    def stops(self, record: Logged) -> bool:
        """Reads the next step; its own loop keeps losses that are not finite from the detector."""
        if not math.isfinite(record.loss):
            return False
        score = self._detector.update(record.loss)
        return score is not None and score > 0


def _train_pulse(trace: Trace, setting: Setting) -> PeerRule:
    return _TrainPulse(trace, setting)


def _training_doctor(trace: Trace, setting: Setting) -> PeerRule:
    return _TrainingDoctor(trace, setting)


def _train_scope(trace: Trace, setting: Setting) -> PeerRule:
    return _TrainScope(trace, setting)


_PACKAGES = {
    "losslint": Rule("losslint", _linter(_losslint), grid(divergence_ratio=(1.25, 1.05, 2.0, 4.0))),
    "trainspotter": Rule("trainspotter", _linter(_trainspotter)),
    "trainproof": Rule("trainproof", _linter(_trainproof)),
    "runmedic": Rule("runmedic", _linter(_runmedic)),
    "trainpulse": Rule(
        "trainpulse",
        stepwise(_train_pulse),
        [
            {"check_nan": nan, "grad_norm_threshold": norm}
            for nan in (True, False)
            for norm in (1e2, 1e1, 1e3, 1e5, 1e7)
        ],
    ),
    "training_doctor": Rule("training-doctor", stepwise(_training_doctor)),
    "trainscope": Rule("trainscope", stepwise(_train_scope), grid(threshold=(6.0, 1000.0))),
}


def installed() -> list[Rule]:
    """The rules of the packages that are installed."""
    return [rule for package, rule in _PACKAGES.items() if importlib.util.find_spec(package) is not None]


def versions() -> list[str]:
    """Name and version of each package that is installed."""
    return [f"{rule.name} {importlib.metadata.version(rule.name)}" for rule in installed()]


def missing() -> list[str]:
    """The packages that are not."""
    return [rule.name for package, rule in _PACKAGES.items() if importlib.util.find_spec(package) is None]
