"""What a training of the user's own reports through: a training loop takes a `Run`, and is stopped by it.

def train(config, run):
    for batch in batches:
        ...
        run.step(loss=loss, grad_norm=norm)     # raises Stop where the run is lost
    run.result(val_loss=val_loss, accuracy=accuracy)
"""

import contextlib
import dataclasses
import math
import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from slr_models.errors import UserError
from sweep.judging.detectors import RunContext
from sweep.judging.monitor import StabilityMonitor
from sweep.own.program import entropies
from sweep.records import NAN, EvalRecord, SkipReason, StepRecord, Verdict, is_finite

if TYPE_CHECKING:
    from sweep.own.kept_steps import KeptSteps, Stateful, Told
    from sweep.training.late import LateMonitor

Metrics = dict[str, float]
VAL_LOSS = "val_loss"
LARGEST = 2**31 - 1
"""That a step or its number of samples may be."""


class Stop(BaseException):
    """Ends a training that is lost, or that nobody needs any longer. No error: let it through.

    It is no `Exception`, so that `except Exception` of a training loop does not take it.
    """


class Sink(Protocol):
    """Who hears of a run."""

    def refer(self, l_const: float, l_unif: float) -> None:
        """Losses of learning nothing."""

    def observe(self, record: StepRecord) -> str | None:
        """Takes a step; why the run is to end, where it is."""

    def evaluated(self, record: EvalRecord, metrics: Metrics) -> str | None:
        """Takes what was measured after a step; why the run is to end, where it is."""

    def ended(self, metrics: Metrics) -> None:
        """Takes what the run came to."""

    def keep(self, state: Any, step: int) -> None:
        """Keeps a state of the training."""

    def kept(self) -> tuple[Any, int] | None:
        """The state kept last, and its step; None where there is none."""


class Run:
    """One training, as its program sees it.

    | to say                          | call                                      |
    |---------------------------------|-------------------------------------------|
    | a training step was done        | `run.step(loss=..., grad_norm=...)`       |
    | something was measured meanwhile | `run.report(val_loss=..., accuracy=...)` |
    | what it came to                 | `run.result(accuracy=...)`, or return it  |
    | go on here after a kill         | `run.checkpoint(state)`, `run.restore()`  |
    | this is a step, and what it changes | `run.snapshot(step, model, optimizer)` |
    | the loss of learning nothing    | `run.references(labels=...)`              |

    `step` and `report` raise `Stop` where the run is to end. Numbers may be tensors of one element; those on a GPU are
    read a few steps late, so that the training never waits for them. A `Run()` of its own judges a training without any
    study.
    """

    def __init__(
        self,
        sink: Sink | None = None,
        *,
        seed: int = 0,
        steps: int | None = None,
        folder: Path | None = None,
        trial_id: str = "",
        snapshot_every_steps: int = 25,
        num_snapshots: int = 0,
    ) -> None:
        """A study makes one for each training.

        Args:
            sink: who hears of it; None: a monitor of its own.
            seed: for whatever is drawn at random.
            steps: how many the study plans; None where it does not say.
            folder: where the training may keep files.
            trial_id: names the training.
            snapshot_every_steps: steps between the states that `snapshot` keeps.
            num_snapshots: how many it keeps; 0: none, as where nobody asks why a training went bad.
        """
        self._sink: Sink = sink or Alone(steps)
        self.seed = seed
        self.steps = steps
        self.trial_id = trial_id
        self._folder = folder
        self._step = 0
        self._stop: str | None = None
        self._late: LateMonitor | None = None
        self._snapshots = snapshot_every_steps, num_snapshots
        self._kept_steps: KeptSteps | None = None
        self._pid = os.getpid()
        self._ticked = time.perf_counter()
        self._has_begun = False

    @property
    def should_stop(self) -> bool:
        """Whether it is to end, for a loop that looks instead of being interrupted by `Stop`."""
        return self._stop is not None

    @property
    def reason(self) -> str | None:
        """Why it is to end, in a sentence; None while it is not."""
        return self._stop

    @property
    def folder(self) -> Path:
        """A folder of this training's own, made when it is first asked for."""
        if self._folder is None:
            raise UserError("run.folder: a run outside of a study has no folder of its own")
        self._folder.mkdir(parents=True, exist_ok=True)
        return self._folder

    def stop(self, reason: str) -> None:
        """Has the run end at its next step."""
        self._stop = self._stop or reason

    def step(
        self,
        loss: Any = None,
        grad_norm: Any = None,
        *,
        step: int | None = None,
        loss_scale: Any = None,
        applied: Any = True,
        lr: float | None = None,
        num_samples: int = 0,
        params_finite: Any = True,
    ) -> None:
        """Says that a training step was done, and what it gave; what was not measured is left out.

        Args:
            loss: of the step's batch, unscaled.
            grad_norm: of the whole gradient before clipping, unscaled.
            step: counts from 1; None: one more than the last.
            loss_scale: the scale in force, with a loss scaler.
            applied: whether the weights were changed.
            lr: the learning rate.
            num_samples: of the batch.
            params_finite: False where a weight is NaN or infinite.

        Raises:
            Stop: the training is lost, or is to end for another reason.
        """
        self._check()
        now = time.perf_counter()
        number = self._step + 1 if step is None else _whole(step)
        if number <= self._step:
            raise UserError(f"run.step: step {number} comes after step {self._step}; they are to rise")
        num_samples = _whole(num_samples, "num_samples")
        self._step, self._has_begun = number, True
        time_s, self._ticked = now - self._ticked, now
        values = [_at_hand(value) for value in (loss, grad_norm, loss_scale, applied, params_finite)]
        if self._late is not None or any(hasattr(value, "detach") for value in values):
            self._step_late(number, values, lr, num_samples, time_s)
        else:
            loss, grad_norm, loss_scale, applied, params_finite = values
            record = step_record(
                number,
                loss,
                grad_norm,
                loss_scale=loss_scale,
                applied=applied,
                lr=lr,
                num_samples=num_samples,
                params_finite=params_finite,
                time_s=time_s,
            )
            self._heard(self._sink.observe(record))
        if self._stop is not None:
            raise Stop(self._stop)

    def record(self, record: StepRecord) -> None:
        """As `step`, for whoever has a whole record.

        Raises:
            Stop: the training is to end.
        """
        self._check()
        self._step, self._has_begun = _whole(record.step), True
        self._heard(self._sink.observe(record))
        if self._stop is not None:
            raise Stop(self._stop)

    def tell(self, record: StepRecord) -> bool:
        """As `record`, for the callback of a library that ends trainings by itself; whether it is to do so."""
        with contextlib.suppress(Stop):
            self.record(record)
        return self.should_stop

    def tell_validation(self, val_loss: float) -> bool:
        """As `report` of a validation loss, likewise."""
        if self._has_begun:
            with contextlib.suppress(Stop):
                self.report({VAL_LOSS: val_loss})
        return self.should_stop

    def report(self, metrics: Mapping[str, Any] | None = None, /, **more: Any) -> None:
        """Says what was measured after the latest step; `val_loss`, a loss on held-out data, is judged too.

        Raises:
            Stop: the training is to end.
        """
        measured = _metrics({**(metrics or {}), **more})
        if self._is_replayed:
            return
        self._check()
        self._read_late()
        time_s = time.perf_counter() - self._ticked
        self._heard(self._sink.evaluated(EvalRecord(self._step, measured.get(VAL_LOSS, NAN), time_s=time_s), measured))
        # What is measured between two steps is no part of either.
        self._ticked = time.perf_counter()
        if self._stop is not None:
            raise Stop(self._stop)

    def result(self, metrics: Mapping[str, Any] | None = None, /, **more: Any) -> None:
        """Says what the training came to; of several calls each adds to those before."""
        if self._is_replayed:
            return
        self._check()
        self._read_late()
        self._sink.ended(_metrics({**(metrics or {}), **more}))

    def references(
        self, *, l_const: float | None = None, l_unif: float | None = None, labels: Iterable[Any] | None = None
    ) -> None:
        """Says what a model scores that learned nothing, before the first step.

        Args:
            l_const: loss of a model that ignores its input, on the scale of the training loss.
            l_unif: loss of a uniform output.
            labels: of a classifier trained with cross entropy: the class of each training sample.
        """
        self._check()
        if self._has_begun:
            raise UserError("run.references comes before the first step: a run is judged by them from its beginning")
        found = (NAN, NAN)
        if labels is not None:
            values = labels.tolist() if hasattr(labels, "tolist") else labels
            try:
                found = entropies(list(Counter(values).values()))
            except ValueError as error:
                raise UserError(f"run.references: {error}") from error
        given = zip((l_const, l_unif), found, strict=True)
        self._sink.refer(*(other if known is None else float(known) for known, other in given))

    def checkpoint(self, state: Any) -> None:
        """Keeps a state that `restore` gives back where the study goes on after a kill.

        Args:
            state: tensors, numbers and texts, in dicts and lists: `{"model": model.state_dict(), "step": step}`.
        """
        if self._is_replayed:
            return
        self._check()
        self._read_late()
        self._sink.keep(state, self._step)

    def restore(self) -> Any:
        """The state of the last `checkpoint`, after which the steps go on; None where the training is a new one."""
        self._check()
        if self._has_begun:
            raise UserError("run.restore comes before the first step")
        found = self._sink.kept()
        if found is None:
            return None
        state, self._step = found
        self._ticked = time.perf_counter()
        return state

    def snapshot(self, step: Callable[..., Any], *parts: "Stateful") -> Callable[..., "Told"]:
        """A step that reports by itself, and of which is kept what it takes to train it again.

            def train_batch(batch):
                ...                                             # forward, backward, optimizer.step()
                return {"loss": loss, "grad_norm": norm}        # what run.step takes

            train_batch = run.snapshot(train_batch, model, optimizer)
            for batch in batches:
                train_batch(batch)                              # raises Stop where the run is lost

        Where the training goes bad, its last steps are trained again from a state before: as they were, with every
        operation watched until one is not finite, and with one thing changed (full precision, a lower rate, clipping,
        a fresh optimizer, one batch left out), so that the study can say why.

        Args:
            step: one step of the training. It is given a batch, whose tensors nothing may change later on (those on a
                GPU stay there), and returns what `run.step` takes, or the loss alone.
            parts: all that it changes, each with `state_dict` and `load_state_dict`: a model and an optimizer of torch,
                and the loss scaler, the schedule, the average of the weights, where there are some; a counter that it
                keeps elsewhere is not put back. The latest eight states are kept in the memory of the host, 25 steps
                apart (`forensics` of the study says otherwise).

        Raises:
            UserError: a part has no state, or there is no model or optimizer; it was called before.
        """
        self._check()
        if self._kept_steps is not None:
            raise UserError("run.snapshot is called once, before the first step that it is to keep")
        # Torch is there where its models are.
        from sweep.own.kept_steps import KeptSteps

        every_steps, num_snapshots = self._snapshots
        kept = self._kept_steps = KeptSteps(step, parts, every_steps=every_steps, num_snapshots=num_snapshots)

        def train(*args: Any, **kwargs: Any) -> "Told":
            self._check()
            before = self._step
            told = kept.train(before + 1, args, kwargs)
            if self._step != before:
                raise UserError("run.snapshot: the step calls run.step itself; let it return what it gave instead")
            self.step(**told)
            return told

        return train

    @property
    def kept_steps(self) -> "KeptSteps | None":
        """What `snapshot` keeps; None where it was not called."""
        return self._kept_steps

    def finish(self) -> None:
        """Reads what is still under way on a device; a study calls it."""
        self._read_late()

    @property
    def _is_replayed(self) -> bool:
        """Whether the training is over, and whoever calls is a step that is trained once more."""
        return self._kept_steps is not None and self._kept_steps.is_replaying

    def _check(self) -> None:
        if os.getpid() != self._pid:
            raise UserError(
                "a run is reported by the process that was given it, not by one that it forked: let one process report"
            )
        if self._stop is not None:
            raise Stop(self._stop)

    def _heard(self, stop: str | None) -> None:
        self._stop = self._stop or stop

    def _step_late(self, number: int, values: Sequence[Any], lr: float | None, num_samples: int, time_s: float) -> None:
        if self._late is None:
            # torch takes a second to import, and is there where there are tensors.
            from sweep.training.late import LateMonitor

            self._late_steps = _LateSteps(self._sink, self._heard)
            self._late = LateMonitor(self._late_steps)
        self._late_steps.known[number] = num_samples, time_s
        loss, grad_norm, loss_scale, applied, params_finite = values
        self._late.observe(
            number, loss, grad_norm, loss_scale=loss_scale, applied=applied, params_finite=params_finite, lr=lr
        )

    def _read_late(self) -> None:
        if self._late is not None:
            self._late.flush()


def step_record(
    step: int,
    loss: Any = None,
    grad_norm: Any = None,
    *,
    loss_scale: Any = None,
    applied: Any = True,
    lr: float | None = None,
    num_samples: int = 0,
    params_finite: Any = True,
    time_s: float = 0.0,
) -> StepRecord:
    """The record of what `Run.step` takes; of tensors on a device it waits for their numbers.

    Raises:
        UserError: one is no number.
    """
    loss, grad_norm = _number(loss, "loss"), _number(grad_norm, "grad_norm")
    reason = None
    if not applied:
        known = is_finite(loss) and is_finite(grad_norm)
        reason = SkipReason.THRESHOLD if known else SkipReason.NONFINITE
    return StepRecord(
        step=step,
        loss=loss,
        grad_norm=grad_norm,
        loss_scale=_number(loss_scale, "loss_scale"),
        applied=bool(applied),
        skip_reason=reason,
        lr=None if lr is None else float(lr),
        num_samples=num_samples,
        time_s=time_s,
        params_finite=bool(params_finite),
    )


def _at_hand(value: Any) -> Any:
    """A tensor of the CPU as its number, which need not be waited for; anything else as it is."""
    if not hasattr(value, "detach"):
        return value
    if value.numel() != 1:
        raise UserError(f"run.step: a tensor of {value.numel()} elements was given; give its mean or its norm")
    return value.item() if value.device.type == "cpu" else value


class _LateSteps:
    """What `LateMonitor` feeds: the sink, which hears of a step once its numbers are there."""

    def __init__(self, sink: Sink, heard: Callable[[str | None], None]) -> None:
        self._sink, self._heard = sink, heard
        self.known: dict[int, tuple[int, float]] = {}
        """Samples and time of the steps under way."""

    def observe(self, record: StepRecord) -> Verdict | None:
        num_samples, time_s = self.known.pop(record.step)
        self._heard(self._sink.observe(dataclasses.replace(record, num_samples=num_samples, time_s=time_s)))
        return None

    def observe_validation(self, step: int, val_loss: float) -> None:
        """Is told to the sink itself."""

    def finish(self, crash: BaseException | None = None) -> Verdict:
        """The sink tells nobody how a run ended."""
        raise AssertionError("how a run ended, its sink is told by `ended`")


class Alone:
    """A run without a study: judged, and kept nowhere."""

    def __init__(self, steps: int | None = None) -> None:
        self._steps = steps
        self.monitor = StabilityMonitor(RunContext(budget_steps=steps))
        self.metrics: Metrics = {}

    def refer(self, l_const: float, l_unif: float) -> None:
        """Losses of learning nothing."""
        context = RunContext(l_const=l_const, l_unif=l_unif, budget_steps=self._steps)
        self.monitor = StabilityMonitor(context)

    def observe(self, record: StepRecord) -> str | None:
        """Takes a step."""
        verdict = self.monitor.observe(record)
        return None if verdict is None else verdict.reason

    def evaluated(self, record: EvalRecord, metrics: Metrics) -> str | None:
        """Takes what was measured after a step."""
        if math.isfinite(record.val_loss):
            self.monitor.observe_validation(record.step, record.val_loss)
        return None

    def ended(self, metrics: Metrics) -> None:
        """Takes what the run came to."""
        self.metrics |= metrics

    def keep(self, state: Any, step: int) -> None:
        """Keeps nothing."""

    def kept(self) -> tuple[Any, int] | None:
        """Nothing is kept."""
        return None


def _whole(value: Any, name: str = "step") -> int:
    try:
        number = int(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise UserError(f"run.step: {name} is {value!r}; write a whole number") from error
    if not -LARGEST <= number <= LARGEST:
        raise UserError(
            f"run.step: {name} is {number}, beyond {LARGEST}: count updates, not what they are given (tokens, say)"
        )
    return number


def _number(value: Any, name: str) -> float | None:
    """A number as a float."""
    if value is None or type(value) is float:
        return value
    if hasattr(value, "detach"):
        value = value.detach()
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise UserError(f"run.step: {name} is {value!r}; give a number, or a tensor of one element") from error


def _metrics(given: Mapping[str, Any]) -> Metrics:
    """Results as numbers.

    Raises:
        UserError: one is none.
    """
    found: Metrics = {}
    for name, value in given.items():
        try:
            found[str(name)] = float(value)
        except (TypeError, ValueError, OverflowError, RuntimeError) as error:
            raise UserError(
                f"run: the result {name} is {value!r}; give a number, or a tensor of one element"
            ) from error
    return found
