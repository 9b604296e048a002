"""What the trials show to be unsafe: plain statements with their counts, never beyond the data."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Literal

import numpy as np
import pandas as pd
from scipy.stats import fisher_exact

from sweep.analysis.trials.columns import levels_of
from sweep.analysis.trials.dimensions import Dimension, learning_rate, panel_dimension
from sweep.analysis.trials.groups import setting_groups
from sweep.analysis.trials.outcomes import at_level, judged, share
from sweep.records import Outcome, Phase
from sweep.wording import number, percent, plural, value_text

MIN_TAIL = 3
"""Unstable trials in a row, up to an end of the range, that are worth a statement."""
SIGNIFICANT = 0.05


@dataclass(frozen=True)
class Caution:
    """A statement that the trials support."""

    kind: Literal["tail", "level", "difference"]
    text: str
    num_unstable: int
    num_trials: int
    """The trials that the statement is about."""


@dataclass(frozen=True)
class LrBracket:
    """Where the upper stability edge of the learning rate lies, at one level of the panel setting."""

    level: Any
    """None where trials are not split."""
    num_trials: int
    highest_stable: float | None
    num_at_or_below: int
    """Trials at or below the highest stable learning rate."""
    num_stable_at_or_below: int
    lowest_unstable: float | None
    """Lowest unstable learning rate above the lowest stable one: an edge from above, not a stalled run."""

    @property
    def mixed(self) -> bool:
        """Whether unstable trials lie below the highest stable learning rate: other settings decide there."""
        return (
            self.highest_stable is not None
            and self.lowest_unstable is not None
            and self.lowest_unstable <= self.highest_stable
        )


def lr_brackets(trials: pd.DataFrame, lr: Dimension, panel: Dimension | None) -> list[LrBracket]:
    """One bracket a level with judged trials; a trial counts as stable only if every seed of its setting was."""
    seen = judged(trials)
    known = seen[seen[lr.path].notna()] if lr.path in seen else seen.iloc[0:0]
    known = known.assign(stable=known.groupby("group")["stable"].transform("all")) if len(known) else known
    levels = levels_of(panel, known) if panel else [None]
    parts = [(level, at_level(known, panel.path, level) if panel else known) for level in levels]
    return [_bracket(level, part, lr) for level, part in parts if len(part)]


def _bracket(level: Any, part: pd.DataFrame, lr: Dimension) -> LrBracket:
    stable = part["stable"].astype(bool)
    rates = part[lr.path].astype(float)
    if not stable.any():
        return LrBracket(level, len(part), None, 0, 0, None)
    highest, lowest = float(rates[stable].max()), float(rates[stable].min())
    below = rates <= highest
    unstable_above = rates[~stable & (rates > lowest)]
    return LrBracket(
        level=level,
        num_trials=len(part),
        highest_stable=highest,
        num_at_or_below=int(below.sum()),
        num_stable_at_or_below=int((below & stable).sum()),
        lowest_unstable=float(unstable_above.min()) if len(unstable_above) else None,
    )


def claims(trials: pd.DataFrame, dims: Sequence[Dimension]) -> list[Caution]:
    """Learning-rate tails by level, tails of other settings, bad levels, differences of levels; of judged trials."""
    trials = judged(trials)
    panel, lr = panel_dimension(dims), learning_rate(dims)
    found: list[Caution] = []
    if lr is not None and lr.path in trials:
        for level in levels_of(panel, trials) if panel else [None]:
            part = at_level(trials, panel.path, level) if panel else trials
            where = f" with {panel.name} {value_text(level)}" if panel else ""
            found += _tails(part, lr, where)
        # Too few trials at each level may be enough together.
        found = found or _tails(trials, lr, "")
    for dim in dims:
        if dim.kind == "number" and dim is not lr and dim.path in trials:
            found += [c for c in _tails(trials, dim, "") if _beyond_chance(c, trials)]
        elif dim.kind == "category":
            found += [c for c in _bad_levels(trials, dim) if _beyond_chance(c, trials)]
    if panel is not None and 0 < trials["stable"].sum() < len(trials):
        found += _differences(trials, dims, panel)
    return found


def _tails(part: pd.DataFrame, dim: Dimension, where: str) -> list[Caution]:
    """Statements about the upper and the lower end of a range, where every trial was unstable.

    Nothing is said where no trial was stable at all: that is not about this setting's ends.
    """
    known = part[part[dim.path].notna()]
    stable = known["stable"].astype(bool)
    if not stable.any():
        return []
    values = known[dim.path].astype(float)
    upper = known[values > float(values[stable].max())]
    lower = known[values < float(values[stable].min())]
    found = []
    for tail, side in ((upper, "upper"), (lower, "lower")):
        if len(tail) >= MIN_TAIL:
            edge = tail[dim.path].astype(float)
            bound = number(float(edge.min() if side == "upper" else edge.max()))
            word = "or more" if side == "upper" else "or less"
            text = f"{dim.beginning} {bound} {word}{where}: {_all_of(tail)}"
            found.append(Caution("tail", text + ".", len(tail), len(tail)))
    return found


def _bad_levels(trials: pd.DataFrame, dim: Dimension) -> list[Caution]:
    found = []
    for level in levels_of(dim, trials):
        part = at_level(trials, dim.path, level)
        if len(part) >= MIN_TAIL and not part["stable"].any() and trials["stable"].any():
            text = f"{dim.beginning} {value_text(level)}: {_all_of(part)}"
            found.append(Caution("level", text + ".", len(part), len(part)))
    return found


def _all_of(part: pd.DataFrame) -> str:
    """`9 of 9 trials unstable (7 diverged-loss, 2 scaler-collapse; 95 % interval 66 % to 100 %)`."""
    counts = Counter(str(v) for v in part["verdict"])
    kinds = ", ".join(f"{n} {kind}" for kind, n in counts.most_common())
    low = share([True] * len(part)).low
    return f"{len(part)} of {plural(len(part), 'trial')} unstable ({kinds}; 95 % interval {percent(low)} to 100 %)"


def _beyond_chance(claim: Caution, trials: pd.DataFrame) -> bool:
    """Whether the share of unstable trials that it is about differs from that of the others beyond chance."""
    num_bad = int((~trials["stable"].astype(bool)).sum())
    rest = len(trials) - claim.num_trials
    table = [[claim.num_unstable, 0], [num_bad - claim.num_unstable, rest - (num_bad - claim.num_unstable)]]
    return fisher_p(table) < SIGNIFICANT


def fisher_p(table: list[list[int]]) -> float:
    """Two-sided p-value of Fisher's exact test on a 2 x 2 table of counts."""
    return float(fisher_exact(np.array(table)).pvalue)


def _differences(trials: pd.DataFrame, dims: Sequence[Dimension], panel: Dimension) -> list[Caution]:
    """Compares the levels of the panel setting pairwise, a setting counted once however many seeds it had.

    Confirming trials are left out: they were run because their setting had been stable.
    """
    explored = trials[trials["phase"] != Phase.CONFIRM]
    groups = setting_groups(explored, dims) if len(explored) else []
    tables = {}
    for level in panel.levels:
        flags = [g.all_stable for g in groups if g.setting[panel.path] == level]
        if flags:
            tables[level] = (sum(flags), len(flags))
    pairs = list(combinations(tables, 2))
    found, smallest = [], 1.0
    for a, b in pairs:
        (ka, na), (kb, nb) = tables[a], tables[b]
        # Bonferroni over the pairs: with three precisions, three looks are taken.
        p = min(1.0, fisher_p([[ka, na - ka], [kb, nb - kb]]) * len(pairs))
        smallest = min(smallest, p)
        if p < SIGNIFICANT:
            text = (
                f"{panel.beginning} {value_text(a)} was stable in {ka} of {plural(na, 'setting')}, "
                f"{value_text(b)} in {kb} of {nb}: a difference beyond chance ({_test(p, len(pairs))})"
            )
            found.append(Caution("difference", text + ".", (na - ka) + (nb - kb), na + nb))
    if pairs and not found:
        num_stable, num_all = sum(k for k, _ in tables.values()), sum(n for _, n in tables.values())
        text = (
            f"The levels of {panel.name} do not differ beyond chance in how many settings were stable "
            f"({_test(smallest, len(pairs))}). That does not show that they are equal"
        )
        found.append(Caution("difference", text + ".", num_all - num_stable, num_all))
    return found


def _test(p: float, num_pairs: int) -> str:
    over = "" if num_pairs == 1 else f", corrected for {num_pairs} pairs"
    return f"Fisher's exact test, p = {number(p, 2)}{over}"


def common_failure(trials: pd.DataFrame) -> Outcome | None:
    """The outcome that all trials share, if none was stable and they failed alike."""
    kinds = {str(v) for v in trials["verdict"]}
    if len(kinds) == 1 and not trials["stable"].any():
        return Outcome(kinds.pop())
    return None
