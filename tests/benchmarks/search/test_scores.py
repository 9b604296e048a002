"""The arithmetic of the search benchmark, and short replays of the real searches."""

import itertools
import json
import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from optuna.trial import TrialState

from benchmarks.search.peers import OURS, SEARCHES, STARTUP, OptunaPeer, be_quiet, searches
from benchmarks.search.replay import Mean, Row, mean, pair_table, read_json, report, table, targets, write_json
from benchmarks.search.scores import (
    Judge,
    Score,
    Trial,
    agreement,
    best_loss,
    calibration_error,
    replay,
    stretch,
    within_steps,
)
from benchmarks.search.surface import Problem, Told
from sweep.search import RandomSearch

LR, KIND = "training.optimizer.lr", "training.precision.kind"
RATES = (1e-4, 1e-3, 1e-2, 1e-1)


@pytest.fixture(scope="module")
def problem() -> Problem:
    """Two seeds of two precisions: stable below an edge halfway from 0.01 to 0.1, in fp16 one decade lower."""
    be_quiet()
    rows = []
    for rate, kind, seed in itertools.product(RATES, ("fp16", "fp32"), (0, 1)):
        stable = rate < (0.05 if kind == "fp32" else 0.005)
        rows.append(
            {
                LR: rate,
                KIND: kind,
                "seed": seed,
                "stable": stable,
                "alarm": None if stable else "diverged-nonfinite",
                "margin": -0.2 if stable else 0.65,
                "wer": 0.5,
                "val_loss": 1.0 - 10 * rate + 0.2 * seed if stable else math.nan,
                "stop_step": None if stable else 50,
                "max_steps": 100,
                "l_const": 2.0,
            }
        )
    return Problem("two", pd.DataFrame(rows).astype({"stop_step": "Int16", "alarm": "object"}))


def trial(problem: Problem, rate: float, kind: str, seed: int = 0) -> Trial:
    told = problem.train({LR: rate, KIND: kind}, seed)
    return Trial({LR: rate, KIND: kind}, told, told.num_steps)


def test_a_stretch_is_the_longest_one_and_ends_halfway() -> None:
    assert stretch(np.array([False, True, True, False, True])) == (0.5 / 4, 2.5 / 4)
    assert stretch(np.array([True, True, False])) == (0.0, 1.5 / 2)
    assert stretch(np.array([False, True, True])) == (0.5 / 2, 1.0)
    assert stretch(np.ones(5, dtype=bool)) == (0.0, 1.0)
    assert stretch(np.zeros(5, dtype=bool)) == (0.0, 0.0)


def test_calibration_is_counted_by_hand() -> None:
    p, outcome = np.array([0.95, 0.95, 0.95, 0.15]), np.array([True, True, False, True])
    # Bin 9: 3 x 0.95 expected, 2 came; bin 1: 0.15 expected, 1 came.
    assert calibration_error(p, outcome) == pytest.approx((0.85 + 0.85) / 4)
    assert calibration_error(np.array([1.0, 0.0]), np.array([True, False])) == 0


def test_agreement_leaves_out_settings_whose_seeds_differ() -> None:
    outcomes = np.array([[1, 1], [1, 1], [0, 0], [1, 0]], dtype=bool)
    assert agreement(np.array([0.9, 0.2, 0.1, 0.9]), outcomes) == (0.75, 0.5)
    assert agreement(np.array([0.5, 0.5, 0.4, 0.0]), outcomes) == (1.0, 1.0)


def test_edge_errors_are_decades_from_the_true_edge(problem) -> None:
    judge = Judge(problem)
    assert [at[KIND] for at in judge.slices] == ["fp16", "fp32"]
    # Edges at 10^-2.5 and 10^-1.5 of an axis from 10^-4 to 10^-1.
    assert judge.edges == pytest.approx(np.array([[[0, 0.5]] * 2, [[0, 5 / 6]] * 2]), abs=0.01)
    places = np.linspace(0, 1, 161)
    right = np.concatenate([places < edge for edge in (0.5, 5 / 6)]).astype(float)
    assert judge.edge_errors(right) == pytest.approx(np.zeros((2, 2)), abs=0.02)
    late = np.concatenate([places < 2 / 3, places < 2]).astype(float)
    assert judge.edge_errors(late)[:, 1] == pytest.approx([0.5, 0.5], abs=0.02)
    nothing = judge.edge_errors(np.zeros(2 * 161))
    assert nothing == pytest.approx(np.array([[0, 1.5], [0, 2.5]]), abs=0.02)


def test_where_seeds_differ_every_place_between_their_edges_is_right(problem) -> None:
    judge = Judge(problem)
    judge.edges = np.array([[[0, 0.4], [0.1, 0.6]], [[0, 1], [0, 1]]])
    places = np.linspace(0, 1, 161)
    for cold, hot, errors in ((0.05, 0.5, (0, 0)), (0.2, 0.8, (0.3, 0.6)), (0, 0.2, (0, 0.6))):
        p = np.concatenate([(places >= cold) & (places < hot), np.ones(161, dtype=bool)]).astype(float)
        assert judge.edge_errors(p)[0] == pytest.approx(errors, abs=0.03)
    assert (judge.edge_errors(p)[1] == 0).all()


def test_many_trials_everywhere_give_a_good_score(problem) -> None:
    rates = 10 ** np.linspace(-4, -1, 13)
    trials = [trial(problem, float(rate), kind) for rate in rates for kind in ("fp16", "fp32")]
    score = Judge(problem).score(trials)
    assert score.accuracy == score.iou == score.nearest_accuracy == 1
    assert score.between_accuracy > 0.93 and score.brier < 0.02 and score.calibration_error < 0.1
    assert max(score.hot_error, score.cold_error, score.nearest_hot_error) < 0.2
    assert score.steps == sum(50 if not t.told.stable else 100 for t in trials)
    late = [t.told.stable for t in trials[STARTUP:]]
    assert score.late_bad_share == pytest.approx(1 - sum(late) / len(late))


def test_the_best_loss_is_told_by_what_it_is_worth_over_all_seeds(problem) -> None:
    trials = [trial(problem, 1e-4, "fp16"), trial(problem, 1e-2, "fp32"), trial(problem, 1e-1, "fp32")]
    # Seed 0 said 0.45; seed 1 is worth 0.1 more.
    assert best_loss(problem, trials) == pytest.approx(0.5)
    assert math.isnan(best_loss(problem, trials[2:]))
    assert within_steps(trials, 200) == trials[:2] and within_steps(trials, 249) == trials[:2]
    assert within_steps(trials, 250) == trials


def test_a_replay_is_reproducible_and_spares_the_steps_of_what_was_stopped(problem) -> None:
    first, again = replay(problem, "random", 3, 20), replay(problem, "random", 3, 20)
    # A NaN equals nothing.
    assert repr(first) == repr(again) and len(first.trials) == 20 and first.mapped_after is None
    assert replay(problem, "random", 4, 20).trials != first.trials
    assert all(t.num_steps == (100 if t.told.stable else 50) for t in first.trials)
    assert first.num_unheard == 0


def test_ray_never_takes_a_nan_as_finished(problem) -> None:
    plain, marked = (replay(problem, name, 0, 20) for name in ("Ray OptunaSearch", "Ray OptunaSearch, bad=NaN"))
    for course, cost in ((plain, 100), (marked, 50)):
        bad = [t for t in course.trials if not t.told.stable]
        assert course.num_unheard == len(bad) > 0
        assert all(t.num_steps == cost for t in bad)


@pytest.mark.parametrize("name", [OURS, "stability, two workers", "Sobol", "TPE", "GP-EI"])
def test_every_search_runs(problem, name) -> None:
    course = replay(problem, name, 0, 18)
    assert len(course.trials) == 18 and course.num_unheard == 0
    score = Judge(problem).score(course.trials)
    assert score.num_trials == 18 and 0 <= score.brier <= 1


def test_two_workers_end_in_the_order_of_their_costs(problem) -> None:
    course = replay(problem, "stability, two workers", 0, 12)
    alone = replay(problem, OURS, 0, 12)
    # The start-up's settings are the same; a training that is stopped after half the time may overtake.
    assert sorted(map(repr, course.trials)) == sorted(map(repr, alone.trials))
    assert course.trials != alone.trials


def test_a_search_is_told_the_margin_as_constraint_and_a_finite_value(problem) -> None:
    peer = OptunaPeer(problem.space, lambda number: RandomSearch(seed=1).sampler(number, problem.space))
    for number in range(6):
        peer.tell(number, problem.train(peer.ask(number), 0))
    told = peer._study.get_trials()
    assert all(t.state == TrialState.COMPLETE and math.isfinite(t.value or math.nan) for t in told)
    assert {t.value > 2 for t in told} == {True, False}
    assert all((t.value > 2) == (t.user_attrs["margin"] > 0) for t in told if t.value is not None)
    assert all(t.constraints == {"margin": t.user_attrs["margin"]} for t in told)


def test_searches_are_chosen_by_how_their_names_begin() -> None:
    assert searches([]) == list(SEARCHES)
    assert searches(["stability, m", "TPE"]) == ["stability, map", "TPE"] and searches(["nothing"]) == []


def row(search: str, seed: int, accuracy: float, late: float = 0.2) -> Row:
    scores = tuple(
        Score(n, accuracy, 0.8, 0.9, 0.05, 0.05, 0.1, 0.1, 0.9, 0.2, 0.4, 100 * n, late) for n in (24, 48, 72)
    )
    return Row("p", search, seed, scores, (0.5, 0.4 if search == OURS else 0.45), None, 0)


def test_means_have_bootstrap_intervals() -> None:
    assert mean([0.5, 0.5]) == Mean(0.5, 0.5, 0.5)
    found = mean([0.0, 1.0] * 50)
    assert (
        found.value == 0.5 and found.low == pytest.approx(0.4, abs=0.03) and found.high == pytest.approx(0.6, abs=0.03)
    )
    assert math.isnan(mean([1.0, math.nan]).low)


def test_the_tables_compare_seed_by_seed() -> None:
    rows = [row(OURS, s, 0.9 + 0.01 * s) for s in range(3)] + [row("random", s, 0.8 + 0.01 * s) for s in range(3)]
    rows += [row("TPE", s, 0.95, math.nan) for s in range(3)]
    assert "| random | 0.100 (0.100, 0.100) |" in pair_table(rows, 48)
    assert "| TPE | -0.040 (-0.050, -0.030) |" in pair_table(rows, 48)
    assert "| random | 0.810 (0.800, 0.820) |" in table(rows, 48)
    said = targets(rows).splitlines()
    assert said[0] == "- balanced accuracy at least 0.92: 0.910, not met"
    assert said[1] == "- balanced accuracy at least 0.810, which random has after 72: 0.910, met"
    assert said[4].endswith("0.400, met")


def test_the_report_has_every_problem_and_number_of_trials(problem) -> None:
    rows = [replace(row(name, 0, 0.9), problem=problem.name) for name in (OURS, "random", "TPE")]
    text = report(rows, [problem], (24, 48, 72), 1)
    assert "16 trainings of 100 steps, 8 settings; 62% of the trainings are stable" in text
    assert [line for line in text.splitlines() if line.startswith("### After")] == [
        f"### After {n} trials" for n in (24, 48, 72)
    ]
    assert "Aims of" not in report(rows[:1], [problem], (24, 48, 72), 1)


def test_rows_survive_json(tmp_path) -> None:
    path = tmp_path / "replay.json"
    rows = [row("TPE", 1, 0.5, math.nan)]
    write_json(path, rows, "abc")
    assert json.loads(path.read_text())["rows"][0]["scores"][0]["late_bad_share"] is None
    read = read_json(path, "abc")
    assert repr(read) == repr(rows)
    assert read_json(path, "another truth") == [] and read_json(tmp_path / "none.json", "abc") == []


def test_told_holds_what_a_bridge_tells(problem) -> None:
    assert problem.train({LR: 1e-1, KIND: "fp16"}, 0) == Told(
        False, pytest.approx(0.65), pytest.approx(2.1 + 0.9 * 0.5), 50, pytest.approx(math.nan, nan_ok=True), 100
    )
