"""How much a study spends on finding out why trials went bad."""

from typing import Self

from pydantic import Field, model_validator

from slr_models.spec import Spec
from sweep.records import Outcome

REPLAYED_PER_PLANNED = 2
"""Steps that are replayed at most to explain a trial, for each of its planned steps."""


class ForensicsConfig(Spec):
    """Which trials are explained, and by how many replayed steps."""

    trials: int = Field(6, ge=0, le=100_000)
    """Trials of a study that are explained by replay as they end; 0 for none. `python -m sweep.explain` does any."""
    per_outcome: int = Field(2, ge=1, le=100_000)
    """Of these, so many of one outcome at most."""
    snapshot_every_steps: int = Field(25, ge=1)
    """Steps between snapshots of the training state that replays start from; kept in memory."""
    num_snapshots: int = Field(4, ge=1, le=1000)
    """Latest snapshots that are kept, each as large as weights and optimizer state together. Up to as many older ones
    are kept beside them, at distances that double, for troubles that are noticed late: twice this number in all."""
    retrain_steps: int = Field(300, ge=0, le=1_000_000)
    """Steps that are trained again at most from the nearest snapshot to where the replays begin; a trouble that lies
    further off stays unexplained. `python -m sweep.explain` trains as many as it takes, and says so before."""
    replay_steps: int = Field(60, ge=5, le=1_000_000)
    """Steps of one replay at most, of a training that went bad."""
    learning_replay_steps: int = Field(200, ge=20, le=1_000_000)
    """Steps of one replay at most, of a training that learned nothing: it begins at the first step, and ends as soon
    as something is learned."""
    repeats: int = Field(2, ge=1, le=100)
    """Replays of each change: the first over the same batches, the others over another order of the data."""
    max_replayed_steps: int = Field(600, ge=5, le=1_000_000)
    """Steps of all replays of one trial together at most, and never more than twice its planned steps. Changes that do
    not fit in are not tried."""

    def most_explained(self, num_trainings: int) -> int:
        """Of so many trainings, how many are explained by replays at most."""
        num_outcomes = sum(outcome.may_take_replays for outcome in Outcome)
        return min(self.trials, self.per_outcome * num_outcomes, num_trainings)

    def most_replayed(self, max_steps: int) -> int:
        """Steps of all replays of one trial together at most, given its planned steps."""
        return min(self.max_replayed_steps, REPLAYED_PER_PLANNED * max_steps)

    def most_steps(self, max_steps: int) -> int:
        """Steps that explaining one trial takes at most: to train to where the replays begin, and theirs."""
        return min(self.retrain_steps, max_steps) + self.most_replayed(max_steps)

    @model_validator(mode="after")
    def _one_replay_fits(self) -> Self:
        longest = max(self.replay_steps, self.learning_replay_steps)
        if self.max_replayed_steps < longest:
            raise ValueError(
                f"max_replayed_steps must allow one replay, which takes up to {longest} steps, but is "
                f"{self.max_replayed_steps}: raise it, or lower replay_steps and learning_replay_steps"
            )
        return self
