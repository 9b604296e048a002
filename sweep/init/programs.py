"""A study of a function or a command of the user's own: which settings it takes, read without running it."""

import ast
import inspect
import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slr_models import user_code
from slr_models.errors import UserError
from sweep.init.ranges import Proposal, proposed
from sweep.init.writing import comment, inline
from sweep.own.command import OWN_NAMES, names_in

TRIALS_A_DIMENSION = 16
_NAME = re.compile(r"--?([A-Za-z][\w.-]*)")
_SIMPLE = re.compile(r"[\w@%+=:,./{}-]+")
"""A word that a shell needs no quotes for."""


@dataclass(frozen=True)
class Taken:
    """A setting that a program takes."""

    name: str
    """Dotted path."""
    default: Any
    """None where it has none, or none that can be read."""


def function_study(target: str, name: str) -> str:
    """The study file for a function.

    Args:
        target: `package.module:function`.
        name: of the study.

    Raises:
        SettingError: it is not found, or must not be named.
        UserError: it is not called as train(config, run).
    """
    user_code.look_in(Path.cwd())
    function = user_code.imported(target, "init")
    try:
        inspect.signature(function).bind({}, None)
    except TypeError as error:
        raise UserError(
            f"{target} is called as train(config, run), and takes other arguments ({error}): write a function "
            f"`def train(config, run)` that reads its settings from config, such as config['lr'], and calls "
            f"run.step(loss=loss) for each step"
        ) from error
    found = [(one, proposed(one.name, one.default)) for one in settings_of_function(function)]
    varied = [proposal for _, proposal in found if proposal is not None and proposal.is_central]
    others = [proposal for _, proposal in found if proposal is not None and not proposal.is_central]
    space = [line for proposal in varied for line in _dimension(proposal)]
    if not varied:
        space += [
            f"  # {target} was not seen to read a learning rate: put in what varies.",
            *_dimension(_any(Taken("lr", None))),
        ]
    if others:
        space += ["  # Also read:", *(f"  # {proposal.name}: {inline(proposal.dimension)}" for proposal in others)]
    head = comment(f"Where does {target} train well, and why does it fail elsewhere? A start to be edited.")
    reports = comment(
        "It is called as train(config, run), and reports by run.step(loss=loss, grad_norm=norm) for each step, which "
        "raises sweep.Stop where the training is lost, and returns its results, such as {'val_loss': 0.4, "
        "'accuracy': 0.9}. run.seed is its seed, run.folder a folder of its own."
    )
    trial = f"{reports}\ntrial:\n  kind: function\n  target: {inline(target)}"
    lacking = [one.name for one, proposal in found if one.default is None and proposal not in varied]
    if lacking:
        trial += (
            f"\n  # It reads {', '.join(lacking)} without a default: give values here, or ranges under space."
            f"\n  # config: {{{lacking[0]}: ...}}"
        )
    return _text(head, name, f"Settings of {target}.", trial, space, max(len(varied), 1), steps=True)


def settings_of_function(function: Any) -> list[Taken]:
    """What a function reads from its first parameter: `config["lr"]`, `config.get("lr", 1)`, or in sections.

    Read from its source, so that nothing runs; of what it hands on to other functions, nothing is known.
    """
    try:
        tree = ast.parse(inspect.cleandoc("\n" + inspect.getsource(function)))
        parameter = next(iter(inspect.signature(function).parameters))
    except (OSError, TypeError, SyntaxError, StopIteration):
        return []
    found: dict[str, Any] = {}
    inner: set[str] = set()
    for node in ast.walk(tree):
        path, default = _read(node, parameter)
        if path:
            name = ".".join(path)
            inner |= {".".join(path[:depth]) for depth in range(1, len(path))}
            found[name] = default if found.get(name) is None else found[name]
    return [Taken(name, default) for name, default in sorted(found.items()) if name not in inner]


def _read(node: ast.AST, parameter: str) -> tuple[list[str], Any]:
    """The keys that an expression reads of a parameter, and the default that it gives; no keys where it reads none."""
    match node:
        case ast.Subscript(value=value, slice=ast.Constant(value=str(key))):
            outer = _keys(value, parameter)
            return ([] if outer is None else [*outer, key]), None
        case ast.Call(func=ast.Attribute(value=value, attr="get"), args=[ast.Constant(value=str(key)), *rest]):
            outer = _keys(value, parameter)
            default = rest[0].value if rest and isinstance(rest[0], ast.Constant) else None
            return ([] if outer is None else [*outer, key]), default
    return [], None


def _keys(node: ast.AST, parameter: str) -> list[str] | None:
    match node:
        case ast.Name(id=name) if name == parameter:
            return []
        case ast.Subscript() | ast.Call():
            keys, _ = _read(node, parameter)
            return keys or None
    return None


def command_study(words: Sequence[str], name: str) -> str:
    """The study file for a command.

    Args:
        words: the command; `{lr}` stands for a setting. Where it names none, its learning rates become settings.
        name: of the study.

    Raises:
        UserError: it names no setting, and has none that is known for one.
    """
    given, found = _with_settings(list(words))
    told = " ".join(word if _SIMPLE.fullmatch(word) else shlex.quote(word) for word in words)
    if not found:
        raise UserError(
            f"{told} names no setting to vary: write {{lr}} in place of a value, such as "
            f"slr-sweep init -- python train.py --lr {{lr}}"
        )
    defaults = defaults_of_scripts(words)
    taken = [Taken(one.name, defaults.get(one.name) if one.default is None else one.default) for one in found]
    space = [line for one in taken for line in _dimension(_any(one))]
    head = comment(f"Where does `{told}` train well, and why does it fail elsewhere? A start to be edited.")
    reports = comment(
        'Its losses are read from what it prints, such as `step 10 loss 2.31`, or from a file: log: "{dir}/log.csv". '
        "{seed} is its seed, {dir} a folder of its own, {steps} budget.steps. A result for `objective` is named under "
        "metrics: {accuracy: val_acc} reads the last val_acc of the log."
    )
    trial = f"{reports}\ntrial:\n  kind: command\n  run: {inline(given)}"
    steps = any("steps" in names_in(word) for word in given)
    return _text(head, name, f"Settings of {told}.", trial, space, len(taken), steps=steps)


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


def _text(head: str, name: str, description: str, trial: str, space: Sequence[str], num: int, *, steps: bool) -> str:
    """The study file.

    Args:
        head: comment at its top.
        name: of the study.
        description: of it.
        trial: its section.
        space: lines of that section.
        num: dimensions that vary.
        steps: whether the program is told how many steps it has.
    """
    trials = TRIALS_A_DIMENSION * num
    length = "`steps` is what a training is told as its length (run.steps, {steps})." if steps else ""
    budget = f"budget: {{trials: {trials}, steps: 200}}" if steps else f"budget: {{trials: {trials}}}"
    judged = comment(
        "What a stable training is judged by: {minimize: ...} or {maximize: ...} with the name of a result; by default "
        "its val_loss if it reports one, else its last training loss."
    )
    paragraphs = (
        head,
        f"name: {inline(name)}\ndescription: {inline(description)}",
        trial,
        "\n".join(("space:", *space)),
        f"{judged}\n# objective: {{maximize: accuracy}}",
        comment(f"Sixteen trainings a dimension. {length}") + f"\n{budget}",
        comment("One core a training; more at a time where the machine has more cores.") + "\nresources: {cpus: 1}",
    )
    return "\n\n".join(paragraphs) + "\n"


def _dimension(proposal: Proposal) -> list[str]:
    return [
        f"  # {proposal.why[0].upper()}{proposal.why[1:]}.",
        f"  {proposal.name}: {inline(proposal.dimension)}",
    ]


def _any(one: Taken) -> Proposal:
    """The range of a setting that is to vary, whatever it is."""
    known = proposed(one.name, one.default)
    unknown = {"loguniform": [0.01, 100.0]}
    return known or Proposal(one.name, unknown, "nothing is known of it: put in its range", True)
