"""The snippet is run beside our own optimizer, schedule, clipping and policies: the weights must come out the same."""

import itertools
import math
from typing import Any

import pytest
import torch
from torch import nn

from sweep.analysis.answer.snippet import snippet
from sweep.training.config import TrainingConfig
from sweep.training.optim.clippers import grad_norm

NUM_STEPS = 24
MODEL: dict[str, Any] = {"kind": "teacher", "width": 0.125, "init_scale": 0.5, "conv_scale": 1.0}

SCHEDULES: list[dict[str, Any]] = [
    {"kind": "constant"},
    {"kind": "constant", "warmup_steps": 5},
    {"kind": "cosine"},
    {"kind": "cosine", "warmup_steps": 1, "final_ratio": 0.1},
    {"kind": "cosine", "warmup_steps": 7},
    {"kind": "one_cycle", "warmup_steps": 6},
    {"kind": "wsd", "warmup_steps": 6, "final_ratio": 0.1},
    {"kind": "wsd", "shape": "one_minus_sqrt"},
    {"kind": "plateau", "warmup_steps": 3, "patience_evals": 2},
]
CLIPS: list[dict[str, Any]] = [
    {"kind": "off"},
    {"kind": "norm", "max_norm": 0.7},
    {"kind": "value", "max_value": 0.1},
    {"kind": "agc"},
    {"kind": "adaptive", "warmup_steps": 6, "z": 0.5},
    {"kind": "adagc", "warmup_steps": 6, "decay": 0.7},
]
POLICIES: list[dict[str, Any]] = [
    {"kind": "never_skip"},
    {"kind": "skip_nonfinite"},
    {"kind": "skip_above", "threshold": 4.0},
    {"kind": "robust_z", "window": 12, "warmup_steps": 6, "z": 1.5},
]
OPTIMIZERS: list[dict[str, Any]] = [
    {"kind": "adamw", "lr": 0.01, "weight_decay": 0.1},
    {"kind": "adam", "lr": 0.01, "beta1": 0.8},
    {"kind": "sgd", "lr": 0.05, "nesterov": True, "weight_decay": 0.01},
    {"kind": "stable_adamw", "lr": 0.01, "weight_decay": 0.1},
    {"kind": "muon", "lr": 0.01, "momentum": 0.8},
]
PRECISIONS = ["fp32", "tf32", "bf16", "fp16", "fp16_unscaled"]


@pytest.fixture(autouse=True)
def _one_thread_and_flags() -> Any:
    threads, matmul, conv = (
        torch.get_num_threads(),
        torch.backends.cuda.matmul.allow_tf32,
        torch.backends.cudnn.allow_tf32,
    )
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = matmul, conv


def config(**sections: Any) -> TrainingConfig:
    return TrainingConfig.model_validate(sections)


def tiny_model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 2))


def make_batches(bad: tuple[int, ...] = ()) -> list[torch.Tensor]:
    """Batches of very different gradient norms; those at `bad` hold a NaN."""
    generator = torch.Generator().manual_seed(1)
    sizes = itertools.cycle([1.0, 0.2, 3.0, 0.7, 9.0])
    batches = [next(sizes) * torch.randn(4, 3, generator=generator) for _ in range(2 * NUM_STEPS)]
    for index in bad:
        batches[index][0, 0] = math.nan
    return batches


def compute_loss(model: nn.Module, batch: torch.Tensor) -> torch.Tensor:
    loss: torch.Tensor = (model(batch).float() - 1.0).square().mean()
    return loss


def val_losses() -> Any:
    return itertools.cycle([2.0, 1.0, 1.5, math.nan, 1.2, 0.5, 0.7, 0.7, 0.7])


def by_snippet(training: TrainingConfig, bad: tuple[int, ...] = ()) -> tuple[list[torch.Tensor], list[float]]:
    """Weights after the training, and the learning rate of every update."""
    space: dict[str, Any] = {}
    exec(snippet(training.model_dump(mode="json"), MODEL), space)
    model, losses = tiny_model(), val_losses()
    rates: list[float] = []
    real = space["lr_at"]

    def lr_at(step: int, max_steps: int) -> float:
        rates.append(real(step, max_steps))
        return rates[-1]

    space["lr_at"] = lr_at
    more: dict[str, Any] = {"evaluate": lambda _: next(losses)} if training.schedule.kind == "plateau" else {}
    if more and training.eval_every_steps is None:
        more["eval_every_steps"] = 3
    space["train"](model, iter(make_batches(bad)), compute_loss, NUM_STEPS, device="cpu", **more)
    return [p.detach() for p in model.parameters()], rates


def by_ours(training: TrainingConfig, bad: tuple[int, ...] = ()) -> tuple[list[torch.Tensor], list[float]]:
    """The same with the tool's own parts, in the order of `sweep.train`."""
    model, losses = tiny_model(), val_losses()
    rates: list[float] = []
    parameters, batches = list(model.parameters()), iter(make_batches(bad))
    optimizer = training.optimizer.build(parameters)
    schedule = training.schedule.build(training.optimizer.lr, NUM_STEPS)
    clipper, policy = training.clip.build(), training.bad_batch.build()
    precision = training.precision.build(torch.device("cpu"))
    for step in range(NUM_STEPS):
        rates.append(schedule.lr(step))
        for group in optimizer.param_groups:
            group["lr"] = rates[-1]
        optimizer.zero_grad(set_to_none=True)
        loss = torch.zeros(())
        for _ in range(training.accumulate):
            with precision.forward_context():
                batch_loss = compute_loss(model, next(batches))
            precision.scale_loss(batch_loss / training.accumulate).backward()
            loss += batch_loss.detach() / training.accumulate
        precision.unscale_(optimizer)
        norm = grad_norm(parameters)
        refusal = policy.decide(loss, norm)
        clipper.clip_(parameters, norm, refusal > 0)
        schedule.observe_step(step + 1, bool(precision.step(optimizer, refusal > 0)))
        every = training.eval_every_steps or 3
        if (step + 1) % every == 0 or step + 1 == NUM_STEPS:
            schedule.observe_eval(next(losses))
    return [p.detach() for p in parameters], rates


def assert_same(training: TrainingConfig, bad: tuple[int, ...] = (), tolerance: float = 2e-5) -> None:
    weights, rates = by_snippet(training, bad)
    expected, expected_rates = by_ours(training, bad)
    torch.testing.assert_close(weights, expected, rtol=tolerance, atol=tolerance, equal_nan=True)
    if training.schedule.kind != "plateau":  # its cuts are applied outside of `lr_at`
        assert rates == pytest.approx(expected_rates, rel=1e-12, abs=1e-15)
    start = [p.detach() for p in tiny_model().parameters()]
    assert any(not torch.allclose(a, b, atol=1e-3) for a, b in zip(start, weights, strict=True)), "it trained"


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: "-".join(map(str, s.values())))
def test_every_schedule(schedule: dict[str, Any]) -> None:
    assert_same(config(schedule=schedule, optimizer=OPTIMIZERS[2], eval_every_steps=3))
    assert_same(config(schedule=schedule, optimizer=OPTIMIZERS[2]))


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=lambda o: o["kind"])
def test_every_optimizer(optimizer: dict[str, Any]) -> None:
    assert_same(config(optimizer=optimizer))


@pytest.mark.parametrize("clip", CLIPS, ids=lambda c: c["kind"])
@pytest.mark.parametrize("policy", POLICIES, ids=lambda p: p["kind"])
def test_every_clipping_under_every_policy(clip: dict[str, Any], policy: dict[str, Any]) -> None:
    training = config(clip=clip, bad_batch=policy, optimizer=OPTIMIZERS[2])
    assert_same(training)
    if policy["kind"] != "never_skip":
        assert_same(training, bad=(4, 11))


def test_accumulated_batches() -> None:
    assert_same(config(accumulate=2, optimizer=OPTIMIZERS[2]), bad=(9,))


@pytest.mark.parametrize("kind", PRECISIONS)
def test_every_precision(kind: str) -> None:
    training = config(precision={"kind": kind}, optimizer=OPTIMIZERS[2])
    if kind == "tf32":
        # Ours refuses to run without the unit; the snippet's switch has no effect on a CPU.
        weights, _ = by_snippet(training)
        torch.testing.assert_close(weights, by_ours(config(optimizer=OPTIMIZERS[2]))[0], rtol=2e-5, atol=2e-5)
        assert torch.backends.cuda.matmul.allow_tf32
        return
    # A CPU's autocast rounds some other operations than CUDA's, which ours emulates.
    assert_same(training, tolerance={"fp32": 2e-5, "bf16": 5e-2}.get(kind, 5e-3))


def test_a_loss_scale_falls_on_overflow_although_the_step_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    scales: list[float] = []

    class Watched(torch.amp.GradScaler):
        def update(self, new_scale: Any = None) -> None:
            super().update(new_scale)
            scales.append(self.get_scale())

    monkeypatch.setattr(torch.amp, "GradScaler", Watched)
    space: dict[str, Any] = {}
    exec(snippet(config(precision={"kind": "fp16", "initial_scale": 1024.0}).model_dump(mode="json"), MODEL), space)
    space["train"](tiny_model(), iter(make_batches(bad=(0, 2))), compute_loss, 4, device="cpu")
    assert scales == [512.0, 512.0, 256.0, 256.0]


def test_the_text_is_plain_pytorch_that_a_reader_can_take_in() -> None:
    for clip, policy, schedule, kind in itertools.product(CLIPS, POLICIES, SCHEDULES, PRECISIONS):
        training = config(clip=clip, bad_batch=policy, schedule=schedule, precision={"kind": kind})
        text = snippet(training.model_dump(mode="json"), MODEL)
        compile(text, "snippet", "exec")
        assert "sweep" not in text and "slr_models" not in text
        assert text.isascii() and max(map(len, text.splitlines())) <= 120 and len(text.splitlines()) < 130
        # Whatever is imported is used.
        for name in ("math", "statistics"):
            assert (f"import {name}" in text) == (f"{name}." in text)
    assert "by 0.5, convolution kernels by 0.5" in text


@pytest.mark.parametrize(
    ("normalization", "first"), [("log_softmax_twice", "log_softmax"), ("softmax_then_log_softmax", "softmax")]
)
def test_it_says_what_the_loss_sees_where_that_is_not_the_logits(normalization: str, first: str) -> None:
    text = snippet(config(normalization=normalization).model_dump(mode="json"), MODEL)
    assert f"logits go through {first} before" in text and f"({normalization})" in text
    assert "logits" not in snippet(config().model_dump(mode="json"), MODEL)


@pytest.mark.parametrize("policy", POLICIES, ids=lambda p: p["kind"])
@pytest.mark.parametrize("kind", ["fp32", "fp16"])
def test_applied_updates_are_counted(kind: str, policy: dict[str, Any]) -> None:
    schedule = {"kind": "cosine", "warmup_steps": 6, "count": "applied"}
    training = config(
        schedule=schedule, bad_batch=policy, precision={"kind": kind}, optimizer=OPTIMIZERS[2], clip={"kind": "off"}
    )
    bad = (1, 2, 9) if policy["kind"] != "never_skip" or kind == "fp16" else ()
    assert_same(training, bad, tolerance=5e-3)
    _, rates = by_snippet(training, bad)
    _, rates_by_steps = by_snippet(config(**{**training.model_dump(), "schedule": {**schedule, "count": "steps"}}), bad)
    assert (rates == rates_by_steps) == (not bad)


def test_an_unknown_kind_is_an_error() -> None:
    training = config().model_dump(mode="json")
    for section in ("optimizer", "schedule", "clip", "bad_batch", "precision"):
        with pytest.raises(KeyError):
            snippet({**training, section: {**training[section], "kind": "other"}}, MODEL)
