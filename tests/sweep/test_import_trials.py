"""`import`: trials of other tools as a table that a study begins with."""

import json
import math
from pathlib import Path

import optuna
import pandas as pd
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from sweep.__main__ import main


def fill(study: optuna.Study) -> None:
    def objective(trial: optuna.Trial) -> float:
        lr = trial.suggest_float("lr", 1e-5, 1.0, log=True)
        if trial.number == 3:
            raise RuntimeError("died")
        if trial.number == 4:
            raise optuna.TrialPruned
        return lr

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    for lr in (1e-4, 1e-2, 0.5, 0.1, 0.2):
        study.enqueue_trial({"lr": lr})
    study.optimize(objective, n_trials=5, catch=RuntimeError)


@pytest.mark.parametrize("kind", ["url", "db", "journal"])
def test_an_optuna_storage(tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / ("x.journal" if kind == "journal" else "x.db")
    url = f"sqlite:///{path}"
    fill(optuna.create_study(storage=JournalStorage(JournalFileBackend(str(path))) if kind == "journal" else url))
    out = tmp_path / "old.csv"
    code = main(
        ["import", url if kind == "url" else str(path), str(out), "--stable-below", "0.1", "--map", "lr=training.lr"]
    )
    assert code == 0
    table = pd.read_csv(out)
    assert table["training.lr"].tolist() == [1e-4, 1e-2, 0.5, 0.1], "the pruned one tells nothing"
    assert table["stable"].tolist() == [True, True, False, False], "the failed one is none"
    assert capsys.readouterr().out.splitlines() == [
        f"{out}: 4 trials, 2 stable",
        f"in a study: search: {{kind: stability, warm_start: [{out}]}}",
    ]


def test_what_a_study_says_of_itself_needs_no_rule(tmp_path: Path) -> None:
    study = optuna.create_study(storage=f"sqlite:///{tmp_path / 'x.db'}")
    for lr, margin in ((1e-3, -0.4), (0.3, 0.7)):
        trial = study.ask({"lr": optuna.distributions.FloatDistribution(1e-5, 1.0, log=True)})
        trial.set_user_attr("margin", margin)
        study.tell(trial, lr)
    assert main(["import", str(tmp_path / "x.db"), str(tmp_path / "old.csv")]) == 0
    assert pd.read_csv(tmp_path / "old.csv")["margin"].tolist() == [-0.4, 0.7]


def test_what_failed_was_not_stable_and_what_tells_nothing_is_left_out(tmp_path: Path) -> None:
    study = optuna.create_study(storage=f"sqlite:///{tmp_path / 'x.db'}")
    space = {"lr": optuna.distributions.FloatDistribution(1e-5, 1.0, log=True)}
    for told, state in (
        ({"stable": True}, TrialState.COMPLETE),
        ({}, TrialState.FAIL),
        ({}, TrialState.COMPLETE),
        ({"margin": math.inf}, TrialState.COMPLETE),
        ({"margin": -0.4}, TrialState.FAIL),
    ):
        trial = study.ask(space)
        for name, value in told.items():
            trial.set_user_attr(name, value)
        study.tell(trial, 1.0 if state is TrialState.COMPLETE else None, state=state)
    assert main(["import", str(tmp_path / "x.db"), str(tmp_path / "old.csv")]) == 0
    assert pd.read_csv(tmp_path / "old.csv")["margin"].tolist() == [-0.3, 0.3, 0.3, 0.3]
    path, out = tmp_path / "runs.csv", tmp_path / "old.csv"
    path.write_text("lr,stable,failed\n0.1,yes,\n0.2,no,false\n0.3,,\n0.4,True,0\n0.5,1,1\n0.6,,yes\n")
    assert main(["import", str(path), str(out)]) == 0
    table = pd.read_csv(out)
    assert table["lr"].tolist() == [0.1, 0.2, 0.4, 0.5, 0.6]
    assert table["stable"].tolist() == [True, False, True, False, False]
    path.write_text("lr,loss,failed\n0.1,0.2,\n0.2,0.2,1\n")
    assert main(["import", str(path), str(out), "--metric", "loss", "--stable-below", "1"]) == 0
    assert pd.read_csv(out)["stable"].tolist() == [True, False]


def test_a_folder_of_ray_tune(tmp_path: Path) -> None:
    for name, lr, loss, died in (("a", 1e-3, 0.5, False), ("b", 1.0, float("nan"), False), ("c", 1e-2, 0.4, True)):
        folder = tmp_path / "exp" / name
        folder.mkdir(parents=True)
        (folder / "params.json").write_text(json.dumps({"optim": {"lr": lr}, "model": "x"}))
        lines = [{"loss": 3.0, "config": {}}, {"loss": loss, "training_iteration": 2}]
        (folder / "result.json").write_text("".join(json.dumps(line) + "\n" for line in lines))
        if died:
            (folder / "error.txt").write_text("boom")
    out = tmp_path / "old.csv"
    assert main(["import", str(tmp_path / "exp"), str(out), "--metric", "loss", "--stable-below", "1"]) == 0
    table = pd.read_csv(out)
    assert table["optim.lr"].tolist() == [1e-3, 1.0, 1e-2] and table["stable"].tolist() == [True, False, False]


def test_a_csv_of_any_tool_where_more_is_better(tmp_path: Path) -> None:
    path, out = tmp_path / "runs.csv", tmp_path / "old.csv"
    path.write_text("Learning Rate,acc,name\n0.001,0.9,a\n0.5,0.1,b\n0.2,,c\n")
    assert (
        main(["import", str(path), str(out), "--metric", "acc", "--stable-above", "0.5", "--map", "Learning Rate=lr"])
        == 0
    )
    table = pd.read_csv(out)
    assert table["lr"].tolist() == [0.001, 0.5, 0.2] and table["stable"].tolist() == [True, False, False]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["none.csv"], "is no Optuna storage"),
        (["none.db"], "does not exist"),
        (["sqlite:///none.db"], "studies: give --study"),
        (["sqlite:////no/such/folder/x.db"], "cannot be read as an Optuna storage"),
        (["empty.csv"], "cannot be read"),
        (["."], "holds no finished trial"),
        (["runs.csv"], "does not say which trials were stable: give --metric and --stable-below"),
        (["runs.csv", "--stable-below", "1"], "--metric None: runs.csv has lr, loss"),
        (["runs.csv", "--metric", "wer", "--stable-below", "1"], "--metric wer: runs.csv has lr, loss"),
        (["runs.csv", "--metric", "loss", "--stable-below", "1", "--map", "x=y"], "has no column 'x'"),
        (["runs.csv", "--metric", "loss", "--stable-below", "1", "--map", "lr"], "write it as column=setting"),
        (
            ["runs.csv", "--metric", "loss", "--stable-below", "1", "--map", "lr=loss"],
            "two columns would be called",
        ),
        (["bad.db"], "cannot be read as an Optuna storage"),
        (["perhaps.csv"], "perhaps.csv: of trial 2, stable is 'perhaps': give true or false"),
        (["words.csv"], "words.csv: of trial 1, margin is 'large': give a number"),
    ],
)
def test_mistakes(
    tmp_path: Path,
    arguments: list[str],
    said: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("runs.csv").write_text("lr,loss\n0.1,0.2\n")
    Path("empty.csv").write_text("")
    Path("perhaps.csv").write_text("lr,stable\n0.1,yes\n0.2,perhaps\n")
    Path("words.csv").write_text("lr,margin\n0.1,large\n")
    Path("bad.db").write_text("no database, however long one reads it " * 100)
    assert main(["import", arguments[0], "out.csv", *arguments[1:]]) == 2
    told = capsys.readouterr()
    assert said in told.err and told.err.count("\n") == 1 and told.out == "" and not Path("out.csv").exists()
