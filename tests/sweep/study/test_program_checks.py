"""Studies of the user's own programs, as files: what they may hold, and what is told of each mistake."""

from pathlib import Path

import pytest

from slr_models.errors import SettingError
from sweep.study import LoadedStudy, load, stored

FUNCTION = """
name: mine
trial: {kind: function, target: "my_train:train", config: {optimizer: {kind: sgd}, width: 4}}
space:
  optimizer.lr: {loguniform: [1e-3, 1]}
  precision: {choice: [fp32, bf16]}
objective: {maximize: accuracy}
budget: {trials: 4}
"""
COMMAND = """
name: mine
trial:
  kind: command
  run: "python train.py --lr {lr} --set '{width} {{}}' --out {dir}/model"
  log: "{dir}/log.csv"
  config: {width: 4}
space: {lr: {loguniform: [1e-3, 1]}}
budget: {trials: 4, steps: 100}
"""


def read(tmp_path: Path, text: str, *overrides: str) -> LoadedStudy:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    return load(path, overrides)


def told(tmp_path: Path, text: str, *overrides: str) -> str:
    with pytest.raises(SettingError) as raised:
        read(tmp_path, text, *overrides)
    return str(raised.value)


def test_settings_are_put_in_at_their_paths(tmp_path) -> None:
    loaded = read(tmp_path, FUNCTION)
    values = loaded.own_config({"optimizer.lr": 0.1, "precision": "bf16"}).values
    assert values == {"optimizer": {"kind": "sgd", "lr": 0.1}, "width": 4, "precision": "bf16"}
    assert loaded.own_config({}).values == {"optimizer": {"kind": "sgd"}, "width": 4}, (
        "the study's own stay as they are"
    )
    study = loaded.study
    assert study.metric == "score" and study.score.name == "accuracy" and study.score.is_maximized
    assert loaded.length(loaded.own_config({}), 0) is None


def test_what_a_results_folder_holds_of_it_can_be_read_again(tmp_path) -> None:
    for text in (FUNCTION, COMMAND):
        loaded = read(tmp_path, text)
        content = stored(loaded.study)
        assert not {"model", "data", "training"} & content.keys()
        again = type(loaded.study).model_validate(content)
        assert again == loaded.study.model_copy(update={"space": again.space})


@pytest.mark.parametrize(
    ("text", "overrides", "line", "said"),
    [
        (
            FUNCTION,
            ["training.batch_size=4"],
            "",
            "training belongs to our own loop, and trial.kind",
        ),
        (FUNCTION, ["trial.target=os:system"], "", "trial.target: 'os:system' must not be used: os is part of Python"),
        (FUNCTION, ["trial.traget=x"], "", "trial.traget is not a setting. Did you mean target?"),
        (FUNCTION, ["objective={maximize: accuracy, minimize: loss}"], "", "needs either minimize or maximize"),
        (FUNCTION, ["objective={}"], "", "needs either minimize or maximize"),
        (FUNCTION, ["budget.epochs=3"], "", "budget.epochs counts passes over `data`, which trial.kind: function has"),
        (FUNCTION, ["resources.stacked=2"], "", "resources.stacked is for our own loop"),
        (FUNCTION, ["scheduler={kind: pbt}"], "", "use asha or median"),
        (FUNCTION, ["scheduler={kind: asha}"], "", "give budget.steps, its whole length"),
        (FUNCTION, ["trial.references={cross_entropy: [3, 0]}"], "", "at least two classes that occur"),
        (FUNCTION.replace("precision:", "width.depth:"), [], "", "space.width.depth is to be a part of width, which"),
        (FUNCTION.replace("precision:", "optimizer:"), [], "", "space.optimizer is one value, but"),
        (FUNCTION.replace("precision:", "val_loss:"), [], ":6", "space.val_loss: 'val_loss' has a meaning of its own"),
        (FUNCTION.replace("precision:", "my precision:"), [], ":6", "space.my precision: write a name such as lr"),
        (
            COMMAND,
            ["trial.run=train {lr} {widht}"],
            "",
            "trial.run names {widht}, which is no setting",
        ),
        (COMMAND, ["trial.run=train 'x"], "", "trial.run cannot be split into words"),
        (COMMAND, ["trial.run=train {width}"], "", "space.lr changes nothing: the command does not name {lr}"),
        (COMMAND.replace(", steps: 100", ""), ["trial.run=train {lr} {steps}"], "", "names {steps}: give budget.steps"),
        (COMMAND, ["trial.log=log.csv"], "", "all trainings would write to one file"),
        (COMMAND, ["objective={maximize: accuracy}"], "", "objective is accuracy, which trial.metrics does not find"),
        (COMMAND, ["trial.log='{dir}/x.parquet'", "trial.metrics={a: b}"], "", "trial.metrics reads text"),
        (COMMAND, ["resources.gpus=auto"], "", "which knows nothing of a command's"),
        (COMMAND, ["resources.out_of_memory=accumulate"], "", "accumulate is for our own loop"),
        (FUNCTION.replace("precision:", "jobs:"), [], "", "space.jobs: 'jobs' has a meaning of its own"),
        (
            COMMAND.replace("space: {", "space: {opt: {choice: [a, b]}, m: {uniform: [0, 1], when: {opt: [a]}}, "),
            ["trial.run=train {lr} {opt} {m}"],
            "",
            "space.m is not always there, and the command names {m}",
        ),
        (COMMAND, ["trial.kind=comand"], "", "trial.kind is 'comand', which does not exist. Did you mean command?"),
        ("name: x\nbudget: {trials: 2, steps: 3}\n", [], "", "model is missing: it has no default"),
        ("name: x\nbudget: {trials: 2, steps: 3}\n", [], "", "data is missing: it has no default"),
    ],
)
def test_each_mistake_is_told_in_a_line_with_its_place(tmp_path, text, overrides, line, said) -> None:
    message = told(tmp_path, text, *overrides)
    assert said in message and f"mine.yaml{line}" in message or overrides, message
    assert said in message, message


def test_a_study_of_our_own_loop_takes_no_other_objective(tmp_path) -> None:
    text = "name: x\nmodel: {kind: baseline}\ndata: {kind: synthetic}\nbudget: {trials: 2, steps: 3}\n"
    assert read(tmp_path, text).study.metric == "wer"
    assert read(tmp_path, text, "objective=val_loss").study.metric == "val_loss"
    for wrong in ("accuracy", "score", "{maximize: accuracy}"):
        assert "should be 'wer' or 'val_loss'" in told(tmp_path, text, f"objective={wrong}")
