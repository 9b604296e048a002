"""What `search.warm_start` names, as trainings of a study's space."""

import math
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from slr_models.errors import ResultsError, SettingError
from sweep import store, yaml_source
from sweep.analysis.trials.carried import MOST_OF_A_SOURCE, carried_over, prior_of
from sweep.store.prior import PRIOR_FILE, read_prior, write_prior
from sweep.study import Study, validate

LR, CLIP, PRECISION = "training.optimizer.lr", "training.clip.max_norm", "training.precision.kind"
TEXT = """
name: new
model: {kind: baseline, width: 0.0625}
data: {kind: synthetic}
training: {clip: {kind: norm, max_norm: 1.0}}
space: {training.optimizer.lr: {loguniform: [1e-4, 1e-1]}, training.precision.kind: {choice: [fp32, fp16]}}
search: {kind: stability, seed: 0, warm_start: [SOURCE]}
budget: {trials: 20, steps: 10}
"""


def study(source: Path | str, text: str = TEXT) -> Study:
    return validate(yaml_source.parse(text.replace("SOURCE", str(source)), "new.yaml")).study


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A study that searched the clip norm too, fp32 alone, at wider learning rates."""
    folder = tmp_path / "old"
    content: dict[str, Any] = {
        "name": "old",
        "model": {"kind": "teacher"},
        "data": {"kind": "synthetic"},
        "budget": {"steps": 100},
        "training": {"precision": {"kind": "fp32"}},
        "space": {LR: {"loguniform": [1e-6, 1.0]}, CLIP: {"choice": [1.0, 5.0]}},
        "search": {"kind": "random"},
    }
    store.write_yaml(folder / "study.yaml", content)
    rows = []
    for number, (lr, clip) in enumerate([(1e-5, 1.0), (1e-3, 1.0), (1e-2, 1.0), (1e-2, 5.0), (0.5, 1.0)]):
        stable = lr < 5e-3
        rows.append(
            {"trial_id": f"{number:04d}", "number": number, "group": number, "seed": number, "phase": "explore",
             "verdict": "stable" if stable else "diverged-loss", "stable": stable, "reason": "", "audited": False,
             "num_steps": 100, "max_steps": 100, "objective": 0.5, "margin": -0.5 if stable else 0.6,
             "wall_s": 1.0, "cpu_s": 1.0, "step_time_s": 0.1, "peak_memory_mib": 5.0, LR: lr, CLIP: clip}
        )  # fmt: skip
    store.write_trials(folder, rows)
    return folder


def test_trials_of_another_study_count_where_they_lie_in_the_space(old: Path, tmp_path: Path) -> None:
    carried, notes = carried_over(study(old), tmp_path / "new")
    assert [(one.settings, one.margin) for one in carried.trials] == [
        ({LR: 1e-3, PRECISION: "fp32"}, -0.5),
        ({LR: 1e-2, PRECISION: "fp32"}, 0.6),
    ], "not those of other ranges, nor of another clip norm than this study's"
    assert notes == [f"{old}: 2 of 5 trials lie in the space"]
    prior = prior_of(carried)
    assert prior.sources == [1, 1] and prior.num_sources == 1


def test_what_a_study_began_with_it_keeps(old: Path, tmp_path: Path) -> None:
    asked, folder = study(old), tmp_path / "new"
    carried, _ = carried_over(asked, folder)
    write_prior(folder, carried)
    (old / "trials.parquet").unlink()
    assert carried_over(asked, folder) == (read_prior(folder), [])
    wider = study(old, TEXT.replace("[1e-4, 1e-1]", "[1e-6, 1.0]"))
    with pytest.raises(ResultsError):
        # Of other ranges it has to look again.
        carried_over(wider, folder)


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_a_table_of_any_tool(tmp_path: Path, suffix: str) -> None:
    table = pd.DataFrame(
        {
            "lr": [1e-3, 2e-2, 5.0, 3e-3],
            PRECISION: ["fp32", "fp16", "fp32", "int8"],
            "stable": [1, 0, 1, 1],
        }
    )
    path = tmp_path / f"old.{suffix}"
    table.to_csv(path, index=False) if suffix == "csv" else table.to_parquet(path)
    carried, notes = carried_over(study(path), tmp_path / "new")
    assert [(one.settings, one.margin) for one in carried.trials] == [
        ({LR: 1e-3, PRECISION: "fp32"}, -0.3),
        ({LR: 2e-2, PRECISION: "fp16"}, 0.3),
    ]
    assert notes == [f"{path}: 2 of 4 trials lie in the space"]


def test_margins_of_a_table_are_taken_as_they_are_and_one_that_is_none_is_bad(tmp_path: Path) -> None:
    path = tmp_path / "old.csv"
    table = pd.DataFrame({"lr": [1e-3] * 4, "precision": ["fp32"] * 4, "margin": [-0.2, 7.0, math.nan, math.inf]})
    table.to_csv(path, index=False)
    carried, _ = carried_over(study(path), tmp_path / "new")
    assert [one.margin for one in carried.trials] == [-0.2, 1.0, 0.3, 0.3]


def test_of_many_the_most_telling_are_taken(tmp_path: Path) -> None:
    path = tmp_path / "old.csv"
    rates = [10 ** (-4 + 3 * k / 999) for k in range(1000)]
    table = pd.DataFrame({"lr": rates, "precision": "fp32", "margin": [rate - 0.01 for rate in rates]})
    table.to_csv(path, index=False)
    carried, notes = carried_over(study(path), tmp_path / "new")
    assert len(carried.trials) <= MOST_OF_A_SOURCE and "1000 of 1000" in notes[0] and "tell most" in notes[0]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("lr,stable\n1e-3,true\n", "has no column precision (training.precision.kind)"),
        ("lr,precision\n1e-3,fp32\n", "neither a column margin"),
        ("lr,precision,stable\n1e-3,fp32,perhaps\n", "row 2: stable is 'perhaps': give true or false"),
        ("lr,precision,margin\n1e-3,fp32,big\n", "row 2: margin is 'big', which is no number"),
        ("lr,precision,stable\n9,fp32,true\n", "none of the 1 trials of"),
        ("", "cannot be read"),
    ],
)
def test_a_table_that_says_nothing_is_refused(tmp_path: Path, content: str, said: str) -> None:
    path = tmp_path / "old.csv"
    path.write_text(content)
    with pytest.raises((SettingError, ResultsError)) as caught:
        carried_over(study(path), tmp_path / "new")
    assert said in str(caught.value) and "search.warm_start" in str(caught.value)


@pytest.mark.parametrize("name", ["none", "file.txt", "."])
def test_what_is_neither_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "file.txt").write_text("x")
    with pytest.raises(SettingError, match="neither a results folder of a study nor a table"):
        carried_over(study(tmp_path / name), tmp_path / "new")


@pytest.mark.parametrize("content", ["{", "[]", '{"sources": [], "trials": [{"source": 0}], "space": {}}'])
def test_a_damaged_prior_is_told(tmp_path: Path, content: str) -> None:
    (tmp_path / PRIOR_FILE).write_text(content)
    with pytest.raises(ResultsError, match=r"prior\.json is damaged"):
        read_prior(tmp_path)
