"""What a study says of a training of the user's own."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from slr_models.errors import UserError
from slr_models.spec import Spec
from slr_models.user_code import FactoryName
from sweep.records import LOSS_SCORE, NAN
from sweep.space import is_learning_rate

Target = Callable[[dict[str, Any], Any], Any]
"""`train(config, run)`: trains with the settings, and reports through the handle (`sweep.Run`)."""
MetricName = Annotated[str, Field(pattern=r"^[A-Za-z_][\w.@%/-]{0,63}$")]


class References(Spec):
    """Losses that tell a training that learned something from one that did not.

    Without them a training is judged against its own first losses, which says less: of one that begins with a very high
    loss, to fall to that of guessing looks like learning.
    """

    l_const: float | None = Field(None, gt=0)
    """Loss of a model that ignores its input, on the scale of the training loss."""
    l_unif: float | None = Field(None, gt=0)
    """Loss of a uniform output, likewise."""
    cross_entropy: tuple[float, ...] = Field((), max_length=1_000_000)
    """Of a classifier trained with cross entropy (nats): how often each class occurs, as counts or shares. Both losses
    follow from it."""

    @property
    def losses(self) -> tuple[float, float]:
        """L_const and L_unif; NaN where unknown."""
        found = entropies(self.cross_entropy) if self.cross_entropy else (NAN, NAN)
        given = (self.l_const, self.l_unif)
        l_const, l_unif = (known if known is not None else other for known, other in zip(given, found, strict=True))
        return l_const, l_unif


def entropies(counts: Sequence[float]) -> tuple[float, float]:
    """Cross entropy of the best constant prediction and of a uniform one, nats: the entropy of the frequencies, ln K.

    Args:
        counts: how often each class occurs.

    Raises:
        ValueError: fewer than two classes occur, or a count is no number of at least 0.
    """
    if not all(math.isfinite(count) and count >= 0 for count in counts):
        raise ValueError("how often a class occurs is a number of at least 0")
    total = math.fsum(counts)
    shares = [count / total for count in counts if count > 0]
    if len(shares) < 2:
        raise ValueError("the cross entropy of a constant prediction needs at least two classes that occur")
    return -math.fsum(share * math.log(share) for share in shares), math.log(len(counts))


class _OwnSpec(Spec):
    config: dict[str, Any] = {}
    """Values that all trainings share; those of `space` are put in at their dotted paths."""
    references: References = References()
    """What its loss is held against."""
    silence_s: float = Field(3600.0, gt=0)
    """One that writes nothing (a command) or reports nothing (a function) for so long is taken to hang, and ended."""
    timeout_s: float | None = Field(None, gt=0)
    """It is ended after so long. Null: never."""


class HungError(UserError):
    """A program was silent for too long."""


class TimedOutError(UserError):
    """A program took too long."""


class CtcProgram(Spec):
    """Our own loop, which trains CTC models: the study's `model`, `data` and `training` say how."""

    kind: Literal["ctc"] = "ctc"


class FunctionProgram(_OwnSpec):
    """A function of the user's: `train(config, run)`."""

    kind: Literal["function"] = "function"
    target: FactoryName | None = None
    """`package.module:function`. Null: it is given in Python (`sweep.function_study`)."""


class CommandProgram(_OwnSpec):
    """Any program, in any language, whose log tells its losses."""

    kind: Literal["command"] = "command"
    run: str | tuple[str, ...] = Field(min_length=1)
    """The command, split as a shell would and run without one. `{name}` stands for a setting, `{dir}` for a folder of
    the trial's own, `{seed}` for its seed, `{steps}` for `budget.steps`; `{{` for a brace."""
    log: str | None = None
    """File that it writes its losses to, such as `{dir}/log.csv`. Null: what it prints."""
    metrics: dict[MetricName, str] = Field({}, max_length=100)
    """Name of a result -> the column, key or word under which the log tells it; the last value counts. A loss on
    held-out data named val_loss is judged as one."""
    env: dict[str, str] = Field({}, max_length=1000)
    """Variables of its environment, besides those of this program; values as in `run`."""
    cwd: str | None = None
    """Its working folder; values as in `run`. Null: the folder in which the study was started."""
    grace_s: float = Field(10.0, ge=0, le=3600)
    """Between being asked to end (SIGTERM) and being made to (SIGKILL)."""


ProgramConfig = Annotated[CtcProgram | FunctionProgram | CommandProgram, Field(discriminator="kind")]


class OwnConfig(Spec):
    """What one training of the user's own depends on, apart from its seed."""

    values: dict[str, Any]
    """The settings, nested as their dotted paths say."""


class Goal(Spec):
    """What a training of the user's own is judged by: the name of one of its results."""

    minimize: MetricName | None = None
    """The smaller the better."""
    maximize: MetricName | None = None
    """The larger the better. Give one of the two."""


@dataclass(frozen=True)
class Score:
    """What stable trainings of the user's own are ranked by."""

    name: str = LOSS_SCORE
    is_maximized: bool = False

    def of(self, metrics: Mapping[str, float], end_loss: float) -> float | None:
        """The score of a training, smaller is better; None where it did not report it.

        Args:
            metrics: what it reported.
            end_loss: its last training loss.
        """
        if self.name in metrics:
            return -metrics[self.name] if self.is_maximized else metrics[self.name]
        return metrics.get("val_loss", end_loss) if self.name == LOSS_SCORE else None

    def as_reported(self, score: float) -> float:
        """The number as a person knows it."""
        return -score if self.is_maximized else score


def score_of(objective: Goal | MetricName | None) -> Score:
    """What a study's `objective` says of trainings of the user's own."""
    if isinstance(objective, Goal):
        return Score(objective.maximize or objective.minimize or LOSS_SCORE, objective.maximize is not None)
    return Score() if objective is None else Score(objective)


FULL_PRECISIONS = ("fp32", "float32", "f32", "32", "32-true", "full", "single")


@dataclass(frozen=True)
class Turns:
    """What of the settings of a training may be changed to find out why it went bad."""

    rate: str | None = None
    """Dotted path of the number along which edges are told."""
    full_precision: Mapping[str, str] = field(default_factory=dict)
    """Dotted path of a choice among precisions -> the full one of them."""

    @property
    def is_learning_rate(self) -> bool:
        """Whether the rate is a learning rate."""
        return self.rate is not None and is_learning_rate(self.rate)


@dataclass(frozen=True)
class OwnProgram:
    """What trains, and what it is judged by."""

    program: FunctionProgram | CommandProgram
    score: Score
    function: Target | None = None
    """The function itself, where it is given in Python."""
    turns: Turns = Turns()
    folder: Path | None = None
    """The folder in which the study was started, which is that of its programs too; None: wherever they happen to be.
    """
