"""Trials of a paired design, made up by hand."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import pandas as pd
import pytest

from slr_models.errors import ResultsError
from sweep import store
from sweep.study.claim import Claim
from sweep.study.reading import of_content
from sweep.study.settings import Study

LEAST: dict[str, Any] = {
    "name": "made-up", "model": {"kind": "teacher"}, "data": {"kind": "synthetic"}, "budget": {"steps": 100},
}  # fmt: skip
"""Of a study, what has no default."""


def _study(**changes: Any) -> Study:
    """A study of one factor with one claim."""
    design = {
        "kind": "paired",
        "blocks": 24,
        "looks": 4,
        "fraction": "full",
        "seed": 0,
        "factors": {
            "precision": {p: {"training.precision.kind": p} for p in ("fp32", "fp16")},
        },
    }
    content = {
        **LEAST,
        "design": {**design, **changes.pop("design", {})},
        "training": {"batch_size": 2, "accumulate": 1},
        "claims": changes.pop("claims", [_claim()]),
        **changes,
    }
    return of_content(content).study


def _claim(**changes: Any) -> Claim:
    return Claim.model_validate(
        {
            "name": "c",
            "text": "fp16 diverges",
            "factor": "precision",
            "levels": ["fp32", "fp16"],
            "response": "stable",
            "expected": "lower",
            "value": 0.0,
            "smallest_effect": 0.1,
            **changes,
        }
    )


def _trials(rows: list[tuple[int, str, Mapping[str, Any]]]) -> pd.DataFrame:
    """One training a row: block, cell, and what differs from a good one."""
    full = []
    for number, (block, cell, changes) in enumerate(rows):
        stable = bool(changes.get("stable", True))
        full.append(
            {
                "trial_id": f"{number:04d}",
                "number": number,
                "group": number,
                "seed": block,
                "phase": "explore",
                "verdict": "stable" if stable else "diverged-loss",
                "stable": stable,
                "num_steps": 100,
                "max_steps": 100,
                "val_loss": 1.0,
                "final_train_loss": 0.9 + 1e-9 * number,  # no two trainings are the same
                "wer": 0.2,
                "l_const": 3.0,
                "l_unif": 9.0,
                "skipped_calibration": 0,
                "skipped_nonfinite": 0,
                "skipped_threshold": 0,
                "skipped_infeasible": 0,
                "step_time_s": 0.1,
                "peak_memory_mib": 100.0,
                "block": float(block),
                "cell": cell,
                **changes,
            }
        )
    frame = pd.DataFrame(full)
    for name in store.TRIAL_SCHEMA.names:
        if name not in frame:
            frame[name] = None
    return frame


def _no_evals(trial_id: str) -> pd.DataFrame:
    raise ResultsError(f"no evaluations of {trial_id}")


@pytest.fixture(scope="session")
def study() -> Callable[..., Study]:
    """Makes a study with a design, with changes."""
    return _study


@pytest.fixture(scope="session")
def claim() -> Callable[..., Claim]:
    """Makes a claim, with changes."""
    return _claim


@pytest.fixture(scope="session")
def trials() -> Callable[..., pd.DataFrame]:
    """Makes the table of trials."""
    return _trials


@pytest.fixture(scope="session")
def no_evals() -> Callable[[str], pd.DataFrame]:
    """No trial has evaluations."""
    return _no_evals


@pytest.fixture(scope="session")
def paired(trials: Callable[..., pd.DataFrame]) -> Callable[..., pd.DataFrame]:
    """Makes blocks of two cells from the values of one column: [(fp32, fp16), ...]."""

    def make(column: str, values: list[tuple[Any, Any]]) -> pd.DataFrame:
        return trials(
            [
                (block, f"precision={level}", {column: value})
                for block, both in enumerate(values)
                for level, value in zip(("fp32", "fp16"), both, strict=True)
                if not (isinstance(value, float) and math.isinf(value))
            ]
        )

    return make
