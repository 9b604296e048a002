"""`queue` and `stop`: what somebody asks of a run, from another process."""

from pathlib import Path

import pytest

from sweep import store, yaml_source
from sweep.__main__ import main
from sweep.queue import settings_in
from sweep.records import Phase
from sweep.store import wishes
from sweep.store.ledger import Ledger
from sweep.store.ledger_lines import Ask
from sweep.study import load, stored

LR, PRECISION, SCALE = "training.optimizer.lr", "training.precision.kind", "training.precision.initial_scale"
TEXT = """
name: x
model: {kind: baseline, width: 0.0625, norm: group}
data: {kind: synthetic, vocabulary_size: 4, num_train: 32, num_valid: 8, frames_per_label: 6, max_labels: 3}
training: {batch_size: 4, eval_every_steps: 20}
space:
  training.optimizer.lr: {loguniform: [1e-4, 1e-1]}
  training.precision.kind: {choice: [fp32, fp16]}
  training.precision.initial_scale: {grid: [256, 65536], when: {training.precision.kind: [fp16]}}
search: {kind: random, seed: 0}
budget: {trials: 3, steps: 40}
confirm: {settings: 0}
forensics: {trials: 0}
"""


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """A results folder whose first training is under way."""
    (tmp_path / "x.yaml").write_text(TEXT)
    folder = tmp_path / "results" / "x"
    store.write_yaml(folder / "study.yaml", {**stored(load(tmp_path / "x.yaml").study), "provenance": {}})
    ledger = Ledger(folder)
    ledger.ask(Ask("0000", 0, 0, 0, Phase.EXPLORE, {LR: 1e-3, PRECISION: "fp32"}))
    ledger.close()
    return folder


def test_settings_are_named_by_their_ends(results: Path) -> None:
    space = load(results.parents[1] / "x.yaml").study.space
    assert settings_in(space, ["lr=3e-4"]) == {LR: 3e-4}
    assert settings_in(space, ["precision=fp16", "initial_scale=256"]) == {PRECISION: "fp16", SCALE: 256}
    assert settings_in(space, [f"{LR}=1e-4", "training.precision.kind=fp32"]) == {LR: 1e-4, PRECISION: "fp32"}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["lr"], "write it as setting=value"),
        (["lr=1"], "'lr=1' lies outside of what the study searches: 0.0001 to 0.1"),
        (["lr=fast"], "lies outside"),
        (["lr=.nan"], "lies outside"),
        (["precision=int8"], "one of fp32, fp16"),
        (["width=1"], "the study does not search 'width': it has lr, precision, initial_scale"),
        (["lr=1e-3", f"{LR}=1e-2"], "given twice"),
        (["initial_scale=256"], "exists only with precision=fp16"),
        (["precision=fp32", "initial_scale=256"], "exists only with precision=fp16"),
        (["lr={"], "YAML"),
    ],
)
def test_what_the_study_does_not_search_is_refused(
    results: Path, words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["queue", str(results), *words]) == 2
    told = capsys.readouterr()
    assert said in told.err and told.err.count("\n") == 1 and told.out == ""
    assert wishes.waiting(results) == []


def test_a_setting_is_queued_for_the_next_run(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["queue", str(results), "lr=3e-4"]) == 0
    assert capsys.readouterr().out == f"queued {LR}=0.0003: it is trained first when the study goes on\n"
    (wish,) = wishes.waiting(results)
    assert isinstance(wish, wishes.Wish) and wish.settings == {LR: 3e-4}


def test_of_a_spent_budget_it_says_how_to_go_on(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ledger = Ledger(results)
    for number in (1, 2):
        ledger.ask(Ask(f"000{number}", number, number, 0, Phase.EXPLORE, {LR: 1e-3, PRECISION: "fp32"}))
    ledger.close()
    assert main(["queue", str(results), "lr=3e-4"]) == 0
    assert "all 3 settings of the budget are drawn: --trials +1 goes on with it" in capsys.readouterr().out


@pytest.mark.parametrize("search", ["{kind: grid}", None])
def test_a_fixed_list_takes_none(tmp_path: Path, search: str | None, capsys: pytest.CaptureFixture[str]) -> None:
    content = yaml_source.parse(TEXT, "x").content
    content["space"] = {LR: {"grid": [1e-4, 1e-3]}}
    content["search"] = {"kind": "grid"}
    if search is None:
        content["design"] = {"kind": "paired", "blocks": 4, "factors": {"p": {PRECISION: ["fp32", "fp16"]}}}
        content["budget"] = {"steps": 40}
        del content["search"]
    store.write_yaml(tmp_path / "x" / "study.yaml", content)
    assert main(["queue", str(tmp_path / "x"), "lr=1e-4"]) == 2
    assert "trains a fixed list of settings" in capsys.readouterr().err


@pytest.mark.parametrize("command", [["queue", "lr=1e-3"], ["stop", "0"]])
def test_a_folder_that_is_none_is_told(tmp_path: Path, command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command[0], str(tmp_path / "none"), *command[1:]]) == 2
    assert capsys.readouterr().err.startswith("error: ") and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("trial", "said"),
    [("7", "has no trial 7: it has asked for 1"), ("0", "no run is at work in"), ("../x", "no trial")],
)
def test_what_does_not_train_is_not_stopped(
    results: Path, trial: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["stop", str(results), trial]) == 2
    assert said in capsys.readouterr().err and not (results / "stop").exists()
