"""How large a study one report can hold: what a report of 10,000 trials of 1,000 steps costs to build, and to read.

Makes a results folder (settings, outcomes and courses are drawn; nothing is trained), then

- builds its report in a process of its own: seconds, peak memory, size. Beside it, in the same run, the time that
  PyArrow alone takes to read the columns that courses are drawn from: no report with every course can be faster;
- opens it in Chromium, offline, and times what a reader waits for. Beside it a page with plotly.js and an empty
  figure, and the page that `optuna.visualization.plot_slice` makes of the same trials, which has marks and no courses.

    python -m benchmarks.speed.report_scale [--trials 10000] [--steps 1000] [--folder DIR] [--repeats 3]
"""

import argparse
import math
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import plotly.graph_objects as go
import pyarrow as pa
import pyarrow.parquet as pq
from playwright.sync_api import Page, sync_playwright

from sweep import store
from sweep.analysis.figures.course import EVAL_COLUMNS, STEP_COLUMNS
from sweep.records import Outcome

ROOT = Path(__file__).parents[2]
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
            **{name: np.full(len(at), np.nan) for name in ("score", "wer_raw")},
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


def build(folder: Path) -> tuple[float, float]:
    """Builds the report in a process of its own; returns (seconds, peak GiB)."""
    started = time.perf_counter()
    subprocess.run([sys.executable, "-m", "sweep.report", str(folder)], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20


def read_alone(folder: Path) -> float:
    """Seconds that PyArrow takes to read what courses are drawn from."""
    started = time.perf_counter()
    for kind, names in (("steps", STEP_COLUMNS), ("evals", EVAL_COLUMNS)):
        for path in (folder / kind).iterdir():
            pq.ParquetFile(path).read(columns=list(names), use_threads=False)
    return time.perf_counter() - started


def write_peers(folder: Path) -> dict[str, Path]:
    """Pages to compare with: name -> path."""
    empty, slices = folder / "empty.html", folder / "plot_slice.html"
    go.Figure().write_html(empty, include_plotlyjs=True)
    trials = store.read_trials(folder)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study()
    ranges = {path: SPACE[path].get("loguniform") for path in SPACE}
    distributions: dict[str, Any] = {
        path: optuna.distributions.FloatDistribution(*ends, log=True)
        if ends
        else optuna.distributions.CategoricalDistribution(SPACE[path]["choice"])
        for path, ends in ranges.items()
    }
    study.add_trials(
        [
            optuna.create_trial(
                params={path: row[path] for path in SPACE}, distributions=distributions, value=row["objective"]
            )
            for row in trials.to_dict("records")
        ]
    )
    optuna.visualization.plot_slice(study).write_html(slices, include_plotlyjs=True)
    return {"plotly.js and an empty figure": empty, "optuna.visualization.plot_slice": slices}


_DRAWN = "() => document.querySelector('.main-svg') !== null"
_TOLD = "document.querySelector('#trace-text li') !== null"
_ACTIONS = {
    "a click on a trial": (
        "document.querySelectorAll('[data-trial]')[5].click();"
        "await new Promise((go) => document.querySelector('#trace').once('plotly_afterplot', go));"
    ),
    "another trial beside it": (
        "document.querySelectorAll('[data-compare]')[9].click();"
        "await new Promise((go) => document.querySelector('#trace').once('plotly_afterplot', go));"
    ),
    "a filter": "const f = document.querySelector('#filter'); f.value = 'fp16'; f.dispatchEvent(new Event('input'));",
    "a sorted column": "document.querySelectorAll('#table thead button')[3].click();",
}
"""What a reader does -> script that ends when it is done."""


def open_report(page: Page, path: Path) -> dict[str, float]:
    """Seconds from opening to what a reader waits for, then of what he does."""
    found = {}
    started = time.perf_counter()
    page.goto(path.as_uri(), wait_until="commit")
    page.wait_for_function("() => document.querySelector('#answer .headline') !== null")
    found["the answer"] = time.perf_counter() - started
    # As early as anybody could: what is known of the trial is said before figures can be drawn.
    page.wait_for_function("() => { document.querySelectorAll('[data-trial]')[7]?.click(); return " + _TOLD + " }")
    found["a click at once: what became of the trial"] = time.perf_counter() - started
    for name, script in {
        "the first figure": "() => document.querySelector('#map-0 .main-svg') !== null",
        "all figures": "() => document.body.dataset.ready === 'yes'",
    }.items():
        page.wait_for_function(script)
        found[name] = time.perf_counter() - started
    for name, script in _ACTIONS.items():
        timed = f"async () => {{ const t = performance.now(); {script} await new Promise(requestAnimationFrame);"
        found[name] = page.evaluate(f"{timed} return performance.now() - t; }}") / 1000
    return found


def open_peer(page: Page, path: Path) -> float:
    """Seconds from opening to the first figure."""
    started = time.perf_counter()
    page.goto(path.as_uri(), wait_until="commit")
    page.wait_for_function(_DRAWN)
    return time.perf_counter() - started


def measure(folder: Path, repeats: int) -> None:
    """Prints the medians."""
    built, alone = [], []
    for _ in range(repeats):
        built.append(build(folder))
        alone.append(read_alone(folder))
    seconds, floor = statistics.median(s for s, _ in built), statistics.median(alone)
    size = (folder / "report.html").stat().st_size / 1e6
    print(f"build: {seconds:.1f} s, peak {max(m for _, m in built):.2f} GiB, {size:.1f} MB")
    print(f"  PyArrow alone reads the courses' columns in {floor:.1f} s; the report takes {seconds / floor:.1f} x")
    peers = write_peers(folder)
    opened: list[dict[str, float]] = []
    others: dict[str, list[float]] = {name: [] for name in peers}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        for _ in range(repeats):
            for name, path in peers.items():
                page = browser.new_page(viewport={"width": 1440, "height": 900}, offline=True)
                others[name].append(open_peer(page, path))
                page.close()
            page = browser.new_page(viewport={"width": 1440, "height": 900}, offline=True)
            opened.append(open_report(page, folder / "report.html"))
            page.close()
        browser.close()
    for name in opened[0]:
        print(f"{name}: {statistics.median(one[name] for one in opened):.2f} s")
    first = statistics.median(one["the first figure"] for one in opened)
    for name, times in others.items():
        peer = statistics.median(times)
        weight = peers[name].stat().st_size / 1e6
        print(f"  {name}, {weight:.1f} MB: first figure after {peer:.2f} s; ours takes {first / peer:.2f} times that")


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=10_000)
    parser.add_argument("--steps", type=int, default=1_000)
    parser.add_argument("--folder", type=Path, help="made, or used again if it is there; default: a temporary one")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        if not (folder / "trials.parquet").is_file():
            make_results(folder, options.trials, options.steps)
        num_cores = len(os.sched_getaffinity(0))
        print(
            f"{options.trials} trials of up to {options.steps} steps, medians of {options.repeats}, {num_cores} cores"
        )
        measure(folder, options.repeats)


if __name__ == "__main__":
    main()
