"""How far the hot edges of two precisions lie apart."""

import math
from typing import Any

import numpy as np
import pytest
from pydantic import TypeAdapter

from sweep.analysis.region.contrast import contrasts
from sweep.boundary.encoding import Encoding
from sweep.boundary.model import MarginModel
from sweep.space import Space

SPACE: Space = TypeAdapter(Space).validate_python(
    {"precision": {"choice": ["fp32", "fp16"]}, "lr": {"loguniform": [1e-5, 1.0]}, "clip": {"loguniform": [0.1, 10]}}
)


def model(shift: float, seed: int, edge: float = 1e-2, num: int = 60) -> MarginModel:
    """Of trainings that break above an edge which lies `shift` decades lower in fp16."""
    rng = np.random.default_rng([seed, round(100 * shift)])
    settings: list[dict[str, Any]] = []
    margins = []
    for k in range(num):
        middle = rng.uniform(-5, 0) if k < num // 3 else rng.normal(math.log10(edge), 0.6)
        setting = {
            "precision": str(rng.choice(["fp32", "fp16"])),
            "lr": float(10 ** min(max(middle, -5), 0)),
            "clip": float(10 ** rng.uniform(-1, 1)),
        }
        lower = shift if setting["precision"] == "fp16" else 0.0
        beyond = math.log10(setting["lr"] / edge) + lower - 0.2 * math.log10(setting["clip"]) + rng.normal(0, 0.15)
        settings.append(setting)
        margins.append(float(np.clip(beyond / 2, -1, 1)) or 0.01)
    return MarginModel(Encoding(SPACE), settings, margins)


@pytest.mark.parametrize("shift", [0.0, 0.4])
def test_the_interval_holds_the_true_distance(shift: float) -> None:
    found = [contrasts(model(shift, seed), "lr", "precision", ["fp32", "fp16"], {"clip": 1.0})[0] for seed in range(8)]
    assert sum(one.low <= -shift <= one.high for one in found) >= 7
    assert all(one.low <= one.distance <= one.high and not one.at_end for one in found)
    assert sum(one.is_told for one in found) == (8 if shift else 0)


def test_an_edge_beyond_the_range_is_told() -> None:
    one = contrasts(model(0.9, 0, edge=3.0), "lr", "precision", ["fp32", "fp16"], {"clip": 1.0})[0]
    assert one.at_end


def test_without_two_levels_or_an_edge_there_is_nothing_to_tell() -> None:
    assert contrasts(model(0.0, 0), "lr", "precision", ["fp32"], {"clip": 1.0}) == ()
    rng = np.random.default_rng(0)
    settings = [{"precision": "fp32", "lr": float(10 ** rng.uniform(-5, 0)), "clip": 1.0} for _ in range(20)]
    cold = MarginModel(Encoding(SPACE), settings, [-0.5] * 20)
    assert contrasts(cold, "lr", "precision", ["fp32", "fp16"], {"clip": 1.0}) == ()


def test_what_does_not_exist_where_edges_are_compared_changes_nothing() -> None:
    space = TypeAdapter(Space).validate_python(
        {
            "kind": {"choice": ["adamw", "sgd"]},
            "momentum": {"uniform": [0.0, 1.0], "when": {"kind": ["sgd"]}},
            "precision": {"choice": ["fp32", "fp16"]},
            "lr": {"loguniform": [1e-5, 1.0]},
        }
    )
    encoding = Encoding(space)
    settings = encoding.sobol(96, 0)
    margins = [math.log10(s["lr"]) + 2 + s.get("momentum", 0.5) + 0.4 * (s["precision"] == "fp16") for s in settings]
    trained = MarginModel(encoding, settings, [float(np.clip(one, -1, 1)) or 0.01 for one in margins])
    levels, at = ["fp32", "fp16"], {"kind": "adamw", "lr": 1e-3}
    low, high = (contrasts(trained, "lr", "precision", levels, {**at, "momentum": m}) for m in (0.0, 1.0))
    assert low and low == high
    other = [contrasts(trained, "lr", "precision", levels, {"kind": "sgd", "momentum": m}) for m in (0.0, 1.0)]
    assert other[0] != other[1]
