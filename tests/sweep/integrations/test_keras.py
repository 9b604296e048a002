"""Trainings of the real Keras, judged by the callback."""

import itertools
import math
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("keras", reason="Keras is not installed")

import keras

from sweep.integrations.keras import StabilityCallback
from sweep.judging import MonitorConfig
from sweep.records import Outcome, StepRecord

pytestmark = [
    pytest.mark.slow,
    # Keras with numpy 2.
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
]

torch_alone = pytest.mark.skipif(keras.backend.backend() != "torch", reason="asks for Keras' torch backend")

Numbers = np.ndarray[Any, np.dtype[np.float32]]


def its_own_input(truth: Any, output: Any) -> Any:
    """The loss is what the data say."""
    return keras.ops.mean(truth, axis=-1) + 0.0 * keras.ops.mean(output, axis=-1)


def scripted(optimizer: Any = None) -> Any:
    """A model whose loss is its target; nothing is learned."""
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(0.1) if optimizer is None else optimizer, loss=its_own_input)
    return model


def column(numbers: Sequence[float]) -> Numbers:
    return np.asarray(numbers, dtype=np.float32)[:, None]


def fit(model: Any, losses: Sequence[float], *callbacks: Any, **settings: Any) -> Any:
    settings = {"batch_size": 1, "shuffle": False, "verbose": 0, "epochs": 1, **settings}
    return model.fit(np.ones((len(losses), 1), np.float32), column(losses), callbacks=list(callbacks), **settings)


def test_a_healthy_training_ends_with_its_verdict_in_the_history(
    falling: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    callback = StabilityCallback()
    history = fit(scripted(), falling, callback, verbose=2).history
    assert callback.verdict is not None and callback.verdict.stable
    assert history["stability_verdict"] == ["stable"]
    assert history["stability_reason"] == [callback.verdict.reason]
    assert "stability_stop_step" not in history
    told = [line for line in capsys.readouterr().out.splitlines() if line.startswith("stability")]
    assert told == [f"stability: stable: {callback.verdict.reason}"]


def test_a_lost_training_is_stopped_and_told_why(
    rising: list[float], alarm_step: Callable[[Sequence[float]], int], capsys: pytest.CaptureFixture[str]
) -> None:
    callback = StabilityCallback()
    # The loss rises in the second of four epochs.
    history = fit(scripted(), rising, callback, verbose=1, epochs=4, steps_per_epoch=30).history
    stop_step = alarm_step(rising)
    assert callback.verdict is not None and callback.verdict.outcome is Outcome.DIVERGED_LOSS
    assert callback.verdict.stop_step == stop_step == 72
    table = pd.DataFrame(history)
    assert len(table) == 3, "epochs, of which the last was broken off"
    assert history["stability_verdict"] == [None, None, "diverged-loss"]
    assert history["stability_stop_step"] == [None, None, stop_step]
    told = [line for line in capsys.readouterr().out.splitlines() if line.startswith("stability")]
    assert told == [f"stability: stopped at step {stop_step}: diverged-loss: {callback.verdict.reason}"]


def test_without_stop_it_only_tells(rising: list[float]) -> None:
    callback = StabilityCallback(stop=False)
    model = scripted()
    history = fit(model, rising, callback).history
    assert int(model.optimizer.iterations) == len(rising)
    assert history["stability_verdict"] == ["diverged-loss"]


def test_every_batch_is_judged_by_its_own_loss(records: list[StepRecord]) -> None:
    rng = np.random.default_rng(0)
    losses = [5.0 + float(one) for one in rng.standard_normal(75)]
    history = fit(scripted(), losses, StabilityCallback(), batch_size=4, epochs=2).history
    batches = [float(np.mean(losses[start : start + 4])) for start in range(0, 75, 4)]
    assert len(losses) % 4, "the last batch is smaller"
    assert [record.loss for record in records] == pytest.approx(batches * 2, rel=1e-4)
    assert [record.step for record in records] == list(range(1, 39))
    assert history["loss"][0] == pytest.approx(np.mean(losses), rel=1e-5), "what Keras tells is as ever"


def test_losses_too_small_for_the_metric_are_taken_together(records: list[StepRecord]) -> None:
    losses = [1e6] + [0.5 + 0.01 * place for place in range(99)]
    fit(scripted(), losses, StabilityCallback(stop=False))
    told = [(record.step, record.loss) for record in records if record.loss is not None]
    assert told[0] == (1, 1e6) and 5 < len(told) < 50
    for (before, _), (step, loss) in zip(told, told[1:], strict=False):
        assert loss == pytest.approx(np.mean(losses[before:step]), rel=0.05)


def test_a_nan_hides_the_losses_of_the_epoch_but_not_the_weights(records: list[StepRecord]) -> None:
    callback = StabilityCallback()
    losses = [3.0] * 20 + [math.nan] + [2.0] * 9
    history = fit(scripted(), losses, callback, epochs=2).history
    assert math.isnan(history["loss"][0]) and callback.verdict is not None and callback.verdict.stop_step is None
    known = [record.loss for record in records]
    assert known[:20] == pytest.approx([3.0] * 20) and math.isnan(known[20] or 0.0)
    assert known[21:30] == [None] * 9
    assert known[30:50] == pytest.approx([3.0] * 20)
    assert all(record.params_finite for record in records)


def sums(num_samples: int, bad: int | None = None) -> tuple[Numbers, Numbers]:
    x = np.random.default_rng(1).standard_normal((num_samples, 4)).astype(np.float32)
    if bad is not None:
        x[bad] = np.nan
    return x, x.sum(axis=1, keepdims=True) + 3


def linear(optimizer: Any, dtype: str = "float32") -> Any:
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1, dtype=dtype)])
    model.compile(optimizer, loss="mse")
    return model


def plain_training(x: Numbers, y: Numbers, batch_size: int, num_steps: int) -> tuple[list[float], list[float]]:
    """Losses and unclipped gradient norms of the same training, written down without a library."""
    weights, bias = (np.asarray(one, dtype=np.float64) for one in linear("sgd").get_weights())
    losses, norms = [], []
    for step in range(num_steps):
        inputs, truth = (one[step * batch_size : (step + 1) * batch_size].astype(np.float64) for one in (x, y))
        error = inputs @ weights + bias - truth
        losses.append(float((error**2).mean()))
        slopes = (2 * inputs.T @ error / len(inputs), 2 * error.mean(axis=0))
        norms.append(math.sqrt(sum(float((one**2).sum()) for one in slopes)))
        weights, bias = (one - 0.05 * slope for one, slope in zip((weights, bias), slopes, strict=True))
    return losses, norms


@torch_alone
def test_gradients_are_taken_before_clipping(records: list[StepRecord]) -> None:
    x, y = sums(80)
    linear(keras.optimizers.SGD(0.05, global_clipnorm=1e9)).fit(
        x, y, batch_size=4, shuffle=False, verbose=0, callbacks=[StabilityCallback()]
    )
    losses, norms = plain_training(x, y, 4, 20)
    assert [record.loss for record in records] == pytest.approx(losses, rel=1e-3)
    assert [record.grad_norm for record in records] == pytest.approx(norms, rel=1e-4)
    records.clear()
    linear(keras.optimizers.SGD(0.05, global_clipnorm=0.1)).fit(
        x, y, batch_size=4, shuffle=False, verbose=0, callbacks=[StabilityCallback()]
    )
    assert records[0].grad_norm == pytest.approx(norms[0], rel=1e-4)


def test_with_accumulation_a_step_has_several_batches(records: list[StepRecord]) -> None:
    x, y = sums(80)
    # 10 batches an epoch: the fourth step has batches of both.
    linear(keras.optimizers.SGD(0.05, gradient_accumulation_steps=4)).fit(
        x[:40], y[:40], batch_size=4, epochs=2, shuffle=False, verbose=0, callbacks=[StabilityCallback()]
    )
    assert [record.step for record in records] == [1, 2, 3, 4, 5]
    losses, _ = plain_training(x, y, 16, 2)
    assert [record.loss for record in records[:2]] == pytest.approx(losses, rel=1e-4)


def test_a_bad_weight_is_seen_at_once(records: list[StepRecord]) -> None:
    callback = StabilityCallback()
    x, y = sums(60, bad=23)
    linear(keras.optimizers.SGD(0.05)).fit(x, y, batch_size=1, shuffle=False, verbose=0, callbacks=[callback])
    assert callback.verdict is not None and callback.verdict.outcome is Outcome.DIVERGED_NONFINITE
    assert callback.verdict.stop_step == 24 and not records[-1].params_finite


@torch_alone
def test_steps_that_the_scaler_leaves_out_are_known(records: list[StepRecord]) -> None:
    callback = StabilityCallback()
    x, y = sums(100)
    scaler = keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.05), initial_scale=2.0**20)
    linear(scaler, dtype="mixed_float16").fit(x, y, batch_size=1, shuffle=False, verbose=0, callbacks=[callback])
    first = next(place for place, record in enumerate(records) if record.applied)
    assert first > 0 and [record.step for record in records] == list(range(1, 101))
    assert records[0].loss_scale == 2.0**20
    for one, after in itertools.pairwise(records):
        assert one.loss_scale is not None and after.loss_scale == one.loss_scale / (1 if one.applied else 2)
        assert one.grad_norm is not None and math.isfinite(one.grad_norm) == one.applied
    _, norms = plain_training(x[first:], y[first:], 1, 1)
    assert records[first].grad_norm == pytest.approx(norms[0], rel=0.01), "unscaled"
    assert callback.verdict is not None and callback.verdict.stable


class OwnStep(keras.Model):
    """Logs each batch's loss as it is."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = keras.layers.Dense(1)

    def call(self, inputs: Any) -> Any:
        return self.layer(inputs)

    def train_step(self, data: Any) -> dict[str, Any]:
        x, y = data
        self.zero_grad()
        loss = keras.ops.mean(its_own_input(y, self(x)))
        loss.backward()
        self.optimizer.apply([variable.value.grad for variable in self.trainable_weights], self.trainable_weights)
        return {"loss": loss.detach()}


@torch_alone
def test_the_losses_of_a_train_step_of_the_users_own_are_taken_as_they_are(records: list[StepRecord]) -> None:
    model = OwnStep()
    model.compile(keras.optimizers.SGD(0.1))
    fit(model, [3.0, 1.0, 2.0], StabilityCallback())
    assert [record.loss for record in records] == pytest.approx([3.0, 1.0, 2.0])


def test_validation_losses_are_judged_too(validations: list[tuple[int, float]]) -> None:
    more = {"validation_data": (np.ones((2, 1), np.float32), column([2.0, 4.0]))}
    fit(scripted(), [3.0] * 10, StabilityCallback(), epochs=2, **more)
    assert validations == [(10, 3.0), (20, 3.0)]


class BreaksOff(keras.callbacks.Callback):
    """A kill, as the training sees it."""

    def __init__(self, at_step: int) -> None:
        super().__init__()
        self._at_step = at_step

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        if int(self.model.optimizer.iterations) == self._at_step:
            raise InterruptedError


def in_epochs(losses: Sequence[float], *callbacks: Any) -> Any:
    """Four epochs of 30 steps; the first losses are those of the epoch that the training begins with."""
    batches = ((np.ones((1, 1), np.float32), column([loss])) for loss in losses)
    return scripted().fit(batches, epochs=4, steps_per_epoch=30, shuffle=False, verbose=0, callbacks=list(callbacks))


@pytest.mark.parametrize(("save_freq", "saved_step"), [("epoch", 60), (7, 63)])
def test_a_resumed_training_is_judged_as_if_it_had_not_been_interrupted(
    tmp_path: Path, rising: list[float], caplog: pytest.LogCaptureFixture, save_freq: Any, saved_step: int
) -> None:
    folder = tmp_path / "backup"
    config = MonitorConfig(stable_below=0.9)

    def backup() -> Any:
        return keras.callbacks.BackupAndRestore(str(folder), save_freq=save_freq)

    def judge() -> StabilityCallback:
        return StabilityCallback(config=config, backup_dir=folder)

    whole = judge()
    in_epochs(rising, whole)
    assert whole.verdict is not None and whole.verdict.stop_step == 72
    with pytest.raises(InterruptedError):
        in_epochs(rising, backup(), judge(), BreaksOff(66))
    kept = shutil.copytree(folder, tmp_path / "kept")
    # Keras begins the epoch of its backup anew.
    rest = rising[saved_step:] + rising[-1:] * 30
    resumed = judge()
    in_epochs(rest, backup(), resumed)
    assert resumed.verdict == whole.verdict
    assert not caplog.records

    shutil.copytree(kept, folder, dirs_exist_ok=True)
    (folder / "stability.json").unlink()
    forgetful = judge()
    in_epochs(rest, backup(), forgetful)
    assert forgetful.verdict is not None and forgetful.verdict.stop_step is None, "so it is the memory that counts"
    assert f"holds nothing of step {saved_step}, where the model is" in caplog.text


def test_what_is_beside_the_backup_goes_with_it(tmp_path: Path, falling: list[float]) -> None:
    folder = tmp_path / "backup"
    backup = keras.callbacks.BackupAndRestore(str(folder))
    with pytest.raises(InterruptedError):
        in_epochs(falling, backup, StabilityCallback(backup_dir=folder), BreaksOff(66))
    assert (folder / "stability.json").is_file()
    in_epochs(falling[60:], backup, StabilityCallback(backup_dir=folder))
    assert not folder.exists()
