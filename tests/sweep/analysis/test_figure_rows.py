import math
from collections.abc import Callable
from typing import Any

import pandas as pd

from sweep.analysis.answer.neighbours import coordinates, distances, neighbourhoods
from sweep.analysis.cost.costs import costs
from sweep.analysis.figures.learning_rate import lr_info
from sweep.analysis.figures.stability_map import map_info
from sweep.analysis.trials.dimensions import dimensions, learning_rate, panel_dimension
from sweep.analysis.trials.groups import setting_groups
from sweep.analysis.trials.tried import space_of
from sweep.records import NotKnown, Outcome

LR, P, CLIP = "training.optimizer.lr", "training.precision.kind", "training.clip.max_norm"
SPACE: dict[str, Any] = {
    P: {"choice": ["fp32", "fp16"]},
    LR: {"loguniform": [1e-4, 1e-2]},
    CLIP: {"uniform": [0.0, 2.0]},
}
Table = Callable[..., pd.DataFrame]


def test_no_trial_is_left_out_of_the_learning_rate_figure(table: Table) -> None:
    trials = table(
        [
            {P: "fp32", LR: 1e-3, "val_loss": 1.5, "wer": 0.5},
            {P: "fp32", LR: 3e-3, "verdict": "diverged-loss", "val_loss": 50.0},
            {P: "fp32", LR: 4e-3, "verdict": "crashed", "val_loss": None, "wer": None},
            {P: "fp32", LR: 2e-4, "verdict": "stalled", "val_loss": 3.0, "wer": 1.0},
            {P: "fp32", LR: 5e-3, "verdict": "diverged-nonfinite", "val_loss": math.inf},
            {P: "fp32", LR: 6e-3, "verdict": "stalled", "val_loss": 1500.0, "wer": 1.0},
        ]
    )
    dims = dimensions(space_of(SPACE))
    lr = learning_rate(dims)
    assert lr is not None
    info = lr_info(trials, lr, panel_dimension(dims))
    fp32, fp16 = info.panels
    assert [p.lost for p in fp32.points] == [False, True, True, False, True, True]
    assert fp16.points == () and info.l_const == 3.0 and info.l_unif == 9.0


def test_reference_lines_are_drawn_only_where_all_trials_share_them(table: Table) -> None:
    trials = table([{LR: 1e-3, "l_const": 3.0}, {LR: 1e-3, "l_const": 4.0}])
    lr = learning_rate(dimensions(space_of(SPACE)))
    assert lr is not None and math.isnan(lr_info(trials, lr, None).l_const)


def test_the_map_says_why_a_panel_is_empty(table: Table) -> None:
    trials = table([{P: "fp32", LR: 1e-3, CLIP: None}, {P: "fp32", LR: 2e-3, CLIP: 1.0, "verdict": "stalled"}])
    dims = dimensions(space_of(SPACE))
    info = map_info(trials, dims, panel_dimension(dims))
    assert not isinstance(info, NotKnown)
    fp32, fp16 = info.panels
    assert [c.outcome for c in fp32.cells] == [Outcome.STABLE, Outcome.STALLED]
    assert math.isnan(fp32.cells[0].y) and fp32.why_empty is None
    assert fp16.why_empty == "No trial was run here yet."
    one_axis = map_info(trials, dims[:2], None)
    assert not isinstance(one_axis, NotKnown) and one_axis.y is None and len(one_axis.panels[0].cells) == 2
    assert "a numeric setting" in str(map_info(trials, dims[:1], None))


def test_a_trial_whose_settings_changed_on_the_way_has_no_place_on_the_map(table: Table) -> None:
    rows = [{P: "fp32", LR: 1e-3, CLIP: 1.0}, {P: "fp32", LR: 2e-3, CLIP: 1.0, "settings_changed_at_step": 50.0}]
    trials = table([*rows, {P: "fp32", LR: 3e-3, CLIP: 1.0, "verdict": "pruned"}])
    dims = dimensions(space_of(SPACE))
    info = map_info(trials, dims, panel_dimension(dims), (dims[1], dims[2]))
    assert not isinstance(info, NotKnown) and info.num_changed == 1
    assert [c.outcome for c in info.panels[0].cells] == [Outcome.STABLE, Outcome.PRUNED]


def test_distances_run_over_scaled_axes(table: Table) -> None:
    trials = table(
        [
            {P: "fp32", LR: 1e-4, CLIP: 0.0},
            {P: "fp32", LR: 1e-2, CLIP: 0.0},
            {P: "fp16", LR: 1e-4, CLIP: 1.0},
            {P: "fp32", LR: 1e-4, CLIP: None},
        ]
    )
    dims = dimensions(space_of(SPACE))
    apart = distances(at := coordinates(setting_groups(trials, dims), dims), at, dims)
    assert (apart == apart.T).all() and (apart.diagonal() == 0).all()
    first, far, other, off = apart[0]
    assert first == 0 and far == math.sqrt(1 / 3) and off == math.sqrt(1 / 3)
    assert math.isclose(other, math.sqrt((1 + 0.25) / 3))


def test_risk_falls_with_stable_neighbours_and_rises_with_unstable_ones(table: Table) -> None:
    rows = [{P: "fp32", LR: 1e-3, CLIP: 1.0}] * 3 + [{P: "fp32", LR: 1e-3, CLIP: 1.0, "verdict": "stalled"}] * 2
    trials = table(rows)
    dims = dimensions(space_of(SPACE))
    groups = setting_groups(trials, dims)
    alone = neighbourhoods(groups[:1], groups[:1], dims)[0]
    assert alone.risk == 0.25 and alone.nearest.total == 0 and math.isnan(alone.reach)
    assert neighbourhoods(groups[:1], groups[:3], dims)[0].risk == 0.5 / 4
    with_bad = neighbourhoods(groups[:1], groups, dims)[0]
    assert with_bad.risk == 2.5 / 6 and (with_bad.nearest.count, with_bad.nearest.total) == (2, 4)


def test_costs_count_stopped_trials_but_not_crashes_as_savings(table: Table) -> None:
    trials = table(
        [
            {"num_steps": 100},
            {"num_steps": 40, "stop_step": 40, "verdict": "diverged-loss"},
            {"num_steps": 0, "stop_step": 0, "verdict": "crashed", "wall_s": None, "cpu_s": None},
            {"num_steps": 100, "stop_step": 60, "verdict": "stalled"},
        ]
    )
    total = costs(trials)
    assert (total.num_stopped, total.steps_saved, total.num_steps) == (1, 60, 240)
    assert total.saved_rate == 60 / 300 and total.wall_s == 30.0
    assert [row.outcome for row in total.by_outcome] == [
        Outcome.STABLE, Outcome.DIVERGED_LOSS, Outcome.STALLED, Outcome.CRASHED,
    ]  # fmt: skip
    assert costs(table([])).saved_rate == 0.0
