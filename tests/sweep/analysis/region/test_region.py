"""The map of studies whose boundary is known."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from sweep.analysis.figures.stability_map import MapInfo, map_info
from sweep.analysis.region.evidence import Evidence
from sweep.analysis.region.region import Region, hot_edge, region, region_tables
from sweep.analysis.trials.tried import space_of
from sweep.boundary.encoding import Encoding
from sweep.boundary.model import MarginModel
from sweep.records import NotKnown
from sweep.report.figures.stability_map import stability_map_panels

LR, CLIP, P, SCALE = (
    "training.optimizer.lr",
    "training.clip.max_norm",
    "training.precision.kind",
    "training.precision.initial_scale",
)
LRS: dict[str, Any] = {LR: {"loguniform": [1e-5, 1.0]}}
SPACE: dict[str, Any] = {
    P: {"choice": ["fp32", "fp16"]},
    SCALE: {"loguniform": [1.0, 65536.0], "when": {P: ["fp16"]}},
    **LRS,
    CLIP: {"loguniform": [0.1, 10.0]},
}
Table = Callable[..., pd.DataFrame]
Margin = Callable[[dict[str, Any]], float]


def evidence(trials: pd.DataFrame, space: dict[str, Any]) -> Evidence:
    return Evidence(trials, space_of(space))


def study(table: Table, space: dict[str, Any], margin: Margin, num: int) -> pd.DataFrame:
    """Trials of evenly spread settings; `margin` in decades of the learning rate, negative = stable."""
    rows = []
    for setting in Encoding(space_of(space)).sobol(num, 5):
        value = float(np.clip(margin(setting), -1, 1)) or 0.01
        verdict = "stable" if value < 0 else "diverged-loss"
        rows.append({**dict.fromkeys(space), **setting, "margin": value, "verdict": verdict})
    return table(rows)


def made(table: Table, space: dict[str, Any], margin: Margin, num: int) -> tuple[MarginModel, Region]:
    trials = study(table, space, margin, num)
    known = evidence(trials, space)
    assert isinstance(known.model, MarginModel)
    return known.model, region(known)


def log_lr(setting: dict[str, Any]) -> float:
    return math.log10(setting[LR])


def log_edge(model: MarginModel, setting: dict[str, Any]) -> float:
    edge = hot_edge(model, setting)
    assert edge is not None
    return math.log10(edge)


def test_edges_panels_and_volumes_of_a_known_boundary(table: Table) -> None:
    """Half precision lowers the edge from 1e-2 to 1e-3; the clip norm does nothing."""
    model, found = made(table, SPACE, lambda s: log_lr(s) + (2 if s[P] == "fp32" else 3), 64)
    assert found.along.path == LR and found.y is not None and found.y.path == CLIP and found.num_trainings == 64
    for row in found.edges:
        (one,) = row.edges
        edge = one.edge
        truth = -2 if row.at[P] == "fp32" else -3
        assert (one.boundary, edge.side) == ("break", "hot") and math.log10(edge.value) == pytest.approx(truth, abs=0.2)
        assert row.always is None and row.stable_decades == pytest.approx(5 + truth, abs=0.25)
        assert (SCALE in row.at) == (row.at[P] == "fp16") and LR not in row.at
    assert 4 <= len(found.edges) <= 48
    assert sum(row.num_near for row in found.edges) == 64
    assert [row.at[P] for row in found.edges] == sorted((row.at[P] for row in found.edges), reverse=True)
    shares = {volume.level: volume for volume in found.volumes}
    assert shares["fp32"].share == pytest.approx(3 / 5, abs=0.05)
    assert shares["fp16"].share == pytest.approx(2 / 5, abs=0.05)
    assert all(v.sure_share <= v.share and v.unsure_share < 0.3 for v in found.volumes)
    assert found.influences[0].path == LR
    assert {one.path for one in found.influences} == set(SPACE)
    assert found.calibration.num == 64 and found.calibration.brier < 0.06 < found.calibration.base_brier
    assert 0 < found.open_width < 1.0
    for panel in found.panels:
        grid = np.array(panel.p_stable)
        assert grid.shape == (len(panel.y_values), len(panel.x_values)) == (25, 41)
        assert panel.x_values[0] == 1e-5 and panel.x_values[-1] == 1.0 and panel.y_values[-1] == 10.0
        assert grid[:, 0].min() > 0.8 and grid[:, -1].max() < 0.1
        assert set(panel.fixed) == ({SCALE} if panel.level == "fp16" else set())
    assert [panel.level for panel in found.panels] == ["fp32", "fp16"]
    safe: dict[str, Any] = {P: "fp32", LR: 1e-4, CLIP: 1.0}
    assert log_edge(model, safe) == pytest.approx(-2.0, abs=0.2)
    assert log_edge(model, {**safe, LR: 0.1}) == pytest.approx(-2.0, abs=0.2), "beyond its edge"


def test_calibration_predicts_settings_that_no_part_of_the_model_has_seen(table: Table) -> None:
    """Ends by the toss of a coin: nothing can be foretold, although two seeds of a setting end alike."""
    rng = np.random.default_rng(4)
    lrs, ends = 10 ** rng.uniform(-5, 0, 30), rng.choice([-0.5, 0.5], 30)
    rows = [
        {LR: lr, "margin": end, "verdict": "stable" if end < 0 else "diverged-loss"}
        for lr, end in zip(lrs.tolist(), ends.tolist(), strict=True)
        for _ in range(2)
    ]
    trials = table(rows)
    known = evidence(trials, LRS)
    model, found = known.model, region(known).calibration
    assert 0 < found.chance_ece < 0.3
    assert found.num == 60 and found.base_brier == pytest.approx(0.25, abs=0.02)
    p, stable = model.left_out()
    assert found.brier > float(((p - stable) ** 2).mean()) and found.brier > 0.95 * found.base_brier
    again = trials.sample(frac=1.0, random_state=3)
    assert region(evidence(again, LRS)).calibration == found


def test_a_band_has_a_cold_and_a_hot_edge(table: Table) -> None:
    model, found = made(table, LRS, lambda s: abs(log_lr(s) + 2.5) - 1.0, 40)
    (row,) = found.edges
    assert [one.edge.side for one in row.edges] == ["cold", "hot"]
    assert [math.log10(one.edge.value) for one in row.edges] == pytest.approx([-3.5, -1.5], abs=0.25)
    assert row.at == {} and row.num_near == 40 and found.y is None and found.panel is None
    (panel,) = found.panels
    assert panel.y_values == () and len(panel.p_stable) == 1 and panel.level is None
    assert log_edge(model, {LR: 1e-3}) == pytest.approx(-1.5, abs=0.25)
    assert log_edge(model, {LR: 1e-5}) == pytest.approx(-1.5, abs=0.25), "too cold, and far from too hot"
    (volume,) = found.volumes
    assert volume.level is None and volume.share == pytest.approx(0.4, abs=0.06)


def two_sided(table: Table) -> pd.DataFrame:
    """Too slow below 1e-4, breaks above 1e-2."""
    rows = []
    for setting in Encoding(space_of(LRS)).sobol(40, 5):
        hot, cold = log_lr(setting) + 2, -4 - log_lr(setting)
        margin = float(np.clip(max(hot, cold), -1, 1)) or 0.01
        failed = ("diverged-loss", "too-hot") if hot > cold else ("stalled", "too-cold")
        verdict, side = ("stable", None) if margin < 0 else failed
        rows.append({**setting, "margin": margin, "verdict": verdict, "side": side})
    return table(rows)


def test_breaking_and_learning_have_a_boundary_each(table: Table) -> None:
    known = evidence(two_sided(table), LRS)
    found = region(known)
    (row,) = found.edges
    assert [(one.boundary, one.edge.side) for one in row.edges] == [("learn", "cold"), ("break", "hot")]
    assert [math.log10(one.edge.value) for one in row.edges] == pytest.approx([-4, -2], abs=0.25)
    (panel,) = found.panels
    (stable,), (breaks,), (learns,) = panel.p_stable, panel.p_break, panel.p_learn
    assert breaks[0] < 0.1 < 0.9 < breaks[-1], "what is too slow does not break"
    assert stable[0] < 0.1 and learns[0] < 0.1 and stable[-1] < 0.1
    assert isinstance(known.breaking, MarginModel)
    assert hot_edge(known.breaking, {LR: 1e-5}) == pytest.approx(1e-2, rel=0.6)
    assert [(s.open, s.begin < s.end) for s in row.stretches] == [(True, True), (False, True), (True, True)]
    assert found.break_calibration.brier < 0.06 and found.learn_calibration is not None
    assert found.break_calibration.num == 40 and found.learn_calibration.num == 24


def test_a_failure_without_a_side_is_of_neither_boundary_unless_most_are(table: Table) -> None:
    space = {CLIP: {"loguniform": [0.1, 10.0]}}

    def rows(verdict: str, side: str) -> list[dict[str, Any]]:
        good = [{CLIP: 0.1 * 1.2**k, "margin": -0.5, "verdict": "stable", "side": None} for k in range(12)]
        return good + [{CLIP: 1.2 + k, "margin": 0.5, "verdict": verdict, "side": side} for k in range(8)]

    odd = {CLIP: 0.15, "margin": 0.5, "verdict": "stalled", "side": "untold"}
    known = evidence(table([*rows("diverged-loss", "too-hot"), odd]), space)
    assert len(known.breaking_rows[0]) == 20 and len(known.learning_rows[0]) == 12
    lost = evidence(table(rows("stalled", "untold")), space)
    assert len(lost.breaking_rows[0]) == 20 and sum(margin > 0 for margin in lost.breaking_rows[1]) == 8
    assert isinstance(lost.learning, MarginModel), "none of them was slow"


def test_where_all_but_a_few_broke_nobody_knows_what_learns(table: Table) -> None:
    trials = table(
        [
            {LR: 10 ** (-k / 2), "margin": -0.5 if k > 9 else 0.5, "verdict": "stable" if k > 9 else "diverged-loss"}
            for k in range(12)
        ]
    )
    known = evidence(trials, {LR: {"loguniform": [1e-6, 1.0]}})
    assert known.learning == NotKnown("Only 2 trainings did not break: too few to tell what learns.")
    found = region(known)
    assert found.learn_calibration is None and all(panel.p_learn == () for panel in found.panels)
    assert region_tables(found)[0]["p_learn"].isna().all()


def test_a_corner_is_stable_everywhere_on_one_side(table: Table) -> None:
    """Unstable only where both are high: below a clip norm of 1 no learning rate is too hot."""
    space = {**LRS, CLIP: {"grid": [0.1, 0.3, 3.0, 10.0]}}
    model, found = made(table, space, lambda s: min(log_lr(s) + 3, 1.0 if s[CLIP] > 1 else -1.0), 64)
    by_clip = {row.at[CLIP]: row for row in found.edges}
    assert set(by_clip) == {0.1, 0.3, 3.0, 10.0}, "a grid of four takes its own values"
    assert by_clip[0.1].always == "stable" and by_clip[0.1].edges == () and by_clip[0.1].stable_decades == 5.0
    assert math.log10(by_clip[10.0].edges[0].edge.value) == pytest.approx(-3, abs=0.3)
    assert hot_edge(model, {LR: 1e-4, CLIP: 0.1}) == math.inf
    assert found.interactions and set(found.interactions[0].paths) == {LR, CLIP}


def test_an_island_is_seen_and_all_else_is_unstable(table: Table) -> None:
    space = {**LRS, CLIP: {"loguniform": [0.1, 10.0]}}
    island: Margin = lambda s: math.hypot(log_lr(s) + 2.5, 2 * math.log10(s[CLIP])) - 1.0  # noqa: E731
    model, found = made(table, space, island, 96)
    middle = next(row for row in found.edges if row.at[CLIP] == 1.0)
    assert [one.edge.side for one in middle.edges] == ["cold", "hot"]
    outside = next(row for row in found.edges if row.at[CLIP] > 4)
    assert outside.always == "unstable" and outside.stable_decades == 0.0
    assert hot_edge(model, {LR: 1e-4, CLIP: 10.0}) == -math.inf
    (volume,) = found.volumes
    assert volume.share == pytest.approx(math.pi / 2 / 10, abs=0.05)


def test_an_inactive_learning_rate_has_no_edge(table: Table) -> None:
    space = {"a.kind": {"choice": ["x", "y"]}, LR: {"loguniform": [1e-5, 1.0], "when": {"a.kind": ["y"]}}}
    trials = study(table, space, lambda s: log_lr(s) + 2 if LR in s else -1.0, 48)
    known = evidence(trials, space)
    model, found = known.model, region(known)
    assert hot_edge(model, {"a.kind": "x"}) is None
    assert [panel.level for panel in found.panels] == ["y"], "there is nothing to draw along an inactive setting"
    assert [row.at for row in found.edges] == [{"a.kind": "y"}]


def test_a_map_over_a_setting_that_is_mostly_inactive_shows_where_it_is_not(table: Table) -> None:
    optimizer, momentum = "training.optimizer.kind", "training.optimizer.momentum"
    space = {
        P: {"choice": ["fp32", "fp16"]},
        optimizer: {"choice": ["adamw", "lion", "sgd"]},
        momentum: {"uniform": [0.0, 0.99], "when": {optimizer: ["sgd"]}},
        **LRS,
    }
    known = evidence(study(table, space, lambda s: log_lr(s) + (3 if s[optimizer] == "sgd" else 2), 96), space)
    found = region(known)
    assert isinstance(found, Region) and found.y is not None and found.y.path == momentum
    assert [panel.level for panel in found.panels] == ["fp32", "fp16"]
    assert all(panel.y_values and panel.fixed == {optimizer: "sgd"} for panel in found.panels)
    assert all((momentum in row.at) == (row.at[optimizer] == "sgd") for row in found.edges)
    # A level at which it does not exist has no other.
    by_optimizer = {path: dimension for path, dimension in space.items() if path != P}
    panels = region(evidence(study(table, by_optimizer, lambda s: log_lr(s) + 2, 96), by_optimizer)).panels
    assert [(panel.level, bool(panel.y_values)) for panel in panels] == [
        ("adamw", False), ("lion", False), ("sgd", True)
    ]  # fmt: skip


def test_further_categories_are_axes_with_a_row_a_level(table: Table) -> None:
    optimizer, norm = "training.optimizer.kind", "model.norm"
    space = {
        P: {"choice": ["fp32", "fp16"]},
        optimizer: {"choice": ["adamw", "lion"]},
        norm: {"choice": ["batch", "group"], "when": {optimizer: ["lion"]}},
        **LRS,
    }
    trials = study(table, space, lambda s: log_lr(s) + (3 if s[optimizer] == "lion" else 2), 96)
    known = evidence(trials, space)
    found = region(known)
    assert isinstance(found, Region)
    planes = {plane.y.path: plane for plane in found.others}
    assert set(planes) == {optimizer, norm} and all(plane.x.path == LR for plane in planes.values())
    for panel in planes[optimizer].panels:
        assert panel.y_values == (0.0, 1.0) and len(panel.p_stable) == 2 and panel.fixed == {}
        edge = [next(x for x, p in zip(panel.x_values, row, strict=True) if p < 0.5) for row in panel.p_stable]
        assert edge[0] == pytest.approx(1e-2, rel=1.0) and edge[1] == pytest.approx(1e-3, rel=1.0)
    assert all(panel.fixed == {optimizer: "lion"} for panel in planes[norm].panels)
    info = map_info(trials, known.dims, known.panel, (planes[norm].x, planes[norm].y))
    assert isinstance(info, MapInfo)
    for cell in (cell for panel in info.panels for cell in panel.cells):
        value = trials.loc[trials["trial_id"] == cell.trial_id, norm].item()
        assert math.isnan(cell.y) if pd.isna(value) else cell.y == ["batch", "group"].index(value)
    drawn, *_ = stability_map_panels(info, planes[norm].panels, P, {P: "fp32", LR: 1e-4, norm: "group"})
    assert drawn.figure is not None
    axis = drawn.figure.layout.yaxis
    assert list(axis.ticktext) == ["off", "batch", "group"] and list(axis.tickvals) == [-1, 0, 1]
    by_name = {one.name: one for one in drawn.figure.data}
    assert list(by_name["recommended"].y) == [1.0] and by_name["chance"].type == "heatmap"
    assert [y for y in by_name["hot edge"].y if y is not None] == [-0.5, 0.5, 0.5, 1.5], "an edge ends with its level"


def test_why_there_is_no_map(table: Table) -> None:
    few = study(table, LRS, log_lr, 7)
    need = "A map needs at least 8 judged trainings of at least 6 settings; there are"
    assert evidence(few, LRS).model == NotKnown(f"{need} 7 of 7 settings.")
    assert evidence(table([]), LRS).model == NotKnown(f"{need} 0 of 0 settings.")
    seeds = [
        {LR: lr, "margin": m, "verdict": "stable" if m < 0 else "diverged-loss"}
        for lr, m in [(1e-3, -0.5), (1e-1, 0.5)]
    ]
    assert evidence(table(seeds * 10), LRS).model == NotKnown(f"{need} 20 of 2 settings.")
    assert "All 10 judged trainings were stable" in str(evidence(study(table, LRS, lambda _: -0.5, 10), LRS).model)
    assert "None of 10 judged trainings was stable" in str(evidence(study(table, LRS, lambda _: 0.5, 10), LRS).model)
    words = {P: {"choice": ["fp32", "fp16"]}}
    trials = table([{P: p, "margin": m} for p, m in [("fp32", -0.5), ("fp16", 0.5)] * 5])
    trials["stable"] = trials["margin"] < 0
    assert "needs a numeric setting" in str(evidence(trials, words).model)


def test_what_says_nothing_about_settings_is_left_out(table: Table) -> None:
    """Pruned, crashed, out-of-memory, infeasible and full-size trials change nothing; confirming trials do."""
    trials = study(table, LRS, lambda s: log_lr(s) + 2, 24)
    silent = table(
        [
            {LR: 1e-4, "verdict": "pruned", "margin": math.nan},
            {LR: 1e-4, "verdict": "crashed", "margin": 1.0},
            {LR: 1e-4, "verdict": "out-of-memory", "margin": 1.0},
            {LR: 1e-4, "verdict": "infeasible-data", "margin": 1.0},
            {LR: 1e-4, "verdict": "diverged-loss", "margin": 1.0, "phase": "full_size"},
        ]
    )
    silent["number"] += 100
    places = [{LR: value} for value in np.geomspace(1e-5, 1.0, 9)]
    alone = evidence(trials, LRS).model
    both = evidence(pd.concat([trials, silent], ignore_index=True), LRS).model
    shuffled = evidence(trials.sample(frac=1.0, random_state=3), LRS).model
    confirmed = silent.iloc[4:].assign(phase="confirm")
    more = evidence(pd.concat([trials, confirmed], ignore_index=True), LRS).model
    assert all(isinstance(m, MarginModel) for m in (alone, both, shuffled, more))
    if isinstance(alone, MarginModel) and isinstance(both, MarginModel) and isinstance(shuffled, MarginModel):
        np.testing.assert_array_equal(alone.p_stable(places), both.p_stable(places))
        np.testing.assert_array_equal(alone.p_stable(places), shuffled.p_stable(places))
    assert isinstance(more, MarginModel) and more.p_stable(places)[2] < 0.95


def test_tables_have_a_row_a_point_and_a_row_an_edge(table: Table) -> None:
    _, found = made(table, SPACE, lambda s: log_lr(s) + (2 if s[P] == "fp32" else 9), 48)
    grid, rows = region_tables(found)
    assert list(grid.columns) == ["level", LR, CLIP, "p_stable", "p_break", "p_learn"] and len(grid) == 2 * 25 * 41
    assert grid["p_stable"].between(0, 1).all()
    last = found.panels[-1]
    assert grid["p_stable"].iloc[-1] == last.p_stable[-1][-1] and grid[LR].iloc[-1] == 1.0
    assert len(rows) == sum(max(1, len(row.edges)) for row in found.edges)
    assert {
        "along",
        "boundary",
        "side",
        "value",
        "inner",
        "outer",
        "width",
        "always",
        "num_near",
        "stable_decades",
    } < set(rows)
    unstable = rows[rows[P] == "fp16"]
    assert (unstable["always"] == "unstable").all() and unstable["side"].isna().all()
    assert rows[rows[P] == "fp32"][SCALE].isna().all()


def test_levels_of_several_types_are_kept_as_text(table: Table, tmp_path: Any) -> None:
    space = {"a.skip": {"choice": [True, 2, "all"]}, **LRS}
    model, found = made(table, space, lambda s: log_lr(s) + 2, 24)
    assert [panel.level for panel in found.panels] == [True, 2, "all"]
    grid, rows = region_tables(found)
    assert set(grid["level"]) == {"True", "2", "all"}
    for frame in (grid, rows):
        frame.to_parquet(tmp_path / "table.parquet")


def test_many_dimensions_make_few_rows(table: Table) -> None:
    space = {
        **LRS,
        **{f"model.c{i}": {"choice": ["a", "b", "c"]} for i in range(4)},
        **{f"model.n{i}": {"int": [1, 64], "log": True} for i in range(3)},
    }
    _, found = made(table, space, lambda s: log_lr(s) + 2 + 0.5 * (s["model.c2"] == "b"), 64)
    assert 9 <= len(found.edges) <= 48
    assert {"a", "b", "c"} == {row.at["model.c2"] for row in found.edges}, "what matters most varies"
    assert all(isinstance(row.at[f"model.n{i}"], int) for row in found.edges for i in range(3))
