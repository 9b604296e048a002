"""A study with a design on real Ray: planned, killed, continued, judged."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sweep import store
from sweep.run import main
from sweep.store.ledger import Ledger
from sweep.store.ledger_lines import LEDGER_FILE

STUDY = """
name: tiny_claims
model: {kind: baseline, width: 0.0625, norm: group}
data: {kind: synthetic, vocabulary_size: 4, num_train: 48, num_valid: 8, frames_per_label: 6, max_labels: 3}
training: {batch_size: 4, eval_every_steps: 5}
space: {training.optimizer.lr: {loguniform: [1e-3, 1]}}
budget: {steps: 10}
design:
  kind: paired
  blocks: 4
  looks: 2
  factors:
    model: {teacher: {model.kind: teacher}, baseline: {model.kind: baseline}}
    precision: {training.precision.kind: [fp32, fp16]}
claims:
  - name: diverges
    text: fp16 is why the teacher diverges
    factor: precision
    where: {model: teacher}
    response: stable
    expected: lower
    smallest_effect: 0.1
  - {name: slower, text: fp16 is twice as fast, factor: precision, response: step_time_s, effect: ratio,
     expected: lower, smallest_effect: 1.1}
forensics: {trials: 0}
"""


@pytest.fixture
def study(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(STUDY)
    return path


def test_the_plan_names_factors_cells_blocks_looks_and_claims(study, tmp_path, capsys) -> None:
    assert main([str(study), "--results", str(tmp_path / "r"), "--dry-run"]) == 0
    out = capsys.readouterr().out
    for part in (
        "design: paired, 4 blocks x 4 cells (full factorial) = 16 trainings",
        "teacher (reference): model.kind = teacher",
        "model=baseline, precision=fp16",
        "training.optimizer.lr: {'loguniform': [0.001, 1.0]}",
        "claims, judged after 2 and 4 blocks; ends after 2 if every claim is settled:",
        "diverges: difference of the share of stable trainings, precision=fp16 against fp32, where model=teacher",
        "warning: cannot be supported: 4 pairs are too few for the exact test, which needs at least 6",
        "16 to train: 4 blocks x 4 cells",
        "confirmation is off",
    ):
        assert part in out, part
    assert main([str(study), "--results", str(tmp_path / "r"), "--trials", "9"]) == 2
    assert "planned for its 4 blocks" in capsys.readouterr().err


def test_a_killed_design_is_continued_to_its_verdicts(study, tmp_path, ray_address, run_here) -> None:
    folder = tmp_path / "r" / "tiny_claims"
    command = [sys.executable, "-m", "sweep.run", study, "--results", tmp_path / "r", "--address", ray_address]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 240
        while time.monotonic() < deadline and process.poll() is None and _num_told(folder) < 5:
            time.sleep(0.2)
        assert _num_told(folder) >= 5
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    before = store.read_trials(folder) if (folder / "trials.parquet").is_file() else None
    code, out, err = run_here(study, tmp_path / "r", "--jobs", "1")
    assert (code, err) == (0, "")
    assert "training (paired design, 4 blocks x 4 cells)" in out
    assert "block 3: model=" in out
    trials = store.read_trials(folder)
    ledger = Ledger(folder)
    ledger.close()
    num = len(trials)
    assert num in (8, 9, 16), "two blocks (and what had begun by then), or all"
    assert [a.number for a in ledger.asks] == list(range(num)) and len(ledger.results) == num
    assert trials["block"].tolist()[:8] == [0] * 4 + [1] * 4
    assert all(trials[trials["block"] == b]["cell"].nunique() == 4 for b in (0, 1))
    assert all(trials[trials["block"] == b]["training.optimizer.lr"].nunique() == 1 for b in (0, 1))
    if before is not None:
        kept = trials.set_index("trial_id").loc[before["trial_id"], "wall_s"]
        assert kept.tolist() == before["wall_s"].tolist(), "what was finished was not trained again"
    findings = store.read_claims(folder)
    assert [f["claim"]["name"] for f in findings] == ["diverges", "slower"]
    assert all(f["verdict"] in ("supported", "refuted", "equivalent", "undecided") for f in findings)
    assert not (folder / "optuna.journal").exists() and store.read_importance(folder) == {}
    content = store.read_study(folder)
    assert list(content["space"]) == ["model.kind", "training.precision.kind", "training.optimizer.lr"]
    assert (folder / "report.html").stat().st_size > 100_000 and not (folder / "recipe.yaml").exists()


@pytest.mark.slow
def test_a_claim_of_a_finished_study_is_judged_without_training_and_marked(study, tmp_path, run_without_ray) -> None:
    text = STUDY.replace("blocks: 4", "blocks: 2").replace("looks: 2", "looks: 1")
    study.write_text(text)
    folder = tmp_path / "r" / "tiny_claims"
    code, out, err = run_without_ray(study, tmp_path / "r")
    assert (code, err) == (0, "")
    assert "exploratory" not in out and all(f["note"].count("Stated") == 0 for f in store.read_claims(folder))
    ledger = (folder / LEDGER_FILE).read_bytes()
    added = (
        "  - {name: learns, text: t, factor: model, response: wer, expected: higher, smallest_effect: 0.1}\nforensics"
    )
    study.write_text(text.replace("forensics", added))
    code, out, err = run_without_ray(study, tmp_path / "r")
    assert (code, err) == (0, "")
    assert "claims changed after 8 trainings: learns; they are marked as exploratory" in out
    assert "starting Ray" not in out and (folder / LEDGER_FILE).read_bytes() == ledger
    notes = {f["claim"]["name"]: f["note"] for f in store.read_claims(folder)}
    assert list(notes) == ["diverges", "slower", "learns"]
    assert [name for name, note in notes.items() if "Stated after 8 trainings: exploratory" in note] == ["learns"]
    assert "Stated after 8 trainings: exploratory" in (folder / "report.html").read_text()
    study.write_text(text.split("claims:\n")[0] + "forensics: {trials: 0}\n")
    code, out, err = run_without_ray(study, tmp_path / "r")
    assert (code, err) == (0, "")
    removed = "3 claims were removed or changed after trainings began: diverges, slower, learns."
    assert removed in out and store.read_claims(folder) == []
    study.write_text(text.replace("blocks: 2", "blocks: 3"))
    for more in ([], ["--dry-run"]):
        code, _, err = run_without_ray(study, tmp_path / "r", *more)
        assert code == 2 and "another version of this study (changed: design)" in err


def _num_told(folder: Path) -> int:
    ledger = folder / LEDGER_FILE
    return ledger.read_bytes().count(b'"event": "tell"') if ledger.is_file() else 0
