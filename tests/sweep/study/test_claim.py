"""Claims against a design: what is filled in, what cannot be tested, and how a claim reads."""

import pytest

from sweep.study.claim import Claim, in_words, problems, resolved
from sweep.study.design import Paired
from sweep.study.responses import RESPONSES, ResponseName

DESIGN = Paired.model_validate(
    {
        "factors": {
            "model": {"teacher": {"model.kind": "teacher"}, "baseline": {"model.kind": "baseline"}},
            "precision": {"training.precision.kind": ["fp32", "fp16"]},
            "lr": {"training.optimizer.lr": [1e-3, 1e-2, 0.1]},
            "scale": {"small": {"model.init_scale": 1}, "mid": {"model.init_scale": 2}, "big": {"model.init_scale": 4}},
        }
    }
)


def claim(design: Paired = DESIGN, **more) -> Claim:
    content = {
        "name": "c",
        "text": "fp16 diverges",
        "factor": "precision",
        "response": "stable",
        "expected": "lower",
        "smallest_effect": 0.1,
    }
    return resolved(Claim.model_validate(content | more), design)


def wrong(design: Paired = DESIGN, **more) -> list[tuple[tuple[str, ...], str]]:
    return [(found.path, found.sentence) for found in problems(claim(design, **more), design)]


def test_what_is_left_out_follows_from_the_design() -> None:
    plain = claim()
    assert plain.levels == ("fp32", "fp16") and plain.value == 0 and plain.by_levels == ()
    assert claim(effect="ratio", response="step_time_s", smallest_effect=1.1).value == 1
    assert claim(factor="lr", effect="slope").levels == ("0.001", "0.01", "0.1")
    assert claim(by="model").by_levels == ("teacher", "baseline")
    kept = claim(levels=["fp16", "fp32"], value=0.5, by="model", by_levels=["baseline", "teacher"])
    assert kept.levels == ("fp16", "fp32") and kept.value == 0.5 and kept.by_levels == ("baseline", "teacher")
    alone = Paired.model_validate({"factors": {"precision": {"training.precision.kind": ["fp32"]}}})
    assert claim(alone, effect="mean").levels == ("fp32",)
    assert claim(factor="lr", levels=[1e-3, 0.1]).levels == ("0.001", "0.1"), "levels may be written as their values"


@pytest.mark.parametrize(
    "good",
    [
        {},
        {"where": {"model": "teacher", "lr": 0.01}},
        {"by": "model"},
        {"by": "model", "effect": "ratio", "response": "step_time_s", "smallest_effect": 1.2},
        {"effect": "mean", "levels": ["fp16"], "response": "wer", "expected": "equal"},
        {"factor": "scale", "levels": ["small", "big"]},
        {"by": "scale", "by_levels": ["mid", "big"]},
        {"factor": "lr", "effect": "slope", "response": "leading_infs"},
        {"response": "edge_lr", "where": {"model": "teacher"}},
    ],
)
def test_what_can_be_tested_has_no_problems(good) -> None:
    assert wrong(**good) == []


@pytest.mark.parametrize(
    ("bad", "place", "says"),
    [
        ({"factor": "precison"}, ("factor",), "no factor of the design. Known here: model, precision"),
        ({"by": "modl"}, ("by",), "no factor"),
        ({"by": "precision"}, ("by",), "own factor"),
        ({"where": {"modl": "x"}}, ("where", "modl"), "no factor"),
        ({"where": {"model": "techer"}}, ("where", "model"), "no level of model. Known here: teacher, baseline"),
        ({"where": {"precision": "fp16"}}, ("where", "precision"), "are compared"),
        ({"levels": ["fp32", "fp8"]}, ("levels",), "'fp8', which is no level of precision"),
        ({"levels": ["fp32", "fp32"]}, ("levels",), "twice"),
        ({"levels": ["fp32"]}, ("levels",), "compares two levels"),
        ({"factor": "scale", "levels": ["small", "mid", "big"]}, ("levels",), "compares two levels"),
        (
            {"factor": "lr"},
            ("levels",),
            "levels: lr has 3 levels (0.001, 0.01, 0.1): name the two to compare, the reference first",
        ),
        ({"factor": "lr", "effect": "ratio", "response": "wer"}, ("levels",), "name the two to compare"),
        ({"effect": "mean"}, ("levels",), "precision has 2 levels (fp32, fp16): name the one whose mean is claimed"),
        (
            {"by": "scale"},
            ("by_levels",),
            "by_levels: scale has 3 levels (small, mid, big): name the two to compare, the reference first",
        ),
        ({"by_levels": ["teacher", "baseline"]}, ("by_levels",), "without `by`"),
        ({"by": "model", "by_levels": ["teacher"]}, ("by_levels",), "two levels of model"),
        ({"effect": "mean", "levels": ["fp32", "fp16"]}, ("levels",), "of one level"),
        ({"factor": "model", "effect": "slope"}, ("levels",), "at least 3 levels"),
        ({"effect": "slope", "levels": ["fp32", "fp16"]}, ("levels",), "one number above 0"),
        ({"factor": "scale", "effect": "slope"}, ("levels",), "write the factor in short"),
        ({"factor": "scale", "effect": "slope", "response": "edge_lr"}, ("effect",), "has no slope"),
        ({"effect": "ratio", "smallest_effect": 1.1}, ("effect",), "always above 0"),
        ({"effect": "ratio", "response": "val_loss"}, ("smallest_effect",), "a factor above 1"),
        (
            {"effect": "ratio", "response": "val_loss", "smallest_effect": 2, "value": -1},
            ("value",),
            "must be above 0",
        ),
        ({"smallest_effect": 10}, ("smallest_effect",), "such as 0.1 for 10 points"),
        ({"by": "model", "effect": "mean"}, ("effect",), "has no `by`"),
        ({"response": "edge_lr", "factor": "lr"}, ("response",), "over all levels of lr"),
    ],
)
def test_what_cannot_be_tested_is_told_with_its_place(bad, place, says) -> None:
    found = wrong(**bad)
    assert any(p == place and says in message for p, message in found), found


def test_an_edge_needs_learning_rates_to_look_over() -> None:
    without = Paired.model_validate({"factors": {"precision": {"training.precision.kind": ["fp32", "fp16"]}}})
    assert "needs a factor lr with at least 3" in wrong(without, response="edge_lr")[0][1]
    few = Paired.model_validate(
        {"factors": {**without.model_dump()["factors"], "lr": {"training.optimizer.lr": [1, 2]}}}
    )
    assert "needs a factor lr with at least 3" in wrong(few, response="edge_lr")[0][1]


def test_what_a_fraction_cannot_tell_is_refused() -> None:
    three = {name: {f"model.{name}": [0, 1]} for name in "ABC"}
    half = Paired.model_validate({"factors": three, "fraction": "half"})
    assert wrong(half, factor="A") == [], "A is the alias of B x C alone"
    assert "cannot tell the effect of A from the effect of C under `where`" in str(
        wrong(half, factor="A", where={"B": 1})
    )
    assert "at all" in str(wrong(half, factor="A", where={"B": 1, "C": 1}))
    assert "cannot tell the effect of A x B from the effect of C" in str(wrong(half, factor="A", by="B"))
    full = Paired.model_validate({"factors": three})
    assert wrong(full, factor="A", by="B", where={"C": 1}) == []
    four = Paired.model_validate({"factors": {**three, "D": {"model.D": [0, 1]}}, "fraction": "half"})
    assert wrong(four, factor="A", by="B") == [], "resolution IV: A x B is the alias of C x D"


def test_a_claim_in_words_says_what_is_compared_where_and_by_how_much() -> None:
    words = in_words(claim(where={"model": "teacher"}), DESIGN)
    assert words == (
        "difference of the share of stable trainings, precision=fp16 against fp32, where model=teacher, "
        "averaged over lr and scale: lower by 10 points against 0 (alpha 0.05)"
    )
    moved = claim(response="val_loss", smallest_effect=0.2, value=-0.5)
    assert in_words(moved, DESIGN).endswith("lower by 0.2 nats/label against -0.5 nats/label (alpha 0.05)")
    mean = claim(response="wer", effect="mean", levels=["fp16"], value=0.3, smallest_effect=0.15)
    assert in_words(mean, DESIGN).endswith("lower by 15 points against 30 % (alpha 0.05)")
    slope = claim(factor="lr", effect="slope", response="leading_infs", value=1, smallest_effect=0.2)
    assert "lower by 0.2 batches a doubling against 1 batches a doubling" in in_words(slope, DESIGN)
    assert "for each doubling of lr (0.001 to 0.1)" in in_words(claim(factor="lr", effect="slope"), DESIGN)
    assert "with model=baseline against teacher" in in_words(claim(by="model"), DESIGN)
    assert "averaged over model and scale" in in_words(claim(response="edge_lr"), DESIGN), "the edge spans lr"
    ratio = claim(effect="ratio", response="step_time_s", smallest_effect=1.1, expected="equal")
    assert "equal within a factor 1.1 against 1" in in_words(ratio, DESIGN)


def test_every_response_has_words() -> None:
    assert set(RESPONSES) == set(ResponseName.__args__)
