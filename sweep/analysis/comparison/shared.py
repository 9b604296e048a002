"""The part of the space that two studies share, and which of their trainings may be held against each other."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pandas as pd

from sweep.analysis.comparison.settings import ABSENT
from sweep.analysis.region.evidence import Evidence
from sweep.analysis.trials.dimensions import plain
from sweep.analysis.trials.outcomes import at_level
from sweep.analysis.trials.tried import settings_of
from sweep.records import Phase
from sweep.search import GridSearch, Nsga2Search, RandomSearch
from sweep.space import Choice, Dimension, Grid, Scalar, Space, value_at
from sweep.study.reading import StoredStudy
from sweep.study.settings import Study
from sweep.wording import number, short_names, value_text

_DIGITS = 9
"""Significant digits to which two values of a setting are the same."""


@dataclass(frozen=True, eq=False)
class StudyRun:
    """A study and its trials, as the store holds them."""

    stored: StoredStudy
    trials: pd.DataFrame
    claims: tuple[Mapping[str, Any], ...] = ()
    """The findings of claims.json."""

    @property
    def study(self) -> Study:
        """What was asked for."""
        return self.stored.study

    @cached_property
    def evidence(self) -> Evidence:
        """The trials with what was searched."""
        return Evidence(self.trials, self.study.searched, score=self.study.score)

    @property
    def space(self) -> Space:
        """The searched settings."""
        return self.evidence.space

    @property
    def is_design(self) -> bool:
        """Whether its settings were drawn in blocks and not searched."""
        return self.study.design is not None


@dataclass(frozen=True)
class Allowed:
    """The values that a setting can have: some values, or all from `low` to `high`."""

    values: tuple[Any, ...] | None
    low: float = 0.0
    high: float = 0.0

    @property
    def is_empty(self) -> bool:
        """Whether there is no such value."""
        return not self.values if self.values is not None else self.low > self.high

    def holds(self, value: Any) -> bool:
        """Whether it may have this value."""
        if self.values is not None:
            return any(_key(value) == _key(one) for one in self.values)
        if isinstance(value, bool | str):
            return False
        return self.low * (1 - 1e-9) <= float(value) <= self.high * (1 + 1e-9)

    def both(self, other: "Allowed") -> "Allowed":
        """The values that both allow."""
        if self.values is not None:
            return Allowed(tuple(value for value in self.values if other.holds(value)))
        if other.values is not None:
            return other.both(self)
        return Allowed(None, max(self.low, other.low), min(self.high, other.high))

    @property
    def text(self) -> str:
        """`0.001 to 0.1`, or `fp32, fp16`."""
        if self.values is not None:
            return ", ".join(value_text(value) for value in self.values) or "nothing"
        return f"{number(self.low)} to {number(self.high)}"


@dataclass(frozen=True)
class Shared:
    """The part of the space that both studies cover."""

    allowed: Mapping[str, Allowed]
    """Of every setting that either searches and both have."""
    one_sided: tuple[str, ...]
    """Settings that one study searches and the other does not have at all."""
    narrowed: tuple[str, ...]
    """What each study's range was where the two are not the same, a text each."""

    @property
    def empty(self) -> tuple[str, ...]:
        """Settings of which the two studies share no value."""
        return tuple(path for path, allowed in self.allowed.items() if allowed.is_empty)

    def holds(self, setting: Mapping[str, Any]) -> bool:
        """Whether a setting lies in the shared part; inactive dimensions are missing and count as shared."""
        return all(path not in setting or allowed.holds(setting[path]) for path, allowed in self.allowed.items())


def shared_part(a: StudyRun, b: StudyRun) -> Shared:
    """Where both studies looked."""
    spaces = (a.space, b.space)
    paths = list(dict.fromkeys([*spaces[0], *spaces[1]]))
    names = short_names(paths)
    allowed: dict[str, Allowed] = {}
    one_sided, narrowed = [], []
    for path in paths:
        sides = [_allowed(run.stored, space, path) for run, space in zip((a, b), spaces, strict=True)]
        first, second = sides
        if first is None or second is None:
            one_sided.append(path)
            continue
        allowed[path] = first.both(second)
        if first != second and _key_set(first) != _key_set(second):
            narrowed.append(f"{names[path]}: {allowed[path].text} (A {first.text}; B {second.text})")
    return Shared(allowed, tuple(one_sided), tuple(narrowed))


def in_part(run: StudyRun, shared: Shared) -> pd.DataFrame:
    """The judged trials of a study in the shared part, confirming ones left out: those were chosen as stable ones."""
    known = run.evidence.tried
    known = known[known["phase"] == Phase.EXPLORE]
    kept = [shared.holds(setting) for setting in settings_of(known, run.space)]
    return known[pd.Series(kept, index=known.index, dtype=bool)]


def unguided(run: StudyRun, trials: pd.DataFrame) -> pd.DataFrame:
    """Those of some trials whose settings nobody chose by the outcomes of others: one training a setting.

    All of a design, of a random search and of a grid; else the first ones, before the search took over.
    """
    if run.is_design:
        return trials
    match run.study.search:
        case RandomSearch() | GridSearch():
            pass
        case Nsga2Search() as search:
            trials = trials[trials["group"] < search.population_size]
        case search:
            trials = trials[trials["group"] < search.num_startup]
    return trials.drop_duplicates("group")


Row = Mapping[str, Any]
"""Of the table of trials."""


@dataclass(frozen=True)
class TrialPair:
    """A training of each study at the same setting."""

    before: Row
    """Of A."""
    after: Row
    unit: Any
    """Pairs of one unit are not independent: one block of a design, or one setting."""


def matched(a: StudyRun, b: StudyRun, first: pd.DataFrame, second: pd.DataFrame) -> list[TrialPair]:
    """Trials of the very same searched setting, paired in their order."""
    pairs = []
    for key, rows, others in same_settings(a, b, first, second):
        for row, other in zip(rows, others, strict=False):
            unit = ("block", row["block"]) if a.is_design and b.is_design else ("setting", key)
            pairs.append(TrialPair(row, other, unit))
    return pairs


def same_settings(
    a: StudyRun, b: StudyRun, first: pd.DataFrame, second: pd.DataFrame
) -> list[tuple[Any, list[Row], list[Row]]]:
    """The searched settings that are in some trials of both studies: what tells them apart, A's trials, B's trials."""
    paths = sorted({*a.space, *b.space})
    parts: tuple[dict[Any, list[Row]], dict[Any, list[Row]]] = ({}, {})
    for part, run, trials in zip(parts, (a, b), (first, second), strict=True):
        for row in _rows(trials):
            part.setdefault(_setting_key(row, run, paths), []).append(row)
    return [(key, rows, parts[1][key]) for key, rows in parts[0].items() if key in parts[1]]


def at(trials: pd.DataFrame, run: StudyRun, path: str, level: Any) -> pd.DataFrame:
    """The trials at one level of a setting that the study may also have fixed."""
    return at_level(trials, path, level) if path in run.space else trials


def _rows(trials: pd.DataFrame) -> Iterable[Row]:
    return [{str(key): value for key, value in row.items()} for row in trials.to_dict("records")]


def _setting_key(row: Row, run: StudyRun, paths: Iterable[str]) -> tuple[Any, ...]:
    # A setting that a study does not search has its fixed value.
    return tuple(
        _key(plain(row[p]) if p in run.space and p in row else value_at(run.stored.content, p, ABSENT)) for p in paths
    )


def _key(value: Any) -> Any:
    """Equal for values that are the same setting: the table keeps whole numbers as floats."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return f"{float(value):.{_DIGITS}g}"
    return str(value)


def _key_set(allowed: Allowed) -> Any:
    return {_key(v) for v in allowed.values} if allowed.values is not None else (allowed.low, allowed.high)


def _allowed(stored: StoredStudy, space: Space, path: str) -> Allowed | None:
    """What a study lets a setting be; None where it does not have it."""
    if path in space:
        return _of_dimension(space[path])
    fixed: Scalar = value_at(stored.content, path, ABSENT)
    return None if fixed == ABSENT else Allowed((fixed,))


def _of_dimension(dimension: Dimension) -> Allowed:
    if isinstance(dimension, Choice | Grid):
        return Allowed(tuple(dimension.ends))
    low, high = (float(end) for end in dimension.ends)
    return Allowed(None, low, high)
