"""The rule that the recommended setting keeps, on studies whose boundary is known."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from sweep.analysis.answer.expected import ExpectedResults
from sweep.analysis.answer.safe_setting import Rule, SafeSetting, chance_text, judge, keeps_rule, safe_setting
from sweep.analysis.region.evidence import Evidence
from sweep.analysis.region.region import hot_edge
from sweep.analysis.trials.tried import space_of
from sweep.boundary.encoding import Encoding
from sweep.boundary.model import MarginModel

LR, CLIP = "training.optimizer.lr", "training.clip.max_norm"
SPACE: dict[str, Any] = {LR: {"loguniform": [1e-5, 1.0]}, CLIP: {"loguniform": [0.1, 10.0]}}
EDGE = 1e-2
Table = Callable[..., pd.DataFrame]


def evidence(trials: pd.DataFrame, space: dict[str, Any] = SPACE) -> Evidence:
    return Evidence(trials, space_of(space))


def row(setting: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A training that is stable below EDGE, and does best as near to it as a factor of 1.25."""
    decades = math.log10(setting[LR] / EDGE)
    if decades >= 0:
        return {**setting, "verdict": "diverged-loss", "margin": max(min(decades, 1.0), 0.01), **more}
    wer = min(0.05 + 0.2 * abs(decades + 0.1), 1.0)
    return {**setting, "wer": wer, "val_loss": 3 * wer, "margin": min(max(decades, -1.0), -0.01), **more}


def study(table: Table, num: int = 40) -> pd.DataFrame:
    return table([row(s) for s in Encoding(space_of(SPACE)).sobol(num, 2)])


def found_in(trials: pd.DataFrame, space: dict[str, Any] = SPACE, **rule: Any) -> SafeSetting:
    found = safe_setting(evidence(trials, space), Rule(**{"lr_factor": 3.0, "p_stable": 0.95, **rule}))
    assert found is not None
    return found


def test_it_keeps_a_factor_below_the_edge_although_nearer_would_be_better(table: Table) -> None:
    trials = study(table)
    by_wer = trials.sort_values("wer", kind="stable")
    assert float(by_wer[LR].iloc[0]) > EDGE / 3, "the best tried setting lies too near"
    found = found_in(trials)
    assert found.meets and found.p_stable >= 0.95
    assert found.edge is not None and found.edge == pytest.approx(EDGE, rel=0.35)
    assert found.margin_decades == pytest.approx(math.log10(found.edge / found.setting[LR]))
    assert found.margin_decades >= math.log10(3)
    assert EDGE / 12 < found.setting[LR] < EDGE / 2, "not farther below than the rule asks for"
    assert found.expected == pytest.approx(0.05 + 0.2 * abs(math.log10(found.setting[LR] / EDGE) + 0.1), abs=0.05)
    assert found.why.startswith("Safety rule met: P(breaking) is ") and "times the learning rate" in found.why
    assert "(at least 3 asked)" in found.why and "(at most 0.05 asked)" in found.why
    wider = found_in(trials, lr_factor=30.0)
    assert wider.meets and wider.setting[LR] < found.setting[LR] and wider.margin_decades >= math.log10(30)


def test_the_same_trials_in_any_order_give_the_same_setting(table: Table) -> None:
    trials = study(table)
    assert found_in(trials) == found_in(trials.sample(frac=1.0, random_state=7))


def test_without_an_edge_the_margin_is_known_up_to_the_end_of_the_range(table: Table) -> None:
    """Too cold stalls, and nothing is too hot."""
    space = {LR: {"loguniform": [1e-5, 1e-3]}, CLIP: SPACE[CLIP]}
    rows = []
    for setting in Encoding(space_of(space)).sobol(32, 2):
        gap = -4 - math.log10(float(setting[LR]))
        rows.append({**setting, "margin": max(min(gap, 1), -1), "verdict": "stalled" if gap > 0 else "stable"})
    trials = table(rows)
    found = found_in(trials, space)
    assert found.meets and found.edge is None and found.margin_decades == math.inf
    assert "no hot edge up to 0.001, the end of the range, " in found.why and "only" not in found.why
    assert found.setting[LR] <= 1e-3 / 3, "beyond the range nobody knows"
    known = evidence(trials, space)
    model, breaking = known.model, known.breaking
    assert isinstance(model, MarginModel) and isinstance(breaking, MarginModel)
    near = {LR: 1e-3 / 1.265, CLIP: 1.0}
    rule = Rule(3.0, 0.5)
    assert keeps_rule(breaking, [near, {**near, LR: 1e-3 / 3}], rule).tolist() == [False, True]
    expected = ExpectedResults(trials, model.encoding, "wer")
    told = judge(model, breaking, near, rule, expected, None)
    assert not told.meets and told.edge is None
    so_far = "there is no hot edge up to 0.001, the end of the range, only 1.26 times the learning rate"
    assert told.why.endswith(f"{so_far} (at least 3 asked): widen the range.")
    assert judge(model, breaking, {**near, LR: 1e-3 / 3}, rule, expected, None).meets


def test_where_nothing_keeps_the_rule_the_surest_tried_setting_is_given_with_what_is_missing(table: Table) -> None:
    """The edge lies 0.4 decades above the low end: no setting is a factor of ten below it."""
    space = {LR: {"loguniform": [4e-3, 1.0]}, CLIP: SPACE[CLIP]}
    trials = table([row(s) for s in Encoding(space_of(space)).sobol(48, 2)])
    found = found_in(trials, space, lr_factor=10.0)
    assert not found.meets and found.tried_group is not None
    assert (
        found.why.startswith("Safety rule not met: ") and "is only" in found.why and "(at least 10 asked)" in found.why
    )
    stable = trials[trials["stable"]]
    assert found.tried_group in set(stable["group"])


def test_the_edge_has_to_be_far_enough_surely_and_not_only_most_likely(table: Table) -> None:
    few = evidence(study(table, 24))
    model, breaking = few.model, few.breaking
    assert isinstance(model, MarginModel) and isinstance(breaking, MarginModel)
    edge = hot_edge(breaking, {LR: 1e-4, CLIP: 1.0})
    assert edge is not None
    just = {LR: edge / 3.05, CLIP: 1.0}
    lenient, strict = Rule(3.0, 0.5, credibility=0.5), Rule(3.0, 0.5, credibility=0.95)
    assert keeps_rule(breaking, [just], lenient).all() and not keeps_rule(breaking, [just], strict).any()
    expected = ExpectedResults(few.trials, model.encoding, "wer")
    told = judge(model, breaking, just, strict, expected, None)
    assert told.margin_decades == pytest.approx(math.log10(3.05)) and 0 <= told.margin_least < math.log10(3)
    assert not told.meets and "may be only " in told.why
    found = found_in(few.trials)
    assert found.meets and found.setting[LR] <= EDGE / 3, "truly"
    assert 10**found.margin_least >= 2.999 and found.margin_decades > found.margin_least
    assert "is at least " in found.why
    # More trainings know the edge better.
    assert 10 ** (found.margin_decades - found.margin_least) > 1.05
    many = found_in(study(table, 80))
    assert many.margin_decades - many.margin_least < found.margin_decades - found.margin_least


def test_a_setting_with_an_unstable_seed_is_never_proposed(table: Table) -> None:
    trials = study(table)
    first = found_in(trials)
    bad = [
        {**first.setting, "verdict": "stable", "margin": -0.5, "wer": 0.01, "group": 500, "phase": "confirm"},
        {**first.setting, "verdict": "diverged-loss", "margin": 0.4, "group": 500, "phase": "confirm"},
    ]
    more = table(bad)
    more["number"] += 100
    second = found_in(pd.concat([trials, more], ignore_index=True))
    assert second.setting != first.setting and second.tried_group != 500


def test_a_tried_setting_is_told_by_its_group_even_if_only_confirmed(table: Table) -> None:
    setting = {LR: EDGE / 3.5, CLIP: 1.0}
    seeds = table([{**row(setting), "wer": 0.04, "group": 500, "phase": "confirm"} for _ in range(6)])
    seeds["number"] += 100
    found = found_in(pd.concat([study(table), seeds], ignore_index=True))
    assert found.setting == setting and found.tried_group == 500


def test_nothing_without_a_model_or_without_a_stable_setting(table: Table) -> None:
    assert safe_setting(evidence(study(table, 6)), Rule(3.0, 0.95)) is None
    mixed = [{LR: 1e-5 * 2**k, CLIP: 1.0, "group": k // 2, "margin": (-1) ** k * 0.3} for k in range(12)]
    pairs = [
        {**one, LR: mixed[k - k % 2][LR], "verdict": "stable" if one["margin"] < 0 else "stalled"}
        for k, one in enumerate(mixed)
    ]
    assert isinstance(evidence(table(pairs)).model, MarginModel)
    assert safe_setting(evidence(table(pairs)), Rule(3.0, 0.95)) is None, "one seed of two diverged in all"


def test_without_a_learning_rate_the_chance_alone_decides(table: Table) -> None:
    space = {CLIP: {"loguniform": [0.01, 100.0]}, "training.batch_size": {"int": [2, 16]}}
    rows = []
    for setting in Encoding(space_of(space)).sobol(40, 2):
        gap = math.log10(float(setting[CLIP]))
        rows.append(
            {**setting, "margin": max(min(gap, 1), -1) or 0.01, "verdict": "stable" if gap < 0 else "diverged-loss"}
        )
    found = found_in(table(rows), space)
    assert found.meets and found.edge is None and math.isnan(found.margin_decades) and "edge" not in found.why


def test_the_quick_look_agrees_with_the_edge(table: Table) -> None:
    model = evidence(study(table)).model
    assert isinstance(model, MarginModel)
    settings = [{LR: lr, CLIP: 1.0} for lr in np.geomspace(1e-5, 1.0, 41).tolist()]
    kept = keeps_rule(model, settings, Rule(3.0, 0.95))
    assert kept.any() and not kept.all()
    highest = max(s[LR] for s, keeps in zip(settings, kept, strict=True) if keeps)
    assert EDGE / 6 < highest < EDGE / 2
    assert keeps_rule(model, settings, Rule(100.0, 0.95)).sum() < kept.sum()
    np.testing.assert_array_equal(keeps_rule(model, settings, Rule(1.0, 0.95)), model.p_stable(settings) >= 0.95)


def test_expected_results_follow_the_metric_and_count_failures(table: Table) -> None:
    trials = study(table)
    encoding = Encoding(space_of(SPACE))
    good, bad = {LR: EDGE / 2, CLIP: 1.0}, {LR: EDGE / 100, CLIP: 1.0}
    wer = ExpectedResults(trials, encoding, "wer")
    loss = ExpectedResults(trials, encoding, "val_loss")
    np.testing.assert_allclose(loss.of_stable([good, bad]), 3 * wer.of_stable([good, bad]), rtol=0.05)
    sure, unsure = wer.cautious([good], np.array([1.0]))[0], wer.cautious([good], np.array([0.5]))[0]
    assert wer.of_stable([good])[0] < sure < unsure and unsure == pytest.approx(0.5 * sure + 0.5, abs=1e-9)
    assert loss.cautious([good], np.array([0.0]))[0] == pytest.approx(3.0), "L_const of the table"
    few = ExpectedResults(trials[trials["wer"].isna()], encoding, "wer")
    assert not few.known and math.isnan(few.of_stable([good])[0])
    assert few.cautious([good], np.array([0.75]))[0] == 0.25


@pytest.mark.parametrize(
    ("p", "text"), [(0.999999, "above 0.99"), (0.949, "0.94"), (0.5, "0.50"), (0.001, "below 0.01")]
)
def test_a_chance_is_told_as_finely_as_it_is_known(p: float, text: str) -> None:
    assert chance_text(p) == text
