"""From whole traces to verdicts: every outcome, its near misses, and how often healthy runs are stopped."""

import dataclasses
import json
import math
import subprocess
import sys
from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest

from slr_models.errors import SettingError
from sweep.judging.detectors import DivergedLossConfig
from sweep.judging.monitor import MonitorConfig, RunContext, StabilityMonitor
from sweep.records import Learning, Outcome, SkipReason, StepRecord, Verdict

L_CONST, L_UNIF = 3.3, 12.0
USUAL = MonitorConfig()
Change = Callable[[StepRecord], dict[str, object]]


def healthy(
    seed: int,
    num_steps: int = 600,
    sigma: float = 0.1,
    tail: int | None = None,
    plateau: int | None = None,
    final: float = 0.3,
) -> list[StepRecord]:
    """Falls to the zero-information level, rests there all blank while I grows, then learns.

    `tail` makes the noise Student-t with so many degrees of freedom.
    """
    rng, steps = np.random.default_rng(seed), np.arange(num_steps)
    plateau = plateau or int(0.2 * num_steps)
    learned = 1 - np.exp(-np.clip(steps - plateau, 0, None) / (num_steps / 6))
    mean = (L_CONST + 0.8 * (L_UNIF - L_CONST) * np.exp(-steps / 15)) * (1 - (1 - final) * learned)
    noise = rng.normal(0, sigma, num_steps) if tail is None else sigma * rng.standard_t(tail, num_steps)
    losses = mean * np.exp(noise)
    dependence = np.minimum(3e-4 * np.exp(steps / plateau * 5), 1) * np.exp(rng.normal(0, 0.2, num_steps))
    return [
        StepRecord(
            step=k + 1,
            loss=float(losses[k]),
            grad_norm=float(rng.lognormal(1, 0.5)),
            num_samples=8,
            blank_rate=(1.0 if 10 < k < plateau + 10 else 0.7) if k % 5 == 0 else math.nan,
            input_dependence=float(dependence[k]) if k % 5 == 0 else math.nan,
        )
        for k in range(num_steps)
    ]


def changed(trace: list[StepRecord], change: Change) -> list[StepRecord]:
    return [dataclasses.replace(record, **change(record)) for record in trace]  # type: ignore[arg-type]


def watch(trace: list[StepRecord], has_scaler: bool = False, config: MonitorConfig = USUAL) -> Verdict:
    monitor = StabilityMonitor(RunContext(L_CONST, L_UNIF, len(trace), has_scaler), config)
    for record in trace:
        if (verdict := monitor.observe(record)) is not None:
            return verdict
    return monitor.finish()


@pytest.mark.parametrize("num_steps", [300, 600])
@pytest.mark.parametrize(("sigma", "tail"), [(0.05, None), (0.2, None), (0.1, 3), (0.15, 2)])
def test_healthy_runs_are_not_stopped(num_steps: int, sigma: float, tail: int | None) -> None:
    verdicts = [watch(healthy(seed, num_steps, sigma, tail)) for seed in range(25)]
    assert Counter(verdict.stop_step for verdict in verdicts) == {None: 25}
    assert all(verdict.stable for verdict in verdicts)


def test_short_runs_that_learn_late_are_not_stopped() -> None:
    for seed in range(20):
        for plateau in (50, 100, 150):
            verdict = watch(healthy(seed, 300, 0.1, plateau=plateau, final=0.1))
            assert verdict.stable and verdict.stop_step is None, verdict


BAD: dict[str, tuple[Change, Outcome, int, int]] = {
    "NaN from 300": (lambda r: {"loss": math.nan} if r.step >= 300 else {}, Outcome.DIVERGED_NONFINITE, 304, 304),
    "inf from 300": (lambda r: {"loss": math.inf} if r.step >= 300 else {}, Outcome.DIVERGED_NONFINITE, 304, 304),
    "NaN weight": (lambda r: {"params_finite": r.step < 200}, Outcome.DIVERGED_NONFINITE, 200, 200),
    "x 10": (lambda r: {"loss": r.loss * (10 if r.step > 300 else 1)}, Outcome.DIVERGED_LOSS, 322, 336),
    "+2 % a step": (lambda r: {"loss": r.loss * 1.02 ** max(0, r.step - 300)}, Outcome.DIVERGED_LOSS, 350, 420),
    "relapse": (lambda r: {"loss": L_CONST} if r.step > 400 else {}, Outcome.DIVERGED_LOSS, 480, 495),
    "skips": (
        lambda r: {"applied": False, "skip_reason": SkipReason.THRESHOLD} if r.step > 100 else {},
        Outcome.SKIP_STARVED,
        126,
        126,
    ),
    "flat": (
        lambda r: {"loss": 1.2 * L_CONST, "input_dependence": math.nan, "blank_rate": math.nan},
        Outcome.STALLED,
        510,
        520,
    ),
    "blank": (
        lambda r: {"loss": L_CONST, "input_dependence": 2e-7, "blank_rate": 1.0},
        Outcome.BLANK_COLLAPSE,
        270,
        290,
    ),
    "infeasible": (
        lambda r: {"loss": math.inf, "num_infeasible": 1} if r.step > 50 else {},
        Outcome.INFEASIBLE_DATA,
        55,
        55,
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_runs_are_stopped(name: str) -> None:
    change, outcome, earliest, latest = BAD[name]
    for seed in range(5):
        verdict = watch(changed(healthy(seed), change))
        assert verdict.outcome is outcome, verdict
        assert verdict.stop_step is not None and earliest <= verdict.stop_step <= latest, verdict
        finding = verdict.finding
        assert finding is not None and finding.first_bad_step <= verdict.stop_step
        assert finding.last_good_step is None or finding.last_good_step < finding.first_bad_step
        assert (finding.last_good_step is None) == (name in ("flat", "blank"))
        assert verdict.reason and not verdict.stable


NEAR_MISSES: dict[str, tuple[Change, set[Outcome]]] = {
    "one NaN": (lambda r: {"loss": math.nan} if r.step == 300 else {}, {Outcome.STABLE}),
    "one inf": (lambda r: {"loss": math.inf} if r.step == 1 else {}, {Outcome.STABLE}),
    "skipped NaN at the end": (
        lambda r: {"loss": math.nan, "applied": False} if r.step == 600 else {},
        {Outcome.STABLE},
    ),
    "3-step spike": (lambda r: {"loss": r.loss * 20} if 300 <= r.step < 303 else {}, {Outcome.SPIKY_RECOVERING}),
    "warm-up bump": (
        lambda r: {"loss": r.loss * (1 + 2 * math.exp(-0.5 * ((r.step - 70) / 15) ** 2))},
        {Outcome.STABLE, Outcome.SPIKY_RECOVERING},
    ),
}


@pytest.mark.parametrize("name", NEAR_MISSES)
def test_near_misses_are_not_stopped(name: str) -> None:
    change, outcomes = NEAR_MISSES[name]
    for seed in range(10):
        verdict = watch(changed(healthy(seed, sigma=0.06), change))
        assert verdict.stop_step is None and verdict.outcome in outcomes, verdict


def calibrating(record: StepRecord, start_bits: int = 32, usable_bits: int = 16) -> dict[str, object]:
    bits = max(start_bits - record.step + 1, usable_bits)
    overflows = bits > usable_bits
    return {
        "loss_scale": 2.0**bits,
        "grad_norm": math.inf if overflows else record.grad_norm,
        "applied": not overflows,
        "skip_reason": SkipReason.CALIBRATION if overflows else None,
    }


def test_calibration_from_a_high_scale_is_no_alarm() -> None:
    assert watch(changed(healthy(0), calibrating), has_scaler=True).stable
    monitor = StabilityMonitor(RunContext(L_CONST, L_UNIF, 600, has_scaler=True))
    for record in changed(healthy(0, 20), calibrating):
        monitor.observe(record)
        assert monitor.calibrated == (record.step > 16)
    ended = watch(changed(healthy(0, 12), calibrating), has_scaler=True)
    assert (ended.outcome, ended.stop_step) == (Outcome.CALIBRATING, None)


def test_a_scale_that_falls_for_ever_collapses() -> None:
    verdict = watch(changed(healthy(0), lambda r: calibrating(r, 16, -100)), has_scaler=True)
    assert (verdict.outcome, verdict.stop_step) == (Outcome.SCALER_COLLAPSE, 25)


def test_a_run_that_learned_nothing_ends_stalled() -> None:
    trace = changed(healthy(0), lambda r: {"loss": 11 * math.exp(-r.step / 500), "input_dependence": 0.1})
    verdict = watch(trace)
    assert verdict.outcome is Outcome.STALLED and verdict.stop_step is None
    assert verdict.reason == ("learned nothing: the loss ended at 3.38, 1.02 times the loss of learning nothing, 3.3")


def test_norms_that_are_logged_now_and_then_are_no_divergence() -> None:
    trace = changed(healthy(0), lambda r: {"grad_norm": 1.0 if r.step % 10 == 0 else None})
    assert watch(trace).stable


def test_a_hot_start_that_calibrates_is_no_alarm() -> None:
    def overflows(num: int) -> list[StepRecord]:
        return [
            StepRecord(k, 40.0, math.inf, 65536.0 * 0.9**k, False, SkipReason.CALIBRATION) for k in range(1, num + 1)
        ]

    ended = watch(overflows(100), has_scaler=True)
    assert (ended.outcome, ended.stop_step) == (Outcome.CALIBRATING, None)
    hot = overflows(100) + [StepRecord(k, 40.0, 1.0, 2.0) for k in range(101, 300)]
    stopped = watch(hot, has_scaler=True)
    assert (stopped.outcome, stopped.stop_step) == (Outcome.DIVERGED_LOSS, 156)


@pytest.mark.parametrize(("dependence", "outcome"), [(2e-4, Outcome.BLANK_COLLAPSE), (0.01, Outcome.STALLED)])
def test_without_a_known_budget_the_end_is_judged(dependence: float, outcome: Outcome) -> None:
    monitor = StabilityMonitor(RunContext(L_CONST, L_UNIF))
    for k in range(1, 3001):
        assert monitor.observe(StepRecord(k, L_CONST, 1.0, blank_rate=1.0, input_dependence=dependence)) is None
    assert monitor.finish().outcome is outcome


def test_a_wobble_around_a_falling_loss_is_stable_without_a_reference() -> None:
    steps = np.arange(3000)
    noise = np.exp(np.random.default_rng(0).normal(0, 0.1, 3000))
    verdict = unreferenced((3 * np.exp(-steps / 150) + 0.02) * np.exp(0.7 * np.sin(steps / 200 * 2 * math.pi)) * noise)
    assert verdict.stop_step is None and verdict.stable


def test_an_end_far_above_a_uniform_output_is_a_divergence_unless_it_falls() -> None:
    config = MonitorConfig(detectors=())
    flat = watch([StepRecord(step=k + 1, loss=40.0) for k in range(60)], config=config)
    falling = watch([StepRecord(step=k + 1, loss=90 * 0.99**k) for k in range(60)], config=config)
    assert (flat.outcome, falling.outcome) == (Outcome.DIVERGED_LOSS, Outcome.STALLED)


def test_noise_around_the_floor_is_not_called_stable() -> None:
    """The median of 20 noisy steps lies below 0.95 of the floor quite often by chance alone."""
    config = MonitorConfig(detectors=())
    ends: Counter[bool] = Counter()
    for seed in range(100):
        noise = np.random.default_rng(seed).normal(0, 0.2, 100)
        ends[watch([StepRecord(k + 1, L_CONST * math.exp(n)) for k, n in enumerate(noise)], config=config).stable] += 1
    assert ends[True] <= 6


def test_an_alarm_is_remembered_and_the_end_can_still_be_audited() -> None:
    monitor = StabilityMonitor(RunContext(L_CONST, L_UNIF, 600))
    trace = changed(healthy(0), lambda r: {"loss": r.loss * (10 if 300 < r.step < 400 else 1)})
    verdicts = [verdict for record in trace if (verdict := monitor.observe(record)) is not None]
    assert len(verdicts) > 200 and set(map(id, verdicts)) == {id(verdicts[0])}
    assert monitor.finish() is verdicts[0] is monitor.finish(RuntimeError("too late"))
    assert verdicts[0].outcome is Outcome.DIVERGED_LOSS
    assert monitor.end_verdict().stable


def test_the_worst_of_several_findings_names_the_outcome() -> None:
    skipped = {"applied": False, "skip_reason": SkipReason.NONFINITE}
    trace = changed(healthy(0), lambda r: {**skipped, "params_finite": r.step < 26})
    verdict = watch(trace)
    assert verdict.outcome is Outcome.DIVERGED_NONFINITE and verdict.stop_step == 26


class OutOfMemoryError(RuntimeError):
    """As torch and ray name theirs."""


@pytest.mark.parametrize(
    ("crash", "outcome"),
    [
        (MemoryError(), Outcome.OUT_OF_MEMORY),
        (OutOfMemoryError("CUDA out of memory"), Outcome.OUT_OF_MEMORY),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"), Outcome.OUT_OF_MEMORY),
        (ValueError("no such\nthing"), Outcome.CRASHED),
    ],
)
def test_crashes(crash: BaseException, outcome: Outcome) -> None:
    monitor = StabilityMonitor(RunContext())
    monitor.observe(StepRecord(step=7, loss=2.0))
    verdict = monitor.finish(crash)
    assert (verdict.outcome, verdict.step) == (outcome, 7)
    assert type(crash).__name__ in verdict.reason and "\n" not in verdict.reason


@pytest.mark.parametrize("num_bad", [1, 3])
def test_odd_ends(num_bad: int) -> None:
    assert StabilityMonitor(RunContext()).finish().outcome is Outcome.CRASHED
    all_nan = [StepRecord(step=k + 1, loss=math.nan) for k in range(num_bad)]
    assert watch(all_nan).outcome is Outcome.DIVERGED_NONFINITE
    if num_bad == 1:
        assert watch(all_nan).reason == "the last loss is not finite"
    monitor = StabilityMonitor(RunContext())
    monitor.observe(StepRecord(step=1, loss=2.0))
    ended = monitor.finish()
    assert (ended.outcome, ended.learning) == (Outcome.TOO_SHORT, Learning.UNKNOWN)
    assert "after too few losses (1) to show any learning" in ended.reason
    monitor = StabilityMonitor(RunContext(has_scaler=True))
    monitor.observe(StepRecord(step=1, loss=2.0, grad_norm=math.inf, loss_scale=8.0, applied=False))
    assert monitor.finish().reason.startswith("no gradient was finite in 1 step: the loss scale (now 8)")


def unreferenced(losses: np.ndarray) -> Verdict:
    monitor = StabilityMonitor(RunContext(budget_steps=len(losses)))
    for k, loss in enumerate(losses):
        monitor.observe(StepRecord(step=k + 1, loss=float(loss)))
    return monitor.finish()


def test_without_a_reference_a_run_must_end_below_its_start() -> None:
    calls: Counter[tuple[str, bool]] = Counter()
    for seed in range(30):
        noise = np.exp(np.random.default_rng(seed).normal(0, 0.1, 300))
        calls["flat", unreferenced(3.3 * noise).stable] += 1
        calls["rising", unreferenced(np.linspace(3, 5, 300) * noise).stable] += 1
        calls["falling", unreferenced(np.geomspace(3.3, 2, 300) * noise).stable] += 1
    assert calls["falling", True] == 30 and calls["rising", True] == 0
    assert calls["flat", True] <= 2
    flat = unreferenced(np.full(300, 3.3125))
    assert flat.outcome is Outcome.STALLED
    assert flat.reason == (
        "the loss ended at 3.31, 1.00 times its beginning 3.31 (the loss of learning nothing, l_const, is unknown): "
        "the last 300 losses are the same number, so nothing changes the model any more"
    )


def skipping(num_steps: int, every: int, num_infeasible: int = 0) -> list[StepRecord]:
    return [
        StepRecord(
            step=k + 1,
            loss=9.0,
            grad_norm=80.0,
            applied=k % every == 0 and every > 1,
            skip_reason=SkipReason.THRESHOLD,
            num_infeasible=num_infeasible,
        )
        for k in range(num_steps)
    ]


def test_a_short_run_without_updates_is_starved_and_not_stalled() -> None:
    verdict = watch(skipping(24, every=1))
    assert (verdict.outcome, verdict.stop_step) == (Outcome.SKIP_STARVED, None)
    assert verdict.reason.startswith("24 of the last 24 batches were skipped; the loss ended at 9, 2.73 times")
    assert watch(skipping(24, every=3)).outcome is Outcome.SKIP_STARVED
    assert watch(skipping(24, every=2)).outcome is Outcome.STALLED
    assert watch(skipping(24, every=1, num_infeasible=1)).outcome is Outcome.INFEASIBLE_DATA


def test_halvings_before_the_first_usable_scale_starve_nobody() -> None:
    trace = changed(healthy(0, 40, plateau=5, final=0.1), lambda r: calibrating(r, 38, 16))
    assert watch(trace, has_scaler=True).stable


ENDS: dict[str, tuple[Change, Outcome, float, float, int | None]] = {
    # Value, threshold and last good step of what only the end shows.
    "relapse": (lambda r: {"loss": L_CONST} if r.step > 585 else {}, Outcome.DIVERGED_LOSS, 3.3, 1.27, 585),
    "NaN": (lambda r: {"loss": math.nan} if r.step > 590 else {}, Outcome.DIVERGED_NONFINITE, 10, 1, 590),
    "NaN weight": (lambda r: {"params_finite": r.step < 600}, Outcome.DIVERGED_NONFINITE, 1, 1, 599),
    "skips": (lambda r: {"applied": r.step <= 570}, Outcome.SKIP_STARVED, 30, 25, 570),
    "flat": (lambda r: {"loss": (1.2 + 1e-6 * r.step) * L_CONST, "blank_rate": 0.5}, Outcome.STALLED,
             3.96, 3.135, None),
    "blank": (lambda r: {"loss": L_CONST, "input_dependence": 2e-4, "blank_rate": 1.0}, Outcome.BLANK_COLLAPSE,
              2e-4, 1e-3, None),
    "high": (lambda r: {"loss": 10 * L_UNIF}, Outcome.DIVERGED_LOSS, 120, 18, None),
}  # fmt: skip


@pytest.mark.parametrize("name", ENDS)
def test_a_bad_end_comes_with_its_evidence(name: str) -> None:
    change, outcome, value, threshold, last_good_step = ENDS[name]
    verdict = watch(changed(healthy(0), change), config=MonitorConfig(detectors=()))
    finding = verdict.finding
    assert verdict.outcome is outcome and verdict.stop_step is None and finding is not None, verdict
    assert (finding.detector, finding.step, finding.reason) == ("end", 600, verdict.reason)
    assert finding.irreversible, "no later step could repair it"
    assert finding.value == pytest.approx(value, rel=0.01) and finding.threshold == pytest.approx(threshold, rel=0.01)
    if last_good_step is None:
        assert (finding.first_bad_step, finding.last_good_step) == (1, None)
    else:
        assert finding.last_good_step == finding.first_bad_step - 1
        assert abs(finding.last_good_step - last_good_step) <= 5


def test_good_and_open_ends_need_no_evidence() -> None:
    assert watch(healthy(0)).finding is None
    assert watch(changed(healthy(0, 12), calibrating), has_scaler=True).finding is None
    assert StabilityMonitor(RunContext()).finish().finding is None


@pytest.mark.parametrize(("num_spikes", "words"), [(1, "1 loss spike came back by itself"), (2, "2 loss spikes came")])
def test_spikes_are_counted_in_words(num_spikes: int, words: str) -> None:
    spikes = [300, 400][:num_spikes]
    verdict = watch(changed(healthy(1, sigma=0.04), lambda r: {"loss": r.loss * (20 if r.step in spikes else 1)}))
    assert verdict.outcome is Outcome.SPIKY_RECOVERING
    assert words in verdict.reason


def test_the_memory_survives_json() -> None:
    context = RunContext(L_CONST, L_UNIF, 600, has_scaler=True)
    trace = changed(healthy(3), lambda r: {**calibrating(r), "loss": r.loss * (10 if r.step > 300 else 1)})
    whole = StabilityMonitor(context)
    expected = [whole.observe(record) for record in trace]
    for cut in (5, 120, 330, 500):
        first, second = StabilityMonitor(context), StabilityMonitor(context)
        for record in trace[:cut]:
            first.observe(record)
        second.load_state_dict(json.loads(json.dumps(first.state_dict(), allow_nan=False)))
        assert [second.observe(record) for record in trace[cut:]] == expected[cut:]
        assert second.finish() == whole.finish()
        assert second.end_verdict() == whole.end_verdict()


def test_the_memory_stays_small() -> None:
    """A checkpoint holds it, and it must not grow with the run."""
    sizes = []
    monitor = StabilityMonitor(RunContext(L_CONST, L_UNIF, 20_000))
    for record in changed(healthy(0, 2000, tail=2), lambda r: {"loss": math.nan} if r.step % 50 == 0 else {}):
        monitor.observe(record)
        if record.step in (200, 2000):
            sizes.append(len(json.dumps(monitor.state_dict(), allow_nan=False)))
    assert sizes[1] < 1.2 * sizes[0] < 20_000


def test_the_memory_of_other_detectors_is_refused() -> None:
    state = StabilityMonitor(RunContext()).state_dict()
    other = StabilityMonitor(RunContext(), MonitorConfig(detectors=(DivergedLossConfig(),)))
    with pytest.raises(SettingError, match="resume with the settings of the first run"):
        other.load_state_dict(state)


def test_settings_are_read_by_kind() -> None:
    config = MonitorConfig.model_validate({"detectors": [{"kind": "diverged_loss", "sustain_steps": 10}]})
    trace = changed(healthy(0), lambda r: {"loss": r.loss * (10 if r.step > 300 else 1)})
    verdict = watch(trace, config=config)
    assert verdict.stop_step is not None and 310 <= verdict.stop_step <= 322


def test_monitor_needs_neither_torch_nor_ray() -> None:
    code = "import sys, sweep.judging.monitor; sys.exit(any(m in sys.modules for m in ('torch', 'ray', 'optuna')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_loop_that_ended_itself_at_nan_is_not_stable() -> None:
    def end(num_bad: int, **change: object) -> Outcome:
        trace = changed(healthy(0), lambda r: {"loss": math.nan, **change} if r.step > 600 - num_bad else {})
        verdict = watch(trace)
        assert verdict.stop_step is None
        return verdict.outcome

    assert {end(n) for n in (1, 2, 4)} == {Outcome.DIVERGED_NONFINITE}
    assert end(4, applied=False, skip_reason=SkipReason.NONFINITE) is Outcome.STABLE, "refused steps leave no trace"


def test_a_recorded_loss_scale_tells_of_a_scaler() -> None:
    monitor = StabilityMonitor(RunContext(l_const=3.3, budget_steps=600))
    for step in range(1, 13):
        record = StepRecord(step, 9.0, math.inf, loss_scale=2.0 ** (40 - step), applied=False)
        assert monitor.observe(record) is None
    resumed = StabilityMonitor(RunContext(l_const=3.3, budget_steps=600))
    resumed.load_state_dict(json.loads(json.dumps(monitor.state_dict())))
    for each in (monitor, resumed):
        assert not each.calibrated
        assert each.observe(StepRecord(13, 9.0, 5.0, loss_scale=2.0**27)) is None and each.calibrated


def test_short_runs_without_references() -> None:
    def end(losses: list[float]) -> Outcome:
        monitor = StabilityMonitor(RunContext())
        for step, loss in enumerate(losses, start=1):
            monitor.observe(StepRecord(step, loss))
        return monitor.finish().outcome

    assert end([5.2 * 0.85**k for k in range(20)]) is Outcome.STABLE
    assert end([5.2 * 0.7**k for k in range(8)]) is end([2.1, 2.05, 2.0]) is Outcome.TOO_SHORT
    assert end([3.11, 2.95, 2.92, 2.89, 2.88, 2.88, 2.88]) is Outcome.STALLED, "a flat line tells more than noise does"
    assert end([2.0, 1.9, 2.1, 9.0, 80.0, 700.0]) is end([2.0, 1.9, 2.4, 4.0, 4.1, 3.9, 4.0]) is Outcome.DIVERGED_LOSS
    assert end([0.5 * 1.6**k for k in range(20)]) is Outcome.DIVERGED_LOSS
    assert end([3.0 + 0.1 * (-1) ** k for k in range(20)]) is Outcome.STALLED


def test_a_loss_far_above_learning_nothing_is_no_stall_where_the_uniform_loss_is_unknown() -> None:
    monitor = StabilityMonitor(RunContext(l_const=1.86, budget_steps=300))
    losses = [16.0, 11618.0, *(1500.0 + 300 * math.sin(k) for k in range(298))]
    for step, loss in enumerate(losses, start=1):
        if monitor.observe(StepRecord(step, loss, 1.0)) is not None:
            break
    verdict = monitor.finish()
    assert verdict.outcome is Outcome.DIVERGED_LOSS and step < 130
