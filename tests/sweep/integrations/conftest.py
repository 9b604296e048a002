"""What the tests of the three callbacks share: courses of losses, and what the monitor saw of them."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pytest

from sweep.integrations import watch
from sweep.judging import RunContext, StabilityMonitor
from sweep.records import StepRecord, Verdict

QUIET_STEPS, ALL_STEPS = 40, 120


@pytest.fixture
def rising() -> list[float]:
    """A loss that jumps and stays up: an alarm, but only for who knows how low it was."""
    return [3.0 + 0.01 * (step % 7) for step in range(QUIET_STEPS)] + [30.0] * (ALL_STEPS - QUIET_STEPS)


@pytest.fixture
def broken() -> list[float]:
    """A loss that falls and is then NaN for good."""
    return [3.0 - 0.01 * step if step < QUIET_STEPS else math.nan for step in range(ALL_STEPS)]


@pytest.fixture
def falling() -> list[float]:
    """A loss that falls to its end."""
    return [3.0 * 0.97**step + 0.01 * (step % 5) for step in range(ALL_STEPS)]


@dataclass
class Shown:
    """What the monitors of a test are shown."""

    records: list[StepRecord] = field(default_factory=list)
    validations: list[tuple[int, float]] = field(default_factory=list)


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> Shown:
    """What the monitors of this test are shown; they judge as ever."""
    shown = Shown()

    class Recording(StabilityMonitor):
        def observe(self, record: StepRecord) -> Verdict | None:
            shown.records.append(record)
            return super().observe(record)

        def observe_validation(self, step: int, val_loss: float) -> None:
            shown.validations.append((step, val_loss))
            super().observe_validation(step, val_loss)

    monkeypatch.setattr(watch, "StabilityMonitor", Recording)
    return shown


@pytest.fixture
def records(shown: Shown) -> list[StepRecord]:
    """The steps among them."""
    return shown.records


@pytest.fixture
def validations(shown: Shown) -> list[tuple[int, float]]:
    """The validation losses among them, each with its step."""
    return shown.validations


@pytest.fixture
def alarm_step() -> Callable[[Sequence[float]], int]:
    """Where a monitor gives the alarm that sees nothing but these losses, and sound gradients."""

    def judge(losses: Sequence[float]) -> int:
        monitor = StabilityMonitor(RunContext(budget_steps=len(losses)))
        for step, loss in enumerate(losses, start=1):
            if (verdict := monitor.observe(StepRecord(step=step, loss=loss, grad_norm=0.0))) is not None:
                return verdict.step
        raise AssertionError("no alarm")

    return judge
