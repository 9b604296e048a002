"""How the study was made: a size names what it is counted for."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from sweep.report.contents.view import load_view
from sweep.report.sections.facts import study_sections
from sweep.store import read_study, write_yaml


def model_rows(folder: Path) -> dict[str, str]:
    return dict(dict(study_sections(load_view(folder)))["Model"])


def test_the_size_of_the_model_names_its_input_and_how_layers_are_counted(
    tmp_path: Path, make_results: Callable[..., Path]
) -> None:
    folder = make_results(tmp_path, num_trials=4)
    rows = model_rows(folder)
    assert rows["num parameters"] == "711000 at 176 features and a vocabulary of 11"
    assert rows["num layers"] == "31 on the longest path, 70 in total"


def test_layers_of_a_folder_from_before_are_shown_as_they_were_counted(
    tmp_path: Path, make_results: Callable[..., Path]
) -> None:
    folder = make_results(tmp_path, num_trials=4)
    content: dict[str, Any] = read_study(folder)
    del content["provenance"]["model"]["total_layers"]
    write_yaml(folder / "study.yaml", content)
    assert model_rows(folder)["num layers"] == "31"
