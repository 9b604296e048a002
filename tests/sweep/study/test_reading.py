"""study.yaml of a results folder, read back: also of a version before, and of none that this one can read."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from slr_models.errors import ResultsError
from sweep import store
from sweep.study import of_content, read_study, stored
from sweep.study.claim import Claim

CONTENT: dict[str, Any] = {
    "name": "made-up",
    "model": {"kind": "teacher"},
    "data": {"kind": "synthetic"},
    "training": {"clip": {"kind": "norm", "max_norm": 1.0}, "optimizer": {"kind": "adamw", "lr": 1e-3}},
    "space": {"training.optimizer.lr": {"loguniform": [1e-4, 1e-1]}},
    "budget": {"steps": 100},
    "monitor": {"detectors": [{"kind": "stalled"}, {"kind": "nonfinite"}]},
}
DESIGN = {"kind": "paired", "blocks": 4, "factors": {"precision": {"training.precision.kind": ["fp32", "fp16"]}}}
CLAIM = {
    "name": "one", "text": "fp16 fails", "factor": "precision", "response": "stable", "expected": "lower",
    "smallest_effect": 0.1,
}  # fmt: skip
Change = Callable[[dict[str, Any]], None]


def changed(change: Change) -> dict[str, Any]:
    content = copy.deepcopy(CONTENT)
    change(content)
    return content


def put(*path: Any, value: Any) -> Change:
    def change(content: dict[str, Any]) -> None:
        here: Any = content
        for key in path[:-1]:
            here = here[key]
        here[path[-1]] = value

    return change


def test_a_folders_study_comes_back_as_it_was_written(tmp_path: Path) -> None:
    study = of_content({**CONTENT, "design": DESIGN, "claims": [CLAIM], "search": {"kind": "random"}}).study
    store.write_yaml(tmp_path / "study.yaml", {**stored(study), "provenance": {"num_lanes": 2}})
    found = read_study(tmp_path)
    assert stored(found.study) == stored(study) and found.provenance.num_lanes == 2
    assert list(found.study.searched) == ["training.precision.kind", "training.optimizer.lr"]
    (claim,) = found.study.claims
    assert isinstance(claim, Claim) and claim.levels == ("fp32", "fp16") and claim.null == 0.0, "without gaps"
    assert not found.study.recommends, "nothing is confirmed unless it is asked for"


def test_what_a_version_before_did_not_have_has_its_default_and_is_known_to_be_missing() -> None:
    found = of_content(CONTENT)
    assert found.study.safety.lr_factor == 3.0 and not found.says("safety") and found.says("budget")
    assert found.made == {} and found.provenance.num_lanes is None and found.provenance.l_const is None


@pytest.mark.parametrize(
    "change",
    [
        put("gone", value=1),
        put("training", "gone", value={"a": 1}),
        put("training", "clip", "gone", value=2.0),
        put("space", "training.optimizer.lr", "gone", value=True),
        put("monitor", "detectors", 1, "gone", value=3),
    ],
    ids=["at the top", "in a section", "of a kind", "of a dimension", "in a list"],
)
def test_settings_that_only_another_version_has_are_passed_over(change: Change) -> None:
    content = changed(change)
    found = of_content(content)
    assert found.study == of_content(CONTENT).study
    assert found.content == content == changed(change), "who lists all of it sees them"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (put("training", "optimizer", "kind", value="newton"), "training.optimizer.kind is 'newton'"),
        (put("space", "training.optimizer.lr", value={"loguniform": [1.0, -2.0]}), "space.training.optimizer.lr"),
        (put("budget", value="much"), "budget is a section"),
        (put("provenance", value={"num_lanes": "two"}), "provenance.num_lanes: "),
    ],
)
def test_what_this_version_cannot_read_is_named_in_one_line(tmp_path: Path, change: Change, said: str) -> None:
    store.write_yaml(tmp_path / "study.yaml", changed(change))
    with pytest.raises(ResultsError) as error:
        read_study(tmp_path)
    text = str(error.value)
    assert text.startswith(f"{tmp_path / 'study.yaml'}: ") and said in text and "\n" not in text
    assert "bring the file back as it was written" in text


def test_a_setting_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(ResultsError, match=r"^study\.yaml: model is missing"):
        of_content({key: value for key, value in CONTENT.items() if key != "model"})
