"""Dimensions, conditions, grids and the corners that validation visits."""

import itertools

import pytest
from pydantic import TypeAdapter, ValidationError

from slr_models.errors import SettingError
from sweep.space import Space, contains, corner_settings, grid_settings, is_active, num_corners, ordered

SPACE = TypeAdapter(Space)


def space(**dimensions: dict) -> Space:
    return SPACE.validate_python(dimensions)


@pytest.mark.parametrize(
    ("dimension", "message"),
    [
        ({"uniform": [2, 1]}, "below the highest"),
        ({"loguniform": [0, 1]}, "no zero"),
        ({"int": [0, 8], "log": True}, "no zero"),
        ({"int": [0.5, 8]}, "integer"),
        ({"choice": []}, "at least 1"),
        ({"choice": ["a", "a"]}, "stands twice"),
        ({"grid": ["a"]}, "number"),
        ({"normal": [0, 1]}, "one of the keys choice"),
        ({"uniform": [0, 1], "choice": [1]}, "[Ee]xtra"),
        ({"uniform": [0, float("inf")]}, "finite"),
        ({"uniform": [-1e308, 1e308]}, "less than or equal|greater than or equal|out of range"),
        ({"uniform": [1, 1 + 1e-15]}, "too close to tell apart"),
        ({"uniform": ["0", 1]}, "valid number"),
        ({"loguniform": [1e-200, 1]}, "out of range"),
        ({"loguniform": [1, 1 + 1e-15]}, "too close to tell apart"),
        ({"int": [1, 1e24]}, "less than or equal|too large"),
        ({"int": [-(10**30), 1]}, "greater than or equal|too large"),
        ({"int": [True, 3]}, "valid integer"),
        ({"int": ["1_0", 30]}, "valid integer"),
        ({"grid": [10**30]}, "too large"),
        ({"grid": [True, 0.1]}, "valid number"),
        ({"grid": list(range(1001))}, "at most 1000"),
        ({"choice": [1, 1.0]}, "stands twice"),
        ({"choice": [float("nan"), 1]}, "finite"),
        ({"choice": [[1], 2]}, "valid string"),
        ({"choice": [1, 2], "when": {"y": []}}, "at least 1 item"),
        ({"choice": [1, 2], "when": {"y": 1}}, "when.y"),
    ],
)
def test_a_wrong_dimension_is_rejected(dimension: dict, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        space(x=dimension)


def test_true_and_one_are_different_values() -> None:
    assert space(x={"choice": [True, 1]})["x"].ends == (True, 1)


def test_conditions_come_before_what_they_decide() -> None:
    dims = space(
        c={"int": [1, 2], "when": {"b": [True]}},
        b={"choice": [True, False], "when": {"a": ["x"]}},
        a={"choice": ["x", "y"]},
    )
    assert ordered(dims) == ["a", "b", "c"]
    assert is_active(dims["b"], {"a": "x"})
    assert not is_active(dims["b"], {"a": "y"})
    assert not is_active(dims["c"], {"a": "y"}), "inactive where its condition is inactive"


@pytest.mark.parametrize(
    ("dims", "message"),
    [
        ({"a": {"int": [1, 2], "when": {"z": [1]}}}, "names 'z', which is no dimension"),
        ({"a": {"int": [1, 2], "when": {"b": [1]}}, "b": {"uniform": [0, 1]}}, "not a choice or a grid"),
        ({"a": {"int": [1, 2], "when": {"b": ["q"]}}, "b": {"choice": ["p"]}}, "none of its values"),
        (
            {"a": {"choice": [1], "when": {"b": [1]}}, "b": {"choice": [1], "when": {"a": [1]}}},
            "circle",
        ),
    ],
)
def test_impossible_conditions_are_errors(dims: dict, message: str) -> None:
    with pytest.raises(SettingError, match=message):
        ordered(space(**dims))


def test_a_grid_lists_each_combination_once_and_leaves_inactive_dimensions_out() -> None:
    dims = space(
        kind={"choice": ["fp32", "fp16"]},
        scale={"grid": [256, 65536], "when": {"kind": ["fp16"]}},
        depth={"int": [1, 2]},
    )
    listed = list(grid_settings(dims))
    assert len(listed) == 6
    assert {"kind": "fp32", "depth": 1} in listed
    assert {"kind": "fp16", "scale": 256, "depth": 2} in listed
    with pytest.raises(SettingError, match="continuous"):
        list(grid_settings(space(x={"uniform": [0, 1]})))


def test_corners_take_each_end_under_each_choice() -> None:
    dims = space(kind={"choice": ["a", "b"]}, x={"loguniform": [1, 10]}, y={"uniform": [0, 1], "when": {"kind": ["b"]}})
    corners = [(path, settings) for path, settings in corner_settings(dims)]
    assert ("x", {"kind": "a", "x": 10.0}) in corners
    assert ("x", {"kind": "b", "x": 10.0, "y": 0.0}) in corners
    assert ("y", {"kind": "b", "x": 1.0, "y": 1.0}) in corners
    assert all("y" not in settings or settings["kind"] == "b" for _, settings in corners)


def test_contains() -> None:
    dims = space(c={"choice": ["a"]}, u={"uniform": [0, 1]}, g={"loguniform": [1, 8]}, i={"int": [1, 3]})
    assert contains(dims["c"], "a") and not contains(dims["c"], "b")
    assert contains(dims["u"], 0.5) and not contains(dims["u"], 2)
    assert contains(dims["g"], 8) and not contains(dims["g"], "8")
    assert contains(dims["i"], 3) and not contains(dims["i"], 2.5) and not contains(dims["i"], True)


def test_a_range_is_never_listed_as_a_whole() -> None:
    wide = space(a={"int": [1, 2**53]}, b={"choice": [1, 2]}, c={"int": [0, 10**15], "when": {"b": [2]}})
    first = [tuple(settings.items()) for settings in itertools.islice(grid_settings(wide), 4)]
    assert first[:3] == [
        (("a", 1), ("b", 1)),
        (("a", 1), ("b", 2), ("c", 0)),
        (("a", 1), ("b", 2), ("c", 1)),
    ]


def test_corners_are_counted_without_listing_them() -> None:
    dims = space(a={"choice": [1, 2, 3]}, b={"choice": ["x", "y"]}, c={"uniform": [0, 1]}, d={"grid": [1, 2]})
    assert num_corners(dims) == len(list(corner_settings(dims)))
    many = {f"a{i}": {"choice": list(range(1000))} for i in range(50)}
    assert num_corners(space(**many)) == 50 * 1000 * (1 + 49 * 1000)
