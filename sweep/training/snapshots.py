"""Copies of a training's state from its latest steps, to replay it from when it went bad."""

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from sweep.store import atomic_path
from sweep.training.config import TrainingConfig
from sweep.training.train import Training

_SCALER_SETTINGS = ("growth_factor", "backoff_factor", "growth_interval")


@dataclass(frozen=True)
class Snapshot:
    """All state of a training after a step; its tensors are on the CPU and shared with nothing."""

    step: int
    """Steps done; 0 is the initial model."""
    kinds: dict[str, str]
    """Of the parts of the state that depend on one: optimizer, precision, schedule, clipper and policy."""
    state: dict[str, Any]
    """A copy of `Training.state_dict()`. To load it, use `restore`: torch's optimizers adopt the tensors they are
    given, and train on in them."""

    @property
    def num_bytes(self) -> int:
        """Memory of its tensors."""
        return num_bytes_of(self.state)


def take_snapshot(training: Training) -> Snapshot:
    """Copies the state of a training. On a GPU this waits for the step in progress."""
    return Snapshot(training.step, _kinds(training.config.training), copied(training.state_dict()))


def restore(snapshot: Snapshot, training: Training, *, fresh_optimizer: bool = False) -> None:
    """Puts a training where the snapshot was taken; of the same configuration, it goes on bit-identically on a CPU.

    The training may have another configuration, as long as its model has the same weights. What a setting decides is
    as the training's own configuration says (learning rate, betas, growth of the loss scale ...); what a run had
    found is as in the snapshot (weights, moments, loss scale, running statistics), apart from the state of a part of
    another kind, which starts anew. The snapshot stays as it is and can be restored any number of times.

    Args:
        snapshot: where to go on.
        training: a training over the same data set.
        fresh_optimizer: whether the optimizer forgets its moments.
    """
    own = training.state_dict()
    kinds = _kinds(training.config.training)
    state = {key: own[key] if kinds.get(key) != snapshot.kinds.get(key) else snapshot.state[key] for key in own}
    if fresh_optimizer:
        state["optimizer"] = own["optimizer"]
    # Both hold settings beside their state.
    state["optimizer"] = {**state["optimizer"], "param_groups": own["optimizer"]["param_groups"]}
    state["precision"] = {**state["precision"], **{k: v for k, v in own["precision"].items() if k in _SCALER_SETTINGS}}
    training.load_state_dict(copied(state))


class SnapshotRing:
    """The latest snapshots of one training and fewer and fewer of its earlier ones, in memory.

    Offer it the training before the first step and after every one; it takes a copy every few steps. Beside the
    latest, it keeps one from 1 to 2 times as far back as these reach, one from 2 to 4 times, 4 to 8 times ...
    """

    def __init__(self, every_steps: int, size: int) -> None:
        """Takes one every so many steps (the initial state is one as well).

        Args:
            every_steps: steps from one to the next.
            size: latest ones that are kept, and older ones at most beside them.
        """
        self.every_steps = every_steps
        self.size = size
        self._snapshots: list[Snapshot] = []

    def offer(self, training: Training) -> None:
        """Takes a snapshot if one is due. Forgets those of steps that the training, set back, has not done yet.

        A training whose records come late may have passed the very step at which one was due.
        """
        while self._snapshots and self._snapshots[-1].step > training.step:
            self._snapshots.pop()
        newest = training.step // self.every_steps
        if not self._snapshots or newest > self._snapshots[-1].step // self.every_steps:
            self._snapshots.append(take_snapshot(training))
            self._snapshots = [s for s in self._snapshots if self._is_kept(s.step // self.every_steps, newest)]

    def _is_kept(self, index: int, newest: int) -> bool:
        """Whether the snapshot that was due as number `index` stays when the one due as number `newest` is taken."""
        age = newest - index
        if age < self.size:
            return True
        doublings = (age // self.size).bit_length() - 1
        # Ages from `size << doublings` to twice that hold exactly one multiple of it; and what is a multiple later on
        # is one now.
        return doublings < self.size and index % (self.size << doublings) == 0

    def before(self, step: int, margin_steps: int = 1) -> Snapshot | None:
        """The newest snapshot from which at least `margin_steps` steps lead to the end of `step`, if any.

        With a margin of 1 that may be the state right before the step.
        """
        return next((s for s in reversed(self._snapshots) if s.step <= step - margin_steps), None)

    @property
    def steps(self) -> list[int]:
        """Steps after which the kept snapshots were taken, oldest first."""
        return [snapshot.step for snapshot in self._snapshots]

    @property
    def num_bytes(self) -> int:
        """Memory of all of them."""
        return sum(snapshot.num_bytes for snapshot in self._snapshots)

    def save(self, path: Path) -> None:
        """Writes all snapshots to a file, atomically."""
        content = {
            "every_steps": self.every_steps,
            "size": self.size,
            "snapshots": [{"step": s.step, "kinds": s.kinds, "state": s.state} for s in self._snapshots],
        }
        with atomic_path(path) as temporary:
            torch.save(content, temporary)

    @classmethod
    def load(cls, path: Path) -> Self:
        """The ring that `save` wrote."""
        content = torch.load(path, map_location="cpu", weights_only=True)
        ring = cls(content["every_steps"], content["size"])
        ring._snapshots.extend(Snapshot(**snapshot) for snapshot in content["snapshots"])
        return ring


def _kinds(config: TrainingConfig) -> dict[str, str]:
    """The kind of each part of a training whose state only fits that kind, by the key of its state."""
    return {
        "optimizer": config.optimizer.kind,
        "precision": config.precision.kind,
        "schedule": config.schedule.kind,
        "clipper": config.clip.kind,
        "policy": config.bad_batch.kind,
    }


def copied(value: Any) -> Any:
    """A deep copy with all tensors on the CPU."""
    if isinstance(value, Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, dict):
        return {key: copied(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        items = [copied(item) for item in value]
        # A named tuple takes its fields one by one.
        return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
    return copy.deepcopy(value)


def num_bytes_of(value: Any) -> int:
    if isinstance(value, Tensor):
        return value.nbytes
    if isinstance(value, dict):
        return sum(num_bytes_of(item) for item in value.values())
    if isinstance(value, list | tuple):
        return sum(num_bytes_of(item) for item in value)
    return 0
