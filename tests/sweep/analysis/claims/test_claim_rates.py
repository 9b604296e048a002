"""How often the procedures err, by simulation: every bound is alpha plus three standard errors of the simulation."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from sweep.analysis.claims.bounded import stable_effect
from sweep.analysis.claims.edges import edge_effect
from sweep.analysis.claims.effects import continuous
from sweep.analysis.claims.pairs import Floats, Pairs, edge_between
from sweep.analysis.claims.power import pairs_needed
from sweep.analysis.claims.verdict import follow, verdict_of

pytestmark = pytest.mark.slow

Make = Callable[..., dict[str, Any]]
DIFFERENCE = np.array([-1.0, 1.0])
INTERACTION = np.array([1.0, -1.0, -1.0, 1.0])
FOUR_LOOKS = (0.25, 0.5, 0.75, 1.0)


@pytest.fixture(params=[1, pytest.param(10, marks=pytest.mark.long)], ids=["once", "ten times as many studies"])
def times(request: pytest.FixtureRequest) -> int:
    """How many times as many studies are simulated: ten times bring every bound three times nearer to its alpha."""
    found: int = request.param
    return found


def at_most(alpha: float, studies: int) -> float:
    """The largest rate that is no evidence against alpha."""
    return alpha + 3 * math.sqrt(alpha * (1 - alpha) / studies)


def of_values(values: Floats, weights: Floats) -> Pairs:
    """Pairs with one training a cell, from values [N, C]."""
    return Pairs(
        blocks=np.arange(len(values)),
        values=values,
        labels=tuple("abcd"[: values.shape[1]]),
        censored=np.zeros(values.shape, dtype=bool),
        effects=values @ weights,
        weights=weights,
        cells=1,
        low=values,
        high=values,
    )


def coins(rng: np.random.Generator, num: int, rates: list[float], shared: float) -> Floats:
    """Stable trainings [num, C]: with a chance of `shared` a block decides all of its levels by one draw."""
    own, common = rng.random((num, len(rates))), rng.random((num, 1))
    draws = np.where(rng.random((num, 1)) < shared, common, own)
    return (draws < np.array(rates)).astype(float)


def verdicts(claims: list[dict[str, Any]], tables: list[Floats], weights: Floats = DIFFERENCE) -> list[str]:
    """What four looks at all blocks of each claim say."""
    num = len(tables[0])
    found = follow(
        claims,
        FOUR_LOOKS,
        lambda i, index: of_values(tables[i][: round(num * FOUR_LOOKS[index])], weights),
        num_looks=4,
    )
    return [found[i].verdict for i in range(len(claims))]


@pytest.mark.parametrize(("rate", "shared"), [(0.5, 0.0), (0.8, 0.5), (0.95, 0.0)])
def test_four_looks_at_equal_shares_hardly_ever_find_a_difference(
    claim: Make, times: int, rate: float, shared: float
) -> None:
    rng = np.random.default_rng(0)
    wanted = claim(expected="lower", smallest_effect=0.1)
    found = [verdicts([wanted], [coins(rng, 24, [rate, rate], shared)])[0] for _ in range(400 * times)]
    assert found.count("supported") / len(found) <= at_most(0.025, len(found))


def test_a_real_difference_of_shares_is_found_early(claim: Make) -> None:
    rng = np.random.default_rng(1)
    wanted = claim(expected="lower", smallest_effect=0.1)
    found = [verdicts([wanted], [coins(rng, 24, [0.95, 0.35], 0.0)])[0] for _ in range(100)]
    assert found.count("supported") >= 90


def skewed(rng: np.random.Generator, kind: str, num: int) -> Floats:
    """Block effects with a mean of 0, [num]."""
    match kind:
        case "normal":
            return rng.standard_normal(num)
        case "difference of log-normals":
            return rng.lognormal(0, 0.8, num) - rng.lognormal(0, 0.8, num)
        case _:
            return rng.beta(0.5, 2, num) - rng.beta(0.5, 2, num)


@pytest.mark.parametrize("kind", ["normal", "difference of log-normals", "difference of bounded"])
@pytest.mark.parametrize("num", [6, 12, 24])
def test_intervals_of_continuous_effects_hold_the_truth(kind: str, num: int, times: int) -> None:
    rng = np.random.default_rng(2)
    studies = (3000 if num < 12 else 300) * times
    effects = [continuous(skewed(rng, kind, num), 0.0, 0.05) for _ in range(studies)]
    missed = np.mean([not effect.low <= 0 <= effect.high for effect in effects])
    assert missed <= at_most(0.05, studies)
    assert missed >= 0.01  # and they are no wider than they must be


def test_no_effect_is_claimed_at_the_edge_of_the_zone_as_often_as_alpha_allows(claim: Make, times: int) -> None:
    rng = np.random.default_rng(3)
    wanted = claim(response="wer", expected="equal", smallest_effect=0.5)
    tables = [rng.normal([0.0, 0.5], 0.3, (24, 2)) for _ in range(300 * times)]
    assert np.mean([verdicts([wanted], [table])[0] == "supported" for table in tables]) <= at_most(0.025, len(tables))


def test_equal_levels_are_found_equal(claim: Make) -> None:
    rng = np.random.default_rng(4)
    wanted = claim(response="wer", expected="equal", smallest_effect=0.5)
    tables = [rng.normal(0.0, 0.3, (24, 2)) for _ in range(60)]
    assert np.mean([verdicts([wanted], [table])[0] == "supported" for table in tables]) >= 0.9


@pytest.mark.parametrize(("expected", "wrong"), [("higher", "supported"), ("equal", "refuted")])
def test_four_claims_together_err_no_more_than_alpha(claim: Make, times: int, expected: str, wrong: str) -> None:
    rng = np.random.default_rng(5)
    claims = [claim(response="wer", expected=expected, smallest_effect=0.9) for _ in range(4)]
    errors = [wrong in verdicts(claims, [rng.standard_normal((16, 2)) for _ in range(4)]) for _ in range(150 * times)]
    assert np.mean(errors) <= at_most(0.05, len(errors))


@pytest.mark.parametrize("rates", [[0.5] * 4, [0.9, 0.9, 0.9, 0.9], [0.95, 0.6, 0.95, 0.6]])
def test_intervals_of_interactions_of_shares_hold_the_truth(rates: list[float], times: int) -> None:
    rng = np.random.default_rng(6)
    found = [stable_effect(of_values(coins(rng, 24, rates, 0.3), INTERACTION), 0.0, 0.05) for _ in range(1000 * times)]
    assert np.mean([not effect.low <= 0 <= effect.high for effect in found]) <= at_most(0.05, len(found))
    assert np.mean([effect.p <= 0.05 for effect in found]) <= at_most(0.05, len(found))


def rungs_around(edges: Floats, first: float, step: float, num: int) -> Pairs:
    """What a ladder of learning rates shows of some edges, [N, 2] in log10."""
    ladder = first + step * np.arange(num)
    ends = np.array([[edge_between(10**ladder, ladder < edge) for edge in row] for row in edges])
    low, high = ends[..., 0], ends[..., 1]
    middle = np.where(np.isfinite(low), np.where(np.isfinite(high), (low + high) / 2, low), high)
    censored = ~np.isfinite(low) | ~np.isfinite(high)
    return Pairs(
        np.arange(len(edges)), middle, ("a", "b"), censored, middle @ DIFFERENCE, DIFFERENCE, 1, low=low, high=high
    )


def edges_of(rng: np.random.Generator, num: int) -> Floats:
    """Edges whose second level lies 0.4 decades lower, [num, 2]."""
    return rng.normal(-2.6, 0.4, (num, 1)) + rng.normal([0.0, -0.4], 0.25, (num, 2))


def test_an_interval_from_fine_rungs_is_that_of_the_exact_edges() -> None:
    edges = edges_of(np.random.default_rng(7), 24)
    seen = edge_effect(rungs_around(edges, -5, 0.02, 220), 0.0, 0.05)
    exact = continuous(edges @ DIFFERENCE, 0.0, 0.05)
    assert seen.estimate == pytest.approx(exact.estimate, abs=0.01)
    assert seen.high - seen.low == pytest.approx(exact.high - exact.low, rel=0.15)


def test_intervals_of_edges_hold_the_truth(times: int) -> None:
    rng = np.random.default_rng(8)
    found = [edge_effect(rungs_around(edges_of(rng, 12), -4, 0.5, 7), 0.0, 0.05) for _ in range(60 * times)]
    assert np.mean([not effect.low <= -0.4 <= effect.high for effect in found]) <= at_most(0.05, len(found))


def test_as_many_pairs_as_the_power_asks_for_find_the_effect() -> None:
    rng = np.random.default_rng(9)
    needed = pairs_needed(1.0, 0.9, 0.05)
    assert needed == 12  # as R's power.t.test(delta = 0.9, power = 0.8, type = "paired"): 11.7
    levels = [continuous(rng.normal(0.9, 1.0, needed)[:11], 0.0, 0.05).p for _ in range(2000)]
    assert np.mean(np.array(levels) <= 0.05) == pytest.approx(0.77, abs=0.03)


def test_as_many_pairs_as_the_power_asks_for_show_equality(claim: Make) -> None:
    rng = np.random.default_rng(10)
    needed = pairs_needed(1.0, 1.2, 0.05, equivalence=True)
    assert needed is not None
    wanted = claim(response="wer", expected="equal", smallest_effect=1.2)
    found = [continuous(rng.standard_normal(needed), 0.0, 0.05) for _ in range(1000 if needed < 12 else 200)]
    assert np.mean([verdict_of(wanted, effect, 0.05) == "supported" for effect in found]) == pytest.approx(
        0.8, abs=0.09
    )
