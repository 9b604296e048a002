"""Names in any script, from the study file to the page: on real Ray with every logger, then read by all commands."""

import json
import os
import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest

from sweep import clean, compare, explain, store
from sweep.live.metrics import tag
from sweep.report import __main__ as report
from sweep.report import build_report
from sweep.watch.worker import build

NAME = "größe 日本 🎉 100% [x] 'a' עברית"
STUDY = """
name: "größe 日本 🎉 100% [x] 'a' עברית"
description: "Größe [red]x[/] :smile: </script>"
model: {kind: baseline, width: 0.0625, norm: group}
data: {kind: synthetic, vocabulary_size: 4, num_train: 48, num_valid: 8, frames_per_label: 6, max_labels: 3}
training: {batch_size: 4, eval_every_steps: 5}
space: {training.optimizer.lr: {loguniform: [1e-3, 1]}}
budget: {steps: 10}
design:
  kind: paired
  blocks: 2
  looks: 1
  factors:
    Größe [/]: {klein: {model.width: 0.0625}, 大きい 🎉: {model.width: 0.125}}
claims:
  - {name: "größer/ist (besser)", text: "大きい </script> is better", factor: "Größe [/]", response: stable,
     expected: higher, smallest_effect: 0.1}
forensics: {trials: 0}
"""


@pytest.mark.filterwarnings("ignore")
def test_names_in_any_script_go_from_the_file_to_the_page(tmp_path, run_here, monkeypatch, capsys) -> None:
    for package in ("mlflow", "wandb"):
        pytest.importorskip(package)
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    study = tmp_path / "größe.yaml"
    # The accents apart from their letters, as macOS hands them on: it is the same study.
    study.write_text(STUDY.replace(NAME, unicodedata.normalize("NFD", NAME)), encoding="utf-8")
    loggers = ("--log", "tensorboard", "--log", "mlflow", "--log", "wandb")
    code, out, _ = run_here(study, tmp_path / "结果", *loggers, "--jobs", "1")
    folder = tmp_path / "结果" / NAME
    assert code == 0 and out.startswith(f"{NAME}: reading synthetic data\n") and "  note:" not in out
    assert out.splitlines()[-1] == str(folder / "report.html")
    trials = store.read_trials(folder)
    assert len(trials) == 4 and set(trials["cell"]) == {"Größe [/]=klein", "Größe [/]=大きい 🎉"}
    assert "block 1: Größe [/]=大きい 🎉" in out
    assert len(list((folder / "tensorboard").iterdir())) == 4
    assert len(list((folder / "wandb").glob("offline-run-*/*.wandb"))) == 4
    assert (folder / "mlflow.db").is_file()

    study.write_text(STUDY, encoding="utf-8")
    code, out, err = run_here(study, tmp_path / "结果")
    assert (code, err) == (0, "") and "starting Ray" not in out, "the same study, and it is finished"

    page = build_report(folder).read_text(encoding="utf-8")
    assert "größe 日本 🎉 100% [x] &#39;a&#39; עברית" in page and "大きい &lt;/script&gt; is better" in page
    assert build(folder)[0].name == NAME
    assert explain.main([str(folder), "0000"]) == 0
    assert compare.main([str(folder), str(folder / ".." / NAME)]) == 2, "the same folder in another way"
    (folder / "ray" / "0000").mkdir(parents=True)
    assert clean.main([str(folder)]) == 0
    assert "Ray's own files: " in capsys.readouterr().out and not list((folder / "ray").iterdir())
    assert build_report(folder).read_text(encoding="utf-8") == page

    # A terminal that knows ASCII alone.
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    command = [sys.executable, "-m", "sweep.report", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120)
    assert (done.returncode, done.stderr) == (0, "") and done.stdout.isascii() and "gr\\xf6\\xdfe" in done.stdout
    assert report.main([str(folder), "--json"]) == 0
    said = capsys.readouterr().out
    assert said.isascii() and json.loads(said)["report"] == str(folder / "report.html")


def test_a_tag_of_a_metric_is_ascii_and_each_name_has_its_own() -> None:
    assert tag("smoke: 1") == "smoke: 1"
    names = ["größe", "grösse", "日本", "中国", "100% ü", "100%25 ü"]
    assert all(tag(name).isascii() for name in names) and len({tag(name) for name in names}) == len(names)


def test_memory_is_known_whatever_the_process_is_called() -> None:
    """Linux cuts a process's title to 15 bytes, amid a letter where it falls so."""
    script = (
        "import ctypes; assert ctypes.CDLL(None).prctl(15, b'ray::0000 gr\\xc3') == 0\n"
        "import torch; from sweep.training.peak_memory import peak_memory_mib\n"
        "assert peak_memory_mib(torch.device('cpu')) > 1"
    )
    if sys.platform == "linux":
        subprocess.run([sys.executable, "-c", script], check=True, cwd=Path(__file__).parents[3])
