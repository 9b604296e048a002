"""Pickles where data should be: none is loaded, whoever reads the file."""

import io
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

import sweep
from slr_models.data import ClipsConfig, LandmarksConfig, SyntheticConfig
from slr_models.errors import DataError, UserError
from sweep import replay, store, yaml_source
from sweep.judging.monitor import MonitorConfig
from sweep.records import StepRecord
from sweep.running.job import Job, Progress, RunOptions
from sweep.running.session import StudySession
from sweep.running.trial import TrialRunner
from sweep.study import validate
from sweep.training.config import TrialConfig

STUDY = """
name: tiny
model: {kind: baseline, width: 0.0625}
data: {kind: synthetic, vocabulary_size: 4, num_train: 16, num_valid: 4, frames_per_label: 6, max_labels: 3}
space: {training.optimizer.lr: {loguniform: [1e-3, 1]}}
search: {kind: random}
budget: {trials: 2, steps: 30}
"""


class Evil:
    """Makes a folder when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (str(self.mark),)


@pytest.fixture
def mark(tmp_path: Path) -> Path:
    """What appears where a pickle was loaded; that it would is tried first."""
    mark = tmp_path / "mark"
    pickle.loads(pickle.dumps(Evil(mark)))
    mark.rmdir()
    return mark


def checkpoint(mark: Path, kind: str) -> bytes:
    """A file that `torch.load` would run without `weights_only`."""
    if kind == "plain pickle":
        return pickle.dumps(Evil(mark), protocol=2)
    buffer = io.BytesIO()
    if kind == "within":
        torch.save({"training": torch.zeros(2), "monitor": Evil(mark)}, buffer)
    else:
        torch.save(torch.zeros(2), buffer)
        whole = zipfile.ZipFile(buffer)
        parts = {name: whole.read(name) for name in whole.namelist()}
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as changed:
            for name, content in parts.items():
                changed.writestr(name, pickle.dumps(Evil(mark), protocol=2) if name.endswith("data.pkl") else content)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["plain pickle", "within", "in its place"])
def test_a_checkpoint_is_weights_or_nothing(tmp_path: Path, mark: Path, kind: str) -> None:
    content = {"model": {"kind": "baseline", "width": 0.0625}, "data": {"kind": "synthetic"}}
    config = TrialConfig.model_validate({**content, "training": {"batch_size": 4, "eval_every_steps": 3}})
    dataset = SyntheticConfig(vocabulary_size=4, num_train=16, num_valid=4, frames_per_label=6, max_labels=3).build()
    for name in ("last.pt", "best.pt"):
        path = tmp_path / "r" / "checkpoints" / "0000" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(checkpoint(mark, kind))
    options = RunOptions(tmp_path / "r", "wer", MonitorConfig(), True, "best_and_last")
    trial = TrialRunner(dataset, options).start(Job("0000", 0, 0, 0, "explore", {}, config, 6))
    while isinstance(trial.advance(), Progress):
        pass
    assert not mark.exists() and len(store.read_steps(tmp_path / "r", "0000")) == 6, "it began anew"
    with pytest.raises(pickle.UnpicklingError):
        (tmp_path / "saved").mkdir()
        (tmp_path / "saved" / "saved.pt").write_bytes(checkpoint(mark, kind))
        TrialRunner(dataset, options).start(Job("0001", 0, 0, 0, "explore", {}, config, 6)).restore(tmp_path / "saved")
    assert not mark.exists()


@pytest.mark.parametrize("kind", ["npy", "npz", "named npy"])
def test_features_are_arrays_or_nothing(tmp_path: Path, mark: Path, kind: str) -> None:
    (tmp_path / "manifest.csv").write_text(f"id,path,labels,signer,split\na,a.{kind[-3:]},x,s,train\n")
    path = tmp_path / f"a.{kind[-3:]}"
    evil = np.array([Evil(mark)], dtype=object)
    if kind == "npy":
        np.save(path, evil, allow_pickle=True)
    elif kind == "npz":
        np.savez(path, features=evil)
    else:
        path.write_bytes(pickle.dumps(Evil(mark)))
    with pytest.raises(DataError):
        LandmarksConfig(path=str(tmp_path)).build()
    assert not mark.exists()


def test_clips_are_arrays_or_nothing(tmp_path: Path, mark: Path) -> None:
    (tmp_path / "labels.csv").write_text("row,label,signer,split,all_missing\n0,tea,S1,train,0\n")
    np.savez(tmp_path / "clips.npz", landmarks=np.array([Evil(mark)], dtype=object), present=np.ones((1, 8, 3)))
    with pytest.raises(DataError):
        ClipsConfig(path=str(tmp_path)).build()
    assert not mark.exists()


def test_types_of_a_table_are_those_that_its_reader_knows(tmp_path: Path, mark: Path) -> None:
    """Arrow once made a Python type of what a column's metadata held."""
    store.write_steps(tmp_path, "0000", [StepRecord(step, 2.0, 1.0) for step in range(1, 40)])
    path = tmp_path / "steps" / "0000.parquet"
    table = pq.read_table(path)
    evil = pickle.dumps(Evil(mark))
    fields = [
        field.with_metadata({b"ARROW:extension:name": b"arrow.py_extension_type", b"ARROW:extension:metadata": evil})
        for field in table.schema
    ]
    metadata = {b"pandas": b'{"index_columns": [], "columns": [], "creator": "' + evil.hex().encode() + b'"}'}
    pq.write_table(table.cast(pa.schema(fields, metadata=metadata)), path)
    assert pq.read_schema(path).field(0).metadata[b"ARROW:extension:metadata"] == evil
    readers: list[Callable[[], object]] = [
        lambda: store.read_steps(tmp_path, "0000"),
        lambda: store.load_steps(tmp_path, "0000"),
        lambda: replay.main([str(path)]),
        lambda: sweep.load(tmp_path),
    ]
    for reader in readers:
        try:
            reader()
        except (UserError, pa.ArrowException):
            pass
    assert not mark.exists()


@pytest.mark.parametrize("name", ["optuna.journal", "ray/tuner.pkl", "evidence/0000/explanation.json", "claims.json"])
def test_a_study_goes_on_beside_them(tmp_path: Path, mark: Path, name: str) -> None:
    loaded = validate(yaml_source.parse(STUDY, "s.yaml"))
    (tmp_path / "r" / name).parent.mkdir(parents=True)
    (tmp_path / "r" / name).write_bytes(pickle.dumps(Evil(mark)))
    (tmp_path / "r" / "ledger.jsonl").touch()
    session = StudySession(loaded, tmp_path / "r", 16)
    assert session.next_job() is not None
    session.close()
    assert not mark.exists()
