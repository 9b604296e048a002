"""Causes that records, configuration and data tell by themselves, without a replay."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from slr_models.data.batch import Dataset
from sweep.forensics.batches import DataFaults, batches_of_steps, first_bad_feature
from sweep.forensics.sentences import threshold_name
from sweep.forensics.trouble import find_trouble, is_sound
from sweep.records import Cause, Explanation, Outcome, SkipReason, StepRecord, Verdict, is_finite
from sweep.training.config import TrialConfig
from sweep.training.optim import RobustZ, SkipAbove
from sweep.wording import listed, number, plural

GROWN_FACTOR = 10.0
"""Norms that have grown by so much are no longer those of healthy batches."""
FIRST_STEPS = 20


def quick_cause(
    config: TrialConfig, dataset: Dataset, *, seed: int, records: Sequence[StepRecord], verdict: Verdict
) -> Explanation | None:
    """The cause, where it can be told for free; None where it takes a replay.

    A training that ended well has nothing to explain; if infinite norms occurred, they are named for what they were.
    Neither has an open end, nor one that learned its training data alone: no step of it went wrong.
    """
    if verdict.outcome.is_broken_off:
        return _broken_off(config, dataset, verdict)
    calibration = _calibration(records)
    if verdict.outcome is Outcome.CALIBRATING:
        hint = "it started too high for this number of steps: give a lower initial_scale"
        return Explanation(Cause.SCALE_CALIBRATION, f"{Cause.SCALE_CALIBRATION}: {calibration}; {hint}")
    if verdict.stable:
        if calibration:
            return Explanation(Cause.SCALE_CALIBRATION, f"{Cause.SCALE_CALIBRATION}: {calibration}")
        return Explanation(Cause.NOTHING, f"{Cause.NOTHING}: the training ended {verdict.outcome}")
    if verdict.outcome.is_open or verdict.outcome is Outcome.MEMORISED:
        # No step went wrong that a replay could mend.
        return Explanation(Cause.NOTHING, f"{Cause.NOTHING}: {verdict.reason}")
    if not records:
        return None
    details = calibration_details(records)
    return _bad_data(config, dataset, seed, records, verdict, details) or _strict_threshold(
        config, records, verdict, details
    )


def _broken_off(config: TrialConfig, dataset: Dataset, verdict: Verdict) -> Explanation:
    if verdict.outcome is Outcome.CRASHED:
        return Explanation(Cause.EXCEPTION, f"{Cause.EXCEPTION}: {verdict.reason}")
    training = config.training
    longest = int(dataset.train.lengths.max())
    text = (
        f"{Cause.OUT_OF_MEMORY}: {verdict.reason} (batch size {training.batch_size}, utterances of up to {longest} "
        "frames): take a smaller batch_size with a larger accumulate, or a smaller width"
    )
    return Explanation(Cause.OUT_OF_MEMORY, text)


def calibration_details(records: Sequence[StepRecord]) -> tuple[str, ...]:
    """A sentence on the infinite gradient norms that were none of the trouble, if there were any."""
    calibration = _calibration(records)
    return (
        (f"its first infinite gradient norms were the loss scale's calibration: {calibration}",) if calibration else ()
    )


def _calibration(records: Sequence[StepRecord]) -> str:
    """What the loss scale did to find its level, in words; empty if it had nothing to find."""
    skipped = [r for r in records if r.skip_reason is SkipReason.CALIBRATION]
    if not skipped:
        return ""
    first = next((r for r in records if r.applied), None)
    found = f"gradients were finite from {first.loss_scale:g} on" if first else "none gave finite gradients yet"
    steps = plural(len(skipped), "step")
    return f"the loss scale halved in {steps} on its way from {skipped[0].loss_scale:g}; {found}"


def _bad_data(
    config: TrialConfig,
    dataset: Dataset,
    seed: int,
    records: Sequence[StepRecord],
    verdict: Verdict,
    details: tuple[str, ...],
) -> Explanation | None:
    """NaN features or infeasible targets, if they are in the batches that were not finite."""
    trouble = find_trouble(records, verdict)
    if trouble.learns_nothing and verdict.outcome is not Outcome.INFEASIBLE_DATA:
        return None
    faults = DataFaults.of(config, dataset)
    if not faults.nonfinite and not faults.infeasible:
        return None
    if trouble.was_applied:
        bad = [trouble.first_bad_step]
    else:
        bad = [
            r.step
            for r in records
            if r.step >= trouble.first_bad_step and not is_sound(r) and r.skip_reason is not SkipReason.CALIBRATION
        ]
    if not bad:
        return None
    batches = batches_of_steps(config, dataset, seed, bad)
    first_step = bad[0]
    if _explains(faults.nonfinite, batches.values()):
        return Explanation(
            Cause.NONFINITE_FEATURES,
            f"{_some(faults.nonfinite, batches.values())}, in the batch of step {first_step}",
            (*details, f"{plural(len(faults.nonfinite), 'utterance')} of {len(dataset.train)} hold such values"),
            first_bad_feature(dataset.train, [batches[first_step]], first_step),
        )
    if _explains(faults.infeasible, batches.values()):
        met = _some(faults.infeasible, batches.values())
        return Explanation(
            Cause.INFEASIBLE_SAMPLE,
            f"{Cause.INFEASIBLE_SAMPLE}: {met}, in the batch of step {first_step}",
            (*details, f"{plural(len(faults.infeasible), 'target')} of {len(dataset.train)} cannot be aligned"),
        )
    return None


def _explains(faults: Mapping[int, object], batches: Iterable[Sequence[int]]) -> bool:
    """Whether most of the batches hold such an utterance."""
    held = [any(i in faults for i in batch) for batch in batches]
    return 2 * sum(held) > len(held)


def _some(faults: Mapping[int, object], batches: Iterable[Sequence[int]]) -> str:
    met = dict.fromkeys(i for batch in batches for i in batch if i in faults)
    return listed([str(faults[i]) for i in met])


def _strict_threshold(
    config: TrialConfig, records: Sequence[StepRecord], verdict: Verdict, details: tuple[str, ...]
) -> Explanation | None:
    """A skip threshold below the norms that the model has anyway."""
    policy = config.training.bad_batch
    refused = [r for r in records if r.skip_reason is SkipReason.THRESHOLD]
    if not isinstance(policy, SkipAbove | RobustZ) or 2 * len(refused) <= len(records):
        return None
    norms = [r.grad_norm for r in records if is_finite(r.grad_norm)]
    usual, late = float(np.median(norms[:FIRST_STEPS])), float(np.median(norms[-FIRST_STEPS:]))
    if late > GROWN_FACTOR * usual:
        return None
    low, middle, high = (number(float(q)) for q in np.quantile(norms, [0.05, 0.5, 0.95]))
    return Explanation(
        Cause.SKIP_THRESHOLD,
        f"{Cause.SKIP_THRESHOLD}: {threshold_name(policy)} refused {len(refused)} of {len(records)} steps, whose "
        f"gradient norms are finite and steady (median {middle}, from {low} to {high} at 5 % and 95 %)",
        details,
    )
