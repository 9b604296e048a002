"""recipe.py is a program: it trains as it stands, whatever the settings, from one step on."""

import math
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sweep.analysis.answer.script import script
from sweep.training.config import TrainingConfig

MODEL: dict[str, Any] = {"kind": "teacher", "width": 0.125}
SETTINGS: list[dict[str, Any]] = [
    {},
    {"schedule": {"kind": "constant"}, "precision": {"kind": "fp16"}, "bad_batch": {"kind": "robust_z"}},
    {"schedule": {"kind": "cosine", "warmup_steps": 1}, "precision": {"kind": "bf16"}, "accumulate": 2},
    {"schedule": {"kind": "cosine", "count": "applied"}, "clip": {"kind": "adagc"}},
    {"schedule": {"kind": "one_cycle", "warmup_steps": 2}, "optimizer": {"kind": "sgd"}, "clip": {"kind": "agc"}},
    {"schedule": {"kind": "wsd"}, "optimizer": {"kind": "stable_adamw"}, "clip": {"kind": "adaptive"}},
    {"schedule": {"kind": "plateau"}, "optimizer": {"kind": "muon"}, "clip": {"kind": "off"}},
    {"schedule": {"kind": "plateau"}, "eval_every_steps": 1, "normalization": "softmax_then_log_softmax"},
]


def text_of(settings: dict[str, Any]) -> str:
    return script(TrainingConfig.model_validate(settings).model_dump(mode="json"), MODEL)


def losses(told: str) -> list[float]:
    return [float(found) for found in re.findall(r"loss (\S+) nats a label", told)]


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
@pytest.mark.parametrize("num_steps", [1, 3])
def test_it_trains_and_tells(
    settings: dict[str, Any], num_steps: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["recipe.py", str(num_steps)])
    exec(compile(text_of(settings), "recipe.py", "exec"), {"__name__": "__main__"})
    told = capsys.readouterr().out
    assert len(losses(told)) == num_steps and all(map(math.isfinite, losses(told)))
    assert f"step {num_steps} of {num_steps}: " in told


def test_one_step_has_the_whole_rate() -> None:
    for settings in SETTINGS:
        space: dict[str, Any] = {}
        exec(text_of(settings), space)
        training = TrainingConfig.model_validate(settings)
        if training.schedule.warmup_steps == 0:
            lr = training.optimizer.lr
            assert space["lr_at"](0, 1) == lr == training.schedule.build(lr, 1).lr(0)


@pytest.mark.slow
def test_it_runs_by_itself_from_another_folder_and_learns(tmp_path: Path) -> None:
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "recipe.py").write_text(text_of({}), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-I", "results/recipe.py"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    told = losses(done.stdout)
    assert done.stderr == "" and len(told) == 10 and told[-1] < told[0] / 2


def test_it_is_text_that_a_reader_can_take_in() -> None:
    for settings in SETTINGS:
        text = text_of(settings)
        assert text.isascii() and max(map(len, text.splitlines())) <= 120
        assert "sweep" not in text and "slr_models" not in text
