import math
from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest

from sweep.analysis.trials.dimensions import Dimension, dimensions, learning_rate, map_axes, panel_dimension
from sweep.analysis.trials.tried import space_of
from sweep.wording import number, percent, setting_text, short_names, value_text

SPACE: dict[str, Any] = {
    "training.precision.kind": {"choice": ["fp32", "fp16"]},
    "training.optimizer.lr": {"loguniform": [1e-4, 1e-2]},
    "training.warmup": {"int": [0, 100]},
    "model.init_scale": {"grid": [0.01, 0.1, 1.0]},
    "model.norm": {"choice": [1, 2]},
}


def test_each_kind_of_dimension_gets_its_scale(table: Callable[..., pd.DataFrame]) -> None:
    precision, lr, warmup, init, norm = dimensions(space_of(SPACE))
    assert precision.kind == "category" and precision.levels == ("fp32", "fp16")
    assert lr.log and lr.scale(1e-3) == pytest.approx(0.5)
    assert not warmup.log and warmup.scale(25) == pytest.approx(0.25)
    assert init.kind == "number" and init.log, "a grid over two decades is logarithmic"
    assert norm.kind == "number" and not norm.log
    assert lr.scale(None) is None and lr.scale(math.nan) is None and lr.scale(0.0) is None


def test_figures_find_their_settings(table: Callable[..., pd.DataFrame]) -> None:
    dims = dimensions(space_of(SPACE))
    lr, panel = learning_rate(dims), panel_dimension(dims)
    assert lr is not None and lr.path == "training.optimizer.lr"
    assert panel is not None and panel.path == "training.precision.kind"
    assert panel_dimension(dims[1:]) is None


def test_the_second_axis_is_the_setting_that_separates_best(table: Callable[..., pd.DataFrame]) -> None:
    rows = [
        {
            "training.optimizer.lr": 1e-3,
            "training.warmup": 10.0 * (i % 3),
            "model.init_scale": [0.01, 0.1, 1.0][i // 3],
            "model.norm": 1.0 + i % 2,
            "verdict": "diverged-loss" if i >= 6 else "stable",
        }
        for i in range(9)
    ]
    trials = table(rows)
    axes = map_axes(dimensions(space_of(SPACE)), trials)
    assert axes is not None and [d.name for d in axes] == ["learning rate", "init scale"]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.00123456, "0.00123"),
        (3.14159e-5, "3.14e-5"),
        (1e-5, "1e-5"),
        (123456.0, "123000"),
        (2e9, "2e9"),
        (0.0, "0"),
        (12.0, "12"),
        (math.nan, "n/a"),
        (math.inf, "inf"),
    ],
)
def test_numbers_read_plainly(value: float, text: str) -> None:
    assert number(value) == text


def test_names_are_short_and_unique() -> None:
    names = short_names(["training.optimizer.lr", "model.init_scale", "a.b.width", "c.b.width", "training.clip.kind"])
    assert list(names.values()) == ["learning rate", "init scale", "a b width", "c b width", "clip"]


def test_settings_read_as_a_line() -> None:
    assert setting_text({"p": "fp16", "q": None, "r": 1e-3}, {"p": "precision", "q": "x", "r": "rate"}) == (
        "precision fp16, rate 0.001"
    )
    assert value_text(None) == "off" and value_text(True) == "yes"
    assert percent(0.123, 1) == "12.3 %"


def test_a_sentence_begins_with_a_capital_but_not_with_a_name_of_the_users() -> None:
    assert Dimension("training.optimizer.lr", "learning rate", "number").beginning == "Learning rate"
    assert Dimension("lr", "lr", "number").beginning == "lr"
