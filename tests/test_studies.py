"""Every shipped study loads, and its quick variant trains: the same model, data and space at a few steps."""

from pathlib import Path

import pytest
import torch

from sweep.records import TrialResult
from sweep.session import StudySession
from sweep.study import load
from sweep.trial import Progress, RunOptions, TrialRunner

STUDIES = sorted((Path(__file__).parents[1] / "studies").glob("*.yaml"))
QUICK = [
    "budget={trials: 2, steps: 3}",
    "confirm.settings=0",
    "data.num_train=16",
    "data.num_valid=4",
    "model.width=0.0625",
    "resources={cpus: 1}",
]


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_it_loads_as_it_stands(path: Path) -> None:
    study = load(path).study
    assert study.name == path.stem, "the results folder is found by the file's name"
    assert study.description


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_its_quick_variant_trains(path: Path, tmp_path: Path) -> None:
    content = load(path)
    if content.study.data.kind == "fingerspelling":
        pytest.importorskip("pose_format", reason="the extra `fingerspelling` is not installed")
    quick = [*QUICK, "training.schedule.warmup_steps=1"]
    if "training.precision.kind" in content.study.space and not torch.cuda.is_available():
        quick.append("space.training.precision.kind={choice: [fp32, bf16, fp16]}")
    loaded = load(path, quick)
    dataset = loaded.study.data.build()
    options = RunOptions(tmp_path, "wer", loaded.study.monitor, True, "none")
    runner = TrialRunner(dataset, options)
    session = StudySession(loaded, tmp_path, len(dataset.train))
    while (job := session.next_job()) is not None:
        trial = runner.start(job)
        while isinstance(result := trial.advance(), Progress):
            pass
        assert isinstance(result, TrialResult)
        assert result.num_steps == 3 and result.verdict != "crashed", result.reason
        session.tell(result)
    assert session.done and len(session.results) == 2
    session.close()
