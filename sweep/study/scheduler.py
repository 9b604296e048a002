"""Schedulers that end, pause or change trainings which do worse than others. Settings only: `runner` builds Ray's.

All act on what a trial's evaluations are worth (`objective`), never on alarms: a training that diverges is ended by
its monitor and is a result; one that a scheduler ends is *pruned*, and nobody knows whether it would have been stable.
Trainings of the confirmation and audited ones are left alone.

| kind      | ends                                         | besides                                           |
|-----------|----------------------------------------------|---------------------------------------------------|
| asha      | all but the best at a rung, one by one       |                                                   |
| median    | what is worse than the median of the others  |                                                   |
| hyperband | all but the best at a rung, bracket by bracket | pauses trainings until their bracket has come as far |
| pbt       | nothing                                      | changes settings of the worst, with weights of the best |
"""

import math
from typing import Annotated, Literal

from pydantic import Field

from slr_models.spec import Spec
from sweep.space import Grid, Integer, LogUniform, Space, Uniform

MUTABLE = ("training.optimizer.", "training.clip.", "training.bad_batch.")
"""Settings under these paths take effect in the middle of a training; others shape it from its start."""


class Asha(Spec):
    """Asynchronous successive halving: at each rung a training goes on only if it is among the best that came there.

    Source: Li et al., A system for massively parallel hyperparameter tuning, MLSys 2020.
    """

    kind: Literal["asha"] = "asha"
    grace_rate: float = Field(0.2, gt=0, lt=1)
    """First rung, as a share of each training's steps; nothing is ended before."""
    reduction_factor: float = Field(3.0, gt=1, le=1000)
    """One of so many goes on from a rung; each rung lies so many times later than the one before."""

    def first_action_step(self, max_steps: int, eval_every_steps: int) -> int:
        """The first evaluation at which it may act."""
        return _first_eval(self.grace_rate, max_steps, eval_every_steps)


class Median(Spec):
    """Median stopping: ends a training whose best result so far is worse than the median of the others' running means.

    Source: Golovin et al., Google Vizier, KDD 2017.
    """

    kind: Literal["median"] = "median"
    grace_rate: float = Field(0.2, gt=0, lt=1)
    """Share of each training's steps before which nothing is ended."""
    min_trials: int = Field(3, ge=1, le=100_000)
    """Other trainings that must have come as far."""

    def first_action_step(self, max_steps: int, eval_every_steps: int) -> int:
        """The first evaluation at which it may act."""
        return _first_eval(self.grace_rate, max_steps, eval_every_steps)


class HyperBand(Spec):
    """HyperBand: successive halving in brackets that begin to end trainings at different times; counts evaluations.

    A training waits at a rung, saved to disk, until its bracket has come there. After a kill it begins anew.
    Source: Li et al., Hyperband, JMLR 18 (2018).
    """

    kind: Literal["hyperband"] = "hyperband"
    reduction_factor: int = Field(3, ge=2, le=1000)
    """One of so many goes on from a rung; each rung lies so many times later than the one before."""

    def first_action_step(self, max_steps: int, eval_every_steps: int) -> int:
        """The first evaluation at which it may act; past the end where there are too few evaluations for a rung."""
        first = math.ceil(max_steps / eval_every_steps) // self.reduction_factor
        return first * eval_every_steps if first else max_steps


class Pbt(Spec):
    """Population based training: the worst take over weights and settings of the best, with a change to the settings.

    All trainings of the exploration are the population, and take turns. Only numbers of the optimizer, of clipping and
    of the bad-batch policy change; what else was drawn (precision, model) comes over with the weights. A training whose
    settings changed did not run at its last settings from the start: its row says so in `settings_changed_at_step`, and
    maps and recommendations leave it out. One that diverges leaves the population. After a kill, what had not ended
    begins anew. Source: Jaderberg et al., arXiv:1711.09846 (2017).
    """

    kind: Literal["pbt"] = "pbt"
    interval_rate: float = Field(0.2, gt=0, lt=1)
    """Share of a training's steps between two chances of a change."""
    quantile_rate: float = Field(0.25, gt=0, le=0.5)
    """Share of the population that takes over, and that is taken from."""
    resample_rate: float = Field(0.25, ge=0, le=1)
    """Share of changes that draw a new value; the others multiply by 1.2 or 0.8, or move to a neighbour of a grid."""

    def first_action_step(self, max_steps: int, eval_every_steps: int) -> int:
        """The first evaluation at which it may act."""
        return _first_eval(self.interval_rate, max_steps, eval_every_steps)


SchedulerConfig = Annotated[Asha | Median | HyperBand | Pbt, Field(discriminator="kind")]


def mutable_dimensions(space: Space) -> dict[str, Grid | Uniform | LogUniform | Integer]:
    """The numeric dimensions that may change in the middle of a training; none that decides whether others exist."""
    deciding = {other for dimension in space.values() for other in dimension.when}
    return {
        path: dimension
        for path, dimension in space.items()
        if path.startswith(MUTABLE)
        and path not in deciding
        and isinstance(dimension, Grid | Uniform | LogUniform | Integer)
    }


def _first_eval(rate: float, max_steps: int, eval_every_steps: int) -> int:
    return math.ceil(rate * max_steps / eval_every_steps) * eval_every_steps
