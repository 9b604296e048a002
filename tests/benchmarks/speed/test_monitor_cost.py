"""The loops that are measured, and the count of what makes the host wait."""

import warnings
from collections.abc import Iterator

import pytest
import torch

from benchmarks.gpu.settings import QUICK
from benchmarks.speed.monitor_cost import BARE, BARE_MONITORED, TOOL, TOOL_MONITORED, compare, count_waits

CPU = torch.device("cpu")


def test_every_loop_has_its_cost() -> None:
    config = QUICK.config("baseline", 0.0625, {"kind": "fp16"}, 1e-3)
    costs = compare(config, QUICK.data.build(), CPU, steps=3)
    assert list(costs) == [BARE, BARE_MONITORED, TOOL, TOOL_MONITORED]
    for name, cost in costs.items():
        assert len(cost.seconds) == 3 and cost.step_s > 0 and cost.waits_per_step is None
        assert (cost.call_s is not None) == (name in (BARE_MONITORED, TOOL_MONITORED))
        assert cost.call_share is None or 0 < cost.call_share < 1


def test_the_warnings_of_torchs_debug_mode_are_counted_a_step(monkeypatch) -> None:
    modes = []
    monkeypatch.setattr(torch.cuda, "set_sync_debug_mode", modes.append)

    def steps() -> Iterator[None]:
        while True:
            for text in (
                "called a synchronizing CUDA operation",
                "another one",
                "called a synchronizing CUDA operation",
            ):
                warnings.warn(text, stacklevel=1)
            yield

    assert count_waits(steps(), 5) == 2.0 and modes == ["warn", "default"]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.filterwarnings("ignore:Synchronization debug mode")
def test_a_value_that_is_read_at_once_is_counted_as_a_wait() -> None:
    value = torch.ones((), device="cuda")

    def steps(num_read: int) -> Iterator[None]:
        while True:
            (value + 1).mul_(2)
            for _ in range(num_read):
                value.item()
            yield

    assert [count_waits(steps(num_read), 5) for num_read in (0, 1, 3)] == [0.0, 1.0, 3.0]
