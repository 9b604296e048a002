"""Collects results folders of `traces/*.yaml` into the stored set of real trainings, with their truth.

    for study in benchmarks/detectors/traces/*.yaml; do python -m sweep.run $study --results /tmp/traces; done
    python -m benchmarks.detectors.make_traces /tmp/traces/*

Trainings must have run to their end. Where a study stopped some early, a second path after a comma holds the step and
evaluation tables of these, run to their end; `NAME=PATH` stores a folder under another name:

    python -m benchmarks.detectors.make_traces teacher_stability=results/teacher_stability,run_on

`--keep` leaves what is stored of other studies as it is. The ground truth of the search benchmark is part of the set:

    python -m benchmarks.detectors.make_traces --keep /tmp/truth/teacher_grid /tmp/truth/baseline_grid
"""

import argparse
from pathlib import Path

import pandas as pd

from benchmarks.detectors.trace_set import TRACES_DIR
from benchmarks.detectors.truth import judge

STEP_COLUMNS = {
    "step": "int16",
    "loss": "float32",
    "grad_norm": "float32",
    "loss_scale": "float32",
    "applied": "bool",
    "skip_reason": "category",
    "lr": "float32",
    "blank_rate": "float32",
    "input_dependence": "float32",
    "params_finite": "bool",
}
"""What the rules read, and no more."""


def collect(folder: Path, study: str, replacements: Path | None) -> tuple[list[dict[str, object]], list[pd.DataFrame]]:
    """The trials of one results folder with their truth, and their steps."""
    trials, tables = [], []
    for trial in pd.read_parquet(folder / "trials.parquet").to_dict("records"):
        name = f"{study}/{trial['trial_id']}"
        source = folder
        if replacements is not None and (replacements / "steps" / f"{trial['trial_id']}.parquet").is_file():
            source = replacements
        steps = pd.read_parquet(source / "steps" / f"{trial['trial_id']}.parquet")
        evals = pd.read_parquet(source / "evals" / f"{trial['trial_id']}.parquet")
        if len(steps) < trial["max_steps"]:
            raise SystemExit(f"{name} has {len(steps)} of {trial['max_steps']} steps: run its study without early stop")
        val_loss = float(evals["val_loss"].iloc[-1])
        truth, onset = judge(steps, trial["l_const"], val_loss)
        trials.append(
            {
                "name": name,
                "study": study,
                "precision": str(trial.get("training.precision.kind", "")),
                "lr": float(trial["training.optimizer.lr"]),
                "l_const": trial["l_const"],
                "l_unif": trial["l_unif"],
                "budget_steps": int(trial["max_steps"]),
                "has_scaler": bool(steps["loss_scale"].notna().any()),
                "val_loss": val_loss,
                "truth": truth.value,
                "onset": float("nan") if onset is None else float(onset),
            }
        )
        tables.append(steps[list(STEP_COLUMNS)].assign(name=name))
    return trials, tables


def main() -> None:
    """Writes traces/trials.parquet and traces/steps.parquet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", help="[NAME=]RESULTS[,REPLACEMENTS]")
    parser.add_argument("--keep", action="store_true", help="add to the stored set, or replace studies in it")
    parser.add_argument("--out", type=Path, default=TRACES_DIR)
    arguments = parser.parse_args()
    trials: list[dict[str, object]] = []
    tables: list[pd.DataFrame] = []
    for entry in arguments.folders:
        name, _, paths = entry.rpartition("=")
        path, _, replacements = paths.partition(",")
        one = collect(Path(path), name or Path(path).name, Path(replacements) if replacements else None)
        trials += one[0]
        tables += one[1]
    table = pd.DataFrame(trials)
    if arguments.keep:
        stored = pd.read_parquet(arguments.out / "trials.parquet")
        stored = stored[~stored["study"].isin(table["study"])]
        stored_steps = pd.read_parquet(arguments.out / "steps.parquet")
        table = pd.concat([stored, table], ignore_index=True)
        tables = [stored_steps[stored_steps["name"].isin(stored["name"])], *tables]
    steps = pd.concat([part.astype({"name": "str", "skip_reason": "object"}) for part in tables], ignore_index=True)
    steps = steps.astype({**STEP_COLUMNS, "name": "category"})
    arguments.out.mkdir(parents=True, exist_ok=True)
    table.to_parquet(arguments.out / "trials.parquet", compression="zstd", index=False)
    steps.to_parquet(arguments.out / "steps.parquet", compression="zstd", compression_level=19, index=False)
    print(table.groupby(["study", "truth"]).size().unstack(fill_value=0).to_string())


if __name__ == "__main__":
    main()
