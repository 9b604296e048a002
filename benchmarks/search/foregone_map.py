"""The same map for fewer steps: what ending trainings early, in both directions, does to a map of real trainings.

    python -m benchmarks.search.foregone_map RESULTS [RESULTS ...]

Each folder is of a study with `search.foregone` and `audit.rate: 1`: every training that would have ended early ran on
to its end, and its row says where it would have ended. Such a study is

    python -m sweep.run studies/teacher_stability.yaml --set name=whole --set audit.rate=1 --set confirm.settings=0

The map is fitted twice to the same trainings: with what they came to, and with
the labels that ending them early would have given. Prints the table and writes benchmarks/search/foregone_map.md.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import qmc

from benchmarks.search.shipped import PRECISION, map_edge, usual
from sweep.analysis.region.evidence import Evidence
from sweep.analysis.trials.outcomes import clopper_pearson
from sweep.boundary.model import MarginModel
from sweep.records import UNMEASURED_MARGIN, Outcome, Phase
from sweep.space import Choice, LogUniform, Settings
from sweep.store import read_trials
from sweep.study.reading import read_study

REPORT = Path(__file__).with_suffix(".md")
NUM_POINTS = 4096


def ended_early(trials: pd.DataFrame) -> pd.DataFrame:
    """The trials with the labels and margins of an end at the alarm, or where they were as good as stable."""
    changed = trials.copy()
    told = changed["foregone_step"].notna()
    changed.loc[told, "verdict"] = Outcome.FOREGONE.value
    changed.loc[told, "stable"] = True
    # How much deeper one would have come, nobody knows.
    for column in ("margin", "margin_break", "margin_learn"):
        changed.loc[told, column] = -UNMEASURED_MARGIN
    changed.loc[told, "side"] = None
    return changed


def steps(trials: pd.DataFrame) -> tuple[int, int, int]:
    """Steps of all trainings to their end, ended at their alarm alone, and ended early in both directions."""
    whole, stop, good = (trials[name].astype(float) for name in ("num_steps", "stop_step", "foregone_step"))
    alarmed = np.fmin(whole, stop)
    return int(whole.sum()), int(alarmed.sum()), int(np.fmin(alarmed, good).sum())


def model_of(trials: pd.DataFrame, folder: Path) -> MarginModel:
    """The report's map."""
    found = Evidence(trials, read_study(folder).study.searched).model
    if not isinstance(found, MarginModel):
        raise SystemExit(f"{folder}: {found.why}")
    return found


def points(folder: Path) -> list[Settings]:
    """Settings spread evenly over the study's space."""
    space = read_study(folder).study.searched
    unit = qmc.Sobol(len(space), seed=0).random(NUM_POINTS)
    columns = {}
    for number, (path, dimension) in enumerate(space.items()):
        if isinstance(dimension, Choice):
            columns[path] = [dimension.choice[int(u * len(dimension.choice))] for u in unit[:, number]]
        elif isinstance(dimension, LogUniform):
            low, high = np.log(dimension.ends)
            columns[path] = np.exp(low + (high - low) * unit[:, number]).tolist()
        else:
            raise SystemExit(f"{folder}: {path} is neither a choice nor a logarithmic range")
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def lines(folders: list[Path]) -> Iterator[str]:
    """The table."""
    yield "| study | trainings | steps to the end | at alarms | and where as good as stable | labels wrong (95 %) |"
    yield "|---|---|---|---|---|---|"
    compared = []
    for folder in folders:
        trials = read_trials(folder)
        trials = trials[trials["phase"] == Phase.EXPLORE]
        whole, alarmed, early = steps(trials)
        told = trials["foregone_step"].notna()
        wrong = int((~trials["stable"][told].astype(bool)).sum())
        low, high = clopper_pearson(wrong, int(told.sum()))
        yield (
            f"| {folder.name} | {len(trials)} | {whole} | {alarmed / whole:.0%} | {early / whole:.0%} "
            f"({early / alarmed:.0%} of those) | {wrong} of {int(told.sum())} ({100 * low:.1f} to {100 * high:.1f} %) |"
        )
        true, fast = model_of(trials, folder), model_of(ended_early(trials), folder)
        where = points(folder)
        p_true, p_fast = true.p_stable(where), fast.p_stable(where)
        compared.append((folder, true, fast, p_true, p_fast))
    yield ""
    yield "| study | P(stable) apart, mean | 95th percentile | on the same side of 1/2 | hot edges apart, decades |"
    yield "|---|---|---|---|---|"
    for folder, true, fast, p_true, p_fast in compared:
        apart = np.abs(p_true - p_fast)
        content = read_study(folder).content
        edges = []
        for precision in read_study(folder).study.searched[PRECISION].choice:
            at = {**usual(content), PRECISION: precision}
            edges.append(f"{precision} {abs(map_edge(true, at) - map_edge(fast, at)):.2f}")
        yield (
            f"| {folder.name} | {apart.mean():.3f} | {np.quantile(apart, 0.95):.3f} "
            f"| {np.mean((p_true > 0.5) == (p_fast > 0.5)):.1%} | {', '.join(edges)} |"
        )


def main() -> None:
    """Prints the table and writes it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path, nargs="+")
    text = []
    for line in lines(parser.parse_args().results):
        print(line, flush=True)
        text.append(line)
    head = "<!-- Written by python -m benchmarks.search.foregone_map -->\n\n# The same map for fewer steps\n\n"
    REPORT.write_text(head + "\n".join(text) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
