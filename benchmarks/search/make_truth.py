"""Collects the results folders of `truth/*.yaml` into the stored ground truth of benchmarks/search/replay.py.

    for study in benchmarks/search/truth/*.yaml; do python -m sweep.run $study --results /tmp/truth; done
    python -m benchmarks.search.make_truth /tmp/truth/*

Trainings must have run to their end (`early_stop: false`): what would have stopped a training, said by the monitor of
today on its stored steps, is stored beside what became of it. Every setting of a grid must be there with all of its
seeds.
"""

import argparse
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks.detectors.trace_set import records_of
from benchmarks.search.surface import TRUTH_DIR
from sweep.judging.detectors import RunContext
from sweep.judging.monitor import StabilityMonitor
from sweep.records import Verdict

COLUMNS = {
    "seed": "int16",
    "stable": "bool",
    "verdict": "category",
    "alarm": "category",
    "margin": "float64",
    "wer": "float32",
    "val_loss": "float64",
    "num_steps": "int16",
    "stop_step": "Int16",
    "max_steps": "int16",
    "l_const": "float64",
}
"""What a replay needs of a training, beside its settings: how it ended, and what the monitor said on the way."""


def collect(folder: Path) -> pd.DataFrame:
    """The trainings of one results folder, sorted.

    Raises:
        SystemExit: a training ended early, or a setting lacks a seed that others have.
    """
    trials = pd.read_parquet(folder / "trials.parquet")
    short = trials["num_steps"] < trials["max_steps"]
    if short.any():
        raise SystemExit(f"{folder}: {short.sum()} trainings ended early: run the study with early_stop: false")
    settings = sorted(str(name) for name in trials if "." in str(name))
    seeds = trials.groupby(settings)["seed"].nunique()
    if len(seeds) != trials[settings].nunique().prod() or seeds.nunique() != 1:
        raise SystemExit(f"{folder}: {len(seeds)} settings are there, not all with each seed: let the study finish")
    alarms = [_first_alarm(folder, trial) for _, trial in trials.iterrows()]
    trials["alarm"] = [None if alarm is None else alarm.outcome.value for alarm in alarms]
    trials["stop_step"] = [None if alarm is None else alarm.stop_step for alarm in alarms]
    table = trials[settings + list(COLUMNS)].sort_values([*settings, "seed"])
    return table.assign(study=folder.name)


def _first_alarm(folder: Path, trial: "pd.Series[Any]") -> Verdict | None:
    """What the monitor would have stopped a training for."""
    steps = pd.read_parquet(folder / "steps" / f"{trial['trial_id']}.parquet")
    context = RunContext(
        l_const=float(trial["l_const"]),
        l_unif=float(trial["l_unif"]),
        budget_steps=int(trial["max_steps"]),
        has_scaler=bool(steps["loss_scale"].notna().any()),
    )
    monitor = StabilityMonitor(context)
    return next((alarm for record in records_of(steps) if (alarm := monitor.observe(record)) is not None), None)


def main() -> None:
    """Writes truth/trials.parquet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--out", type=Path, default=TRUTH_DIR)
    arguments = parser.parse_args()
    table = pd.concat([collect(folder) for folder in sorted(arguments.folders)], ignore_index=True)
    table = table.astype({**COLUMNS, "study": "category"})
    arguments.out.mkdir(parents=True, exist_ok=True)
    table.to_parquet(arguments.out / "trials.parquet", compression="zstd", index=False)
    print(table.groupby(["study", "verdict"], observed=True).size().unstack(fill_value=0).to_string())


if __name__ == "__main__":
    main()
