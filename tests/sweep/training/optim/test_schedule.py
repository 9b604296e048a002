"""Schedules at their corners, and one of them against PyTorch's own."""

import math

import pytest
import torch
from pydantic import TypeAdapter

from slr_models.errors import SettingError
from sweep.training.optim import Constant, Cosine, OneCycle, Plateau, ScheduleConfig, WarmupStableDecay

BASE, STEPS = 0.4, 100
ALL = [
    Constant(warmup_steps=10),
    Cosine(warmup_steps=10),
    OneCycle(warmup_steps=10),
    Plateau(warmup_steps=10),
    WarmupStableDecay(warmup_steps=10),
]
APPLIED = [config.model_copy(update={"count": "applied"}) for config in ALL]


@pytest.mark.parametrize("config", ALL)
def test_warm_up_rises_to_the_base_rate_and_stays_within_it(config: ScheduleConfig) -> None:
    schedule = config.build(BASE, STEPS)
    rates = [schedule.lr(step) for step in range(STEPS + 5)]
    assert all(a < b for a, b in zip(rates[:9], rates[1:10], strict=True))
    assert rates[9] == pytest.approx(BASE)
    assert max(rates) == pytest.approx(BASE)
    assert rates[0] > 0
    assert rates[STEPS - 1] == rates[STEPS + 4]


@pytest.mark.parametrize("config", ALL + APPLIED)
def test_round_trip_and_resume(config: ScheduleConfig) -> None:
    adapter: TypeAdapter[ScheduleConfig] = TypeAdapter(ScheduleConfig)
    assert adapter.validate_python(adapter.dump_python(config)) == config
    schedule, resumed = config.build(BASE, STEPS, lag_steps=3), config.build(BASE, STEPS, lag_steps=3)
    for step, loss in enumerate((3.0, 4.0, math.nan, 4.0, 5.0), start=1):
        schedule.observe_step(step, applied=step == 2)
        schedule.observe_eval(loss)
    resumed.load_state_dict(schedule.state_dict())
    for later in (schedule, resumed):
        for loss in (4.0, 4.0):
            later.observe_eval(loss)
    assert [schedule.lr(s) for s in range(5, STEPS)] == [resumed.lr(s) for s in range(5, STEPS)]


@pytest.mark.parametrize("config", ALL)
def test_a_warm_up_that_never_ends_is_an_error(config: ScheduleConfig) -> None:
    with pytest.raises(SettingError, match="10 >= 10"):
        config.build(BASE, 10)
    config.build(BASE, 11)


@pytest.mark.parametrize("config", ALL)
@pytest.mark.parametrize("lag_steps", [0, 3])
def test_skipped_updates_do_not_move_a_schedule_that_counts_applied_ones(
    config: ScheduleConfig, lag_steps: int
) -> None:
    by_steps = config.build(BASE, STEPS)
    rates = [by_steps.lr(step) for step in range(STEPS)]
    by_applied = config.model_copy(update={"count": "applied"}).build(BASE, STEPS, lag_steps)
    skipped = {1, 2, 3, 7, 30}
    for step in range(60):
        # A skipped step is known so many steps later, and no earlier although somebody may look.
        known = sum(number <= step - lag_steps for number in skipped)
        assert by_applied.lr(step) == by_applied.lr(step) == rates[step - known]
        for schedule in (by_steps, by_applied):
            schedule.observe_step(step + 1, applied=step + 1 not in skipped)
        assert by_steps.lr(step) == rates[step]


def test_constant_without_warm_up() -> None:
    schedule = Constant().build(BASE, 1)
    assert [schedule.lr(step) for step in (0, 5, 500)] == [BASE] * 3


@pytest.mark.parametrize("warmup_steps", [0, 1, 20])
def test_cosine_ends_at_its_final_ratio_and_passes_the_middle(warmup_steps: int) -> None:
    num_steps = 101 + max(warmup_steps - 1, 0)
    schedule = Cosine(warmup_steps=warmup_steps, final_ratio=0.1).build(BASE, num_steps)
    first_full = max(warmup_steps - 1, 0)
    assert schedule.lr(first_full) == pytest.approx(BASE)
    assert schedule.lr(first_full + 50) == pytest.approx(0.55 * BASE)
    assert schedule.lr(num_steps - 1) == pytest.approx(0.1 * BASE)


@pytest.mark.parametrize(("shape", "middle"), [("linear", 0.5), ("one_minus_sqrt", 1 - math.sqrt(0.5))])
def test_wsd_stays_at_the_base_rate_and_falls_over_its_last_part(shape: str, middle: float) -> None:
    config = WarmupStableDecay(warmup_steps=10, decay_rate=0.2, shape=shape, final_ratio=0.1)
    rates = [config.build(BASE, STEPS).lr(step) for step in range(STEPS)]
    assert rates[9:80] == pytest.approx([BASE] * 71) and rates[80] < BASE
    assert rates[89] == pytest.approx(BASE * (0.1 + 0.9 * middle)) and rates[-1] == pytest.approx(0.1 * BASE)
    assert all(a > b for a, b in zip(rates[79:], rates[80:], strict=False)), "it falls to the end"


def test_one_cycle_is_pytorchs() -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=1.0)
    reference = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=BASE, total_steps=STEPS, pct_start=0.3, cycle_momentum=False
    )
    schedule = OneCycle(warmup_steps=30).build(BASE, STEPS)
    for step in range(STEPS):
        assert schedule.lr(step) == pytest.approx(reference.get_last_lr()[0], rel=1e-9)
        optimizer.step()
        if step < STEPS - 1:
            reference.step()


def test_plateau_cuts_after_patience_and_ignores_what_is_not_finite() -> None:
    schedule = Plateau(factor=0.5, patience_evals=2).build(BASE, STEPS)
    rates = []
    for loss in (3.0, -math.inf, 2.0, math.nan, math.inf, 1.0, 1.0, 1.0, 1.5, 1.5):
        schedule.observe_eval(loss)
        rates.append(schedule.lr(50) / BASE)
    assert rates == [1, 1, 1, 1, 0.5, 0.5, 0.5, 0.25, 0.25, 0.125]
