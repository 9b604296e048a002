"""What is told a person of a training that went wrong: its course, its first non-finite value, its replays."""

import math
from collections.abc import Sequence

from sweep.forensics.trace_ops import OpTrace
from sweep.forensics.trouble import Trouble
from sweep.records import Counterfactual, Explanation, FirstNonfinite, Outcome, Place, Verdict
from sweep.training.optim import RobustZ, SkipAbove
from sweep.training.telemetry import HALF_MAX
from sweep.wording import end_text, number, plural


def threshold_name(policy: SkipAbove | RobustZ) -> str:
    """The rule of a skip policy."""
    if isinstance(policy, SkipAbove):
        return f"skipping norms above {policy.threshold:g}"
    return f"skipping norms more than {policy.z:g} deviations above the recent ones"


def what_happened(trouble: Trouble, verdict: Verdict, num_steps: int, l_const: float) -> str:
    """The course of the training in one clause."""
    if trouble.learns_nothing:
        nothing = f" (learning nothing costs {number(l_const)})" if math.isfinite(l_const) else ""
        return f"the loss is at {number(trouble.level_after)} after {plural(num_steps, 'step')}{nothing}"
    step = trouble.first_bad_step
    if trouble.was_applied:
        return f"the weights were lost at step {step}"
    if verdict.outcome is Outcome.DIVERGED_LOSS and math.isfinite(trouble.level_before):
        rise = f"from {number(trouble.level_before)} to {number(trouble.level_after)}"
        return f"the loss rose {rise} from step {trouble.onset_step} on"
    if verdict.outcome is Outcome.SKIP_STARVED:
        return f"most steps were refused from step {step} on"
    if verdict.outcome is Outcome.SCALER_COLLAPSE:
        return f"the loss scale fell without end from step {step} on"
    if verdict.outcome is Outcome.DIVERGED_NONFINITE:
        return f"values were no longer finite from step {step} on"
    return f"the loss is at {number(trouble.level_after)} after {plural(num_steps, 'step')}"


def where(first: FirstNonfinite) -> str:
    """The place of the first non-finite value in one clause."""
    at = f" in {first.path}" if first.path else ""
    match first.place:
        case Place.FEATURES:
            return f"the features of utterance {first.path} at step {first.step}"
        case Place.WEIGHT_BEFORE:
            return f"the weight {first.path} before step {first.step}"
        case Place.FORWARD:
            return f"{first.operation}{at} at step {first.step} ({first.dtype})"
        case Place.LOSS:
            of = f" of {first.path}" if first.path else ""
            return f"the loss{of} at step {first.step} ({first.operation})"
        case Place.BACKWARD:
            return f"the gradient of {first.operation}{at} at step {first.step} ({first.dtype})"
        case Place.GRADIENT:
            of = f" of {first.path}" if first.path else ""
            return f"the gradient{of} at step {first.step} ({first.operation})"
        case Place.OPTIMIZER_STATE:
            return f"the optimizer's {first.operation} of {first.path} at step {first.step}"
        case Place.WEIGHT:
            return f"the weight {first.path} after step {first.step}"


def overflow(trace: OpTrace) -> str:
    """Where half precision overflowed, and how large the value is in fp32."""
    first = trace.first
    assert first is not None, "asked for traces that found something"
    what = "QK^T" if trace.is_attention and first.operation in ("matmul", "bmm", "baddbmm") else first.operation
    if first.place is Place.BACKWARD:
        what = f"gradient of {what}"
    at = first.path or "the loss"
    if math.isfinite(trace.full_absmax) and first.dtype == "float16":
        return f"{at}, {what} reached {number(trace.full_absmax)} > {HALF_MAX:g} at step {first.step}"
    return f"{at}, {what} at step {first.step}"


def outcomes(
    results: Sequence[Counterfactual], rescue: str | None, start_step: int, *, learns_nothing: bool, l_const: float
) -> str:
    """What the replays showed: the change that rescues, by its name, and those that do not; else what each gave."""
    from_step = f" from step {start_step}" if start_step else " from the start"
    failed = [r for r in results if not r.rescues and r.change != "same"]
    others = ", ".join(f"{r.change} ({r.num_rescued} of {r.num_repeats})" for r in failed)
    if rescue is None:
        gave = [f"{r.change} ({r.num_rescued} of {r.num_repeats}, {end_text(r.end_loss)})" for r in failed]
        return f"tried{from_step}, in vain: {', '.join(gave)}" if gave else ""
    best = next(r for r in results if r.change == rescue)
    does = "rescues it"
    if learns_nothing:
        does = "makes it begin to learn"
        if best.end_loss >= l_const:
            # It was merely slow: nobody has seen yet that it learns.
            level = f"{number(best.end_loss)}, while learning nothing costs {number(l_const)}"
            does = f"makes the loss fall faster, to {level}"
    does_not = f", {others} {'does' if len(failed) == 1 else 'do'} not" if failed else ""
    return f"{rescue}{from_step} {does} ({best.num_rescued} of {best.num_repeats}){does_not}"


def explanation_lines(trial_id: str, explanation: Explanation) -> list[str]:
    """The whole answer to why a trial went as it did."""
    lines = [f"trial {trial_id}: {explanation.text}", *(f"  - {detail}" for detail in explanation.details)]
    first = explanation.first_nonfinite
    if first is not None:
        lines.append(
            f"  first non-finite: {where(first)}; {first.num_nan} NaN and {first.num_inf} infinite values, "
            f"inputs up to {number(first.input_absmax)}"
        )
    if explanation.counterfactuals:
        lines.append(
            f"  replayed from step {explanation.snapshot_step or 0} ({explanation.num_replayed_steps} steps in all):"
        )
        width = max(len(c.change) for c in explanation.counterfactuals)
        for c in explanation.counterfactuals:
            lines.append(
                f"    {c.change:<{width}}  rescued {c.num_rescued} of {c.num_repeats}  end loss {number(c.end_loss)}"
            )
    return lines
