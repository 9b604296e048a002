"""A study on real Ray while its machine fails: a full disk, a kill before a cause was found, trainings that crashed."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from sweep import store

STUDY = """
name: tiny
model: {kind: baseline, width: 0.0625, norm: group}
data: {kind: synthetic, vocabulary_size: 4, num_train: 48, num_valid: 8, frames_per_label: 6, max_labels: 3}
training: {batch_size: 4, eval_every_steps: 15, clip: {kind: 'off'}}
space:
  training.optimizer.lr: {choice: [5e-3, 3e-3, 2e-3]}
search: {kind: grid}
budget: {trials: 3, steps: 60}
confirm: {settings: 0}
forensics: {trials: 0}
"""

IN_NAMESPACE = ["unshare", "--map-root-user", "--mount"]
"""Runs a command that may mount file systems which nobody else sees."""

ON_A_FULL_DISK = """
import subprocess, sys, time
from pathlib import Path

folder, command = Path(sys.argv[1]), sys.argv[2:]
ledger = folder / "ledger.jsonl"
process = subprocess.Popen(command)
while process.poll() is None and (not ledger.is_file() or b'"tell"' not in ledger.read_bytes()):
    time.sleep(0.05)
for records in ("steps", "evals"):
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16k", "full", folder / records], check=True)
    try:
        (folder / records / "full").write_bytes(bytes(2**16))
    except OSError:
        pass
sys.exit(process.wait())
"""


@pytest.fixture
def study(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(STUDY)
    return path


def events(folder: Path, kind: str) -> list[str]:
    lines = [json.loads(line) for line in (folder / "ledger.jsonl").read_bytes().splitlines() if line.endswith(b"}")]
    return [line["trial_id"] for line in lines if line["event"] == kind]


def can_mount() -> bool:
    try:
        return subprocess.run([*IN_NAMESPACE, "true"], capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


@pytest.mark.ray
@pytest.mark.skipif(not can_mount(), reason="file systems cannot be mounted here")
def test_a_full_disk_ends_the_run_without_results_and_the_same_command_goes_on(
    study, tmp_path, run_without_ray
) -> None:
    folder = tmp_path / "results" / "tiny"
    # Its actors have to see the full disk too, so it starts a Ray of its own.
    command = [sys.executable, "-m", "sweep.run", study, "--results", tmp_path / "results"]
    done = subprocess.run(
        [*IN_NAMESPACE, sys.executable, "-c", ON_A_FULL_DISK, folder, *command],
        capture_output=True,
        text=True,
        timeout=300,
        env={name: value for name, value in os.environ.items() if not name.startswith("RAY_")},
    )
    assert done.returncode == 3, done.stdout + done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"error: {folder}/") and "No space left on device" in line and "repeat the command" in line
    told = events(folder, "tell")
    assert 1 <= len(told) < 3
    assert "crashed" not in store.read_trials(folder)["verdict"].tolist()
    storage = JournalStorage(JournalFileBackend(str(folder / "optuna.journal")))
    states = [trial.state.name for trial in optuna.load_study(study_name="tiny", storage=storage).trials]
    assert states.count("COMPLETE") == len(told)

    code, out, err = run_without_ray(study, tmp_path / "results")
    assert (code, err) == (0, ""), err
    assert f"going on: {len(told)} trials are done" in out
    trials = store.read_trials(folder)
    assert trials["trial_id"].tolist() == ["0000", "0001", "0002"] and set(trials["verdict"]) == {"stable"}
    assert events(folder, "tell")[: len(told)] == told and sorted(events(folder, "tell")) == ["0000", "0001", "0002"]


def test_a_run_killed_between_a_result_and_its_cause_looks_for_the_cause_when_it_goes_on(
    study, tmp_path, ray_address, run_here
) -> None:
    explained = ["forensics={trials: 1, replay_steps: 500, learning_replay_steps: 500, repeats: 9}"]
    study.write_text(study.read_text().replace("[5e-3, 3e-3, 2e-3]", "[300, 200, 100]"))
    folder = tmp_path / "results" / "tiny"
    options = [part for one in explained for part in ("--set", one)] + ["--jobs", "1"]
    command = [sys.executable, "-m", "sweep.run", study, "--results", tmp_path / "results", "--address", ray_address]
    process = subprocess.Popen([*command, *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: (folder / "ledger.jsonl").is_file() and events(folder, "tell") != [], process)
        allowed = folder / "evidence" / "replayed.txt"
        wait_until(lambda: allowed.is_file() and allowed.read_text().split()[0] in events(folder, "tell"), process)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    trial_id, *_ = allowed.read_text().split()
    assert events(folder, "cause") == [], "it was killed too late to show anything"
    options[1] = "forensics={trials: 1, replay_steps: 20, learning_replay_steps: 20, repeats: 1}"
    code, out, err = run_here(study, tmp_path / "results", *options)
    assert (code, err) == (0, ""), err
    assert events(folder, "cause") == [trial_id] and events(folder, "tell").count(trial_id) == 1
    found = store.read_explanation(folder, trial_id)
    trials = store.read_trials(folder).set_index("trial_id")
    assert found is not None and trials.loc[trial_id, "cause"] == found.text
    assert f"{trial_id} lr=" in out and "before; cause:" in out


@pytest.mark.slow
def test_crashed_trainings_are_trained_again_where_that_is_asked_for(study, tmp_path, run_without_ray) -> None:
    folder = tmp_path / "results" / "tiny"
    code, out, _ = run_without_ray(study, tmp_path / "results", "--retry", "crashed")
    assert code == 0 and "--retry crashed: no training ended so" in out
    lines = (folder / "ledger.jsonl").read_text().splitlines()
    changed = [crashed(line) if '"trial_id": "0001"' in line and '"tell"' in line else line for line in lines]
    (folder / "ledger.jsonl").write_text("\n".join(changed) + "\n")
    code, out, _ = run_without_ray(study, tmp_path / "results")
    assert code == 0 and store.read_trials(folder)["verdict"].tolist() == ["stable", "crashed", "stable"]
    code, out, err = run_without_ray(study, tmp_path / "results", "--retry", "crashed")
    assert (code, err) == (0, "") and "--retry crashed: 1 training runs again" in out
    assert store.read_trials(folder)["verdict"].tolist() == ["stable", "stable", "stable"]
    assert events(folder, "retry") == ["0001"] and events(folder, "tell").count("0001") == 2


@pytest.mark.long
def test_a_training_whose_process_ray_ends_for_want_of_memory_is_tried_smaller_and_told_apart(study, tmp_path) -> None:
    folder = tmp_path / "results" / "tiny"
    command = [sys.executable, "-m", "sweep.run", study, "--results", tmp_path / "results", "--trials", "1"]
    # All that this machine uses already is too much.
    env = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    env |= {"RAY_memory_usage_threshold": "0.001", "RAY_memory_monitor_refresh_ms": "100"}
    done = subprocess.run(
        [*command, "--set", "resources.out_of_memory=accumulate"], capture_output=True, text=True, timeout=300, env=env
    )
    assert done.returncode == 0, done.stderr
    for size in (2, 1):
        assert f"0000: memory ran out; it begins anew with {4 // size} micro-batches of {size} an update" in done.stdout
    (row,) = store.read_trials(folder).to_dict("records")
    assert row["verdict"] == "out-of-memory" and row["micro_batch"] == 1


def crashed(line: str) -> str:
    """A line of the ledger, as an earlier version wrote it, of a training that crashed instead."""
    event = json.loads(line)
    event.pop("sum", None)
    event["result"] |= {"verdict": "crashed", "objective": 3.0, "margin": 1.0, "reason": "it crashed"}
    return json.dumps(event)


def wait_until(is_so: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 180
    while time.monotonic() < deadline:
        if is_so():
            return
        assert process.poll() is None, "the run ended before"
        time.sleep(0.02)
    raise AssertionError("it took too long")
