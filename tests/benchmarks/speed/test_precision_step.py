"""A step in every precision that a device has."""

import torch

from benchmarks.speed.precision_step import WARMUP_STEPS, compare, precisions_on

CPU = torch.device("cpu")


def test_a_cpu_has_every_precision_but_tf32() -> None:
    assert list(precisions_on(CPU)) == ["fp32", "bf16", "fp16"]


def test_the_formats_take_turns_and_are_compared_with_fp32() -> None:
    costs = compare("baseline", 0.0625, CPU, steps=3, batch=2)
    assert WARMUP_STEPS > 0 and all(len(cost.seconds) == 3 for cost in costs.values())
    assert costs["fp32"].ratios == (1.0, 1.0, 1.0)
    low, middle, high = costs["fp16"].ratios
    assert 0 < low <= middle <= high and costs["fp16"].peak_memory_mib is None
