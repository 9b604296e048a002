"""Studies whose results go to an object store, as a person runs and reads them; one with a real Ray is killed."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

import sweep
from sweep import store
from sweep.__main__ import main
from sweep.store.ledger_lines import LEDGER_FILE
from sweep.store.remote.address import as_address
from sweep.store.remote.objects import ObjectStore
from sweep.store.remote.segments import read_segments

STUDY = """
name: 'tiny #1 \u00e9%2F'
model: {kind: baseline, width: 0.0625, norm: group}
data: {kind: synthetic, vocabulary_size: 4, num_train: 48, num_valid: 8, frames_per_label: 6, max_labels: 3}
training: {batch_size: 4, eval_every_steps: 15, clip: {kind: 'off'}}
space:
  training.optimizer.lr: {choice: [5e-3, 3e-3, 2e-3, 1e-3]}
search: {kind: grid}
budget: {trials: 4, steps: 60}
confirm: {settings: 0}
forensics: {trials: 0}
"""
FOLDER = "tiny #1 \u00e9%2F"
"""The study's name, with letters that addresses write otherwise."""


@pytest.fixture
def study(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(STUDY)
    return path


def events(at: str, kind: str) -> list[str]:
    """Trials of the events of a kind, as they are stored."""
    address = as_address(at)
    assert address is not None
    stored = read_segments(ObjectStore(address)) or b""
    return [line["trial_id"] for line in map(json.loads, stored.splitlines()) if line["event"] == kind]


def test_a_study_runs_to_its_report_and_is_read_from_elsewhere(
    study, tmp_path, bucket, run_without_ray, capsys, monkeypatch
) -> None:
    results, at = f"s3://{bucket}/of a #team/\u00fc", f"s3://{bucket}/of a #team/\u00fc/{FOLDER}"
    code, out, err = run_without_ray(study, results, "--trials", "2")
    assert (code, err) == (0, ""), err
    folder = tmp_path / "cache" / "slr-sweep" / "work"
    assert f"results go to {at}; worked on in {folder}/" in out
    assert out.splitlines()[-1] == f"{at}/report.html"

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "of another machine"))
    assert main(["status", at]) == 0
    assert "finished, 2 of 2 trainings done" in capsys.readouterr().out
    assert main(["report", at]) == 0
    report = Path(capsys.readouterr().out.splitlines()[-1])
    assert report.is_relative_to(tmp_path / "of another machine") and report.stat().st_size > 100_000
    trials = sweep.load(at).trials
    assert len(trials) == 2
    assert len(store.read_steps(report.parent, "0000")) == 60

    code, out, err = run_without_ray(study, results, "--trials", "4")
    assert (code, err) == (0, "") and "going on: 2 trials are done" in out
    assert events(at, "tell") == ["0000", "0001", "0002", "0003"]
    assert main(["status", at, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["done"] == 4
    assert main(["status", results]) == 2
    assert capsys.readouterr().err == (
        f"error: there is no study at {results}: give one of its studies, such as {at}\n"
    )


def test_what_is_wrong_is_told_in_a_line(study, bucket, capsys, monkeypatch) -> None:
    def told(*given: str, code: int) -> str:
        assert main(["run", str(study), *given]) == code
        said = capsys.readouterr()
        (line,) = said.err.splitlines()
        assert "secret-of-tests" not in said.out + line
        return line

    assert "there is no bucket 'not-there'" in told("--results", "s3://not-there/x", code=2)
    pbt = ("--set", "scheduler={kind: pbt}", "--set", "search={kind: random}", "--address", "auto")
    study.write_text(STUDY.replace("{choice: [5e-3, 3e-3, 2e-3, 1e-3]}", "{loguniform: [1e-3, 1e-1]}"))
    assert "takes a folder that all machines of the cluster share" in told(
        "--results", f"s3://{bucket}/x", *pbt, code=2
    )
    study.write_text(STUDY)
    assert "leave them out" in told("--results", "s3://key:secret-of-tests@bucket/x", code=2)
    monkeypatch.setitem(sys.modules, "obstore", None)
    assert "pip install 'slr-stability-sweep[remote]'" in told("--results", f"s3://{bucket}/x", code=2)
    for command in (["queue"], ["stop"], ["clean"], ["explain"]):
        given = {"queue": ["lr=1"], "stop": ["0000"], "explain": ["0000"]}.get(command[0], [])
        assert main([*command, f"s3://{bucket}/x", *given]) == 2
        assert "is an address, but files are read and written by paths" in capsys.readouterr().err


def test_on_a_cluster_whose_machines_share_no_folder_each_process_sends_its_own(
    study, tmp_path, bucket, run_without_ray, monkeypatch
) -> None:
    own = tmp_path / "of the processes"
    own.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(own))
    study.write_text(
        STUDY.replace("5e-3, 3e-3, 2e-3, 1e-3", "300, 200, 5e-3").replace("trials: 4", "trials: 3")
        # Each of two could be explained, but one of them may.
        + "forensics: {trials: 1, replay_steps: 200, learning_replay_steps: 200, repeats: 1}\ncheckpoints: last\n"
    )
    study.write_text(study.read_text().replace("forensics: {trials: 0}\n", ""))
    results, at = f"s3://{bucket}/x", f"s3://{bucket}/x/{FOLDER}"
    code, out, err = run_without_ray(study, results, "--address", "of a cluster")
    assert (code, err) == (0, ""), err
    assert not list(own.iterdir()), "nothing of them is left"
    (folder,) = (tmp_path / "cache" / "slr-sweep" / "work").glob(f"*/{FOLDER}")
    trials = store.read_trials(folder)
    assert trials["trial_id"].tolist() == ["0000", "0001", "0002"] and not trials["stable"].all()
    for trial_id, steps in zip(trials["trial_id"], trials["num_steps"], strict=True):
        assert len(store.read_steps(folder, trial_id)) == steps
    assert len((folder / "evidence" / "replayed.txt").read_text().splitlines()) == 1
    address = as_address(at)
    assert address is not None
    stored = {one.key for one in ObjectStore(address).listing()}
    assert "checkpoints/0002/last.pt" in stored and not (folder / "checkpoints").exists()
    assert {"report.html", "steps/0002.parquet"} <= stored and not any(
        key.endswith(".jsonl") for key in stored if key.startswith("steps")
    )


@pytest.mark.ray
@pytest.mark.long
def test_a_killed_run_goes_on_on_another_machine_and_trains_nothing_twice(
    study, tmp_path, bucket, run_without_ray, monkeypatch
) -> None:
    results, at = f"s3://{bucket}/x", f"s3://{bucket}/x/{FOLDER}"
    usual = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    command = [sys.executable, "-m", "sweep.run", str(study), "--results", results, "--jobs", "1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=usual) as process:
        try:
            ends_at = time.monotonic() + 300
            while not events(at, "tell"):
                assert process.poll() is None and time.monotonic() < ends_at, "no training ended"
                time.sleep(0.2)
            second = subprocess.run(command, capture_output=True, text=True, env=usual, timeout=120, check=False)
            assert second.returncode == 2 and "is in use by another run, process" in second.stderr
        finally:
            process.send_signal(signal.SIGKILL)
    before = events(at, "tell")
    assert 1 <= len(before) < 4

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "of another machine"))
    code, out, err = run_without_ray(study, results)
    assert (code, err) == (0, ""), err
    assert f"going on: {len(before)} trials are done" in out
    after = events(at, "tell")
    assert after[: len(before)] == before and sorted(after) == ["0000", "0001", "0002", "0003"]
    assert sorted(events(at, "ask")) == sorted(after)
    copy = sweep.load(at)
    assert len(copy.trials) == 4
    (folder,) = (tmp_path / "of another machine" / "slr-sweep" / "read").glob(f"*/{FOLDER}")
    assert (folder / LEDGER_FILE).is_file()
    assert all(len(store.read_steps(folder, trial)) == 60 for trial in after), "those of the killed run too"
