"""How often the race over fresh seeds drops the truly best leader or picks it, and what it costs; made-up results.

    python -m benchmarks.search.race    # prints it; about five minutes

Each race is run as a study runs it, on one lane, by the rules of `sweep.analysis.answer.race`. Results of a seed share
half of their variance. Compared is what went before: as many seeds for every leader as the same trainings allow, and
the best mean wins. `outlier`: one training in ten is worse by three standard deviations, as close to an edge of
stability. `uneven`: the best leader's results are even, and of the others one in ten is bad, so that they look
better than they are in most races: no rule that knows nothing of the distribution is right there with three seeds.
"""

import argparse
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sweep.analysis.answer.race import LEVEL, Rules, difference, next_seeds, standing

SPREAD = 0.015
"""Standard deviation of a WER over seeds; that of the shipped teacher is 0.002."""
SEEDS = 3
KINDS = ("normal", "t3", "lognormal", "outlier", "uneven")
CASES: tuple[tuple[tuple[float, ...], int], ...] = (
    ((0.0, 0.0), 6),
    ((0.0, 0.02), 6),
    ((0.0, 0.0), 20),
    ((0.0, 0.01), 20),
    ((0.0, 0.02), 20),
    ((0.0, 0.05), 20),
    ((0.0, 0.0, 0.0, 0.0), 40),
    ((0.0, 0.005, 0.05, 0.05), 40),
    ((0.0, 0.02, 0.02, 0.02), 40),
)
"""How far leaders lie behind the best one, and the budget of their race."""
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Race:
    """What became of one."""

    picks_best: bool
    drops_best: bool
    is_decided: bool
    num_trainings: int
    fixed_picks_best: bool
    """Whether the best mean of equally many seeds of all is that of the best leader."""
    ahead_wrongly: bool
    """Whether another one was picked, and its interval says that it is better than the best one."""


def draws(kind: str, num_seeds: int, num: int, rng: np.random.Generator) -> Floats:
    """Deviations of mean 0 and standard deviation 1, [seeds, num]."""
    size = (num_seeds, num)
    if kind == "t3":
        return rng.standard_t(3, size=size) / math.sqrt(3)
    if kind == "lognormal":
        raw = np.exp(0.8 * rng.normal(size=size))
        mean = math.exp(0.32)
        return (raw - mean) / (mean * math.sqrt(math.exp(0.64) - 1))
    if kind == "outlier":
        return np.where(rng.random(size) < 0.1, 3.0, -1 / 3) + 0.2 * rng.normal(size=size)
    return rng.normal(size=size)


def results(kind: str, gaps: Sequence[float], num_seeds: int, rng: np.random.Generator) -> Floats:
    """WERs of the leaders, [seeds, leaders]; the first one is the best by its true mean."""
    num = len(gaps)
    if kind == "uneven":
        own = draws("outlier", num_seeds, num, rng)
        own[:, 0] = 0.2 * rng.normal(size=num_seeds)
        shared = draws("normal", num_seeds, 1, rng)
    else:
        own, shared = draws(kind, num_seeds, num, rng), draws(kind, num_seeds, 1, rng)
    return 0.2 + np.asarray(gaps) + SPREAD * math.sqrt(0.5) * (own + shared)


def race(wers_SL: Floats, rules: Rules) -> Race:
    """One race over results that are known beforehand."""
    num = wers_SL.shape[1]
    told: dict[int, dict[int, float]] = {leader: {} for leader in range(num)}
    now = standing(told, rules)
    while wanted := next_seeds({leader: len(told[leader]) for leader in told}, now, rules):
        for leader, seed in wanted[: len(now.left)]:
            told[leader][seed] = float(wers_SL[seed, leader])
        now = standing(told, rules)
    means = {leader: float(np.mean(list(told[leader].values()))) for leader in now.left}
    picked = min(means, key=lambda leader: means[leader])
    spent = sum(map(len, told.values()))
    fixed = int(np.argmin(wers_SL[: max(spent // num, 1)].mean(axis=0)))
    return Race(
        picks_best=picked == 0,
        drops_best=0 not in now.left,
        is_decided=now.is_decided,
        num_trainings=spent,
        fixed_picks_best=fixed == 0,
        ahead_wrongly=picked != 0 and difference(told[picked], told[0], rules).is_better,
    )


def row(kind: str, gaps: Sequence[float], max_trainings: int, num_races: int, rng: np.random.Generator) -> str:
    """A line of the table."""
    rules = Rules(len(gaps), SEEDS, max_trainings, failure=1.0)
    every = [race(results(kind, gaps, rules.max_rounds, rng), rules) for _ in range(num_races)]

    def share(name: str) -> float:
        return float(np.mean([getattr(one, name) for one in every]))

    shown = ", ".join(f"{100 * gap:g}" for gap in gaps)
    rates = [share(name) for name in ("picks_best", "fixed_picks_best", "is_decided", "drops_best", "ahead_wrongly")]
    told = " | ".join(f"{rate:.3f}" for rate in rates)
    return f"| {kind} | {shown} | {max_trainings} | {share('num_trainings'):.1f} | {told} |"


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--races", type=int, default=1000, help="races a line (default: %(default)s)")
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    print(f"{options.races} races a line; at most {LEVEL / 2:.3f} may drop the best\n")
    print(
        "| noise | behind the best, points of WER | most trainings | took | picks the best | as many seeds for all do "
        "| decided | drops the best | tells another ahead |"
    )
    print("|---" * 9 + "|")
    for kind in KINDS:
        for gaps, most in CASES:
            print(row(kind, gaps, most, options.races, rng), flush=True)


if __name__ == "__main__":
    main()
