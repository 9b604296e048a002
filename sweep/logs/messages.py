"""What a line of a text log says in words: a value that is not finite, a step that was skipped, a loss scale.

| program           | message                                                                  | scale that it says |
|-------------------|--------------------------------------------------------------------------|--------------------|
| fairseq           | gradient overflow detected, ignoring gradient, setting loss scale to: 64 | the next one       |
| Apex              | Gradient overflow.  Skipping step, loss scaler 0 reducing loss scale to 4 | the next one      |
| DeepSpeed         | OVERFLOW! Rank 0 Skipping step. Attempted loss scale: 8, reducing to 4   | the one in force   |
| Megatron          | loss scale: 8.0 (number of skipped iterations: 1)                        | the one in force   |
| icefall           | Grad scale is small: 0.004; grad_scale is too small, exiting: 1e-7       | the one in force   |
| fairseq, at last  | Minimum loss scale reached (0.0001)                                      | the one in force   |
| DeepSpeed, likewise | Current loss scale already at minimum - cannot decrease scale anymore  |                    |
| Keras             | Batch 5: Invalid loss, terminating training                              |                    |
| DETR, TensorFlow, | Loss is nan, stopping training; Model diverged with loss = NaN; LossTensor is inf or nan; |   |
| Lightning         | The loss returned in `training_step` is nan or inf                       |                    |
"""

import math
import re
from collections.abc import Iterable

from sweep.logs.columns import HELD_OUT, meaning_of
from sweep.logs.facts import NUMBER, Fact, Places, said
from sweep.logs.table import REASONS
from sweep.records import SkipReason

_BAD = r"nan(?: |/| or | and/or )inf|inf(?: |/| or )nan|infinite|infinity|inf|nan|non-?finite|not finite|not a number"
_NONFINITE = re.compile(
    rf"\b(?P<what>{_BAD}|overflow\w*) (?:values? )?(?:(?:found |detected )?(?:in|for|of) )?(?:the )?(?:train(?:ing)? )?"
    r"(?P<of>loss|grad)|"
    r"\b(?P<of2>loss(?:es|tensor)?|grad(?:ient)?s?(?:[ _]norm)?)(?: value)?\s+"
    r"(?:is|are|was|became|becomes|has become|has|have|contains?|(?:went|exploded|jumped)(?: to)?|turned|diverged to|"
    r"returned in .{1,40} is)\s+"
    rf"(?:an? )?(?P<what2>{_BAD})\b|"
    r"\bgrad(?:ient)? overflow|^(?=.*\bskip)(?=.*\boverflow)|\boverflow detected|\bloss scale overflow",
    re.IGNORECASE,
)
_NEGATED = re.compile(
    r"\b(?:no|not|without|if|check(?:s|ing)?(?: for)?|avoid|prevent|when|never|whether|detect|"
    r"(?:terminat|stopp?|abort)(?:e|ing)? on)\b[^.;,]{0,16}$",
    re.IGNORECASE,
)
_INVALID = re.compile(r"\binvalid loss, terminating\b", re.IGNORECASE)
_LEAST_SCALE = re.compile(
    r"\b(?:minimum loss[ _]scale (?:is |was )?reached(?! \()|"
    r"loss[ _]scale (?:is |was )?already at (?:its |the )?minimum)",
    re.IGNORECASE,
)
"""The last word of a scaler: it has halved the scale as often as it may."""
_SKIP = re.compile(
    r"(?<!not )(?<!never )(?<!no )\bskip(?:s|ped|ping)?\b(?!['\"]?(?: (?:steps|batches|iterations))?\s*[:=])",
    re.IGNORECASE,
)
_SCALES = (
    (re.compile(rf"attempted loss scale:? *(?P<number>{NUMBER})", re.IGNORECASE), 1.0),
    (
        re.compile(
            r"(?:grad[_ ]scale is (?:too )?small(?P<last>, exiting)?:? *|(?P<least>minimum loss scale) reached \()"
            rf"(?P<number>{NUMBER})",
            re.IGNORECASE,
        ),
        1.0,
    ),
    (
        re.compile(
            r"(?:reducing|setting|reduced|set|lowering) (?:the )?(?:loss |grad(?:ient)? )?scaler?(?: down)? to:? *"
            rf"(?P<number>{NUMBER})",
            re.IGNORECASE,
        ),
        2.0,
    ),
)
"""How a scale is said, and how much larger the one in force is: where the next one is said, it was twice that."""
_ITERATIONS = re.compile(r"number of (?P<what>skipped|nan) iterations: *(?P<number>\d+)", re.IGNORECASE)
_SET = re.compile(
    r"\b(?:(?P<train>train(?:ing)?)|(?P<held>" + "|".join(sorted(HELD_OUT)) + r"))(?![\w./-]|['\"]?\s*=)",
    re.IGNORECASE,
)
_IN_A_PATH = re.compile(r"[\w./\\-]$")


def set_of(text: str) -> str | None:
    """What the latest word for a set of data in a text says: train, held (out), or nothing."""
    latest = None
    for found in _SET.finditer(text):
        if not _IN_A_PATH.search(text[: found.start()]):
            latest = "train" if found["train"] else "held"
    return latest


def messages_of(line: str, places: Places, facts: dict[str, Fact]) -> list[Fact]:
    """What a line says in words; takes from `facts` what such words only seem to say."""
    told: dict[str, Fact] = {}

    def refused(field: str, value: float, reason: SkipReason) -> None:
        for fact in (said(field, value), said("applied", 0.0), said("skip_reason", float(REASONS.index(reason)))):
            told.setdefault(fact.key, fact)

    found = _NONFINITE.search(line)
    if found is not None and set_of(line[: found.start()]) != "held" and not _NEGATED.search(line[: found.start()]):
        what = (found["what"] or found["what2"] or "").lower()
        bad = math.nan if what.startswith(("nan", "not a")) else math.inf
        if (found["of"] or found["of2"] or "").lower().startswith("loss"):
            told["loss"] = said("loss", bad)
        else:
            # Who warns of such a gradient does not apply it; the next ones would be NaN for ever.
            refused("grad_norm", bad, SkipReason.NONFINITE)
    elif _INVALID.search(line):
        told["loss"] = said("loss", math.nan)
    elif _LEAST_SCALE.search(line):
        refused("grad_norm", math.inf, SkipReason.NONFINITE)
    for pattern, factor in _SCALES:
        if (scale := pattern.search(line)) is None:
            continue
        number = places.fact("loss_scale", "loss_scale", scale["number"], scale.start("number"))
        told["loss_scale"] = as_said(number).times(factor)
        if scale.groupdict().get("last") or scale.groupdict().get("least"):
            refused("grad_norm", math.inf, SkipReason.NONFINITE)
        # `loss scaler 0 reducing loss scale to 1024`: which scaler, and the next scale.
        for key in [fact.key for fact in _of("loss_scale", facts.values())]:
            del facts[key]
        break
    for found in _ITERATIONS.finditer(line):
        # Megatron prints no loss of such an iteration.
        if int(found["number"]) and not _of("loss", facts.values()):
            is_nan = found["what"].lower() == "nan"
            refused("loss" if is_nan else "grad_norm", math.nan if is_nan else math.inf, SkipReason.NONFINITE)
    norms = _of("grad_norm", facts.values())
    if _SKIP.search(line) and (norms or _of("loss", facts.values()) or {"loss", "grad_norm"} & set(told)):
        is_finite = bool(norms) and (norms[0].place is not None or math.isfinite(norms[0].value))
        by_threshold = is_finite and "grad_norm" not in told
        reason = SkipReason.THRESHOLD if by_threshold else SkipReason.NONFINITE
        told.setdefault("applied", said("applied", 0.0))
        told.setdefault("skip_reason", said("skip_reason", float(REASONS.index(reason))))
    return list(told.values())


def as_said(fact: Fact) -> Fact:
    """A number as part of a message."""
    return Fact(fact.key, fact.name, fact.place, fact.factor, fact.value, fact.is_constant, is_said=True)


def _of(field: str, facts: Iterable[Fact]) -> list[Fact]:
    return [fact for fact in facts if (meaning := meaning_of(fact.name)) is not None and meaning.field == field]
