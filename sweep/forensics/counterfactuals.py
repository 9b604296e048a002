"""Counterfactual replays: the same steps from the same state with one thing changed, several times over.

The first repeat of a change takes the batches of the training itself, further ones take the data in another order, so
that a change which only helped by chance is told from one that helps.
"""

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import groupby

import torch

from slr_models.data.batch import Dataset
from sweep.forensics.changes import Change, same
from sweep.forensics.trace_ops import OpTrace, trace_step
from sweep.records import NAN, Counterfactual, StepRecord, is_finite
from sweep.training.config import TrialConfig
from sweep.training.snapshots import Snapshot, restore, take_snapshot
from sweep.training.train import Training

ORDER_SEED_OFFSET = 20_000
"""Orders of the data in further repeats are seeded so far above the training's own."""
TELEMETRY_EVERY_STEPS = 2
END_STEPS = 10
"""Steps whose median loss stands for the end of a replay."""

Judge = Callable[[Sequence[StepRecord], bool], bool | None]
"""Whether a replay is rescued, by its records so far and whether they are all; None if that cannot be said yet."""


@dataclass(frozen=True)
class ReplayedRun:
    """What all replays of one training share."""

    config: TrialConfig
    dataset: Dataset
    seed: int
    max_steps: int
    device: torch.device


@dataclass
class Replays:
    """Replays from one state, and what they cost."""

    run: ReplayedRun
    start: Snapshot | None
    """Where they begin; None for the initial weights."""
    num_steps: int
    repeats: int
    budget_steps: int
    """`num_replayed_steps` at most: no replay begins that might exceed it."""
    good_step: int | None = None
    """An earlier start from which the unchanged steps went well; None if there is none."""
    results: list[Counterfactual] = field(default_factory=list)
    num_replayed_steps: int = 0
    is_spent: bool = False
    """Whether a replay was left out because the budget did not allow it."""

    @property
    def start_step(self) -> int:
        """Steps done where the replays begin."""
        return 0 if self.start is None else self.start.step

    def reproduce(self, watched: range, judge: Judge) -> OpTrace | None:
        """Replays the training as it was, every operation watched in some steps until one is not finite.

        Args:
            watched: 1-based steps; one costs several times as much as another.
            judge: of the replay; it becomes the result of the change `same`.

        Returns:
            The trace of the first step with a non-finite value that the training did not shrug off: None if there
            was none.
        """
        training = self._training(same(self.run.config), repeat=0)
        records: list[StepRecord] = []
        found: OpTrace | None = None
        rescued: bool | None = None
        while len(records) < self._length() and rescued is None:
            if found is None and training.step + 1 in watched:
                trace = trace_step(training, self.run.dataset)
                found = trace if trace.first is not None else None
                records.append(trace.record)
            else:
                records.append(next_record(training))
            rescued = judge(records, len(records) == self._length())
        self.num_replayed_steps += len(records)
        self._note("same", [bool(rescued)], [records])
        return found

    def survives_other_orders(self, judge: Judge) -> bool:
        """Whether the unchanged training survives another order of the data; those tried are added to `same`."""
        index = next(i for i, result in enumerate(self.results) if result.change == "same")
        own = self.results[index]
        rescued: list[bool] = []
        losses = [own.end_loss]
        for repeat in range(1, max(self.repeats, 2)):
            if not self.affords_another():
                break
            result, records = self._replay(same(self.run.config), repeat, judge)
            rescued.append(result)
            losses.append(_end_loss(records))
        self.results[index] = Counterfactual(
            "same", own.num_rescued + sum(rescued), own.num_repeats + len(rescued), _median(losses)
        )
        return any(rescued)

    def first_rescue(self, changes: Iterable[Change], judge: Judge) -> Change | None:
        """Tries changes in their order until one rescues most repeats; changes of one group are all tried."""
        for _, members in groupby(changes, key=lambda change: change.group or change.name):
            rescuing = [change for change in members if self.attempt(change, judge)]
            if rescuing:
                return rescuing[0]
        return None

    def attempt(self, change: Change, judge: Judge) -> bool:
        """Whether replays with one change are rescued; stops as soon as the majority is decided.

        Where the budget is spent, the repeats so far decide; a change that it leaves no repeat gets no result.
        """
        repeats = self.repeats if change.any_order else 1
        rescued: list[bool] = []
        runs: list[list[StepRecord]] = []
        # A lost first repeat of two can no longer become a majority.
        while len(rescued) < repeats and 2 * (len(rescued) - sum(rescued)) < repeats and self.affords_another():
            result, records = self._replay(change, len(rescued), judge)
            rescued.append(result)
            runs.append(records)
        return bool(rescued) and self._note(change.name, rescued, runs).rescues

    def _replay(self, change: Change, repeat: int, judge: Judge) -> tuple[bool, list[StepRecord]]:
        training = self._training(change, repeat)
        records: list[StepRecord] = []
        rescued: bool | None = None
        end = self.start_step + self._length()
        while rescued is None:
            while training.step < end and _is_dropped(change, training):
                training.skip_step()
            if training.step >= end:
                # The last batches were left out: what there is has to do.
                rescued = judge(records, True) if records else False
                break
            records.append(next_record(training))
            rescued = judge(records, training.step >= end)
        self.num_replayed_steps += len(records)
        return bool(rescued), records

    def affords_another(self) -> bool:
        """Whether the budget allows another replay; it is noted if not."""
        affords = self.num_replayed_steps + self._length() <= self.budget_steps
        self.is_spent |= not affords
        return affords

    def _length(self) -> int:
        return min(self.num_steps, self.run.max_steps - self.start_step)

    def _training(self, change: Change, repeat: int) -> Training:
        run = self.run
        order_seed = run.seed if repeat == 0 else run.seed + ORDER_SEED_OFFSET + repeat
        training = new_training(run, change.config, order_seed)
        if self.start is not None and not change.from_start:
            restore(self.start, training, fresh_optimizer=change.fresh_optimizer)
        return training

    def _note(self, name: str, rescued: Sequence[bool], runs: Sequence[Sequence[StepRecord]]) -> Counterfactual:
        result = Counterfactual(name, sum(rescued), len(rescued), _median([_end_loss(records) for records in runs]))
        self.results.append(result)
        return result


def new_training(run: ReplayedRun, config: TrialConfig, order_seed: int) -> Training:
    """A training that is never evaluated on the way and whose records come at once."""
    training = config.training.model_copy(
        update={
            # A plateau schedule reads the evaluations.
            "eval_every_steps": config.training.eval_every_steps
            if config.training.schedule.kind == "plateau"
            else run.max_steps,
            "telemetry_every_steps": TELEMETRY_EVERY_STEPS,
            "health_every_steps": None,
        }
    )
    return Training(
        config.model_copy(update={"training": training}),
        run.dataset,
        seed=run.seed,
        max_steps=run.max_steps,
        device=run.device,
        order_seed=order_seed,
        lag_steps=0,
    )


def train_to(run: ReplayedRun, step: int, start: Snapshot | None) -> Snapshot:
    """The state of the training after a step, by training again from an earlier one; None for the seed."""
    training = new_training(run, run.config, run.seed)
    if start is not None:
        restore(start, training)
    while training.step < step:
        next_record(training)
    return take_snapshot(training)


def next_record(training: Training) -> StepRecord:
    """Trains one step."""
    return next(record for record in training.records() if isinstance(record, StepRecord))


def _is_dropped(change: Change, training: Training) -> bool:
    if training.step + 1 == change.dropped_step:
        return True
    return bool(change.without) and any(i in change.without for batch in training.next_batches() for i in batch)


def level(records: Sequence[StepRecord]) -> float:
    """Median of the finite losses; NaN if there is none."""
    return _median([record.loss for record in records])


def _end_loss(records: Sequence[StepRecord]) -> float:
    return level(records[-END_STEPS:])


def _median(values: Iterable[float | None]) -> float:
    finite = [value for value in values if is_finite(value)]
    return statistics.median(finite) if finite else NAN
