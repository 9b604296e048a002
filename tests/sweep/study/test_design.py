"""Which trainings a design holds, in which order, and what fractions leave out."""

import itertools

import numpy as np
import pytest
from pydantic import TypeAdapter, ValidationError

from sweep.space import Space
from sweep.study.design import Paired, cells, dimensions, level_name, num_trainings, training, words

SPACE = TypeAdapter(Space).validate_python(
    {"training.optimizer.lr": {"loguniform": [1e-4, 1e-2]}, "model.init_scale": {"uniform": [0.5, 2]}}
)


def design(**more) -> Paired:
    factors = {
        "model": {"teacher": {"model.kind": "teacher"}, "baseline": {"model.kind": "baseline"}},
        "precision": {"training.precision.kind": ["fp32", "fp16", "bf16"]},
    }
    return Paired.model_validate({"blocks": 6, "factors": factors, **more})


def two_level(num: int, fraction: str) -> Paired:
    factors = {name: {f"model.{name}": [0, 1]} for name in "ABCDEFGH"[:num]}
    return Paired.model_validate({"factors": factors, "fraction": fraction})


def codes(of: Paired) -> np.ndarray:
    """+1 for a reference and -1 for another level: [cells, factors]."""
    return np.array([[1 if level == "0" else -1 for level in cell.levels.values()] for cell in cells(of)])


def wrong(**more) -> str:
    with pytest.raises(ValidationError) as caught:
        design(**more)
    return str(caught.value)


def test_levels_are_named_by_their_values() -> None:
    assert [level_name(v) for v in (1e-4, 65536.0, 65536, 2**24, True, "fp16", 0.3)] == [
        "0.0001",
        "65536",
        "65536",
        "16777216",
        "true",
        "fp16",
        "0.3",
    ]
    short = Paired.model_validate({"factors": {"lr": {"training.optimizer.lr": [1e-4, 1e-3]}}})
    assert short.factors == {
        "lr": {"0.0001": {"training.optimizer.lr": 1e-4}, "0.001": {"training.optimizer.lr": 1e-3}}
    }
    assert Paired.model_validate(short.model_dump()) == short, "the long form is read as it is written"


def test_cells_cross_all_levels_and_begin_with_the_references() -> None:
    every = cells(design())
    assert [cell.name for cell in every] == [
        f"model={model}, precision={precision}"
        for model in ("teacher", "baseline")
        for precision in ("fp32", "fp16", "bf16")
    ]
    assert every[4].settings == {"model.kind": "baseline", "training.precision.kind": "fp16"}
    assert num_trainings(design()) == 36


def test_a_block_trains_every_cell_once_under_one_setting_and_seed() -> None:
    of = design()
    planned = [training(of, SPACE, index, 100) for index in range(num_trainings(of))]
    orders = []
    for block in range(6):
        own = planned[block * 6 : block * 6 + 6]
        assert {p.block for p in own} == {block} and {p.seed for p in own} == {100 + block}
        assert {p.cell.name for p in own} == {cell.name for cell in cells(of)}
        drawn = {tuple(p.settings[path] for path in SPACE) for p in own}
        assert len(drawn) == 1, "what a block draws holds for all of its cells"
        assert all(p.settings.items() >= p.cell.settings.items() for p in own)
        orders.append([p.cell.name for p in own])
    assert len({tuple(order) for order in orders}) > 1, "the order of the cells is shuffled in each block"
    lrs = [p.settings["training.optimizer.lr"] for p in planned[::6]]
    assert len(set(lrs)) == 6 and sum(lr < 1e-3 for lr in lrs[:4]) == 2, "Sobol points fill both halves evenly"


def test_a_training_is_a_function_of_the_study_alone() -> None:
    assert training(design(), SPACE, 17, 3) == training(design(), SPACE, 17, 3)
    assert training(design(), SPACE, 17, 3) == training(design(blocks=40), SPACE, 17, 3), "more blocks change no block"
    assert training(design(seed=1), SPACE, 0, 3).settings != training(design(), SPACE, 0, 3).settings
    assert set(training(design(), {}, 0, 3).settings) == {"model.kind", "training.precision.kind"}


@pytest.mark.parametrize(
    ("num", "fraction", "share", "shortest"),
    [(3, "half", 2, 3), (4, "half", 2, 4), (5, "half", 2, 5), (5, "quarter", 4, 3), (6, "quarter", 4, 4)]
    + [(7, "quarter", 4, 4), (8, "quarter", 4, 5)],
)
def test_a_fraction_keeps_the_reference_and_tells_main_effects_apart(num, fraction, share, shortest) -> None:
    of = two_level(num, fraction)
    kept = codes(of)
    assert len(kept) == 2**num // share and (kept[0] == 1).all()
    assert (kept.T @ kept == len(kept) * np.eye(num)).all(), "balanced, and no main effect is another one's alias"
    names = list(of.factors)
    confounded = {
        frozenset(group)
        for size in range(1, num + 1)
        for group in itertools.combinations(names, size)
        if abs(kept[:, [names.index(n) for n in group]].prod(axis=1).sum()) == len(kept)
    }
    assert confounded == set(words(of)), "the defining words are exactly those that are constant"
    assert min(map(len, confounded)) == shortest


def test_a_full_factorial_has_no_words() -> None:
    assert words(design()) == [] and len(cells(two_level(3, "full"))) == 8


def test_what_factors_vary_is_a_space() -> None:
    of = design(
        factors={
            "lr": {"training.optimizer.lr": [1e-4, 1e-3]},
            "batch": {
                "two": {"training.batch_size": 2},
                "four": {"training.batch_size": 4},
                "accumulated": {"training.batch_size": 2, "training.accumulate": 2},
            },
            "attention": {"with": {}, "without": {"model.attention": "none"}},
        }
    )
    space = dimensions(of)
    assert {path: tuple(dim.ends) for path, dim in space.items()} == {
        "training.optimizer.lr": (1e-4, 1e-3),
        "training.batch_size": (2, 4),
        "training.accumulate": (2,),
        "model.attention": ("none",),
    }


def test_mistakes_are_told() -> None:
    assert "more than there are blocks" in wrong(blocks=3, looks=4)
    assert "cannot name" in wrong(factors={"a,b": {"model.width": [1, 2]}})
    assert "are the same" in wrong(factors={"a": {"x": {"model.width": 1}, "y": {"model.width": 1}}})
    assert "stands twice" in wrong(factors={"a": {"model.width": [1, 1.0]}})
    assert "both set model.width" in wrong(factors={"a": {"model.width": [1, 2]}, "b": {"model.width": [3, 4]}})
    assert "takes one path" in wrong(factors={"a": {"model.width": [1, 2], "model.depth": [1, 2]}})
    assert "written as level name" in wrong(factors={"a": 3})
    assert "two levels, and precision has 3" in wrong(fraction="half")
    with pytest.raises(ValidationError, match="at least 5 factors"):
        two_level(4, "quarter")
    with pytest.raises(ValidationError, match="at least 3 factors"):
        two_level(2, "half")
