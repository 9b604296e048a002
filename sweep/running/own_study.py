"""A study whose trainings are programs of the user's own: what trains, and what is found out before the first trial."""

import inspect
import shutil
from collections.abc import Iterator
from pathlib import Path

from slr_models import user_code
from slr_models.errors import SettingError, SettingProblem
from sweep.boundary.encoding import Encoding, edge_path
from sweep.own.command import names_in, words
from sweep.own.program import FULL_PRECISIONS, CommandProgram, FunctionProgram, OwnProgram, Target, Turns
from sweep.redaction import redacted
from sweep.space import Choice
from sweep.study import LoadedStudy, Study


def own_program(loaded: LoadedStudy, function: Target | None) -> OwnProgram | None:
    """What trains; None where our own loop does. A function that is named is imported, so that mistakes show.

    Raises:
        SettingError: it cannot be imported, takes other arguments, or is none; or a command is not found.
    """
    study = loaded.study
    own, score = study.own, study.score
    if own is None or score is None:
        return None
    try:
        if isinstance(own, CommandProgram):
            _check_found(own)
        else:
            _check_function(own, function)
    except SettingError as error:
        place = ("trial", "run" if isinstance(own, CommandProgram) else "target")
        raise SettingError(loaded.source.placed(SettingProblem(place, str(error)))) from error
    return OwnProgram(own, score, function, _turns(study), Path.cwd())


def _turns(study: Study) -> Turns:
    """What may be changed in the settings of a training that went bad."""
    space = study.searched
    full = {
        path: str(next(value for value in dimension.choice if value in FULL_PRECISIONS))
        for path, dimension in space.items()
        if isinstance(dimension, Choice) and any(value in FULL_PRECISIONS for value in dimension.choice)
    }
    return Turns(edge_path(Encoding(space)) if space else None, full)


def trained(program: FunctionProgram | CommandProgram, function: Target | None) -> str:
    """What trains, for a person: `train (my_train.py)`, `my_package.train:train`, `python train.py --lr {lr}`.

    Without the passwords that a command has in it.
    """
    if isinstance(program, CommandProgram):
        return redacted(program.run if isinstance(program.run, str) else " ".join(program.run))
    if function is None:
        return program.target or "a function"
    code = getattr(function, "__code__", None)
    where = "" if code is None else f" ({Path(code.co_filename).name})"
    return f"{getattr(function, '__qualname__', type(function).__name__)}{where}"


def own_warnings(study: Study) -> Iterator[str]:
    """What a person should know before the first training."""
    if study.design is None and not study.space and study.budget.trials > study.repeats:
        yield "space is empty, so there is one setting to train; repeats: N trains it over N seeds"


_OPERATORS = frozenset(("|", ">", ">>", "<", "&&", "||", ";", "&", "2>&1", "2>"))
"""Words that a command is hardly ever to be given."""


def _check_found(program: CommandProgram) -> None:
    """Raises SettingError where the command's program does not exist."""
    first, *rest = words(program)
    lone = next((word for word in rest if word in _OPERATORS), None)
    if lone is not None:
        raise SettingError(
            f"trial.run: {lone} means something to a shell, and no shell reads this: write bash -c '... {lone} ...', "
            f"or trial.log for where the losses are"
        )
    if any(names_in(first)) or (program.cwd is not None and "/" in first):
        return
    if program.cwd is not None and not any(names_in(program.cwd)) and not Path(program.cwd).is_dir():
        raise SettingError(f"trial.cwd: there is no folder {program.cwd!r}")
    if shutil.which(first) is None:
        raise SettingError(
            f"trial.run: the program {first!r} is not found: give its path, or install it; a built-in command or a "
            f"pipe of a shell needs one, such as bash -c '...'"
        )


def _check_function(program: FunctionProgram, function: Target | None) -> None:
    """Raises SettingError where there is no function that can be called with `(config, run)`."""
    if function is not None:
        _check_can_be_sent(function)
        found = function
    elif program.target is not None:
        found = user_code.imported(program.target, "trial.target")
    else:
        raise SettingError(
            "trial.target is missing: name a function as package.module:function (a study of a function given in "
            "Python goes on with the same call of sweep.function_study)"
        )
    if (problem := why_nothing_trains(found)) is not None:
        raise SettingError(f"trial.target: {trained(program, function)} {problem}")
    try:
        inspect.signature(found).bind({}, None)
    except TypeError as error:
        raise SettingError(
            f"trial.target: {trained(program, function)} is called as train(config, run), and takes other arguments "
            f"({error})"
        ) from error
    except ValueError:
        # A compiled function does not tell.
        return


def why_nothing_trains(function: Target) -> str | None:
    """Why a call of a function runs nothing of it; None where it does."""
    kind = next(
        (
            kind
            for is_of, kind in (
                (inspect.iscoroutinefunction, "is a coroutine (async def)"),
                (inspect.isgeneratorfunction, "is a generator (it has a yield)"),
                (inspect.isasyncgenfunction, "is a generator (it has a yield)"),
            )
            if is_of(function)
        ),
        None,
    )
    return None if kind is None else f"{kind}, of which nothing runs when it is called: give a plain function"


def _check_can_be_sent(function: Target) -> None:
    """Raises SettingError where a function, with what it refers to, cannot go to the processes that train."""
    from ray import cloudpickle

    try:
        cloudpickle.dumps(function)
    except Exception as error:
        raise SettingError(
            f"the function cannot be sent to the processes that train ({error}): make what it refers to (files, locks, "
            f"connections) inside of it"
        ) from error
