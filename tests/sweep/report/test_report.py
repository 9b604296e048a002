import base64
import gzip
import html
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from slr_models.errors import ResultsError
from sweep import store
from sweep.records import Cause, Explanation, HealthMetric, HealthRecord, Outcome
from sweep.report import build_report
from sweep.report.command import main
from sweep.report.theme import EDGE_COLOURS, MAP_COLOURS, MARKS, PAGE_COLOURS, TRIAL_COLOURS, dark_swaps, svg_symbol

Make = Callable[..., Path]


def payload(page: str, name: str = "payload") -> dict[str, Any]:
    packed = re.search(rf'id="{name}-gz">([^<]+)<', page)
    assert packed is not None
    content: dict[str, Any] = json.loads(gzip.decompress(base64.b64decode(packed.group(1))))
    return content


def courses(page: str) -> dict[str, dict[str, Any]]:
    """Trial id -> its packed course."""
    return {trial_id: json.loads(text) for trial_id, text in payload(page, "courses").items()}


def told(page: str) -> dict[str, str]:
    """Trial id -> what the page says beside its course."""
    trials = payload(page, "trials")
    return dict(zip(trials["ids"], trials["told"], strict=True))


def num_marks(figure: dict[str, Any]) -> int:
    """Trials on a figure."""
    return sum(len(trace["customdata"]) for trace in figure["data"] if "customdata" in trace)


def test_the_report_answers_first_and_holds_everything(results: Path, report: Path) -> None:
    path = report
    assert path == results / "report.html"
    page = path.read_text(encoding="utf-8")
    assert page.index("Confirmed with fresh seeds") < page.index('id="failures"')
    data = payload(page)
    assert set(data["figures"]) == {"lr-0", "lr-1", "lr-2", "map-0", "map-1", "map-2", "scale-0", "scale-1"}
    assert len(courses(page)) == 39
    assert sum(num_marks(data["figures"][f"map-{i}"]) for i in range(3)) == 39
    assert path.stat().st_size < 3_000_000


def test_the_share_of_evaluations_is_told(report: Path) -> None:
    page = html.unescape(report.read_text(encoding="utf-8")).replace("\u00a0", " ")
    assert "Evaluations took 4 % of the trainings' time (every epoch, all 40 utterances; 5 % in the median" in page


def test_the_shown_recipe_is_the_recommended_study(results: Path, report: Path) -> None:
    page = report.read_text(encoding="utf-8")
    shown = re.search(r'<pre id="recipe"[^>]*>(.*?)</pre>', page, re.DOTALL)
    assert shown is not None
    content = yaml.safe_load(shown.group(1).replace("&#39;", "'").replace("&#34;", '"'))
    assert content["name"] == "precision-and-lr-recipe" and "space" not in content
    trials = store.read_trials(results)
    lr = content["training"]["optimizer"]["lr"]
    confirmed = trials[trials["phase"] == "confirm"]
    assert set(confirmed["training.optimizer.lr"]) == {lr}


def test_a_recipe_in_the_folder_is_shown_if_it_is_about_the_same_trials(tmp_path: Path, make_results: Make) -> None:
    folder = make_results(tmp_path, num_trials=1, num_confirm=0, lr_range=(1e-3, 1.1e-3))
    evidence = {"provenance": {"evidence": {"trials": ["t0000"]}}, "note": "as trained"}
    store.write_yaml(folder / "recipe.yaml", evidence)
    assert "as trained" in build_report(folder).read_text(encoding="utf-8")
    evidence["provenance"]["evidence"]["trials"] = ["another"]
    store.write_yaml(folder / "recipe.yaml", evidence)
    assert "as trained" not in build_report(folder).read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("case", "says"),
    [
        ({"num_trials": 0}, "No trial has finished yet"),
        ({"num_trials": 1, "num_confirm": 0, "lr_range": (1e-3, 1.1e-3)}, "Best so far, not confirmed"),
        ({"num_trials": 4, "lr_range": (5e-2, 1e-1)}, "All 4 trials ended as diverged"),
        ({"num_trials": 3, "space": {}}, "the study&#39;s fixed settings: WER"),
    ],
)
def test_thin_studies_have_a_report_too(tmp_path: Path, make_results: Make, case: dict[str, Any], says: str) -> None:
    page = build_report(make_results(tmp_path, **case)).read_text(encoding="utf-8")
    assert says in page


def test_a_study_that_has_only_begun_has_a_report(tmp_path: Path, make_results: Make) -> None:
    folder = make_results(tmp_path, num_trials=0)
    (folder / "trials.parquet").unlink()
    assert "No trial has finished yet" in build_report(folder).read_text(encoding="utf-8")


def test_a_trial_without_records_still_stands_in_the_table(tmp_path: Path, make_results: Make) -> None:
    folder = make_results(tmp_path, num_trials=3, num_confirm=0)
    (folder / "steps" / "t0001.parquet").unlink()
    (folder / "evals" / "t0002.parquet").unlink()
    page = build_report(folder).read_text(encoding="utf-8")
    assert page.count("<tr data-id") == 3
    assert set(courses(page)) == {"t0000", "t0002"}


def test_what_users_write_cannot_become_markup(tmp_path: Path, make_results: Make) -> None:
    evil = "<script>alert(1)</script>"
    folder = make_results(tmp_path, num_trials=2, name=evil, description=f"{evil}</style></pre>")
    store.read_trials(folder).assign(reason=evil, cause=evil).to_parquet(folder / "trials.parquet")
    page = build_report(folder).read_text(encoding="utf-8")
    assert evil not in page and "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert page.count("<script") == 6
    # What is said of a trial is written as text by the script; rows are markup.
    rows = payload(page, "trials")["rows"]
    assert all(evil not in row and "&lt;script&gt;" in row for row in rows)


def test_the_page_names_nothing_on_the_network(report: Path) -> None:
    page = report.read_text(encoding="utf-8")
    assert not re.findall(r"""(?:src|href)=["']?(?!["']?#)[^\s>]+""", page)
    assert "default-src 'none'" in page


@pytest.mark.slow
def test_command_line(results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(results)]) == 0
    headline, why, *_, path = capsys.readouterr().out.splitlines()
    assert path == str(results / "report.html")
    assert main([str(results), "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["report"] == path and answer["headline"] == headline and headline.startswith(("Use ", "Best found"))
    assert why == f"  {answer['safety']['why']}" and answer["settings"].keys() >= {"training.optimizer.lr"}
    assert main([str(tmp_path / "nowhere")]) == 2
    captured = capsys.readouterr()
    assert "nowhere" in captured.err and captured.out == "" and "Traceback" not in captured.err
    with pytest.raises(ResultsError, match=r"study\.yaml"):
        build_report(tmp_path)


def contrast(one: str, other: str) -> float:
    """WCAG's contrast ratio of two colours."""

    def luminance(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        red, green, blue = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_every_outcome_has_a_visible_and_distinct_mark() -> None:
    assert set(MARKS) == set(Outcome)
    assert len({(m.light, m.symbol) for m in MARKS.values()}) == len(MARKS)
    for mark in MARKS.values():
        assert contrast(mark.light, PAGE_COLOURS["paper"][0]) >= 3
        assert contrast(mark.dark, PAGE_COLOURS["paper"][1]) >= 3
    for step, both in enumerate(MAP_COLOURS):
        assert contrast(both[0], PAGE_COLOURS["ink"][0]) > 7 < contrast(both[1], PAGE_COLOURS["ink"][1])
        # Where trials of an outcome are few, their marks may lie on any colour.
        assert min(contrast(m.light, both[0]) for m in MARKS.values()) >= 2.3, step
        assert min(contrast(m.dark, both[1]) for m in MARKS.values()) >= 2.3, step
    for name in ("ink", "muted", "accent"):
        assert min(contrast(c, p) for c, p in zip(PAGE_COLOURS[name], PAGE_COLOURS["panel"], strict=True)) >= 4.5
    assert all(svg_symbol(outcome).startswith("<svg") for outcome in Outcome)


def test_each_light_colour_has_one_dark_counterpart() -> None:
    pairs = (
        {(m.light, m.dark) for m in MARKS.values()}
        | set(PAGE_COLOURS.values())
        | set(EDGE_COLOURS.values())
        | set(MAP_COLOURS)
        | set(TRIAL_COLOURS)
    )
    assert len(pairs) == len(dark_swaps())


def test_a_lost_table_is_an_error_and_not_an_empty_report(tmp_path: Path, make_results: Make) -> None:
    (make_results(tmp_path, num_trials=1) / "trials.parquet").unlink()
    (tmp_path / "ledger.jsonl").write_text('{"event": "tell", "trial_id": "0000"}\n')
    with pytest.raises(ResultsError, match="is missing, but ledger.jsonl holds results"):
        build_report(tmp_path)
    assert not (tmp_path / "report.html").exists()


def section(page: str, name: str) -> str:
    """The text of a section of the page, without markup."""
    found = re.search(rf'<section id="{name}">(.*?)</section>', page, re.DOTALL)
    assert found is not None
    text = html.unescape(re.sub(r"<[^>]+>", " ", found.group(1)))
    return re.sub(r" (?=[,.])", "", " ".join(text.split()))


def test_false_stops_are_told_with_their_interval(report: Path) -> None:
    page = report.read_text(encoding="utf-8")
    wrong = "False stops: of 2 trials that were run on to the end after an alarm, none ended stable after all, 0 %"
    assert wrong in section(page, "cost") and wrong in section(page, "made")
    assert re.search(r"audit 2 440 48 s \d+ % audited trials after their alarm", section(page, "cost"))
    assert page.count(">audited</small>") == 2
    ends = [(step, text) for step, text, _, _ in courses(page)["t0016"]["ends"]]
    assert ends == [(180, "would have been stopped: stalled"), (400, "end")]


def test_causes_stand_with_the_outcomes_and_every_trial(results: Path, report: Path) -> None:
    page = report.read_text(encoding="utf-8")
    failures = section(page, "failures")
    assert "diverged-nonfinite 5 4 fp16 overflow in attention scores, 1 not looked into" in failures
    assert "blank-collapse 3 3 not looked into" in failures
    cells = re.findall(r'<td class="cause" title="([^"]*)">([^<]*)</td>', page)
    assert sum(short == "fp16 overflow in attention scores" for _, short in cells) == 6
    assert sum("fp16 overflow in attention scores (encoder.0.attention)" in full for full, _ in cells) == 6
    assert "Cause: learning rate too high: at 0.021" in told(page)["t0001"]
    assert re.search(r"explaining \d+ 3.7 min \d+ % failed trials replayed", section(page, "cost"))


def test_a_clip_line_is_drawn_only_where_norms_are_clipped(tmp_path: Path, make_results: Make) -> None:
    folder = make_results(tmp_path, num_trials=4)
    clipped = courses(build_report(folder).read_text(encoding="utf-8"))
    assert all("clipped to" in str(course["levels"]) for course in clipped.values())
    study = store.read_study(folder)
    study["training"]["clip"] = {"kind": "off"}
    store.write_yaml(folder / "study.yaml", study)
    free = courses(build_report(folder).read_text(encoding="utf-8"))
    assert free and not any("clipped to" in str(course) for course in free.values())


def test_a_cause_found_on_demand_after_the_study_is_shown(tmp_path: Path, make_results: Make) -> None:
    folder = make_results(tmp_path, num_trials=4, lr_range=(5e-2, 1e-1))
    trials = store.read_trials(folder)
    for trial_id in trials["trial_id"]:
        store.evidence_path(folder, trial_id, "explanation.json").unlink(missing_ok=True)
    trials.assign(cause=None).to_parquet(folder / "trials.parquet")
    assert "Why, nobody has looked" in section(build_report(folder).read_text(encoding="utf-8"), "failures")
    found = Explanation(Cause.INIT_TOO_LARGE, "initial weights too large: at scale 10 every logit is out of range")
    store.write_explanation(folder, "t0002", found)
    page = build_report(folder).read_text(encoding="utf-8")
    assert f'title="{found.text}"' in page and "1 initial weights too large" in section(page, "failures")
    assert "Why, nobody has looked" not in page and "What would have helped" not in page, "nothing was replayed"


def test_the_course_of_a_bad_trial_tells_what_its_numeric_health_warned_of(tmp_path: Path, make_results: Make) -> None:
    folder = make_results(tmp_path, num_trials=6)
    trials = store.read_trials(folder).set_index("trial_id")
    bad = trials.index[~trials["stable"]][0]
    logits = [HealthRecord(step, HealthMetric.ATTENTION_LOGIT_MAX, "encoder.0", 2e4) for step in (10, 20)]
    store.write_health(folder, bad, logits)
    store.write_health(folder, trials.index[trials["stable"]][0], logits)
    said = told(build_report(folder).read_text(encoding="utf-8"))
    assert {trial_id for trial_id, text in said.items() if "Numeric health" in text} == {bad}
    assert said[bad].endswith("attention logits of encoder.0 reached 20000 at step 10 (warned above 10000).")


def test_results_of_an_earlier_version_have_a_report(tmp_path: Path, make_results: Make) -> None:
    folder = make_results(tmp_path, num_trials=4, num_confirm=0)
    old = pd.read_parquet(folder / "trials.parquet").drop(columns=["audited", "alarm", "forensics_s"])
    old.to_parquet(folder / "trials.parquet")
    page = build_report(folder).read_text(encoding="utf-8")
    assert page.count("<tr data-id") == 4 and "audited</small>" not in page
