"""The margin model finds boundaries of many shapes, and its probabilities can be believed."""

import math

import numpy as np
import pytest
from pydantic import TypeAdapter

from sweep.boundary.encoding import Encoding
from sweep.boundary.model import MarginModel
from sweep.boundary.process import Process
from sweep.space import Space

SPACE = TypeAdapter(Space).validate_python({"lr": {"loguniform": [1e-5, 1.0]}, "init": {"loguniform": [0.1, 10]}})


def line(x: float, y: float) -> float:
    return x - 0.55 - 0.3 * (y - 0.5)


def band(x: float, y: float) -> float:
    return abs(x - 0.5) - 0.2


def corner(x: float, y: float) -> float:
    return max(x - 0.7, y - 0.6)


def island(x: float, y: float) -> float:
    return math.hypot(x - 0.6, y - 0.4) - 0.3


def hole(x: float, y: float) -> float:
    return max(x - 0.9, 0.18 - math.hypot(x - 0.5, y - 0.5))


SHAPES = [line, band, corner, island, hole]


def trainings(shape, num: int, noise: float, seed: int):
    """Settings, their places and margins as a study has them: clipped, with the gap of stopped trials."""
    rng = np.random.default_rng(seed)
    encoding = Encoding(SPACE)
    settings = encoding.sobol(num, seed)
    places = encoding.encode(settings)
    raw = np.array([shape(x, y) for x, y in places]) + noise * rng.standard_normal(num)
    margins = np.where(raw < 0, np.clip(raw, -1, -0.01), np.clip(0.3 + raw, 0.01, 1.0))
    return encoding, settings, places, margins


@pytest.mark.parametrize("shape", SHAPES)
def test_a_boundary_of_any_shape_is_found(shape) -> None:
    encoding, settings, _, margins = trainings(shape, 80, 0.0, seed=1)
    model = MarginModel(encoding, settings, margins.tolist())
    fresh = encoding.sobol(1024, seed=99)
    truth = np.array([shape(x, y) < 0 for x, y in encoding.encode(fresh)])
    told = model.p_stable(fresh) > 0.5
    balanced = 0.5 * (told[truth].mean() + (~told[~truth]).mean())
    assert balanced > 0.9
    mean, std = model.predict(fresh)
    assert ((mean < 0) == truth).mean() > 0.9 and (std > 0).all()


@pytest.mark.parametrize("noise", [0.05, 0.2])
def test_probabilities_are_calibrated_over_fresh_seeds(noise) -> None:
    told, came = [], []
    for seed in range(12):
        encoding, settings, _, margins = trainings(line, 48, noise, seed)
        model = MarginModel(encoding, settings, margins.tolist())
        _, fresh, _, outcome = trainings(line, 256, noise, seed + 100)
        told.append(model.p_stable(fresh))
        came.append(outcome < 0)
    p, stable = np.concatenate(told), np.concatenate(came)
    bins = np.minimum((p * 10).astype(int), 9)
    gaps = [abs(p[bins == b].mean() - stable[bins == b].mean()) * (bins == b).mean() for b in np.unique(bins)]
    # What benchmarks/search/replay.py measures on real trainings lies near this, too.
    assert sum(gaps) < 0.08


def test_how_sure_the_side_of_the_edge_is_is_borne_out() -> None:
    """Of places that are on the stable side with 0.95 or more, at most one in twenty is not; few are near the edge."""
    wrong, gaps = [], []
    for seed in range(12):
        encoding, settings, _, margins = trainings(line, 20, 0.08, seed)
        asked = encoding.sobol(500, 100 + seed)
        truth = np.array([line(x, y) for x, y in encoding.encode(asked)]) < 0
        model = MarginModel(encoding, settings, margins)
        sure = model.p_mostly_stable(asked) >= 0.95
        likely = model.p_stable(asked) >= 0.5
        assert sure.any() and not (sure & ~likely).any(), "what is surely stable is likely so"
        wrong.append((sure & ~truth).sum() / sure.sum())
        gaps.append((likely & ~sure).mean())
    assert np.mean(wrong) < 0.02 and max(wrong) < 0.1
    assert 0.01 < np.mean(gaps) < 0.2, "the edge is known to a stretch, not to a point"


def test_a_setting_that_failed_on_one_seed_of_two_is_not_told_as_clean() -> None:
    encoding, settings, places, margins = trainings(line, 40, 0.0, seed=2)
    safe = int(np.argmin(margins))
    before = MarginModel(encoding, settings, margins.tolist()).p_stable([settings[safe]])[0]
    split = MarginModel(encoding, [*settings, settings[safe]], [*margins.tolist(), 0.95])
    assert before > 0.95
    assert split.p_stable([settings[safe]])[0] < 0.9


def test_left_out_scores_are_those_of_refitting_without_the_setting() -> None:
    rng = np.random.default_rng(0)
    features = rng.random((12, 2))
    # Two rows are the same setting under two seeds: both are left out together.
    features[7] = features[3]
    targets = np.sin(5 * features[:, 0]) + 0.1 * rng.standard_normal(12)
    process = Process(features, targets)
    mean, std = process.left_out()
    for row in range(12):
        same = (features == features[row]).all(axis=1)
        rest = Process(features[~same], targets[~same], fitted=process)
        expected_mean, latent_std = rest.predict(features[row : row + 1])
        assert mean[row] == pytest.approx(expected_mean[0], abs=1e-6)
        assert std[row] == pytest.approx(math.sqrt(latent_std[0] ** 2 + process.noise), abs=1e-6)


@pytest.mark.parametrize("num", [12, 80, 300])
def test_left_out_scores_are_those_of_the_textbook_s_inverse(num: int) -> None:
    _, _, places, margins = trainings(line, num, 0.1, seed=4)
    places[num // 2] = places[0]
    process = Process(places, margins)
    kernel = process._covariance(places, places) + (process.noise + 1e-10) * np.eye(num)
    inverse = np.linalg.inv(kernel)
    weights = inverse @ (margins - margins.mean())
    mean, std = process.left_out()
    for row in range(num):
        rows = np.flatnonzero((places == places[row]).all(axis=1))
        covariance = np.linalg.inv(inverse[np.ix_(rows, rows)])
        own = list(rows).index(row)
        assert mean[row] == pytest.approx(margins[row] - (covariance @ weights[rows])[own], abs=1e-8)
        assert std[row] == pytest.approx(math.sqrt(covariance[own, own]), abs=1e-8)


def test_a_pending_training_makes_its_place_less_worth_a_trial() -> None:
    encoding, settings, _, margins = trainings(line, 16, 0.0, seed=3)
    model = MarginModel(encoding, settings, margins.tolist())
    somewhere = encoding.encode([{"lr": 3e-3, "init": 1.0}])
    mean, std = model.predict_features(somewhere)
    mean_then, std_then = model.believing([{"lr": 3e-3, "init": 1.0}]).predict_features(somewhere)
    assert mean_then[0] == pytest.approx(mean[0], abs=1e-3)
    assert std_then[0] < 0.9 * std[0]


@pytest.mark.parametrize("margin", [-0.5, 0.5])
def test_trainings_that_all_ended_alike_give_a_sure_but_not_absolute_answer(margin) -> None:
    encoding = Encoding(SPACE)
    settings = encoding.sobol(16, seed=0)
    p = MarginModel(encoding, settings, [margin] * 16).p_stable(settings)
    assert np.isfinite(p).all() and ((p > 0.9) == (margin < 0)).all()


def test_too_few_trainings_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 4 trainings, got 1"):
        MarginModel.fit(SPACE, [{"lr": 0.1, "init": 1.0}], [0.5])
