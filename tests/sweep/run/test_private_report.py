"""The report that `run --private` writes at its end, of trainings that were told beforehand: no Ray is started."""

import dataclasses
import getpass
import socket
from pathlib import Path

import pytest

from sweep.__main__ import main
from sweep.records import Outcome
from sweep.running.job import RunOptions
from sweep.running.judged import crashed_result
from sweep.running.session import StudySession
from sweep.study import load
from tests.sweep.report.test_private import shown

HOST, USER = "gpunode17", "a.lovelace"
STUDY = """
name: shared
description: As {user} has tried it on {host}, in {folder}.
model: {{kind: baseline, width: 0.0625, norm: group}}
data: {{kind: synthetic, vocabulary_size: 4, num_train: 32, num_valid: 8, frames_per_label: 6, max_labels: 3}}
training: {{batch_size: 4, eval_every_steps: 20}}
space: {{training.optimizer.lr: {{loguniform: [1e-4, 1e-1]}}}}
search: {{kind: random, seed: 0}}
budget: {{trials: 2, steps: 40}}
confirm: {{settings: 0}}
forensics: {{trials: 0}}
"""


@pytest.mark.slow
def test_it_names_neither_host_nor_user_nor_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    home = tmp_path / "home-of-ada"
    home.mkdir()
    monkeypatch.setattr(socket, "gethostname", lambda: f"{HOST}.cluster")
    monkeypatch.setattr(getpass, "getuser", lambda: USER)
    monkeypatch.setenv("HOME", str(home))
    study, folder = tmp_path / "shared.yaml", tmp_path / "results" / "shared"
    study.write_text(STUDY.format(user=USER, host=HOST, folder=home))
    with StudySession(load(study), folder, 32) as session:
        while (job := session.next_job()) is not None:
            lost = crashed_result(job, RunOptions(folder, "wer", None, True, "none"), f"lost {home}/a.npy on {HOST}")
            session.tell(dataclasses.replace(lost, verdict=Outcome.DIVERGED_LOSS, num_steps=20, margin=0.5))
    command = ["run", str(study), "--results", str(tmp_path / "results")]
    assert main([*command, "--private"]) == 0
    out = capsys.readouterr().out
    assert "--private: the report names neither this machine nor its user" in out
    page = folder / "report-private.html"
    assert out.splitlines()[-1] == str(page) and not (folder / "report.html").exists()
    secrets = (HOST, USER, str(home), home.name, str(folder), str(tmp_path))
    told = shown(page)
    assert [(name, one) for name, text in told.items() for one in secrets if one in text] == []
    assert "As (name) has tried it on (name), in (path)" in told["page"]
    assert main(command) == 0
    assert HOST in shown(folder / "report.html")["page"], "what it says otherwise"
