"""`queue` and `stop` beside a run that is at work: the whole way, by processes of their own."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sweep import store

TEXT = """
name: x
model: {kind: baseline, width: 0.0625, norm: group}
data: {kind: synthetic, vocabulary_size: 4, num_train: 64, num_valid: 8, frames_per_label: 6, max_labels: 3}
training: {batch_size: 4, eval_every_steps: 20}
space:
  training.optimizer.lr: {loguniform: [1e-4, 1e-1]}
  training.precision.kind: {choice: [fp32, fp16]}
search: {kind: random, seed: 0}
budget: {trials: 2, steps: 4000}
resources: {cpus: 1}
confirm: {settings: 0}
forensics: {trials: 0}
"""


@pytest.mark.ray
@pytest.mark.slow
def test_a_run_at_work_takes_a_setting_and_lets_a_training_go(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text(TEXT)
    command = [sys.executable, "-m", "sweep"]
    folder = tmp_path / "results" / "x"
    run = subprocess.Popen(
        [*command, "run", "x.yaml", "--jobs", "1"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )

    def asked(*words: str) -> str:
        done = subprocess.run([*command, *words], cwd=tmp_path, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def wait_for(trial_id: str) -> None:
        deadline = time.monotonic() + 120
        while not (folder / "steps" / f"{trial_id}.jsonl").exists():
            assert run.poll() is None and time.monotonic() < deadline, run.stdout and run.stdout.read()
            time.sleep(0.1)

    try:
        wait_for("0000")
        assert "it is trained next" in asked("queue", "results/x", "lr=0.00123", "precision=fp32")
        assert "trial 0000 ends" in asked("stop", "results/x", "0")
        wait_for("0001")
        far = subprocess.run([*command, "status", "results/x", "--json"], cwd=tmp_path, capture_output=True, text=True)
        status = json.loads(far.stdout)
        assert (far.returncode, status["state"], status["activity"]) == (75, "running", "explore"), status
        assert (status["done"], status["planned"], status["outcomes"]) == (1, 2, {"pruned": 1})
        (training,) = status["running"]
        assert training["trial"] == "0001" and 20 <= training["step"] < training["steps"] == 4000
        asked("stop", "results/x", "0001")
        out, _ = run.communicate(timeout=120)
    finally:
        run.kill()
    assert run.returncode == 0, out
    assert asked("status", "results/x").startswith("x: finished, 2 of 2 trainings done (2 pruned)\n")
    rows = store.read_trials(folder).set_index("trial_id")
    assert list(rows["verdict"]) == ["pruned", "pruned"] and rows.loc["0001", "training.optimizer.lr"] == 0.00123
    assert all("stopped by hand" in reason for reason in rows["reason"]) and (rows["num_steps"] < 4000).all()
    assert list((folder / "stop").iterdir()) == [] and list((folder / "queue").iterdir()) == []
