import math
from collections.abc import Callable

import pandas as pd
import pytest

from sweep.analysis.cost.audit import audit
from sweep.analysis.cost.costs import costs
from sweep.analysis.cost.spending import Timed, elapsed_text, how_evaluated, parts_text, spending
from sweep.study import validate
from sweep.yaml_source import parse

Table = Callable[..., pd.DataFrame]


def test_the_phases_add_up_to_the_lanes_of_the_study(table: Table) -> None:
    trials = table(
        [
            {},
            {"verdict": "stalled", "audited": True, "alarm": "stalled", "stop_step": 60, "forensics_s": 5.0},
            {"verdict": "stalled", "num_steps": 40, "stop_step": 40, "wall_s": 4.0, "forensics_s": 0.0},
            {"phase": "confirm"},
            {"phase": "full_size", "wall_s": 30.0},
        ]
    )
    found = spending(trials, audit(trials), [], False, 40.0, 2)
    assert [(p.name, p.num_trials, p.num_steps, pytest.approx(p.seconds)) for p in found.phases] == [
        ("exploring", 3, 200, 20.0), ("confirming", 1, 100, 10.0), ("at full size", 1, 100, 30.0),
        ("audit", 1, 40, 4.0), ("explaining", 1, None, 5.0), ("not training", None, None, 11.0),
    ]  # fmt: skip
    assert sum(p.seconds for p in found.phases) == pytest.approx(2 * 40.0)
    assert "took 40 s" in elapsed_text(found) and "took 69 s together: 1.7 of 2 possible ran" in elapsed_text(found)


def test_what_is_not_known_is_not_told(table: Table) -> None:
    trials = table([{}, {}])
    old = spending(trials, audit(trials), [], False, math.nan, None)
    assert [p.name for p in old.phases] == ["exploring"] and old.parts is None
    assert elapsed_text(old) == "The study's own elapsed time is not in its records."
    cluster = spending(trials, audit(trials), [], False, 10.0, None)
    assert [p.name for p in cluster.phases] == ["exploring"], "how many could run at once is unknown"
    assert "2.0 ran at a time" in elapsed_text(cluster)
    more_lanes_since = spending(trials, audit(trials), [], False, 5.0, 2)
    assert [p.name for p in more_lanes_since.phases] == ["exploring"]
    nothing = spending(table([]), audit(table([])), [], True, math.nan, None)
    assert nothing.phases == () and nothing.busy_s == 0


def test_the_trainings_of_a_design_are_its_phase(table: Table) -> None:
    trials = table([{"block": 0}, {"block": 0}])
    assert [p.name for p in spending(trials, audit(trials), [], True, 10.0, 2).phases] == ["the design"]


def test_the_parts_of_a_training_come_from_its_records(table: Table) -> None:
    trials = table([{}, {}, {"wall_s": None}])
    timed = [Timed("t000", 8.0, 1.0), Timed("t001", 0.0, 0.0), Timed("t002", 8.0, 1.0)]
    parts = spending(trials, audit(trials), timed, False, 10.0, 2).parts
    assert parts is not None and parts.num_trials == 1, "without steps or a wall time nothing can be split"
    assert (parts.steps_s, parts.evals_s, parts.rest_s) == pytest.approx((8.0, 1.0, 1.0))
    assert parts_text(parts, "every 5 steps, all 120 utterances") == (
        "Evaluations took 10 % of the trainings' time (every 5 steps, all 120 utterances), training steps took 80 % "
        "and the rest 10 %: building the model, checkpoints, looking for alarms (1 trial whose records were looked at)."
    )


def test_how_to_evaluate_less_is_told_where_evaluations_took_much(table: Table) -> None:
    trials = table([{"wall_s": 20.0}, {}, {}])

    def text(*evals_s: float) -> str:
        timed = [Timed(f"t{number:03}", 5.0, seconds) for number, seconds in enumerate(evals_s)]
        parts = spending(trials, audit(trials), timed, False, 10.0, 2).parts
        assert parts is not None
        return parts_text(parts, "every 5 steps")

    assert "took 20 % of the trainings' time (every 5 steps), t" in text(4.0, 2.0, 2.0)
    assert "eval_subset" not in text(4.0, 2.0, 2.0)
    assert "training.eval_subset bounds what each takes" in text(4.0, 3.0, 3.0)
    assert "took 15 % of the trainings' time (every 5 steps; 10 % in the median trial), t" in text(4.0, 1.0, 1.0)
    assert text(0.0, 0.0, 0.0).startswith("Training steps took 38 % of the trainings' time and the rest 62 %: ")
    assert "took 20 % of the trainings' time (every 5 steps), t" in text(4.0, math.nan, 2.0), "one was not measured"


def test_how_trainings_were_evaluated_is_told_as_far_as_all_were_alike() -> None:
    def told(training: str, space: str = "{}", num_valid: int | None = 120) -> str:
        content = (
            f"name: s\nmodel: {{kind: baseline}}\ndata: {{kind: synthetic}}\ntraining: {training}\nspace: {space}\n"
            "budget: {steps: 10}\nsearch: {kind: random}\n"
        )
        return how_evaluated(validate(parse(content, "s.yaml")).study, num_valid)

    assert told("{}") == "every epoch, all 120 utterances"
    assert told("{eval_every_steps: 50, eval_subset: 25}") == "every 50 steps, 25 of 120 utterances"
    assert told("{eval_every_steps: 50, eval_subset: 500}") == "every 50 steps, all 120 utterances"
    assert told("{eval_subset: 25}", num_valid=None) == "every epoch, 25 of all utterances"
    assert told("{}", num_valid=None) == "every epoch, all utterances"
    searched = "{training.eval_every_steps: {choice: [5, 10]}}"
    assert told("{}", searched) == "all 120 utterances"


@pytest.mark.filterwarnings("error")
def test_a_time_without_end_counts_as_unknown(table: Table) -> None:
    endless = {"wall_s": math.inf, "cpu_s": math.inf, "forensics_s": math.inf}
    stopped = {"verdict": "stalled", "audited": True, "alarm": "stalled", "stop_step": 60, **endless}
    trials = table([{}, endless, stopped])
    timed = [Timed("t000", 8.0, 1.0), Timed("t001", 8.0, 1.0), Timed("t002", math.inf, 1.0)]
    audited, total = audit(trials), costs(trials)
    found = spending(trials, audited, timed, False, 40.0, 2)
    assert found.busy_s == 10.0 and found.parts is not None and found.parts.num_trials == 1
    assert (total.wall_s, audited.wall_s) == (10.0, 0.0) and math.isfinite(total.cpu_s + total.forensics_s)
    assert "took 10 s together" in elapsed_text(found)
