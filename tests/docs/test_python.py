"""The examples in Python of README.md and docs/ run as they stand; those that cannot say why, and are compiled."""

import ast
import importlib
import importlib.util
import math
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

import sweep
from slr_models.data import FeatureGroup
from slr_models.models import CustomModelConfig
from tests.docs.blocks import Block, blocks, example
from tests.sweep.report.conftest import write_results

RUN_BELOW = "run "
NOT_RUN = "not run: "
PYTHON = blocks("python")


@pytest.mark.parametrize("block", PYTHON, ids=lambda block: block.place)
def test_it_compiles_and_what_it_imports_is_there(block: Block) -> None:
    tree = ast.parse(block.text)
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and str(node.module).partition(".")[0] in ("sweep", "slr_models"):
            module = importlib.import_module(str(node.module)) if not _needs_a_library(node) else None
            assert module is None or [alias.name for alias in node.names if not hasattr(module, alias.name)] == []
    used = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute) and _is_sweep(node.value)}
    assert used <= set(sweep.__all__)


@pytest.mark.parametrize("block", PYTHON, ids=lambda block: block.place)
def test_it_runs_or_says_why_not(block: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if block.mark:
        assert block.mark.startswith((RUN_BELOW, NOT_RUN)), block.mark
        return
    monkeypatch.chdir(tmp_path)
    exec(block.text, {"__name__": "__main__"})


def _needs_a_library(node: ast.ImportFrom) -> bool:
    library = str(node.module).removeprefix("sweep.integrations.")
    return (
        library in ("huggingface", "lightning", "keras")
        and importlib.util.find_spec({"huggingface": "transformers"}.get(library, library)) is None
    )


def _is_sweep(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id == "sweep"


def test_the_custom_model_trains(monkeypatch: pytest.MonkeyPatch) -> None:
    source = example("python", "class MyModel")
    module = types.ModuleType("readme_model")
    exec(source, vars(module))
    monkeypatch.setitem(sys.modules, "readme_model", module)
    config = CustomModelConfig(factory="readme_model:build", options={"hidden": 8}, output_stride=4)
    model = config.build(6, (FeatureGroup("all", 0, 6),), 5, seed=0)
    assert model.num_layers == 2


@pytest.mark.parametrize("containing", ["RunContext(budget_steps=5000)", "RunContext(l_const=l_const"])
def test_the_monitor_stops_a_loop_that_diverges(containing: str, capsys: pytest.CaptureFixture[str]) -> None:
    source = example("python", containing)
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


def test_the_sampler_maps_somebody_elses_training(capsys: pytest.CaptureFixture[str]) -> None:
    source = example("python", "StabilitySampler(")

    def my_training(lr: float) -> tuple[float, float]:
        margin = math.log10(lr / 0.02) / 3
        return (1 + margin if margin < 0 else 3.0), max(-1.0, min(margin, 1.0))

    names: dict[str, Any] = {"my_training": my_training}
    exec(source, names)
    assert len(names["study"].trials) < 40, "it ends by itself"
    cold, hot = (float(value) for value in capsys.readouterr().out.strip("[]\n").split())
    assert cold > 0.9 and hot < 0.1


def callback_example(library: str) -> str:
    return example("python", f"sweep.integrations.{library}")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_the_callback_watches_hugging_faces_trainer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")

    class Falls(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.tensor(2.0))

        def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
            return {"loss": (self.weight * x).square().mean()}

    args = transformers.TrainingArguments(
        str(tmp_path), num_train_epochs=1, learning_rate=0.05, optim="sgd", report_to="none", use_cpu=True
    )
    exec(callback_example("huggingface"), {"model": Falls(), "args": args, "data": [{"x": torch.ones(1)}] * 800})
    assert "'stability_verdict': 'stable'" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_the_callback_watches_lightning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lightning = pytest.importorskip("lightning.pytorch", reason="Lightning is not installed")

    class Breaks(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.tensor(2.0))

        def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
            return self.weight * (math.nan if batch_idx > 50 else 1.0)

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), lr=0.01)

    monkeypatch.chdir(tmp_path)
    exec(callback_example("lightning"), {"module": Breaks(), "batches": DataLoader(TensorDataset(torch.ones(60)))})
    assert "stop_step=52" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_the_callback_watches_keras(capsys: pytest.CaptureFixture[str]) -> None:
    keras = pytest.importorskip("keras", reason="Keras is not installed")
    keras.utils.set_random_seed(0)
    x = np.random.default_rng(0).standard_normal((640, 4))
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(0.01), loss="mse")
    exec(callback_example("keras"), {"model": model, "x": x, "y": x.sum(axis=1) + 3})
    assert capsys.readouterr().out.splitlines()[-1].startswith("stable the loss ended at")


def test_a_function_is_swept(monkeypatch: pytest.MonkeyPatch) -> None:
    from sweep.own.program import Score
    from sweep.run.function import FunctionStudy

    source = example("python", "sweep.function_study(")
    monkeypatch.setattr(FunctionStudy, "run", lambda study: study)
    names: dict[str, Any] = {
        "make": lambda config, seed: (config["lr"], range(60)),
        "step": lambda model, batch: (2.0 * 0.95**batch, 1.0),
        "validate": lambda model: 0.1,
        "accuracy": lambda model: 0.9,
    }
    exec(source, names)
    assert (
        names["study"].loaded.study.score == Score("accuracy", is_maximized=True)
        and len(names["study"].loaded.study.space) == 2
    )


def test_the_tutorial_looks_at_its_results(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_results(tmp_path / "results" / "letters")
    monkeypatch.chdir(tmp_path)
    exec(example("python", 'load("results/letters")'), {})
    assert "diverged" in capsys.readouterr().out and (tmp_path / "map.html").is_file()
