"""Why a training of the user's own broke: its last steps are trained again from a kept state, with one thing changed.

The changes are those of `changes.py` that need no knowledge of a program's settings, smallest first:

    refusing non-finite gradients < full precision < clipping < LR / 10 < LR / 100 < LR / 1000 < fresh optimizer state
    < one batch left out

Where half precision is seen to overflow, full precision comes first. An optimizer that begins anew puts off many a
divergence of a high learning rate; so its state is to blame only where lower rates do not help. A replay takes the
kept batches again from the first where they end, so that a change which only puts the trouble off is no rescue.
"""

import dataclasses
import math
import random
import statistics
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.optim import Optimizer

from sweep.forensics.counterfactuals import END_STEPS, Judge, level
from sweep.forensics.explaining import (
    SUSPECT_STEPS_FINITE,
    TRACE_LEAD_STEPS,
    TRACE_TAIL_STEPS,
    half_cause,
)
from sweep.forensics.nonfinite import all_finite
from sweep.forensics.sentences import outcomes, overflow, what_happened, where
from sweep.forensics.settings import ForensicsConfig
from sweep.forensics.trace_ops import OpTrace, trace_call
from sweep.forensics.trouble import Trouble, find_trouble, is_sound, jump_step, survival_judge
from sweep.own.handle import Stop, step_record
from sweep.own.kept_steps import KeptStep, KeptSteps, tensors_of
from sweep.records import NAN, Cause, Counterfactual, Explanation, Outcome, StepRecord, Verdict, is_finite
from sweep.wording import first_line, number

LARGEST_LR_POWER = 3
"""Powers of ten by which a learning rate is lowered at most."""
SPIKE_FACTOR = 3.0
"""A gradient norm above this multiple of the usual one is worth a try to clip."""


@dataclass(frozen=True)
class _Change:
    """One thing that a replay does in another way."""

    name: str
    cause: Cause
    within: Callable[[], AbstractContextManager[Any]]
    """What does it, for the time of a replay."""
    dropped_step: int | None = None
    fresh_optimizer: bool = False


@dataclass
class _Seen:
    """What the unchanged replay showed."""

    norms: list[float] = field(default_factory=list)
    """Of the gradients at each update, after clipping."""
    halves: set[torch.dtype] = field(default_factory=set)
    """Half precisions that autocast computed in."""
    bad_gradient: bool = False
    """Whether an update was made with one that was not finite."""


def explain_steps(
    kept: KeptSteps,
    records: Sequence[StepRecord],
    verdict: Verdict,
    *,
    l_const: float,
    l_unif: float,
    settings: ForensicsConfig,
) -> Explanation | None:
    """Says why a training broke; None where its kept steps do not show it.

    Afterwards the training's model and optimizer are in some other state.

    Args:
        kept: its latest steps.
        records: of all its steps; at least one.
        verdict: how it was judged.
        l_const: zero-information loss; NaN if unknown.
        l_unif: loss of a uniform output; NaN if unknown.
        settings: how much may be spent.
    """
    trouble = find_trouble(records, verdict)
    if trouble.learns_nothing or not kept.states:
        return None
    margin = SUSPECT_STEPS_FINITE if verdict.outcome is Outcome.DIVERGED_LOSS else 5
    known = [step for step in kept.states if step < trouble.onset_step]
    if not known or not kept.since(known[-1]):
        return None
    # The newest one well before the trouble, else the oldest that there is.
    start = next((step for step in reversed(known) if step <= trouble.onset_step - margin), known[0])
    replays = _Replays(kept, start, trouble, settings, survival_judge(trouble, l_const, l_unif))
    bad = _bad_batch(replays.steps, trouble.first_bad_step)
    if bad is not None:
        text = f"{Cause.NONFINITE_FEATURES}: the batch of step {bad.step} holds values that are NaN or infinite"
        return Explanation(Cause.NONFINITE_FEATURES, text, snapshot_step=start)
    happened = what_happened(trouble, verdict, records[-1].step, l_const)
    if kept.changed_step is not None:
        return _not_again(happened, f"step {kept.changed_step} changed its batch in place")
    trace, seen = replays.reproduce(_watched(records, trouble))
    if replays.error is not None:
        return _not_again(happened, f"{type(replays.error).__name__}: {first_line(replays.error)}")
    if replays.results[0].rescues:
        # What broke it does not lie in what was kept.
        return None
    overflows = trace is not None and math.isfinite(trace.full_absmax)
    rescue = replays.first_rescue(_changes(kept, seen, trouble, start, overflows=overflows))
    if rescue is None:
        rescue = replays.guilty_batch(_single_steps(records, verdict, trouble, start))
    return _concluded(replays, rescue, trace, happened, seen, verdict)


def _not_again(happened: str, why: str) -> Explanation:
    text = f"{Cause.UNKNOWN}: {happened}"
    return Explanation(Cause.UNKNOWN, text, (f"its last steps cannot be trained again: {why}",))


class _Replays:
    """Replays from one state, and what they cost."""

    def __init__(self, kept: KeptSteps, start: int, trouble: Trouble, settings: ForensicsConfig, judge: Judge) -> None:
        self.kept, self.start = kept, start
        self.steps: list[KeptStep] = kept.since(start)
        self.results: list[Counterfactual] = []
        self.num_replayed_steps = 0
        self.is_spent = False
        self.error: BaseException | None = None
        """What the unchanged steps failed with, where those of the training did not."""
        self._settings, self._judge = settings, judge
        beyond = trouble.first_bad_step - start + settings.replay_steps // 2
        self._length = max(len(self.steps), min(beyond, settings.replay_steps))
        self.rate = NAN
        """The learning rate at the start."""

    def reproduce(self, watched: range) -> tuple[OpTrace | None, _Seen]:
        """The steps as they were, with every operation of some watched until one is not finite."""
        seen = _Seen()
        found: list[OpTrace] = []
        self.kept.restore(self.start)
        self.rate = float(self.kept.optimizers[0].param_groups[0]["lr"])
        with _looking(self.kept.optimizers, seen), _autocast(seen.halves):
            rescued, records = self._train(_SAME, 0, watched, found)
        self._note(_SAME.name, [rescued], [records])
        return (found[0] if found else None), seen

    def first_rescue(self, changes: Iterator[_Change]) -> _Change | None:
        """The first change that rescues."""
        return next((change for change in changes if self.attempt(change)), None)

    def guilty_batch(self, steps: Sequence[int]) -> _Change | None:
        """Leaving out the batch of one step, where that rescues and other orders of the batches survive as well."""
        for step in steps:
            change = _Change(f"drop step {step}", Cause.SINGLE_BATCH, ExitStack, dropped_step=step)
            if not self._affords() or not self.attempt(change, repeats=1):
                continue
            rescued, records = self._train(_SAME, 1)
            own = self.results[0]
            self.results[0] = dataclasses.replace(
                own, num_rescued=own.num_rescued + int(rescued), num_repeats=own.num_repeats + 1
            )
            if rescued:
                return change
        return None

    def attempt(self, change: _Change, repeats: int | None = None) -> bool:
        """Whether most replays with a change are rescued, of the batches in their order and in others."""
        repeats = repeats or self._settings.repeats
        rescued: list[bool] = []
        runs: list[list[StepRecord]] = []
        while len(rescued) < repeats and 2 * (len(rescued) - sum(rescued)) < repeats and self._affords():
            with change.within():
                result, records = self._train(change, len(rescued))
            rescued.append(result)
            runs.append(records)
        return bool(rescued) and self._note(change.name, rescued, runs).rescues

    def _affords(self) -> bool:
        affords = self.num_replayed_steps + self._length <= self._settings.max_replayed_steps
        self.is_spent |= not affords
        return affords

    def _train(
        self, change: _Change, order: int, watched: range = range(0), found: list[OpTrace] | None = None
    ) -> tuple[bool, list[StepRecord]]:
        """Whether a replay is rescued, and its records."""
        kept, steps = self.kept, list(self.steps)
        if order:
            random.Random(order).shuffle(steps)
        kept.restore(self.start)
        if change.fresh_optimizer:
            for optimizer in kept.optimizers:
                optimizer.state.clear()
        records: list[StepRecord] = []
        for index in range(self._length):
            step, batch = self.start + index + 1, steps[index % len(steps)]
            # In the order of the training a batch is that of its step.
            if change.dropped_step is not None and batch.step == change.dropped_step:
                continue
            try:
                if found is not None and not found and step in watched:
                    with _uncompiled():
                        trace = trace_call(kept.model, kept.optimizers[0], step, lambda: self._step(step, batch))  # noqa: B023
                    if trace.first is not None:
                        found.append(trace)
                    records.append(trace.record)
                else:
                    records.append(self._step(step, batch))
            except (Exception, Stop) as error:
                if change is _SAME and not order and batch is not steps[-1]:
                    self.error = error
                # Else it is the training's own, and tells no more than that this is no rescue.
                self.num_replayed_steps += len(records)
                return False, records
            rescued = self._judge(records, index == self._length - 1)
            if rescued is not None:
                break
        else:
            # The last batch was left out.
            rescued = bool(records) and bool(self._judge(records, True))
        self.num_replayed_steps += len(records)
        return bool(rescued), records

    def _step(self, step: int, batch: KeptStep) -> StepRecord:
        told = {name: value for name, value in self.kept.again(batch).items() if name != "step"}
        return step_record(step, **told)

    def _note(self, name: str, rescued: Sequence[bool], runs: Sequence[Sequence[StepRecord]]) -> Counterfactual:
        ends = [level(records[-END_STEPS:]) for records in runs]
        finite = [end for end in ends if math.isfinite(end)]
        result = Counterfactual(name, sum(rescued), len(rescued), statistics.median(finite) if finite else NAN)
        self.results.append(result)
        return result


_SAME = _Change("same", Cause.UNKNOWN, ExitStack)


def _changes(kept: KeptSteps, seen: _Seen, trouble: Trouble, start: int, *, overflows: bool) -> Iterator[_Change]:
    optimizers = kept.optimizers
    full = _Change("full precision", Cause.HALF_OVERFLOW, lambda: _in_full(kept))
    is_half = bool(seen.halves)
    if is_half and overflows:
        yield full
    if seen.bad_gradient and not kept.scalers:
        yield _Change("skip non-finite steps", Cause.BAD_STEP_APPLIED, lambda: _refusing(optimizers))
    if is_half and not overflows:
        yield full
    usual = _usual(seen.norms, trouble)
    if max(seen.norms, default=0.0) > SPIKE_FACTOR * usual:
        yield _Change(f"clip norm {number(usual)}", Cause.NO_CLIPPING, lambda: _clipping(optimizers, usual))
    for power in range(1, LARGEST_LR_POWER + 1):
        factor = 10.0**-power
        yield _Change(
            f"LR / {10**power}",
            Cause.LR_TOO_HIGH,
            lambda factor=factor: _slower(optimizers, factor),  # type: ignore[misc]
        )
    if start > 0 and any(optimizer.state for optimizer in optimizers):
        yield _Change("fresh optimizer state", Cause.OPTIMIZER_STATE, ExitStack, fresh_optimizer=True)


def _usual(norms: Sequence[float], trouble: Trouble) -> float:
    """The usual gradient norm before the trouble; infinite where nobody knows."""
    if math.isfinite(trouble.usual_norm):
        return trouble.usual_norm
    finite = [norm for norm in norms if math.isfinite(norm)][:END_STEPS]
    return statistics.median(finite) if finite else math.inf


def _watched(records: Sequence[StepRecord], trouble: Trouble) -> range:
    """Steps in which a value may become non-finite; none where none of the training's own did."""
    since = trouble.first_bad_step - TRACE_LEAD_STEPS
    bad = next((r.step for r in records if r.step >= since and not is_sound(r)), None)
    return range(0) if bad is None else range(bad - TRACE_LEAD_STEPS, bad + TRACE_TAIL_STEPS + 1)


def _bad_batch(steps: Sequence[KeptStep], first_bad: int) -> KeptStep | None:
    """The batch at the trouble, or the one before, if a value of it is not finite."""
    for kept in steps:
        if first_bad - 1 <= kept.step <= first_bad:
            if not all_finite(t for t in tensors_of(kept.batch) if t.is_floating_point()):
                return kept
    return None


def _single_steps(records: Sequence[StepRecord], verdict: Verdict, trouble: Trouble, start: int) -> list[int]:
    """Steps whose batch alone may have set it off, the likelier one first."""
    step = trouble.first_bad_step
    if verdict.outcome is Outcome.DIVERGED_LOSS:
        step = jump_step(records, step, SUSPECT_STEPS_FINITE)
    return [one for one in (step, step - 1) if one > start]


def _concluded(
    replays: _Replays, rescue: _Change | None, trace: OpTrace | None, happened: str, seen: _Seen, verdict: Verdict
) -> Explanation:
    cause = Cause.UNKNOWN if rescue is None else rescue.cause
    first = trace.first if trace is not None else None
    head = f"{cause}: {happened}"
    if cause is Cause.HALF_OVERFLOW:
        if trace is not None and first is not None and torch.float16 in seen.halves:
            cause = half_cause(trace)
            head = f"{cause} ({overflow(trace)})"
        else:
            cause = Cause.HALF_PRECISION
            head = f"{cause}: {happened}"
    elif cause is Cause.LR_TOO_HIGH:
        head = f"{cause}: with {number(replays.rate)} {happened}"
    elif cause is Cause.SINGLE_BATCH:
        head = f"{cause}, and other orders of the batches survive: {happened}"
    name = None if rescue is None else rescue.name
    tried = outcomes(replays.results, name, replays.start, learns_nothing=False, l_const=NAN)
    text = f"{head}; {tried}" if tried else head
    if rescue is None and replays.is_spent:
        text += f"; not looked further after {replays.num_replayed_steps} replayed steps"
    told = [f"the first value that was not finite: {where(first)}"] if first is not None else []
    return Explanation(
        cause=cause,
        text=text,
        details=(*told, verdict.reason),
        first_nonfinite=first,
        counterfactuals=tuple(replays.results),
        snapshot_step=replays.start,
        num_replayed_steps=replays.num_replayed_steps,
    )


# What the changes do, for the time of a replay.


def _gradients(optimizer: Optimizer) -> list[torch.Tensor]:
    return [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]


@contextmanager
def _at_update(
    optimizers: Sequence[Optimizer],
    before: Callable[[Optimizer], None],
    after: Callable[[Optimizer], None] | None = None,
) -> Iterator[None]:
    """Within, does something right before each update of the weights, and after it."""
    with ExitStack() as installed:
        for optimizer in optimizers:
            handles = [optimizer.register_step_pre_hook(lambda one, _args, _kwargs: before(one))]
            if after is not None:
                handles.append(optimizer.register_step_post_hook(lambda one, _args, _kwargs: after(one)))
            for handle in handles:
                installed.callback(handle.remove)
        yield


def _looking(optimizers: Sequence[Optimizer], seen: _Seen) -> AbstractContextManager[None]:
    def look(optimizer: Optimizer) -> None:
        gradients = _gradients(optimizer)
        norm = torch.nn.utils.get_total_norm(gradients).item() if gradients else 0.0
        seen.norms.append(norm / _scale(optimizer))
        seen.bad_gradient |= not math.isfinite(norm) and not all_finite(gradients)

    return _at_update(optimizers, look)


def _scale(optimizer: Optimizer) -> float:
    """By how much the gradients are scaled yet: fused optimizers take the scale away themselves."""
    scale = getattr(optimizer, "grad_scale", None)
    return 1.0 if scale is None else float(scale)


def _clipping(optimizers: Sequence[Optimizer], max_norm: float) -> AbstractContextManager[None]:
    def clip(optimizer: Optimizer) -> None:
        gradients = _gradients(optimizer)
        norm = torch.nn.utils.get_total_norm(gradients)
        bound = max_norm * _scale(optimizer)
        if is_finite(norm.item()) and norm.item() > bound:
            torch._foreach_mul_(gradients, bound / norm.item())

    return _at_update(optimizers, clip)


def _refusing(optimizers: Sequence[Optimizer]) -> AbstractContextManager[None]:
    def refuse(optimizer: Optimizer) -> None:
        if not all_finite(_gradients(optimizer)):
            # Parameters without a gradient stay as they are.
            optimizer.zero_grad(set_to_none=True)

    return _at_update(optimizers, refuse)


def _slower(optimizers: Sequence[Optimizer], factor: float) -> AbstractContextManager[None]:
    plain: dict[Optimizer, list[Any]] = {}

    def slow(optimizer: Optimizer) -> None:
        plain[optimizer] = [group["lr"] for group in optimizer.param_groups]
        for group in optimizer.param_groups:
            group["lr"] = group["lr"] * factor

    def undo(optimizer: Optimizer) -> None:
        for group, rate in zip(optimizer.param_groups, plain[optimizer], strict=True):
            group["lr"] = rate

    return _at_update(optimizers, slow, undo)


def _uncompiled() -> AbstractContextManager[object]:
    """Within, nothing compiled runs: it would be compiled anew, with the watcher in it."""
    # Seconds to import; where nobody has, nothing is compiled.
    return torch.compiler.set_stance("force_eager") if "torch._dynamo" in sys.modules else nullcontext()


@contextmanager
def _autocast(seen: set[torch.dtype], *, allowed: bool = True) -> Iterator[None]:
    """Within, notes what autocast computes in, and keeps it from doing so unless that is allowed."""
    plain = torch.autocast.__enter__
    silenced: list[torch.autocast] = []

    def enter(self: torch.autocast) -> Any:
        if self._enabled:
            seen.add(self.fast_dtype)
            if not allowed:
                self._enabled = False
                silenced.append(self)
        return plain(self)  # type: ignore[no-untyped-call]

    torch.autocast.__enter__ = enter  # type: ignore[method-assign]
    try:
        yield
    finally:
        torch.autocast.__enter__ = plain  # type: ignore[method-assign]
        for context in silenced:
            context._enabled = True


@contextmanager
def _in_full(kept: KeptSteps) -> Iterator[None]:
    """Within, nothing is computed in half precision and no loss is scaled."""
    scalers = [scaler for scaler in kept.scalers if scaler.is_enabled()]
    for scaler in scalers:
        scaler._enabled = False
    try:
        with _autocast(set(), allowed=False):
            yield
    finally:
        for scaler in scalers:
            scaler._enabled = True
