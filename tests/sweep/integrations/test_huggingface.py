"""Trainings of the real Trainer, judged by the callback."""

import itertools
import json
import logging
import math
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import Sampler, SequentialSampler

pytest.importorskip("transformers", reason="Hugging Face's transformers is not installed")
pytest.importorskip("accelerate", reason="accelerate is not installed")

from transformers import PretrainedConfig, PreTrainedModel, Trainer, TrainerCallback, TrainingArguments

from sweep.integrations.huggingface import StabilityCallback
from sweep.judging import MonitorConfig
from sweep.logs.answer import replay
from sweep.records import Outcome, StepRecord

pytestmark = [
    pytest.mark.slow,
    # What the libraries say of themselves.
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning"),
]


class Scripted(nn.Module):
    """Its loss is what the data say; nothing is learned."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(2))

    def forward(self, losses: Tensor, labels: Tensor | None = None) -> dict[str, Tensor]:
        return {"loss": losses.mean() + 0.0 * self.weight.sum(), "logits": losses + 0.0 * self.weight.sum()}


class Linear(nn.Module):
    """Learns a sum."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(4, 1)

    def forward(self, x: Tensor, labels: Tensor) -> dict[str, Tensor]:
        outputs = self.layer(x)[:, 0]
        return {"loss": (outputs - labels).square().mean(), "logits": outputs}


class InOrder(Trainer):
    """Takes the samples as they come."""

    def _get_train_sampler(self, *args: Any) -> Sampler:
        return SequentialSampler(self.train_dataset)


def scripted(losses: Sequence[float]) -> list[dict[str, Tensor]]:
    return [{"losses": torch.tensor(loss)} for loss in losses]


def sums(num_samples: int, bad: int | None = None) -> list[dict[str, Tensor]]:
    """Samples of what `Linear` learns; one may be NaN."""
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(num_samples, 4, generator=generator)
    if bad is not None:
        x[bad] = math.nan
    return [{"x": row, "labels": row.sum() + 3} for row in x]


def trainer(
    folder: Path,
    data: Any,
    *callbacks: TrainerCallback,
    model: nn.Module | None = None,
    kind: type[Trainer] = InOrder,
    more: dict[str, Any] | None = None,
    **settings: Any,
) -> Trainer:
    settings = {
        "per_device_train_batch_size": 1,
        "num_train_epochs": 1,
        "optim": "sgd",
        "learning_rate": 0.05,
        "lr_scheduler_type": "constant",
        "logging_steps": 500,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "use_cpu": True,
        **settings,
    }
    arguments = TrainingArguments(output_dir=str(folder), **settings)
    model = Scripted() if model is None else model
    return kind(model=model, args=arguments, train_dataset=data, callbacks=list(callbacks), **(more or {}))


def test_a_healthy_training_ends_with_its_verdict_in_the_log(
    tmp_path: Path, falling: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    callback = StabilityCallback()
    training = trainer(tmp_path, scripted(falling), callback)
    training.train()
    assert training.state.global_step == len(falling)
    assert callback.verdict is not None and callback.verdict.stable
    entry = training.state.log_history[-1]
    assert entry["stability_verdict"] == "stable"
    assert entry["stability_reason"] == callback.verdict.reason
    assert "stability_stop_step" not in entry
    assert f"stability: stable: {callback.verdict.reason}\n" in capsys.readouterr().out


def test_a_lost_training_is_stopped_and_told_why(
    tmp_path: Path,
    rising: list[float],
    alarm_step: Callable[[Sequence[float]], int],
    capsys: pytest.CaptureFixture[str],
) -> None:
    callback = StabilityCallback()
    training = trainer(tmp_path, scripted(rising), callback)
    training.train()
    stop_step = alarm_step(rising)
    assert training.state.global_step == stop_step < len(rising)
    assert callback.verdict is not None and callback.verdict.outcome is Outcome.DIVERGED_LOSS
    entries = [entry for entry in training.state.log_history if "stability_verdict" in entry]
    assert [(entry["stability_verdict"], entry["stability_stop_step"]) for entry in entries] == [
        ("diverged-loss", stop_step)
    ]
    told = [line for line in capsys.readouterr().out.splitlines() if line.startswith("stability")]
    assert told == [f"stability: stopped at step {stop_step}: diverged-loss: {callback.verdict.reason}"]


def test_without_stop_it_only_tells(tmp_path: Path, rising: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    training = trainer(tmp_path, scripted(rising), StabilityCallback(stop=False))
    training.train()
    assert training.state.global_step == len(rising)
    assert sum("stability_verdict" in entry for entry in training.state.log_history) == 1
    assert capsys.readouterr().out.count("stability: would stop at step") == 1


def test_a_nan_that_the_trainer_does_not_log_is_seen(tmp_path: Path) -> None:
    callback = StabilityCallback()
    training = trainer(tmp_path, sums(60, bad=23), callback, model=Linear(), logging_steps=1)
    training.train()
    logged = [entry["loss"] for entry in training.state.log_history if "loss" in entry]
    assert logging_hides_nan(logged), "else the trap is gone, and so may be what is said of it"
    assert training.state.global_step == 24
    assert callback.verdict is not None and callback.verdict.outcome is Outcome.DIVERGED_NONFINITE
    assert "a weight is NaN" in callback.verdict.reason


def logging_hides_nan(logged: list[float]) -> bool:
    return len(logged) == 24 and all(math.isfinite(loss) for loss in logged)


def plain_training(data: list[dict[str, Tensor]], batch_size: int, num_steps: int) -> tuple[list[float], list[float]]:
    """Losses and unclipped gradient norms of the same training, written down without a library."""
    model = Linear()
    losses, norms = [], []
    for step in range(num_steps):
        batch = data[step * batch_size : (step + 1) * batch_size]
        loss = model(torch.stack([one["x"] for one in batch]), torch.stack([one["labels"] for one in batch]))["loss"]
        model.zero_grad()
        loss.backward()
        gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
        losses.append(loss.item())
        norms.append(torch.cat([gradient.flatten() for gradient in gradients]).norm().item())
        with torch.no_grad():
            for parameter, gradient in zip(model.parameters(), gradients, strict=True):
                parameter -= 0.05 * gradient
    return losses, norms


@pytest.mark.parametrize("accumulation", [1, 2])
@pytest.mark.parametrize("logging_steps", [1, 7])
def test_every_step_is_judged_by_its_own_loss(
    tmp_path: Path, records: list[StepRecord], accumulation: int, logging_steps: int
) -> None:
    data = sums(80)
    training = trainer(
        tmp_path,
        data,
        StabilityCallback(),
        model=Linear(),
        per_device_train_batch_size=4 // accumulation,
        gradient_accumulation_steps=accumulation,
        logging_steps=logging_steps,
        max_grad_norm=0.0,
    )
    training.train()
    losses, norms = plain_training(data, 4, 20)
    assert [record.step for record in records] == list(range(1, 21))
    assert [record.loss for record in records] == pytest.approx(losses, rel=1e-5)
    assert [record.grad_norm for record in records] == pytest.approx(norms, rel=1e-5)
    assert all(record.applied and record.params_finite for record in records)


class CountsItems(Linear):
    """As Hugging Face's own models: the loss is a sum, divided by the items of the whole optimizer step."""

    def forward(self, x: Tensor, labels: Tensor, num_items_in_batch: Tensor | None = None, **kwargs: Any) -> Any:
        outputs = self.layer(x)[:, 0]
        num_items = labels.numel() if num_items_in_batch is None else num_items_in_batch
        return {"loss": (outputs - labels).square().sum() / num_items, "logits": outputs}


def test_losses_that_are_divided_by_the_items_of_a_step_are_summed(tmp_path: Path, records: list[StepRecord]) -> None:
    data = sums(48)
    more = {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 3, "logging_steps": 1}
    training = trainer(tmp_path, data, StabilityCallback(), model=CountsItems(), max_grad_norm=0.0, **more)
    training.train()
    logged = [entry["loss"] for entry in training.state.log_history if "loss" in entry]
    assert [record.loss for record in records] == pytest.approx(logged, rel=1e-5)
    assert logged == pytest.approx(plain_training(data, 6, 8)[0], rel=1e-5)


class HalfPrecision(InOrder):
    """fp16 with loss scaling where there is no GPU; accelerate would start the scaler there alone."""

    def create_optimizer(self, *args: Any, **kwargs: Any) -> torch.optim.Optimizer:
        self.accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**18)
        self.accelerator.state._mixed_precision = "fp16"
        self.accelerator.native_amp = True
        optimizer: torch.optim.Optimizer = super().create_optimizer(*args, **kwargs)
        return optimizer


def test_steps_that_the_scaler_leaves_out_are_known(tmp_path: Path, records: list[StepRecord]) -> None:
    callback = StabilityCallback()
    data = sums(100)
    trainer(tmp_path, data, callback, model=Linear(), kind=HalfPrecision, max_grad_norm=1e6).train()
    first = next(place for place, record in enumerate(records) if record.applied)
    assert first > 0 and records[0].loss_scale == 2.0**18
    for one, after in itertools.pairwise(records):
        assert one.loss_scale is not None and after.loss_scale == one.loss_scale / (1 if one.applied else 2)
        assert one.grad_norm is not None and math.isfinite(one.grad_norm) == one.applied
    _, norms = plain_training(data[first:], 1, 2)
    assert [record.grad_norm for record in records[first : first + 2]] == pytest.approx(norms, rel=0.01), "unscaled"
    assert callback.verdict is not None and callback.verdict.stable


def smoothed(outputs: dict[str, Tensor], labels: Tensor, num_items_in_batch: Any = None) -> Tensor:
    return 2 * outputs["logits"].mean()


class NoLoss(Scripted):
    def forward(self, losses: Tensor, labels: Tensor | None = None) -> dict[str, Tensor]:
        return {"logits": super().forward(losses)["logits"]}


def labelled(losses: Sequence[float]) -> list[dict[str, Tensor]]:
    return [{**sample, "labels": torch.tensor(0)} for sample in scripted(losses)]


def test_where_the_model_returns_no_loss_the_log_is_judged_and_blurring_settings_are_named(
    tmp_path: Path, rising: list[float], records: list[StepRecord], caplog: pytest.LogCaptureFixture
) -> None:
    training = trainer(
        tmp_path,
        labelled(rising),
        StabilityCallback(stop=False),
        model=NoLoss(),
        logging_steps=5,
        more={"compute_loss_func": smoothed},
    )
    training.train()
    (warning,) = [one for one in caplog.records if one.levelno == logging.WARNING and "stability" in one.message]
    assert "the model's output holds no loss" in warning.message
    assert "logging_steps=1" in warning.message and "logging_nan_inf_filter=False" in warning.message
    known = [record for record in records if record.loss is not None and math.isfinite(record.loss)]
    assert [record.step for record in known] == list(range(5, 121, 5))
    means = [2 * sum(rising[step - 5 : step]) / 5 for step in range(5, 121, 5)]
    assert [record.loss for record in known] == pytest.approx(means)


def test_where_the_log_is_sharp_it_is_judged_without_a_word(
    tmp_path: Path, broken: list[float], alarm_step: Callable[[Sequence[float]], int], caplog: pytest.LogCaptureFixture
) -> None:
    callback = StabilityCallback()
    training = trainer(
        tmp_path,
        labelled(broken),
        callback,
        model=NoLoss(),
        logging_steps=1,
        logging_nan_inf_filter=False,
        more={"compute_loss_func": smoothed},
    )
    training.train()
    assert training.state.global_step == alarm_step(broken)
    (warning,) = [one for one in caplog.records if "stability" in one.message]
    assert warning.message.endswith("so the losses that the Trainer logs are judged")


class Doubled(InOrder):
    """Minimises another loss than the model returns."""

    def compute_loss(self, model: nn.Module, inputs: dict[str, Tensor], *args: Any, **kwargs: Any) -> Tensor:
        loss: Tensor = 2 * model(**inputs)["loss"]
        return loss


def test_a_loss_that_the_trainer_does_not_minimise_is_noticed(
    tmp_path: Path, falling: list[float], records: list[StepRecord], caplog: pytest.LogCaptureFixture
) -> None:
    trainer(
        tmp_path, scripted(falling), StabilityCallback(), kind=Doubled, logging_steps=1, logging_nan_inf_filter=False
    ).train()
    assert "the model returns another loss (3) than the Trainer minimises (6)" in caplog.text
    assert [record.loss for record in records] == pytest.approx(
        [falling[0], *(2 * loss for loss in falling[1:])], abs=1e-4
    )


def test_validation_losses_are_judged_too(
    tmp_path: Path, falling: list[float], validations: list[tuple[int, float]]
) -> None:
    more = {"eval_dataset": labelled([2.0, 4.0])}
    trainer(tmp_path, scripted(falling), StabilityCallback(), more=more, eval_strategy="steps", eval_steps=40).train()
    assert validations == [(40, 3.0), (80, 3.0), (120, 3.0)]


class BreaksOff(TrainerCallback):
    """A kill, as the training sees it."""

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == 55:
            raise InterruptedError


@pytest.mark.parametrize("restore", [False, True])
def test_a_resumed_training_is_judged_as_if_it_had_not_been_interrupted(
    tmp_path: Path, rising: list[float], alarm_step: Callable[[Sequence[float]], int], restore: bool
) -> None:
    settings = {
        "save_strategy": "steps", "save_steps": 50, "restore_callback_states_from_checkpoint": restore,
    }  # fmt: skip
    config = MonitorConfig(stable_below=0.9)
    with pytest.raises(InterruptedError):
        callback = StabilityCallback(config=config)
        trainer(tmp_path, scripted(rising), callback, BreaksOff(), **settings).train()
    training = trainer(tmp_path, scripted(rising), StabilityCallback(config=config), **settings)
    training.train(resume_from_checkpoint=True)
    assert training.state.global_step == alarm_step(rising)
    (entry,) = [entry for entry in training.state.log_history if "stability_verdict" in entry]
    whole = trainer(tmp_path / "whole", scripted(rising), StabilityCallback(config=config))
    whole.train()
    (expected,) = [entry for entry in whole.state.log_history if "stability_verdict" in entry]
    assert entry == expected
    (used,) = [one for one in training.callback_handler.callbacks if isinstance(one, StabilityCallback)]
    assert used.state()["args"]["config"] == config.model_dump(mode="json")


def test_a_resumed_training_goes_on_with_the_logged_losses(
    tmp_path: Path, rising: list[float], alarm_step: Callable[[Sequence[float]], int], caplog: pytest.LogCaptureFixture
) -> None:
    settings: dict[str, Any] = {
        "save_strategy": "steps", "save_steps": 50, "logging_steps": 1, "logging_nan_inf_filter": False,
        "model": NoLoss(), "more": {"compute_loss_func": smoothed},
    }  # fmt: skip
    with pytest.raises(InterruptedError):
        trainer(tmp_path, labelled(rising), StabilityCallback(), BreaksOff(), **settings).train()
    training = trainer(tmp_path, labelled(rising), StabilityCallback(), **settings)
    training.train(resume_from_checkpoint=True)
    assert training.state.global_step == alarm_step([2 * loss for loss in rising])
    assert caplog.text.count("the model's output holds no loss") == 1


def test_without_its_memory_a_resumed_training_would_not_be_stopped(tmp_path: Path, rising: list[float]) -> None:
    settings = {"save_strategy": "steps", "save_steps": 50}
    with pytest.raises(InterruptedError):
        trainer(tmp_path, scripted(rising), StabilityCallback(), BreaksOff(), **settings).train()
    file = tmp_path / "checkpoint-50" / "trainer_state.json"
    state = json.loads(file.read_text())
    del state["stateful_callbacks"]["StabilityCallback"]
    file.write_text(json.dumps(state))
    training = trainer(tmp_path, scripted(rising), StabilityCallback(), **settings)
    training.train(resume_from_checkpoint=True)
    assert training.state.global_step == len(rising)


def test_a_callback_may_watch_one_training_after_the_other(
    tmp_path: Path, rising: list[float], falling: list[float]
) -> None:
    callback = StabilityCallback()
    trainer(tmp_path, scripted(rising), callback).train()
    assert callback.verdict is not None and not callback.verdict.stable
    trainer(tmp_path, scripted(falling), callback).train()
    assert callback.verdict.stable


class Published(PreTrainedModel):
    """As `Scripted`, but with what a model card asks for."""

    config_class = PretrainedConfig

    def __init__(self) -> None:
        super().__init__(PretrainedConfig())
        self.scripted = Scripted()
        self.post_init()

    def forward(self, losses: Tensor) -> dict[str, Tensor]:
        outputs: dict[str, Tensor] = self.scripted(losses)
        return outputs


def test_the_log_with_the_verdict_can_be_replayed_and_makes_a_model_card(tmp_path: Path, rising: list[float]) -> None:
    training = trainer(tmp_path, scripted(rising), StabilityCallback(), model=Published(), logging_steps=1)
    training.train()
    training.save_state()
    training.create_model_card()
    assert (tmp_path / "README.md").exists()
    assert replay(tmp_path / "trainer_state.json")["verdict"] == "diverged-loss"


TWO_PROCESSES = """
import json, os, sys
import torch
from torch import nn
from torch.utils.data import SequentialSampler
from transformers import Trainer, TrainingArguments
from sweep.integrations import watch
from sweep.integrations.huggingface import StabilityCallback
from sweep.judging import StabilityMonitor

folder, courses = sys.argv[1], json.loads(sys.argv[2])
seen = []

class Recording(StabilityMonitor):
    def observe(self, record):
        seen.append(record.loss)
        return super().observe(record)

watch.StabilityMonitor = Recording

class Scripted(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(2))

    def forward(self, losses):
        return {"loss": losses.mean() + 0.0 * self.weight.sum()}

class InOrder(Trainer):
    def _get_train_sampler(self, *args):
        return SequentialSampler(self.train_dataset)

# Ranks take samples in turn.
data = [{"losses": torch.tensor(loss)} for pair in zip(*courses) for loss in pair]
settings = dict(report_to="none", disable_tqdm=True, use_cpu=True, save_strategy="no", logging_steps=500)
args = TrainingArguments(output_dir=folder, per_device_train_batch_size=1, num_train_epochs=1, **settings)
callback = StabilityCallback()
trainer = InOrder(model=Scripted(), args=args, train_dataset=data, callbacks=[callback])
trainer.train()
entries = [entry for entry in trainer.state.log_history if "stability_verdict" in entry]
told = [trainer.state.global_step, callback.verdict.reason, entries, list(seen), args.parallel_mode.value]

class CountsItems(Scripted):
    # As Hugging Face's own models: a sum, divided by the items of the whole step in all processes.
    def forward(self, losses, labels, num_items_in_batch, **kwargs):
        return {"loss": losses.sum() / num_items_in_batch + 0.0 * self.weight.sum()}

seen.clear()
data = [{"losses": torch.tensor(float(place)), "labels": torch.tensor(0)} for place in range(24)]
args = TrainingArguments(
    output_dir=folder, per_device_train_batch_size=2, gradient_accumulation_steps=3, num_train_epochs=1,
    **{**settings, "logging_steps": 1},
)
trainer = InOrder(model=CountsItems(), args=args, train_dataset=data, callbacks=[StabilityCallback()])
trainer.train()
told += [list(seen), [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]]
sys.stdout.flush()
with open(f"{folder}/{args.process_index}.json", "w") as file:
    json.dump(told, file)
torch.distributed.barrier()
# Threads of gloo may still run when torch is wound down, which then aborts the process now and then.
os._exit(0)
"""


def test_a_nan_in_the_second_process_alone_stops_both(
    tmp_path: Path, falling: list[float], alarm_step: Callable[[Sequence[float]], int]
) -> None:
    bad = [loss + 1 if step < 30 else math.nan for step, loss in enumerate(falling)]
    program = tmp_path / "train.py"
    program.write_text(TWO_PROCESSES)
    run = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--local-addr=127.0.0.1"]
    done = subprocess.run(
        [*run, "--nproc-per-node=2", str(program), str(tmp_path), json.dumps([falling, bad])],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    first, second = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2))
    assert str(first) == str(second)
    num_steps, reason, entries, seen, mode, counted, logged = first
    assert mode == "distributed"
    mean = [(a + b) / 2 for a, b in zip(falling, bad, strict=True)]
    assert num_steps == alarm_step(mean) < len(falling)
    assert "losses" in reason and len(entries) == 1
    assert seen == pytest.approx(mean[:num_steps], nan_ok=True)
    assert done.stdout.count("stability: stopped") == 1
    assert counted == pytest.approx([5.5, 17.5]) and logged == pytest.approx([5.5, 17.5])
