"""The ground truth of the search benchmark: grid points are themselves, edges lie halfway, and an alarm is told."""

import itertools
import math

import numpy as np
import pandas as pd
import pytest

from benchmarks.search.surface import TRUTH_DIR, Problem, load_problems

RATES, CLIPS, KINDS = (1e-4, 1e-3, 1e-2, 1e-1), (0.1, 10.0), ("fp16", "fp32")
LR, CLIP, KIND = "training.optimizer.lr", "training.clip.max_norm", "training.precision.kind"


def small_table() -> pd.DataFrame:
    """Seed 0 is unstable from 0.01 on, or from 0.1 on with the strict clip; seed 1 only at 0.1."""
    rows = []
    for clip, rate, kind, seed in itertools.product(CLIPS, RATES, KINDS, (0, 1)):
        stable = rate < (0.1 if seed == 1 or clip == 0.1 else 0.01)
        rows.append(
            {
                CLIP: clip,
                LR: rate,
                KIND: kind,
                "seed": seed,
                "stable": stable,
                "alarm": None if stable else "diverged-loss",
                "margin": -0.1 if stable else 0.65,
                "wer": 0.5,
                "val_loss": 1.0 + 100 * rate if stable else math.nan,
                "stop_step": None if stable else 50,
                "max_steps": 100,
                "l_const": 2.0,
            }
        )
    return pd.DataFrame(rows).astype({"stop_step": "Int16", "alarm": "object"})


def at(rate: float, clip: float = 10.0, kind: str = "fp32") -> dict[str, float | str]:
    return {LR: rate, CLIP: clip, KIND: kind}


@pytest.fixture(scope="module")
def problem() -> Problem:
    return Problem("small", small_table())


def test_a_grid_becomes_a_space_of_ranges(problem) -> None:
    assert problem.space[LR].ends == (1e-4, 1e-1) and problem.space[CLIP].ends == (0.1, 10.0)
    assert problem.space[KIND].ends == KINDS and problem.along == LR
    assert len(problem.settings) == 16 and problem.stable.shape == (16, 2)
    constant = Problem("one clip", small_table().query("`training.clip.max_norm` == 10"))
    assert set(constant.space) == {LR, KIND}


def test_grid_points_are_themselves(problem) -> None:
    assert (problem.is_stable(problem.settings) == problem.stable).all()
    told = problem.train(at(1e-3), 0)
    assert told.stable and told.margin == pytest.approx(-0.1) and told.num_steps == told.full_steps == 100
    assert told.objective == pytest.approx(0.55) == told.raw_loss
    bad = problem.train(at(1e-1), 1)
    assert not bad.stable and bad.margin == pytest.approx(0.65) and bad.num_steps == 50
    assert 2 < bad.objective <= 3 and math.isnan(bad.raw_loss)


def test_an_edge_lies_halfway_whatever_the_margins(problem) -> None:
    halfway = math.sqrt(1e-3 * 1e-2)
    assert problem.is_stable([at(halfway * 0.99), at(halfway * 1.01)])[:, 0].tolist() == [True, False]
    # Between the clips, the edge of seed 0 moves from between 0.001 and 0.01 to between 0.01 and 0.1.
    assert problem.is_stable([at(1e-2, 0.99), at(1e-2, 1.01)])[:, 0].tolist() == [True, False]
    near = problem.train(at(halfway * 1.01), 0)
    assert near.margin == pytest.approx(0.65), "numbers come from neighbours of the same outcome only"
    middle = problem.train(at(math.sqrt(1e-4 * 1e-3)), 0)
    assert middle.objective == pytest.approx((0.505 + 0.55) / 2)


def test_seeds_are_surfaces_of_their_own(problem) -> None:
    assert problem.train(at(1e-2), 1).stable and not problem.train(at(1e-2), 0).stable
    bad = problem.train(at(1e-2), 0).objective
    assert problem.true_objective(at(1e-2)) == pytest.approx((1.0 + bad) / 2)


def test_an_alarm_is_told_as_unstable_even_where_the_training_came_through() -> None:
    table = small_table()
    row = table.index[(table[LR] == 1e-4) & (table[KIND] == "fp32") & (table[CLIP] == 10) & (table["seed"] == 0)]
    table.loc[row, "alarm"] = "stalled"
    table.loc[row, "stop_step"] = 20
    problem = Problem("false stop", table)
    told = problem.train(at(1e-4), 0)
    assert not told.stable and told.num_steps == 20 and told.margin == pytest.approx(0.3 + 0.7 * 0.8)
    assert problem.is_stable([at(1e-4)]).all(), "the truth is what came of it"
    assert problem.true_objective(at(1e-4)) == pytest.approx(0.505)
    assert problem.num_false_alarms == 1


def test_weights_sum_to_one_anywhere(problem) -> None:
    rng = np.random.default_rng(0)
    places = [at(10 ** rng.uniform(-4, -1), 10 ** rng.uniform(-1, 1), KINDS[k % 2]) for k in range(50)]
    index, weight = problem._grid.neighbours(places)
    assert np.allclose(weight.sum(axis=1), 1) and (weight >= 0).all()
    for setting, rows in zip(places, index, strict=True):
        assert {problem.settings[row][KIND] for row in rows} == {setting[KIND]}


def test_the_stored_truth_is_whole_and_small() -> None:
    path = TRUTH_DIR / "trials.parquet"
    problems = {problem.name: problem for problem in load_problems()}
    assert set(problems) == {study.stem for study in TRUTH_DIR.glob("*.yaml")}
    assert problems["teacher_grid"].stable.shape == (144, 2) and problems["baseline_grid"].stable.shape == (36, 2)
    assert path.stat().st_size < 64 * 1024
    for problem in problems.values():
        assert 0.2 < problem.stable.mean() < 0.9, "both outcomes are there"
