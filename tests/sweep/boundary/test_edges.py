"""Edges lie where P(stable) passes one half, with intervals that hold the true place."""

import numpy as np
import pytest
from pydantic import TypeAdapter

from sweep.boundary.edges import edges, mean_width, slices
from sweep.boundary.encoding import Encoding, edge_path
from sweep.boundary.model import MarginModel
from sweep.space import Space

SPACE = TypeAdapter(Space).validate_python(
    {
        "kind": {"choice": ["fp32", "fp16"]},
        "optimizer.lr": {"loguniform": [1e-5, 1.0]},
        "scale": {"uniform": [0.0, 1.0], "when": {"kind": ["fp16"]}},
    }
)
LR = "optimizer.lr"
HOT = {"fp32": 1e-1, "fp16": 1e-2}
COLD = 1e-4


def model_of(num: int) -> MarginModel:
    encoding = Encoding(SPACE)
    settings = encoding.sobol(num, seed=0)
    margins = [
        float(np.clip(max(np.log10(s[LR] / HOT[s["kind"]]), np.log10(COLD / s[LR])) / 3, -1, 1)) for s in settings
    ]
    return MarginModel(encoding, settings, margins)


@pytest.mark.parametrize("kind", ["fp32", "fp16"])
def test_a_band_has_a_cold_and_a_hot_edge_near_the_truth(kind) -> None:
    cold, hot = edges(model_of(96), LR, {"kind": kind, "scale": 0.5 if kind == "fp16" else None})
    assert (cold.side, hot.side) == ("cold", "hot")
    assert abs(np.log10(cold.value / COLD)) < 0.2
    assert abs(np.log10(hot.value / HOT[kind])) < 0.2
    assert cold.outer < cold.value < cold.inner < hot.inner < hot.value < hot.outer
    assert hot.width == pytest.approx(np.log10(hot.outer / hot.inner))


def test_more_trainings_leave_less_open() -> None:
    few, many = (mean_width(one := model_of(num), LR, slices(one.encoding, LR, 16, seed=0)) for num in (16, 96))
    assert many < 0.6 * few
    assert 0 < many < 1


class Hump(MarginModel):
    """P(stable) is highest at a learning rate of 1e-2, and less than sure there."""

    def __init__(self, highest: float) -> None:
        self.encoding = Encoding(SPACE)
        self.highest = highest

    def p_stable_features(self, features):
        scale = self.encoding.axis(LR)
        rates = [scale.from_unit(place) for place in features[:, self.encoding.owners.index(LR)]]
        return self.highest * np.exp(-((np.log10(rates) + 2) ** 2))


def test_the_edges_of_a_band_that_is_never_sure_meet_where_it_is_likeliest() -> None:
    cold, hot = edges(Hump(0.8), LR, {"kind": "fp32"})
    assert cold.inner == hot.inner == pytest.approx(1e-2, rel=0.05)
    assert cold.outer < cold.value < cold.inner < hot.value < hot.outer
    cold, hot = edges(Hump(0.99), LR, {"kind": "fp32"})
    assert cold.value < cold.inner < 1e-2 < hot.inner < hot.value


def test_an_edge_beyond_the_range_is_not_told() -> None:
    encoding = Encoding(SPACE)
    settings = encoding.sobol(24, seed=0)
    model = MarginModel(encoding, settings, [-0.5] * 24)
    assert edges(model, LR, {"kind": "fp32"}) == ()


def test_edges_lie_along_the_learning_rate_or_the_first_number() -> None:
    assert edge_path(Encoding(SPACE)) == LR
    assert edge_path(Encoding({"kind": SPACE["kind"], "scale": SPACE["scale"]})) == "scale"
    assert edge_path(Encoding({"kind": SPACE["kind"]})) is None


def test_slices_are_settings_in_which_the_dimension_exists() -> None:
    found = slices(Encoding(SPACE), "scale", 8, seed=0)
    assert len(found) == 8 and {s["kind"] for s in found} == {"fp16"} and all("scale" not in s for s in found)
