"""The exported metrics: names in the Grafana dashboard, steps saved. Values that a real Ray serves: test_runner.py."""

import dataclasses
import json
import re

import pandas as pd

from sweep import grafana
from sweep.analysis.cost.costs import costs
from sweep.live.metrics import Exported, steps_saved
from sweep.records import Outcome, TrialResult
from sweep.running.job import Job, RunOptions
from sweep.running.judged import crashed_result


def result(verdict: Outcome, stop_step: int | None, num_steps: int, *, audited: bool = False) -> TrialResult:
    blank = crashed_result(
        Job("0000", 0, 0, 0, "explore", {}, None, 100), RunOptions(None, "wer", None, True, "none"), ""
    )
    return dataclasses.replace(blank, verdict=verdict, stop_step=stop_step, num_steps=num_steps, audited=audited)


def test_saved_steps_are_those_of_the_report() -> None:
    results = [
        result(Outcome.STABLE, None, 100),
        result(Outcome.DIVERGED_LOSS, 40, 42),
        result(Outcome.DIVERGED_LOSS, 40, 100, audited=True),
        result(Outcome.STALLED, 20, 80),
        result(Outcome.CRASHED, 10, 10),
        result(Outcome.OUT_OF_MEMORY, 3, 3),
        result(Outcome.PRUNED, None, 30),
    ]
    assert [steps_saved(one) for one in results] == [0, 58, 0, 0, 0, 0, 0]
    assert costs(pd.DataFrame([one.row() for one in results])).steps_saved == 58


def test_the_dashboard_draws_every_metric_that_is_exported_and_no_other() -> None:
    content = json.loads(grafana.dashboard())
    expressions = [target["expr"] for panel in content["panels"] for target in panel["targets"]]
    names = set(re.findall(r"ray_\w+", " ".join(expressions)))
    assert names == {name.series for name in Exported}
    assert all('study=~"$study"' in expression for expression in expressions)
    variables = {variable["name"]: variable for variable in content["templating"]["list"]}
    assert variables.keys() == {"datasource", "study"}
    assert Exported.PLANNED.series in variables["study"]["definition"]
    ids = [panel["id"] for panel in content["panels"]]
    assert len(set(ids)) == len(ids)
    places = [panel["gridPos"] for panel in content["panels"]]
    taken = [(x, y) for p in places for x in range(p["x"], p["x"] + p["w"]) for y in range(p["y"], p["y"] + p["h"])]
    assert len(taken) == len(set(taken)) and max(x for x, _ in taken) < 24, "no panel lies on another"
