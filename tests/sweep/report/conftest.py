"""Result folders as a study leaves them, made without training anything."""

import math
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sweep import store
from sweep.records import (
    Basis,
    Cause,
    Counterfactual,
    EvalRecord,
    Explanation,
    FirstNonfinite,
    Learning,
    Numbers,
    Outcome,
    Place,
    SkipReason,
    StepRecord,
)
from sweep.report import build_report

CHROMIUM = Path(os.environ.get("CHROMIUM", "/usr/bin/chromium"))
L_CONST, L_UNIF, MAX_STEPS = 3.1, 9.4, 400
ALARM_STEP = 180
"""Where a run that learns nothing is stopped; every fourth runs on."""
LR, CLIP, PRECISION = "training.optimizer.lr", "training.clip.max_norm", "training.precision.kind"
WIDTH, WIDTHS = "model.width", (0.125, 0.25, 0.5)
"""Of studies that ask how the edge moves with the width: it halves with twice the width."""

STUDY: dict[str, Any] = {
    "name": "precision-and-lr",
    "description": "Which precision, learning rate and clip norm train the teacher without diverging?",
    "model": {"kind": "teacher", "width": 0.125},
    "data": {"kind": "fingerspelling", "alphabet_size": 10},
    "training": {
        "precision": {"kind": "fp32"},
        "optimizer": {"kind": "adamw", "lr": 1e-3, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "weight_decay": 0.01},
        "schedule": {"kind": "cosine", "warmup_steps": 20, "final_ratio": 0.0},
        "clip": {"kind": "norm", "max_norm": 1.0},
        "bad_batch": {"kind": "skip_nonfinite"},
        "batch_size": 8,
        "accumulate": 1,
    },
    "space": {
        PRECISION: {"choice": ["fp32", "bf16", "fp16"], "when": {}},
        LR: {"loguniform": [1e-4, 1e-1], "when": {}},
        CLIP: {"loguniform": [0.1, 10.0], "when": {}},
    },
    "search": {"kind": "stability"},
    "objective": "wer",
    "budget": {"trials": 36, "steps": MAX_STEPS, "epochs": None, "wall_time_s": None},
    "resources": {"cpus": 1, "gpus": 0.0},
    "repeats": 1,
    "seed": 0,
    "confirm": {"settings": 1, "seeds": 3, "recommended": True},
    "safety": {"lr_factor": 3.0, "p_stable": 0.95},
    "full_size": None,
}

PROVENANCE: dict[str, Any] = {
    "versions": {"torch": "2.13.0", "ray": "2.60.0", "optuna": "5.0.0"},
    "host": {"platform": "Linux", "cpu": "a processor", "cores": 2, "gpu": None},
    "started_at": "2026-01-02T03:04:05+00:00",
    "data": {
        "source": "fingerspelled words from four signers",
        "valid_measures": "new words of signers who also sign in the training split; not new signers.",
        "frame_rate_hz": 25.0,
        "exclusions": {"no hand found": 3},
        "notes": [],
        "num_train": 200,
        "num_valid": 40,
        "vocabulary_size": 11,
        "num_features": 176,
    },
    "model": {"num_parameters": 711_000, "num_layers": 31, "total_layers": 70},
    "l_const": L_CONST,
    "l_unif": L_UNIF,
}


def edge_of(settings: dict[str, Any]) -> float:
    """The learning rate above which trainings diverge: lower with fp16, a larger clip norm or a larger width."""
    edge = {"fp32": 1e-2, "bf16": 8e-3, "fp16": 3e-3}[settings[PRECISION]] * (1.5 if settings[CLIP] < 1 else 1.0)
    return edge * WIDTHS[0] / settings.get(WIDTH, WIDTHS[0])


def judge(precision: str, lr: float, edge: float, luck: float) -> Outcome:
    """A made-up stability edge; small rates stall."""
    if lr > edge * (1 + 0.4 * luck):
        if precision == "fp16":
            return Outcome.SCALER_COLLAPSE if luck > 0 else Outcome.DIVERGED_NONFINITE
        return Outcome.DIVERGED_LOSS if lr < 4 * edge else Outcome.DIVERGED_NONFINITE
    if lr < 2.5e-4:
        return Outcome.STALLED if luck > 0 else Outcome.BLANK_COLLAPSE
    return Outcome.SPIKY_RECOVERING if lr > 0.6 * edge else Outcome.STABLE


def explain(outcome: Outcome, precision: str, lr: float) -> Explanation | None:
    """Why a trial went bad, for the diverged ones."""
    if outcome is Outcome.DIVERGED_LOSS:
        return Explanation(
            cause=Cause.LR_TOO_HIGH,
            text=f"learning rate too high: at {lr:.2g} the loss rose after step 120",
            counterfactuals=(Counterfactual("same", 0, 2, 41.0), Counterfactual("LR / 10", 2, 2, 2.8)),
            snapshot_step=100,
            num_replayed_steps=240,
        )
    if outcome.is_diverged and precision == "fp16":
        return Explanation(
            cause=Cause.HALF_OVERFLOW_ATTENTION,
            text="fp16 overflow in attention scores (encoder.0.attention)",
            details=("The largest product of query and key was 1.2e5, above 65504.",),
            first_nonfinite=FirstNonfinite(
                Place.FORWARD, 131, "matmul", "encoder.0.attention", "float16", 341.5, 65472.0, 0, 12
            ),
            counterfactuals=(
                Counterfactual("same", 0, 2, math.nan),
                Counterfactual("drop step 131", 0, 1, math.nan),
                Counterfactual("fp32", 2, 2, 2.1),
                Counterfactual("LR / 10", 1, 2, 3.0),
            ),
            snapshot_step=125,
            num_replayed_steps=420,
        )
    return None


def course(outcome: Outcome, precision: str, lr: float, rng: np.random.Generator, audited: bool) -> list[StepRecord]:
    """Steps that look like the outcome."""
    bad_from = int(rng.integers(40, 200))
    length = MAX_STEPS
    if outcome.is_diverged:
        length = bad_from + 40
    elif not outcome.is_stable and not audited:
        length = ALARM_STEP
    scale = 65536.0
    records = []
    for step in range(1, length + 1):
        progress = step / MAX_STEPS
        level = L_CONST if not outcome.is_stable else max(0.4, L_CONST * math.exp(-3.0 * progress * (lr / 3e-3) ** 0.3))
        level = max(level, 8.0 * math.exp(-step / 12))
        loss = level * math.exp(rng.normal(0, 0.08))
        norm = 12.0 * math.exp(rng.normal(0, 0.35)) * (0.2 + level / L_CONST)
        reason = None
        if outcome is Outcome.SPIKY_RECOVERING and step % 90 == 60:
            loss *= 4
            norm *= 30
        if outcome.is_diverged and step > bad_from:
            loss, norm = loss * 1.12 ** (step - bad_from), norm * 1.3 ** (step - bad_from)
            if outcome is not Outcome.DIVERGED_LOSS and step > bad_from + 8:
                norm = math.inf
                loss = math.nan if outcome is Outcome.DIVERGED_NONFINITE else loss
        if precision == "fp16":
            if step <= 4:
                reason, norm = SkipReason.CALIBRATION, math.inf
            elif not math.isfinite(norm):
                reason = SkipReason.NONFINITE
        elif not math.isfinite(norm):
            reason = SkipReason.NONFINITE
        record_scale = scale if precision == "fp16" else None
        if reason is not None:
            scale /= 2
        records.append(StepRecord(step, loss, norm, record_scale, reason is None, reason, lr, 8, 0, 0.1, 0.9, 0.1))
    return records


def evaluations(outcome: Outcome, steps: Sequence[StepRecord]) -> list[EvalRecord]:
    """An evaluation every 100 steps, close to the training loss."""
    found = []
    for step in range(100, len(steps) + 1, 100):
        loss = steps[step - 1].loss * 1.1
        errors = 160 if not outcome.is_stable else int(160 * min(1.0, loss / L_CONST))
        found.append(EvalRecord(step, loss, errors // 2, errors - errors // 2, 0, 160, 0.9, 0.1, 0.5))
    return found


def trial_row(number: int, group: int, seed: int, phase: str, settings: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Writes a trial's records and returns its row."""
    rng = np.random.default_rng([number, seed])
    precision, lr = settings[PRECISION], settings[LR]
    outcome = judge(precision, lr, edge_of(settings), float(rng.uniform(-1, 1)))
    is_late = outcome is Outcome.STABLE and lr < 4e-4
    audited = is_late or (number % 4 == 0 and not outcome.is_stable and not outcome.is_diverged)
    steps = course(outcome, precision, lr, rng, audited)
    evals = evaluations(outcome, steps)
    trial_id = f"t{number:04d}"
    store.write_steps(folder, trial_id, steps)
    store.write_evals(folder, trial_id, evals)
    stopped = None if len(steps) == MAX_STEPS else len(steps)
    explanation = explain(outcome, precision, lr)
    if explanation is not None:
        store.write_explanation(folder, trial_id, explanation)
    wer = evals[-1].wer if evals else None
    val_loss = evals[-1].val_loss if evals else None
    stable = outcome.is_stable
    reason = f"Judged at step {len(steps)} of {MAX_STEPS} as {outcome.value}."
    return {
        "trial_id": trial_id, "number": number, "group": group, "seed": seed, "phase": phase,
        "verdict": outcome.value, "stable": stable, "numbers": numbers_of(outcome).value,
        "learning": (Learning.LEARNED if stable else Learning.NOTHING).value,
        "judged_with": Basis(l_const=True, budget=True, num_losses=len(steps), telemetry=("grad_norm",)).describe(),
        "cause": explanation and explanation.text, "reason": reason,
        "audited": audited, "alarm": (Outcome.STALLED if is_late else outcome).value if audited else None,
        "stop_step": ALARM_STEP if audited else stopped, "num_steps": len(steps), "max_steps": MAX_STEPS,
        "objective": wer if stable else 3.0 - 0.9 * len(steps) / MAX_STEPS,
        "margin": -0.5 if stable else 0.5, "final_train_loss": steps[-1].loss,
        "val_loss": val_loss, "best_val_loss": val_loss, "wer": wer, "best_wer": wer,
        "l_const": L_CONST, "l_unif": L_UNIF,
        "applied_update_rate": sum(s.applied for s in steps) / len(steps),
        "skipped_calibration": 0, "skipped_nonfinite": 0, "skipped_threshold": 0, "skipped_infeasible": 0,
        "wall_s": 0.11 * len(steps), "cpu_s": 0.1 * len(steps),
        "forensics_s": 20.0 if explanation else 0.0, "step_time_s": 0.1 + 0.01 * (number % 7),
        "peak_memory_mib": 700.0,
        "precision_implementation": "fp32" if precision == "fp32" else f"{precision}, emulated on a CPU",
        **settings,
    }  # fmt: skip


def numbers_of(outcome: Outcome) -> Numbers:
    broken = outcome in (Outcome.DIVERGED_NONFINITE, Outcome.SCALER_COLLAPSE)
    return Numbers.BROKEN if broken else Numbers.SOUND


def write_results(
    folder: Path,
    num_trials: int = 36,
    lr_range: tuple[float, float] = (1e-4, 1e-1),
    num_confirm: int = 3,
    num_pruned: int = 0,
    **study: Any,
) -> Path:
    """Writes a whole results folder; `study` replaces parts of the study.

    The last `num_pruned` trials of the exploration were pruned. A study with `full_size` varies the width, and tests
    two learning rates at full size.
    """
    full_size = study.get("full_size")
    if full_size:
        study["space"] = {**STUDY["space"], WIDTH: {"grid": list(WIDTHS), "when": {}}}
    store.write_yaml(folder / "study.yaml", {**STUDY, **study, "provenance": PROVENANCE})
    rng = np.random.default_rng(7)
    rows = []
    for number in range(num_trials):
        lr = float(np.exp(rng.uniform(*np.log(lr_range))))
        clip = float(np.exp(rng.uniform(*np.log((0.1, 10.0)))))
        settings = {PRECISION: ["fp32", "bf16", "fp16"][number % 3], LR: lr, CLIP: clip}
        settings |= {WIDTH: WIDTHS[number // 3 % 3]} if full_size else {}
        rows.append(trial_row(number, number, 0, "explore", settings, folder))
    for row in rows[num_trials - num_pruned :]:
        row |= {"verdict": Outcome.PRUNED.value, "stable": False, "margin": math.nan, "num_steps": 100,
                "stop_step": None, "audited": False, "alarm": None, "cause": None,
                "learning": Learning.UNKNOWN.value}  # fmt: skip
    stable = sorted((r for r in rows if r["stable"]), key=lambda r: r["objective"])
    for index in range(num_confirm if stable else 0):
        settings = {path: stable[0][path] for path in (PRECISION, LR, CLIP, WIDTH) if path in stable[0]}
        number = num_trials + index
        rows.append(trial_row(number, stable[0]["group"], 101 + index, "confirm", settings, folder))
    for index, lr in enumerate((5e-4, 1e-2) if full_size else ()):
        settings = {PRECISION: "fp32", LR: lr, CLIP: 0.5, WIDTH: full_size["target"]}
        rows.append(trial_row(len(rows), num_trials + index, 201, "full_size", settings, folder))
    store.write_trials(folder, rows)
    return folder


def claim_of(name: str, **fields: Any) -> dict[str, Any]:
    """A claim as study.yaml holds it, all defaults filled in."""
    return {
        "name": name, "text": f"The text of {name}.", "source": "notes", "factor": "precision",
        "levels": ["fp32", "fp16"], "by": None, "by_levels": [], "where": {}, "response": "stable",
        "effect": "difference", "expected": "lower", "value": 0.0, "smallest_effect": 0.1, "alpha": 0.05,
        "loss_fraction": 0.5, **fields,
    }  # fmt: skip


def write_experiment(
    folder: Path,
    claims: Sequence[dict[str, Any]],
    num_blocks: int = 8,
    planned: int = 8,
    searches_lr: bool = False,
    **study: Any,
) -> Path:
    """Writes the results of a paired design: precision crossed with clip norm, a drawn learning rate in each block.

    `num_blocks` of the `planned` ones are finished. `study` replaces parts of the study.
    """
    clips = {"tight": 0.5, "loose": 5.0}
    factors = {
        "precision": {kind: {PRECISION: kind} for kind in ("fp32", "fp16")},
        "clip": {level: {CLIP: value} for level, value in clips.items()},
    }
    space: dict[str, Any] = {LR: {"loguniform": [1e-3, 1e-2], "when": {}}} if searches_lr else {}
    space |= {PRECISION: {"choice": ["fp32", "fp16"], "when": {}}, CLIP: {"choice": list(clips.values()), "when": {}}}
    content = {key: value for key, value in STUDY.items() if key != "search"} | {
        "space": space, "confirm": {"settings": 0, "seeds": 3, "recommended": True}, "budget": {"steps": MAX_STEPS},
        "design": {
            "kind": "paired", "blocks": planned, "looks": 4, "factors": factors, "fraction": "full", "seed": 0,
        },
        "claims": list(claims), **study, "provenance": PROVENANCE,
    }  # fmt: skip
    store.write_yaml(folder / "study.yaml", content)
    rng = np.random.default_rng(11)
    rows = []
    for block in range(num_blocks):
        lr = float(np.exp(rng.uniform(*np.log((1e-3, 1e-2))))) if searches_lr else 4e-3
        for kind in ("fp32", "fp16"):
            for level, clip in clips.items():
                settings = {PRECISION: kind, LR: lr, CLIP: clip}
                row = trial_row(len(rows), len(rows), block, "explore", settings, folder)
                rows.append({**row, "block": block, "cell": f"precision={kind}, clip={level}"})
    if not searches_lr:
        for row in rows:
            del row[LR]
    store.write_trials(folder, rows)
    return folder


@pytest.fixture(scope="session")
def make_experiment() -> Callable[..., Path]:
    """Writes the results of a paired design: `make_experiment(folder, claims, num_blocks=8, planned=8, **study)`."""
    return write_experiment


@pytest.fixture(scope="session")
def make_claim() -> Callable[..., dict[str, Any]]:
    """A claim as study.yaml holds it: `make_claim("name", response="wer", ...)`."""
    return claim_of


@pytest.fixture(scope="session")
def make_results() -> Callable[..., Path]:
    """Writes a results folder: `make_results(folder, num_trials=36, lr_range=(1e-4, 1e-1), num_pruned=0, **study)`."""
    return write_results


@pytest.fixture(scope="session")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished study with stable, stalled and diverged trials, confirmed with fresh seeds."""
    return write_results(tmp_path_factory.mktemp("results"))


@pytest.fixture(scope="session")
def report(results: Path) -> Path:
    """The report of that study."""
    return build_report(results)


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if not CHROMIUM.exists():
        pytest.skip(f"there is no browser at {CHROMIUM}")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def opened(browser: Any) -> Callable[[Path, int, str], tuple[Any, list[str]]]:
    """Opens a page: it with its figures drawn, and everything that went wrong or left the machine."""

    def open_(path: Path, width: int, scheme: str) -> tuple[Any, list[str]]:
        page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
        trouble: list[str] = []
        page.on("console", lambda message: trouble.append(message.text))
        page.on("pageerror", lambda error: trouble.append(str(error)))
        page.on("request", lambda request: trouble.append(request.url) if request.url != path.as_uri() else None)
        page.goto(path.as_uri())
        page.wait_for_selector("body[data-ready]", timeout=60_000)
        return page, trouble

    return open_
