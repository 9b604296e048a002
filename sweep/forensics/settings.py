"""How much a study spends on finding out why trials went bad."""

from pydantic import Field

from slr_models.spec import Spec


class ForensicsConfig(Spec):
    """Which trials are explained, and by how many replayed steps."""

    trials: int = Field(6, ge=0)
    """Trials of a study that are explained by replay as they end; 0 for none. `python -m sweep.explain` does any."""
    per_outcome: int = Field(2, ge=1)
    """Of these, so many of one outcome at most."""
    snapshot_every_steps: int = Field(25, ge=1)
    """Steps between snapshots of the training state that replays start from; kept in memory."""
    num_snapshots: int = Field(4, ge=1)
    """Latest snapshots that are kept, each as large as weights and optimizer state together."""
    replay_steps: int = Field(60, ge=5)
    """Steps of one replay at most, of a training that went bad."""
    learning_replay_steps: int = Field(200, ge=20)
    """Steps of one replay at most, of a training that learned nothing: it begins at the first step, and ends as soon
    as something is learned."""
    repeats: int = Field(2, ge=1)
    """Replays of each change: the first over the same batches, the others over another order of the data."""
