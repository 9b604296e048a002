"""Steps of a training of the user's own, kept so that they can be trained again from a state before them."""

import dataclasses
import numbers
import random
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
import torch.distributed
from torch import Tensor
from torch.nn import Module, ModuleList
from torch.optim import Optimizer

from slr_models.errors import UserError
from sweep.training.snapshots import copied, num_bytes_of

MOST_BATCH_BYTES = 2**30
"""Memory of the batches that are kept."""

Told = Mapping[str, Any]
"""What a step gave: arguments of `Run.step`."""
_Batch = tuple[tuple[Any, ...], dict[str, Any]]


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
    batch: _Batch
    """What it was given."""
    autocast: tuple[tuple[str, torch.dtype], ...]
    """Devices whose autocast was on around it, and what it computes in."""


@dataclass(frozen=True)
class _State:
    step: int
    """Steps done."""
    parts: list[Any]
    gradients: list[Tensor | None]
    """Of all parameters: of a training that accumulates them over several calls."""
    modes: list[bool]
    """Whether each module trains."""
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
        self._memory = _Memory()
        self._has_failed = False
        self.changed_step: int | None = None
        """A step that changed its batch in place, so that the batch is no longer what it was; None if there is none."""
        self.is_replaying = False
        """Whether the training is over and its steps are trained again: what a step says of itself is then no news."""

    @property
    def model(self) -> Module:
        """What is trained; several models as the members of one."""
        models = [part for part in self.parts if isinstance(part, Module)]
        return models[0] if len(models) == 1 else ModuleList(models)

    @property
    def optimizers(self) -> list[Optimizer]:
        """What updates the weights."""
        found = []
        for part in self.parts:
            if isinstance(part, Optimizer):
                # Wrappers, such as accelerate's, have no hooks of their own.
                inner = getattr(part, "optimizer", None)
                found.append(inner if isinstance(inner, Optimizer) else part)
        return found

    @property
    def scalers(self) -> list[torch.amp.GradScaler]:
        """What scales losses."""
        return [part for part in self.parts if isinstance(part, torch.amp.GradScaler) and part.is_enabled()]

    @property
    def states(self) -> list[int]:
        """Steps after which the kept states were taken, oldest first."""
        return [state.step for state in self._states]

    @property
    def num_bytes(self) -> int:
        """Memory of the states."""
        return sum(num_bytes_of([state.parts, state.gradients]) for state in self._states)

    def train(self, step: int, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Told:
        """Trains a step of the training, and keeps it.

        Args:
            step: 1-based.
            args: its batch.
            kwargs: more of it.
        """
        if not self._states.maxlen:
            return self._told(self._train(*args, **kwargs))
        if self._has_failed:
            # Whoever goes on after an error left that batch out.
            self._memory.drop(self._steps.pop().batch)
        if not self._states or step > self._states[-1].step + self._every_steps:
            self._states.append(self._state(step - 1))
            self._drop_older()
        self._steps.append(KeptStep(step, _same((args, kwargs)), _autocast()))
        self._memory.add((args, kwargs))
        while self._memory.num_bytes > MOST_BATCH_BYTES and self._states:
            self._states.popleft()
            self._drop_older()
            if not self._states:
                # Each batch alone is too large.
                self._states = deque(maxlen=0)
        versions = [tensor._version for tensor in tensors_of((args, kwargs))]
        self._has_failed = True
        told = self._told(self._train(*args, **kwargs))
        self._has_failed = False
        if self._steps and versions != [t._version for t in tensors_of(self._steps[-1].batch)]:
            self.changed_step = step
        return told

    def again(self, kept: KeptStep) -> Told:
        """Trains a step once more; what it gave.

        Raises:
            UserError: that is neither a dict nor a number.
        """
        args, kwargs = _same(kept.batch)
        with ExitStack() as contexts:
            for device, dtype in kept.autocast:
                contexts.enter_context(torch.autocast(device, dtype))
            return self._told(self._train(*args, **kwargs))

    def since(self, step: int) -> list[KeptStep]:
        """The kept steps after one."""
        return [kept for kept in self._steps if kept.step > step]

    def restore(self, step: int) -> None:
        """Puts all parts where they were after a step of `states`, and what programs draw from at random."""
        self.is_replaying = True
        state = next(state for state in self._states if state.step == step)
        for part, kept in zip(self.parts, state.parts, strict=True):
            # Torch's optimizers adopt the tensors they are given, and train on in them.
            part.load_state_dict(copied(kept))
            if isinstance(part, torch.amp.GradScaler) and part.is_enabled():
                # An error between `unscale_` and `update` leaves it in the middle of a step.
                part._per_optimizer_states.clear()
        for parameter, gradient in zip(self.model.parameters(), state.gradients, strict=True):
            parameter.grad = None if gradient is None else gradient.to(parameter.device, copy=True)
        for module, trains in zip(self.model.modules(), state.modes, strict=True):
            module.training = trains
        _set_generators(state.generators)

    def forget(self) -> None:
        """Lets go of the batches and states."""
        self._states.clear()
        self._drop_older()

    def _state(self, step: int) -> _State:
        return _State(
            step,
            [copied(part.state_dict()) for part in self.parts],
            [None if p.grad is None else copied(p.grad) for p in self.model.parameters()],
            [module.training for module in self.model.modules()],
            _generators(),
        )

    def _told(self, told: Any) -> Told:
        if isinstance(told, Mapping):
            return told
        if isinstance(told, numbers.Real | np.number) or (isinstance(told, Tensor) and told.numel() == 1):
            return {"loss": told}
        raise UserError(
            f"run.snapshot: the step returned {type(told).__name__}: return what run.step takes, such as "
            f'{{"loss": loss, "grad_norm": norm}}'
        )

    def _drop_older(self) -> None:
        """Lets go of the batches from before the oldest state."""
        while self._steps and (not self._states or self._steps[0].step <= self._states[0].step):
            self._memory.drop(self._steps.popleft().batch)


class _Memory:
    """What batches take together; what several hold counts once."""

    def __init__(self) -> None:
        self._num_holders: Counter[int] = Counter()
        self.num_bytes = 0

    def add(self, batch: Any) -> None:
        for tensor in tensors_of(batch):
            place = tensor.untyped_storage().data_ptr()
            self._num_holders[place] += 1
            if self._num_holders[place] == 1:
                self.num_bytes += tensor.untyped_storage().nbytes()

    def drop(self, batch: Any) -> None:
        for tensor in tensors_of(batch):
            place = tensor.untyped_storage().data_ptr()
            self._num_holders[place] -= 1
            if not self._num_holders[place]:
                del self._num_holders[place]
                self.num_bytes -= tensor.untyped_storage().nbytes()


def tensors_of(batch: Any) -> Iterator[Tensor]:
    """All tensors of a batch, and its NumPy arrays as tensors: in mappings, lists, tuples and dataclasses."""
    if isinstance(batch, Tensor):
        yield batch
    elif isinstance(batch, np.ndarray):
        if batch.dtype.kind in "fiub" and batch.flags.writeable and all(stride >= 0 for stride in batch.strides):
            yield torch.from_numpy(batch)
    elif isinstance(batch, Mapping):
        for item in batch.values():
            yield from tensors_of(item)
    elif isinstance(batch, list | tuple):
        for item in batch:
            yield from tensors_of(item)
    elif dataclasses.is_dataclass(batch) and not isinstance(batch, type):
        for field in dataclasses.fields(batch):
            yield from tensors_of(getattr(batch, field.name))


def _same(value: Any) -> Any:
    """The same tensors in lists and dicts of their own: a step may take something out of those it is given."""
    if type(value) is dict:
        return {key: _same(item) for key, item in value.items()}
    if type(value) in (list, tuple):
        return type(value)(_same(item) for item in value)
    return value


def _autocast() -> tuple[tuple[str, torch.dtype], ...]:
    """Autocast that is on right now."""
    devices = ("cpu", "cuda") if torch.cuda.is_initialized() else ("cpu",)
    return tuple((d, torch.get_autocast_dtype(d)) for d in devices if torch.is_autocast_enabled(d))


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
