"""How well the trainings of two studies ended at the settings that both trained, pair by pair.

A failure counts as a failure, as it does for claims (`claims/responses.py`): no pair is left out because one side went
badly. A setting with which neither study learned anything says nothing of a difference, and is.
"""

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from sweep.analysis.claims.responses import final_results
from sweep.analysis.comparison.changes import ALPHA, Incomparable, Power, StudyChange
from sweep.analysis.comparison.settings import Difference, other_data
from sweep.analysis.comparison.shared import Row, Shared, StudyRun, in_part, matched, same_settings
from sweep.analysis.comparison.signed_ranks import POWER, Floats, detectable, fewest_pairs, signed_ranks
from sweep.analysis.trials.answers import answers
from sweep.records import Learning
from sweep.wording import number, percent, plural

LOSS_FACTOR = 1.25
"""Factor of a loss that matters, where no claim of the studies says another."""
WER_SHARE = 0.05
"""Difference of WER that matters, likewise: that of most claims of the shipped studies."""
LEAST_LOSS = 1e-3
"""Nats a label; less counts as that, for what is next to nothing needs no telling apart."""

Name = Literal["val_loss", "train_loss", "wer"]
_NAMES: Mapping[Name, str] = {"val_loss": "validation loss", "train_loss": "training loss", "wer": "WER"}
SUBJECT = "at the same settings"
_NONE = "no setting was trained in both (studies of one space, search and seed have the same ones)"


@dataclass(frozen=True)
class _Pair:
    """A setting that both studies trained; of designs, a block's training at one."""

    before: Sequence[Row]
    """Of A, with a column for each of _NAMES and `learned`."""
    after: Sequence[Row]
    unit: object
    """Pairs of one unit are not independent: their mean counts."""


@dataclass(frozen=True)
class SharedResults:
    """Losses and WER of the settings that both studies trained."""

    found: tuple[StudyChange | Incomparable, ...]
    basis: str
    """Which trainings they are of, a sentence; empty where there are none."""


def shared_results(a: StudyRun, b: StudyRun, shared: Shared, settings: Sequence[Difference]) -> SharedResults:
    """Compares final losses and WER at the same settings.

    Args:
        a: before.
        b: after.
        shared: the part of the space that both cover, not empty.
        settings: what differs between the studies: results on other data are not compared.
    """
    # Of programs of the user's own nobody knows a WER; what they are ranked by, their answers are compared in.
    has_wer = not (a.study.is_own and b.study.is_own)
    what = f"loss and WER {SUBJECT}" if has_wer else f"loss {SUBJECT}"
    pairs = _pairs(a, b, _measured(in_part(a, shared)), _measured(in_part(b, shared)))
    why = other_data(settings)
    if why or not pairs:
        return SharedResults((Incomparable(what, why or _NONE),), "")
    kept = [pair for pair in pairs if any(row["learned"] for row in (*pair.before, *pair.after))]
    if not kept:
        none = f"{plural(len(pairs), 'setting')} trained in both, and neither learned anything with any of them"
        return SharedResults((Incomparable(what, none),), "")
    # A table of an earlier version, or a study that never evaluates, has no validation loss.
    loss: Name = "val_loss" if len(_both(kept, "val_loss")) >= len(_both(kept, "train_loss")) else "train_loss"
    barren = len(pairs) - len(kept)
    more = f" ({barren} more with which neither did)" if barren else ""
    names: tuple[Name, ...] = (loss, "wer") if has_wer else (loss,)
    matters = (_matter_text(name, _smallest(a, b, name)) for name in names)
    what = "losses and WER" if has_wer else "losses"
    basis = (
        f"{what} of {plural(len(kept), 'setting')} that both trained and A or B learned with{more}; what is less than "
        f"{' or '.join(matters)} does not matter"
    )
    return SharedResults(tuple(_compare(a, b, kept, name) for name in names), basis)


def _measured(trials: pd.DataFrame) -> pd.DataFrame:
    names: tuple[Name, ...] = ("val_loss", "train_loss", "wer")
    learned = [one.learning is Learning.LEARNED for one in answers(trials)]
    return trials.assign(**{name: final_results(trials, name) for name in names}, learned=learned)


def _pairs(a: StudyRun, b: StudyRun, first: pd.DataFrame, second: pd.DataFrame) -> list[_Pair]:
    if a.is_design and b.is_design:
        return [_Pair([pair.before], [pair.after], pair.unit) for pair in matched(a, b, first, second)]
    return [_Pair(before, after, key) for key, before, after in same_settings(a, b, first, second)]


def _both(pairs: Sequence[_Pair], name: Name) -> list[tuple[float, float, object]]:
    """Means over seeds in A and in B, and the unit, of the pairs where both are known."""
    values = [(_mean(pair.before, name), _mean(pair.after, name), pair.unit) for pair in pairs]
    return [one for one in values if math.isfinite(one[0]) and math.isfinite(one[1])]


def _mean(rows: Sequence[Row], name: Name) -> float:
    known = [float(row[name]) for row in rows if math.isfinite(row[name])]
    return sum(known) / len(known) if known else math.nan


def _compare(a: StudyRun, b: StudyRun, pairs: Sequence[_Pair], name: Name) -> StudyChange | Incomparable:
    is_loss, subject = name != "wer", f"{_NAMES[name]} {SUBJECT}"
    known = _both(pairs, name)
    if not known:
        return Incomparable(subject, "not known of both trainings of any setting")
    values = np.array([one[:2] for one in known])
    scale = np.log(np.maximum(values, LEAST_LOSS)) if is_loss else values
    differences = _of_units(scale[:, 1] - scale[:, 0], [one[2] for one in known])
    seen = signed_ranks(differences, ALPHA)
    smallest = _smallest(a, b, name)
    text = functools.partial(_size_text, is_loss=is_loss)
    interval = "no interval" if math.isinf(seen.low) else f"{text(seen.low)} to {text(seen.high)}"
    means = [float(mean) for mean in scale.mean(axis=0)]
    unit = "block" if a.is_design and b.is_design else "setting"
    unknown = f", {plural(len(pairs) - len(known), 'pair')} not known" if len(known) < len(pairs) else ""
    return StudyChange(
        subject=subject,
        before=_mean_text(means[0], is_loss=is_loss),
        after=_mean_text(means[1], is_loss=is_loss),
        difference=f"{text(seen.estimate)} {'times' if is_loss else 'points'} ({interval})",
        estimate=seen.estimate,
        low=seen.low,
        high=seen.high,
        unit="natural logarithm of B / A" if is_loss else "share",
        worse_if="higher",
        test=f"{seen.test} of {plural(len(differences), unit)}{unknown}: {_ways(differences)}",
        p=seen.p if len(differences) >= fewest_pairs(ALPHA) else math.nan,
        least_p=seen.least_p,
        smallest=smallest,
        power_at=functools.partial(_power, differences, smallest, name, unit),
    )


def _of_units(differences: Floats, units: Sequence[object]) -> Floats:
    """The mean of each unit."""
    parts: dict[object, list[float]] = {}
    for unit, difference in zip(units, differences, strict=True):
        parts.setdefault(unit, []).append(float(difference))
    # What rounding leaves is no difference.
    return np.round([np.mean(part) for part in parts.values()], 9)


def _smallest(a: StudyRun, b: StudyRun, name: Name) -> float:
    """What matters, on the scale of the differences: as the studies' claims say."""
    effect = "difference" if name == "wer" else "ratio"
    claims = [c for run in (a, b) for c in run.study.claims if (c.response, c.effect) == (name, effect)]
    size = min((c.smallest_effect for c in claims), default=WER_SHARE if name == "wer" else LOSS_FACTOR)
    return size if name == "wer" else math.log(size)


def _matter_text(name: Name, smallest: float) -> str:
    if name == "wer":
        return f"{number(100 * smallest)} points of WER"
    return f"a factor {number(math.exp(smallest))} of loss"


def _ways(differences: Floats) -> str:
    lower, higher = int((differences < 0).sum()), int((differences > 0).sum())
    same = len(differences) - lower - higher
    return f"{lower} lower, {higher} higher" + (f", {same} equal" if same else "")


def _mean_text(value: float, *, is_loss: bool) -> str:
    return f"geometric mean {number(math.exp(value))}" if is_loss else f"mean {percent(value, 1)}"


def _size_text(value: float, *, is_loss: bool) -> str:
    if is_loss:
        return number(math.exp(value), 2)
    return "0" if abs(value) < 5e-4 else f"{100 * value:+.1f}"


def _power(differences: Floats, smallest: float, name: Name, unit: str, level: float) -> Power:
    num, fewest = len(differences), fewest_pairs(level)
    if num < fewest:
        return Power(f"so few {unit}s cannot show anything: it takes at least {fewest}, all of which go one way")
    size = detectable(differences, level, smallest)
    if math.isnan(size):
        return Power(f"too many {unit}s gave the same difference to know what others would show")
    if name == "wer":
        what = f"a median WER lower or higher by {number(100 * size, 2)} points"
    else:
        what = f"a median loss under {number(math.exp(-size), 2)} or over {number(math.exp(size), 2)} times A's"
    return Power(f"with {num} {unit}s {what} would be told in {percent(POWER)} of such comparisons", -size, size)
