import math
from collections.abc import Callable

import pandas as pd
import pytest

from sweep.analysis.cost.audit import audit, audit_text, saving_text, wrong_stops
from sweep.analysis.cost.costs import LATE_STEPS, cost_text, costs
from sweep.records import IRREPARABLE, Outcome
from sweep.training.late import GPU_LAG_STEPS

Table = Callable[..., pd.DataFrame]


def audited(verdict: str, alarm: str, stop_step: int, **more: object) -> dict[str, object]:
    return {"verdict": verdict, "audited": True, "alarm": alarm, "stop_step": stop_step, **more}


def test_false_stops_are_counted_over_audited_trials_alone(table: Table) -> None:
    trials = table(
        [
            {},
            audited("stable", "blank-collapse", 40),
            audited("blank-collapse", "blank-collapse", 50),
            audited("stalled", "stalled", 60, wall_s=20.0),
            {"verdict": "stalled", "num_steps": 45, "stop_step": 45, "wall_s": 4.5},
            {"verdict": "diverged-nonfinite", "num_steps": 10, "stop_step": 10, "wall_s": 1.0},
        ]
    )
    found, cost = audit(trials), costs(trials)
    assert (found.false_stops.count, found.false_stops.total) == (1, 3)
    assert (found.false_stops.low, found.false_stops.high) == pytest.approx((0.0084, 0.9057), abs=1e-4)
    assert [(a.alarm, a.false_stops.count, a.false_stops.total) for a in found.by_alarm] == [
        (Outcome.BLANK_COLLAPSE, 1, 2), (Outcome.STALLED, 0, 1),
    ]  # fmt: skip
    assert found.num_steps == 60 + 50 + 40 and found.wall_s == pytest.approx(6.0 + 5.0 + 8.0)
    assert (cost.num_stopped, cost.steps_saved) == (2, 55 + 90)
    assert cost.saved_s == pytest.approx(145 * 0.1), "at the median time a step of full trainings"
    assert [(row.outcome, row.steps_saved) for row in cost.by_outcome if row.steps_saved] == [
        (Outcome.DIVERGED_NONFINITE, 90), (Outcome.STALLED, 55),
    ]  # fmt: skip
    assert audit_text(found) == (
        "False stops: of 3 trials that were run on to the end after an alarm, 1 ended stable after all, 33 % (exact "
        "95 % interval 1 % to 91 %): 1 of 2 blank-collapse, 0 of 1 stalled."
    )
    # Of 2 stopped and 3 audited trials, of which 1 was wrong, none to both may have been stopped wrongly.
    assert (found.doubtful.num, found.doubtful.wrong, found.doubtful.wrong_steps) == (2, (0, 2), (0, 145))
    assert "between 0 and 2 of the 2 trials" in saving_text(found, cost)
    assert "Between 0 % and 100 % of the saved steps may be theirs." in saving_text(found, cost)
    assert "saved 145 steps, 24 % of" in cost_text(cost) and "about 14 s" in cost_text(cost)


def test_without_an_audit_nothing_is_claimed(table: Table) -> None:
    trials = table([{}, {"verdict": "stalled", "num_steps": 45, "stop_step": 45}])
    found = audit(trials)
    assert (found.false_stops.low, found.false_stops.high) == (0.0, 1.0) and found.by_alarm == ()
    text = audit_text(found)
    assert "No stopped run was audited" in text and "anything from 0 % to 100 % is possible" in text
    assert "No run was audited, so anything from 0 % to 100 % of the saved steps" in saving_text(found, costs(trials))
    for rows in ([{}], []):
        nothing = table(rows)
        assert audit_text(audit(nothing)) == "" == saving_text(audit(nothing), costs(nothing))
        assert audit(nothing).num_steps == 0


def test_a_lost_weight_is_no_doubtful_stop(table: Table) -> None:
    lost = {"verdict": "diverged-nonfinite", "num_steps": 20, "stop_step": 20, "reason": f"a weight; {IRREPARABLE}"}
    sure = table([{}, lost])
    assert audit(sure).doubtful.num == 0 and audit_text(audit(sure)) == ""
    assert saving_text(audit(sure), costs(sure)).startswith("None of these stops can have been wrong")
    mixed = table([lost, {"verdict": "stalled", "num_steps": 45, "stop_step": 45}, audited("stalled", "stalled", 60)])
    assert audit(mixed).doubtful.wrong_steps == (0, 55), "the 80 steps of the lost weight are saved for certain"
    assert "The other 1 had lost weights or data" in saving_text(audit(mixed), costs(mixed))


def test_the_range_of_wrong_stops_is_exact() -> None:
    """Two-sided 95 % intervals of a hypergeometric count, by its definition, for every possible truth."""
    num_audited, num_stopped = 4, 9
    for truth in range(num_audited + num_stopped + 1):
        chance_held = 0.0
        every = math.comb(num_audited + num_stopped, num_audited)
        for seen in range(max(0, truth - num_stopped), min(truth, num_audited) + 1):
            low, high = wrong_stops(seen, num_audited, num_stopped)
            ways = math.comb(truth, seen) * math.comb(num_audited + num_stopped - truth, num_audited - seen)
            chance_held += (low <= truth - seen <= high) * ways / every
        assert chance_held >= 0.95 - 1e-9, truth
    assert wrong_stops(0, 0, 7) == (0, 7), "nobody looked"
    assert wrong_stops(0, 60, 6) == (0, 1), "many looks, few left"
    assert wrong_stops(3, 3, 0) == (0, 0), "nothing was stopped"


def test_a_crash_after_an_alarm_is_no_early_stop(table: Table) -> None:
    alarmed = {"verdict": "stalled", "stop_step": 40}
    assert costs(table([{**alarmed, "num_steps": 70}])).num_stopped == 0
    late = costs(table([{**alarmed, "num_steps": 40 + GPU_LAG_STEPS}]))
    assert (late.num_stopped, late.steps_saved) == (1, 60 - GPU_LAG_STEPS) and LATE_STEPS == GPU_LAG_STEPS
    lost_a_weight = costs(table([{**alarmed, "num_steps": 70, "audited": True, "alarm": "stalled"}]))
    assert (lost_a_weight.num_stopped, lost_a_weight.steps_saved) == (1, 30)


def test_explaining_is_a_cost_of_its_own(table: Table) -> None:
    trials = table([{"forensics_s": 30.0}, {"verdict": "stalled", "forensics_s": 12.0}, {}])
    cost = costs(trials)
    assert cost.forensics_s == 42.0 and cost.wall_s == 30.0


def test_times_of_a_study_without_a_full_training_are_estimated_from_what_there_is(table: Table) -> None:
    stopped = {"verdict": "stalled", "num_steps": 40, "stop_step": 40, "wall_s": 8.0}
    assert costs(table([stopped])).saved_s == pytest.approx(60 * 0.2)
    assert "about n/a" in cost_text(costs(table([{**stopped, "wall_s": None}])))
