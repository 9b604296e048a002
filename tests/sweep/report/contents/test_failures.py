import base64
import gzip
import html
import json
import math
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from sweep import store
from sweep.analysis.failures.half_precision import HalfTrial, ScaleCourse
from sweep.records import Counterfactual, Explanation, HealthMetric, HealthRecord, Outcome, SkipReason
from sweep.report import build_report
from sweep.report.contents.view import load_view
from sweep.report.figures.half_precision import scale_panels
from sweep.report.sections.every import SECTIONS
from sweep.report.sections.section import MadeSection, made

Make = Callable[..., Path]
LR, CLIP, PRECISION = "training.optimizer.lr", "training.clip.max_norm", "training.precision.kind"


def section_of(folder: Path) -> MadeSection:
    """The section as a new report has it, made alone: the whole page takes six times as long."""
    (failures,) = (section for section in SECTIONS if section.anchor == "failures")
    section = made(failures, load_view(folder))
    assert section is not None and section.failed is None
    return section


def failures_of(folder: Path) -> str:
    """The text of the section in a new report, without markup."""
    return text_of(section_of(folder).html)


def failures_in(report: Path) -> str:
    page = report.read_text(encoding="utf-8")
    found = re.search(r'<section id="failures">(.*?)</section>', page, re.DOTALL)
    assert found is not None
    return text_of(found.group(1))


def text_of(markup: str) -> str:
    text = html.unescape(re.sub(r"<[^>]+>", " ", str(markup)))
    return re.sub(r" (?=[,.])", "", " ".join(text.split()))


def figures_of(folder: Path) -> dict[str, Any]:
    page = (folder / "report.html").read_text(encoding="utf-8")
    packed = re.search(r'id="payload-gz">([^<]+)<', page)
    assert packed is not None
    found: dict[str, Any] = json.loads(gzip.decompress(base64.b64decode(packed.group(1))))["figures"]
    return found


def sample_health(folder: Path) -> tuple[str, str]:
    """Writes headroom of a failed and of a stable trial in fp16; returns their ids."""
    trials = store.read_trials(folder)
    half = trials[trials[PRECISION] == "fp16"]
    failed, stable = str(half[~half["stable"]]["trial_id"].iloc[0]), str(half[half["stable"]]["trial_id"].iloc[0])
    courses = {failed: (5.0, 1.0, -math.inf), stable: (12.0, 11.0, 11.5)}
    for trial_id, bits in courses.items():
        rows = [HealthRecord(50 * i + 2, HealthMetric.HEADROOM_BITS, "stem", 13.0) for i in range(3)]
        rows += [HealthRecord(50 * i + 2, HealthMetric.HEADROOM_BITS, "encoder.0", b) for i, b in enumerate(bits)]
        store.write_health(folder, trial_id, sorted(rows, key=lambda r: r.step))
    return failed, stable


def test_every_setting_shows_its_outcomes_with_counts_and_causes(results: Path, report: Path) -> None:
    text = failures_in(report)
    trials = store.read_trials(results)
    num_failed = (~trials["stable"]).sum()
    assert text.startswith(f"Why trainings fail {num_failed} of 39 judged trainings failed: 5 diverged-")
    explored = trials[trials["phase"] == "explore"]
    for level in ("fp32", "bf16", "fp16"):
        here = explored[explored[PRECISION] == level]
        assert f"{(~here['stable']).sum()} of {len(here)} failed" in text
    lowest = explored[explored[LR] < 1e-3]
    assert f"{(~lowest['stable']).sum()} of {len(lowest)} failed" in text
    assert text.index("precision Outcomes Failed") < text.index("learning rate Outcomes Failed")
    assert "Every trial (36 in all)" in text and "Confirming trainings are left out" in text


def test_numbers_and_learning_are_told_apart(results: Path, report: Path) -> None:
    text = failures_in(report)
    trials = store.read_trials(results)
    failed = trials[~trials["stable"]]
    broken = int((failed["numbers"] == "broken").sum())
    assert 0 < broken < len(failed)
    assert f"In {broken} the numbers broke; {len(failed) - broken} kept sound numbers" in text
    verdicts = text[text.index("What the verdicts say") : text.index("Where each failure happens")]
    collapsed = int((trials["verdict"] == "scaler-collapse").sum())
    assert f"scaler-collapse {collapsed} broken nothing" in verdicts and "sound learned" in verdicts
    assert "Besides its losses each was judged with the zero-information loss, the budget, gradient norms." in verdicts
    page = report.read_text(encoding="utf-8")
    assert 'title="400 losses, the zero-information loss, the budget, gradient norms">400 losses and 3 others<' in page


def test_of_a_folder_of_an_earlier_version_the_outcomes_say_what_they_can(tmp_path: Path, make_results: Make) -> None:
    folder = make_results(tmp_path)
    path = folder / "trials.parquet"
    table = pq.read_table(path)
    pq.write_table(table.drop_columns(["numbers", "learning", "judged_with"]), path)
    text = failures_of(folder)
    verdicts = text[text.index("What the verdicts say") : text.index("Where each failure happens")]
    assert "sound learned not said" in verdicts and "scaler-collapse" in verdicts and "broken not said" in verdicts
    assert "Judged with" not in build_report(folder).read_text(encoding="utf-8")


def test_what_nobody_can_tell_is_counted_apart(tmp_path: Path, make_results: Make) -> None:
    folder = make_results(tmp_path)
    path = folder / "trials.parquet"
    rows = pq.read_table(path).to_pylist()
    changed = [row for row in rows if row["phase"] == "explore"][:5]
    for row in changed:
        row |= {"verdict": "too-short", "stable": False, "margin": math.nan, "learning": "unknown", "cause": None}
    store.write_trials(folder, rows)
    text = failures_of(folder)
    judged = sum(row["verdict"] != "too-short" for row in rows)
    failed = sum(not row["stable"] and row["verdict"] != "too-short" for row in rows)
    assert f"{failed} of {judged} judged trainings failed" in text
    assert "Of 5 trials nobody can tell how they would have gone: 5 too short to tell." in text
    assert "too-short 5 sound unknown" in text
    view = load_view(folder)
    assert len(view.evidence.telling) == len(view.evidence.tried) == judged
    assert not {row["trial_id"] for row in changed} & {t for group in view.groups for t in group.trial_ids}


def test_the_first_failing_operation_is_told_with_its_size_against_the_format(results: Path, report: Path) -> None:
    text = failures_in(report)
    row = text[text.index("They ended as") :]
    assert "matmul, forward in encoder.0.attention float16 6" in row and " at 131, " in row
    assert "342 65500 (100 %)" in row


@pytest.mark.slow
def test_the_example_is_traced_from_its_first_step_to_the_replays(tmp_path: Path, make_results: Make) -> None:
    folder = make_results(tmp_path)
    explanation, steps = store.read_explanation(folder, "t0008"), store.read_steps(folder, "t0008")
    assert explanation is not None and explanation.first_nonfinite is not None
    assert "At step 131, of which no record was kept: first not finite: the output of matmul" in failures_of(folder)
    broken = int(steps["step"][~np.isfinite(steps["loss"])].iloc[0])
    first = replace(explanation.first_nonfinite, step=broken)
    store.write_explanation(folder, "t0008", replace(explanation, first_nonfinite=first))
    text = failures_of(folder)
    story = text[text.index("For example: trial 8, diverged-nonfinite (precision fp16") :]
    said = (
        "1 to 4",
        "Multiplied by the loss scale of 65536, the gradients overflow. 4 updates are left out",
        "The first finite gradient",
        "The last healthy step",
        "First not finite: the output of matmul in encoder.0.attention, in the forward pass, with 12 infinite values. "
        "Its inputs reach 342 and its finite outputs reach 65500 (100 % of the limit); the largest float16 is 65504.",
        "The update is left out and the loss scale halved, so the weights stay as they were.",
        "Alarm of the rule",
        "The training is stopped.",
        "nothing (same again) 0 of 2 n/a It fails again",
        "drop step 131 0 of 1 n/a This alone does not help.",
        "fp32 2 of 2 2.1 A wider format is enough.",
        "LR / 10 1 of 2 3 It helps now and then, not reliably.",
        "Replayed from the state after step 125 with one thing changed at a time, 420 steps in all",
        "Fp16 overflow in attention scores (encoder.0.attention).",
        "The largest product of query and key was 1.2e5, above 65504.",
    )
    places = [story.index(words) for words in said if words in story]
    missing = [words for words in said if words not in story]
    assert missing == [] and places == sorted(places) and "no record was kept" not in story


def test_loss_scales_of_failed_and_stable_trainings_share_their_axes(results: Path, report: Path) -> None:
    figures = figures_of(results)
    failed, stable = figures["scale-0"], figures["scale-1"]
    assert failed["layout"]["yaxis"]["range"] == stable["layout"]["yaxis"]["range"]
    assert failed["layout"]["xaxis"]["type"] == failed["layout"]["yaxis"]["type"] == "log"
    trials = store.read_trials(results).set_index("trial_id")
    for figure, good in ((failed, False), (stable, True)):
        lines = [trace for trace in figure["data"] if "lines" in trace["mode"]]
        ids = {trace["customdata"][0] for trace in lines}
        half = trials[trials[PRECISION] == "fp16"]
        assert ids <= set(half.index[half["stable"] == good]) and ids
    assert "loss scale 65536" in str(failed["data"][0]["hovertext"])


@pytest.mark.slow
def test_headroom_is_drawn_and_its_module_named_where_it_was_sampled(tmp_path: Path, make_results: Make) -> None:
    folder = make_results(tmp_path, num_trials=12)
    assert "No sample of the headroom is in this folder" in failures_of(folder)
    failed, stable = sample_health(folder)
    section = section_of(folder)
    assert "encoder.0 1 1 overflow 11 " in text_of(section.html), "nearest in one failed and in one stable trial"
    data = {trace["customdata"][0]: trace for trace in section.figures["headroom-0"]["data"]}
    assert set(data) == {failed, stable}
    assert data[failed]["y"] == [5, 1, 0] and "overflowed" in data[failed]["hovertext"][2]


def test_a_study_that_samples_no_headroom_says_how_to(tmp_path: Path, make_results: Make) -> None:
    folder = make_results(tmp_path, num_trials=12)
    study = store.read_study(folder)
    study["training"]["health_every_steps"] = None
    store.write_yaml(folder / "study.yaml", study)
    assert "training.health_every_steps: null. A number, such as 50, turns it on." in failures_of(folder)


def test_without_fp16_there_is_one_line_and_no_loss_scale(tmp_path: Path, make_results: Make) -> None:
    folder = make_results(tmp_path, num_trials=12)
    trials = store.read_trials(folder)
    trials.assign(**{PRECISION: "bf16"}).to_parquet(folder / "trials.parquet")
    text = failures_of(folder)
    assert "No training computed in float16" in text and "How the loss scale went" not in text


def test_only_the_drawn_trials_are_read(tmp_path: Path, make_results: Make) -> None:
    folder = make_results(tmp_path, num_trials=240, num_confirm=0)
    trials = store.read_trials(folder).assign(**{PRECISION: "fp16"})
    trials.to_parquet(folder / "trials.parquet")
    half = load_view(folder).failures.half
    assert half.num_scaled == 240 and 10 <= len(half.scales) <= 28


def test_the_typical_failure_is_traced_where_nobody_looked_for_a_cause(tmp_path: Path, make_results: Make) -> None:
    folder = make_results(tmp_path, num_trials=12, num_confirm=0)
    for path in (folder / "evidence").glob("*/explanation.json"):
        path.unlink()
    text = failures_of(folder)
    assert "Why, nobody has looked" in text and "A typical trial of the most frequent failure." in text
    assert "Here the trouble begins" in text or "Alarm" in text
    assert "That is what the rule saw, not why" in text and "What would have helped" not in text


def test_a_crash_is_told_by_its_reason_and_its_traceback(tmp_path: Path, make_results: Make) -> None:
    folder = make_results(tmp_path, num_trials=2, num_confirm=0, lr_range=(1e-3, 1.1e-3))
    reason = "the training ended with an exception after step 0: ValueError: no"
    trials = store.read_trials(folder).assign(verdict="crashed", stable=False, reason=reason, stop_step=None)
    trials.to_parquet(folder / "trials.parquet")
    for path in (folder / "steps").iterdir():
        path.unlink()
    store.write_text(store.evidence_path(folder, "t0000", "traceback.txt"), "ValueError: no")
    text = failures_of(folder)
    assert "2 of 2 judged trainings failed: 2 crashed." in text
    assert "It left no record of its steps. The training ended with an exception after step 0: ValueError: no." in text
    assert "evidence/t0000/traceback.txt has the exception" in text


@pytest.mark.parametrize(
    ("case", "says", "says_not"),
    [
        ({"num_trials": 0}, "No trial has finished yet.", "Where each failure happens"),
        ({"num_trials": 6, "lr_range": (1e-3, 1.5e-3)}, "None of 9 judged trainings failed.", "For example"),
        (
            {"num_trials": 1, "num_confirm": 0, "lr_range": (5e-2, 6e-2)},
            "1 of 1 judged training failed",
            "stable train",
        ),
        ({"num_trials": 4, "num_confirm": 0, "num_pruned": 4}, "No training has been judged yet.", "For example"),
        ({"num_trials": 3, "space": {}}, "there is nothing to compare", "is in one bar"),
    ],
    ids=["no trial", "none failed", "one trial", "all pruned", "no space"],
)
def test_thin_studies(tmp_path: Path, make_results: Make, case: dict[str, Any], says: str, says_not: str) -> None:
    text = failures_of(make_results(tmp_path, **case))
    assert says in text and says_not not in text


def test_a_design_leaves_the_judgement_to_its_claims(
    tmp_path: Path, make_experiment: Make, make_claim: Callable[..., dict[str, Any]]
) -> None:
    text = failures_of(make_experiment(tmp_path, [make_claim("one")]))
    assert "Which differences are beyond chance, the claims say." in text
    assert "clip norm Outcomes Failed 0.5 " in text and "of 16 failed" in text


def test_what_users_and_models_name_cannot_become_markup(tmp_path: Path, make_results: Make) -> None:
    folder = make_results(tmp_path, num_trials=12, num_confirm=0)
    evil = "<img src=x onerror=alert(1)>"
    (trial_id, explanation), *_ = load_view(folder).explanations.items()
    changed = Counterfactual(evil, 2, 2, 1.0)
    store.write_explanation(folder, trial_id, Explanation(explanation.cause, evil, (evil,), None, (changed,), 0, 1))
    build_report(folder)
    assert evil not in (folder / "report.html").read_text(encoding="utf-8")


def test_a_loss_scale_that_fell_to_0_is_drawn_on_the_edge() -> None:
    """A training that went on with infinite gradients halves it until float32 has nothing smaller."""
    fallen = tuple(2.0**power for power in range(15, -150, -1)) + (0.0,)
    trial = HalfTrial("0001", 1, Outcome.DIVERGED_NONFINITE)
    course = ScaleCourse(trial, tuple(range(len(fallen))), fallen, ((len(fallen) - 1, 0.0, SkipReason.NONFINITE),))
    (failed, _) = scale_panels([course])
    assert failed.figure is not None and "it lay between 0 and 32768" in failed.summary
    axis, line = failed.figure.layout.yaxis, failed.figure.data[0]
    assert all(map(math.isfinite, axis.range)) and min(line.y) > 0
    assert math.log10(min(line.y)) > axis.range[0], "the edge is within the axis"
