import math
from typing import Any

import numpy as np
import pandas as pd
import pytest

from sweep.analysis.comparison.changes import Incomparable, StudyChange, Told, corrected
from sweep.analysis.comparison.edges import Maps, edge_changes, maps, volume
from sweep.analysis.comparison.shared import StudyRun, shared_part
from sweep.records import NotKnown
from sweep.study.reading import of_content

LR, KIND = "training.optimizer.lr", "training.precision.kind"
LEAST: dict[str, Any] = {
    "name": "made-up", "model": {"kind": "teacher"}, "data": {"kind": "synthetic"}, "budget": {"steps": 100},
}  # fmt: skip
"""Of a study, what has no default."""


def run_of(content: dict[str, Any], trials: pd.DataFrame, *claims: Any) -> StudyRun:
    return StudyRun(of_content({**LEAST, **content}), trials, *claims)


def study(edge: float, seed: int, low: float = 1e-4, high: float = 1.0, **space: Any) -> StudyRun:
    """Forty trainings that fail above an edge of the learning rate, which differs a little between seeds."""
    rng = np.random.default_rng(seed)
    rows = []
    for number in range(40):
        lr = 10 ** rng.uniform(math.log10(low), math.log10(high))
        margin = float(np.clip((math.log10(lr / edge) + 0.1 * rng.standard_normal()) / 2, -1, 1))
        rows.append({"number": number, "group": number, "phase": "explore", "stable": margin < 0, "margin": margin,
                     "verdict": "stable" if margin < 0 else "diverged-loss", LR: lr})  # fmt: skip
    return run_of({"space": {LR: {"loguniform": [low, high]}, **space}}, pd.DataFrame(rows))


def changes(a: StudyRun, b: StudyRun) -> tuple[Maps, list[StudyChange | Incomparable]]:
    found = maps(a, b, shared_part(a, b))
    assert isinstance(found, Maps), found
    return found, list(edge_changes(a, b, shared_part(a, b), found))


def test_an_edge_that_moved_down_by_a_decade_is_a_regression_and_up_an_improvement() -> None:
    a, b = study(1e-1, 0), study(1e-2, 1)
    found, (change,) = changes(a, b)
    assert isinstance(change, StudyChange) and change.subject == "upper edge of the learning rate"
    assert change.low < -1 < change.high < 0 and change.difference.startswith("moved down by ")
    assert corrected([change])[0].verdict == "regression"
    size = volume(found, shared_part(a, b))
    assert isinstance(size, Told) and size.before.startswith("7") and size.after.startswith(("4", "5"))
    _, (back,) = changes(b, a)
    assert isinstance(back, StudyChange) and back.verdict == "improvement"
    assert back.estimate == pytest.approx(-change.estimate, abs=1e-6)


def test_an_edge_that_only_one_map_shows_is_told_and_not_judged() -> None:
    stalls = study(1e-2, 1)
    other = StudyRun(
        stalls.stored, stalls.trials.assign(margin=-stalls.trials["margin"], stable=~stalls.trials["stable"])
    )
    found = {one.subject: one for one in changes(study(1e-2, 0), other)[1]}
    lower, upper = found["lower edge of the learning rate"], found["upper edge of the learning rate"]
    assert isinstance(lower, Incomparable) and "A none down to 0.0001; B 0.0" in lower.why
    assert isinstance(upper, Incomparable) and "B none up to 1" in upper.why


def test_studies_without_a_map_say_why() -> None:
    a = study(1e-2, 0)
    few = StudyRun(a.stored, a.trials.head(5))
    why = maps(a, few, shared_part(a, few))
    assert isinstance(why, NotKnown) and why.reason.startswith(
        "B has no map of the stable region: A map needs at least 8"
    )


def test_maps_along_different_settings_are_not_compared() -> None:
    a = study(1e-2, 0)
    other = run_of(
        {"space": {"model.width": {"loguniform": [1e-4, 1.0]}}}, a.trials.rename(columns={LR: "model.width"})
    )
    why = maps(a, other, shared_part(a, other))
    assert isinstance(why, NotKnown) and "along training.optimizer.lr, B along model.width" in why.reason
