"""A study of a function: its settings are what it reads of `config`, or its own parameters; it is imported, not run."""

import ast
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slr_models import user_code
from slr_models.errors import UserError
from sweep.init.programs import Taken, any_range, dimension_lines, program_text
from sweep.init.ranges import NOT_SETTINGS, Proposal, proposed
from sweep.init.writing import comment, inline
from sweep.running.own_study import why_nothing_trains
from sweep.study.program_checks import own_path_problems

_RUN = "run"
_HANDED = {"seed": "run.seed", "steps": "run.steps", "max_steps": "run.steps", "dir": "run.folder"}
"""Parameters of a function -> what it is given for them."""


@dataclass(frozen=True)
class FunctionFiles:
    """What is written for a function."""

    study: str
    """The study file."""
    adapter: str | None
    """Python that calls the function with the settings as its parameters; None where it is called as train(config, run)
    itself."""
    lacking: tuple[str, ...]
    """Settings that it reads without a default and that the study does not vary: they are still to be given."""


def function_files(target: str, name: str, adapter: str) -> FunctionFiles:
    """The files for a function.

    Args:
        target: `package.module:function`.
        name: of the study.
        adapter: module that is written where the settings are the function's own parameters.

    Raises:
        SettingError: it is not found, or must not be named.
        UserError: it can be called neither as train(config, run), nor with settings and `run`.
    """
    user_code.look_in(Path.cwd())
    function = user_code.imported(target, "init")
    if (problem := why_nothing_trains(function)) is not None:
        raise UserError(f"{target} {problem}")
    signature = inspect.signature(function)
    parameters = _own_parameters(signature)
    handed = [one for one in _HANDED if one in signature.parameters]
    try:
        if parameters is None:
            signature.bind({}, None)
        else:
            signature.bind(**dict.fromkeys([*(one.name for one in parameters), *handed, _RUN]))
    except TypeError as error:
        raise UserError(
            f"{target} is called as train(config, run), and takes other arguments ({error}): give it a parameter `run` "
            f"besides its settings, and call run.step(loss=loss) for each step"
        ) from error
    if parameters is None:
        settings = settings_of_function(function)
        return FunctionFiles(_study(target, name, target, settings), None, _lacking(settings))
    takes_any = any(one.kind is inspect.Parameter.VAR_KEYWORD for one in signature.parameters.values())
    study = _study(f"{adapter}:train", name, target, parameters, takes_any=takes_any)
    return FunctionFiles(study, _adapter(target, name, handed), _lacking(parameters))


def _lacking(settings: Sequence[Taken]) -> tuple[str, ...]:
    return tuple(
        one.name
        for one in settings
        if one.default is None and ((proposal := proposed(one.name, None)) is None or not proposal.is_central)
    )


def _own_parameters(signature: inspect.Signature) -> list[Taken] | None:
    """The settings that are parameters of a function beside `run`; None where it takes `config`."""
    parameters = list(signature.parameters.values())
    names = [one.name for one in parameters]
    if _RUN not in names or (names.index(_RUN) == 1 and _may_be_config(parameters[0])):
        return None
    nameless = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [
        Taken(one.name, None if one.default is inspect.Parameter.empty else one.default)
        for one in parameters
        if one.name not in (_RUN, *_HANDED)
        and one.kind not in nameless
        and (one.name not in NOT_SETTINGS or one.default is inspect.Parameter.empty)
    ]


def _may_be_config(parameter: inspect.Parameter) -> bool:
    """Whether a parameter in front of `run` may be all settings, and not one of them."""
    may_be_all = parameter.default is inspect.Parameter.empty or isinstance(parameter.default, Mapping)
    proposal = proposed(parameter.name, None)
    is_number = parameter.annotation in (int, float, "int", "float") or (proposal is not None and proposal.is_central)
    return may_be_all and not is_number


def _adapter(target: str, name: str, handed: Sequence[str]) -> str:
    given = "".join(f", {one}={_HANDED[one]}" for one in handed)
    module, _, function = target.partition(":")
    return (
        f'"""The study {name} calls `train`: its settings are the parameters of {target}."""\n\n'
        f"from {module} import {function} as function\n\n\n"
        f"def train(config, run):\n"
        f"    # Each step is reported by run.step(loss=loss, grad_norm=norm); what is returned are the results.\n"
        f"    return function(**config{given}, run=run)\n"
    )


def _study(target: str, name: str, told: str, settings: Sequence[Taken], *, takes_any: bool = True) -> str:
    """The study file.

    Args:
        target: what it calls.
        name: of it.
        told: the function, for a person.
        settings: those that are known.
        takes_any: whether it may be given others, too.

    Raises:
        UserError: no setting can vary.
    """
    named = [one for one in settings if next(own_path_problems(one.name, (), one.name), None) is None]
    found = [(one, proposed(one.name, one.default)) for one in named]
    varied = [proposal for _, proposal in found if proposal is not None and proposal.is_central]
    others = [proposal for _, proposal in found if proposal is not None and not proposal.is_central]
    if not varied and not takes_any:
        varied, others = (others[:1], others[1:]) if others else ([_any_of(named, told)], [])
    space = [line for proposal in varied for line in dimension_lines(proposal)]
    if not varied:
        space += [
            f"  # {told} was not seen to read a learning rate: put in what varies.",
            *dimension_lines(any_range(Taken("lr", None))),
        ]
    if others:
        space += ["  # Also read:", *(f"  # {proposal.name}: {inline(proposal.dimension)}" for proposal in others)]
    head = comment(f"Where does {told} train well, and why does it fail elsewhere? A start to be edited.")
    reports = comment(
        "It is called as train(config, run), and reports by run.step(loss=loss, grad_norm=norm) for each step, which "
        "raises sweep.Stop where the training is lost, and returns its results, such as {'val_loss': 0.4, "
        "'accuracy': 0.9}. run.seed is its seed, run.folder a folder of its own."
    )
    trial = f"{reports}\ntrial:\n  kind: function\n  target: {inline(target)}"
    if lacking := _lacking(settings):
        trial += (
            f"\n  # It reads {', '.join(lacking)} without a default: give values here, or ranges under space."
            f"\n  # config: {{{lacking[0]}: ...}}"
        )
    return program_text(head, name, f"Settings of {told}.", trial, space, max(len(varied), 1), steps=True)


def _any_of(settings: Sequence[Taken], told: str) -> Proposal:
    """A setting that varies although nothing is known of it.

    Raises:
        UserError: there is none that may be a number.
    """
    may_be_numbers = [one for one in settings if one.default is None or isinstance(one.default, int | float)]
    if not may_be_numbers:
        raise UserError(
            f"{told} takes no setting that could vary: give it a parameter for each, such as lr, or call it as "
            f"train(config, run)"
        )
    return any_range(may_be_numbers[0])


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
