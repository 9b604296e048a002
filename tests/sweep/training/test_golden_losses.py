"""Losses and gradient norms of short trainings, bit for bit as they were recorded: a change of form changes no number.

`python tests/sweep/training/test_golden_losses.py` records them anew; do so only where a change means to alter numbers,
and say in docs/LOG.md which.
"""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from sweep.records import EvalRecord, StepRecord
from sweep.training.config import TrialConfig
from sweep.training.train import Training

GOLDEN = Path(__file__).with_name("golden_losses.json")
NUM_STEPS = 10
SMALL_TEACHER = {"kind": "teacher", "width": 0.0625, "num_modules": 3, "norm": "group"}
CASES: dict[str, dict[str, Any]] = {
    "teacher_fp32": {"model": SMALL_TEACHER, "training": {}},
    "teacher_fp16_calibrating": {
        "model": SMALL_TEACHER,
        "training": {"precision": {"kind": "fp16", "initial_scale": 1e12}},
    },
    "teacher_bf16_adaptive_robust_z": {
        "model": {**SMALL_TEACHER, "norm": "batch", "dropout": 0.1},
        "training": {
            "precision": {"kind": "bf16"},
            "clip": {"kind": "adaptive", "warmup_steps": 4},
            "bad_batch": {"kind": "robust_z", "warmup_steps": 4},
        },
    },
    "baseline_sgd_agc_skip_above": {
        "model": {"kind": "baseline", "width": 0.0625, "norm": "group"},
        "training": {
            "optimizer": {"kind": "sgd"},
            "clip": {"kind": "agc"},
            "bad_batch": {"kind": "skip_above", "threshold": 50},
        },
    },
    "mobilenet_teacher_adam_value_one_cycle": {
        "model": {"kind": "mobilenet_teacher", "width": 0.0625, "norm": "group"},
        "training": {
            "optimizer": {"kind": "adam"},
            "clip": {"kind": "value"},
            "schedule": {"kind": "one_cycle", "warmup_steps": 4},
        },
    },
    "cnn_bilstm_fp16": {
        "model": {"kind": "cnn_bilstm", "width": 0.0625},
        "training": {"precision": {"kind": "fp16"}},
    },
}


def machine() -> dict[str, str]:
    """What the last bit of a sum depends on."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return {
        "torch": torch.__version__,
        "cpu": names[0] if names else "unknown",
        "capability": torch.backends.cpu.get_cpu_capability(),
    }


def trained(case: str) -> list[float]:
    """Loss and gradient norm of each step, then the validation loss."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        config = TrialConfig.model_validate({**CASES[case], "data": {"kind": "synthetic"}})
        training = Training(config, config.data.build(), seed=3, max_steps=NUM_STEPS, device=torch.device("cpu"))
        values: list[float] = []
        for record in training.records():
            if isinstance(record, StepRecord):
                values += [record.loss, record.grad_norm]
            elif isinstance(record, EvalRecord):
                values.append(record.val_loss)
        return values
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize("case", CASES)
def test_losses_are_bit_for_bit_those_recorded(case: str) -> None:
    golden = json.loads(GOLDEN.read_text())
    found, expected = trained(case), [float.fromhex(value) for value in golden["values"][case]]
    if machine() == golden["machine"]:
        assert [value.hex() for value in found] == golden["values"][case]
    else:
        # Another machine adds in another order: the first steps still tell a changed formula from rounding.
        assert found[:4] == pytest.approx(expected[:4], rel=0.02, nan_ok=True)


if __name__ == "__main__":
    recorded = {case: [value.hex() for value in trained(case)] for case in CASES}
    GOLDEN.write_text(json.dumps({"machine": machine(), "values": recorded}, indent=1) + "\n")
