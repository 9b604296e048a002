"""From a bad training to its cause: facts first, then a watched step, then replays with one thing changed."""

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pandas as pd
import torch

from slr_models.data.batch import Dataset
from sweep.forensics.adam_state import is_damaged
from sweep.forensics.batches import DataFaults, batches_of_steps
from sweep.forensics.causes import calibration_details, quick_cause
from sweep.forensics.changes import Change, drop, init_scale, learning_changes, survival_changes, without_utterances
from sweep.forensics.counterfactuals import Judge, ReplayedRun, Replays, level, train_to
from sweep.forensics.flushing import LARGEST_HEALTHY_RATE, initial_flush_rate
from sweep.forensics.health_alerts import health_warnings
from sweep.forensics.sentences import outcomes, overflow, what_happened, where
from sweep.forensics.settings import ForensicsConfig
from sweep.forensics.trace_ops import OpTrace
from sweep.forensics.trouble import Trouble, find_trouble, is_sound, jump_step, learning_judge, survival_judge
from sweep.records import (
    Cause,
    Counterfactual,
    Explanation,
    HealthRecord,
    Outcome,
    Place,
    SkipReason,
    StepRecord,
    Verdict,
)
from sweep.training.config import TrialConfig
from sweep.training.optim import ByNorm, Sgd
from sweep.training.snapshots import Snapshot, SnapshotRing
from sweep.wording import listed, number, plural

TRACE_LEAD_STEPS = 2
"""Steps before the first non-finite one from which every operation is watched: weights may be lost a step earlier."""
TRACE_TAIL_STEPS = 5
"""Steps after it in which operations are still watched: a GPU may get there a little later than before."""
SUSPECT_STEPS_NONFINITE = 2
SUSPECT_STEPS_FINITE = 12
"""Steps before the first bad one whose batches are suspect; a loss level shows a change late."""
HOT_STEP_RATIO = 0.05
"""Size of a step over that of the weights from which a learning rate is more likely too high than too low."""


@dataclass(frozen=True)
class _Case:
    """All that is known of a bad training."""

    run: ReplayedRun
    records: Sequence[StepRecord]
    verdict: Verdict
    trouble: Trouble
    l_const: float
    l_unif: float
    settings: ForensicsConfig
    snapshots: SnapshotRing | None
    on_plan: Callable[[int], None] | None

    @property
    def budget_steps(self) -> int:
        """Steps of all replays together at most."""
        return self.settings.most_replayed(self.run.max_steps)


@dataclass(frozen=True)
class _Start:
    """Where to replay from."""

    step: int
    """Steps done there."""
    nearest: Snapshot | None
    """The snapshot from which training leads there; None for the initial weights."""

    @property
    def num_retrained(self) -> int:
        """Steps to train again to get there."""
        return self.step - (self.nearest.step if self.nearest is not None else 0)

    def reach(self, run: ReplayedRun) -> Snapshot | None:
        """The state there; None for the initial weights."""
        return self.nearest if self.num_retrained == 0 else train_to(run, self.step, self.nearest)


def explain(
    config: TrialConfig,
    dataset: Dataset,
    *,
    seed: int,
    max_steps: int,
    device: torch.device,
    records: Sequence[StepRecord],
    verdict: Verdict,
    l_const: float,
    l_unif: float,
    settings: ForensicsConfig,
    snapshots: SnapshotRing | None = None,
    health: Sequence[HealthRecord] = (),
    on_plan: Callable[[int], None] | None = None,
) -> Explanation:
    """Says why a training went as it did, by replays where nothing cheaper tells.

    Args:
        config: of the training.
        dataset: what it trained on.
        seed: of its weights and of the order of its data.
        max_steps: its planned length.
        device: where replays run.
        records: of all its steps, from the first.
        verdict: how it was judged.
        l_const: zero-information loss, nats a label; NaN if unknown.
        l_unif: loss of a uniform output, nats a label; NaN if unknown.
        settings: how much may be spent.
        snapshots: of its steps. Without them it is trained again from its seed, to shortly before the trouble.
        health: samples of its numeric health; what they warn of is added to the details.
        on_plan: told how many steps will be trained at most, before the first of them is.
    """
    quick = quick_cause(config, dataset, seed=seed, records=records, verdict=verdict)
    if quick is not None:
        return quick if verdict.stable else _with_warnings(quick, health)
    if not records:
        return Explanation(Cause.UNKNOWN, f"{Cause.UNKNOWN}: there is no record of any step ({verdict.reason})")
    trouble = find_trouble(records, verdict)
    run = ReplayedRun(config, dataset, seed, max_steps, device)
    case = _Case(run, records, verdict, trouble, l_const, l_unif, settings, snapshots, on_plan)
    explanation = _explain_unlearned(case) if trouble.learns_nothing else _explain_broken(case)
    details = (*explanation.details, verdict.reason, *calibration_details(records))
    return _with_warnings(dataclasses.replace(explanation, details=details), health)


def _with_warnings(explanation: Explanation, health: Sequence[HealthRecord]) -> Explanation:
    if not health:
        return explanation
    warnings = health_warnings(pd.DataFrame([dataclasses.asdict(record) for record in health]))
    return dataclasses.replace(explanation, details=(*explanation.details, *warnings))


def _explain_unlearned(case: _Case) -> Explanation:
    """A training that learned nothing is replayed from its first step."""
    settings = case.settings
    if case.on_plan is not None:
        case.on_plan(case.budget_steps)
    replays = Replays(case.run, None, settings.learning_replay_steps, settings.repeats, case.budget_steps)
    own = case.records[: settings.learning_replay_steps]
    replays.results.append(Counterfactual("same", 0, 1, level(own[-20:])))
    trouble = case.trouble
    flush_rate = initial_flush_rate(case.run)
    changes = learning_changes(
        case.run.config,
        usual_norm=trouble.usual_norm,
        is_hot=_step_ratio(case) > HOT_STEP_RATIO,
        skip_rate=trouble.skip_rate,
        flushes=flush_rate > LARGEST_HEALTHY_RATE,
    )
    rescue = replays.first_rescue(changes, learning_judge(case.records, case.l_const))
    explanation = _conclude(case, replays, rescue, rescue.cause if rescue else Cause.UNKNOWN, None, None)
    if math.isnan(flush_rate):
        return explanation
    flushed = f"fp16 flushes {flush_rate:.1%} of the gradients to zero (median over the parameters, first steps)"
    return dataclasses.replace(explanation, details=(*explanation.details, flushed))


def _explain_broken(case: _Case) -> Explanation:
    """A training that went bad is replayed from shortly before."""
    trouble, config = case.trouble, case.run.config
    judge = survival_judge(trouble, case.l_const, case.l_unif)
    start = _start(case)
    if start.num_retrained > case.settings.retrain_steps:
        return _too_far_back(case, start)
    if case.on_plan is not None:
        case.on_plan(start.num_retrained + case.budget_steps)
    replays, trace = _reproduce(case, start, judge)
    if replays.results[0].rescues:
        return _not_reproduced(case, replays)
    suspects = _suspects(case)
    if suspects:
        change = without_utterances(config, frozenset(suspects), Cause.FEATURE_OUTLIER)
        if replays.attempt(change, judge):
            return _conclude(case, replays, change, change.cause, trace, listed(list(suspects.values())))
    changes = survival_changes(
        config,
        usual_norm=trouble.usual_norm,
        at_start=replays.start_step == 0,
        refuse_nonfinite=trouble.was_applied,
        overflows=trace is not None and trace.first is not None and math.isfinite(trace.full_absmax),
    )
    rescue = replays.first_rescue(changes, judge)
    if rescue is not None:
        cause = half_cause(trace) if rescue.group == "precision" else rescue.cause
        return _conclude(case, replays, rescue, cause, trace, None)
    for step in _single_steps(case, replays.start_step):
        dropped = drop(config, step)
        if replays.attempt(dropped, judge) and replays.survives_other_orders(judge):
            return _conclude(case, replays, dropped, dropped.cause, trace, None)
    return _conclude(case, replays, None, Cause.UNKNOWN, trace, None)


def _reproduce(case: _Case, first: _Start, judge: Judge) -> tuple[Replays, OpTrace | None]:
    """Replays the training as it was, from where it goes wrong again, with its first non-finite value.

    If it goes well from before the trouble, something outside of the settings changed its state; then it is replayed
    from later snapshots too, whose state has the change.
    """
    settings, watched = case.settings, _watched_steps(case)
    replays = Replays(
        case.run,
        first.reach(case.run),
        settings.replay_steps,
        settings.repeats,
        first.num_retrained + case.budget_steps,
        num_replayed_steps=first.num_retrained,
    )
    while True:
        trace = replays.reproduce(watched, judge)
        later = _next_snapshot(case, replays.start_step)
        if not replays.results[0].rescues or later is None or not replays.affords_another():
            return replays, trace
        replays = dataclasses.replace(replays, start=later, good_step=replays.start_step, results=[])


def _watched_steps(case: _Case) -> range:
    """Steps in which a value may become non-finite; none where none of the training's own did."""
    bad = next(
        (
            r.step
            for r in case.records
            if r.step >= case.trouble.first_bad_step - TRACE_LEAD_STEPS
            and not is_sound(r)
            and r.skip_reason is not SkipReason.CALIBRATION
        ),
        None,
    )
    return range(0) if bad is None else range(bad - TRACE_LEAD_STEPS, bad + TRACE_TAIL_STEPS + 1)


def _next_snapshot(case: _Case, step: int) -> Snapshot | None:
    if case.snapshots is None:
        return None
    later = [
        s for s in case.snapshots.steps if step < s <= case.trouble.first_bad_step + case.settings.replay_steps // 2
    ]
    return case.snapshots.before(later[0], 0) if later else None


def _start(case: _Case) -> _Start:
    """A state so shortly before the trouble that it comes within the steps of a replay."""
    onset, replay_steps = case.trouble.onset_step, case.settings.replay_steps
    if onset <= replay_steps // 2:
        return _Start(0, None)
    # Not so long before that no steps are left to see whether the trouble comes.
    earliest = case.trouble.first_bad_step - replay_steps * 3 // 4
    margin = SUSPECT_STEPS_FINITE if case.verdict.outcome is Outcome.DIVERGED_LOSS else 5
    snapshot = case.snapshots.before(onset, margin) if case.snapshots is not None else None
    if snapshot is not None and snapshot.step >= earliest:
        return _Start(snapshot.step, snapshot)
    step = max(earliest, onset - replay_steps // 2)
    return _Start(step, case.snapshots.before(step, 0) if case.snapshots is not None else None)


def _suspects(case: _Case) -> dict[int, str]:
    """Utterances out of scale in the batches where the trouble began, by position, in words."""
    faults = DataFaults.of(case.run.config, case.run.dataset)
    if not faults.outliers:
        return {}
    first_bad = case.trouble.first_bad_step
    back = SUSPECT_STEPS_FINITE if case.verdict.outcome is Outcome.DIVERGED_LOSS else SUSPECT_STEPS_NONFINITE
    steps = range(max(first_bad - back, 1), first_bad + 1)
    batches = batches_of_steps(case.run.config, case.run.dataset, case.run.seed, steps)
    met = {i for batch in batches.values() for i in batch}
    # All of them are left out: others of their kind come later in the replay.
    return {i: str(outlier) for i, outlier in faults.outliers.items()} if met & set(faults.outliers) else {}


def _single_steps(case: _Case, start_step: int) -> list[int]:
    """Steps after a start whose batch alone may have set it off, the likelier one first."""
    step = case.trouble.first_bad_step
    steps = [step]
    if case.verdict.outcome is Outcome.DIVERGED_LOSS and not case.trouble.was_applied:
        # The detector dates a rise by levels of several steps; and a batch may ruin its own loss or only the next.
        step = jump_step(case.records, step, SUSPECT_STEPS_FINITE)
        steps = [step, step - 1]
    return [s for s in steps if s > start_step]


def half_cause(trace: OpTrace | None) -> Cause:
    """What half precision did to a training that another precision rescues."""
    if trace is None or trace.first is None:
        return Cause.HALF_UNDERFLOW
    if trace.is_attention:
        return Cause.HALF_OVERFLOW_ATTENTION
    return Cause.HALF_GRADIENT_OVERFLOW if trace.first.place is Place.BACKWARD else Cause.HALF_OVERFLOW


def _step_ratio(case: _Case) -> float:
    """Size of a first update over that of the initial weights, both as L2 norms."""
    config, dataset = case.run.config, case.run.dataset
    model = config.model.build(dataset.num_features, dataset.groups, len(dataset.vocabulary), case.run.seed)
    weights = [p.detach() for p in model.parameters() if p.requires_grad]
    size = torch.nn.utils.get_total_norm(weights).item()
    optimizer, clip = config.training.optimizer, config.training.clip
    if not isinstance(optimizer, Sgd):
        # Adam moves every weight by about the learning rate.
        return optimizer.lr * math.sqrt(sum(w.numel() for w in weights)) / size
    norm = min(case.trouble.usual_norm, clip.max_norm) if isinstance(clip, ByNorm) else case.trouble.usual_norm
    return optimizer.lr * norm / (1 - optimizer.momentum) / size


def _too_far_back(case: _Case, start: _Start) -> Explanation:
    return Explanation(
        Cause.UNKNOWN,
        f"{Cause.UNKNOWN}: {_happened(case)}; to see why, {plural(start.num_retrained, 'step')} have to be trained "
        f"again, and a sweep allows {case.settings.retrain_steps} (retrain_steps): `python -m sweep.explain` does it",
    )


def _not_reproduced(case: _Case, replays: Replays) -> Explanation:
    origin = f"the state after step {replays.start_step}" if replays.start_step else "its seed"
    return _explanation(
        replays,
        Cause.UNKNOWN,
        f"{Cause.UNKNOWN}: {_happened(case)}; unchanged, the same steps from {origin} go well: what happened came from "
        "outside of the settings (a changed state, a fault of the machine), or by chance on a device that rounds "
        "differently each time",
        None,
    )


def _conclude(
    case: _Case, replays: Replays, rescue: Change | None, cause: Cause, trace: OpTrace | None, utterances: str | None
) -> Explanation:
    config = case.run.config
    training = config.training
    first = trace.first if trace is not None else None
    what = _happened(case)
    match cause:
        case Cause.HALF_OVERFLOW | Cause.HALF_OVERFLOW_ATTENTION | Cause.HALF_GRADIENT_OVERFLOW if trace is not None:
            head = f"{cause} ({overflow(trace)})"
        case Cause.LR_TOO_HIGH | Cause.LR_TOO_LOW:
            head = f"{cause}: with {number(training.optimizer.lr)} {what}"
        case Cause.INIT_TOO_LARGE | Cause.INIT_TOO_SMALL:
            head = f"{cause} (scale {init_scale(config.model):g}): {what}"
        case Cause.NO_CLIPPING:
            head = f"{cause}: norms of usually {number(case.trouble.usual_norm)}; {what}"
        case Cause.CLIP_TOO_TIGHT if isinstance(training.clip, ByNorm):
            usual = number(case.trouble.usual_norm)
            head = f"{cause}: norms of usually {usual} are cut to {training.clip.max_norm:g}; {what}"
        case Cause.FEATURE_OUTLIER:
            head = f"{cause}: {utterances}; {what}"
        case Cause.OPTIMIZER_STATE:
            head = f"{cause}: {what}{_damage(case, replays)}"
        case Cause.SINGLE_BATCH:
            head = f"{cause}, and other orders of the data survive: {what}"
        case _:
            head = f"{cause}: {what}"
    tried = outcomes(
        replays.results,
        rescue.name if rescue is not None else None,
        replays.start_step,
        learns_nothing=case.trouble.learns_nothing,
        l_const=case.l_const,
    )
    details = [f"the first value that was not finite: {where(first)}"] if first is not None else []
    if replays.good_step is not None:
        details.append(
            f"from the state after step {replays.good_step} the same steps go well, from that after step "
            f"{replays.start_step} they do not: in between something else than training changed the state"
        )
    text = f"{head}; {tried}" if tried else head
    if rescue is None and replays.is_spent:
        text += f"; not looked further after {plural(replays.num_replayed_steps, 'replayed step')}"
    return dataclasses.replace(_explanation(replays, cause, text, trace), details=tuple(details))


def _damage(case: _Case, replays: Replays) -> str:
    if replays.start is not None and is_damaged(case.run.config.training.optimizer, replays.start):
        return f" (after step {replays.start_step} Adam's moments are such that no gradients lead to them)"
    return ""


def _happened(case: _Case) -> str:
    return what_happened(case.trouble, case.verdict, case.records[-1].step, case.l_const)


def _explanation(replays: Replays, cause: Cause, text: str, trace: OpTrace | None) -> Explanation:
    return Explanation(
        cause=cause,
        text=text,
        first_nonfinite=trace.first if trace is not None else None,
        counterfactuals=tuple(replays.results),
        snapshot_step=replays.start_step,
        num_replayed_steps=replays.num_replayed_steps,
    )
