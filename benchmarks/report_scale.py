"""How large a study one report can hold: what a report of 10,000 trials of 1,000 steps costs to build, and to read.

Makes a results folder (settings, outcomes and courses are drawn; nothing is trained), then

- builds its report in a process of its own: seconds, peak memory, size; beside it, in the same run, the time that
  PyArrow alone takes to read the columns which the courses are drawn from, as the least that any report needs;
- opens it in Chromium, offline, and times what a reader waits for: the table, the figures, a click on a trial, a filter,
  a sorted column; beside it the time of an empty page that runs the same plotly.js.

    python benchmarks/report_scale.py [--trials 10000] [--steps 1000] [--folder DIR]
"""

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from sweep import store
from sweep.records import Outcome

ROOT = Path(__file__).parents[1]
CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
L_CONST, L_UNIF = 3.1, 9.4
EVAL_EVERY = 50

LR, CLIP, PRECISION = "training.optimizer.lr", "training.clip.max_norm", "training.precision.kind"
INIT, WIDTH, DECAY = "model.init_scale", "model.width", "training.optimizer.weight_decay"
SPACE: dict[str, Any] = {
    PRECISION: {"choice": ["fp32", "bf16", "fp16"], "when": {}},
    LR: {"loguniform": [1e-5, 1e-1], "when": {}},
    CLIP: {"loguniform": [0.1, 10.0], "when": {}},
    INIT: {"loguniform": [0.1, 10.0], "when": {}},
    WIDTH: {"choice": [0.125, 0.25, 0.5], "when": {}},
    DECAY: {"loguniform": [1e-4, 1.0], "when": {}},
}
STUDY: dict[str, Any] = {
    "name": "report_scale",
    "description": "Made-up trials: how large a study one report can hold.",
    "model": {"kind": "teacher"},
    "data": {"kind": "synthetic"},
    "training": {"precision": {"kind": "fp32"}, "clip": {"kind": "norm", "max_norm": 1.0}},
    "space": SPACE,
    "search": {"kind": "random"},
    "objective": "wer",
    "repeats": 1,
    "confirm": {"settings": 1, "seeds": 3, "recommended": True},
    "safety": {"lr_factor": 3.0, "p_stable": 0.95},
    "provenance": {"l_const": L_CONST, "l_unif": L_UNIF, "versions": {}, "host": {}, "data": {}},
}


def make_results(folder: Path, num_trials: int, num_steps: int) -> None:
    """Writes a results folder as a study leaves it."""
    rng = np.random.default_rng(0)
    store.write_yaml(folder / "study.yaml", STUDY | {"budget": {"trials": num_trials, "steps": num_steps}})
    store.write_trials(folder, [_trial(folder, number, num_steps, rng) for number in range(num_trials)])


def _trial(folder: Path, number: int, num_steps: int, rng: np.random.Generator) -> dict[str, Any]:
    settings = {
        PRECISION: str(rng.choice(SPACE[PRECISION]["choice"])),
        WIDTH: float(rng.choice(SPACE[WIDTH]["choice"])),
        **{path: math.exp(rng.uniform(*np.log(SPACE[path]["loguniform"]))) for path in (LR, CLIP, INIT, DECAY)},
    }
    edge = {"fp32": 1e-2, "bf16": 8e-3, "fp16": 3e-3}[settings[PRECISION]] / settings[INIT] ** 0.5
    heat = math.log10(settings[LR] / edge) + rng.normal(0, 0.15)
    if heat > 0:
        hot = {"fp16": Outcome.SCALER_COLLAPSE}.get(settings[PRECISION], Outcome.DIVERGED_NONFINITE)
        outcome = hot if heat > 0.5 else Outcome.DIVERGED_LOSS
    elif heat < -2:
        outcome = Outcome.STALLED
    else:
        outcome = Outcome.SPIKY_RECOVERING if heat > -0.2 else Outcome.STABLE
    stopped = None if outcome.is_stable else int(rng.integers(num_steps // 10, num_steps // 2))
    length = stopped or num_steps
    trial_id = f"{number:05d}"
    loss = _write_steps(folder, trial_id, outcome, settings, length, num_steps, rng)
    wer = float(np.clip(loss[-1] / L_CONST + rng.normal(0, 0.05), 0.02, 1))
    at = np.arange(EVAL_EVERY, length + 1, EVAL_EVERY)
    evals = pa.table(
        {
            "step": at.astype(np.int32), "val_loss": 1.1 * loss[at - 1], "wer": np.full(len(at), wer),
            **{name: np.full(len(at), 40) for name in ("substitutions", "deletions", "insertions", "num_labels")},
            **{name: np.full(len(at), 0.5) for name in ("blank_rate", "input_dependence", "time_s")},
        },
        schema=store.EVAL_SCHEMA,
    )  # fmt: skip
    (folder / "evals").mkdir(exist_ok=True)
    pq.write_table(evals, folder / "evals" / f"{trial_id}.parquet", compression="zstd")
    stable = outcome.is_stable
    return {
        "trial_id": trial_id, "number": number, "group": number, "seed": number, "phase": "explore",
        "verdict": outcome.value, "stable": stable, "cause": None, "audited": False, "alarm": None,
        "reason": f"Judged at step {length} of {num_steps} as {outcome.value}.",
        "stop_step": stopped, "num_steps": length, "max_steps": num_steps,
        "objective": wer if stable else 3.0 - 0.9 * length / num_steps, "margin": float(np.clip(heat, -1, 1)),
        "final_train_loss": float(loss[-1]), "val_loss": 1.1 * float(loss[-1]), "best_val_loss": 1.1 * float(loss[-1]),
        "wer": wer, "best_wer": wer, "l_const": L_CONST, "l_unif": L_UNIF, "applied_update_rate": 0.99,
        "wall_s": 0.1 * length, "cpu_s": 0.1 * length, "forensics_s": 0.0, "step_time_s": 0.1,
        **settings,
    }  # fmt: skip


def _write_steps(
    folder: Path, trial_id: str, outcome: Outcome, settings: dict[str, Any], length: int, num_steps: int,
    rng: np.random.Generator,
) -> "np.ndarray[Any, np.dtype[np.float64]]":  # fmt: skip
    """Writes the steps; returns their losses."""
    step = np.arange(1, length + 1)
    learned = np.exp(-3.0 * step / num_steps) if outcome.is_stable else 1.0
    level = np.maximum(L_CONST * learned, 8.0 * np.exp(-step / 12))
    loss = level * np.exp(rng.normal(0, 0.08, length))
    norm = 12.0 * np.exp(rng.normal(0, 0.35, length)) * (0.2 + level / L_CONST)
    if outcome is Outcome.SPIKY_RECOVERING:
        loss[59::90] *= 4
        norm[59::90] *= 30
    if outcome.is_diverged:
        past = np.maximum(0, step - (length - 40))
        loss, norm = loss * 1.12**past, norm * 1.3**past
    reason = np.full(length, None, dtype=object)
    scale = np.full(length, np.nan)
    if settings[PRECISION] == "fp16":
        norm[:4] = np.inf
        reason[:4] = "calibration"
        if outcome is Outcome.SCALER_COLLAPSE:
            norm[-30:] = np.inf
            reason[-30:] = "nonfinite"
        scale = 65536.0 / 2.0 ** np.concatenate([[0], np.cumsum(reason[:-1] != None)])  # noqa: E711
    table = pa.table(
        {
            "step": step.astype(np.int32), "loss": loss.astype(np.float32), "grad_norm": norm.astype(np.float32),
            "loss_scale": scale.astype(np.float32), "applied": reason == None,  # noqa: E711
            "skip_reason": pa.array(reason, pa.string()), "lr": np.full(length, settings[LR], np.float32),
            "num_samples": np.full(length, 8, np.int32), "num_infeasible": np.zeros(length, np.int32),
            "time_s": rng.normal(0.1, 0.01, length).astype(np.float32),
            "blank_rate": np.full(length, 0.9, np.float32), "input_dependence": np.full(length, 0.1, np.float32),
            "params_finite": np.full(length, True),
        },
        schema=store.STEP_SCHEMA,
    )  # fmt: skip
    (folder / "steps").mkdir(exist_ok=True)
    pq.write_table(table, folder / "steps" / f"{trial_id}.parquet", compression="zstd")
    return np.asarray(loss)
