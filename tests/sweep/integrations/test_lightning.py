"""Trainings of the real Lightning Trainer, judged by the callback."""

import csv
import json
import math
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

pytest.importorskip("lightning.pytorch", reason="Lightning is not installed")
# The same library under its older name: it comes with the newer one.
pytest.importorskip("pytorch_lightning", reason="pytorch_lightning is not installed")

import lightning.pytorch as lightning
import pytorch_lightning

from sweep.integrations.lightning import StabilityCallback
from sweep.records import Outcome, StepRecord

pytestmark = [
    pytest.mark.slow,
    # What the library says of few workers, of missing loggers and of itself.
    pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning", "ignore::DeprecationWarning"),
]


def scripted_for(library: ModuleType) -> Any:
    """A kind of module whose loss is what the data say; nothing is learned."""

    class Scripted(library.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(2))

        def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
            return batch[0].mean() + 0.0 * self.weight.sum()

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), lr=0.1)

    return Scripted


Scripted = scripted_for(lightning)


class Linear(lightning.LightningModule):
    """Learns a sum."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(4, 1)

    def loss(self, batch: list[Tensor]) -> Tensor:
        return (self.layer(batch[0])[:, 0] - batch[1]).square().mean()

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        return self.loss(batch)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.05)


def scripted(losses: Sequence[float]) -> DataLoader[Any]:
    return DataLoader(TensorDataset(torch.tensor(losses)), batch_size=1)


def sums(num_samples: int) -> TensorDataset:
    x = torch.randn(num_samples, 4, generator=torch.Generator().manual_seed(1))
    return TensorDataset(x, x.sum(1) + 3)


def trainer(folder: Path, *callbacks: Any, library: ModuleType = lightning, **settings: Any) -> Any:
    usual = {
        "max_epochs": 1,
        "accelerator": "cpu",
        "devices": 1,
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    return library.Trainer(default_root_dir=folder, callbacks=list(callbacks), **{**usual, **settings})


def test_a_healthy_training_ends_with_its_verdict(
    tmp_path: Path, falling: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    callback = StabilityCallback()
    logger = lightning.loggers.CSVLogger(tmp_path)
    training = trainer(tmp_path, callback, logger=logger)
    with caplog.at_level("INFO"):
        training.fit(Scripted(), scripted(falling))
    assert training.global_step == len(falling)
    assert callback.verdict is not None and callback.verdict.stable
    assert "stability_verdict: stable" in (Path(logger.log_dir) / "hparams.yaml").read_text()
    assert "stability_stop_step" not in training.callback_metrics
    assert f"stability: stable: {callback.verdict.reason}" in caplog.messages


@pytest.mark.parametrize("library", [lightning, pytorch_lightning], ids=lambda library: library.__name__)
def test_a_lost_training_is_stopped_and_told_why(
    tmp_path: Path,
    rising: list[float],
    alarm_step: Callable[[Sequence[float]], int],
    library: ModuleType,
    caplog: pytest.LogCaptureFixture,
) -> None:
    callback = StabilityCallback()
    logger = library.loggers.CSVLogger(tmp_path)
    training = trainer(tmp_path, callback, library=library, logger=logger)
    with caplog.at_level("INFO"):
        training.fit(scripted_for(library)(), scripted(rising))
    stop_step = alarm_step(rising)
    assert training.global_step == stop_step < len(rising)
    assert callback.verdict is not None and callback.verdict.outcome is Outcome.DIVERGED_LOSS
    assert training.callback_metrics["stability_stop_step"] == stop_step
    hyperparameters = (Path(logger.log_dir) / "hparams.yaml").read_text()
    assert "stability_verdict: diverged-loss" in hyperparameters and "stability_reason: " in hyperparameters
    with open(Path(logger.log_dir) / "metrics.csv", newline="") as file:
        assert [row["stability_stop_step"] for row in csv.DictReader(file)] == [str(float(stop_step))]
    told = [line for line in caplog.messages if line.startswith("stability")]
    assert told == [f"stability: stopped at step {stop_step}: diverged-loss: {callback.verdict.reason}"]


def test_without_stop_it_only_tells(tmp_path: Path, rising: list[float]) -> None:
    callback = StabilityCallback(stop=False)
    training = trainer(tmp_path, callback)
    training.fit(Scripted(), scripted(rising))
    assert training.global_step == len(rising)
    assert callback.verdict is not None and callback.verdict.stop_step is not None


def plain_training(data: TensorDataset, batch_size: int, num_steps: int) -> tuple[list[float], list[float]]:
    """Losses and unclipped gradient norms of the same training, written down without a library."""
    model = Linear()
    losses, norms = [], []
    for step in range(num_steps):
        loss = model.loss(list(data[step * batch_size : (step + 1) * batch_size]))
        model.zero_grad()
        loss.backward()
        losses.append(loss.item())
        gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
        norms.append(torch.cat([gradient.flatten() for gradient in gradients]).norm().item())
        with torch.no_grad():
            for parameter, gradient in zip(model.parameters(), gradients, strict=True):
                parameter -= 0.05 * gradient * min(1.0, 1.0 / norms[-1])
    return losses, norms


@pytest.mark.parametrize("accumulation", [1, 2])
def test_one_record_an_optimizer_step_with_the_mean_loss_and_the_norm_before_clipping(
    tmp_path: Path, records: list[StepRecord], accumulation: int
) -> None:
    data = sums(80)
    training = trainer(tmp_path, StabilityCallback(), accumulate_grad_batches=accumulation, gradient_clip_val=1.0)
    training.fit(Linear(), DataLoader(data, batch_size=4 // accumulation))
    losses, norms = plain_training(data, 4, 20)
    assert norms[0] > 2, "so that clipping matters"
    assert [record.step for record in records] == list(range(1, 21))
    assert [record.loss for record in records] == pytest.approx(losses, rel=1e-4)
    assert [record.grad_norm for record in records] == pytest.approx(norms, rel=1e-4)


def test_the_last_step_of_an_epoch_may_have_fewer_batches(tmp_path: Path, records: list[StepRecord]) -> None:
    losses = [1.0, 2.0, 3.0, 5.0, 7.0, 9.0, 20.0]
    trainer(tmp_path, StabilityCallback(), accumulate_grad_batches=3, max_epochs=2).fit(Scripted(), scripted(losses))
    assert [record.loss for record in records] == pytest.approx([2.0, 7.0, 20.0] * 2)


def test_steps_that_the_scaler_leaves_out_are_known(tmp_path: Path, records: list[StepRecord]) -> None:
    callback = StabilityCallback()
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**18)
    half = lightning.plugins.MixedPrecision("16-mixed", "cpu", scaler=scaler)
    data = sums(100)
    trainer(tmp_path, callback, plugins=[half]).fit(Linear(), DataLoader(data, batch_size=1))
    first = next(place for place, record in enumerate(records) if record.applied)
    assert first > 0 and records[0].loss_scale == 2.0**18
    for one, after in zip(records, records[1:], strict=False):
        assert one.loss_scale is not None and after.loss_scale == one.loss_scale / (1 if one.applied else 2)
        assert one.grad_norm is not None and math.isfinite(one.grad_norm) == one.applied
    _, norms = plain_training(torch.utils.data.Subset(data, range(first, 100)), 1, 1)
    assert records[first].grad_norm == pytest.approx(norms[0], rel=0.01), "unscaled"
    assert callback.verdict is not None and callback.verdict.stable


class TwoPlayers(lightning.LightningModule):
    """Manual optimization with two optimizers, of which the second steps in every other batch."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.weights = nn.ParameterList([torch.ones(1), torch.ones(1)])

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        every = batch[0].mean() * self.weights[0].sum() * self.weights[1].sum()
        for optimizer in self.optimizers()[: 2 - batch_idx % 2]:
            optimizer.zero_grad()
        self.manual_backward(every)
        for optimizer in self.optimizers()[: 2 - batch_idx % 2]:
            optimizer.step()
        return every.detach()

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        return [torch.optim.SGD([weight], lr=0.0) for weight in self.weights]


def test_manual_optimization_is_judged_batch_by_batch(tmp_path: Path, records: list[StepRecord]) -> None:
    trainer(tmp_path, StabilityCallback(), max_epochs=1).fit(TwoPlayers(), scripted([1.0, 2.0, 3.0]))
    assert [record.loss for record in records] == pytest.approx([1.0, 2.0, 3.0])
    assert [record.grad_norm for record in records] == pytest.approx([2**0.5, 2.0, 18**0.5])


class Validated(Scripted):
    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        self.log("val_loss", batch[0].mean())


def test_validation_losses_are_judged_too(
    tmp_path: Path, falling: list[float], validations: list[tuple[int, float]]
) -> None:
    training = trainer(tmp_path, StabilityCallback(), val_check_interval=50)
    training.fit(Validated(), scripted(falling), scripted([2.0, 4.0]))
    assert validations == [(50, 3.0), (100, 3.0)]


class BreaksOff(lightning.Callback):
    """A kill, as the training sees it."""

    def on_train_batch_end(self, trainer: Any, *args: Any) -> None:
        if trainer.global_step == 55:
            raise InterruptedError("by the test")


def test_a_resumed_training_is_judged_as_if_it_had_not_been_interrupted(tmp_path: Path, rising: list[float]) -> None:
    def saver() -> Any:
        return lightning.callbacks.ModelCheckpoint(tmp_path, filename="{step}", every_n_train_steps=50, save_top_k=-1)

    whole = StabilityCallback()
    trainer(tmp_path, whole).fit(Scripted(), scripted(rising))
    broken_off = StabilityCallback()
    with pytest.raises(InterruptedError):
        trainer(tmp_path, broken_off, saver(), BreaksOff(), enable_checkpointing=True).fit(Scripted(), scripted(rising))
    assert broken_off.verdict is not None and broken_off.verdict.outcome is Outcome.CRASHED
    assert "InterruptedError: by the test" in broken_off.verdict.reason

    resumed = StabilityCallback()
    training = trainer(tmp_path, resumed, saver(), enable_checkpointing=True)
    # The loader begins anew: what is left of the losses is what the second training is given.
    rest = [*rising[50:], *rising[:50]]
    training.fit(Scripted(), scripted(rest), ckpt_path=tmp_path / "step=50.ckpt")
    assert resumed.verdict == whole.verdict
    assert whole.verdict is not None and training.global_step == whole.verdict.stop_step

    forgetful = StabilityCallback()
    checkpoint = torch.load(tmp_path / "step=50.ckpt", weights_only=True)
    del checkpoint["callbacks"]["StabilityCallback"]
    torch.save(checkpoint, tmp_path / "forgetful.ckpt")
    trainer(tmp_path, forgetful).fit(Scripted(), scripted(rest), ckpt_path=tmp_path / "forgetful.ckpt")
    assert forgetful.verdict is not None and forgetful.verdict.stop_step is None, "so it is the memory that counts"


TWO_PROCESSES = """
import json, sys
import torch, lightning.pytorch as L
from torch.utils.data import DataLoader, TensorDataset
from sweep.integrations import watch
from sweep.integrations.lightning import StabilityCallback
from sweep.judging import StabilityMonitor

folder, courses = sys.argv[1], json.loads(sys.argv[2])
seen = []

class Recording(StabilityMonitor):
    def observe(self, record):
        seen.append(record.loss)
        return super().observe(record)

watch.StabilityMonitor = Recording

class Scripted(L.LightningModule):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(2))
    def training_step(self, batch, batch_idx):
        return batch[0].mean() + 0.0 * self.weight.sum()
    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)

callback = StabilityCallback()
quiet = dict(logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False)
trainer = L.Trainer(
    max_epochs=1, accelerator="cpu", devices=2, strategy="ddp", use_distributed_sampler=False,
    callbacks=[callback], **quiet
)
own = courses[trainer.global_rank]
trainer.fit(Scripted(), DataLoader(TensorDataset(torch.tensor(own)), batch_size=1))
with open(f"{folder}/{trainer.global_rank}.json", "w") as file:
    metrics = {name: value.item() for name, value in trainer.callback_metrics.items()}
    json.dump([trainer.global_step, callback.verdict.reason, metrics, seen, trainer.world_size], file)
"""


def test_a_nan_in_the_second_process_alone_stops_both(
    tmp_path: Path, falling: list[float], alarm_step: Callable[[Sequence[float]], int]
) -> None:
    bad = [loss + 1 if step < 30 else math.nan for step, loss in enumerate(falling)]
    program = tmp_path / "train.py"
    program.write_text(TWO_PROCESSES)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(program), str(tmp_path), json.dumps([falling, bad])],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "MASTER_ADDR": "127.0.0.1", "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    first, second = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2))
    assert str(first) == str(second)
    num_steps, reason, metrics, seen, num_processes = first
    assert num_processes == 2
    mean = [(a + b) / 2 for a, b in zip(falling, bad, strict=True)]
    assert num_steps == alarm_step(mean) < len(falling)
    assert "losses" in reason and metrics == {"stability_stop_step": num_steps}
    assert seen == pytest.approx(mean[:num_steps], nan_ok=True)
    assert (done.stdout + done.stderr).count("stability: stopped") == 1
