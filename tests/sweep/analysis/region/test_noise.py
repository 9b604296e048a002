"""Noise is called noise, and what matters is found whatever its shape."""

import math
from typing import Any

import numpy as np
import pytest
from pydantic import TypeAdapter
from threadpoolctl import threadpool_info, threadpool_limits

from sweep.analysis.region.noise import MIN_SETTINGS, noise_chances, pair_chance, told_apart
from sweep.boundary.encoding import Encoding
from sweep.space import Settings, Space

ENCODING = Encoding(
    TypeAdapter(Space).validate_python(
        {
            "lr": {"loguniform": [1e-5, 1e-1]},
            "clip": {"loguniform": [0.1, 10]},
            "kind": {"choice": ["x", "y", "z"]},
        }
    )
)


def drawn(num: int, seed: int) -> tuple[list[Settings], np.random.Generator]:
    rng = np.random.default_rng(seed)
    return ENCODING.decode(rng.random((num, 3))), rng


def place(setting: Settings) -> float:
    """Decades of the learning rate from the middle of its range."""
    return math.log10(float(setting["lr"])) + 3


def test_noise_is_seldom_told_to_matter() -> None:
    """One study in twenty at most: of 200, 18 and more would happen with a chance of 1 in 100."""
    named = 0
    for seed in range(200):
        settings, rng = drawn(30, seed)
        chances = noise_chances(ENCODING, settings, [rng.choice([-1.0, 1.0], 30, p=[0.3, 0.7]).tolist()])
        assert chances is not None and all(0 < p <= 1 for p in chances[0].values())
        named += bool(told_apart(chances[0]))
    assert named < 18


def test_a_stable_stretch_with_two_edges_is_found_and_nothing_else() -> None:
    settings, rng = drawn(60, 1)
    margins = [math.tanh(2 * (abs(place(s)) - 1) + 0.3 * rng.standard_normal()) for s in settings]
    values = [margins, rng.random(60).tolist()]
    chances = noise_chances(ENCODING, settings, values)
    assert chances is not None
    assert [told_apart(one) for one in chances] == [frozenset({"lr"}), frozenset()]
    assert chances == noise_chances(ENCODING, settings, values), "the same every time"


def test_a_setting_that_was_tried_together_with_another_does_not_matter_for_that() -> None:
    """Of 20 studies, 5 and more would name it with a chance of 1 in 300."""
    named = 0
    for seed in range(20):
        settings, rng = drawn(80, seed)
        # The search kept to a tight clip norm where the learning rate is good.
        for s in settings:
            s["clip"] = 10 ** (min(abs(place(s)), 1.9) - 1 + 0.1 * rng.standard_normal())
        margins = [math.tanh(2 * (abs(place(s)) - 1) + 0.2 * rng.standard_normal()) for s in settings]
        chances = noise_chances(ENCODING, settings, [margins])
        assert chances is not None
        named += chances[0]["clip"] < 0.05
    assert named < 5


def test_the_linear_algebra_takes_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    settings, rng = drawn(20, seed=4)
    values = rng.random(20).tolist()
    threads, eigh = [], np.linalg.eigh

    def noted(matrix: Any) -> Any:
        threads.append(max(library["num_threads"] for library in threadpool_info()))
        return eigh(matrix)

    monkeypatch.setattr(np.linalg, "eigh", noted)
    with threadpool_limits(2):
        noise_chances(ENCODING, settings, [values])
        pair_chance(ENCODING, settings, values, ("lr", "clip"))
        assert max(library["num_threads"] for library in threadpool_info()) == 2, "given back"
    assert threads and set(threads) == {1}


def test_all_seeds_of_a_setting_count_once() -> None:
    settings, rng = drawn(MIN_SETTINGS - 1, 3)
    many = settings * 5
    assert noise_chances(ENCODING, many, [rng.random(len(many)).tolist()]) is None
    assert pair_chance(ENCODING, many, rng.random(len(many)).tolist(), ("lr", "clip")) == 1.0


def test_nothing_is_told_where_all_came_out_the_same() -> None:
    settings, _ = drawn(20, 4)
    assert noise_chances(ENCODING, settings, [[1.0] * 20]) == [{"lr": 1.0, "clip": 1.0, "kind": 1.0}]


@pytest.mark.parametrize("moves", [True, False])
def test_a_pair_acts_together_only_where_the_edge_of_one_moves_with_the_other(moves: bool) -> None:
    settings, rng = drawn(120, 5)

    def margin(s: dict[str, Any]) -> float:
        shift = math.log10(s["clip"]) if moves else 0.0
        return abs(place(s) + shift) - 1 + 0.2 * float(rng.standard_normal())

    stable = [float(margin(s) < 0) for s in settings]
    assert (pair_chance(ENCODING, settings, stable, ("lr", "clip")) < 0.01) is moves
    assert pair_chance(ENCODING, settings, stable, ("lr", "kind")) > 0.01


def test_settings_are_named_by_holms_rule() -> None:
    assert told_apart({"a": 0.01, "b": 0.02, "c": 0.04}) == {"a", "b", "c"}
    assert told_apart({"a": 0.01, "b": 0.03, "c": 0.04}) == {"a"}
    assert told_apart({"a": 0.02, "b": 0.02, "c": 0.02}) == frozenset()
    assert told_apart({}) == frozenset()
