"""The README's examples run as they stand."""

import re
import sys
import types
from pathlib import Path

import pytest

from slr_models.data import FeatureGroup
from slr_models.models import CustomModelConfig
from sweep import yaml_source
from sweep.study import validate

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def test_the_study_is_valid() -> None:
    (text,) = blocks("yaml")
    assert validate(yaml_source.parse(text, "README.md")).study.name == "my_study"


def test_the_custom_model_trains(monkeypatch: pytest.MonkeyPatch) -> None:
    source = next(block for block in blocks("python") if "class MyModel" in block)
    module = types.ModuleType("readme_model")
    exec(source, vars(module))
    monkeypatch.setitem(sys.modules, "readme_model", module)
    config = CustomModelConfig(factory="readme_model:build", options={"hidden": 8}, output_stride=4)
    model = config.build(6, (FeatureGroup("all", 0, 6),), 5, seed=0)
    assert model.num_layers == 2


def test_the_monitor_stops_a_loop_that_diverges(capsys: pytest.CaptureFixture[str]) -> None:
    source = next(block for block in blocks("python") if "StabilityMonitor" in block)
    losses = [3.0] * 40 + [30.0] * 500
    names = {
        "output_lengths": [12, 16],
        "targets": [[1, 2], [2, 1, 3]],
        "vocabulary_size": 4,
        "batches": losses,
        "train_step": lambda loss: (loss, 1.0),
    }
    exec(source, names)
    assert names["step"] < 200
    assert "diverged-loss" in capsys.readouterr().out
