"""Steps of a training of the user's own, kept so that they can be trained again from a state before them."""

import random
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
import torch.distributed
from torch.nn import Module, ModuleList
from torch.optim import Optimizer

from slr_models.errors import UserError
from sweep.training.snapshots import copied, num_bytes_of

MOST_BATCH_BYTES = 2**30
"""Memory of the batches that are kept."""

Told = Mapping[str, Any]
"""What a step gave: arguments of `Run.step`."""


@runtime_checkable
class Stateful(Protocol):
    """What a training changes: a model, an optimizer, a scaler, a schedule, an average of weights."""

    def state_dict(self) -> Any:
        """All of its state."""

    def load_state_dict(self, state: Any, /) -> Any:
        """Takes up a state."""


@dataclass(frozen=True)
class KeptStep:
    """One step that was trained."""

    step: int
    """1-based."""
    args: tuple[Any, ...]
    """What it was given: its batch."""
    kwargs: Mapping[str, Any]


@dataclass(frozen=True)
class _State:
    step: int
    """Steps done."""
    parts: list[Any]
    generators: dict[str, Any]


class KeptSteps:
    """A step with its parts, its latest batches, and states of the parts from before them."""

    def __init__(
        self, train: Callable[..., Any], parts: Sequence[Stateful], *, every_steps: int, num_snapshots: int
    ) -> None:
        """Keeps nothing yet.

        Args:
            train: one step; it says what it gave.
            parts: all that it changes: the model and the optimizer, and whatever else has a state.
            every_steps: steps between copies of their state.
            num_snapshots: latest copies that are kept, on the host; 0: nothing is. Fewer, where the batches since take
                more than a GiB; none of a training on several processes.

        Raises:
            UserError: a part has no state, or there is no model or no optimizer of torch among them.
        """
        for part in parts:
            if not isinstance(part, Stateful):
                raise UserError(
                    f"run.snapshot: {type(part).__name__} has no state_dict() and load_state_dict(): give what the "
                    f"step changes, such as run.snapshot(step, model, optimizer, scaler)"
                )
        for kind, name in ((Module, "model (torch.nn.Module)"), (Optimizer, "optimizer (torch.optim.Optimizer)")):
            if not any(isinstance(part, kind) for part in parts):
                raise UserError(
                    f"run.snapshot: there is no {name} among what was given: run.snapshot(step, model, optimizer)"
                )
        self._train, self.parts = train, tuple(parts)
        self._every_steps = every_steps
        # On several processes a step waits for the others, which are not there when it is trained again.
        is_alone = not torch.distributed.is_available() or not torch.distributed.is_initialized()
        self._states: deque[_State] = deque(maxlen=num_snapshots if is_alone else 0)
        self._steps: deque[KeptStep] = deque()
        self._num_batch_bytes = 0

    @property
    def model(self) -> Module:
        """What is trained; several models as the members of one."""
        models = [part for part in self.parts if isinstance(part, Module)]
        return models[0] if len(models) == 1 else ModuleList(models)

    @property
    def optimizers(self) -> list[Optimizer]:
        """What updates the weights."""
        return [part for part in self.parts if isinstance(part, Optimizer)]

    @property
    def scalers(self) -> list[torch.amp.GradScaler]:
        """What scales losses."""
        return [part for part in self.parts if isinstance(part, torch.amp.GradScaler)]

    @property
    def states(self) -> list[int]:
        """Steps after which the kept states were taken, oldest first."""
        return [state.step for state in self._states]

    @property
    def num_bytes(self) -> int:
        """Memory of the states."""
        return sum(num_bytes_of(state.parts) for state in self._states)

    def train(self, step: int, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Told:
        """Trains a step of the training, and keeps it.

        Args:
            step: 1-based.
            args: its batch.
            kwargs: more of it.
        """
        if self._states.maxlen and (not self._states or step > self._states[-1].step + self._every_steps):
            self._states.append(_State(step - 1, [copied(part.state_dict()) for part in self.parts], _generators()))
            self._drop_older()
        if self._states:
            self._steps.append(KeptStep(step, args, kwargs))
            self._num_batch_bytes += num_bytes_of([args, dict(kwargs)])
            while self._num_batch_bytes > MOST_BATCH_BYTES and self._states:
                self._states.popleft()
                self._drop_older()
        return self.again(args, kwargs)

    def _drop_older(self) -> None:
        """Lets go of the batches from before the oldest state."""
        while self._steps and (not self._states or self._steps[0].step <= self._states[0].step):
            dropped = self._steps.popleft()
            self._num_batch_bytes -= num_bytes_of([dropped.args, dict(dropped.kwargs)])

    def again(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Told:
        """Trains a step with a batch; what it gave.

        Raises:
            UserError: that is neither a dict nor a number.
        """
        told = self._train(*args, **kwargs)
        if isinstance(told, Mapping):
            return told
        if isinstance(told, int | float) or (hasattr(told, "numel") and told.numel() == 1):
            return {"loss": told}
        raise UserError(
            f"run.snapshot: the step returned {type(told).__name__}: return what run.step takes, such as "
            f'{{"loss": loss, "grad_norm": norm}}'
        )

    def since(self, step: int) -> list[KeptStep]:
        """The kept steps after one."""
        return [kept for kept in self._steps if kept.step > step]

    def restore(self, step: int) -> None:
        """Puts all parts where they were after a step of `states`, and what programs draw from at random."""
        state = next(state for state in self._states if state.step == step)
        for part, kept in zip(self.parts, state.parts, strict=True):
            # Torch's optimizers adopt the tensors they are given, and train on in them.
            part.load_state_dict(copied(kept))
            if isinstance(part, Module):
                # No part of a state; what a broken step left would be added to.
                part.zero_grad(set_to_none=True)
        _set_generators(state.generators)

    def forget(self) -> None:
        """Lets go of the batches and states."""
        self._states.clear()
        self._drop_older()


def _generators() -> dict[str, Any]:
    on_gpus = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else None
    return {
        "python": random.getstate(),
        "numpy": np.random.get_state(),
        "torch": torch.get_rng_state(),
        "cuda": on_gpus,
    }


def _set_generators(states: Mapping[str, Any]) -> None:
    random.setstate(states["python"])
    np.random.set_state(states["numpy"])
    torch.set_rng_state(states["torch"])
    if states["cuda"] is not None:
        torch.cuda.set_rng_state_all(states["cuda"])
