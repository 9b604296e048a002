"""Every command of README.md and docs/ is one that its program takes; what is cheap is run, in a folder made for it."""

import argparse
import importlib.util
import re
import shlex
import shutil
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import optuna
import pytest

from sweep.__main__ import COMMANDS, main
from tests.docs.blocks import PAGES, ROOT, blocks
from tests.sweep.report.conftest import write_results

NOT_RUN = "not run: "
FOREIGN = {
    "chmod",
    "docker",
    "export",
    "kubectl",
    "mediapipe-env/bin/pip",
    "optuna-dashboard",
    ".",
    "python3",
    "python3.11",
    "ray",
    "sbatch",
    "ssh",
}
"""Programs of others, which are not asked whether they would take it."""
CHEAP = {"check", "clean", "compare", "convert", "grafana", "import", "queue", "recover", "replay", "report", "status"}
"""What is done within a second or two, and without Ray."""
GOOD_CODES = {"check": {0}, "compare": {0, 1}, "status": {0, 5, 6}}
SHELL = {"&&", "||", "|", ";", "&"}


@dataclass(frozen=True)
class Line:
    """One command with its arguments."""

    place: str
    words: tuple[str, ...]
    answer: str = ""
    """What the example shows of its answer."""


def lines() -> Iterator[Line]:
    """Of all examples that a shell would read."""
    for block in blocks("sh", "console"):
        if block.mark.startswith(NOT_RUN):
            continue
        text = block.text.replace("\\\n", " ")
        if block.language == "console":
            for command, answer in re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n?)*)", text, re.MULTILINE):
                yield Line(block.place, next(simple_commands(command)), answer)
            continue
        for line in whole_lines(text):
            for words in simple_commands(line):
                yield Line(block.place, words)


def whole_lines(text: str) -> Iterator[str]:
    """The lines of a text without their comments; those that a quotation goes over stay together."""
    line = ""
    for part in text.split("\n"):
        part = re.sub(r"(^|\s)#.*", "", part)
        line += f"\n{part}" if line else part
        if line.count("'") % 2 == 0 and line.count('"') % 2 == 0:
            yield line
            line = ""
    assert not line, f"a quotation does not end: {line}"


def simple_commands(line: str) -> Iterator[tuple[str, ...]]:
    """A line of a shell as its commands, without where their output goes and what is set for them."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=";|&>")
    lexer.whitespace_split = True
    words: list[str] = []
    to_file = False
    for word in [*lexer, ";"]:
        if word in SHELL:
            if words:
                yield tuple(words)
            words = []
        elif to_file or word in (">", ">>"):
            to_file = not to_file
        elif inner := re.fullmatch(r"\w+=\$\((.*)", word):
            words = [inner[1]]
        elif words or not re.fullmatch(r"\w+=.*", word):
            words.append(word)


LINES = list(lines())
OURS = [line for line in LINES if line.words[0] == "slr-sweep"]
REFUSED = [line for line in OURS if line.answer.startswith("error: ")]
RUN = [
    line
    for line in OURS
    # There is no server for an address.
    if line not in REFUSED
    and "://" not in " ".join(line.words)
    and (line.words[1] in CHEAP or "--dry-run" in line.words)
]


def parser_of(name: str) -> argparse.ArgumentParser:
    """The parser of a command of `slr-sweep`."""
    assert name in [command.name for command in COMMANDS], f"there is no command {name}"
    parser = argparse.ArgumentParser(exit_on_error=False)
    next(command for command in COMMANDS if command.name == name).prepare(parser)
    return parser


def taken_by_sweep(words: tuple[str, ...]) -> None:
    if words[0].startswith("--") or words[1:] == ("--help",):
        return
    try:
        parser_of(words[0]).parse_args(words[1:])
    except (SystemExit, argparse.ArgumentError) as error:
        pytest.fail(f"slr-sweep {shlex.join(words)}: {error}")


def taken_by_make(words: tuple[str, ...]) -> None:
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert {word for word in words if "=" not in word} <= set(targets)


def taken_by_python(words: tuple[str, ...]) -> None:
    if words[0] != "-m":
        assert (ROOT / words[0]).is_file(), words[0]
        return
    if words[1].startswith("sweep."):
        taken_by_sweep((words[1].removeprefix("sweep."), *words[2:]))
        return
    found = importlib.util.find_spec(words[1])
    assert found is not None and found.origin is not None, words[1]
    known = "".join(path.read_text() for path in Path(found.origin).parent.glob("*.py"))
    for option in words[2:]:
        name = option.strip("[]").partition("=")[0]
        assert not name.startswith("--") or f'"{name}"' in known, f"{words[1]} has no {option}"


def taken_by_pip(words: tuple[str, ...]) -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for word in words:
        if wanted := re.fullmatch(r"\.\[(.*)\]", word):
            assert set(wanted[1].split(",")) <= set(extras)


PROGRAMS: dict[str, Callable[[tuple[str, ...]], None]] = {
    "slr-sweep": taken_by_sweep,
    "make": taken_by_make,
    "python": taken_by_python,
    "pip": taken_by_pip,
}


def handed_on(words: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """What another program is to start: `ssh HOST slr-sweep watch x`, `ray exec CLUSTER 'cd /app && slr-sweep ...'`."""
    if "slr-sweep" in words[:-1]:
        yield words[words.index("slr-sweep") + 1 :]
    for word in words:
        yield from (one[1:] for one in simple_commands(word) if one[0] == "slr-sweep" and len(one) > 1)


@pytest.mark.parametrize("line", LINES, ids=lambda line: f"{line.place} {line.words[0]}")
def test_its_program_takes_it(line: Line) -> None:
    program, *arguments = line.words
    if program in FOREIGN:
        for words in handed_on(line.words):
            taken_by_sweep(words)
    elif line not in REFUSED:
        assert program in PROGRAMS, f"{line.place}: who is {program}?"
        PROGRAMS[program](tuple(arguments))


def test_commands_and_options_amid_sentences_are_there() -> None:
    text = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
    amid = set(re.findall(r"`slr-sweep ([a-z]+)\b([^`\n]*)`", text))
    assert len(amid) > 20
    for name, rest in amid:
        # What follows is another program's.
        rest = rest.partition(" -- ")[0]
        assert set(re.findall(r"(?<!\S)\[?(--[\w-]+)", rest)) <= set(parser_of(name)._option_string_actions), name


def filled_in(line: Line) -> list[str]:
    """Its arguments, with a name where the reader puts one."""
    return [word.replace("<study>", "letters") for word in line.words[1:]]


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files and the finished studies that the examples name."""
    folder = tmp_path_factory.mktemp("workshop")
    (folder / "studies").symlink_to(ROOT / "studies")
    finished = write_results(folder / "made")
    for word in {word for line in RUN for word in filled_in(line)}:
        if word.startswith("results/"):
            shutil.copytree(finished, folder / word)
        elif word.endswith(".yaml") and not word.startswith("studies/"):
            shutil.copyfile(ROOT / "studies" / "smoke.yaml", folder / word)
    losses = "".join(f"Step {step}: loss={3 * 0.99**step:.4f}\n" for step in range(1, 400))
    (folder / "train.log").write_text(losses)
    others = optuna.create_study(storage=f"sqlite:///{folder / 'optuna.db'}")
    others.optimize(lambda trial: trial.suggest_float("learning_rate", 1e-4, 1, log=True), n_trials=4)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("line", RUN, ids=lambda line: f"{line.place} {line.words[1]}")
def test_what_is_cheap_is_run(
    line: Line, workshop: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(workshop)
    words = filled_in(line)
    code = main(words)
    told = capsys.readouterr()
    assert code in GOOD_CODES.get(words[0], {0}), told.err
    assert told.err == "" or code != 0 or "error" not in told.err


@pytest.mark.parametrize("line", REFUSED, ids=lambda line: f"{line.place} {line.words[1]}")
def test_a_mistake_is_told_as_the_page_has_it(
    line: Line, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(line.words[1:]) == 2
    assert capsys.readouterr().err == line.answer.rstrip() + "\n"
