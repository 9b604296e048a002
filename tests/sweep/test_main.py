"""slr-sweep and python -m sweep: all commands in one, told apart from nothing; help that waits for nothing."""

import json
import os
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest

from sweep.__main__ import COMMANDS, main

ROOT = Path(__file__).parents[2]
NAMES = [
    "landmarks",
    "convert",
    "init",
    "run",
    "check",
    "report",
    "watch",
    "status",
    "queue",
    "stop",
    "import",
    "compare",
    "explain",
    "train",
    "replay",
    "recover",
    "clean",
    "grafana",
    "schema",
]
MAX_CPU_S = 0.6
"""Of user and system together, the interpreter's start included."""


def usage(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[object, str, str]:
    with pytest.raises(SystemExit) as left:
        main(arguments)
    told = capsys.readouterr()
    return left.value.code, told.out, told.err


def cpu_s(*arguments: str) -> float:
    """CPU time of a fresh interpreter."""
    child = subprocess.Popen([sys.executable, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, _, used = os.wait4(child.pid, 0)
    child.returncode = 0
    return used.ru_utime + used.ru_stime


@pytest.mark.parametrize("command", ["sweep", *(f"sweep.{name}" for name in NAMES)])
def test_help_and_usage_errors_wait_for_nothing_heavy(command: str) -> None:
    for arguments in (["--help"], ["--version"], ["--no-such-option"]):
        assert cpu_s("-m", command, *arguments) < MAX_CPU_S


def test_parsing_needs_the_standard_library_alone() -> None:
    code = "import sys, sweep.__main__; print(*{name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    # What a virtual environment itself imports at its start is not ours.
    bare = subprocess.run([sys.executable, "-c", code.replace(", sweep.__main__", "")], capture_output=True, text=True)
    ours = set(done.stdout.split()) - set(bare.stdout.split()) - sys.stdlib_module_names
    assert ours == {"sweep", "slr_models"}


def test_there_is_one_description_of_each_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert [command.name for command in COMMANDS] == NAMES
    for command in COMMANDS:
        code, together, _ = usage(capsys, command.name, "--help")
        with pytest.raises(SystemExit):
            command.main(["--help"])
        alone = capsys.readouterr().out
        assert code == 0
        assert together.split("\n\n", 1)[1] == alone.split("\n\n", 1)[1], "all but the usage, which names the program"
        assert f"usage: slr-sweep {command.name} " in together and f"usage: python -m sweep.{command.name} " in alone


def test_the_installed_program_is_this_one() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["scripts"] == {"slr-sweep": "sweep.__main__:main"}


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["--version"], ["report", "--version"]):
        assert usage(capsys, *arguments) == (0, f"slr-stability-sweep {version('slr-stability-sweep')}\n", "")


@pytest.mark.parametrize(
    ("mistyped", "message"),
    [
        ("rnu", "there is no command 'rnu': did you mean run"),
        ("reprot", "did you mean report"),
        (
            "xyzzy",
            "give one of landmarks, convert, init, run, check, report, watch, status, queue, stop, import, compare, "
            "explain, train, replay, recover, clean, grafana, schema",
        ),
    ],
)
def test_an_unknown_command_is_one_line(mistyped: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([mistyped, "--json"]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("error: ") and message in err and err.count("\n") == 1


def test_a_missing_command_and_an_unknown_option_are_usage_errors(capsys: pytest.CaptureFixture[str]) -> None:
    assert usage(capsys)[0] == 2
    code, _, err = usage(capsys, "report", "results/smoke", "--jsno")
    assert code == 2 and "usage: slr-sweep report" in err and "unrecognized arguments: --jsno" in err
    code, _, err = usage(capsys, "report", "results/smoke", "--json", "found.json")
    assert code == 2 and "--json takes no file name" in err and "write > FILE" in err


def test_a_command_is_run_with_its_arguments(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "log.csv").write_text("step,loss\n" + "".join(f"{step},3.0\n" for step in range(1, 60)))
    assert main(["replay", str(tmp_path / "log.csv"), "--l-const", "3.0", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["num_steps"] == 59


@pytest.mark.parametrize("shell", ["bash", "zsh", "tcsh"])
def test_a_completion_names_commands_and_options(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, script, _ = usage(capsys, "--print-completion", shell)
    assert code == 0 and "slr-sweep" in script
    for word in (*NAMES, "dry-run", "print-completion"):
        assert word in script


def test_bash_completes_a_command_its_options_and_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, script, _ = usage(capsys, "--print-completion", "bash")
    (tmp_path / "a_study.yaml").touch()
    ask = (
        'complete_() { COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=(); '
        '_shtab_slr_sweep; echo "${COMPREPLY[@]}"; }\n'
        "complete_ slr-sweep rep\ncomplete_ slr-sweep run --dr\ncomplete_ slr-sweep check a_\n"
    )
    done = subprocess.run(["bash"], input=script + ask, capture_output=True, text=True, cwd=tmp_path, check=True)
    assert done.stdout.split() == ["report", "replay", "--dry-run", "a_study.yaml"]
