"""A study of a command: its settings are what it names in braces, and what its scripts say of them. Nothing is run."""

import ast
import re
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from slr_models.errors import UserError
from sweep.init.programs import Taken, any_range, dimension_lines, program_text
from sweep.init.ranges import proposed
from sweep.init.writing import comment, inline
from sweep.own.command import OWN_NAMES, names_in
from sweep.redaction import redacted
from sweep.study.program_checks import own_path_problems

_NAME = re.compile(r"--?([A-Za-z][\w.-]*)")
_SIMPLE = re.compile(r"[\w@%+=:,./{}-]+")
"""A word that a shell needs no quotes for."""


def command_study(words: Sequence[str], name: str) -> str:
    """The study file for a command.

    Args:
        words: the command; `{lr}` stands for a setting. Where it names none, its learning rates become settings.
        name: of the study.

    Raises:
        UserError: it names no setting, and has none that is known for one.
    """
    given, found = _with_settings(list(words))
    told = redacted(" ".join(word if _SIMPLE.fullmatch(word) else shlex.quote(word) for word in words))
    if not found:
        raise UserError(
            f"{told} names no setting to vary: write {{lr}} in place of a value, such as "
            f"slr-sweep init -- python train.py --lr {{lr}}"
        )
    for one in found:
        if (problem := next(own_path_problems(one.name, (), f"{{{one.name}}}"), None)) is not None:
            raise UserError(f"{problem}; a brace that is none of a setting is written {{{{ or }}}}")
    defaults = defaults_of_scripts(words)
    taken = [Taken(one.name, defaults.get(one.name) if one.default is None else one.default) for one in found]
    space = [line for one in taken for line in dimension_lines(any_range(one))]
    head = comment(f"Where does `{told}` train well, and why does it fail elsewhere? A start to be edited.")
    reports = comment(
        'Its losses are read from what it prints, such as `step 10 loss 2.31`, or from a file: log: "{dir}/log.csv". '
        "{seed} is its seed, {dir} a folder of its own, {steps} budget.steps. A result for `objective` is named under "
        "metrics: {accuracy: val_acc} reads the last val_acc of the log."
    )
    trial = f"{reports}\ntrial:\n  kind: command\n  run: {inline(given)}"
    steps = any("steps" in names_in(word) for word in given)
    return program_text(head, name, f"Settings of {told}.", trial, space, len(taken), steps=steps)


def _with_settings(words: list[str]) -> tuple[list[str], list[Taken]]:
    """The command with its settings in braces, and what they are."""
    named = list(dict.fromkeys(name for word in words for name in names_in(word) if name not in OWN_NAMES))
    if named:
        return words, [Taken(name, None) for name in named]
    given, found = list(words), list[Taken]()
    for place, (option, equals, value) in enumerate(word.partition("=") for word in words):
        matched = _NAME.fullmatch(option)
        at = place if equals else place + 1
        text = value if equals else (words[at] if at < len(words) else "")
        number = _number(text)
        if matched is None or number is None:
            continue
        name = matched[1].replace("-", "_")
        if (proposal := proposed(name, number)) is not None and proposal.is_central:
            given[at] = f"{option}={{{name}}}" if equals else f"{{{name}}}"
            found.append(Taken(name, number))
    return given, found


def defaults_of_scripts(words: Sequence[str]) -> dict[str, Any]:
    """Defaults that Python scripts among the words give their arguments: `parser.add_argument("--lr", default=1e-3)`.

    Read from their source, so that nothing runs.
    """
    found: dict[str, Any] = {}
    for word in words:
        path = Path(word)
        if path.suffix != ".py" or not path.is_file():
            continue
        try:
            tree = ast.parse(path.read_text(encoding="utf-8"))
        except (OSError, SyntaxError, ValueError):
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "add_argument":
                found |= dict(_argument(node))
    return found


def _argument(call: ast.Call) -> Iterator[tuple[str, Any]]:
    default = next((one.value for one in call.keywords if one.arg == "default"), None)
    if not isinstance(default, ast.Constant):
        return
    for name in call.args:
        if isinstance(name, ast.Constant) and isinstance(name.value, str):
            yield name.value.lstrip("-").replace("-", "_"), default.value


def _number(text: str) -> float | int | None:
    try:
        return int(text)
    except ValueError:
        pass
    try:
        return float(text)
    except ValueError:
        return None
