"""Whether a trial fits on this machine, as its user hears of it."""

import pytest
import torch

from slr_models.errors import UserError
from sweep.run import lanes
from sweep.run.lanes import check_this_machine
from sweep.running.cores import Cores
from sweep.running.this_machine import limits, this_machine
from sweep.study import Resources


def gpus(monkeypatch: pytest.MonkeyPatch, num: int, visible: str | None, cuda: str | None = "13.0") -> None:
    """As if torch found so many GPUs with this CUDA_VISIBLE_DEVICES."""
    monkeypatch.setattr(torch.version, "cuda", cuda)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: num > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: num)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)


@pytest.mark.parametrize("visible", ["", "-1", "7", "GPU-0123", "NoDevFiles"])
def test_where_cuda_visible_devices_leaves_no_gpu_the_error_says_so(monkeypatch, visible: str) -> None:
    gpus(monkeypatch, 0, visible)
    with pytest.raises(UserError, match=f'CUDA_VISIBLE_DEVICES is "{visible}", and torch finds no GPU with it'):
        check_this_machine(Resources(gpus=1.0), needs_gpu=True)
    check_this_machine(Resources(gpus=1.0), needs_gpu=False)
    check_this_machine(Resources(), needs_gpu=True)


@pytest.mark.parametrize(("visible", "cuda"), [(None, "13.0"), ("0", None)])
def test_a_machine_or_a_torch_without_gpus_is_told_of_as_such(monkeypatch, visible, cuda) -> None:
    gpus(monkeypatch, 0, visible, cuda)
    with pytest.raises(UserError, match="resources.gpus is auto, but torch finds no GPU here: set resources.gpus to 0"):
        check_this_machine(Resources(gpus="auto"), needs_gpu=True)


def test_ray_gets_the_gpus_that_are_left_alone(monkeypatch) -> None:
    gpus(monkeypatch, 2, "GPU-a,GPU-b")
    assert this_machine(Resources(gpus=0.5)).gpus == 2 and this_machine(Resources()).gpus == 0
    assert limits().gpus == "CUDA_VISIBLE_DEVICES=GPU-a,GPU-b"
    check_this_machine(Resources(gpus=2.0), needs_gpu=True)
    with pytest.raises(UserError, match=r"gpus is 3, but torch finds 2 here \(CUDA_VISIBLE_DEVICES is GPU-a,GPU-b\)"):
        check_this_machine(Resources(gpus=3.0), needs_gpu=True)


def test_more_cores_than_can_be_used_are_refused_with_the_reason(monkeypatch) -> None:
    monkeypatch.setattr(lanes, "cores", lambda: Cores(2, 64, "SLURM_CPUS_PER_TASK=2"))
    check_this_machine(Resources(cpus=2), needs_gpu=True)
    with pytest.raises(UserError, match=r"is 3, but only 2 of this machine's 64 cores can be used \(SLURM_CPUS_PER"):
        check_this_machine(Resources(cpus=3), needs_gpu=True)
    monkeypatch.setattr(lanes, "cores", lambda: Cores(2, 2, None))
    with pytest.raises(UserError, match="resources.cpus is 3, but this machine has 2 cores: ask for less"):
        check_this_machine(Resources(cpus=3), needs_gpu=True)
