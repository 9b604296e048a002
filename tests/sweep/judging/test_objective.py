"""The number that the search hears."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweep.judging.objective import STABLE_CAP, UNSTABLE_INTERIM, interim, margin, objective

ANY = st.floats(allow_nan=True, allow_infinity=True)
RATE = st.floats(0, 1)


@given(st.sampled_from(["wer", "val_loss"]), ANY.map(abs), ANY.map(abs), RATE, RATE)
def test_every_unstable_training_is_worse_than_every_stable_one(metric, wer, val_loss, survived, other) -> None:
    stable = objective(metric, stable=True, wer=wer, val_loss=val_loss, l_const=2.0, survived_rate=1.0)
    unstable = objective(metric, stable=False, wer=0.0, val_loss=0.0, l_const=2.0, survived_rate=survived)
    assert math.isfinite(stable) and math.isfinite(unstable)
    assert stable <= STABLE_CAP < unstable <= 3.0


@given(st.sampled_from(["wer", "val_loss"]), st.booleans(), ANY, ANY, ANY, ANY)
def test_the_objective_is_finite_whatever_it_is_told(metric, stable, wer, val_loss, l_const, survived) -> None:
    value = objective(metric, stable=stable, wer=wer, val_loss=val_loss, l_const=l_const, survived_rate=survived)
    assert 0 <= value <= STABLE_CAP if stable else STABLE_CAP < value <= 3.0


@pytest.mark.parametrize("l_const", [math.nan, 0.0, -1.0, math.inf])
def test_an_unknown_zero_information_loss_earns_nothing(l_const: float) -> None:
    assert objective("val_loss", stable=True, wer=0.1, val_loss=1, l_const=l_const, survived_rate=1) == STABLE_CAP
    assert objective("wer", stable=True, wer=0.1, val_loss=1, l_const=l_const, survived_rate=1) == 0.1
    for stable, expected in [(True, -0.01), (False, 0.01)]:
        assert margin(stable=stable, stopped=False, end_loss=0.5, l_const=l_const, survived_rate=1) == expected
    assert margin(stable=False, stopped=True, end_loss=0.5, l_const=l_const, survived_rate=1) == 0.3


def test_an_unknown_survival_is_the_worst() -> None:
    assert objective("wer", stable=False, wer=0, val_loss=0, l_const=2, survived_rate=math.nan) == 3.0
    assert margin(stable=False, stopped=True, end_loss=9, l_const=2.0, survived_rate=math.nan) == 1.0


def test_an_unstable_training_that_lived_longer_is_less_bad() -> None:
    values = [
        objective("wer", stable=False, wer=0, val_loss=0, l_const=2, survived_rate=rate) for rate in (0, 0.3, 0.9, 1)
    ]
    assert values == sorted(values, reverse=True)
    assert len(set(values)) == 4


def test_a_stable_training_is_worth_its_metric() -> None:
    assert objective("wer", stable=True, wer=0.3, val_loss=9, l_const=2, survived_rate=1) == 0.3
    assert objective("val_loss", stable=True, wer=0.3, val_loss=1.0, l_const=2, survived_rate=1) == 0.5


@given(st.booleans(), st.booleans(), ANY, st.one_of(st.just(2.0), ANY), ANY)
def test_the_margin_has_the_sign_of_the_verdict(stable, stopped, end_loss, l_const, survived) -> None:
    value = margin(stable=stable, stopped=stopped, end_loss=end_loss, l_const=l_const, survived_rate=survived)
    assert 0.01 <= abs(value) <= 1
    assert (value < 0) == stable


def test_the_margin_of_a_full_training_is_its_distance_from_learning_nothing() -> None:
    assert margin(stable=True, stopped=False, end_loss=0.21, l_const=2.0, survived_rate=1) == -1.0
    assert abs(margin(stable=True, stopped=False, end_loss=1.05, l_const=2.0, survived_rate=1) + 0.30103) < 1e-4
    assert margin(stable=False, stopped=True, end_loss=9, l_const=2.0, survived_rate=0.5) == pytest.approx(0.65)


def test_the_margin_is_measured_from_where_a_stable_training_has_to_end() -> None:
    def distance(end_loss: float, stable_below: float) -> float:
        stable = end_loss < stable_below * 2.0
        return margin(
            stable=stable, stopped=False, end_loss=end_loss, l_const=2.0, survived_rate=1, stable_below=stable_below
        )

    assert distance(1.0, 0.8) == pytest.approx(distance(1.0, 0.95) + math.log10(0.95 / 0.8))
    assert distance(1.7, 0.95) < 0 < distance(1.7, 0.8)


@given(st.sampled_from(["wer", "val_loss"]), st.floats(0, 1e6), st.floats(0, 1e6), ANY)
def test_an_evaluation_without_a_finite_loss_is_worse_than_every_other(metric, wer, val_loss, l_const) -> None:
    healthy = interim(metric, wer=wer, val_loss=val_loss, l_const=l_const)
    assert 0 <= healthy <= STABLE_CAP
    for bad in (math.nan, math.inf):
        # A model of NaN still has a WER.
        assert interim(metric, wer=0.0, val_loss=bad, l_const=l_const) == UNSTABLE_INTERIM > healthy


def test_an_evaluation_is_worth_what_a_stable_end_with_it_would_be() -> None:
    assert interim("wer", wer=0.4, val_loss=1.0, l_const=2.0) == 0.4
    assert interim("val_loss", wer=0.4, val_loss=1.0, l_const=2.0) == 0.5
