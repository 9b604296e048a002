"""What counts as the truth about a whole recorded training."""

import math

import numpy as np
import pandas as pd
import pytest

from benchmarks.detectors.truth import Truth, end_level, ends_above_start, judge, lost_share

L_CONST = 2.6
STEPS = np.arange(300)
LEARNED = np.where(STEPS < 100, 2.6, 2.6 * np.exp(-(STEPS - 100) / 100))


def steps(loss: np.ndarray, **columns: np.ndarray) -> pd.DataFrame:
    noise = np.exp(np.random.default_rng(0).normal(0, 0.05, len(loss)))
    usual = {
        "step": STEPS[: len(loss)] + 1,
        "loss": loss * noise,
        "grad_norm": np.ones(len(loss)),
        "applied": np.ones(len(loss), dtype=bool),
        "params_finite": np.ones(len(loss), dtype=bool),
    }
    return pd.DataFrame({**usual, **columns})


def test_a_training_that_learned_is_healthy_whatever_came_before() -> None:
    spiky = LEARNED * np.where((STEPS > 150) & (STEPS < 160), 1000, 1)
    spiky[200] = math.nan
    assert judge(steps(spiky), L_CONST, 0.5) == (Truth.HEALTHY, None)


@pytest.mark.parametrize(("level", "val_loss"), [(2.5, 2.52), (2.4, 2.6), (2.6, 2.4)])
def test_between_learned_and_not_is_doubtful(level: float, val_loss: float) -> None:
    assert judge(steps(np.full(300, level)), L_CONST, val_loss)[0] is Truth.DOUBTFUL


def test_nothing_learned_is_bad_from_its_first_step() -> None:
    assert judge(steps(np.full(300, 2.65)), L_CONST, 2.63) == (Truth.NOTHING, 1)


@pytest.mark.parametrize("after", [2.7, 9.0, 1e5])
def test_the_onset_of_a_diverged_loss_is_where_it_left_its_best_for_good(after: float) -> None:
    loss = np.where(STEPS < 200, LEARNED, after)
    loss[150:160] = 30.0  # A spike that came back is no onset.
    truth, onset = judge(steps(loss), L_CONST, after)
    assert truth is Truth.LOSS and onset is not None and 196 <= onset <= 201


def test_the_onset_of_nan_is_its_first_step_or_that_of_the_explosion_before() -> None:
    loss = np.where(STEPS < 200, LEARNED, math.nan)
    loss[50] = math.nan
    assert judge(steps(loss), L_CONST, math.nan) == (Truth.NONFINITE, 201)
    loss[190:200] = 1e4
    truth, onset = judge(steps(loss), L_CONST, math.nan)
    assert truth is Truth.NONFINITE and onset is not None and 190 <= onset <= 192


def test_gradients_and_weights_count_and_unrecorded_norms_do_not() -> None:
    bad = np.where(STEPS < 100, 1.0, math.inf)
    assert judge(steps(LEARNED, grad_norm=bad), L_CONST, 0.5) == (Truth.NONFINITE, 101)
    assert judge(steps(LEARNED, params_finite=STEPS < 250), L_CONST, 0.5) == (Truth.NONFINITE, 251)
    assert judge(steps(LEARNED, grad_norm=np.full(300, math.nan)), L_CONST, 0.5)[0] is Truth.HEALTHY


def test_skipping_most_steps_is_bad_where_nothing_was_learned() -> None:
    # Four steps of calibration do not count; from step 50 on nearly all are skipped.
    applied = (STEPS >= 4) & ((STEPS < 49) | (STEPS % 10 == 0))
    assert judge(steps(np.full(300, 5.0), applied=applied), L_CONST, 5.0) == (Truth.SKIPS, 50)
    assert judge(steps(LEARNED, applied=applied), L_CONST, 0.5)[0] is Truth.DOUBTFUL


@pytest.mark.parametrize(
    ("best", "end", "val_loss", "share"),
    [
        (0.6, 0.6, 0.6, 0.0),
        (0.6, 1.6, 1.6, 0.5),
        (0.6, 2.6, 2.6, 1.0),
        (0.6, 9.0, 9.0, 1.0),
        # Kept what it learned, but the validation shows a third of the way from 0.98 to 0.95.
        (0.6, 0.6, 0.97 * L_CONST, 2 / 3),
        (0.6, 0.6, math.nan, 1.0),
        (2.7, 2.7, 0.5, 1.0),
    ],
)
def test_how_much_was_lost(best: float, end: float, val_loss: float, share: float) -> None:
    loss = np.where(STEPS < 100, 2.8, np.where(STEPS < 200, best, end))
    loss[[40, 250]] = math.nan
    assert lost_share(loss, L_CONST, val_loss) == pytest.approx(share)


def test_nothing_finite_is_all_lost() -> None:
    assert lost_share(np.full(300, math.nan), L_CONST, 0.5) == 1
    assert not ends_above_start(np.full(300, math.nan))


def test_the_end_of_a_short_log_is_its_last_quarter() -> None:
    assert end_level(np.arange(40.0)) == 34.5 and end_level(np.arange(1000.0)) == 949.5
    assert ends_above_start(np.r_[math.nan, np.full(5, 1.0), np.full(30, 0.5), np.full(20, 1.1)])
    assert not ends_above_start(LEARNED)
