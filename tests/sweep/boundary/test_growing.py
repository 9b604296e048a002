"""The model of a study that grows: nothing but what was trained decides, and it stays near the one fitted anew."""

import numpy as np
import pytest
from pydantic import TypeAdapter

from sweep.boundary import growing
from sweep.boundary.encoding import Encoding
from sweep.boundary.growing import ALWAYS_FITTED, MOST_KEPT, GrowingModel
from sweep.boundary.model import MarginModel
from sweep.boundary.result import ResultModel
from sweep.space import Settings, Space

ENCODING = Encoding(
    TypeAdapter(Space).validate_python({"lr": {"loguniform": [1e-5, 1.0]}, "init": {"loguniform": [0.1, 10]}})
)


def trainings(num: int) -> tuple[list[Settings], list[float]]:
    settings = ENCODING.sobol(num, seed=1)
    places = ENCODING.encode(settings)
    noise = 0.1 * np.random.default_rng(0).standard_normal(num)
    return settings, np.clip(places[:, 0] + 0.2 * places[:, 1] - 0.7 + noise, -1, 1).tolist()


def test_it_is_fitted_anew_where_it_has_grown_by_a_tenth() -> None:
    assert [growing._last_fit(n) for n in (48, 52, 53, 58, 59, 1000)] == [48, 48, 53, 53, 59, 994]


def test_what_it_has_made_before_does_not_matter() -> None:
    settings, margins = trainings(130)
    one = GrowingModel(ENCODING)
    for num in range(40, 131):
        model = one.of(settings[:num], margins[:num])
    fresh = GrowingModel(ENCODING).of(settings, margins)
    np.testing.assert_array_equal(model.p_stable(settings[:20]), fresh.p_stable(settings[:20]))


def test_a_training_that_is_told_otherwise_afterwards_counts() -> None:
    settings, margins = trainings(60)
    one = GrowingModel(ENCODING)
    before = one.of(settings, margins).p_stable(settings)
    turned = [-margins[0], *margins[1:]]
    after = one.of(settings, turned).p_stable(settings)
    np.testing.assert_array_equal(after, GrowingModel(ENCODING).of(settings, turned).p_stable(settings))
    assert np.abs(before - after).max() > 0.01


@pytest.mark.parametrize("num", [30, 57, 140, 700])
def test_it_says_what_one_fitted_to_all_says(num: int) -> None:
    settings, margins = trainings(num)
    asked = ENCODING.sobol(256, seed=9)
    grown, full = GrowingModel(ENCODING).of(settings, margins), MarginModel(ENCODING, settings, margins)
    off = np.abs(grown.p_stable(asked) - full.p_stable(asked))
    assert off.mean() < 0.02 and off.max() < (1e-9 if num <= ALWAYS_FITTED else 0.15)


def test_it_never_holds_many_more_than_it_keeps() -> None:
    settings, margins = trainings(3000)
    model = GrowingModel(ENCODING).of(settings, margins)
    assert MOST_KEPT <= len(model.left_out()[0]) <= MOST_KEPT + 300
    kept = {tuple(s.values()) for s in settings[-50:]}
    assert len(kept) == 50 and np.isin(ENCODING.encode(settings[-50:]), model._process.features).all()


def test_the_best_results_have_their_say_in_a_large_study() -> None:
    settings, margins = trainings(900)
    results = [abs(margin + 0.3) for margin in margins]
    model = ResultModel(ENCODING, settings, results)
    best = int(np.argmin(results))
    mean, _ = model.predict([settings[best], settings[int(np.argmax(results))]])
    assert mean[0] < 0.12 and mean[1] > 0.4
