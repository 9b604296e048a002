"""What a user can get wrong, and what a machine cannot do, as exceptions.

    UserError(ValueError)        the message is for the user: what is wrong, where, what to do
      DataError                  a data folder, a manifest or a feature file
      SettingError               a study file or a configuration value
      ResultsError               a results folder
        NothingToCompareError    two results folders that have nothing in common
    MachineError(RuntimeError)   nothing that the user gave is wrong; the message is for the user all the same

Command lines print the message alone (no traceback) and exit with a code of their own: see `sweep.command_line`.
"""

from dataclasses import dataclass, replace
from typing import Self

MAX_PROBLEMS_SHOWN = 6
"""A longer list is read by nobody."""
_MAX_TEXT, _MAX_GOT = 1000, 160
"""Characters of a problem, or of an advice, and of a value or a place."""


class UserError(ValueError):
    """A mistake in what the user gave; the message says what is wrong, where, and what to do."""


class DataError(UserError):
    """A data folder, manifest or feature file cannot be used as it is."""


@dataclass(frozen=True)
class SettingProblem:
    """One thing that is wrong with a study or a configuration value, apart from where its file has it."""

    path: tuple[str | int, ...]
    """The keys that lead to it; empty where it belongs to none."""
    problem: str
    """What is wrong, in a sentence that names the setting. It ends in a full stop where sentences follow it."""
    advice: str = ""
    """What to do: sentences, or a clause to follow a colon; empty where the problem says it."""
    got: str = ""
    """The value that is wrong, where the problem does not name it."""
    where: str = ""
    """Where that stands, such as `study.yaml:7`; empty until somebody who knows it puts it in."""

    @property
    def sentence(self) -> str:
        """Problem and advice without the place."""
        problem = _clipped(self.problem, _MAX_TEXT)
        told = f"{problem}, got {_clipped(self.got, _MAX_GOT)}" if self.got else problem
        if not self.advice:
            return told
        return f"{told}{' ' if told.endswith('.') else ': '}{_clipped(self.advice, _MAX_TEXT)}"

    def within(self, path: tuple[str | int, ...], name: str) -> Self:
        """The problem of a part, told of the whole that has the part at `path`, where it goes by `name`."""
        return replace(self, path=(*path, *self.path), problem=f"{name}: {self.problem}")

    def __str__(self) -> str:
        return f"{_clipped(self.where, _MAX_GOT)}: {self.sentence}" if self.where else self.sentence


def _clipped(text: str, most: int) -> str:
    """A text as far as a message has room for it: what a file holds may be of any length."""
    return text if len(text) <= most else f"{text[: most * 3 // 4]} ... {text[-most // 8 :]}"


class SettingError(UserError):
    """A study file or a configuration value is wrong: one problem or several, told in a line each."""

    problems: tuple[SettingProblem, ...]
    """All of them, also those that the message has no room for."""

    def __init__(self, *problems: SettingProblem | str) -> None:
        """Of problems; one whose setting the caller knows may be just a sentence."""
        super().__init__(*problems)
        self.problems = tuple(p if isinstance(p, SettingProblem) else SettingProblem((), p) for p in problems)

    def __str__(self) -> str:
        lines = [str(problem) for problem in self.problems[:MAX_PROBLEMS_SHOWN]]
        if (more := len(self.problems) - MAX_PROBLEMS_SHOWN) > 0:
            lines.append(f"... and {more} more")
        return "\n".join(lines)


class ResultsError(UserError):
    """A results folder cannot be used as it is."""


class NothingToCompareError(ResultsError):
    """Two results folders are sound, but hold nothing that could be held against each other."""


class MachineError(RuntimeError):
    """This machine cannot do it now: no mistake in what the user gave."""
