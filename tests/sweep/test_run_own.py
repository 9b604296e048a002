"""Whole studies of the user's own programs, on a real Ray and without: to the report, after kills, with mistakes."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import sweep
from slr_models.errors import SettingError, UserError
from sweep import store
from sweep.records import Outcome
from sweep.report.contents.view import load_view

TRAIN = """
import math, random, time


def train(config, run):
    noise, loss, lr = random.Random(run.seed), 2.3, config["lr"]
    for step in range(80):
        loss *= (1 - 0.05 * lr) if lr <= 1 else 1.2
        run.step(loss=loss * (1 + 0.02 * noise.random()), grad_norm=loss, lr=lr)
        if step % 20 == 19:
            run.report(val_loss=loss, accuracy=math.exp(-loss))
    return {"val_loss": loss, "accuracy": math.exp(-loss)}


def slow(config, run):
    state = run.restore()
    first = 0 if state is None else state["step"]
    for step in range(first, 60):
        time.sleep(0.1)
        run.step(loss=2.0 * 0.97**step)
        run.checkpoint({"step": step + 1})
    return {"accuracy": 0.5}


def deaf(config, run):
    until = time.monotonic() + 45
    for step in range(10**9):
        try:
            run.step(loss=float("nan") if config["lr"] > 1 else 2.0 * 0.98**step)
        except BaseException:
            time.sleep(0.05)
            if time.monotonic() > until:
                return
        if config["lr"] <= 1 and step == 79:
            return {"accuracy": 0.5}


def late(config, run):
    time.sleep(3)
    return train(config, run)


def broken(config, run):
    raise RuntimeError("no data here")
"""
STUDY = """
name: mine
trial: {kind: function, target: "my_train:train", references: {l_const: 2.3, l_unif: 2.3}}
space: {lr: {loguniform: [0.01, 10]}, width: {choice: [narrow, wide]}}
search: {kind: random, seed: 1, try_first: [{lr: 0.9, width: wide}]}
objective: {maximize: accuracy}
budget: {trials: 14, steps: 80}
confirm: {settings: 1, seeds: 2}
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of the user's own, with a module and a study in it, from which the command is given."""
    (tmp_path / "my_train.py").write_text(TRAIN)
    (tmp_path / "mine.yaml").write_text(STUDY)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "my_train", raising=False)
    return tmp_path


def shell(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "sweep.run", *words], capture_output=True, text=True, timeout=300, env=_usual()
    )


def _usual() -> dict[str, str]:
    """The environment without what the tests set of Ray."""
    return {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}


def test_a_function_of_a_file_is_swept_to_its_report(place) -> None:
    done = shell("mine.yaml")
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    folder = place / "results" / "mine"
    assert done.stdout.splitlines()[-1] == str(Path("results/mine/report.html"))
    assert "mine: my_train:train" in done.stdout and "this study runs code of my_train" in done.stdout
    trials = store.read_trials(folder)
    assert len(trials) == 14 + len(trials[trials["phase"] == "confirm"]) >= 16
    assert set(trials["verdict"]) <= {"stable", "diverged-loss", "spiky-recovering", "stalled"}
    assert (trials["stable"] == (trials["lr"] <= 1)).mean() > 0.8
    best = trials[trials["stable"]].sort_values("score").iloc[0]
    assert json.loads(best["metrics"])["accuracy"] == -best["score"] > 0.5
    view = load_view(folder)
    assert view.recommendation.status == "confirmed" and "accuracy 0." in view.recommendation.headline
    assert 0.2 < view.recommendation.setting["lr"] <= 1
    page = (folder / "report.html").read_text()
    for word in ("WER", "nats", "utterance", "sign language"):
        assert word not in _text(page), word
    assert "sweep.explain" not in page and "Loss and accuracy against the learning rate" in page
    recipe = (folder / "recipe.yaml").read_text()
    assert "target: my_train:train" in recipe and "lr:" in recipe and not (folder / "recipe.py").exists()
    again = shell("results/mine/recipe.yaml", "--results", "again")
    assert again.returncode == 0 and "accuracy 0." in again.stdout, again.stderr
    more = shell("mine.yaml", "--trials", "+2")
    assert more.returncode == 0 and "14 trials of" not in more.stdout
    assert len(store.read_trials(folder).query("phase == 'explore'")) == 16


def _text(page: str) -> str:
    """What of a page stands outside of scripts and styles."""
    for tag in ("script", "style"):
        while (start := page.find(f"<{tag}")) >= 0:
            page = page[:start] + page[page.index(f"</{tag}>", start) + len(tag) + 3 :]
    return page


def test_a_killed_run_goes_on_from_the_checkpoint_of_its_program(place) -> None:
    (place / "mine.yaml").write_text(STUDY.replace("my_train:train", "my_train:slow") + "checkpoints: last\n")
    words = ["mine.yaml", "--jobs", "1", "--set", "budget.trials=1", "--set", "confirm.settings=0"]
    process = subprocess.Popen([sys.executable, "-m", "sweep.run", *words], env=_usual(), stdout=subprocess.DEVNULL)
    kept = place / "results" / "mine" / "checkpoints" / "0000" / "own.pt"
    assert _comes_true(kept.exists, 90)
    time.sleep(1.0)
    process.send_signal(signal.SIGKILL)
    process.wait()
    time.sleep(2.0)
    done = shell(*words)
    assert done.returncode == 0, done.stderr
    steps = store.load_steps(place / "results" / "mine", "0000")
    assert [s.step for s in steps] == list(range(1, 61)) and "begins anew" not in done.stdout


def test_of_a_command_nothing_is_left_where_the_run_is_killed(place) -> None:
    script = f"endless_{os.getpid()}.sh"
    (place / script).write_text('for i in $(seq 0 5000); do echo "step $i loss 1.$1"; sleep 0.05; done\n')
    command = f'kind: command, run: "bash {script} {{lr}} {{width}}", grace_s: 1'
    text = STUDY.replace('kind: function, target: "my_train:train"', command).replace(
        "{maximize: accuracy}", "val_loss"
    )
    (place / "mine.yaml").write_text(text.replace("steps: 80", "steps: 5000"))
    process = subprocess.Popen(
        [sys.executable, "-m", "sweep.run", "mine.yaml"], env=_usual(), stdout=subprocess.DEVNULL
    )
    assert _comes_true(lambda: len(_running(script)) >= 2, 90), "it is under way"
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert _comes_true(lambda: not _running(script), 60), _running(script)


def _running(script: str) -> list[str]:
    return subprocess.run(["pgrep", "-f", script], capture_output=True, text=True).stdout.split()


def _comes_true(what: Callable[[], bool], within_s: float) -> bool:
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        if what():
            return True
        time.sleep(0.2)
    return what()


def test_a_program_that_will_not_end_costs_its_process_and_no_training(place) -> None:
    study = STUDY.replace("my_train:train", "my_train:deaf").replace("lr: 0.9, width: wide", "lr: 9, width: wide")
    (place / "mine.yaml").write_text(study.replace("trials: 14", "trials: 3"))
    done = shell("mine.yaml", "--jobs", "1", "--set", "confirm.settings=0", "--set", "forensics.trials=0")
    assert done.returncode == 0, done.stderr
    trials = store.read_trials(place / "results" / "mine")
    assert len(trials) == 3 and trials["verdict"].iloc[0] == "diverged-nonfinite"
    assert "crashed" not in set(trials["verdict"]) and "would not end; it begins in another process" in done.stdout


def test_a_scheduler_waits_for_the_first_evaluation(place) -> None:
    study = STUDY.replace("my_train:train", "my_train:late").replace("trials: 14", "trials: 4")
    (place / "mine.yaml").write_text(study + "scheduler: {kind: asha}\n")
    done = shell("mine.yaml", "--set", "confirm.settings=0", "--set", "forensics.trials=0")
    assert done.returncode == 0, done.stderr
    trials = store.read_trials(place / "results" / "mine")
    assert len(trials) == 4 and "crashed" not in set(trials["verdict"]), trials["reason"].tolist()


def test_a_function_given_in_python_is_swept_from_there(place, ray_address, capsys) -> None:
    weight = 0.5

    def train(config, run):
        for step in range(60):
            run.step(loss=2.0 * (1 - weight * config["lr"]) ** step + 0.01)
        run.result(accuracy=config["lr"])

    study = sweep.function_study(
        train, space={"lr": sweep.loguniform(0.001, 0.5)}, name="mine", trials=5, search="random",
        objective={"maximize": "accuracy"}, confirm={"settings": 1, "seeds": 1}, results=place / "results",
    )  # fmt: skip
    results = study.run(address=ray_address)
    assert len(results.trials) >= 6 and results.trials["stable"].any()
    assert "mine: test_a_function_given_in_python" in capsys.readouterr().out
    again = study.run(address=ray_address)
    assert len(again.trials) == len(results.trials), "it is done"
    with pytest.raises(UserError, match="another version of this study"):
        sweep.function_study(
            train, space={"lr": sweep.loguniform(0.001, 0.5)}, name="mine", steps=60, results=place / "results"
        ).run()


def test_mistakes_of_a_function_study_are_told_before_anything_runs(place, run_without_ray) -> None:
    with pytest.raises(UserError, match="train is 3; give a function"):
        sweep.function_study(3, space={}, name="mine")
    with pytest.raises(SettingError, match=r"takes other arguments"):
        sweep.function_study(lambda config: None, space={"lr": [1, 2]}, name="mine").run()
    for target, said in (
        ("my_train:nothing", "names no function of the module my_train"),
        ("no_such_module:train", "cannot be imported: No module named 'no_such_module'"),
    ):
        code, _out, err = run_without_ray(place / "mine.yaml", place / "results", "--set", f"trial.target={target}")
        assert code == 2 and said in err and "mine.yaml" in err and "Traceback" not in err
    command = STUDY.replace('kind: function, target: "my_train:train"', 'kind: command, run: "RUN"')
    for run, more, said in (
        ("cat {lr} {width} | tee x", "", "trial.run: | means something to a shell"),
        ("cat {lr} {width} > x", "", "trial.run: > means something to a shell"),
        ("cat {lr} {width}", "trial.cwd=none", "trial.cwd: there is no folder 'none'"),
    ):
        (place / "command.yaml").write_text(command.replace("RUN", run).replace("{maximize: accuracy}", "val_loss"))
        words = ("--set", more) if more else ()
        code, _out, err = run_without_ray(place / "command.yaml", place / "results", *words)
        assert code == 2 and said in err and "Traceback" not in err, err
    code, out, err = run_without_ray(place / "mine.yaml", place / "results", "--dry-run")
    assert (code, err) == (0, "") and "14 to explore" in out and not (place / "results").exists()


def test_a_program_that_fails_from_the_start_is_not_tried_for_ever(place, run_without_ray) -> None:
    code, out, err = run_without_ray(
        place / "mine.yaml", place / "results", "--set", "trial.target=my_train:broken", "--set", "budget.trials=40"
    )
    assert (code, err) == (0, "")
    trials = store.read_trials(place / "results" / "mine")
    assert len(trials) <= 6 and set(trials["verdict"]) == {"crashed"}
    assert "RuntimeError: no data here" in trials["reason"].iloc[0]
    assert "failed before their first step" in out and "--retry crashed" in out
    (place / "my_train.py").write_text(TRAIN.replace('raise RuntimeError("no data here")', "return train(config, run)"))
    sys.modules.pop("my_train")
    code, out, err = run_without_ray(
        place / "mine.yaml", place / "results", "--set", "trial.target=my_train:broken", "--set", "budget.trials=10",
        "--retry", "crashed",
    )  # fmt: skip
    trials = store.read_trials(place / "results" / "mine")
    assert code == 0 and "crashed" not in set(trials["verdict"]) and (trials["phase"] == "explore").sum() == 40


def test_a_command_is_swept_to_its_report_and_leaves_nothing_behind(place) -> None:
    script = f"train_{os.getpid()}.sh"
    (place / script).write_text(
        'awk -v lr="$1" \'BEGIN { loss = 2; for (i = 1; i <= 60; i++) { loss *= (lr > 1 ? 1.3 : 1 - 0.1 * lr); '
        'printf "step %d: loss=%g\\n", i, loss; fflush(); if (lr > 1) system("sleep 0.05") } print "score", loss }\'\n'
    )
    (place / "mine.yaml").write_text(
        STUDY.replace(
            'kind: function, target: "my_train:train"',
            f'kind: command, run: "sh {script} {{lr}} {{width}}", metrics: {{end: score}}',
        )
        .replace("{maximize: accuracy}", "{minimize: end}")
        .replace("trials: 14, steps: 80", "trials: 8, steps: 60")
    )
    done = shell("mine.yaml")
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    folder = place / "results" / "mine"
    trials = store.read_trials(folder)
    stable = trials[trials["stable"]]
    assert len(trials) >= 10 and (stable["num_steps"] == 60).all() and (stable["score"] > 0).all()
    assert (trials["stable"] == (trials["lr"] <= 1)).mean() > 0.7
    assert Outcome.CRASHED.value not in set(trials["verdict"])
    assert f"sh {script} {{lr}} {{width}}" in done.stdout
    assert not _running(script), "nothing is left"
