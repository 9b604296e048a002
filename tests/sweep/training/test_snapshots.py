"""Snapshots: copies that go on bit-identically, as often as one likes, also under changed settings."""

import copy
import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch

from slr_models.data import SyntheticConfig
from sweep.records import StepRecord
from sweep.training.config import TrialConfig
from sweep.training.snapshots import Snapshot, SnapshotRing, restore, take_snapshot
from sweep.training.train import Training

torch.set_num_threads(1)
DATA = {"kind": "synthetic", "vocabulary_size": 4, "num_train": 32, "num_valid": 4, "frames_per_label": 6}
STATEFUL = {
    "precision": {"kind": "fp16", "initial_scale": 2.0**12, "growth_interval": 3},
    "schedule": {"kind": "plateau", "patience_evals": 1},
    "clip": {"kind": "adaptive", "warmup_steps": 2},
    "bad_batch": {"kind": "robust_z"},
}


@pytest.fixture(scope="module")
def dataset():
    return SyntheticConfig.model_validate(DATA).build()


def start(dataset, **training: Any) -> Training:
    config = TrialConfig.model_validate(
        {
            "model": {"kind": "baseline", "width": 0.0625, "dropout": 0.1, "norm": "batch"},
            "data": DATA,
            "training": {"batch_size": 4, "eval_every_steps": 4, **training},
        }
    )
    return Training(config, dataset, seed=0, max_steps=10, device=torch.device("cpu"))


def run(training: Training, to_step: int, ring: SnapshotRing | None = None) -> list[str]:
    """Trains on; what was recorded, apart from the time it took."""
    records = []
    if ring is not None:
        ring.offer(training)
    for record in training.records() if training.step < to_step else ():
        if dataclasses.is_dataclass(record) and hasattr(record, "time_s"):
            record = dataclasses.replace(record, time_s=0.0)
        records.append(repr(record))
        if isinstance(record, StepRecord):
            if ring is not None:
                ring.offer(training)
            if record.step >= to_step:
                break
    return records


def weights(training: Training) -> list[torch.Tensor]:
    return [*training.model.state_dict().values()]


def test_the_ring_keeps_the_latest_and_a_few_older_ones(dataset) -> None:
    ring = SnapshotRing(every_steps=2, size=3)
    assert ring.steps == [] and ring.before(10) is None and ring.num_bytes == 0
    training = start(dataset)
    run(training, 3, ring)
    assert ring.steps == [0, 2]
    run(training, 9, ring)
    assert ring.steps == [0, 4, 6, 8]
    found = [ring.before(step, margin) for step, margin in [(9, 1), (8, 1), (9, 3), (12, 1), (4, 1), (9, 10)]]
    assert [s and s.step for s in found] == [8, 6, 6, 8, 0, None]
    parameters = sum(p.nbytes for p in training.model.parameters())
    # Weights and the two moments of Adam; the rest is small.
    assert 3 * 3 * parameters < ring.num_bytes < 4 * 3 * parameters + 100_000


@pytest.mark.parametrize("size", [1, 3, 4])
def test_a_long_training_keeps_ever_fewer_of_its_older_steps(dataset, size: int) -> None:
    ring = SnapshotRing(every_steps=5, size=size)
    training = start(dataset)
    for step in range(5 * 200):
        training.step = step
        ring.offer(training)
        newest = step // 5 * 5
        assert ring.steps[-size:] == [s for s in range(newest - 5 * (size - 1), newest + 1, 5) if s >= 0]
        assert len(ring.steps) <= 2 * size
        # As far back as they reach, the one before a step is at most as far from it as that step is back.
        reach = 5 * (size << size) // 2
        for back in (size * 5, reach // 2, reach - 5):
            older = ring.before(step - back, 0)
            assert older is not None or step < back
            assert older is None or step - older.step <= 2 * max(back, size * 5) + 5


def test_a_training_whose_records_come_late_misses_no_snapshot(dataset) -> None:
    ring = SnapshotRing(every_steps=5, size=4)
    training = start(dataset)
    for step in (0, 4, 8, 9, 13, 16, 18, 22):
        training.step = step
        ring.offer(training)
    assert ring.steps == [0, 8, 13, 16, 22]


def test_what_a_training_set_back_has_not_done_yet_is_forgotten(dataset) -> None:
    ring = SnapshotRing(every_steps=2, size=3)
    training = start(dataset)
    run(training, 6, ring)
    early = ring.before(3)
    assert early is not None and early.step == 2
    restore(early, training)
    run(training, 4, ring)
    assert ring.steps == [0, 2, 4]


@pytest.mark.parametrize("settings", [{}, STATEFUL, {"optimizer": {"kind": "sgd", "lr": 0.01}}], ids=str)
def test_a_snapshot_goes_on_bit_identically_and_more_than_once(dataset, settings: dict[str, Any]) -> None:
    ring = SnapshotRing(every_steps=5, size=2)
    training = start(dataset, **settings)
    run(training, 6, ring)
    expected = run(training, 10)
    snapshot = ring.before(6)
    assert snapshot is not None and snapshot.step == 5
    before = copy.deepcopy(snapshot.state["optimizer"]["state"])
    for _ in range(2):
        again = start(dataset, **settings)
        restore(snapshot, again)
        assert again.step == 5
        assert run(again, 10)[-len(expected) :] == expected
        assert all(torch.equal(a, b) for a, b in zip(weights(again), weights(training), strict=True))
    # Training on did not write into the copy.
    after = snapshot.state["optimizer"]["state"]
    assert all(torch.equal(before[i][k], after[i][k]) for i in before for k in before[i])


def test_a_snapshot_survives_its_file(dataset, tmp_path: Path) -> None:
    ring = SnapshotRing(every_steps=2, size=2)
    training = start(dataset, **STATEFUL)
    run(training, 5, ring)
    ring.save(tmp_path / "ring.pt")
    loaded = SnapshotRing.load(tmp_path / "ring.pt")
    assert (loaded.steps, loaded.every_steps, loaded.size) == ([0, 2, 4], 2, 2)
    assert loaded.num_bytes == ring.num_bytes
    snapshot = loaded.before(5)
    assert snapshot is not None
    expected = run(training, 8)
    again = start(dataset, **STATEFUL)
    restore(snapshot, again)
    assert run(again, 8)[-len(expected) :] == expected


def middle(dataset, **training: Any) -> Snapshot:
    source = start(dataset, **training)
    run(source, 4)
    return take_snapshot(source)


def moments(training: Training) -> list[float]:
    return [float(state["exp_avg_sq"].sum()) for state in training.optimizer.state.values()]


def test_settings_are_those_of_the_new_training(dataset) -> None:
    snapshot = middle(dataset, optimizer={"kind": "adamw", "lr": 1e-3})
    other = start(dataset, optimizer={"kind": "adamw", "lr": 1e-4, "beta2": 0.9, "weight_decay": 0.5})
    restore(snapshot, other)
    (group,) = other.optimizer.param_groups
    assert group["betas"] == (0.9, 0.9) and group["weight_decay"] == 0.5
    assert len(moments(other)) > 10 and all(moment > 0 for moment in moments(other))
    run(other, 6)
    assert group["lr"] < 1.1e-4


@pytest.mark.parametrize(
    "change",
    [
        {"precision": {"kind": "fp32"}},
        {"precision": {"kind": "bf16"}},
        {"clip": {"kind": "norm", "max_norm": 0.1}},
        {"bad_batch": {"kind": "skip_nonfinite"}},
        {"schedule": {"kind": "constant"}},
        {"optimizer": {"kind": "sgd", "lr": 1e-3}},
    ],
    ids=str,
)
@pytest.mark.parametrize("forwards", [True, False])
def test_a_part_of_another_kind_starts_anew(dataset, change: dict[str, Any], forwards: bool) -> None:
    source, target = (STATEFUL, STATEFUL | change) if forwards else (STATEFUL | change, STATEFUL)
    snapshot = middle(dataset, **source)
    other = start(dataset, **target)
    restore(snapshot, other)
    assert other.step == 4
    assert all(torch.equal(a, b) for a, b in zip(weights(other), snapshot.state["model"].values(), strict=True))
    assert run(other, 7)
    assert other.step >= 7


def test_the_loss_scale_goes_on_but_its_growth_is_as_configured(dataset) -> None:
    snapshot = middle(dataset, precision={"kind": "fp16", "initial_scale": 2.0**12, "growth_interval": 2})
    in_force = snapshot.state["precision"]["scale"]
    assert in_force > 2.0**12
    other = start(
        dataset, precision={"kind": "fp16", "initial_scale": 1.0, "growth_interval": 100, "growth_factor": 8.0}
    )
    restore(snapshot, other)
    assert other.precision.state_dict()["scale"] == in_force
    run(other, 8)
    assert other.precision.state_dict()["scale"] == in_force


def test_a_fresh_optimizer_has_no_memory(dataset) -> None:
    snapshot = middle(dataset)
    other = start(dataset)
    restore(snapshot, other, fresh_optimizer=True)
    assert moments(other) == []
    assert all(torch.equal(a, b) for a, b in zip(weights(other), snapshot.state["model"].values(), strict=True))
    run(other, 6)
    assert len(moments(other)) > 10
