"""Peers' rules on the traces of SCIENCE: 600 steps, where each of them alarms is known from their definitions."""

import math

import numpy as np
import pytest

from benchmarks.detectors.peer_rules import PUBLISHED, SkipStep
from benchmarks.detectors.rules import End, Logged
from benchmarks.detectors.trace_set import Trace
from benchmarks.detectors.truth import Truth
from sweep.judging.detectors import RunContext
from sweep.records import StepRecord

BASE = 2.0 * np.exp(np.random.default_rng(0).normal(0, 0.05, 600))


def trace(losses: np.ndarray, norms: np.ndarray | None) -> Trace:
    records = tuple(
        StepRecord(k + 1, float(losses[k]), None if norms is None else float(norms[k])) for k in range(len(losses))
    )
    return Trace("a", "kind", False, RunContext(budget_steps=len(losses)), Truth.HEALTHY, None, records)


def stops(losses: np.ndarray, norms: np.ndarray | None = None, **setting: float) -> dict[str, int | None]:
    """Where each rule stops, as published; with a setting, those that know all of its options."""
    heard = trace(losses, norms)
    rules = [rule for rule in PUBLISHED if setting.keys() <= rule.settings[0].keys()]
    return {rule.name: rule.hear(heard, {**rule.settings[0], **setting}).step for rule in rules}


def changed(start: int, length: int, value: float | np.ndarray) -> np.ndarray:
    losses = BASE.copy()
    losses[start - 1 : start - 1 + length] = value
    return losses


def test_a_healthy_run_is_stopped_by_none_but_the_patience() -> None:
    found = stops(BASE)
    assert {name for name, step in found.items() if step is not None} <= {"Lightning EarlyStopping"}


@pytest.mark.parametrize(
    ("value", "rules"),
    [
        (
            math.nan,
            {"Lightning SpikeDetection", "Megatron, all checks", "Composer NaNMonitor", "loss or gradient not finite"},
        ),
        (math.inf, {"Lightning SpikeDetection", "Megatron, all checks", "loss or gradient not finite"}),
    ],
)
def test_who_stops_at_one_nonfinite_loss(value: float, rules: set[str]) -> None:
    found = stops(changed(300, 1, value))
    assert {name for name, step in found.items() if step == 300} == rules


def test_a_spike_of_ten_times_the_mean() -> None:
    """Five outliers in a row stop LLM-Foundry, four do not; Megatron wants ten times the highest of the first 100."""
    five, four = stops(changed(300, 5, 20.0)), stops(changed(300, 4, 20.0))
    assert (five["LLM-Foundry KillLossSpike"], four["LLM-Foundry KillLossSpike"]) == (304, None)
    assert five["Lightning SpikeDetection"] == 300
    assert five["Megatron spiky loss"] is None
    assert stops(changed(300, 1, 10.5 * BASE[:100].max()))["Megatron spiky loss"] == 300
    assert stops(changed(50, 1, 1e6))["Megatron spiky loss"] is None, "within the first hundred"


def test_half_of_the_window_above_the_first_windows_highest() -> None:
    """A rise by less than a factor of two: LLM-Foundry's second rule, 50 high losses after step 200."""
    losses = np.r_[np.full(299, 2.0), np.full(301, 3.0)]
    assert stops(losses)["LLM-Foundry KillLossSpike"] == 350


def test_skip_step_counts_from_64_steps_on_and_forgets_no_spike() -> None:
    rule = SkipStep()
    skipped = [rule.stops(Logged(k + 1, float(x), 1.0)) for k, x in enumerate(changed(300, 300, math.nan))]
    assert skipped.index(True) + 1 == 325, "the 26th non-finite loss of the last 50"
    assert stops(changed(300, 301, 200.0))["OLMo-core skip step"] is None, "it gets used to the new level"
    assert stops(changed(20, 581, math.nan))["OLMo-core skip step"] == 64 + 25


def test_early_stopping_waits_for_three_checks_without_a_best() -> None:
    falling = BASE * np.exp(-np.arange(600) / 200)
    assert stops(falling)["Lightning EarlyStopping"] is None
    falling[250:] = 50.0
    assert stops(falling)["Lightning EarlyStopping"] == 325


def test_a_norm_that_nobody_logged_is_no_bad_norm() -> None:
    assert stops(BASE, None)["loss or gradient not finite"] is None
    norms = np.ones(600)
    norms[400] = math.nan
    assert stops(BASE, norms)["loss or gradient not finite"] == 401


def test_what_was_stopped_has_failed_at_its_end() -> None:
    heard = trace(changed(300, 1, math.nan), None)
    ends = {rule.name: rule.hear(heard, rule.settings[0]).end for rule in PUBLISHED}
    assert ends["Composer NaNMonitor"] is End.FAILED and ends["OLMo-core skip step"] is End.FINE


def test_a_less_sensitive_setting_stops_later_or_not_at_all() -> None:
    spike, nan = changed(300, 5, 20.0), changed(300, 3, math.nan)
    assert stops(spike, factor=15.0, patience=4) == {"LLM-Foundry KillLossSpike": None}
    assert stops(spike, rtol=20.0)["Lightning SpikeDetection"] is None
    assert stops(nan, rtol=2.0, finite_only=False)["Lightning SpikeDetection"] is None
    assert stops(nan, patience=3)["loss or gradient not finite"] == 302
    assert stops(nan, patience=4)["loss or gradient not finite"] is None
    high = changed(300, 1, 15 * BASE[:100].max())
    assert stops(high, factor=10.0)["Megatron spiky loss"] == 300
    assert stops(high, factor=30.0)["Megatron spiky loss"] is None


def test_the_published_default_comes_first() -> None:
    assert stops(BASE * 1e3, sigmas=6.0, share=0.5) == {"OLMo-core skip step": None}
    for rule in PUBLISHED:
        assert len({tuple(setting.items()) for setting in rule.settings}) == len(rule.settings)
