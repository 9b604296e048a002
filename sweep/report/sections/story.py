"""A traced training in words: each of its decisive steps with a remark, then what replays of it showed."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sweep.analysis.failures.causes import FORMAT_MAX
from sweep.analysis.failures.step_trace import StepMark, StepStretch
from sweep.analysis.trials.dimensions import Dimension, plain
from sweep.records import FirstNonfinite, Outcome, Place, SkipReason, is_broken, is_finite
from sweep.report.contents.failures import Example
from sweep.report.sections.replays import ReplayRow, how_replayed, replay_rows
from sweep.wording import number, percent, plural, setting_text

_JUMP = 5.0
"""A loss that rises by more than this factor in one step has jumped."""
_ABOUT = 1.5
"""A loss that changes by less than this factor has stayed where it was."""


@dataclass(frozen=True)
class StoryRow:
    """One line of the table."""

    steps: str
    lr: str
    loss: str
    norm: str
    scale: str
    """Empty without a loss scaler."""
    update: str
    remark: str
    is_trouble: bool
    """Whether something goes wrong here, or is found to have gone wrong."""


@dataclass(frozen=True)
class Story:
    """The worked example, ready to be read."""

    trial_id: str
    verdict: Outcome
    title: str
    why_chosen: str
    reason: str
    """Why it was judged as it was."""
    rows: tuple[StoryRow, ...]
    has_scale: bool
    replays: tuple[ReplayRow, ...]
    how_replayed: str
    """Empty where there were no replays."""
    seen: tuple[str, ...]
    """What else was found, in sentences."""
    conclusion: str
    """The cause; empty where nobody looked for it."""


def story(example: Example, dims: Sequence[Dimension]) -> Story:
    """Tells the example."""
    row, explanation = example.row, example.explanation
    names = {dim.path: dim.name for dim in dims}
    setting = setting_text({path: plain(row.get(path)) for path in names}, names)
    stretches = example.trace.stretches
    rows = tuple(_row(stretch, example) for stretch in stretches)
    return Story(
        trial_id=example.trial_id,
        verdict=Outcome(row["verdict"]),
        title=f"trial {row['number']}, {row['verdict']} ({setting})",
        why_chosen=_why_chosen(example),
        reason=_sentence(str(row["reason"] or row["verdict"])),
        rows=rows,
        has_scale=any(row.scale for row in rows),
        replays=replay_rows(explanation) if explanation else (),
        how_replayed=how_replayed(explanation) if explanation else "",
        seen=tuple(_seen(example)),
        conclusion=_sentence(explanation.text) if explanation else "",
    )


def _why_chosen(example: Example) -> str:
    explanation = example.explanation
    if explanation is None:
        return "A typical trial of the most frequent failure. Nobody looked into its cause."
    if any(c.rescues for c in explanation.counterfactuals):
        return "Chosen because a replay with one thing changed did not fail."
    if explanation.counterfactuals or explanation.first_nonfinite:
        return "Chosen because it was looked into most closely."
    return "A typical trial of the most frequent failure."


def _row(stretch: StepStretch, example: Example) -> StoryRow:
    first, last = stretch.first, stretch.last
    return StoryRow(
        steps=str(first.step) if stretch.num_steps == 1 else f"{first.step} to {last.step}",
        lr=_from_to(first.lr, last.lr, digits=2),
        loss=_from_to(first.loss, last.loss),
        norm=_from_to(first.grad_norm, last.grad_norm),
        # A power of two is told in full.
        scale="" if first.loss_scale is None else _from_to(first.loss_scale, last.loss_scale, digits=6),
        update=_update(stretch),
        remark=" ".join(_remarks(stretch, example)),
        is_trouble=bool(stretch.marks & {StepMark.BROKEN, StepMark.TROUBLE, StepMark.WEIGHTS, StepMark.ALARM}),
    )


def _from_to(first: float | None, last: float | None, digits: int = 3) -> str:
    texts = [_value(first, digits), _value(last, digits)]
    return texts[0] if texts[0] == texts[1] else f"{texts[0]} to {texts[1]}"


def _value(value: float | None, digits: int) -> str:
    """Unlike an unknown number, one that is not a number is an event here."""
    if value is None:
        return number(math.nan)
    return "NaN" if math.isnan(value) else number(value, digits)


def _update(stretch: StepStretch) -> str:
    reasons = ", ".join(reason.value for reason, _ in stretch.skips)
    if stretch.num_steps == 1:
        return "applied" if stretch.num_applied else f"skipped: {reasons}"
    applied = f"{stretch.num_applied} of {stretch.num_steps} applied"
    return f"{applied}; skipped: {reasons}" if reasons else applied


def _remarks(stretch: StepStretch, example: Example) -> Iterator[str]:
    marks, row = stretch.marks, example.row
    l_const = row["l_const"]
    if StepMark.START in marks:
        nothing = f" A model that ignores its input scores a loss of {number(l_const)}." if l_const else ""
        yield f"The training begins.{nothing}"
    if StepMark.CALIBRATION in marks:
        yield _calibration(stretch)
    if StepMark.USABLE in marks:
        yield "The first finite gradient: the loss scale fits now, and the weights change for the first time."
    if StepMark.PEAK_LR in marks:
        yield "The learning rate is at its highest."
    if StepMark.FLOOR in marks:
        yield "The loss is down at that of learning nothing. A model that learns goes on below it."
    if StepMark.LOWEST in marks:
        yield f"The lowest loss of any step{_against_nothing(stretch.first.loss, l_const)}."
    if StepMark.HEALTHY in marks:
        yield _healthy(stretch, example)
    jump = _ratio(stretch.first.loss, stretch.loss_before)
    if marks & {StepMark.BROKEN, StepMark.TROUBLE} and jump > _JUMP:
        yield f"The update before has raised the loss {number(jump, 2)}-fold."
    if StepMark.BROKEN in marks:
        assert example.explanation is not None and example.explanation.first_nonfinite is not None, "marked for it"
        yield _broken(example.explanation.first_nonfinite)
    elif StepMark.TROUBLE in marks:
        yield _TROUBLE.get(Outcome(row["alarm"] or row["verdict"]), "Here the trouble begins.")
    if marks & {StepMark.BROKEN, StepMark.TROUBLE}:
        yield from _consequence(stretch)
    if StepMark.WEIGHTS in marks:
        yield "From here on a weight is not finite, which no later step can repair."
    if not marks or marks == {StepMark.END}:
        yield from _between(stretch, l_const)
    if StepMark.ALARM in marks or StepMark.END in marks:
        yield from _ending(stretch, example)


def _ratio(value: float | None, base: float | None) -> float:
    """How many times the base a value is; NaN where one of them is unknown, or the base is not above 0."""
    return value / base if value is not None and base is not None and base > 0 else math.nan


def _against_nothing(loss: float | None, l_const: float | None) -> str:
    if loss is None or not l_const or loss <= 0.95 * l_const:
        return ""
    return f", {'hardly' if loss < l_const else 'no'} better than that of learning nothing"


def _calibration(stretch: StepStretch) -> str:
    scale = _value(stretch.first.loss_scale, 6)
    if stretch.num_steps == 1:
        left_out = "The update is left out and the scale halved"
    else:
        left_out = f"{plural(stretch.num_steps, 'update')} are left out, and the scale is halved each time"
    return (
        f"Multiplied by the loss scale of {scale}, the gradients overflow. {left_out}: so a scaler finds its level. "
        "This is calibration, not a failure."
    )


def _healthy(stretch: StepStretch, example: Example) -> str:
    text = "The last healthy step: loss and gradient are finite, and the update is applied."
    ratio = _ratio(stretch.first.loss, example.trace.stretches[0].first.loss)
    return f"{text} But the loss is {number(ratio, 2)} times that of the first step." if ratio > 2 else text


_TROUBLE = {
    Outcome.DIVERGED_NONFINITE: "Here the trouble begins: the first of the values that are not finite.",
    Outcome.SCALER_COLLAPSE: "Here the trouble begins: gradients overflow at a scale that had fitted.",
    Outcome.DIVERGED_LOSS: "Here the trouble begins: from now on the loss stays up.",
    Outcome.SKIP_STARVED: "Here the trouble begins: from now on most updates are left out.",
    Outcome.BLANK_COLLAPSE: "Here the trouble begins: from now on the output is blank whatever the input.",
    Outcome.STALLED: "Here the trouble begins: from now on there is no progress.",
    Outcome.MEMORISED: "Here the trouble begins: from now on only the training data are learned.",
    Outcome.INFEASIBLE_DATA: "Here the trouble begins: the batch holds a target that is too long for CTC to align.",
}


def _broken(first: FirstNonfinite) -> str:
    at = f" in {first.path}" if first.path else ""
    what = {
        Place.FEATURES: f"the features of utterance {first.path}",
        Place.WEIGHT_BEFORE: f"the weight {first.path}, already before the step",
        Place.FORWARD: f"the output of {first.operation}{at}, in the forward pass",
        Place.LOSS: f"the loss ({first.operation})",
        Place.BACKWARD: f"the gradient of {first.operation}{at}, in the backward pass",
        Place.GRADIENT: f"the gradient{f' of {first.path}' if first.path else ''}",
        Place.OPTIMIZER_STATE: f"the optimizer's {first.operation} of {first.path}",
        Place.WEIGHT: f"the weight {first.path}, after the update",
    }[first.place]
    counts = " and ".join(
        text for count, text in ((first.num_nan, f"{first.num_nan} NaN"), (first.num_inf, f"{first.num_inf} infinite"))
        if count
    )  # fmt: skip
    values = "value" if first.num_nan + first.num_inf == 1 else "values"
    return f"First not finite: {what}, with {counts or 'NaN or infinite'} {values}.{_size(first)}"


def _size(first: FirstNonfinite) -> str:
    limit = FORMAT_MAX.get(first.dtype, math.nan)
    sizes = [
        f"{name} reach {number(value)}{_of_limit(value, limit)}"
        for name, value in (("inputs", first.input_absmax), ("finite outputs", first.output_absmax))
        if not math.isnan(value)
    ]
    if not sizes:
        return ""
    bound = f"; the largest {first.dtype} is {number(limit, 5)}" if limit < 1e6 else ""
    return f" Its {' and its '.join(sizes)}{bound}."


def _of_limit(value: float, limit: float) -> str:
    """How near a value comes to the limit of its format, where that says anything."""
    share = value / limit
    if not share >= 0.01:
        return ""
    return f" ({percent(share)} of the limit)" if share < 2 else f" ({number(share, 2)} times the limit)"


def _consequence(stretch: StepStretch) -> Iterator[str]:
    if stretch.num_steps > 1:
        return
    record = stretch.first
    if record.skip_reason in (SkipReason.NONFINITE, SkipReason.CALIBRATION, SkipReason.INFEASIBLE):
        halved = " and the loss scale halved" if record.loss_scale is not None else ""
        yield f"The update is left out{halved}, so the weights stay as they were."
    elif record.applied and not record.params_finite:
        yield "The update is applied all the same."


def _between(stretch: StepStretch, l_const: float | None) -> Iterator[str]:
    first, last, count = stretch.first, stretch.last, stretch.num_steps
    if count > 1:
        some = {0: "No update is applied.", count: "Every update is applied."}
        yield some.get(stretch.num_applied, f"{stretch.num_applied} of {count} updates are applied.")
        if is_finite(first.loss) and is_finite(last.loss) and first.loss > 0 < last.loss:
            change = last.loss / first.loss
            if change >= _ABOUT:
                yield f"The loss rises {number(change, 2)}-fold."
            elif change <= 1 / _ABOUT:
                yield f"The loss falls to {percent(change)} of what it was."
            else:
                near = l_const and 0.95 * l_const < last.loss < 1.05 * l_const
                yield "The loss stays about where it is" + (": that of learning nothing." if near else ".")
        elif is_broken(last.loss):
            yield "The loss is not finite."
        if _ratio(last.loss_scale, first.loss_scale) < 1:
            yield "The loss scale falls with every overflow."


def _ending(stretch: StepStretch, example: Example) -> Iterator[str]:
    row, finding = example.row, example.trace.finding
    if StepMark.ALARM in stretch.marks:
        rule = f" of the rule {finding.detector.replace('_', ' ')}" if finding and finding.detector != "end" else ""
        yield f"Alarm{rule}: {str(row['reason']).rstrip('.')}."
        if StepMark.END in stretch.marks:
            yield "The training is stopped."
        else:
            audit = ": it is one of those that show whether alarms are right" if row.get("audited") else ""
            yield f"The training runs on all the same{audit}."
    elif row["stop_step"] is None:
        yield f"The training ends: {str(row['reason']).rstrip('.')}."
    else:
        yield f"The training ends, judged {row['verdict']}."


def _seen(example: Example) -> Iterator[str]:
    """What the table of steps does not hold."""
    if example.has_traceback:
        yield f"evidence/{example.trial_id}/traceback.txt has the exception with its traceback."
    first = example.explanation.first_nonfinite if example.explanation else None
    if first is not None and not any(StepMark.BROKEN in s.marks for s in example.trace.stretches):
        yield f"At step {first.step}, of which no record was kept: {_lower(_broken(first))}"
    for detail in example.explanation.details if example.explanation else ():
        if detail != example.row["reason"] and not detail.startswith("the first value that was not finite"):
            yield _sentence(detail)


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:].rstrip('.')}."
