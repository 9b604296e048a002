"""The action that compares two studies in a job: the very script, under bash, with the files that a runner names."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from sweep import store
from sweep.records import Outcome

ACTION = Path(".github/actions/compare")
LR = "training.optimizer.lr"
pytestmark = pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
Run = Callable[..., tuple[int, str, str, dict[str, str]]]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Runs the script: exit code, what it prints, the job's page, and the outputs."""
    program = tmp_path / "bin" / "slr-sweep"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m sweep "$@"\n')
    program.chmod(0o755)

    def run_(before: Path, after: Path, fail_on: str = "regression") -> tuple[int, str, str, dict[str, str]]:
        page, outputs = tmp_path / "page.md", tmp_path / "outputs"
        page.write_text("")
        outputs.write_text("")
        environment = {
            **os.environ, "PATH": f"{program.parent}:{os.environ['PATH']}", "RUNNER_TEMP": str(tmp_path),
            "GITHUB_OUTPUT": str(outputs), "GITHUB_STEP_SUMMARY": str(page), "BEFORE": str(before),
            "AFTER": str(after), "FAIL_ON": fail_on,
        }  # fmt: skip
        done = subprocess.run(["bash", str(ACTION / "compare.sh")], capture_output=True, text=True, env=environment)
        told = dict(line.split("=", 1) for line in outputs.read_text().splitlines())
        return done.returncode, done.stdout, page.read_text(), told

    return run_


def study(folder: Path, num_stable: int, num_broken: int, high: float = 1e-1) -> Path:
    """A results folder with so many stable trainings, and so many that broke."""
    content = {
        "name": folder.name, "model": {"kind": "teacher"}, "data": {"kind": "synthetic"},
        "budget": {"trials": 40, "steps": 100}, "space": {LR: {"loguniform": [high / 1e4, high]}},
        "search": {"kind": "random"}, "objective": "wer",
    }  # fmt: skip
    store.write_yaml(folder / "study.yaml", content)
    ends = [Outcome.STABLE] * num_stable + [Outcome.DIVERGED_NONFINITE] * num_broken
    store.write_trials(folder, [
        {"trial_id": f"{n:04d}", "number": n, "group": n, "seed": n, "phase": "explore", "verdict": end.value,
         "stable": end.is_stable, "reason": "", "audited": False, "num_steps": 100, "max_steps": 100,
         "objective": 0.5, "margin": -0.5 if end.is_stable else 0.5, "wall_s": 10.0, "cpu_s": 9.0,
         "step_time_s": 0.1, "peak_memory_mib": 500.0, "wer": 0.5 if end.is_stable else None, LR: 1e-3 * 1.1**n}
        for n, end in enumerate(ends)
    ])  # fmt: skip
    return folder


def test_a_regression_fails_the_job_and_stands_on_its_page(tmp_path: Path, run: Run) -> None:
    good, bad = study(tmp_path / "good", 14, 0), study(tmp_path / "bad dir", 4, 10)
    code, out, page, outputs = run(good, bad)
    assert code == 1 and outputs["code"] == "1" and Path(outputs["json"]).is_file()
    assert outputs["headline"].startswith("3 regressions, 0 improvements")
    assert re.search(r"^::error title=Stability::3 regressions, ", out, re.MULTILINE)
    assert page.startswith("### Stability: 3 regressions") and "\n    Regressions\n" in page and "\x1b" not in page
    assert run(good, bad, "never")[0] == 0
    code, out, _, outputs = run(bad, good)
    assert code == 0 and outputs["code"] == "0" and "\n::notice title=Stability::0 regressions, 3 imp" in out


def test_nothing_to_compare_is_a_warning_and_a_mistake_fails_whatever_was_asked(tmp_path: Path, run: Run) -> None:
    good, elsewhere = study(tmp_path / "a", 6, 0), study(tmp_path / "b", 6, 0, high=1e6)
    code, out, page, outputs = run(good, elsewhere)
    assert code == 0 and outputs["code"] == "4" and outputs["json"] == "" and "no value in common" in page
    assert "::warning title=Stability::error: A and B have nothing that can be compared" in out
    assert run(good, elsewhere, "nothing")[0] == 4
    assert run(good, tmp_path / "none", "never")[0] == 2
    assert run(good, elsewhere, "sometimes")[0] == 2


def test_the_action_and_the_workflow_name_what_the_script_takes() -> None:
    action: dict[str, Any] = yaml.safe_load((ACTION / "action.yml").read_text())
    script = (ACTION / "compare.sh").read_text()
    (step,) = action["runs"]["steps"]
    assert {re.sub(r"\W", "", value.split("inputs.")[1]) for value in step["env"].values()} == {
        re.sub(r"\W", "", name) for name in action["inputs"]
    }
    assert all(f"${name}" in script for name in step["env"])
    assert all(f'echo "{name}=' in script for name in action["outputs"])
    workflow = yaml.safe_load(Path("examples/compare.yml").read_text())
    (used,) = [one for one in workflow["jobs"]["compare"]["steps"] if one.get("uses") == f"./{ACTION}"]
    assert set(used["with"]) <= set(action["inputs"])
    assert {name for name, one in action["inputs"].items() if one.get("required")} <= set(used["with"])
