"""The live search benchmark: its studies, its trainings as the measures want them, and how orders are told."""

import pytest
import torch

from benchmarks.search.live import (
    GRID,
    RAY,
    SEARCH_KINDS,
    SPACE,
    STEPS,
    as_trials,
    orders,
    run_study,
    search_study,
    truth_study,
)
from benchmarks.search.peers import OURS
from benchmarks.search.replay import Row
from benchmarks.search.scores import Score
from sweep.space import grid_settings


def test_every_study_is_valid_and_the_grid_spans_the_space() -> None:
    truth = truth_study(1).study
    assert truth.seed == 1 and not truth.early_stop
    assert truth.budget.trials == len(list(grid_settings(truth.space))) == 72
    for name in SEARCH_KINDS:
        study = search_study(name, 2, 48).study
        assert study.search.seed == study.seed == 2 and study.early_stop and study.budget.trials == 48
        assert study.training == truth.training and study.data == truth.data
    for path, dimension in GRID.items():
        ends = dimension.get("grid", dimension.get("choice"))
        assert [ends[0], ends[-1]] == list(next(iter(SPACE[path].values())))


@pytest.mark.slow
def test_a_search_trains_and_goes_on(tmp_path) -> None:
    torch.set_num_threads(1)
    loaded = search_study("random", 0, 2)
    frame = run_study(loaded, tmp_path)
    assert len(frame) == 2 and set(frame["phase"]) == {"explore"}
    assert run_study(loaded, tmp_path).equals(frame), "nothing is trained twice"
    for trial, stable in zip(as_trials(frame, list(SPACE)), frame["stable"], strict=True):
        assert trial.told.stable == stable == (trial.told.margin < 0)
        assert set(trial.settings) == set(SPACE) and trial.num_steps <= STEPS


def row(search: str, accuracy: float) -> Row:
    score = Score(48, accuracy, 0.8, 0.9, 1 - accuracy, 0.05, 1 - accuracy, 0.1, 0.9, 0.2, 0.4, 100, 0.2)
    return Row("p", search, 0, (score,), (), None, 0)


@pytest.mark.parametrize("ours", [0.9, 0.7])
def test_orders_say_whether_they_agree(ours) -> None:
    live = [row("random", 0.8), row(OURS, ours), row(RAY, 0.6)]
    text = orders(live, [row(OURS, 0.95), row("random", 0.85), row("Sobol", 0.99)], 48)
    first = text.splitlines()[0]
    if ours > 0.8:
        assert first == f"- balanced accuracy: live {OURS}; random, replay {OURS}; random: ours is first in both"
    else:
        assert first.endswith(f"live random; {OURS}, replay {OURS}; random: ours is not first in both")
    assert "Sobol" not in text and RAY not in text
