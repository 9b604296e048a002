"""The kit for detectors: a sound rule passes, and for each check there is a rule that fails it."""

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

import pytest
from pydantic import BaseModel

from slr_models.spec import Spec
from sweep.judging.detectors.base import dump_state, load_state
from sweep.records import Finding, Outcome, is_broken, is_finite
from sweep.testing import DetectorCase, DetectorKit

HOT = 20.0
IN_ROW = 3


class HotLossConfig(Spec):
    """A loss above 20 in three steps in a row; what is not finite is left out of the count."""

    kind: Literal["hot_loss"] = "hot_loss"
    flaw: str = ""

    def build(self, context) -> "HotLoss":
        return HotLoss(self.flaw)


@dataclass
class State:
    count: int = 0
    started: int = 0
    last_good_step: int | None = None
    level: float = 0.0
    seen: list[float] = dataclasses.field(default_factory=list)


SHARED = State()


class HotLoss:
    def __init__(self, flaw: str) -> None:
        self.flaw = flaw
        self.state = State()
        if flaw == "memory of all runs":
            SHARED.count = 0
            self.state = SHARED

    def observe(self, record, run) -> Finding | None:
        state, flaw, loss = self.state, self.flaw, record.loss
        if flaw == "blind after a NaN":
            state.level = 0.5 * state.level + 0.5 * (loss or 0.0)
            loss = state.level
        if flaw == "raises":
            state.level = round(loss or 0.0)
        if flaw == "keeps every loss":
            state.seen.append(1.0)
        if flaw == "knows the time" and not is_finite(record.time_s):
            return None
        if not is_finite(loss):
            return self.finding(record, record.step) if flaw == "counts a NaN" and is_broken(loss) else None
        if loss <= (5.0 if flaw == "fires in good health" else HOT):
            state.count, state.last_good_step = 0, record.step
            return None
        state.count += 1
        if state.count == 1:
            state.started = record.step
        return self.finding(record, state.started) if state.count >= IN_ROW else None

    def finding(self, record, started: int) -> Finding:
        state, flaw = self.state, self.flaw
        good = state.last_good_step
        return Finding(
            detector="cold_loss" if flaw == "another's name" else "hot_loss",
            outcome=Outcome.DIVERGED_LOSS,
            step=record.step,
            value=-HOT if flaw == "wrong value" else record.loss,
            threshold=HOT,
            reason="" if flaw == "no reason" else f"the loss is {record.loss:.3g}".replace("nan", "NaN"),
            first_bad_step=started,
            last_good_step=None if flaw == "no last good step" or good is None or good >= started else good,
        )

    def state_dict(self) -> dict[str, Any]:
        if self.flaw == "forgets":
            return {"count": self.state.count}
        return dump_state(self.state)

    def load_state_dict(self, state) -> None:
        if self.flaw != "does not load":
            self.state = State(count=state["count"]) if self.flaw == "forgets" else load_state(State, state)


class TakesAnything(BaseModel):
    kind: Literal["hot_loss"] = "hot_loss"

    def build(self, context) -> HotLoss:
        return HotLoss("")


def hot(record):
    return dataclasses.replace(record, loss=40.0)


class TestASoundRule(DetectorKit):
    @pytest.fixture
    def case(self) -> DetectorCase:
        return DetectorCase(HotLossConfig(), hot)


FLAWS = [
    ("test_the_configuration_is_one", TakesAnything(), "takes a setting that it does not know"),
    ("test_a_quiet_trace_is_silent", "fires in good health", "a false alarm at step 3 of a healthy training"),
    ("test_isolated_nonfinite_values_are_silent", "counts a NaN", "false alarm at step 1 .* with nan at "),
    ("test_the_fault_is_found_with_its_evidence", "knows no fault", "the fault is not found"),
    ("test_the_fault_is_found_with_its_evidence", "another's name", "names 'cold_loss'"),
    ("test_the_fault_is_found_with_its_evidence", "no last good step", "there is no last good step"),
    ("test_the_fault_is_found_with_its_evidence", "wrong value", "did not cross its threshold"),
    ("test_the_fault_is_found_with_its_evidence", "no reason", "without a sentence"),
    ("test_nonfinite_values_do_not_blind", "blind after a NaN", "the fault is not found after nan at the positions"),
    ("test_a_checkpoint_changes_nothing", "forgets", "after a checkpoint at step 121 the findings are others"),
    ("test_a_checkpoint_changes_nothing", "does not load", "memory is lost in a checkpoint after 1 steps"),
    ("test_runs_are_apart", "memory of all runs", "the findings are others"),
    ("test_a_replay_finds_what_was_found_live", "knows the time", "findings differ from step 123 on"),
    ("test_no_record_makes_it_raise", "raises", "cannot convert float"),
    ("test_the_memory_stays_small", "keeps every loss", "must not grow with the steps"),
]


@pytest.mark.parametrize(("check", "flaw", "message"), FLAWS)
def test_each_check_can_fail(check: str, flaw: str | BaseModel, message: str) -> None:
    config = HotLossConfig(flaw=flaw) if isinstance(flaw, str) else flaw
    fault = (lambda record: record) if flaw == "knows no fault" else hot
    with pytest.raises((AssertionError, ValueError, OverflowError), match=message):
        getattr(DetectorKit(), check)(DetectorCase(config, fault))


def test_no_check_is_left_out(checks_of) -> None:
    assert {check for check, _, _ in FLAWS} == checks_of(DetectorKit)
