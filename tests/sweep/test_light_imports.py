"""What is read without torch, Ray or Optuna: they take seconds that a reader of results and settings has no use for."""

import subprocess
import sys

import pytest

HEAVY = ("torch", "ray", "optuna")


def heavy_after(statement: str) -> set[str]:
    """Which of the heavy packages a fresh interpreter holds after a statement."""
    code = f"import sys\n{statement}\nprint(*[name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize(
    "module",
    [
        "sweep.study",
        "sweep.training.config",
        "sweep.search",
        "slr_models.models",
        "slr_models.data",
        "sweep.judging",
        "sweep.store",
        "sweep.report.page",
        "sweep.report.notebook",
        "sweep.analysis.comparison.folders",
        "sweep.analysis.comparison.sentences",
        "sweep.watch.server",
        "sweep.logs.answer",
    ],
)
def test_it_is_read_without_torch_ray_and_optuna(module: str) -> None:
    assert heavy_after(f"import {module}") == set()


def test_a_study_file_is_validated_without_them() -> None:
    assert (
        heavy_after("from pathlib import Path; from sweep.study import load; load(Path('studies/smoke.yaml'))") == set()
    )


def test_what_is_heavy_comes_where_it_is_asked_for() -> None:
    assert heavy_after("from slr_models.models import CtcModel") == {"torch"}
    assert heavy_after("from sweep.search import StabilitySampler") == {"optuna"}
