"""Learning-rate schedules, as functions of the step and, for one of them, of the validation loss.

Every schedule warms up linearly: with `warmup_steps` = n, update number k <= n uses k / n of the base rate
(one_cycle rises along a cosine instead). `lr(step)` counts from 0: `step` updates were attempted before
this one. With `count: applied` those that were skipped do not count, neither for the warm-up nor for what follows,
so that a schedule with an end (cosine, one_cycle) may not reach it.
"""

import math
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from typing import Annotated, Any, Literal, Protocol

from pydantic import Field

from slr_models.errors import SettingError
from slr_models.spec import Spec


class Schedule(Protocol):
    """The learning rate of one training."""

    def lr(self, step: int) -> float:
        """Learning rate of the update that follows `step` earlier attempts; past the last step it stays."""

    def observe_step(self, step: int, applied: bool) -> None:
        """Takes note of what came of attempt number `step`, from 1 on, in their order; may come late."""

    def observe_eval(self, val_loss: float) -> None:
        """Takes note of an evaluation; NaN and infinite losses count as no improvement."""

    def state_dict(self) -> dict[str, Any]:
        """State to continue from."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continues from `state_dict()` of the same configuration."""


class FixedSchedule:
    """A schedule that depends on the step alone."""

    def __init__(self, lr: Callable[[int], float]) -> None:
        self._lr = lr

    def lr(self, step: int) -> float:
        return self._lr(step)

    def observe_step(self, step: int, applied: bool) -> None:
        pass

    def observe_eval(self, val_loss: float) -> None:
        pass

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        pass


class _PlateauSchedule:
    """Multiplies the rate by `factor` after `patience_evals` evaluations in a row without a new best loss."""

    def __init__(self, lr: Callable[[int], float], factor: float, patience_evals: int) -> None:
        self._lr = lr
        self._factor = factor
        self._patience_evals = patience_evals
        self._best = math.inf
        self._num_without_best = 0
        self._num_reductions = 0

    def lr(self, step: int) -> float:
        return self._lr(step) * self._factor**self._num_reductions

    def observe_step(self, step: int, applied: bool) -> None:
        pass

    def observe_eval(self, val_loss: float) -> None:
        if math.isfinite(val_loss) and val_loss < self._best:
            self._best = val_loss
            self._num_without_best = 0
            return
        self._num_without_best += 1
        if self._num_without_best == self._patience_evals:
            self._num_reductions += 1
            self._num_without_best = 0

    def state_dict(self) -> dict[str, Any]:
        return {
            "best": self._best,
            "num_without_best": self._num_without_best,
            "num_reductions": self._num_reductions,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._best = state["best"]
        self._num_without_best = state["num_without_best"]
        self._num_reductions = state["num_reductions"]


class _AppliedSchedule:
    """A schedule whose steps are the applied ones.

    A skipped step is left out of the count `lag_steps` steps after it, also where it is known earlier: rates do not
    depend on who has looked.
    """

    def __init__(self, schedule: Schedule, lag_steps: int) -> None:
        self._schedule = schedule
        self._lag_steps = lag_steps
        self._num_skipped = 0
        self._skipped: deque[int] = deque()
        """Those that are not in that number yet."""

    def lr(self, step: int) -> float:
        due = sum(skipped <= step - self._lag_steps for skipped in self._skipped)
        return self._schedule.lr(step - self._num_skipped - due)

    def observe_step(self, step: int, applied: bool) -> None:
        if not applied:
            self._skipped.append(step)
        while self._skipped and self._skipped[0] <= step - self._lag_steps:
            self._skipped.popleft()
            self._num_skipped += 1

    def observe_eval(self, val_loss: float) -> None:
        self._schedule.observe_eval(val_loss)

    def state_dict(self) -> dict[str, Any]:
        return {
            "num_skipped": self._num_skipped,
            "skipped": list(self._skipped),
            "schedule": self._schedule.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._num_skipped = state["num_skipped"]
        self._skipped = deque(state["skipped"])
        self._schedule.load_state_dict(state["schedule"])


class _ScheduleSpec(Spec, ABC):
    """What all schedules have."""

    count: Literal["steps", "applied"] = "steps"
    """What moves the schedule on: every step, or applied updates alone, so that skipped ones do not eat the warm-up. On
    a GPU, which is not waited for, a skipped step counts until it is read, four steps later."""

    def build(self, base_lr: float, max_steps: int, lag_steps: int = 0) -> Schedule:
        """Makes the schedule of one training.

        Args:
            base_lr: rate that its shares are of.
            max_steps: length of the training, in steps.
            lag_steps: steps after which `observe_step` has heard of a step.

        Raises:
            SettingError: the warm-up does not end within the training.
        """
        schedule = self._by_steps(base_lr, max_steps)
        return _AppliedSchedule(schedule, lag_steps) if self.count == "applied" else schedule

    @abstractmethod
    def _by_steps(self, base_lr: float, max_steps: int) -> Schedule:
        """As `build`, where every step counts."""


class Constant(_ScheduleSpec):
    """The base rate throughout, after the warm-up."""

    kind: Literal["constant"] = "constant"
    warmup_steps: int = Field(default=0, ge=0, le=1_000_000_000)
    """Updates of the linear rise to the base rate."""

    def _by_steps(self, base_lr: float, max_steps: int) -> Schedule:
        _require_warmup_ends(self.warmup_steps, max_steps)
        return FixedSchedule(lambda step: base_lr * _warmup(step, self.warmup_steps))


class Cosine(_ScheduleSpec):
    """Half a cosine from the base rate down to `final_ratio` of it, reached at the last step."""

    kind: Literal["cosine"] = "cosine"
    warmup_steps: int = Field(default=0, ge=0, le=1_000_000_000)
    """Updates of the linear rise to the base rate."""
    final_ratio: float = Field(default=0.0, ge=0, lt=1)
    """Rate of the last step, as a share of the base rate."""

    def _by_steps(self, base_lr: float, max_steps: int) -> Schedule:
        _require_warmup_ends(self.warmup_steps, max_steps)
        last_of_warmup = max(self.warmup_steps - 1, 0)

        def lr(step: int) -> float:
            if step < self.warmup_steps:
                return base_lr * _warmup(step, self.warmup_steps)
            return base_lr * _cosine(1.0, self.final_ratio, step - last_of_warmup, max_steps - 1 - last_of_warmup)

        return FixedSchedule(lr)


class OneCycle(_ScheduleSpec):
    """One rise and one fall, both along a cosine (Smith & Topin 2018); defaults as PyTorch's OneCycleLR."""

    kind: Literal["one_cycle"] = "one_cycle"
    warmup_steps: int = Field(ge=2, le=1_000_000_000)
    """Updates of the rise; the last of them has the base rate, the peak."""
    initial_ratio: float = Field(default=0.04, gt=0, lt=1)
    """Rate of the first step, as a share of the base rate."""
    final_ratio: float = Field(default=4e-6, ge=0, lt=1)
    """Rate of the last step, as a share of the base rate."""

    def _by_steps(self, base_lr: float, max_steps: int) -> Schedule:
        _require_warmup_ends(self.warmup_steps, max_steps)
        peak = self.warmup_steps - 1

        def lr(step: int) -> float:
            if step <= peak:
                return base_lr * _cosine(self.initial_ratio, 1.0, step, peak)
            return base_lr * _cosine(1.0, self.final_ratio, step - peak, max_steps - 1 - peak)

        return FixedSchedule(lr)


class Plateau(_ScheduleSpec):
    """The base rate, cut each time the validation loss stops improving."""

    kind: Literal["plateau"] = "plateau"
    warmup_steps: int = Field(default=0, ge=0, le=1_000_000_000)
    """Updates of the linear rise to the base rate."""
    factor: float = Field(default=0.5, gt=0, lt=1)
    """Factor of each cut."""
    patience_evals: int = Field(default=3, ge=1, le=1_000_000)
    """Evaluations in a row without a new best loss that bring a cut."""

    def _by_steps(self, base_lr: float, max_steps: int) -> Schedule:
        _require_warmup_ends(self.warmup_steps, max_steps)
        return _PlateauSchedule(
            lambda step: base_lr * _warmup(step, self.warmup_steps), self.factor, self.patience_evals
        )


class WarmupStableDecay(_ScheduleSpec):
    """The base rate for most of the training, then a fall over its last part (WSD; Hu et al., MiniCPM, 2024)."""

    kind: Literal["wsd"] = "wsd"
    warmup_steps: int = Field(default=0, ge=0, le=1_000_000_000)
    """Updates of the linear rise to the base rate."""
    decay_rate: float = Field(default=0.2, gt=0, lt=1)
    """Share of the steps over which the rate falls."""
    shape: Literal["linear", "one_minus_sqrt"] = "linear"
    """How it falls: evenly, or as 1 - sqrt of the way (Haegele et al. 2024)."""
    final_ratio: float = Field(default=0.0, ge=0, lt=1)
    """Rate of the last step, as a share of the base rate."""

    def _by_steps(self, base_lr: float, max_steps: int) -> Schedule:
        _require_warmup_ends(self.warmup_steps, max_steps)
        # The last step before the fall; the warm-up comes first.
        last = max(max_steps - 1 - max(round(self.decay_rate * max_steps), 1), self.warmup_steps - 1, 0)

        def lr(step: int) -> float:
            if step <= last:
                return base_lr * _warmup(step, self.warmup_steps)
            way = min(1.0, (step - last) / (max_steps - 1 - last))
            left = 1.0 - (math.sqrt(way) if self.shape == "one_minus_sqrt" else way)
            return base_lr * (self.final_ratio + (1.0 - self.final_ratio) * left)

        return FixedSchedule(lr)


ScheduleConfig = Annotated[Constant | Cosine | OneCycle | Plateau | WarmupStableDecay, Field(discriminator="kind")]


def _warmup(step: int, warmup_steps: int) -> float:
    return min(1.0, (step + 1) / warmup_steps) if warmup_steps > 0 else 1.0


def _cosine(start: float, end: float, step: int, num_steps: int) -> float:
    """`start` at step 0, `end` from `num_steps` on; a training of one step has its whole rate."""
    progress = min(1.0, step / max(num_steps, 1))
    return end + (start - end) * 0.5 * (1.0 + math.cos(math.pi * progress))


def _require_warmup_ends(warmup_steps: int, max_steps: int) -> None:
    if warmup_steps >= max_steps:
        raise SettingError(
            f"`warmup_steps` must be below the number of training steps, but {warmup_steps} >= {max_steps}; "
            "the base learning rate would not be reached: shorten the warm-up or train longer."
        )
