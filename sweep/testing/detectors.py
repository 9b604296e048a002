"""What every detector owes, to the monitor and to whoever resumes or replays a training.

    from dataclasses import replace

    import pytest

    from sweep.testing import DetectorCase, DetectorKit

    class TestMyRule(DetectorKit):
        @pytest.fixture
        def case(self):
            return DetectorCase(MyRuleConfig(), lambda record: replace(record, loss=40.0))

The second argument says what the rule is there to find: it turns the records of a healthy training, from step 121 on,
into those of a sick one.
"""

import itertools
import json
import math
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from sweep import store
from sweep.judging.detectors import DetectorSpec, LoneDetector, RunContext
from sweep.logs.files import read_trace
from sweep.records import Finding, SkipReason, StepRecord
from sweep.testing.configuration import check_configuration

PLAIN = RunContext(l_const=3.3, l_unif=12.0, budget_steps=300, has_scaler=False)
SCALED = RunContext(l_const=3.3, l_unif=12.0, budget_steps=300, has_scaler=True)
UNKNOWN = RunContext()
CONTEXTS = (PLAIN, SCALED, UNKNOWN)
"""Runs without and with a loss scaler, and one of which nothing is known."""

NUM_STEPS = 300
NUM_HEALTHY = 120
"""Steps before a fault."""
NONFINITE = (math.nan, math.inf, -math.inf)
ODD_VALUES = (*NONFINITE, 0.0, -1.0, 3.3, 9.0, 1e308, 5e-324)
MAX_STATE_BYTES = 10_000


@dataclass(frozen=True)
class DetectorCase:
    """A detector, and what it is there to find."""

    config: DetectorSpec
    fault: Callable[[StepRecord], StepRecord]
    """A healthy record -> the sick one that takes its place from step 121 to 300."""
    has_scaler: bool = False
    """Whether what it finds takes a loss scaler."""
    low_is_bad: bool = False
    """Whether a finding's value lies at or below its threshold, instead of at or above."""

    @property
    def context(self) -> RunContext:
        """The run in which the fault happens."""
        return SCALED if self.has_scaler else PLAIN


def quiet_trace(num_steps: int, has_scaler: bool, seed: int = 0) -> list[StepRecord]:
    """A healthy training: its loss falls to the zero-information level (3.3), rests there, and learns from step 70 on.

    Numbers are rounded to single precision, as results folders store them.
    """
    rng = np.random.default_rng(seed)
    steps = np.arange(num_steps)
    progress = np.clip((steps - 70) / 150, 0, 1)
    losses = (3.3 + 7 * np.exp(-steps / 12)) * (1 - 0.8 * progress) * np.exp(rng.normal(0, 0.08, num_steps))
    norms = rng.lognormal(size=num_steps)
    dependence = 3e-4 * np.exp(np.minimum(steps, 100) / 17)
    return [
        StepRecord(
            step=k + 1,
            loss=_single(losses[k]),
            grad_norm=_single(norms[k]),
            loss_scale=65536.0 if has_scaler else None,
            lr=_single(1e-3),
            num_samples=8,
            time_s=0.25,
            blank_rate=_single(1.0 if 10 < k < 90 else 0.6) if k % 5 == 0 else None,
            input_dependence=_single(dependence[k]) if k % 5 == 0 else None,
        )
        for k in range(num_steps)
    ]


def gone_wrong(case: DetectorCase, *, seed: int = 0, num_steps: int = NUM_STEPS) -> list[StepRecord]:
    """A training that is healthy for 120 steps and has the case's fault from then on, in single precision."""
    trace = quiet_trace(num_steps, case.has_scaler, seed)
    return trace[:NUM_HEALTHY] + [_stored(case.fault(record)) for record in trace[NUM_HEALTHY:]]


def with_bad_values(trace: Sequence[StepRecord], positions: Sequence[int], value: float) -> list[StepRecord]:
    """The trace with steps, counted from 0, whose loss and gradient norm are `value` and which were skipped."""
    return [
        replace(record, loss=value, grad_norm=value, applied=False, skip_reason=SkipReason.NONFINITE)
        if index in positions
        else record
        for index, record in enumerate(trace)
    ]


def findings(config: DetectorSpec, context: RunContext, trace: Sequence[StepRecord]) -> list[Finding | None]:
    """What a fresh detector says at each step."""
    detector = LoneDetector(config, context)
    return [detector.observe(record) for record in trace]


class DetectorKit:
    """Checks of a detector; a subclass gives the fixture `case`, a `DetectorCase`."""

    def test_the_configuration_is_one(self, case: DetectorCase) -> None:
        """It comes back from a file as it went, and refuses a setting that it does not know."""
        check_configuration(case.config)

    def test_a_quiet_trace_is_silent(self, case: DetectorCase) -> None:
        """A healthy training raises no alarm, whatever is known of the run."""
        for context in CONTEXTS:
            _assert_silent(case.config, context, quiet_trace(NUM_STEPS, context.has_scaler), "of a healthy training")

    def test_isolated_nonfinite_values_are_silent(self, case: DetectorCase) -> None:
        """A NaN or inf at the first step, at the last, or now and then in between is no fault."""
        for context, value in itertools.product(CONTEXTS, NONFINITE):
            for positions in ([0], [NUM_STEPS - 1], [25], [150, 200, 250]):
                trace = with_bad_values(quiet_trace(NUM_STEPS, context.has_scaler), positions, value)
                _assert_silent(case.config, context, trace, f"of a healthy training with {value} at {positions}")

    def test_the_fault_is_found_with_its_evidence(self, case: DetectorCase) -> None:
        """Where it began and where all was well before; the value that crossed which threshold; a sentence."""
        finding = _first(findings(case.config, case.context, gone_wrong(case)))
        _assert_sound(finding, case.config.kind)
        assert 1 <= finding.first_bad_step <= finding.step, (
            f"the trouble began at {finding.first_bad_step}, and it was found at {finding.step}"
        )
        assert finding.last_good_step is not None, "all was well for 120 steps, but there is no last good step"
        assert 85 <= finding.last_good_step <= 200, (
            f"the last good step is {finding.last_good_step}, though all went wrong at step 121"
        )
        crossed = finding.value <= finding.threshold if case.low_is_bad else finding.value >= finding.threshold
        assert crossed, f"the value {finding.value} did not cross its threshold {finding.threshold}"

    def test_nonfinite_values_do_not_blind(self, case: DetectorCase) -> None:
        """After a NaN or inf the fault is found when it would have been found without it.

        A level loses the losses that were not finite, so it may see a change up to three steps earlier or later.
        """
        trace = gone_wrong(case)
        plain = _first(findings(case.config, case.context, trace)).step
        for value in NONFINITE:
            for positions in ([0], [60], [115], [118, 119], [10, 40, 70, 100], list(range(3, NUM_HEALTHY, 9))):
                found = _first(
                    findings(case.config, case.context, with_bad_values(trace, positions, value)),
                    f" after {value} at the positions {positions}",
                ).step
                assert abs(found - plain) <= 3, (
                    f"with {value} at the positions {positions} the fault is found at step {found}, without at {plain}"
                )

    def test_a_checkpoint_changes_nothing(self, case: DetectorCase) -> None:
        """A detector that takes the memory of another, through JSON, says what the other would have said."""
        for context, seed in ((PLAIN, 1), (SCALED, 2)):
            sick = gone_wrong(replace(case, has_scaler=context.has_scaler), seed=seed)
            trace = with_bad_values(sick, [40, 41], math.nan)
            whole = findings(case.config, context, trace)
            for cut in (0, 1, 42, 60, 119, 121, 122, 135, 250):
                first, second = LoneDetector(case.config, context), LoneDetector(case.config, context)
                head = [first.observe(record) for record in trace[:cut]]
                second.load_state_dict(json.loads(json.dumps(first.state_dict(), allow_nan=False)))
                assert second.state_dict() == first.state_dict(), f"memory is lost in a checkpoint after {cut} steps"
                tail = [second.observe(record) for record in trace[cut:]]
                assert head + tail == whole, f"after a checkpoint at step {cut} the findings are others"

    def test_runs_are_apart(self, case: DetectorCase) -> None:
        """Detectors of two runs in one process do not hear of each other."""
        sick, healthy = gone_wrong(case), quiet_trace(NUM_STEPS, case.has_scaler, seed=1)
        alone = findings(case.config, case.context, sick)
        first, second = LoneDetector(case.config, case.context), LoneDetector(case.config, case.context)
        together = []
        for bad, good in zip(sick, healthy, strict=True):
            together.append(first.observe(bad))
            assert second.observe(good) is None, f"another run's fault is found in a healthy one at step {good.step}"
        assert together == alone, "beside a healthy run the findings are others"

    def test_a_replay_finds_what_was_found_live(self, case: DetectorCase) -> None:
        """The steps that a results folder holds give the same findings: nothing else of a record may be read.

        `num_samples` and `time_s` are not replayed.
        """
        live = with_bad_values(gone_wrong(case), [20], math.nan)
        with tempfile.TemporaryDirectory() as folder:
            store.write_steps(Path(folder), "0", live)
            replayed = list(read_trace(Path(folder) / "steps" / "0.parquet").records())
        found, again = (findings(case.config, case.context, trace) for trace in (live, replayed))
        differing = [record.step for record, one, two in zip(live, found, again, strict=True) if one != two]
        assert not differing, f"live and replayed findings differ from step {differing[0]} on"

    def test_no_record_makes_it_raise(self, case: DetectorCase) -> None:
        """Records and runs of any content are read, and what is found in them is sound."""
        rng = np.random.default_rng(0)
        for number in range(60):
            context = CONTEXTS[number % 4] if number % 4 < 3 else _odd_context(rng)
            records = [_odd_record(rng) for _ in range(rng.integers(1, 13))]
            detector = LoneDetector(case.config, context)
            for record in records * int(rng.integers(1, 9)):
                finding = detector.observe(record)
                if finding is not None:
                    assert finding.step == record.step, f"found at step {finding.step} in the record of {record.step}"
                    _assert_sound(finding, case.config.kind)
            json.dumps(detector.state_dict(), allow_nan=False)

    def test_the_memory_stays_small(self, case: DetectorCase) -> None:
        """A checkpoint after 3,000 steps has at most 10,000 bytes."""
        detector = LoneDetector(case.config, case.context)
        for record in quiet_trace(10 * NUM_STEPS, case.has_scaler):
            detector.observe(record)
        size = len(json.dumps(detector.state_dict(), allow_nan=False))
        assert size <= MAX_STATE_BYTES, f"a checkpoint of {size} bytes: the memory must not grow with the steps"


def _single(value: float | None) -> float | None:
    return None if value is None else float(np.float32(value))


def _stored(record: StepRecord) -> StepRecord:
    return replace(
        record,
        loss=_single(record.loss),
        grad_norm=_single(record.grad_norm),
        loss_scale=_single(record.loss_scale),
        blank_rate=_single(record.blank_rate),
        input_dependence=_single(record.input_dependence),
    )


def _first(found: Sequence[Finding | None], when: str = "") -> Finding:
    finding = next((finding for finding in found if finding is not None), None)
    assert finding is not None, f"the fault is not found{when}"
    return finding


def _assert_silent(config: DetectorSpec, context: RunContext, trace: Sequence[StepRecord], what: str) -> None:
    finding = next((finding for finding in findings(config, context, trace) if finding is not None), None)
    assert finding is None, f"a false alarm at step {finding and finding.step} {what}, {context}: {finding}"


def _assert_sound(finding: Finding, kind: str) -> None:
    assert finding.detector == kind, f"the finding names {finding.detector!r}, but the detector is {kind!r}"
    assert finding.last_good_step is None or finding.last_good_step < finding.first_bad_step, (
        f"the last good step, {finding.last_good_step}, does not lie before the first bad one, {finding.first_bad_step}"
    )
    assert finding.reason, "a finding without a sentence for a person"
    assert "nan" not in finding.reason.replace("NaN", ""), f"a number that is not known is told: {finding.reason}"


def _odd_record(rng: np.random.Generator) -> StepRecord:
    def odd() -> float | None:
        if rng.random() < 0.15:
            return None
        return float(rng.choice(ODD_VALUES)) if rng.random() < 0.7 else float(rng.normal() * 10 ** rng.uniform(-3, 6))

    return StepRecord(
        step=int(rng.integers(-5, 400)) if rng.random() < 0.8 else int(rng.integers(-(2**62), 2**62)),
        loss=odd(),
        grad_norm=odd(),
        loss_scale=odd(),
        applied=bool(rng.random() < 0.5),
        skip_reason=None if rng.random() < 0.5 else list(SkipReason)[int(rng.integers(len(SkipReason)))],
        lr=odd(),
        num_samples=int(rng.integers(0, 3)),
        num_infeasible=int(rng.integers(0, 3)),
        time_s=odd(),
        blank_rate=odd(),
        input_dependence=odd(),
        params_finite=bool(rng.random() < 0.5),
    )


def _odd_context(rng: np.random.Generator) -> RunContext:
    budget = None if rng.random() < 0.3 else int(rng.integers(1, 10**9))
    l_const, l_unif = (float(rng.choice(ODD_VALUES)) for _ in range(2))
    return RunContext(l_const=l_const, l_unif=l_unif, budget_steps=budget, has_scaler=bool(rng.random() < 0.5))
