"""How true maps are, and which search makes the best, on surfaces whose every chance is known.

    python -m benchmarks.search.made                    # on the draws that are to work with; prints it
    python -m benchmarks.search.made --held-out         # on those to report on; writes made.md here too

All searches get the same map model. Scored over 4,000 uniform settings: balanced accuracy of P(stable) >= 0.5 against
the true chance, the calibration error against that chance itself, the share of the space that is said to be stable with
0.95 or more and is not so with 0.9; over a search's course: whether it said that the map is known, and how good it was.
And what a study would recommend (`sweep.analysis.answer.safe_setting`, LR factor 3, P(breaking) at most 0.05): how
often it says that the safety rule is met, and how often that is wrong: the setting breaks in more than one of twenty
fresh trainings, or three times its learning rate in more than every second.
"""

import argparse
import functools
import math
import multiprocessing
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

from benchmarks.search.made_surfaces import HELD_OUT, KINDS, MAX_STEPS, Floats, Surface, surface
from benchmarks.search.peers import be_quiet
from benchmarks.search.replay import mean
from benchmarks.search.scores import Trial, best_loss, calibration_error, replay, stretch, within_steps
from sweep.analysis.answer.safe_setting import Rule, safe_setting
from sweep.analysis.region.evidence import Evidence
from sweep.boundary.model import MarginModel
from sweep.judging.objective import STABLE_CAP
from sweep.records import Outcome, Phase, Side, TrialResult
from sweep.running.course import table

Job = TypeVar("Job")
Done = TypeVar("Done")

REPORT = Path(__file__).with_suffix(".md")
NUM_POINTS = 4000
_NUM_SLICES, _PLACES = 64, np.linspace(0, 1, 121)
RULE = Rule(lr_factor=3.0, p_stable=0.95)
CHECKPOINTS = (24, 48, 96)
SEARCHES = (
    "stability, map",
    "stability, balanced",
    "Sobol",
    "random",
    "TPE",
    "GP-EI",
    "GP classifier",
    "BoTorch straddle",
)


@dataclass(frozen=True)
class Row:
    """One search on one surface."""

    kind: str
    draw: int
    search: str
    accuracy: tuple[float, ...]
    """Balanced, at each of CHECKPOINTS; 0.5 where all trials had ended alike, of which there is no map."""
    calibration: tuple[float, ...]
    overclaimed: tuple[float, ...]
    """Share of the space."""
    hot_error: tuple[float, ...]
    """Decades, median over slices that have a hot edge."""
    best: tuple[float, ...]
    """What the best stable setting found within as many steps as 12, 24 and 48 whole trainings take is truly worth;
    STABLE_CAP where none was found."""
    mapped_after: int | None
    mapped_accuracy: float
    """When it said that the map is known; NaN where it did not."""
    rule: tuple[bool | None, ...]
    """At each of CHECKPOINTS: whether what was said of the safety rule, that it is met, is true; None: it was not said.
    """


def judge(model: MarginModel, features: Floats, truth: Floats) -> tuple[float, float, float]:
    """Balanced accuracy, calibration error and share that is overclaimed of a map."""
    p = model.p_stable_features(features)
    good = truth >= 0.5
    accuracy = float(((p >= 0.5)[good].mean() + (p < 0.5)[~good].mean()) / 2)
    return accuracy, calibration_error(p, truth), float(((p >= 0.95) & (truth < 0.9)).mean())


def hot_edges_off(problem: Surface, model: MarginModel | None, seed: int) -> float:
    """Median distance of the map's hot edges from the true ones, decades, over slices in which there is one.

    A slice where the map has nothing stable is as far off as its range is long; so is each where there is no map.
    """
    scale = problem.encoding.axis(problem.along)
    assert scale is not None, "edges lie along a numeric setting"
    rates = [scale.from_unit(place) for place in _PLACES.tolist()]
    off = []
    for at in problem.encoding.sobol(_NUM_SLICES, seed + 1):
        line = [{**at, problem.along: rate} for rate in rates]
        _, true = stretch(problem.p_stable(line) >= 0.5)
        if 0 < true < 1:
            low, told = (0.0, 0.0) if model is None else stretch(model.p_stable(line) >= 0.5)
            off.append(abs(told - true) * scale.decades if told > low else scale.decades)
    return float(np.median(off)) if off else math.nan


def rule_said(problem: Surface, trials: Sequence[Trial]) -> bool | None:
    """Whether it is true that the recommended setting keeps the safety rule; None where that is not said."""
    results = [
        TrialResult(
            trial_id=f"{number:04d}",
            number=number,
            group=number,
            seed=number,
            phase=Phase.EXPLORE,
            settings=dict(trial.settings),
            verdict=Outcome.STABLE if trial.told.stable else Outcome.STALLED,
            reason="made up",
            side=None if trial.told.stable else Side.TOO_HOT if trial.told.num_steps < MAX_STEPS else Side.TOO_COLD,
            num_steps=trial.told.num_steps,
            max_steps=MAX_STEPS,
            objective=trial.told.objective,
            margin=trial.told.margin,
            wer=min(trial.told.raw_loss, 1.0),
            val_loss=trial.told.raw_loss,
            l_const=1.0,
        )
        for number, trial in enumerate(trials)
    ]
    found = safe_setting(Evidence(table(results), problem.space), RULE)
    if found is None or not found.meets:
        return None
    hotter = {**found.setting, problem.along: RULE.lr_factor * float(found.setting[problem.along])}
    return problem.p_sound(found.setting) >= RULE.p_stable and problem.p_sound(hotter) >= 0.5


def run(job: tuple[str, int, str]) -> Row:
    """Runs one search."""
    kind, draw, search = job
    be_quiet()
    problem = surface(kind, draw)
    points = problem.encoding.sobol(NUM_POINTS, seed=draw)
    features, truth = problem.encoding.encode(points), problem.p_stable(points)
    course = replay(problem, search, draw, max(CHECKPOINTS))  # type: ignore[arg-type]  # it asks no more of a problem

    @functools.cache
    def mapped_by(num: int) -> MarginModel | None:
        rows = course.trials[:num]
        if len({t.told.stable for t in rows}) < 2:
            return None
        return MarginModel(problem.encoding, [t.settings for t in rows], [t.told.margin for t in rows])

    def judged(num: int) -> tuple[float, float, float]:
        model = mapped_by(num)
        # Where all trials ended alike, a map would say that of all settings.
        return (0.5, math.nan, math.nan) if model is None else judge(model, features, truth)

    def hot_error(num: int) -> float:
        return hot_edges_off(problem, mapped_by(num), draw)

    accuracy, calibration, overclaimed = zip(*(judged(num) for num in CHECKPOINTS), strict=True)
    found = (best_loss(problem, within_steps(course.trials, num * MAX_STEPS // 2)) for num in CHECKPOINTS)  # type: ignore[arg-type]  # as above
    best = tuple(STABLE_CAP if math.isnan(value) else value for value in found)
    mapped = course.mapped_after
    known = math.nan if mapped is None else judged(mapped)[0]
    rule = tuple(rule_said(problem, course.trials[:num]) for num in CHECKPOINTS)
    hot = tuple(hot_error(num) for num in CHECKPOINTS)
    return Row(kind, draw, search, accuracy, calibration, overclaimed, hot, best, mapped, known, rule)


def lines(rows: Sequence[Row]) -> Iterator[str]:
    """The tables."""
    kinds = [kind for kind in KINDS if any(row.kind == kind for row in rows)]
    searches = list(dict.fromkeys(row.search for row in rows))
    for name, pick in (
        ("Balanced accuracy", "accuracy"),
        ("Calibration error", "calibration"),
        ("Overclaimed", "overclaimed"),
        ("Hot edge off, decades", "hot_error"),
        ("Best result, at as many steps as half as many whole trainings take", "best"),
    ):
        yield f"\n{name} after {', '.join(map(str, CHECKPOINTS))} trials:\n"

        def meant(kind: str, search: str, pick: str = pick) -> str:
            mine = [r for r in rows if r.search == search and kind in (r.kind, "all")]
            values = np.nanmean(np.array([getattr(r, pick) for r in mine], dtype=float), axis=0)
            return " / ".join(f"{v:.2f}" for v in values)

        yield from _table(rows, searches, meant)
    yield from pair_lines(rows)
    yield '\n"The map is known":\n'
    yield "| surface | search | said | after, median | accuracy then, lowest, mean | below 0.9 |"
    yield "|---|---|---|---|---|---|"
    for kind in (*kinds, "all"):
        for search in searches:
            mine = [r for r in rows if r.search == search and kind in (r.kind, "all")]
            said = [r for r in mine if r.mapped_after is not None]
            if said:
                known = [r.mapped_accuracy for r in said]
                after = float(np.median([r.mapped_after for r in said if r.mapped_after]))
                wrong = sum(value < 0.9 for value in known)
                level = f"{min(known):.2f}, {np.mean(known):.2f}"
                yield f"| {kind} | {search} | {len(said)} of {len(mine)} | {after:.0f} | {level} | {wrong} |"


def pair_lines(rows: Sequence[Row]) -> Iterator[str]:
    """By how much the first search is ahead of each other one, draw by draw, with the interval of the mean."""
    ours, *peers = dict.fromkeys(row.search for row in rows)

    def gained(kind: str, peer: str) -> str:
        found = {
            search: {(r.kind, r.draw): r.accuracy for r in rows if r.search == search and kind in (r.kind, "all")}
            for search in (ours, peer)
        }
        both = sorted(found[ours].keys() & found[peer].keys())
        gains = (mean([found[ours][d][k] - found[peer][d][k] for d in both]) for k in range(len(CHECKPOINTS)))
        return " / ".join(f"{g.value:+.2f} ({g.low:+.2f} to {g.high:+.2f})" for g in gains)

    yield f"\nBalanced accuracy of {ours} minus another's, mean over the draws (95 % bootstrap interval):\n"
    yield from _table(rows, peers, gained)


def rule_lines(rows: Sequence[Row]) -> Iterator[str]:
    """How often the safety rule was said to be met, and how often that was wrong."""
    yield f'\n"Safety rule met" after {", ".join(map(str, CHECKPOINTS))} trials: said, and wrong:\n'
    searches = list(dict.fromkeys(row.search for row in rows))

    def told(kind: str, search: str) -> str:
        mine = [row.rule for row in rows if row.search == search and kind in (row.kind, "all")]
        said = [sum(rule[k] is not None for rule in mine) for k in range(len(CHECKPOINTS))]
        wrong = [sum(rule[k] is False for rule in mine) for k in range(len(CHECKPOINTS))]
        return ", ".join(f"{w} of {s}" for w, s in zip(wrong, said, strict=True)) + f" ({len(mine)})"

    yield from _table(rows, searches, told)


def _table(rows: Sequence[Row], searches: Sequence[str], cell: Callable[[str, str], str]) -> Iterator[str]:
    """A line for each kind of surface and for all, a column for each search."""
    yield "| surface | " + " | ".join(searches) + " |"
    yield "|---|" + "---|" * len(searches)
    for kind in (*(kind for kind in KINDS if any(row.kind == kind for row in rows)), "all"):
        yield f"| {kind} | " + " | ".join(cell(kind, search) for search in searches) + " |"


def in_processes(run: Callable[[Job], Done], jobs: Sequence[Job], num: int) -> list[Done]:
    """What came of each job, in the order in which they ended; says how many have, on standard error."""
    done: list[Done] = []
    with multiprocessing.get_context("spawn").Pool(num) as pool:
        for one in pool.imap_unordered(run, jobs):
            done.append(one)
            print(f"\r{len(done)} of {len(jobs)}", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return done


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--held-out", action="store_true")
    parser.add_argument("--draws", type=int, default=4)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--searches", default=";".join(SEARCHES))
    parser.add_argument("--kinds", default=";".join(KINDS))
    options = parser.parse_args()
    first = HELD_OUT if options.held_out else 0
    jobs = [
        (kind, draw, search)
        for kind in options.kinds.split(";")
        for draw in range(first, first + options.draws)
        for search in options.searches.split(";")
    ]
    rows = in_processes(run, jobs, options.jobs)
    text = "\n".join((*lines(rows), *rule_lines(rows)))
    print(text)
    if options.held_out:
        head = "<!-- Written by python -m benchmarks.search.made --held-out -->\n\n"
        head += "# Maps on made-up surfaces, held out\n\n"
        head += f"{options.draws} draws of each kind that nothing was chosen by; all searches get the same map model.\n"
        REPORT.write_text(f"{head}{text}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
