import ast
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
import pytest

import sweep
from slr_models.errors import ResultsError
from sweep import store
from sweep.records import HealthMetric, HealthRecord
from sweep.report.command import main
from sweep.report.notebook import Results
from tests.docs.blocks import example

Make = Callable[..., Path]
ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def loaded(results: Path) -> Results:
    return sweep.load(results)


def titles(figure: go.Figure) -> set[str]:
    """Of all axes."""
    return {axis.title.text for axis in (*figure.select_xaxes(), *figure.select_yaxes()) if axis.title.text}


def test_frames_are_those_of_the_store(loaded: Results, results: Path) -> None:
    trials = loaded.trials
    assert len(trials) == 39 and trials["trial_id"].is_unique
    assert trials["cause"].notna().sum() == sum(
        store.read_explanation(results, trial_id) is not None for trial_id in trials["trial_id"]
    )
    assert loaded.steps("t0003").equals(store.read_steps(results, "t0003"))
    assert loaded.evals("t0000").equals(store.read_evals(results, "t0000"))
    assert loaded.study["name"] == "precision-and-lr" and "versions" in loaded.study["provenance"]
    assert loaded.claims.empty and "verdict" in loaded.claims


def test_changing_a_frame_changes_no_figure(results: Path) -> None:
    loaded = sweep.load(results)
    loaded.trials["verdict"] = "mine"
    assert (loaded.trials["verdict"] == "mine").all(), "it is the user's own frame"
    assert "mine" not in loaded.figures.lr().to_json() and "mine" not in loaded._repr_html_()


def test_the_map_its_edges_and_what_matters(loaded: Results) -> None:
    stability_map, edges = loaded.stability_map, loaded.edges
    assert stability_map["p_stable"].between(0, 1).all()
    assert set(stability_map["level"]) == {"fp32", "bf16", "fp16"}
    assert set(store.EDGE_SCHEMA.names) <= set(edges)
    assert edges["value"].dropna().between(1e-4, 1e-1).all()
    shares = loaded.importance
    assert shares.loc["training.optimizer.lr", "name"] == "learning rate"
    assert shares["sobol_total"].idxmax() == "training.optimizer.lr"


def test_the_recommendation_is_the_reports(loaded: Results, report: Path) -> None:
    assert loaded.recommendation.setting["training.precision.kind"] in {"fp32", "bf16", "fp16"}
    assert loaded.recommendation.headline == loaded.headline
    assert loaded.headline.replace(" %", "\u00a0%") in report.read_text(encoding="utf-8")
    shown = loaded._repr_html_()
    assert loaded.headline in shown and "39 trials" in shown
    assert all(verdict in shown for verdict in loaded.trials["verdict"])
    assert repr(loaded).endswith(f"39 trials, {loaded.trials['stable'].sum()} of them stable>")


def test_every_trial_is_on_both_figures_of_all_trials(loaded: Results) -> None:
    found = loaded.figures.map()
    assert titles(found) == {"learning rate (log scale)", "clip norm (log scale)"}
    assert sum(len(trace.customdata) for trace in found.data if trace.customdata is not None) == 39
    assert [note.text for note in found.layout.annotations] == [
        f"<b>precision {p}</b>" for p in ("fp32", "bf16", "fp16")
    ]
    found = loaded.figures.lr()
    assert titles(found) == {"learning rate (log scale)", "val. loss (nats/label)", "WER"}
    shown = [trace.name for trace in found.data if trace.showlegend]
    assert sorted(shown) == sorted(set(loaded.trials["verdict"])), "each outcome once"


def test_panels_stay_in_their_own_cells(loaded: Results) -> None:
    figure = loaded.figures.lr()
    domains = [axis.domain for axis in figure.select_xaxes()]
    assert len(domains) == 3
    assert all(left[1] < right[0] for left, right in zip(domains, domains[1:], strict=False))
    axes = {f"{trace.xaxis}/{trace.yaxis}" for trace in figure.data}
    assert axes == {f"x{x}/y{y}" for x, ys in (("", ("", 2, 3)), (2, (4, 5, 6)), (3, (7, 8, 9))) for y in ys}
    lines = [
        (shape.yref, round(shape.x0, 6), round(shape.x1, 6)) for shape in figure.layout.shapes if shape.yref != "paper"
    ]
    assert set(lines) == {
        (yref, round(low, 6), round(high, 6)) for yref, (low, high) in zip(("y", "y4", "y7"), domains, strict=True)
    }


def test_courses_stand_below_each_other(loaded: Results) -> None:
    figure = loaded.figures.traces("t0016", "t0001")
    assert {"training step", "loss (nats/label)", "gradient norm<br>before clipping (L2)"} <= titles(figure)
    texts = [note.text for note in figure.layout.annotations]
    assert "<b>Trial t0016: stalled</b>" in texts and "would have been stopped: stalled" in texts
    first, second = (axis.domain for axis in figure.select_yaxes(lambda axis: axis.title.text == "loss (nats/label)"))
    assert first[0] > second[1]
    losses = [trace for trace in figure.data if trace.name == "training loss"]
    assert [trace.x[-1] for trace in losses] == [loaded.steps(t)["step"].max() for t in ("t0016", "t0001")]
    examples = loaded.figures.traces()
    assert sum(note.text.startswith("<b>Trial") for note in examples.layout.annotations) > 3


def test_trials_are_compared_in_one_figure(loaded: Results) -> None:
    figure = loaded.figures.compare("t0016", "t0001")
    assert [one.name for one in figure.data if one.showlegend] == ["16: training loss", "1: training loss"]
    with pytest.raises(ResultsError, match="name the trials"):
        loaded.figures.compare()
    with pytest.raises(ResultsError, match="no trial 'x'"):
        loaded.figures.compare("t0016", "x")


def test_the_map_is_drawn_over_settings_of_ones_choice(tmp_path: Path, make_results: Make) -> None:
    full_size = {"path": "model.width", "target": 1.0, "trainings": 2}
    loaded = sweep.load(make_results(tmp_path, num_trials=54, full_size=full_size))
    assert any("width" in title for title in titles(loaded.figures.map("width", "learning rate")))
    assert titles(loaded.figures.map("model.width", "training.optimizer.lr")) == titles(
        loaded.figures.map("width", "learning rate")
    )
    with pytest.raises(ResultsError, match="no map over width and seed: there are learning rate and clip norm; "):
        loaded.figures.map("width", "seed")


def test_all_trials_at_a_glance_and_in_half_precision(loaded: Results) -> None:
    lines = loaded.figures.parallel().data[0]
    assert [one.label for one in lines.dimensions][:2] == ["precision", "learning rate (log scale)"]
    assert {len(one["values"]) for one in lines.dimensions} == {39} == {len(lines.line.color)}
    stable = [outcome.startswith(("stable", "spiky")) for outcome in loaded.trials["verdict"]]
    assert sum(stable) == sum(value in (0, 1) for value in lines.line.color), "one shade an outcome, in their order"
    assert "loss scale (log axis)" in titles(loaded.figures.scales())
    with pytest.raises(ResultsError, match="no numeric health"):
        loaded.figures.headroom()


def test_a_panel_without_trials_says_so(tmp_path: Path, make_results: Make) -> None:
    figure = sweep.load(make_results(tmp_path, num_trials=2, num_confirm=0)).figures.lr()
    assert len(list(figure.select_xaxes())) == 2
    assert "No trial was run here yet." in [note.text for note in figure.layout.annotations]


def test_what_matters_is_drawn(loaded: Results) -> None:
    figure = loaded.figures.importance()
    assert [trace.name for trace in figure.data] == ["Stability, alone", "Stability, with others"]
    assert titles(figure) == {"share"}
    assert list(figure.data[1].x) == pytest.approx(loaded.importance["sobol_total"].tolist(), nan_ok=True)
    assert loaded.importance["sobol_total"].notna().any()


def test_the_width_is_drawn_where_a_study_asks(tmp_path: Path, make_results: Make) -> None:
    size = {"path": "model.width", "target": 1.0, "trainings": 2}
    figure = sweep.load(make_results(tmp_path, full_size=size)).figures.size()
    assert titles(figure) == {"width (log scale)", "learning rate (log scale)"}


def test_claims_are_a_row_each(
    tmp_path: Path, make_experiment: Make, make_claim: Callable[..., dict[str, Any]]
) -> None:
    claims = [make_claim("fewer_stable"), make_claim("worse", response="wer", expected="higher")]
    loaded = sweep.load(make_experiment(tmp_path, claims))
    found = loaded.claims.set_index("name")
    assert list(found.index) == ["fewer_stable", "worse"]
    assert set(found["verdict"]) <= {"supported", "refuted", "equivalent", "undecided"}
    assert (found["num_pairs"] > 0).all() and (found["low"] <= found["estimate"]).all()
    assert loaded.headline.startswith("2 claims") and loaded.headline in loaded._repr_html_()


@pytest.mark.parametrize("case", ["missing", "empty", "file"])
def test_a_wrong_folder_is_the_reports_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str], case: str) -> None:
    folder = tmp_path / case
    if case == "empty":
        folder.mkdir()
    elif case == "file":
        folder.write_text("not a folder")
    with pytest.raises(ResultsError) as error:
        sweep.load(str(folder))
    assert main([str(folder)]) == 2
    assert capsys.readouterr().err == f"error: {error.value}\n"
    assert "\n" not in str(error.value)


def test_what_is_not_there_is_told(tmp_path: Path, make_results: Make) -> None:
    loaded = sweep.load(make_results(tmp_path, num_trials=3, num_confirm=0, space={}))
    assert loaded.edges.empty and loaded.stability_map.empty and loaded.importance.empty
    with pytest.raises(ResultsError, match="has no trial '7': its trials are t0000 to t0002"):
        loaded.steps("7")
    with pytest.raises(ResultsError, match="has no trial '7'"):
        loaded.figures.traces("7")
    with pytest.raises(ResultsError, match="has no health of trial t0000"):
        loaded.health("t0000")
    with pytest.raises(ResultsError, match="does not search the learning rate"):
        loaded.figures.lr()
    with pytest.raises(ResultsError, match="too few trials"):
        loaded.figures.importance()
    with pytest.raises(ResultsError, match="full_size"):
        loaded.figures.size()
    store.write_health(tmp_path, "t0000", [HealthRecord(10, HealthMetric.ATTENTION_LOGIT_MAX, "encoder.0", 2.0)])
    assert loaded.health("t0000")["value"].tolist() == [2.0]


def test_a_study_without_a_trial_opens(tmp_path: Path, make_results: Make) -> None:
    loaded = sweep.load(make_results(tmp_path, num_trials=0))
    assert loaded.trials.empty and "No trial has finished yet" in loaded._repr_html_()
    with pytest.raises(ResultsError, match="no trial has finished yet"):
        loaded.figures.traces()


@pytest.mark.slow
def test_neither_torch_nor_ray_nor_optuna_is_imported(results: Path) -> None:
    code = (
        "import sys, sweep\n"
        "light = [m for m in ('torch', 'pandas', 'plotly', 'sklearn') if m in sys.modules]\n"
        f"loaded = sweep.load({str(results)!r})\n"
        "loaded._repr_html_(), loaded.figures.map(), loaded.figures.lr(), loaded.figures.traces('t0000')\n"
        "print(light, [m for m in ('torch', 'ray', 'optuna') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[] []"


def test_the_example_notebook_runs(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWEEP_RESULTS", str(results))
    notebook = json.loads((ROOT / "examples" / "results.ipynb").read_text(encoding="utf-8"))
    assert notebook["nbformat"] == 4
    names: dict[str, Any] = {}
    shown = []
    for cell in notebook["cells"]:
        if cell["cell_type"] != "code":
            continue
        assert cell["outputs"] == [] and cell["execution_count"] is None
        *statements, last = ast.parse("".join(cell["source"])).body
        assert isinstance(last, ast.Expr), "each cell ends with what it shows"
        exec(compile(ast.Module(statements, []), "results.ipynb", "exec"), names)
        shown.append(eval(compile(ast.Expression(last.value), "results.ipynb", "eval"), names))
    assert sum(isinstance(value, go.Figure) for value in shown) == 5
    assert shown[-1]["trials"].sum() == 39


def test_the_snippet_of_the_docs_runs(results: Path) -> None:
    source = example("python", "sweep.load(")
    names: dict[str, Any] = {}
    exec(source.replace("results/teacher_stability", str(results)).replace('"00', '"t00'), names)
    assert isinstance(names["results"], Results)
