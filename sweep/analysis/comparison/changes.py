"""A change between two studies, A and B, and whether it is beyond chance."""

import dataclasses
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.stats import hypergeom

from sweep.analysis.answer.unsafe import fisher_p
from sweep.analysis.comparison.paired_tests import agreeing
from sweep.analysis.trials.outcomes import Share

ALPHA = 0.05
"""Chance that at least one of all tests of a comparison calls a difference that is none."""

Verdict = Literal["regression", "improvement", "too_small", "open"]


@dataclass(frozen=True)
class Power:
    """What such studies would tell in 80 % of all comparisons, if trainings scatter as they did in these."""

    text: str
    """A sentence without its full stop."""
    fall: float = math.nan
    """B minus A, in the unit of the change, at most 0: so much lower or more; NaN where no fall would be told."""
    rise: float = math.nan
    """At least 0: so much higher or more."""


@dataclass(frozen=True)
class StudyChange:
    """One thing measured in both studies and tested for a difference."""

    subject: str
    before: str
    """What A has, with its interval."""
    after: str
    difference: str
    """B minus A with its 95 % interval, in words."""
    estimate: float
    """B minus A, in `unit`; NaN where unknown."""
    low: float
    high: float
    """The 95 % interval of the difference; infinite where it is not bounded."""
    unit: str
    worse_if: Literal["lower", "higher"]
    """Which sign of the difference is the worse one."""
    test: str
    p: float
    """Two-sided, not corrected; NaN where no test was possible."""
    least_p: float = 0.0
    """The smallest p value that counts like these could have given."""
    num_tests: int = 1
    """For how many tests p is to be corrected; 0 where this test could not have shown anything."""
    smallest: float = 0.0
    """A difference of so much or less, in `unit`, does not matter."""
    power: Power | None = None
    """Known once p is corrected; None where nobody asks."""
    power_at: Callable[[float], Power] | None = None
    """`power` of a test at a two-sided level."""

    @property
    def p_corrected(self) -> float:
        """Corrected for the other tests of the comparison; 1 where this test could not have shown anything."""
        return min(1.0, self.p * self.num_tests) if self.num_tests else 1.0

    @property
    def verdict(self) -> Verdict:
        """Which way it went, if that is beyond chance and matters."""
        if math.isnan(self.p) or self.p_corrected >= ALPHA or self.estimate == 0:
            return "open"
        if abs(self.estimate) <= self.smallest:
            return "too_small"
        return "regression" if (self.estimate < 0) == (self.worse_if == "lower") else "improvement"


@dataclass(frozen=True)
class Incomparable:
    """Something that cannot be compared."""

    subject: str
    why: str


@dataclass(frozen=True)
class Told:
    """A fact of both studies that is told and not judged."""

    subject: str
    before: str
    after: str
    note: str = ""


def told(subject: str, texts: Iterable[str], note: str = "") -> Told:
    """A fact from its two texts, A's and B's."""
    before, after = texts
    return Told(subject, before, after, note)


def corrected(changes: Sequence[StudyChange]) -> tuple[StudyChange, ...]:
    """The changes, each knowing for how many tests it is to be corrected, and so what it could have shown.

    Bonferroni's correction as Tarone sharpened it (Biometrics 46, 1990): tests that could not have shown anything, such
    as of an outcome that occurred once, cost the others nothing. It holds also for tests that look at one thing, as
    those of loss and WER do.
    """
    least = [change.least_p for change in changes if not math.isnan(change.p)]
    factor = next((k for k in range(1, len(least) + 1) if sum(p <= ALPHA / k for p in least) <= k), 1)
    return tuple(_corrected(change, factor) for change in changes)


def _corrected(change: StudyChange, factor: int) -> StudyChange:
    counts = change.least_p <= ALPHA / factor
    # One that could have shown something would be one more test.
    power = change.power_at(ALPHA / (factor if counts else factor + 1)) if change.power_at is not None else None
    return dataclasses.replace(change, num_tests=factor if counts else 0, power=power)


def mover(first: tuple[float, float, float], second: tuple[float, float, float]) -> tuple[float, float]:
    """The interval of a difference, second minus first, from the two values' own intervals.

    Method of variance estimates recovery (Zou and Donner, Statistics in Medicine 27, 2008): it keeps the intervals'
    skewness.

    Args:
        first: value, lower and upper end; infinite where it is not bounded.
        second: the same.
    """
    (a, a_low, a_high), (b, b_low, b_high) = first, second
    below = math.hypot(b - b_low, a_high - a)
    above = math.hypot(b_high - b, a - a_low)
    return b - a - below, b - a + above


def share_difference(a: Share, b: Share) -> tuple[float, float, float]:
    """p of Fisher's exact test, and the 95 % interval of the difference of two independent shares.

    The interval follows from the exact ones of the shares and holds 0 where the test does.
    """
    p = fisher_p([[a.count, a.total - a.count], [b.count, b.total - b.count]])
    low, high = mover((a.rate, a.low, a.high), (b.rate, b.low, b.high))
    low, high = agreeing(low, high, p, ALPHA)
    return p, max(low, -1.0), min(high, 1.0)


def least_fisher_p(a: Share, b: Share) -> float:
    """The smallest p value of Fisher's exact test that so many successes in so many trials can give."""
    successes, total = a.count + b.count, a.total + b.total
    counts = np.arange(max(0, successes - b.total), min(successes, a.total) + 1)
    chances = hypergeom.pmf(counts, total, successes, a.total)
    return float(chances[chances <= chances.min() * (1 + 1e-7)].sum())
