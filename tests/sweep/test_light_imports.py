"""What is read without torch, Ray or Optuna: they take seconds that a reader of results and settings has no use for."""

import json
import subprocess
import sys

import pytest

HEAVY = ("torch", "ray", "optuna")
LIGHT = (
    "sweep.study",
    "sweep.training.config",
    "sweep.search",
    "slr_models.models",
    "slr_models.data",
    "sweep.judging",
    "sweep.integrations.watch",
    "sweep.store",
    "sweep.report.page",
    "sweep.report.notebook",
    "sweep.analysis.comparison.folders",
    "sweep.analysis.comparison.sentences",
    "sweep.watch.server",
    "sweep.status.follow",
    "sweep.logs.answer",
)
IMPORTING = """
import importlib, json, sys
light, heavy = json.loads(sys.argv[1])
brought, before = {}, set()
for name in light:
    importlib.import_module(name)
    after = {one for one in heavy if one in sys.modules}
    brought[name] = sorted(after - before)
    before = after
print(json.dumps(brought))
"""


def heavy_after(statement: str, heavy: tuple[str, ...] = HEAVY) -> set[str]:
    """Which of the heavy packages a fresh interpreter holds after a statement."""
    code = f"import sys\n{statement}\nprint(*[name for name in {heavy!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.fixture(scope="module")
def brought() -> dict[str, list[str]]:
    """The heavy packages that each module brings to one interpreter, one module after another."""
    command = [sys.executable, "-c", IMPORTING, json.dumps([LIGHT, HEAVY])]
    found: dict[str, list[str]] = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    return found


@pytest.mark.parametrize("module", LIGHT)
def test_it_is_read_without_torch_ray_and_optuna(module: str, brought: dict[str, list[str]]) -> None:
    assert brought[module] == []


def test_a_study_file_is_validated_without_them() -> None:
    assert (
        heavy_after("from pathlib import Path; from sweep.study import load; load(Path('studies/smoke.yaml'))") == set()
    )


@pytest.mark.slow
def test_the_first_training_does_not_wait_for_what_the_answer_is_made_with() -> None:
    later = ("sklearn", "scipy.stats", "scipy.optimize", "plotly")
    assert heavy_after("import sweep.run.driver", (*later, "ray.tune")) == set()
    assert heavy_after("import sweep.running.trial_actor", (*later, "optuna")) == set()


@pytest.mark.slow
def test_what_is_heavy_comes_where_it_is_asked_for() -> None:
    assert heavy_after("from slr_models.models import CtcModel") == {"torch"}
    assert heavy_after("from sweep.search import StabilitySampler") == {"optuna"}
