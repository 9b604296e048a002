"""The race of the leaders over fresh seeds: which are worse beyond chance, which are equal within what matters.

Successive elimination (Even-Dar, Mannor and Mansour, JMLR 7, 2006), paired by seed: after each round a leader drops out
that is worse than another one beyond chance. What tells it are Student's t intervals of paired differences: bounds that
hold for any distribution of a WER (empirical Bernstein) are wider than the whole range of WERs up to dozens of seeds.
The level is shared out evenly among the looks and the other leaders (Bonferroni), so that the truly best of all drops
out in at most LEVEL / 2 of all races. `benchmarks/search/race.py` says how often it does, with heavy tails too.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from scipy.stats import t

from sweep.study import Study, num_leaders

LEVEL = 0.05
"""Chance that any interval of a race misses its true difference, over all looks and all others of a leader."""
EQUAL = 0.01
"""Results that are less apart than this share of a complete failure are equal: a point of WER, or a hundredth of the
loss of learning nothing."""
_LEAST_SPREAD = 0.0025
"""Standard deviation of paired differences, as a share of a complete failure, below which few seeds look alike by luck:
results come in steps of one label."""


@dataclass(frozen=True)
class Rules:
    """When a race is decided, and when it ends."""

    num_leaders: int
    """Leaders that take part, at most."""
    seeds: int
    """Fresh seeds of each before anything is decided."""
    max_trainings: int
    """Of all leaders together."""
    failure: float
    """What a complete failure counts, as `Ranking.scale` has it."""

    @property
    def max_rounds(self) -> int:
        """Seeds that the last two can come to if all others drop out at the first look."""
        left = max(self.max_trainings - self.num_leaders * self.seeds, 0)
        return self.seeds + left // max(min(self.num_leaders, 2), 1)

    @property
    def level(self) -> float:
        """Chance that one interval misses the true difference."""
        return LEVEL / ((self.max_rounds - self.seeds + 1) * max(self.num_leaders - 1, 1))


def rules(study: Study, failure: float) -> Rules:
    """Those of a study."""
    confirm, num = study.confirm, num_leaders(study)
    most = num * confirm.seeds if confirm.max_trainings is None else confirm.max_trainings
    return Rules(num, confirm.seeds, most, failure)


@dataclass(frozen=True)
class PairedDifference:
    """How much lower, which is better, results are than those of another setting, over the seeds of both."""

    mean: float
    low: float
    high: float
    """Its interval, corrected for looks and leaders; infinite for fewer than two seeds."""
    num: int
    """Seeds in which both are known."""

    @property
    def is_better(self) -> bool:
        """Whether they are lower beyond chance."""
        return self.low > 0

    def is_equal(self, race: Rules) -> bool:
        """Whether the two are equal within what matters."""
        return max(-self.low, self.high) < EQUAL * race.failure


def difference(ours: Mapping[int, float], theirs: Mapping[int, float], race: Rules) -> PairedDifference:
    """Compares the results of two settings over the seeds in which both are known.

    Args:
        ours: seed -> result, lower is better; NaN where it is not known.
        theirs: of the other setting.
        race: that both take part in.
    """
    lower = np.array([theirs[seed] - ours[seed] for seed in sorted(ours.keys() & theirs.keys())])
    lower = lower[np.isfinite(lower)]
    if len(lower) < 2:
        return PairedDifference(float(lower.mean()) if len(lower) else math.nan, -math.inf, math.inf, len(lower))
    spread = max(float(lower.std(ddof=1)), _LEAST_SPREAD * race.failure)
    mean, reach = float(lower.mean()), float(t.ppf(1 - race.level / 2, len(lower) - 1)) * spread / math.sqrt(len(lower))
    return PairedDifference(mean, mean - reach, mean + reach, len(lower))


@dataclass(frozen=True)
class RaceStanding:
    """How a race stands."""

    left: tuple[int, ...]
    """Groups that did not drop out, in the order in which they came."""
    num_rounds: int
    """First seeds that are told of all that are left."""
    is_decided: bool
    """Whether one is better beyond chance than all others, or all that are left are equal within what matters."""


def standing(results: Mapping[int, Mapping[int, float]], race: Rules) -> RaceStanding:
    """Follows from the told results alone: looks at every round from the first `seeds` ones on.

    Args:
        results: group -> number of the fresh seed, from 0 -> result (`difference`), of stable leaders.
        race: its rules.
    """
    left = list(results)
    for num in range(race.seeds, race.max_rounds + 1):
        # A leader that came later, in place of one that failed, takes part in a look once it has come so far.
        there = {g: _first(results[g], num) for g in left if all(seed in results[g] for seed in range(num))}
        worse = {g for g in there if any(difference(there[b], there[g], race).is_better for b in there if b != g)}
        left = [group for group in left if group not in worse]
    num_rounds = min((_num_told(results[group]) for group in left), default=0)
    is_decided = num_rounds >= race.seeds and all(
        difference(_first(results[a], num_rounds), _first(results[b], num_rounds), race).is_equal(race)
        for a, b in combinations(left, 2)
    )
    return RaceStanding(tuple(left), num_rounds, is_decided)


def next_seeds(asked: Mapping[int, int], now: RaceStanding, race: Rules) -> Sequence[tuple[int, int]]:
    """(group, number of the fresh seed) of the trainings that may start now, in their order.

    The first `seeds` of every leader; then, until it is decided, further rounds of those that are left. A training of
    the round after the present one may start too, so that no lane is idle while the present one ends.

    Args:
        asked: how many fresh seeds of each leader were asked for.
        now: the standing.
        race: its rules.
    """
    wanted = [(seed, group) for group, num in asked.items() for seed in range(num, race.seeds)]
    if not now.is_decided:
        spent = sum(asked.values()) + len(wanted)
        for num in range(race.seeds + 1, min(now.num_rounds + 2, race.max_rounds) + 1):
            in_round = [(num - 1, group) for group in now.left if asked[group] < num]
            if (spent := spent + len(in_round)) > race.max_trainings:
                break
            wanted += in_round
    order = list(asked)
    return [(group, seed) for seed, group in sorted(wanted, key=lambda one: (one[0], order.index(one[1])))]


def _first(results: Mapping[int, float], num: int) -> dict[int, float]:
    return {seed: results[seed] for seed in range(num)}


def _num_told(results: Mapping[int, float]) -> int:
    return next(seed for seed in range(len(results) + 1) if seed not in results)
