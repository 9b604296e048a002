"""A study of a program of the user's own, as text: what functions and commands have in common."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sweep.init.ranges import Proposal, proposed
from sweep.init.writing import comment, inline

TRIALS_A_DIMENSION = 16


@dataclass(frozen=True)
class Taken:
    """A setting that a program takes."""

    name: str
    """Dotted path."""
    default: Any
    """None where it has none, or none that can be read."""


def program_text(
    head: str, name: str, description: str, trial: str, space: Sequence[str], num: int, *, steps: bool
) -> str:
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


def dimension_lines(proposal: Proposal) -> list[str]:
    """A dimension of the space, with the reason for its range."""
    return [
        f"  # {proposal.why[0].upper()}{proposal.why[1:]}.",
        f"  {proposal.name}: {inline(proposal.dimension)}",
    ]


def any_range(one: Taken) -> Proposal:
    """The range of a setting that is to vary, whatever it is."""
    known = proposed(one.name, one.default)
    unknown = {"loguniform": [0.01, 100.0]}
    return known or Proposal(one.name, unknown, "nothing is known of it: put in its range", True)
