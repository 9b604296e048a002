"""A training is as good as stable only where all that could still go wrong is behind it."""

import math

import pytest

from sweep.judging.foregone import ForegoneConfig, foregone
from sweep.records import EvalRecord, StepRecord

BOUND, STEPS = 1.0, 200
USUAL = ForegoneConfig()


def steps(losses, lr=1e-3) -> list[StepRecord]:
    rates = lr if isinstance(lr, list) else [lr] * len(losses)
    return [
        StepRecord(step=k, loss=loss, grad_norm=1.0, lr=rate)
        for k, (loss, rate) in enumerate(zip(losses, rates, strict=True), start=1)
    ]


def evaluated(step: int, val_loss: float) -> EvalRecord:
    return EvalRecord(step, val_loss, 0, 0, 0, 10, 0.0, 0.0, 0.0)


def told(losses, val_loss: float = 0.3, config: ForegoneConfig = USUAL, lr=1e-3) -> str | None:
    return foregone(config, steps(losses, lr), evaluated(len(losses), val_loss), bound=BOUND, max_steps=STEPS)


FALLING = [2.0 * 0.95**k for k in range(60)]


def test_a_training_that_has_learned_enough_is_as_good_as_stable_and_says_by_what() -> None:
    why = told(FALLING)
    assert why is not None and "after step 60 of 200" in why and "stable asks for less than 1" in why


@pytest.mark.parametrize(
    ("losses", "more"),
    [
        (FALLING[:39], {}),  # early
        ([0.9] * 60, {}),  # below the bound, but not clearly
        (FALLING, {"val_loss": 0.85}),  # held-out data do not show it
        (FALLING, {"val_loss": math.nan}),
        ([*FALLING[:59], math.nan], {}),
        ([*FALLING, *[0.3] * 20], {}),  # on its way up from 0.13
        (FALLING, {"lr": [1e-5 * k for k in range(60)]}),  # the warm-up goes on
        (FALLING, {"lr": [None] * 60}),
        (FALLING, {"config": ForegoneConfig(after_rate=0.5)}),
    ],
)
def test_otherwise_it_runs_on(losses, more) -> None:
    assert told(losses, **more) is None


def test_the_bound_is_a_part_of_what_stable_asks_for() -> None:
    assert told([0.9] * 60, config=ForegoneConfig(below=1.0)) is not None
    assert told([0.7] * 60) is not None


def test_at_its_last_step_nothing_is_foregone() -> None:
    assert foregone(USUAL, steps([0.1] * STEPS), evaluated(STEPS, 0.1), bound=BOUND, max_steps=STEPS) is None
