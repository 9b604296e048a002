import dataclasses
import html
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sweep.analysis.claims.pairs import Pairs
from sweep.analysis.claims.verdict import ClaimFinding
from sweep.report import build_report
from sweep.report.sections.claim_units import effect_text, interval_name, zone
from sweep.report.sections.claims import claim_cards, headline, interim, null_name, terminal_lines
from sweep.report.theme import PAGE_COLOURS, VERDICT_COLOURS
from sweep.study.claim import Claim

Make = Callable[..., Path]
MakeClaim = Callable[..., dict[str, Any]]


def pairs_of(values: Any, labels: tuple[str, ...] = ("fp32", "fp16"), censored: Any = None) -> Pairs:
    known = np.asarray(values, dtype=float).reshape(-1, len(labels))
    bounds = np.zeros(known.shape, bool) if censored is None else np.asarray(censored)
    return Pairs(
        blocks=np.arange(len(known)), values=known, labels=labels, censored=bounds, effects=known[:, -1] - known[:, 0],
        weights=np.ones(len(labels)), cells=1, low=known, high=known,
    )  # fmt: skip


BINARY = pairs_of([[1, 1]] * 3 + [[1, 0]] * 5 + [[0, 1]] * 1 + [[0, 0]] * 2)


def finding_of(claim: dict[str, Any], **fields: Any) -> ClaimFinding:
    pairs = fields.pop("pairs", BINARY)
    known: dict[str, Any] = {
        "claim": Claim.model_validate(claim),
        "verdict": "supported", "estimate": -0.36, "low": -0.7, "high": -0.02, "level": 0.05,
        "p": 0.04, "num_pairs": len(pairs.blocks), "num_planned": 24, "look": 4, "num_looks": 4, "settled_at": 4,
        "test": "a test", "assumptions": "blocks are independent", "power": "31 pairs would do.", "pairs": pairs,
        "sentence": "Supported: fp16 is less stable.", "endings": "fp32: 11 stable.", "note": "",
    }  # fmt: skip
    return ClaimFinding(**{**known, **fields})


def test_verdicts_are_counted_in_the_headline(make_claim: MakeClaim) -> None:
    found = [
        finding_of(make_claim(name), verdict=v, look=2, settled_at=s)
        for name, v, s in (("a", "undecided", None), ("b", "refuted", 1), ("c", "supported", 2))
    ]
    assert headline(found) == "3 claims: 1 supported, 1 refuted, 1 undecided (interim: look 2 of 4)"
    assert headline(found[1:2]) == "1 claim: refuted"
    assert interim(found[1:]) == "", "nothing waits for more pairs"
    ended = [dataclasses.replace(found[0], look=4)]
    assert headline(ended) == "1 claim: undecided"
    assert interim([dataclasses.replace(found[0], look=0)]) == "interim: before the first look"


def test_the_terminal_has_a_line_for_each_claim(make_claim: MakeClaim) -> None:
    open_claim = finding_of(
        make_claim("b"), verdict="undecided", estimate=math.nan, low=math.nan, high=math.nan, look=0, settled_at=None,
        pairs=pairs_of([]),
    )  # fmt: skip
    assert terminal_lines([finding_of(make_claim("a")), open_claim]) == [
        "supported  a: -36 points (-70 to -2), 11 of 24 pairs",
        "undecided  b: 0 of 24 pairs",
        "           31 pairs would do.",
    ]
    assert terminal_lines([]) == []


def test_effects_have_the_unit_that_their_reader_thinks_in(make_claim: MakeClaim) -> None:
    def typed(name: str, **fields: Any) -> Claim:
        return Claim.model_validate(make_claim(name, **fields))

    ratio = typed("r", response="step_time_s", effect="ratio", value=1.0, smallest_effect=1.25)
    assert effect_text(ratio, 0.713) == "0.713 times" and zone(ratio) == (0.8, 1.25)
    assert effect_text(typed("s"), 0.0412) == "+4.1 points"
    assert effect_text(typed("w", response="wer", effect="mean"), 0.05) == "5 %"
    slope = typed("l", response="leading_infs", effect="slope", value=1.0)
    assert effect_text(slope, 1.0) == "+1 batches a doubling" and zone(slope) == (0.9, 1.1)
    assert effect_text(typed("e", response="edge_lr"), -0.3) == "-0.3 decades"
    assert interval_name(0.05) == "95 % interval" and interval_name(1.5e-5) == "99.9985 % interval"


def share(row: str, kind: str) -> tuple[float, float]:
    """Left end and width of a box of an effect's row, in percent."""
    found = re.search(rf'class="{kind}[^"]*" style="left:([\d.]+)%(?:;width:([\d.]+)%)?', row)
    assert found is not None, kind
    return float(found.group(1)), float(found.group(2) or 0)


def test_the_effect_lies_where_its_axis_says(make_claim: MakeClaim) -> None:
    row = str(claim_cards([finding_of(make_claim("a"))])[0].row)
    (left, width), zero = share(row, "interval"), share(row, "null")[0]
    ticks = {float(text): float(p) for p, text in re.findall(r'<span style="left:([\d.]+)%">([^<]+)</span>', row)}
    per_point = (ticks[0] - ticks[-40]) / 40
    assert zero == pytest.approx(ticks[0], abs=0.02)
    assert left == pytest.approx(zero - 70 * per_point, abs=0.05)
    assert width == pytest.approx(68 * per_point, abs=0.05)
    assert share(row, "point")[0] == pytest.approx(zero - 36 * per_point, abs=0.05)
    assert share(row, "zone") == pytest.approx((zero - 10 * per_point, 20 * per_point), abs=0.05)
    claimed = share(row, "claimed")
    assert claimed[0] == 0 and claimed[1] == pytest.approx(zero - 10 * per_point, abs=0.05), "lower goes on to the end"
    assert 'class="interval from to"' in row
    assert "share of stable trainings, fp16 minus fp32 (points): -36 points (95 % interval -70 to -2)" in row


def test_equality_claims_the_zone_and_an_open_interval_has_no_ends(make_claim: MakeClaim) -> None:
    claim = make_claim("a", expected="equal", response="val_loss")
    row = str(claim_cards([finding_of(claim, estimate=0.02, low=-math.inf, high=math.inf)])[0].row)
    assert share(row, "claimed") == share(row, "zone")
    assert share(row, "interval") == (0, 100) and 'class="interval"' in row
    unknown = finding_of(claim, estimate=math.nan, low=math.nan, high=math.nan, pairs=pairs_of([]))
    card = claim_cards([unknown])[0]
    assert "interval" not in card.row.replace("95 % interval", "") and card.plots == () and card.effect == ""


def test_a_ratio_is_symmetric_on_its_axis(make_claim: MakeClaim) -> None:
    claim = make_claim("a", response="step_time_s", effect="ratio", value=1.0, smallest_effect=2.0)
    card = claim_cards([finding_of(claim, estimate=1.0, low=0.5, high=2.0, pairs=pairs_of([[1.0, 4.0], [4.0, 1.0]]))])[
        0
    ]
    left, width = share(str(card.row), "interval")
    assert (left, width) == pytest.approx(share(str(card.row), "zone"), abs=0.02)
    assert share(str(card.row), "null")[0] == pytest.approx(left + width / 2, abs=0.02)
    means = re.findall(r'class="mean-text"[^>]*>([^<]+)<', str(card.plots[0]))
    assert means == ["2", "2"], "of a ratio the geometric means are drawn"


def test_yes_and_no_are_counted_in_squares(make_claim: MakeClaim) -> None:
    plot = str(claim_cards([finding_of(make_claim("a"))])[0].plots[0])
    counts = re.findall(r'<div class="count (\w+)"><span>([^<]+)</span><b>(\d+)</b>(.*?)</div></div>', plot)
    assert [(kind, told, int(count)) for kind, told, count, _ in counts] == [
        ("both", "both stable", 3),
        ("first", "only fp32 stable", 5),
        ("second", "only fp16 stable", 1),
        ("neither", "neither stable", 2),
    ]
    assert all(squares.count("<span></span>") == int(count) for _, _, count, squares in counts)


def test_each_pair_is_a_line_at_its_values(make_claim: MakeClaim) -> None:
    pairs = pairs_of([[1.0, 3.0], [2.0, 2.0]], censored=[[False, False], [False, True]])
    plot = str(claim_cards([finding_of(make_claim("a", response="val_loss"), pairs=pairs)])[0].plots[0])
    lines = [
        [float(y) for y in re.findall(r"[\d.]+ ([\d.]+)", d)] for d in re.findall(r'class="pair" d="M([^"]+)"', plot)
    ]
    (low, high), (middle, same) = lines
    assert low > middle == same > high, "SVG counts downwards"
    assert middle == pytest.approx((low + high) / 2, abs=0.1)
    assert plot.count('class="bound"') == 1 and "block 1: fp32 2, fp16 beyond 2" in plot
    assert re.findall(r'class="mean-text"[^>]*>([^<]+)<', plot) == ["1.5", "2.5"]


def test_a_slope_has_a_point_for_each_level_and_a_mean_one(make_claim: MakeClaim) -> None:
    levels = ("4096", "65536", "1048576", "16777216")
    claim = make_claim("a", response="leading_infs", effect="slope", factor="scale", levels=list(levels))
    plot = str(claim_cards([finding_of(claim, pairs=pairs_of([[0, 4, 8, 12]] * 3, levels))])[0].plots[0])
    assert plot.count('class="mean-dot"') == 4
    assert re.findall(r'class="level"[^>]*>([^<]+)<', plot) == ["4096", "65536", "1.05e6", "1.68e7"]
    alone = make_claim("b", response="wer", effect="mean", levels=["ten"])
    plot = str(claim_cards([finding_of(alone, pairs=pairs_of([[0.1], [0.3]], ("ten",)))])[0].plots[0])
    assert plot.count('class="dot"') == 2 and "20 %" in plot


def test_an_edge_is_drawn_as_a_learning_rate(make_claim: MakeClaim) -> None:
    pairs = pairs_of([[-3.0, -2.0], [-3.0, -4.0]])
    plot = str(claim_cards([finding_of(make_claim("a", response="edge_lr"), pairs=pairs)])[0].plots[0])
    assert re.findall(r'class="mean-text"[^>]*>([^<]+)<', plot) == ["0.001", "0.001"]


def test_an_interaction_shows_both_parts(make_claim: MakeClaim) -> None:
    labels = ("teacher fp32", "teacher fp16", "baseline fp32", "baseline fp16")
    claim = make_claim("a", by="model", by_levels=["teacher", "baseline"])
    card = claim_cards([finding_of(claim, pairs=pairs_of([[1, 0, 1, 1]] * 4, labels))])[0]
    assert [re.findall(r'class="part">([^<]+)<', str(plot)) for plot in card.plots] == [["teacher"], ["baseline"]]
    assert "only fp32 stable</span><b>4" in str(card.plots[0]) and "both stable</span><b>4" in str(card.plots[1])
    assert "in baseline minus in teacher (points)" in str(card.row)


def test_a_card_says_what_was_used_and_leaves_the_word_to_its_colour(make_claim: MakeClaim) -> None:
    claim = make_claim("a", factor="batch", levels=["2", "4"], where={"model": "teacher"})
    card = claim_cards([finding_of(claim, look=2, settled_at=2, num_pairs=12, sentence="Supported: it holds.")])[0]
    assert card.sentence == "It holds." and card.looks == (True, True, False, False)
    assert card.progress == "12 of 24 pairs; settled at look 2 of 4"
    details = dict(card.details)
    assert details["Claim as tested"] == (
        "share of stable trainings: batch 4 against batch 2, model teacher; lower by 10 points or more"
    )
    assert details["Test"] == "a test" and details["p"] == "0.04"
    named = claim_cards([finding_of(make_claim("a"), sentence="Supported: fp16 is less stable.")])[0]
    assert named.sentence == "fp16 is less stable.", "names keep their case"
    last = claim_cards([finding_of(make_claim("a"), verdict="undecided", settled_at=None)])[0]
    assert last.progress == "11 of 24 pairs; look 4 of 4"


def test_the_dashed_line_is_named_after_what_it_is(make_claim: MakeClaim) -> None:
    plain = finding_of(make_claim("a"))
    assert null_name([plain]) == "no effect"
    assert "value" in null_name([plain, finding_of(make_claim("b", effect="slope", value=1.0))])


@pytest.mark.parametrize("dark", [False, True])
def test_verdicts_can_be_read_on_either_ground(dark: bool) -> None:
    def luminance(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    for colours in VERDICT_COLOURS.values():
        for ground in ("paper", "panel"):
            low, high = sorted((luminance(colours[dark]), luminance(PAGE_COLOURS[ground][dark])))
            assert (high + 0.05) / (low + 0.05) > 4.5


def text_of(page: str, identifier: str) -> str:
    found = re.search(rf'<section id="{identifier}".*?</section>', page, re.DOTALL)
    assert found is not None, identifier
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", found.group(0))).split())


def test_an_experiment_answers_with_its_claims(tmp_path: Path, make_experiment: Make, make_claim: MakeClaim) -> None:
    claims = [
        make_claim("fp16", text="fp16 <is> why.", where={"clip": "loose"}),
        make_claim("loss", response="val_loss", expected="higher", smallest_effect=0.5),
        make_claim("apart", by="clip", by_levels=["tight", "loose"], expected="equal"),
    ]
    page = build_report(make_experiment(tmp_path, claims)).read_text(encoding="utf-8")
    assert re.match(r"Answer 3 claims: \d", text_of(page, "answer"))
    assert "No setting" not in text_of(page, "answer") and "Recommended settings" not in page
    told = text_of(page, "claims")
    assert "fp16 <is> why." in told and "8 of 8 pairs" in told and "Test and assumptions" in told
    assert 'id="map"' not in page and 'id="lr"' not in page and 'href="#map"' not in page and "<is>" not in page
    assert page.count('<article class="claim') == 3
    assert "32 of 32 planned" in text_of(page, "answer")
    assert "kept to the alpha of its claims" in text_of(page, "made")


def test_a_running_experiment_says_at_which_look_it_is(
    tmp_path: Path, make_experiment: Make, make_claim: MakeClaim
) -> None:
    claims = [make_claim("fp16", where={"clip": "loose"}, expected="equal", smallest_effect=0.05)]
    page = build_report(make_experiment(tmp_path, claims, num_blocks=5, planned=16)).read_text(encoding="utf-8")
    assert "1 claim: undecided (interim: look 1 of 4)" in text_of(page, "answer")
    assert "4 of 16 pairs; interim: look 1 of 4" in text_of(page, "claims")
    empty = make_experiment(tmp_path / "empty", claims, num_blocks=0)
    page = build_report(empty).read_text(encoding="utf-8")
    assert "interim: before the first look" in text_of(page, "answer") and "No pair is complete" in text_of(
        page, "claims"
    )


def test_claims_follow_an_answer_that_is_recommended(
    tmp_path: Path, make_experiment: Make, make_claim: MakeClaim
) -> None:
    confirm = {"settings": 1, "seeds": 3, "recommended": True}
    folder = make_experiment(tmp_path, [make_claim("fp16")], searches_lr=True, confirm=confirm)
    page = build_report(folder).read_text(encoding="utf-8")
    assert "Recommended settings" in text_of(page, "answer") and "1 claim: " in text_of(page, "claims")
    assert page.index('id="failures"') < page.index('id="claims"') < page.index('id="trials"')


def test_a_study_without_claims_has_no_section_of_them(report: Path) -> None:
    page = report.read_text(encoding="utf-8")
    assert 'id="claims"' not in page and 'href="#claims"' not in page
