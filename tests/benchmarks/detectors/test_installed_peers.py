"""Packages from PyPI, where they are installed: each stops what is plainly broken and leaves what plainly learns."""

import math

import numpy as np
import pytest

from benchmarks.detectors.installed_peers import installed, missing
from benchmarks.detectors.rules import End, Rule
from benchmarks.detectors.trace_set import Trace
from benchmarks.detectors.truth import Truth
from sweep.judging.detectors import RunContext
from sweep.records import StepRecord

STEPS = np.arange(400)
LEARNED = (0.3 + 3 * np.exp(-STEPS / 100)) * np.exp(np.random.default_rng(0).normal(0, 0.01, 400))
NAMES = ("losslint", "trainspotter", "trainproof", "runmedic", "trainpulse", "training-doctor", "trainscope")


def trace(losses: np.ndarray) -> Trace:
    records = tuple(StepRecord(step=k + 1, loss=float(losses[k]), grad_norm=1.0) for k in range(len(losses)))
    return Trace("a", "kind", False, RunContext(), Truth.HEALTHY, None, records)


def test_each_is_either_installed_or_told_to_be_missing() -> None:
    assert sorted([*missing(), *(rule.name for rule in installed())]) == sorted(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_what_it_says_of_plain_cases(name: str) -> None:
    rules: dict[str, Rule] = {rule.name: rule for rule in installed()}
    if name not in rules:
        pytest.skip(f"{name} is not installed")
    rule = rules[name]
    fine = rule.hear(trace(LEARNED), rule.settings[0])
    assert (fine.step, fine.end) == (None, End.FINE)
    # The one that sees spikes alone is shown a jump, all others NaN.
    broken = np.where(STEPS < 250, LEARNED, 50.0 if name == "trainscope" else math.nan)
    heard = rule.hear(trace(broken), rule.settings[0])
    assert heard.end is End.FAILED and heard.step is not None and 251 <= heard.step <= 280
