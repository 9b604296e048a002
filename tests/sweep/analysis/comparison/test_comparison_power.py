"""What shares of stable trainings could have shown: against simulated comparisons, each held to its own test."""

import math

import numpy as np
import pytest

from sweep.analysis.answer.unsafe import fisher_p
from sweep.analysis.comparison import power as module
from sweep.analysis.comparison.paired_tests import mcnemar_p
from sweep.analysis.comparison.power import independent_power, mean_power, paired_power
from sweep.analysis.trials.outcomes import share


@pytest.mark.parametrize(("num", "apart", "level"), [(14, 1, 0.05), (24, 6, 0.0125), (40, 12, 0.05)])
def test_a_fall_of_paired_shares_is_told_so_often(num: int, apart: int, level: float) -> None:
    fall = -paired_power(num, apart, 1.0, level).fall
    differ = max((apart + 1) / (num + 2), fall)
    rng = np.random.default_rng(0)
    chances = [(differ + fall) / 2, (differ - fall) / 2, 1 - differ]
    found = [mcnemar_p(rng.choice([-1, 1, 0], size=num, p=chances)) <= level for _ in range(3000)]
    assert np.mean(found) == pytest.approx(0.8, abs=0.025)


@pytest.mark.parametrize(("count", "total", "num"), [(18, 20, 20), (6, 28, 18), (40, 40, 12)])
def test_a_change_of_independent_shares_is_told_so_often(count: int, total: int, num: int) -> None:
    power, rate = independent_power(share([True] * count + [False] * (total - count)), num, 0.025), count / total
    rng = np.random.default_rng(0)
    for size in (power.fall, power.rise):
        if math.isnan(size):
            continue
        draws = zip(rng.binomial(total, rate, 2000), rng.binomial(num, rate + size, 2000), strict=True)
        found = [fisher_p([[int(a), total - int(a)], [int(b), num - int(b)]]) < 0.025 for a, b in draws]
        assert np.mean(found) == pytest.approx(0.8, abs=0.03)
    assert math.isnan(power.rise) == (rate > 0.8)


def test_with_many_trainings_fishers_test_is_as_good_as_normal(monkeypatch: pytest.MonkeyPatch) -> None:
    many = share([True] * 120 + [False] * 180)
    exact = independent_power(many, 250, 0.0125)
    monkeypatch.setattr(module, "_EXACT_UP_TO", 100)
    normal = independent_power(many, 250, 0.0125)
    assert (normal.fall, normal.rise) == pytest.approx((exact.fall, exact.rise), abs=0.01)


def test_a_change_of_means_is_told_so_often() -> None:
    rise = mean_power("12 and 12 blocks", 0.3, 0.1, 22, 0.05).rise
    draws = np.random.default_rng(0).normal(0.0, 0.1 * math.sqrt(6), (2, 3000, 12))
    error = np.sqrt((draws.var(axis=2, ddof=1) / 12).sum(axis=0))
    gap = draws[1].mean(axis=1) + rise - draws[0].mean(axis=1)
    assert np.mean(gap / error > 2.074) == pytest.approx(0.8, abs=0.025)


def test_the_sentence_names_what_there_is_room_for() -> None:
    assert paired_power(14, 0, 1.0, 0.05).text == (
        "with 14 pairs a fall of 51 points would be told in 80 % of such comparisons; no rise from 100 % would be"
    )
    assert "no difference would be told" in paired_power(5, 0, 0.5, 0.05).text
    assert paired_power(60, 10, 0.5, 0.05).text.startswith("with 60 pairs a fall of 16 points or a rise of 16 points ")
    assert "not known" in mean_power("5 and 5 blocks", 1.0, 0.0, math.inf, 0.05).text
