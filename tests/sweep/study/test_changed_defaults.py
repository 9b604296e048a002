"""A default that has changed: what was begun with the former one goes on with it."""

from pathlib import Path
from typing import Any

import pytest

from sweep.running.continuing import as_begun, check_same_study
from sweep.study import LoadedStudy, load, stored
from sweep.study.changed_defaults import left_open
from sweep.yaml_source import dump_whole

STUDY = """
name: old
model: {model}
data: {{kind: synthetic, vocabulary_size: 4, num_train: 24, num_valid: 4, frames_per_label: 6, max_labels: 3}}
space: {space}
budget: {{trials: 4, steps: 20}}
"""
LR = "{training.optimizer.lr: {loguniform: [1e-4, 1]}}"


def study(folder: Path, model: str = "{kind: baseline, width: 0.0625}", space: str = LR) -> LoadedStudy:
    path = folder / "old.yaml"
    path.write_text(STUDY.format(model=model, space=space))
    return load(path)


def begun(folder: Path, loaded: LoadedStudy, **model: Any) -> Path:
    """Results of the study as an earlier version left them."""
    results = folder / "results"
    results.mkdir()
    content = stored(loaded.study)
    content["model"] |= model
    (results / "study.yaml").write_text(dump_whole(content))
    (results / "ledger.jsonl").write_text("")
    return results


def test_an_unfinished_study_goes_on_with_the_default_that_it_began_with(tmp_path: Path) -> None:
    loaded = study(tmp_path)
    results = begun(tmp_path, loaded, norm="group")
    going_on = as_begun(loaded, results)
    assert check_same_study(results, going_on.study) is not None
    assert going_on.trial_config({"training.optimizer.lr": 1e-3}).model.norm == "group"
    assert loaded.trial_config({"training.optimizer.lr": 1e-3}).model.norm == "batch"


@pytest.mark.parametrize("norm", ["group", "batch"])
def test_what_the_file_says_stands(tmp_path: Path, norm: str) -> None:
    loaded = study(tmp_path, f"{{kind: baseline, width: 0.0625, norm: {norm}}}")
    assert as_begun(loaded, begun(tmp_path, loaded, norm="group")) is loaded and left_open(loaded) == []


def test_a_new_study_is_told_which_defaults_have_changed(tmp_path: Path) -> None:
    (changed,) = left_open(study(tmp_path))
    assert changed.note.startswith("the default of model.norm is batch now, group in earlier versions: write it into")
    searched = study(tmp_path, space="{model.norm: {choice: [group, batch]}, " + LR[1:])
    assert left_open(searched) == []
    assert left_open(study(tmp_path, "{kind: cnn_bilstm, width: 0.0625}")) == []
    assert as_begun(study(tmp_path), tmp_path / "nothing").study == study(tmp_path).study


def test_results_of_this_version_change_nothing(tmp_path: Path) -> None:
    loaded = study(tmp_path)
    assert as_begun(loaded, begun(tmp_path, loaded)) is loaded
