import base64
import dataclasses
import gzip
import html
import json
import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from sweep import store
from sweep.analysis.answer.pareto import pareto_front
from sweep.analysis.figures.stability_map import MapCell, MapInfo, MapPanel
from sweep.analysis.region.contrast import Contrast
from sweep.analysis.region.matters import Curve, Matters, SettingPair, Together
from sweep.analysis.region.region import (
    BoundaryEdge,
    EdgeRow,
    Influence,
    Interaction,
    MapCalibration,
    Region,
    RegionPanel,
    Stretch,
    Volume,
)
from sweep.analysis.region.transfer_fit import WidthFit
from sweep.analysis.trials.dimensions import Dimension
from sweep.boundary.edges import Edge
from sweep.records import EvalRecord, NotKnown, Outcome
from sweep.report import build_report
from sweep.report.contents.full_size import FullSizeTraining, full_size_trainings
from sweep.report.contents.importance import Question, importance_table
from sweep.report.contents.transfer import Transfer
from sweep.report.contents.view import load_view
from sweep.report.figures.stability_map import stability_map_panels
from sweep.report.figures.together import together_panel
from sweep.report.figures.transfer import transfer_panel
from sweep.report.sections.answer import chance_percent
from sweep.report.sections.edge_table import edge_table
from sweep.report.sections.matters import pairs_text, told_text
from sweep.report.sections.region_text import (
    calibration_text,
    contrast_lines,
    map_notes,
    open_text,
    reliability_text,
    transfer_lines,
)
from sweep.report.theme import dark_swaps
from sweep.wording import number

Make = Callable[..., Path]

LR = Dimension("training.optimizer.lr", "learning rate", "number", True, 1e-4, 1.0)
CLIP = Dimension("training.clip.max_norm", "clip norm", "number", True, 0.1, 10.0)
INIT = Dimension("model.init_scale", "init scale", "number", True, 0.1, 10.0)
PRECISION = Dimension("training.precision.kind", "precision", "category", levels=("fp32", "fp16"))
DIMS = (PRECISION, LR, CLIP, INIT)
NAMES = {dim.path: dim.name for dim in DIMS}
BOTH: set[Question] = {"stability", "result"}


def cell(number: int, x: float, y: float, outcome: Outcome) -> MapCell:
    return MapCell(f"t{number}", number, 0, x, y, outcome, "")


def panel(level: Any, fixed: Mapping[str, Any], ys: tuple[float, ...] = (0.1, 10.0)) -> RegionPanel:
    p = tuple((0.97123, 0.6, 0.01) for _ in ys or (None,))
    p_break, p_learn = (tuple(row for _ in ys or (None,)) for row in ((0.02, 0.3, 0.99), (0.98, 0.9, 0.5)))
    return RegionPanel(level, (1e-4, 1e-2, 1.0), ys, p, p_break, p_learn, fixed)


def region(**changes: Any) -> Region:
    """A made-up map: a cold edge at 1e-3 and a hot one at 1e-1 with fp32, always stable with fp16."""
    cold = BoundaryEdge("learn", Edge("cold", 1e-3, 1e-2, 1e-4, 2.0))
    hot = BoundaryEdge("break", Edge("hot", 1e-1, 1e-2, 1.0, 2.0))
    open_ones, whole = (Stretch(0.0, 0.5, open=True), Stretch(0.5, 1.0, open=True)), (Stretch(0.0, 1.0, open=False),)
    values: dict[str, Any] = {
        "along": LR,
        "y": CLIP,
        "panel": PRECISION,
        "panels": (panel("fp32", {INIT.path: 1.0}), panel("fp16", {INIT.path: 2.0})),
        "edges": (
            EdgeRow(
                {PRECISION.path: "fp32", CLIP.path: 1.0, INIT.path: 1.0}, (cold, hot), None, 7, 2.0, True, open_ones
            ),
            EdgeRow({PRECISION.path: "fp16", CLIP.path: 1.0, INIT.path: 1.0}, (), "stable", 3, 4.0, True, whole),
        ),
        "volumes": (Volume("fp32", 0.5, 0.3, 0.4), Volume("fp16", 1.0, 0.9, 0.1)),
        "influences": (Influence(LR.path, LR.name, 0.7, 0.8), Influence(CLIP.path, CLIP.name, 0.0, 0.2)),
        "interactions": (Interaction((LR.path, CLIP.path), 0.12),),
        "calibration": MapCalibration(40, 0.06, 0.24, 0.05, 0.07),
        "break_calibration": MapCalibration(38, 0.03, 0.2, 0.04, 0.07),
        "learn_calibration": MapCalibration(30, 0.1, 0.2, 0.06, 0.07),
        "open_width": 0.4,
        "num_trainings": 40,
    }
    return Region(**{**values, **changes})


def info(y: Dimension | None = CLIP, num_changed: int = 0) -> MapInfo:
    cells = (cell(0, 1e-2, 1.0, Outcome.STABLE), cell(1, 0.5, math.nan, Outcome.STALLED))
    more = (cell(2, 1e-2, 1.0, Outcome.PRUNED),)
    return MapInfo(LR, y, "precision", (MapPanel("fp32", cells, None), MapPanel("fp16", more, None)), num_changed)


def traces(figure: Any) -> dict[str, Any]:
    return {trace["name"]: trace for trace in json.loads(figure.to_json())["data"]}


def test_the_map_lies_under_the_marks_with_both_lines_and_the_recommended_place() -> None:
    recommended = {PRECISION.path: "fp32", LR.path: 3e-3, CLIP.path: 0.5, INIT.path: 1.0}
    fp32, fp16 = stability_map_panels(info(), region().panels, PRECISION.path, recommended)
    drawn = traces(fp32.figure)
    assert list(drawn) == ["chance", "95 %", "hot edge", "cold edge", "stable", "stalled", "recommended"]
    assert drawn["chance"]["z"] == [[0.971, 0.6, 0.01]] * 2 and drawn["chance"]["x"] == [1e-4, 1e-2, 1.0]
    assert drawn["hot edge"]["z"][0] == [0.02, 0.3, 0.99]
    assert drawn["cold edge"]["z"][0] == [0.98, 0.9, None], "none where training breaks"
    assert drawn["hot edge"]["line"]["width"] > drawn["95 %"]["line"]["width"] and drawn["cold edge"]["line"]["dash"]
    assert [drawn[name]["contours"]["start"] for name in ("hot edge", "cold edge", "95 %")] == [0.5, 0.5, 0.95]
    assert drawn["chance"]["text"][0][1] == "30% to break, 90% to learn if it does not"
    unknown = [dataclasses.replace(grid, p_learn=()) for grid in region().panels]
    without = traces(stability_map_panels(info(), unknown, PRECISION.path, {})[0].figure)
    assert "cold edge" not in without and without["chance"]["text"][0][1] == "30% to break"
    assert (drawn["recommended"]["x"], drawn["recommended"]["y"]) == ([3e-3], [0.5])
    assert "recommended" not in traces(fp16.figure), "it has another precision"
    assert fp32.summary.startswith("learning rate against clip norm: 1 of 2 trials stable; the chance")
    assert "0 of 0 trials stable" in fp16.summary, "a pruned trial is not judged"
    low, high = drawn["stalled"]["y"][0], 0.1
    assert low < high, "a trial without a clip norm lies beside the range"


def test_the_map_of_one_setting_is_a_curve_with_the_trials_on_either_side() -> None:
    grids = (panel("fp32", {}, ()), panel("fp16", {}, ()))
    fp32, fp16 = stability_map_panels(info(y=None), grids, PRECISION.path, {PRECISION.path: "fp32", LR.path: 9e-3})
    drawn = traces(fp32.figure)
    assert drawn["chance of a stable training"]["y"] == [0.971, 0.6, 0.01]
    assert drawn["chance to break"]["y"][2] == 0.99 and drawn["chance to learn, if it does not break"]["y"][2] == 0.5
    assert drawn["stable"]["y"][0] > 1 > 0 > drawn["stalled"]["y"][0]
    assert 0.4 < traces(fp16.figure)["pruned"]["y"][0] < 0.6, "of an open end nobody can tell"
    notes = map_notes(info(y=None), NotKnown("Too few."), (), {}, NAMES)
    assert "failed ones below it, those of which nobody can tell in the middle" in notes[0]
    assert (drawn["recommended"]["x"], drawn["recommended"]["y"]) == ([9e-3], [0.6])


def test_without_a_model_the_trials_stand_alone_and_the_reason_beside_them() -> None:
    fp32, _ = stability_map_panels(info(), (), None, {PRECISION.path: "fp32", LR.path: 3e-3, CLIP.path: 0.5})
    assert {"stable", "stalled"} <= set(traces(fp32.figure)) and "chance" not in traces(fp32.figure)
    notes = map_notes(info(num_changed=2), NotKnown("Too few."), (), {}, NAMES)
    assert notes[1] == "No chance of a stable training is drawn. Too few."
    assert "2 trials are not on the map" in notes[2]


def test_the_notes_say_at_which_other_settings_the_colours_hold() -> None:
    notes = map_notes(info(), region(), region().panels, {PRECISION.path: "fp32", INIT.path: 1.0}, NAMES)
    assert notes[1:] == ["The colours are for init scale 1 (fp32); init scale 2 (fp16)."]
    apart = map_notes(info(), region(), region().panels, {PRECISION.path: "fp16", INIT.path: 1.0}, NAMES)
    assert apart[2] == "The ring shows the recommended setting by its axes only; it has init scale 1."
    same = region(panels=(panel("fp32", {INIT.path: 1.0}), panel("fp16", {INIT.path: 1.0})))
    assert map_notes(info(), same, same.panels, {}, NAMES)[1] == "The colours are for init scale 1."
    drawn = {path: name for path, name in NAMES.items() if path != INIT.path}
    assert map_notes(info(), region(), (panel("fp32", {}),), {}, drawn) == ["One mark a trial."]


def test_a_slice_shows_its_edges_and_its_stable_stretch() -> None:
    table = edge_table(region(), NAMES)
    assert (table.columns, table.fixed) == (("precision",), "clip norm 1, init scale 1")
    fp32, fp16 = table.lines
    assert (fp32.cold, fp32.cold_interval) == ("0.001", "0.0001 to 0.01")
    assert (fp32.hot, fp32.hot_interval) == ("0.1", "0.01 to 1")
    assert fp32.stretches == region().edges[0].stretches
    assert fp32.reading == "works above 0.001, fails above 0.1"
    assert (fp16.cold, fp16.hot) == ("no edge in range",) * 2
    never = edge_table(region(edges=(EdgeRow({}, (), "unstable", 0, 0.0),)), NAMES).lines[0]
    assert (never.cold, never.stretches, never.reading) == ("never stable", (), "unstable over the whole range")


def test_plain_words_on_how_well_the_map_is_known() -> None:
    text = calibration_text(region().calibration)
    assert "Brier score) is 0.06, 75 % smaller than that of always naming the overall rate (0.24)" in text
    assert "off by 5 percentage points on average (ECE); chances that are all true would show up to 7 in nine" in text
    assert "do not rely on the colours" in calibration_text(MapCalibration(9, 0.3, 0.24, 0.2, 0.07))
    assert text.startswith("Each of 40 trainings was predicted from the settings of the other four fifths, ")
    assert reliability_text(region()).endswith("Of one boundary alone it is smaller by: breaking 85 %, learning 50 %.")
    assert reliability_text(region(learn_calibration=None)).endswith("alone it is smaller by: breaking 85 %.")
    assert open_text(region()) == "An edge is 0.4 decades wide on average, from a chance of 90 % to 10 %."
    assert open_text(region(open_width=math.nan)) == ""
    assert [chance_percent(p) for p in (1.0, 0.979, 0.001)] == ["over 99 %", "97 %", "under 1 %"]


def known_matters(**changes: Any) -> Matters:
    """What can be told from noise: of stability the learning rate, of the result both."""
    values: dict[str, Any] = {
        "num_settings": 40,
        "stability": frozenset({LR.path}),
        "result": frozenset({LR.path, CLIP.path}),
        "ranges": {LR.path: ((0.5, 0.8), (0.7, 0.9)), CLIP.path: ((0.0, 0.1), (0.1, 0.3))},
        "pairs": (),
        "together": None,
    }
    return Matters(**{**values, **changes})


def test_what_matters_puts_the_boundary_first_and_the_margin_in_its_place() -> None:
    importance = {
        "fanova": {LR.path: 0.6, CLIP.path: 0.4}, "margin": {LR.path: 0.1, CLIP.path: 0.9},
        "fanova_low": {LR.path: 0.5, CLIP.path: 0.2}, "fanova_high": {LR.path: 0.7, CLIP.path: 0.5},
    }  # fmt: skip
    table = importance_table(region(), importance, DIMS, known_matters())
    assert table is not None
    assert [c.title for c in table.columns] == ["Stability, alone", "Stability, with others", "Result, fANOVA"]
    assert [(r.name, r.shares) for r in table.rows] == [
        ("learning rate", (0.7, 0.8, 0.6)),
        ("clip norm", (0.0, 0.2, 0.4)),
    ]
    assert table.rows[1].ranges == ((0.0, 0.1), (0.1, 0.3), (0.2, 0.5))
    assert [row.told for row in table.rows] == [(True, True, True), (False, False, True)]
    instead = importance_table(NotKnown("Too few."), importance, DIMS, known_matters(ranges={}))
    assert instead is not None and [c.title for c in instead.columns] == ["Stability, fANOVA", "Result, fANOVA"]
    assert [r.name for r in instead.rows] == ["clip norm", "learning rate"]
    assert math.isnan(instead.rows[0].ranges[0][0]), "nobody wrote the range of this measure"
    assert importance_table(NotKnown("Too few."), {}, DIMS, known_matters()) is None


def test_only_what_can_be_told_from_noise_is_said_to_matter() -> None:
    nothing: frozenset[str] = frozenset()
    told = told_text(known_matters(), NAMES, BOTH)
    assert told == "Stability depends on learning rate; the result depends on learning rate and clip norm."
    same = known_matters(result=frozenset({LR.path}))
    assert told_text(same, NAMES, {"stability"}) == "Stability depends on learning rate."
    assert told_text(same, NAMES, BOTH) == "Stability and the result depend on learning rate."
    half = known_matters(stability=nothing)
    assert told_text(half, NAMES, BOTH).startswith("For stability no setting can be told from noise; the result ")
    noise = told_text(known_matters(stability=nothing, result=nothing), NAMES, BOTH)
    assert noise.startswith("No setting can be told from noise") and "with 40 settings tried" in noise
    few = told_text(known_matters(num_settings=7, stability=None, result=None), NAMES, BOTH)
    assert few == "7 different settings were judged: too few to tell any influence from noise (at least 12)."
    assert pairs_text(known_matters(), NAMES, has_model=True).startswith("No two settings can be told to act together")
    assert pairs_text(known_matters(), NAMES, has_model=False) == ""
    pair = SettingPair((LR.path, CLIP.path), 0.12, 0.001)
    assert pairs_text(known_matters(pairs=(pair,)), NAMES, has_model=True).startswith(
        "On stability learning rate and clip norm act together"
    )


def test_a_pair_is_drawn_as_a_curve_for_each_value_of_the_other() -> None:
    curves = (Curve(0.1, (0.9, 0.6, 0.1), (2e-2,)), Curve(10.0, (0.4, 0.2, 0.1), ()))
    panel = together_panel(Together(LR.path, CLIP.path, (1e-4, 1e-2, 1.0), curves), {dim.path: dim for dim in DIMS})
    drawn = traces(panel.figure)
    assert drawn["0.1"]["y"] == [0.9, 0.6, 0.1] and drawn["10"]["x"] == [1e-4, 1e-2, 1.0]
    assert drawn["0.1"]["line"]["dash"] != drawn["10"]["line"]["dash"], "told apart without colour too"
    assert {line["line"]["color"] for line in drawn.values()} <= set(dark_swaps())
    assert "with clip norm 0.1 it passes 50 % at 0.02; with clip norm 10 it does not pass 50 %" in panel.summary


FIT = WidthFit((0.125, 0.25, 0.5), (0.04, 0.02, 0.01), (0.05, 0.05, math.inf), -1.0, -1.3, -0.7, 1.0, 0.005, 0.002,
               0.0125, None)  # fmt: skip
TESTED = (
    FullSizeTraining("t7", 7, 1, 1.7e-3, Outcome.STABLE, 0.5, 0.12),
    FullSizeTraining("t8", 8, 2, 1.5e-2, Outcome.DIVERGED_LOSS, math.nan, math.nan),
)


def test_the_edge_at_full_size_is_drawn_with_what_was_tested_there() -> None:
    shown = transfer_panel(FIT, TESTED, "width", "learning rate")
    drawn = traces(shown.figure)
    assert (drawn["fit"]["x"], drawn["fit"]["y"]) == ([0.125, 1.0], [0.04, 0.005])
    expected = drawn["expected"]
    assert math.isclose(expected["y"][0] + expected["error_y"]["array"][0], 0.0125)
    assert drawn["stable"]["y"] == [1.7e-3] and drawn["diverged-loss"]["customdata"] == ["t8"]
    assert all(math.isfinite(v) for v in drawn["edge"]["error_y"]["array"])
    assert max(drawn["interval"]["x"]) == 1.0 and all(v > 0 for v in drawn["interval"]["y"])
    assert "0.005, 0.002 to 0.0125" in shown.summary
    assert transfer_panel(NotKnown("No trend."), (), "width", "learning rate").why_empty == "No trend."
    told = transfer_lines(Transfer("width", "learning rate", FIT, TESTED))
    assert "to the power -1 (95 % interval -1.3 to -0.7, from 3 values of it)" in told[0]
    assert "At width 1 expect the edge at 0.005 (95 % prediction interval 0.002 to 0.013)" in told[0]
    assert told[1] == "Tested at width 1: with 0.0017 stable (WER 12 %); with 0.015 diverged-loss."
    assert "Nothing was trained" in transfer_lines(Transfer("width", "learning rate", FIT, ()))[1]


def page_of(folder: Path) -> str:
    return build_report(folder).read_text(encoding="utf-8")


def text_of(page: str, name: str) -> str:
    found = re.search(rf'<section id="{name}".*?</section>', page, re.DOTALL)
    assert found is not None, f"there is no section {name}"
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", found.group(0))).split())


def figures_of(page: str) -> dict[str, Any]:
    packed = re.search(r'id="payload-gz">([^<]+)<', page)
    assert packed is not None
    found: dict[str, Any] = json.loads(gzip.decompress(base64.b64decode(packed.group(1))))["figures"]
    return found


def test_a_report_tells_where_training_is_stable(report: Path) -> None:
    page = report.read_text(encoding="utf-8")
    answer = text_of(page, "answer")
    assert "chance that a fresh training is stable" in answer and "Safety rule" in answer
    assert "The hot edge of the learning rate lies at" in answer and "decades" in answer
    region_text = text_of(page, "map")
    assert "How much of the searched space is stable" in region_text
    assert "Edges of the learning rate" in region_text and "Brier score" in region_text
    assert "Share of L_const" in text_of(page, "lr")
    assert "Stability, with others" in text_of(page, "matters")
    assert 'id="size"' not in page and 'id="front"' not in page
    assert page.index('id="map"') < page.index('id="lr"') < page.index('id="matters"') < page.index('id="traces"')


def test_the_snippet_stands_beside_the_recipe_with_a_copy_button_each(report: Path) -> None:
    page = report.read_text(encoding="utf-8")
    assert re.findall(r'data-copy="(\w+)"', page) == ["recipe", "recipe", "snippet"]
    code = re.search(r'<pre id="snippet"[^>]*>(.*?)</pre>', page, re.DOTALL)
    assert code is not None
    compile(html.unescape(code.group(1)), "snippet", "exec")
    assert "torch" in code.group(1) and "slr_models" not in code.group(1)


def test_pruned_trials_are_shown_but_not_judged_and_the_front_is_listed(tmp_path: Path, make_results: Make) -> None:
    folder = make_results(tmp_path, num_pruned=6, search={"kind": "nsga2", "cost": "step_time_s"})
    page = page_of(folder)
    outcomes = text_of(page, "failures")
    assert "Of 6 trials nobody can tell how they would have gone: 6 ended by a scheduler or by hand" in outcomes
    assert page.count('data-outcome="pruned"') == 6
    trials = store.read_trials(folder)
    judged = trials[trials["verdict"] != "pruned"]
    for level in ("fp32", "bf16", "fp16"):
        here = judged[(judged["training.precision.kind"] == level) & (judged["phase"] == "explore")]
        assert f"{int((~here['stable']).sum())} of {len(here)} failed" in outcomes
    marks = [trace for i in range(3) for trace in figures_of(page)[f"map-{i}"]["data"] if trace["name"] == "pruned"]
    assert sum(len(trace["x"]) for trace in marks) == 6
    assert "pruned" not in outcomes[outcomes.index("What was found to be the cause") :]
    cost = text_of(page, "front")
    assert "time of a step, s" in cost and "precision" in cost
    front = pareto_front(load_view(folder).evidence, "wer", "step_time_s")
    assert front and all(number(row.cost) in cost for row in front)


def test_importance_that_cannot_be_told_from_noise_is_not_shown(tmp_path: Path, make_results: Make) -> None:
    folder = make_results(tmp_path, num_trials=6, num_confirm=0)
    assert "How much each setting matters" not in page_of(folder), "too few trials for a model"
    shares = {"fanova": {LR.path: 0.9, CLIP.path: 0.1}, "margin": {LR.path: 0.8, CLIP.path: 0.2}}
    (folder / "importance.json").write_text(json.dumps(shares))
    matters = text_of(page_of(folder), "matters")
    assert "6 different settings were judged: too few to tell" in matters
    assert "fANOVA" not in matters and "90 %" not in matters, "a share of noise is no finding"


@pytest.mark.slow
def test_full_size_trainings_stand_apart_from_the_searched_space(tmp_path: Path, make_results: Make) -> None:
    full_size = {"path": "model.width", "target": 1.0, "trainings": 2}
    page = page_of(make_results(tmp_path, num_trials=54, full_size=full_size))
    trials = store.read_trials(tmp_path)
    assert [t.place for t in full_size_trainings(trials, LR, "model.width", 1.0)] == [5e-4, 1e-2]
    assert full_size_trainings(trials, LR, "model.width", 2.0) == (), "those at a former target are no tests of this"
    assert "2 at full size" in text_of(page, "answer")
    size = text_of(page, "size")
    assert "Tested at width 1: with 0.0005 stable" in size and "with 0.01 diverged" in size
    figures = figures_of(page)
    on_map = sum(len(t["customdata"]) for i in range(3) for t in figures[f"map-{i}"]["data"] if "customdata" in t)
    assert on_map == 57 and page.count("<tr data-id") == 59
    assert "size-0" in figures


def test_a_study_of_one_number_has_a_curve(tmp_path: Path, make_results: Make) -> None:
    page = page_of(make_results(tmp_path, space={LR.path: {"loguniform": [1e-4, 1e-1], "when": {}}}))
    drawn = {trace["name"]: trace for trace in figures_of(page)["map-0"]["data"]}
    assert drawn["chance of a stable training"]["mode"] == "lines" and len(drawn["chance to break"]["x"]) > 20
    assert "chance of a stable training" in text_of(page, "map")


def test_a_recommended_setting_that_memorises_is_told_where_to_stop(tmp_path: Path, make_results: Make) -> None:
    folder = make_results(tmp_path)
    assert "memorises" not in text_of(page_of(folder), "answer")
    chosen = load_view(folder).recommendation.chosen
    assert chosen is not None
    rows = pq.read_table(folder / "trials.parquet").to_pylist()
    for row in rows:
        if row["trial_id"] in chosen.group.trial_ids:
            row |= {"val_loss": 2.79, "best_val_loss": 2.2, "final_train_loss": 0.5}
            losses = {100: 2.9, 200: 2.2, 400: 2.79}
            evals = [EvalRecord(step, loss, 1, 0, 0, 10, 0.5, 0.5, 0.1) for step, loss in losses.items()]
            store.write_evals(folder, row["trial_id"], evals)
    store.write_trials(folder, rows)
    answer = text_of(page_of(folder), "answer")
    assert "It memorises its training data: the training loss fell to 0.5 nats a label, but the validation" in answer
    assert "loss ended at 2.79, 90 % of the loss of learning nothing, after 2.2 at its lowest." in answer
    assert "Its validation loss was lowest at step 200." in answer and "Train it for longer" not in answer


def test_hot_edges_of_categories_are_told_against_each_other() -> None:
    assert contrast_lines(region()) == []
    found = contrast_lines(
        region(
            contrasts=(
                Contrast("bf16", "fp32", -0.02, -0.2, 0.1, at_end=False),
                Contrast("fp16", "fp32", -0.5, -0.7, -0.3, at_end=False),
                Contrast("fp8", "fp32", -2.0, -3.0, -1.0, at_end=True),
            )
        )
    )
    assert "precision bf16 lies 0.02 decades below that of fp32 (95 % interval -0.20 to +0.10)" in found[0]
    assert found[0].endswith("no difference can be told, and one of more than 0.2 decades is unlikely.")
    assert found[1].endswith("lower beyond chance.") and found[2].endswith("beyond the searched range.")
