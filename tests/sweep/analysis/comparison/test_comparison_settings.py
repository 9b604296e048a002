from typing import Any

from sweep.analysis.comparison.settings import ABSENT, Difference, differences
from sweep.study.reading import of_content

STUDY = {
    "name": "one",
    "model": {"kind": "teacher", "width": 0.125},
    "data": {"kind": "synthetic"},
    "budget": {"steps": 100},
    "training": {"optimizer": {"kind": "adamw", "lr": 1e-3}, "batch_size": 8},
    "monitor": {"detectors": [{"kind": "stalled", "stalled_above": 0.98}, {"kind": "nonfinite", "losses_in_row": 5}]},
    "space": {"training.optimizer.lr": {"loguniform": [1e-4, 1e-1]}},
    "provenance": {"versions": {"torch": "2.12"}, "host": {"cores": 2}, "started_at": "today", "l_const": 2.5},
}


def told(a: dict[str, Any], b: dict[str, Any]) -> tuple[Difference, ...]:
    return differences(of_content(a), of_content(b))


def test_equal_studies_differ_in_nothing_that_matters() -> None:
    other = {**STUDY, "name": "two", "provenance": {**STUDY["provenance"], "started_at": "tomorrow"}}
    assert told(STUDY, other) == ()


def test_what_differs_is_told_by_dotted_path_data_first_and_searched_values_are_left_out() -> None:
    other = {
        **STUDY,
        "training": {"optimizer": {"kind": "adamw", "lr": 5e-4}, "batch_size": 4},
        "monitor": {
            "detectors": [{"kind": "nonfinite", "losses_in_row": 9}, {"kind": "stalled", "stalled_above": 0.98}]
        },
        "provenance": {"versions": {"torch": "2.13"}, "host": {"cores": 2}, "l_const": 2.6},
        "audit": {"rate": 0.1},
    }
    found = [(one.title, one.path, one.before, one.after) for one in told(STUDY, other)]
    assert found == [
        ("data", "provenance.l_const", 2.5, 2.6),
        ("training", "training.batch_size", 8, 4),
        ("detectors", "monitor.detectors.nonfinite.losses_in_row", 5, 9),
        ("search", "audit.rate", ABSENT, 0.1),
        ("versions", "provenance.versions.torch", "2.12", "2.13"),
    ]
    assert [one.in_both for one in told(STUDY, other)] == [True, True, True, False, True]
