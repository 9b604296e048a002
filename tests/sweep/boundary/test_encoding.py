"""Settings become points and points become settings, without loss and within the space."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from sweep.boundary.encoding import Encoding
from sweep.space import Space, contains, is_active

SPACE = TypeAdapter(Space).validate_python(
    {
        "kind": {"choice": ["fp32", "fp16", True]},
        "scale": {"grid": [256, 4096, 65536], "when": {"kind": ["fp16"]}},
        "lr": {"loguniform": [1e-4, 1.0]},
        "share": {"uniform": [-1.0, 3.0]},
        "depth": {"int": [1, 4]},
        "batch": {"int": [1, 64], "log": True},
    }
)
ENCODING = Encoding(SPACE)
PLACES = st.lists(st.floats(0, 1), min_size=len(SPACE), max_size=len(SPACE))


@given(PLACES)
@settings(max_examples=200, deadline=None)
def test_every_place_is_a_valid_setting(places) -> None:
    (setting,) = ENCODING.decode(np.array([places]))
    assert all(contains(SPACE[path], value) for path, value in setting.items())
    assert set(setting) == {path for path in SPACE if is_active(SPACE[path], setting)}


def test_features_are_places_between_the_ends() -> None:
    low = {"kind": "fp16", "scale": 256, "lr": 1e-4, "share": -1.0, "depth": 1, "batch": 1}
    high = {"kind": "fp16", "scale": 65536, "lr": 1.0, "share": 3.0, "depth": 4, "batch": 64}
    middle = {"kind": "fp16", "scale": 4096, "lr": 1e-2, "share": 1.0, "depth": 2.5, "batch": 8}
    numeric = [index for index, owner in enumerate(ENCODING.owners) if owner != "kind"]
    features = ENCODING.encode([low, high, middle])[:, numeric]
    np.testing.assert_allclose(features, [[0] * 5, [1] * 5, [0.5] * 5], atol=1e-12)


def test_values_without_an_order_are_one_range_apart_and_true_is_not_1() -> None:
    base = {"lr": 1e-2, "share": 0.0, "depth": 2, "batch": 8}
    rows = ENCODING.encode([{**base, "kind": kind} for kind in ("fp32", "fp16", True)])
    distances = np.linalg.norm(rows[:, None] - rows[None], axis=-1)
    np.testing.assert_allclose(distances, 1 - np.eye(3), atol=1e-12)
    other = Encoding(TypeAdapter(Space).validate_python({"flag": {"choice": [True, 1]}}))
    assert other.encode([{"flag": True}, {"flag": 1}]).tolist() == (np.eye(2) * np.sqrt(0.5)).tolist()


def test_an_inactive_dimension_has_no_say() -> None:
    base = {"kind": "fp32", "lr": 1e-2, "share": 0.0, "depth": 2, "batch": 8}
    assert (ENCODING.encode([base]) == ENCODING.encode([{**base, "scale": None}])).all()


def test_the_first_points_of_a_design_do_not_depend_on_its_length() -> None:
    assert ENCODING.sobol(40, seed=3)[:5] == ENCODING.sobol(5, seed=3)
    assert ENCODING.sobol(5, seed=3) != ENCODING.sobol(5, seed=4)
    assert Encoding({}).sobol(2, seed=0) == [{}, {}]


def test_a_design_fills_every_level_and_every_part_of_the_range() -> None:
    design = ENCODING.sobol(64, seed=0)
    kinds = [setting["kind"] for setting in design]
    assert min(kinds.count(kind) for kind in ("fp32", "fp16")) >= 18
    depths = [setting["depth"] for setting in design]
    assert all(12 <= depths.count(depth) <= 20 for depth in (1, 2, 3, 4))
    places = ENCODING.encode(design)[:, ENCODING.owners.index("lr")]
    assert np.histogram(places, bins=4, range=(0, 1))[0].tolist() == [16] * 4


def test_a_design_may_reach_the_very_ends_of_the_ranges() -> None:
    design = ENCODING.decode(ENCODING.sobol_places(256, seed=0, overhang=0.05))
    places = ENCODING.encode(design)[:, ENCODING.owners.index("lr")]
    # 5 % of 110 % lie beyond each end.
    assert 9 <= (places == 0.0).sum() <= 14 and 9 <= (places == 1.0).sum() <= 14
    kinds = [setting["kind"] for setting in design]
    assert kinds.count("fp32") == [setting["kind"] for setting in ENCODING.sobol(256, seed=0)].count("fp32")


def test_settings_near_another_keep_its_categories_and_stay_in_range() -> None:
    middle = {"kind": "fp16", "scale": 4096, "lr": 1.0, "share": 0.0, "depth": 2, "batch": 8}
    near = ENCODING.decode(ENCODING.places_near(middle, 100, np.random.default_rng(0)))
    assert {s["kind"] for s in near} == {"fp16"} and len(near) == 100
    assert all(contains(SPACE[path], value) for s in near for path, value in s.items())
    assert 0.01 < np.median([s["lr"] for s in near]) and len({s["lr"] for s in near}) > 30


@given(st.lists(PLACES, min_size=1, max_size=20))
@settings(max_examples=200, deadline=None)
def test_places_have_the_features_of_their_settings(places) -> None:
    rows = np.array(places)
    np.testing.assert_allclose(ENCODING.encode_places(rows), ENCODING.encode(ENCODING.decode(rows)), atol=1e-12)


@given(PLACES)
@settings(max_examples=200, deadline=None)
def test_the_place_of_a_value_is_one_of_those_that_give_it(places) -> None:
    (setting,) = ENCODING.decode(np.array([places]))
    back = [ENCODING.place(path, setting.get(path)) for path in ENCODING.paths]
    (again,) = ENCODING.decode(np.array([back]))
    assert again == pytest.approx(setting)


def test_no_setting_has_no_features() -> None:
    assert Encoding({}).encode_places(np.zeros((3, 0))).shape == (3, 0)


def test_all_settings_of_a_finite_space() -> None:
    finite = {path: SPACE[path] for path in ("kind", "scale", "depth")}
    every = Encoding(finite).all_settings(100)
    assert every is not None and len(every) == (2 + 3) * 4
    assert Encoding(finite).all_settings(19) is None
    assert ENCODING.all_settings(10**9) is None


@pytest.mark.parametrize("grid, log", [([1, 2, 3], False), ([1e-4, 1e-2], True), ([-1, 100], False), ([5], False)])
def test_a_grid_of_numbers_has_a_scale(grid, log) -> None:
    scale = Encoding(TypeAdapter(Space).validate_python({"x": {"grid": grid}})).axis("x")
    assert scale is not None and scale.log is log
    assert [scale.from_unit(scale.to_unit(v)) for v in grid] == pytest.approx(grid)
