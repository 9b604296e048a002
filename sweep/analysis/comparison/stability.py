"""How often trainings of the shared part were stable in two studies, and how they ended."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
import pandas as pd
from scipy.stats import permutation_test, ttest_ind

from sweep.analysis.claims.pairs import Floats
from sweep.analysis.comparison.changes import (
    ALPHA,
    Incomparable,
    Power,
    StudyChange,
    Told,
    least_fisher_p,
    share_difference,
)
from sweep.analysis.comparison.paired_tests import agreeing, difference_interval, mcnemar_p, sign_flip_p
from sweep.analysis.comparison.power import independent_power, mean_power, paired_power
from sweep.analysis.comparison.shared import Shared, StudyRun, TrialPair, at, in_part, matched, unguided
from sweep.analysis.trials.dimensions import Dimension, dimensions, panel_dimension
from sweep.analysis.trials.groups import mean_interval
from sweep.analysis.trials.outcomes import OUTCOME_ORDER, Share, clopper_pearson, share
from sweep.records import NotKnown, Outcome
from sweep.wording import number, percent, plural, value_text

MIN_SAMPLE = 5
"""Fewer trainings on a side are not tested."""

_NUM_PERMUTATIONS = 9999

Flag = Callable[[Mapping[str, Any]], bool]


@dataclass(frozen=True)
class FairSample:
    """The trainings of two studies that may be held against each other."""

    pairs: tuple[TrialPair, ...]
    """Of the same settings; empty where independent samples say more."""
    first: pd.DataFrame
    """A's trainings of `pairs`, or its sample."""
    second: pd.DataFrame
    text: str
    """What they are, in a sentence."""
    by_block: bool = False
    """Whether independent samples are of blocks, whose trainings share a drawn setting."""


def fair_sample(a: StudyRun, b: StudyRun, shared: Shared) -> FairSample | NotKnown:
    """The fair part of both studies' trainings.

    A search goes where it expects something, so the share of its stable trainings says where it looked. Fair are
    trainings of the same settings, and those whose settings were chosen without regard to outcomes.
    """
    first, second = in_part(a, shared), in_part(b, shared)
    if first.empty or second.empty:
        none = " and ".join(name for name, part in (("A", first), ("B", second)) if part.empty)
        return NotKnown(f"no judged training of {none} lies in the part of the space that both cover")
    pairs = matched(a, b, first, second)
    free = (unguided(a, first), unguided(b, second))
    if len(pairs) >= max(MIN_SAMPLE, min(len(part) for part in free)):
        ends = pd.DataFrame([pair.before for pair in pairs]), pd.DataFrame([pair.after for pair in pairs])
        text = f"{plural(len(pairs), 'training')} of the same settings in A and B, pair by pair"
        return FairSample(tuple(pairs), *ends, text=text)
    if a.is_design != b.is_design:
        return NotKnown("one is a design of paired trainings and the other a search, and too few settings are the same")
    if a.is_design:
        cells = {*free[0]["cell"].dropna()} & {*free[1]["cell"].dropna()}
        free = (free[0][free[0]["cell"].isin(cells)], free[1][free[1]["cell"].isin(cells)])
    if few := _too_few(*free, by_block=a.is_design):
        return NotKnown(
            f"too few trainings whose settings were chosen without regard to outcomes ({few}), and {len(pairs)} of the "
            "same setting"
        )
    text = (
        f"trainings whose settings were chosen without regard to outcomes (A {len(free[0])}, B {len(free[1])}); where "
        "a search went later says nothing of how often training is stable"
    )
    if a.is_design:
        text = f"blocks of two designs, and the combinations of levels that both have ({plural(len(cells), 'cell')})"
    return FairSample((), *free, text=text, by_block=a.is_design)


def share_changes(a: StudyRun, b: StudyRun, shared: Shared, fair: FairSample) -> Iterator[StudyChange | Incomparable]:
    """The share of stable trainings, over all and at each level of the precision (or first category)."""
    yield _compare("stable share", fair, lambda row: bool(row["stable"]), "lower")
    panel = shared_panel(a, b, shared)
    if panel is None:
        return
    levels = shared.allowed[panel.path].values or ()
    for level in levels if len(levels) > 1 else ():
        part = _at_level(a, b, fair, panel, level)
        subject = f"stable share, {panel.name} {value_text(level)}"
        if few := _too_few(part.first, part.second, by_block=part.by_block):
            yield Incomparable(subject, f"too few such trainings ({few})")
        else:
            yield _compare(subject, part, lambda row: bool(row["stable"]), "lower")


def outcome_changes(fair: FairSample) -> Iterator[StudyChange]:
    """Each way of failing that occurred in the fair trainings."""
    seen = {*fair.first["verdict"], *fair.second["verdict"]}
    for outcome in OUTCOME_ORDER:
        if outcome.value in seen and not outcome.is_stable and not outcome.is_open:
            yield _compare(f"share of {outcome.value}", fair, _ended_as(outcome), "higher")


def new_outcomes(first: pd.DataFrame, second: pd.DataFrame) -> Iterator[Told]:
    """Outcomes of all judged trainings of the shared part that only one study has."""
    for outcome in OUTCOME_ORDER:
        counts = [share(part["verdict"] == outcome.value) for part in (first, second)]
        if (counts[0].count == 0) != (counts[1].count == 0):
            note = "new in B" if counts[1].count else "gone in B"
            yield Told(outcome.value, share_text(counts[0]), share_text(counts[1]), note)


def shared_panel(a: StudyRun, b: StudyRun, shared: Shared) -> Dimension | None:
    """The category by which both studies are split: one that either searches and both have."""
    spaces = {**b.space, **a.space}
    dims = dimensions({path: searched for path, searched in spaces.items() if path in shared.allowed})
    both = [d for d in dims if d.kind == "category" and d.path in a.space and d.path in b.space]
    return panel_dimension(both)


def share_text(found: Share) -> str:
    """`12 of 20 (60 %, 36 to 81 %)`."""
    if not found.total:
        return "none trained"
    return f"{found.count} of {found.total} ({percent(found.rate)}, {_range(found.low, found.high)})"


def _block_text(found: Share, means: Floats) -> str:
    """As `share_text`, with the interval of the mean of independent blocks."""
    low, high = mean_interval(means)
    if not low < high:
        # All blocks alike: each counts as one trial.
        low, high = clopper_pearson(round(float(means.mean()) * len(means)), len(means))
    return f"{found.count} of {found.total} ({percent(found.rate)}, {_range(low, min(high, 1.0))})"


def _range(low: float, high: float) -> str:
    return f"{100 * low:.0f} to {100 * high:.0f} %"


def _too_few(first: pd.DataFrame, second: pd.DataFrame, *, by_block: bool) -> str:
    """How many there are and are needed; empty where they are enough."""
    if min(len(first), len(second)) < MIN_SAMPLE:
        return f"A {len(first)}, B {len(second)}; {MIN_SAMPLE} are needed"
    blocks = [part["block"].nunique() for part in (first, second)] if by_block else [2]
    return f"A {blocks[0]}, B {plural(blocks[1], 'block')}; 2 are needed" if min(blocks) < 2 else ""


def _ended_as(outcome: Outcome) -> Flag:
    return lambda row: str(row["verdict"]) == outcome.value


def _at_level(a: StudyRun, b: StudyRun, fair: FairSample, panel: Dimension, level: Any) -> FairSample:
    first, second = at(fair.first, a, panel.path, level), at(fair.second, b, panel.path, level)
    kept = {str(trial_id) for trial_id in first["trial_id"]}
    pairs = tuple(pair for pair in fair.pairs if str(pair.before["trial_id"]) in kept)
    return FairSample(pairs, first, second, fair.text, fair.by_block)


def _compare(subject: str, fair: FairSample, flag: Flag, worse_if: Literal["lower", "higher"]) -> StudyChange:
    flags = [_flags(part, flag) for part in (fair.first, fair.second)]
    a, b = (share(own > 0) for own in flags)
    before, after = share_text(a), share_text(b)
    power_at: Callable[[float], Power]
    if fair.pairs:
        effects, cells = _effects(fair.pairs, flag)
        estimate, low, high, p, least, test = _paired(effects, cells)
        power_at = _paired_power(effects, cells, a.rate)
    elif fair.by_block:
        means = [
            np.asarray(own.groupby(part["block"]).mean(), dtype=np.float64)
            for own, part in zip(flags, (fair.first, fair.second), strict=True)
        ]
        estimate, low, high, p, least = _of_blocks(*means)
        blocks = f"{len(means[0])} and {plural(len(means[1]), 'block')}"
        test = f"permutation test of {blocks}"
        power_at = partial(mean_power, blocks, a.rate, *_welch_error(*means))
        before, after = (_block_text(s, one) for s, one in zip((a, b), means, strict=True))
    else:
        p, low, high = share_difference(a, b)
        estimate, least, test = b.rate - a.rate, least_fisher_p(a, b), "Fisher's exact test"
        power_at = partial(independent_power, a, b.total)
    return StudyChange(
        subject=subject,
        before=before,
        after=after,
        difference=f"{_points(estimate)} points ({_points(low)} to {_points(high)})",
        estimate=estimate,
        low=low,
        high=high,
        unit="share",
        worse_if=worse_if,
        test=test,
        p=p,
        least_p=least,
        # Of one way of failing among several, nobody asks.
        power_at=power_at if worse_if == "lower" else None,
    )


def _flags(part: pd.DataFrame, flag: Flag) -> "pd.Series[float]":
    rows = [{str(key): value for key, value in row.items()} for row in part.to_dict("records")]
    return pd.Series([float(flag(row)) for row in rows], index=part.index, dtype=float)


def _of_blocks(first: Floats, second: Floats) -> tuple[float, float, float, float, float]:
    """Estimate, Welch's 95 % interval, permutation p and least possible p of the difference of blocks' means."""
    if np.ptp(np.concatenate([first, second])) == 0:
        return 0.0, -1.0, 1.0, 1.0, 1.0

    def difference(x: Floats, y: Floats, axis: int) -> Floats:
        gap: Floats = np.mean(y, axis=axis) - np.mean(x, axis=axis)
        return gap

    rng = np.random.default_rng(0)
    found = permutation_test((first, second), difference, n_resamples=_NUM_PERMUTATIONS, vectorized=True, rng=rng)
    p, estimate = float(found.pvalue), float(found.statistic)
    interval = ttest_ind(second, first, equal_var=False).confidence_interval(1 - ALPHA)
    low, high = agreeing(max(float(interval.low), -1.0), min(float(interval.high), 1.0), p, ALPHA)
    return estimate, low, high, p, 0.0


def _points(value: float) -> str:
    return "0" if round(100 * value) == 0 else f"{100 * value:+.0f}"


def _effects(pairs: Sequence[TrialPair], flag: Flag) -> tuple[Floats, int]:
    """The mean difference of each independent unit of pairs, [N], and of how many pairs a unit is; 1 where all are."""
    units: dict[Any, list[float]] = {}
    for pair in pairs:
        units.setdefault(pair.unit, []).append(float(flag(pair.after)) - float(flag(pair.before)))
    return np.array([np.mean(values) for values in units.values()]), math.lcm(*map(len, units.values()))


def _paired(effects: Floats, cells: int) -> tuple[float, float, float, float, float, str]:
    """Estimate, 95 % interval, p, least possible p and test of the mean difference of units.

    The interval is that of a paired design's claims.
    """
    single = cells == 1
    p = mcnemar_p(effects) if single else sign_flip_p(effects, cells)
    apart = int((effects != 0).sum())
    low, high = agreeing(*difference_interval(effects, cells, ALPHA), p, ALPHA)
    changed = [int((effects > 0).sum()), int((effects < 0).sum())]
    kind = "pairs" if single else "groups of pairs"
    name = "exact McNemar test" if single else "exact sign-flip test"
    test = f"{name} of {number(len(effects))} {kind}: {changed[0]} more and {changed[1]} less often"
    return float(effects.mean()), low, high, p, 2.0 ** (1 - apart) if apart else 1.0, test


def _paired_power(effects: Floats, cells: int, base: float) -> Callable[[float], Power]:
    num = len(effects)
    if cells == 1:
        return partial(paired_power, num, int((effects != 0).sum()), base)
    error = float(effects.std(ddof=1)) / math.sqrt(num) if num > 1 else 0.0
    return partial(mean_power, f"{num} groups of pairs", base, error, num - 1)


def _welch_error(first: Floats, second: Floats) -> tuple[float, float]:
    """Standard error of the difference of two means, and its degrees of freedom (Welch, Biometrika 34, 1947)."""
    parts = [float(np.var(part, ddof=1)) / len(part) for part in (first, second)]
    known = sum(part**2 / (len(own) - 1) for part, own in zip(parts, (first, second), strict=True))
    return math.sqrt(sum(parts)), sum(parts) ** 2 / known if known else math.inf
