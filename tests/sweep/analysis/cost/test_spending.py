import math
from collections.abc import Callable

import pandas as pd
import pytest

from sweep.analysis.cost.audit import audit
from sweep.analysis.cost.costs import costs
from sweep.analysis.cost.spending import Timed, elapsed_text, parts_text, spending

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
    assert "80 % went into training steps, 10 % into evaluations and 10 % into the rest" in parts_text(parts)


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
