"""A stranger's results folder is data: whatever stands in it, nothing of it is run unless its reader says so.

Each command reads a folder that tries. Its code is where Python finds it, so that only a command's restraint keeps it
from running.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

import sweep
from sweep import clean, compare, explain, grafana, recover, replay, store
from sweep.check.command import main as check
from sweep.command_line import EXIT_MISTAKE, EXIT_NOTHING_TO_COMPARE
from sweep.records import NAN, Outcome, Phase, StepRecord, TrialResult
from sweep.report.command import main as report
from sweep.run import main as run
from sweep.running.signing import sign
from sweep.store.ledger import Ledger
from sweep.store.ledger_lines import Ask
from sweep.watch.worker import build as build_watched

FACTORY = "strangers_package.data:make"
STUDY = {
    "name": "tiny",
    "model": {"kind": "baseline", "width": 0.0625},
    "data": {"kind": "custom", "factory": FACTORY},
    "training": {"batch_size": 4},
    "space": {"training.optimizer.lr": {"loguniform": [1e-3, 1e3]}},
    "search": {"kind": "random"},
    "budget": {"trials": 2, "steps": 30},
    "forensics": {"replay_steps": 12, "repeats": 1},
}
MARK = "with open({mark!r}, 'a') as _file:\n    _file.write('{who}\\n')\n"
MAKE = """
from slr_models.data import SyntheticConfig

def make(**options):
    with open({mark!r}, "a") as file:
        file.write("make\\n")
    return SyntheticConfig(vocabulary_size=4, num_train=48, num_valid=4, frames_per_label=6).build()
"""
EVIL_YAML = "!!python/object/apply:os.system ['echo yaml >> {mark}']\n"


def rows() -> list[dict[str, object]]:
    """A training that failed and one that did not."""
    found = []
    for number, outcome in enumerate((Outcome.DIVERGED_NONFINITE, Outcome.STABLE)):
        trial = TrialResult(
            trial_id=f"{number:04d}", number=number, group=number, seed=0, phase=Phase.EXPLORE,
            settings={"training.optimizer.lr": 10.0 ** (1 - 2 * number)}, verdict=outcome, reason="r", num_steps=30,
            max_steps=30, objective=1.0, margin=1.0 - 2 * number, l_const=1.8, l_unif=2.0, wall_s=1.0, cpu_s=1.0,
        )  # fmt: skip
        found.append(trial.row())
    return found


@pytest.fixture
def mark(tmp_path: Path) -> Path:
    """What the folder's code writes to, if it ever runs."""
    return tmp_path / "mark"


@pytest.fixture
def folder(tmp_path: Path, mark: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A results folder whose study names code that lies beside it, and that can be imported."""
    package = tmp_path / "beside" / "strangers_package"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(MARK.format(mark=str(mark), who="package"))
    (package / "data.py").write_text(MARK.format(mark=str(mark), who="module") + MAKE.format(mark=str(mark)))
    monkeypatch.syspath_prepend(tmp_path / "beside")
    found = tmp_path / "beside" / "tiny"
    store.write_yaml(found / "study.yaml", {**STUDY, "provenance": {"versions": {"torch": "2.13.0"}}})
    store.write_trials(found, rows())
    losses = [2.0, 2.0, *[NAN] * 28], [2.0 - step / 30 for step in range(30)]
    for number, course in enumerate(losses):
        steps = [StepRecord(step, loss, 1.0) for step, loss in enumerate(course, start=1)]
        store.write_steps(found, f"{number:04d}", steps)
    (found / "recipe.yaml").write_text(yaml.safe_dump({**STUDY, "space": {}}))
    (found / "recipe.py").write_text(MARK.format(mark=str(mark), who="recipe"))
    (found / "__init__.py").write_text(MARK.format(mark=str(mark), who="folder"))
    (found / "conftest.py").write_text(MARK.format(mark=str(mark), who="conftest"))
    yield found
    for name in [name for name in sys.modules if name.partition(".")[0] == "strangers_package"]:
        del sys.modules[name]


def load_and_look(folder: Path) -> int:
    results = sweep.load(folder)
    assert results.trials.shape[0] == 2 and results.headline and results._repr_html_()
    assert results.study["data"]["factory"] == FACTORY
    return 0


def clean_up(folder: Path) -> int:
    (folder / "ledger.jsonl").touch()
    return clean.main([str(folder), "--all"])


def recover_what_is_left(folder: Path) -> int:
    # No ledger is there, and the table alone may not do.
    (folder / "ledger.jsonl").write_text("damaged\n")
    return recover.main([str(folder)]) % EXIT_MISTAKE


def compare_with_a_copy(folder: Path) -> int:
    # So few trainings leave nothing to compare, which both folders have to be read for.
    return compare.main([str(folder), str(shutil.copytree(folder, folder.parent / "other"))]) % EXIT_NOTHING_TO_COMPARE


READING: dict[str, Callable[[Path], int]] = {
    "report": lambda folder: report([str(folder)]),
    "compare": compare_with_a_copy,
    "replay": lambda folder: replay.main([str(folder / "steps" / "0000.parquet")]),
    "grafana": lambda folder: grafana.main([]),
    "watch": lambda folder: build_watched(folder) is None,
    "load": load_and_look,
    "clean": clean_up,
    "recover": recover_what_is_left,
}


@pytest.mark.parametrize("command", READING)
def test_who_reads_a_folder_runs_nothing_of_it(folder, mark, command) -> None:
    assert READING[command](folder) == 0
    assert not mark.exists() and "strangers_package" not in sys.modules


@pytest.mark.parametrize("command", [c for c in READING if c != "grafana"])
@pytest.mark.parametrize("file", ["study.yaml", "recipe.yaml"])
def test_yaml_makes_no_objects(folder, mark, command, file) -> None:
    (folder / file).write_text((folder / file).read_text() + "description: " + EVIL_YAML.format(mark=mark))
    try:
        READING[command](folder)
    except (ValueError, yaml.YAMLError):
        pass
    assert not mark.exists()


def test_explaining_names_the_code_and_waits_for_trust(folder, mark, capsys) -> None:
    assert explain.main([str(folder), "0"]) == 2
    out, err = capsys.readouterr()
    module = folder.parent / "strangers_package" / "data.py"
    assert not out and err == (
        f"error: {folder} names code that would run now: strangers_package.data ({module}), and no run of yours has "
        f"signed it: read that code, and if you trust it, repeat the command with --trust\n"
    )
    assert not mark.exists() and "strangers_package" not in sys.modules
    assert explain.main([str(folder), "0", "--trust"]) == 0
    assert mark.read_text() == "package\nmodule\nmake\n"


def test_a_folder_that_this_user_signed_is_explained_without_being_asked(folder, mark, monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    assert sign(folder, (FACTORY,)) is None and not mark.exists(), "signing runs nothing either"
    assert explain.main([str(folder), "0"]) == 0
    assert "make" in mark.read_text()


def test_trust_does_not_lead_to_what_no_study_may_name(folder, mark, capsys) -> None:
    for factory in ("os:system", "strangers_package.os:system", "pip:main"):
        content = store.read_study(folder)
        data = {"kind": "custom", "factory": factory, "options": {"command": f"echo shell >> {mark}"}}
        store.write_yaml(folder / "study.yaml", {**content, "data": data})
        assert explain.main([str(folder), "0", "--trust"]) == 2
        assert f"'{factory}'" in capsys.readouterr().err
    assert "shell" not in (mark.read_text() if mark.exists() else "")


def test_settings_in_the_table_of_trials_name_no_code(folder, mark, capsys) -> None:
    """The study is harmless, and signed by nobody; the table of a trial's settings asks for a model of the stranger."""
    content = {**store.read_study(folder), "data": {"kind": "synthetic", "num_train": 48, "num_valid": 4}}
    space = {**STUDY["space"], "model.kind": {"choice": ["baseline", "teacher"]}}
    store.write_yaml(folder / "study.yaml", {**content, "space": space})
    store.write_trials(folder, [{**row, "model.kind": "custom"} for row in rows()])
    assert explain.main([str(folder), "0"]) == 2
    assert "a training in the results has model.kind = 'custom'" in capsys.readouterr().err
    assert not mark.exists()


def test_a_trial_of_a_strange_name_is_written_nowhere_else(folder, tmp_path, capsys) -> None:
    content = {**store.read_study(folder), "data": {"kind": "synthetic", "num_train": 48, "num_valid": 4}}
    store.write_yaml(folder / "study.yaml", content)
    for name in ("../../outside", str(tmp_path / "outside"), "..", "a/b", ""):
        store.write_trials(folder, [{**rows()[0], "trial_id": name}])
        assert explain.main([str(folder), name]) == 2
        assert "trials.parquet cannot be read" in capsys.readouterr().err
    assert not (tmp_path / "outside").exists() and not (folder / "evidence").exists()


@pytest.mark.parametrize("command", ["run", "check"])
def test_who_runs_a_study_is_told_what_code_that_runs(folder, mark, tmp_path, capsys, command) -> None:
    study = tmp_path / "named.yaml"
    study.write_text(yaml.safe_dump(STUDY))
    if command == "run":
        assert run([str(study), "--results", str(tmp_path / "r"), "--dry-run"]) == 0
    else:
        assert check([str(study)]) == 0
    module = folder.parent / "strangers_package" / "data.py"
    assert f"this study runs code of strangers_package.data ({module})" in capsys.readouterr().out
    assert "make" in mark.read_text()
    if command == "check":
        assert check([str(study), "--json"]) == 0
        out, err = capsys.readouterr()
        assert out.startswith("{") and "this study runs code of strangers_package.data" in err


@pytest.mark.parametrize("command", [run, check])
def test_a_command_that_a_study_names_is_not_run(tmp_path, mark, capsys, command) -> None:
    study = tmp_path / "named.yaml"
    data = {"kind": "custom", "factory": "os:system", "options": {"command": f"echo shell > {mark}"}}
    study.write_text(yaml.safe_dump({**STUDY, "data": data}))
    assert command([str(study)]) == 2
    told = capsys.readouterr()
    assert "data.factory: 'os:system' must not be used: os is part of Python" in told.err and told.err.count("\n") == 1
    assert not mark.exists() and not (tmp_path / "results").exists()


def test_a_folder_that_is_gone_on_with_is_compared_and_not_built(folder, mark, tmp_path, capsys) -> None:
    """The user's own study has harmless data; the folder of the same name holds a stranger's."""
    study = tmp_path / "named.yaml"
    study.write_text(yaml.safe_dump({**STUDY, "data": {"kind": "synthetic", "num_train": 48, "num_valid": 4}}))
    (folder / "ledger.jsonl").touch()
    assert run([str(study), "--results", str(folder.parent)]) == 2
    assert "another version of this study (changed: data)" in capsys.readouterr().err
    assert not mark.exists()


def test_a_ledger_that_asks_for_a_strangers_model_is_refused(folder, mark, tmp_path, capsys) -> None:
    content = {**STUDY, "data": {"kind": "synthetic", "num_train": 48, "num_valid": 4}}
    study = tmp_path / "named.yaml"
    study.write_text(yaml.safe_dump(content))
    asked = {"model.kind": "custom", "model.factory": "strangers_package.data:make", "model.output_stride": 4}
    ledger = Ledger(tmp_path / "r" / "tiny")
    ledger.ask(Ask("0000", 0, 0, 0, Phase.EXPLORE, asked))
    ledger.close()
    assert run([str(study), "--results", str(tmp_path / "r")]) == 2
    assert "a training in the results has model.kind = 'custom'" in capsys.readouterr().err
    assert not mark.exists()


HOSTILE = ("yaml", "torch", "numpy", "pandas", "rich", "pydantic", "slr_models", "sweep", "sitecustomize", "tiny")


def is_built(url: str) -> None:
    """Waits for a report, which a process of its own builds."""
    for _ in range(120):
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:
                assert answer.status == 200
            return
        except urllib.error.HTTPError as error:
            assert error.code == 503
            time.sleep(0.5)
    pytest.fail("no report was built")


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="the console script is called as on POSIX")
def test_the_program_imports_nothing_from_the_folder_it_is_called_in(folder, mark) -> None:
    """`python -m` itself begins with the current folder, whatever it runs; the installed program does not."""
    here = folder.parent
    shutil.copytree(folder, here / "other")
    for name in HOSTILE:
        (here / f"{name}.py").write_text(MARK.format(mark=str(mark), who=name))
    program = Path(sys.executable).with_name("slr-sweep")
    environment = {**os.environ, "PYTHONPATH": str(Path(sweep.__file__).parents[1])}
    for arguments, code in (
        (["explain", "tiny", "0"], 2),
        (["report", "tiny"], 0),
        (["compare", "tiny", "other"], 4),
        (["replay", "tiny/steps/0000.parquet"], 0),
    ):
        done = subprocess.run(
            [program, *arguments], cwd=here, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == code, (arguments, done.stderr)
    command = [program, "watch", "tiny", "--port", "0"]
    with subprocess.Popen(command, cwd=here, env=environment, stdout=subprocess.PIPE, text=True) as watching:
        assert watching.stdout is not None
        try:
            is_built(f"{watching.stdout.readline().split()[0]}report")
        finally:
            # Ctrl-C is ignored by what a shell starts in the background.
            watching.send_signal(signal.SIGTERM)
    assert watching.returncode == 0
    assert not mark.exists()
    # It runs the code that the study names, says so, and nothing that only bears the name of something installed.
    done = subprocess.run(
        [program, "check", "tiny/study.yaml"], cwd=here, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0 and "this study runs code of strangers_package.data (" in done.stdout
    assert set(mark.read_text().split()) == {"package", "module", "make"}
