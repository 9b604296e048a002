"""Trainings of other studies: believed as far as they agree with a study's own, which alone say how sure to be."""

import numpy as np
import pytest
from pydantic import TypeAdapter

from sweep.boundary.encoding import Encoding
from sweep.boundary.growing import GrowingModel
from sweep.boundary.model import MarginModel
from sweep.boundary.prior import NONE, Prior
from sweep.space import Settings, Space

ENCODING = Encoding(
    TypeAdapter(Space).validate_python({"lr": {"loguniform": [1e-5, 1.0]}, "init": {"loguniform": [0.1, 10]}})
)
ASKED = ENCODING.sobol(512, seed=5)


def truth(settings: list[Settings], edge: float = 0.6) -> np.ndarray:
    places = ENCODING.encode(settings)
    return np.clip(places[:, 0] + 0.3 * (places[:, 1] - 0.5) - edge, -1, 1)


def trainings(num: int, seed: int, edge: float = 0.6) -> tuple[list[Settings], list[float]]:
    settings = ENCODING.sobol(num, seed)
    noise = 0.03 * np.random.default_rng(seed).standard_normal(num)
    return settings, (truth(settings, edge) + noise).tolist()


def accuracy(model: MarginModel) -> float:
    told, good = model.predict(ASKED)[0] < 0, truth(ASKED) < 0
    return float((told[good].mean() + (~told)[~good].mean()) / 2)


def test_what_agrees_is_believed_and_helps() -> None:
    old = Prior(*trainings(60, seed=1), [1] * 60)
    own = trainings(8, seed=2)
    with_others, alone = MarginModel(ENCODING, *own, prior=old), MarginModel(ENCODING, *own)
    assert with_others.shared(1) > 0.8
    assert accuracy(with_others) > 0.95 and accuracy(with_others) > accuracy(alone)


def test_what_contradicts_is_not_believed_and_does_little_harm() -> None:
    settings, margins = trainings(60, seed=1)
    wrong = Prior(settings, [-margin for margin in margins], [1] * 60)
    own = trainings(24, seed=2)
    model = MarginModel(ENCODING, *own, prior=wrong)
    assert model.shared(1) < 0.5
    assert accuracy(model) > accuracy(MarginModel(ENCODING, *own)) - 0.05


def test_each_study_is_believed_by_itself() -> None:
    settings, margins = trainings(60, seed=1)
    both = Prior([*settings, *settings], [*margins, *(-margin for margin in margins)], [1] * 60 + [2] * 60)
    model = MarginModel(ENCODING, *trainings(20, seed=2), prior=both)
    assert model.shared(1) > model.shared(2) + 0.3


def test_how_sure_to_be_follows_from_the_studys_own_trainings() -> None:
    old = Prior(*trainings(60, seed=1), [1] * 60)
    settings, margins = trainings(10, seed=2)
    model = MarginModel(ENCODING, settings, margins, prior=old)
    assert model.p_stable(ASKED).max() <= 11 / 12, "no more than ten trainings justify"
    p, outcomes = model.left_out()
    assert len(p) == 10 and outcomes.tolist() == [margin < 0 for margin in margins]
    nothing = MarginModel(ENCODING, [], [], prior=old)
    assert nothing.p_stable(ASKED) == pytest.approx(0.5)
    assert accuracy(nothing) > 0.95, "but where to look first is known"


def test_without_others_nothing_changes() -> None:
    own = trainings(12, seed=2)
    np.testing.assert_array_equal(
        MarginModel(ENCODING, *own).p_stable(ASKED), MarginModel(ENCODING, *own, prior=NONE).p_stable(ASKED)
    )


def test_a_large_study_keeps_its_prior() -> None:
    old = Prior(*trainings(40, seed=1), [1] * 40)
    settings, margins = trainings(600, seed=2)
    model = GrowingModel(ENCODING, old).of(settings, margins)
    assert accuracy(model) > 0.97 and model.shared(1) > 0.5
    assert len(model.left_out()[0]) < 500
    mean, std = model.believing(ASKED[:2]).predict_features(ENCODING.encode(ASKED[:9]))
    assert len(mean) == 9 and (std[:2] < model.predict(ASKED[:2])[1]).all()
