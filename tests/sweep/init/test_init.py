"""slr-sweep init: files that `check` passes as they are, of data, functions, commands and shipped studies."""

import csv
from pathlib import Path

import numpy as np
import pytest

from slr_models.data import SyntheticConfig
from slr_models.models import CnnBiLstmConfig
from sweep import yaml_source
from sweep.__main__ import main
from sweep.init.ramps import Ramp, RangeTest
from sweep.init.study_text import Measured, study_text
from sweep.study import load, validate
from sweep.training.config import TrialConfig


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to work in; what is imported from it is forgotten."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", ["", *__import__("sys").path])
    monkeypatch.setenv("PYTHONPATH", "")
    return tmp_path


def folder(path: Path, bad: int = 0) -> Path:
    """A folder of a few made-up utterances, of which some cannot be aligned."""
    data = SyntheticConfig(vocabulary_size=4, num_train=40, num_valid=8, frames_per_label=8, max_labels=3).build()
    path.mkdir()
    with (path / "manifest.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["id", "path", "labels", "signer", "split"])
        for name, split in (("train", data.train), ("valid", data.valid)):
            for i in range(len(split)):
                values = split.utterance(i)[:1] if name == "train" and i < bad else split.utterance(i)
                np.save(path / f"{name}{i}.npy", values)
                labels = [data.vocabulary[label] for label in split.target(i)]
                rows.writerow([f"{name}{i}", f"{name}{i}.npy", " ".join(labels), "", name])
    return path


def told(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = main(["init", *arguments])
    return code, *capsys.readouterr()


def test_of_a_folder_of_data(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder(here / "my signs", bad=2)
    code, out, err = told(capsys, "my signs", "--no-ramp")
    assert code == 0
    assert out.splitlines() == [
        "my_signs.yaml",
        "study.schema.json",
        "next: slr-sweep check my_signs.yaml, then slr-sweep run my_signs.yaml",
    ]
    assert "38 utterances to train" in err and "2 left out" in err
    study = load(Path("my_signs.yaml")).study
    assert study.name == "my_signs" and study.data.on_bad == "exclude" and study.data.path == "my signs"
    assert study.training.batch_size == 4 and study.budget.trials == 48 and study.budget.steps == 300
    assert study.space["training.optimizer.lr"].loguniform == (1e-5, 1.0)
    text = Path("my_signs.yaml").read_text()
    assert "not measured (--no-ramp)" in text and "Left out (" in text and max(map(len, text.splitlines())) <= 120
    assert main(["check", "my_signs.yaml"]) == 0


@pytest.mark.slow
def test_of_a_folder_with_ramps(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder(here / "data")
    (here / "studies").mkdir()
    assert told(capsys, "data", "--seconds", "8", "--out", "studies/mine.yaml", "--name", "mine")[0] == 0
    study = load(Path("studies/mine.yaml")).study
    assert study.name == "mine" and Path(study.data.path) == here / "data"
    assert "Learning rates were measured on" in Path("studies/mine.yaml").read_text()
    low, high = study.space["training.optimizer.lr"].loguniform
    assert low < 1e-3 < high


def test_landmarks_are_placed_by_the_body(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(0)
    (here / "hands").mkdir()
    lines = ["id,path,labels,signer,split"]
    for i in range(20):
        np.save(here / "hands" / f"{i}.npy", rng.random((30, 42, 3), dtype=np.float32))
        lines.append(f"{i},{i}.npy,{'A B' if i % 2 else 'B A C'},,{'train' if i < 16 else 'valid'}")
    (here / "hands" / "manifest.csv").write_text("\n".join(lines))
    assert told(capsys, "hands", "--no-ramp")[0] == 0
    data = load(Path("hands.yaml")).study.data
    assert data.points == "hands" and data.velocity


FUNCTION = """
def train(config, run):
    rate = config["optimizer"]["lr"]
    momentum = config.get("momentum", 0.9)
    width, batch = config["width"], config.get("batch_size", 32)
    for step in range(30):
        run.step(loss=2.0 * (1 - rate) ** step)

def other(lr, batch_size, width): ...

def with_parameters(lr=0.01, batch_size=32, *, seed=0, clip=1.0, run=None):
    for step in range(30):
        run.step(loss=2.0 * (1 - lr) ** step)
"""


def test_of_a_function(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "my_train_of_init.py").write_text(FUNCTION)
    code, out, _ = told(capsys, "my_train_of_init:train")
    assert code == 0 and "first: give width, which it reads without a default, in trial.config of my_train" in out
    study = load(Path("my_train_of_init.yaml")).study
    assert study.trial.target == "my_train_of_init:train" and study.space.keys() == {"optimizer.lr", "momentum"}
    text = Path("my_train_of_init.yaml").read_text()
    assert "# batch_size: {int: [8, 128], log: true}" in text and "It reads width without a default" in text
    assert main(["check", "my_train_of_init.yaml"]) == 0
    code, _, err = told(capsys, "my_train_of_init:other", "--out", "x.yaml")
    assert (
        code == 2
        and "takes other arguments" in err
        and "give it a parameter `run`" in err
        and not Path("x.yaml").exists()
    )
    code, _, err = told(capsys, "my_train_of_init:trian", "--out", "x.yaml")
    assert code == 2 and "names no function" in err and err.count("\n") == 1


def test_of_a_function_whose_settings_are_its_parameters(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "my_module_of_init.py").write_text(FUNCTION)
    code, out, _ = told(capsys, "my_module_of_init:with_parameters", "--name", "mine")
    assert code == 0 and out.splitlines()[:2] == ["mine.yaml", "mine_study.py"]
    study = load(Path("mine.yaml")).study
    assert study.trial.target == "mine_study:train"
    assert study.space["lr"].loguniform == (1e-4, 1.0) and study.space["clip"].loguniform == (0.1, 10.0)
    assert main(["check", "mine"]) == 0
    reported = []
    run = type("Run", (), {"step": lambda self, loss: reported.append(loss), "seed": 7})()
    __import__("mine_study").train({"lr": 0.5}, run)
    assert reported[:2] == [2.0, 1.0]


@pytest.mark.parametrize(
    ("command", "run", "space"),
    [
        (
            ["python", "train.py", "--lr", "{lr}", "--clip={clip}", "--out", "{dir}"],
            ("python", "train.py", "--lr", "{lr}", "--clip={clip}", "--out", "{dir}"),
            {"lr": (1e-4, 1.0), "clip": (0.01, 100.0)},
        ),
        (
            ["python", "train.py", "--lr", "0.003", "--workers", "4"],
            ("python", "train.py", "--lr", "{lr}", "--workers", "4"),
            {"lr": (3e-5, 0.3)},
        ),
        (["python train.py --lr={lr} --steps {steps}"], ("python", "train.py", "--lr={lr}", "--steps", "{steps}"), {}),
    ],
)
def test_of_a_command(
    command: list[str], run: tuple[str, ...], space: dict[str, tuple[float, float]], here: Path, capsys
) -> None:
    (here / "train.py").write_text(
        'raise SystemExit("it ran")\nparser.add_argument("--lr", type=float, default=0.01)\n'
    )
    code, out, _ = told(capsys, "--", *command)
    assert code == 0 and out.startswith("train.yaml\n")
    study = load(Path("train.yaml")).study
    assert study.trial.run == run
    for name, bounds in space.items():
        assert study.space[name].loguniform == pytest.approx(bounds)
    assert (study.budget.steps is None) == ("{steps}" not in " ".join(command))
    assert main(["check", "train.yaml"]) == 0


def test_of_a_shipped_study(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = told(capsys, "own/digits")
    assert code == 0 and out.splitlines()[:2] == ["digits.yaml", "digits.py"]
    assert main(["check", "digits"]) == 0
    assert str(here / "digits.py") in capsys.readouterr().out
    code, out, _ = told(capsys, "--list")
    assert code == 0 and any(line.split()[:4] == ["smoke", "about", "a", "minute"] for line in out.splitlines())


def test_mistakes_are_one_line_and_nothing_is_written(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "empty").mkdir()
    (here / "silent").mkdir()
    (here / "silent" / "manifest.csv").write_text("id,path,labels,signer,split\n1,1.npy,,,train\n")
    (here / "taken.yaml").write_text("mine")
    for arguments, said in (
        ([], "there is nothing to begin with: give a folder of data"),
        (["empty"], "holds no list of utterances"),
        (["silent"], "has no labels"),
        (["no_such_folder"], "there is no folder no_such_folder, and no study of that name"),
        (["smok"], "did you mean smoke"),
        (["no_such_module:train"], "cannot be imported"),
        (["os:system"], "os is part of Python"),
        (["--", "python", "train.py"], "names no setting to vary"),
        (["--", "no_such_program", "--lr", "{lr}"], "'no_such_program' is not found"),
        (["smoke", "--out", "taken.yaml"], "taken.yaml exists already: --force replaces it"),
        (["smoke", "--out", "empty"], "empty is a folder"),
        (["empty", "--seconds", "0"], "give a time above 0"),
        ([" "], "there is nothing to begin with"),
        ([""], "there is nothing to begin with"),
        (["smoke", "--out", "study.schema.json"], "is where the schema goes"),
        (["smoke", "--out", "/dev/null", "--force"], "is a pipe or a device"),
        (["empty", "--name", "a/b"], "it names a folder, too: leave out /"),
        (["empty", "--name", "n" * 101], "has 101 letters"),
        (["--", "python", "{lr:.3f}"], "{lr:.3f}: write a name such as lr"),
        (["--", "python", "{}"], "{}: write a name such as lr"),
    ):
        code, out, err = told(capsys, *arguments)
        assert code == 2 and out == "" and said in err and err.count("\n") == 1, err
    assert {path.name for path in here.iterdir()} == {"empty", "silent", "taken.yaml"}
    assert Path("taken.yaml").read_text() == "mine"
    assert told(capsys, "smoke", "--out", "taken.yaml", "--force")[0] == 0 and load(Path("taken.yaml"))


STRANGE = """
def extreme(lr=1e308, clip=1e-320, weight_decay=float("inf"), run=None): ...
def not_a_number(lr=float("nan"), run=None): ...
def bare(lr, run): ...
def annotated(speed: float, run): ...
def typed(config: dict, run): return config["lr"]
def unknown(foo, bar, run=None): ...
def strange(größe=0.1, score=0.1, run=None): ...
def all_of_a_trial(lr, seed, steps, run): return lr, seed, steps
def nothing(run): ...
def positional(lr, /, *, run): ...
async def waits(config, run): ...
def yields(config, run): yield config["lr"]
"""


@pytest.mark.parametrize(
    ("function", "space"),
    [
        ("extreme", {"lr": (1e-5, 1.0)}),
        ("not_a_number", {"lr": (1e-5, 1.0)}),
        ("bare", {"lr": (1e-5, 1.0)}),
        ("annotated", {"speed": (0.01, 100.0)}),
        ("typed", {"lr": (1e-5, 1.0)}),
        ("unknown", {"foo": (0.01, 100.0)}),
        ("strange", {"größe": (0.01, 100.0)}),
    ],
)
def test_what_varies_is_what_the_function_takes(
    function: str, space: dict[str, tuple[float, float]], here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "my_strange_of_init.py").write_text(STRANGE)
    assert told(capsys, f"my_strange_of_init:{function}", "--out", f"{function}.yaml")[0] == 0
    study = load(Path(f"{function}.yaml")).study
    assert {name: dimension.loguniform for name, dimension in study.space.items()} == space


def test_a_function_that_cannot_be_trained_is_refused(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "my_strange_of_init.py").write_text(STRANGE)
    (here / "my_script_of_init.py").write_text("import sys\nsys.exit(0)\n")
    for target, said in (
        ("my_strange_of_init:nothing", "takes no setting that could vary"),
        ("my_strange_of_init:positional", "takes other arguments"),
        ("my_strange_of_init:waits", "is a coroutine (async def), of which nothing runs"),
        ("my_strange_of_init:yields", "is a generator (it has a yield)"),
        ("my_script_of_init:train", "it ends the program (SystemExit: 0)"),
    ):
        code, out, err = told(capsys, target, "--out", "x.yaml")
        assert code == 2 and out == "" and said in err and err.count("\n") == 1, err
    assert not list(here.glob("x*"))


def test_a_function_is_given_what_is_the_trials(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "my_strange_of_init.py").write_text(STRANGE)
    code, out, _ = told(capsys, "my_strange_of_init:all_of_a_trial", "--out", "1st.yaml")
    # A module's name begins with a letter.
    assert code == 0 and out.splitlines()[:2] == ["1st.yaml", "study_1st_study.py"]
    run = type("Run", (), {"seed": 7, "steps": 30})()
    assert __import__("study_1st_study").train({"lr": 0.5}, run) == (0.5, 7, 30)


def test_no_file_is_lost_where_one_cannot_be_written(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "my_strange_of_init.py").write_text(STRANGE)
    (here / "mine_study.py").write_text("mine")
    assert told(capsys, "my_strange_of_init:bare", "--name", "mine")[0] == 2
    (here / "study.schema.json").mkdir()
    code, out, err = told(capsys, "my_strange_of_init:bare", "--name", "mine", "--force")
    assert code == 3 and out == "" and "study.schema.json: Is a directory" in err
    assert (here / "mine_study.py").read_text() == "mine" and not (here / "mine.yaml").exists()


def test_a_name_that_is_no_folders_is_made_one(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for source, name in (("con", "con_study"), ("n" * 200, "n" * 60)):
        folder(here / source)
        assert told(capsys, source, "--no-ramp")[0] == 0
        assert load(Path(f"{name}.yaml")).study.name == name


def test_a_password_of_a_command_is_told_nobody(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    address = "postgresql://me:sesame99@host/data"
    assert told(capsys, "--out", "x.yaml", "--", "python", "{lr}", address)[0] == 0
    study = load(Path("x.yaml")).study
    assert study.trial.run[-1] == address and Path("x.yaml").read_text().count("sesame99") == 1
    assert main(["check", "x.yaml"]) == 0 and "sesame99" not in capsys.readouterr().out


def test_on_a_gpu_the_model_is_whole_and_precision_is_asked() -> None:
    config = TrialConfig(model=CnnBiLstmConfig(), data=SyntheticConfig(vocabulary_size=4))
    test = RangeTest((Ramp(False, 1e-3, None), Ramp(False, 2e-3, None)), 84, 0.1, 2.0)
    measured = Measured(
        read="40 utterances",
        notes=["as it came."],
        exclusions={},
        machine="a GPU",
        lanes=1,
        step_s=0.1,
        total_s=60,
        test=test,
    )
    text = study_text("new", {"path": "data"}, config, measured, trials=48, steps=300, on_gpu=True)
    assert "# Note: as it came.\n" in text and "Too few of them break up to 10 to tell where" in text
    study = validate(yaml_source.parse(text, "new.yaml")).study
    assert study.resources.gpus == "auto" and study.model.width == 1.0
    assert study.space["training.optimizer.lr"].loguniform[1] == 10.0
    assert study.space["training.precision.kind"].choice == ("fp32", "bf16", "fp16")
    assert study.space["training.clip.max_norm"].loguniform == (0.2, 20.0)
