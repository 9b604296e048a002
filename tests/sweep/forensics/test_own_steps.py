"""Why trainings that are not ours broke, found in their last steps: real trainings, each broken in one way."""

import contextlib
from collections import UserDict
from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

from sweep.forensics.own_steps import explain_steps
from sweep.forensics.settings import ForensicsConfig
from sweep.judging.detectors import RunContext
from sweep.judging.monitor import StabilityMonitor
from sweep.own import kept_steps
from sweep.own.handle import Run, Stop
from sweep.records import Cause, EvalRecord, Explanation, Place, StepRecord

DEFAULTS = ForensicsConfig()
L_CONST = 1.386
"""Of four classes that are as frequent."""


class Judged:
    """A sink that judges, and keeps the records."""

    def __init__(self) -> None:
        self.monitor = StabilityMonitor(RunContext(L_CONST, L_CONST, None, has_scaler=False))
        self.records: list[StepRecord] = []

    def refer(self, l_const: float, l_unif: float) -> None: ...

    def observe(self, record: StepRecord) -> str | None:
        self.records.append(record)
        verdict = self.monitor.observe(record)
        return None if verdict is None else verdict.reason

    def evaluated(self, record: EvalRecord, metrics: dict[str, float]) -> str | None: ...

    def ended(self, metrics: dict[str, float]) -> None: ...

    def keep(self, state: object, step: int) -> None: ...

    def kept(self) -> None: ...


def batches(num: int, seed: int = 0) -> list[tuple[Tensor, Tensor]]:
    """Batches of 32 points in 8 dimensions, of four classes that a line or two tell apart."""
    generator = torch.Generator().manual_seed(seed)
    centres = 2 * torch.randn(4, 8, generator=generator)
    made = []
    for _ in range(num):
        labels = torch.randint(4, (32,), generator=generator)
        made.append((centres[labels] + torch.randn(32, 8, generator=generator), labels))
    return made


def trained(
    optimizer: Callable[[nn.Module], torch.optim.Optimizer],
    data: list[tuple[Tensor, Tensor]],
    *,
    scale: float = 1.0,
    half: torch.dtype | None = None,
    clip: float | None = None,
    meddle: Callable[[int, nn.Module], None] | None = None,
    model: nn.Module | None = None,
    settings: ForensicsConfig = DEFAULTS,
) -> tuple[Explanation | None, Run, nn.Module]:
    """A training to its end or its alarm, and why it broke."""
    torch.manual_seed(0)
    model = model or nn.Sequential(nn.Linear(8, 32), nn.Tanh(), nn.Dropout(0.1), nn.Linear(32, 4))
    opt = optimizer(model)
    sink = Judged()
    run = Run(sink, num_snapshots=2 * settings.num_snapshots, snapshot_every_steps=settings.snapshot_every_steps)

    def step(features: Tensor, labels: Tensor) -> dict[str, object]:
        opt.zero_grad()
        with torch.autocast("cpu", half or torch.bfloat16, enabled=half is not None):
            logits = model(features * scale)
        loss = nn.functional.cross_entropy(logits.float(), labels)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(model.parameters(), clip or float("inf"))
        opt.step()
        return {"loss": loss, "grad_norm": norm}

    train = run.snapshot(step, model, opt)
    try:
        for index, batch in enumerate(data):
            if meddle is not None:
                meddle(index + 1, model)
            train(*batch)
    except Stop:
        pass
    assert run.kept_steps is not None
    verdict = sink.monitor.end_verdict() if run.reason is None else sink.monitor.finish()
    assert not verdict.stable, "it was to break"
    found = explain_steps(run.kept_steps, sink.records, verdict, l_const=L_CONST, l_unif=L_CONST, settings=settings)
    return found, run, model


def sgd(lr: float, momentum: float = 0.9) -> Callable[[nn.Module], torch.optim.Optimizer]:
    return lambda model: torch.optim.SGD(model.parameters(), lr, momentum=momentum)


def deep() -> nn.Module:
    """A network that nothing keeps within bounds."""
    torch.manual_seed(0)
    layers = [nn.Linear(8, 32), nn.ReLU(), nn.Dropout(0.1), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 4)]
    return nn.Sequential(*layers)


def test_a_learning_rate_that_is_too_high() -> None:
    found, _run, _model = trained(sgd(10.0), batches(200), model=deep())
    assert found is not None and found.cause is Cause.LR_TOO_HIGH, found
    assert found.text.startswith("learning rate too high: with 10 values were no longer finite from step ")
    assert "LR / 100 from the start rescues it (2 of 2)" in found.text and "LR / 10 (0 of 1)" in found.text
    assert found.counterfactuals[0].change == "same" and not found.counterfactuals[0].rescues
    assert found.first_nonfinite is not None and found.first_nonfinite.path == "0.weight"
    assert found.snapshot_step == 0 and 0 < found.num_replayed_steps <= 600


def test_gradients_that_are_not_clipped() -> None:
    found, _run, _model = trained(sgd(0.3), batches(200), model=deep())
    # When so high a rate breaks it is a matter of the last digits, and so of the processor.
    assert found is not None and found.cause is Cause.NO_CLIPPING, found
    data = batches(200)
    data[59] = (data[59][0] * 1e4, data[59][1])
    # It is seen some 70 steps after it began; not from the beginning, as there is a state before the trouble.
    late, _run, _model = trained(sgd(0.03), data, model=deep())
    assert late is not None and late.cause is Cause.NO_CLIPPING and late.snapshot_step in (25, 50), late


def test_fp16_that_overflows_is_told_with_its_operation() -> None:
    big = nn.Sequential(nn.Linear(8, 32), nn.Identity(), nn.Linear(32, 4))
    with torch.no_grad():
        big[0].weight.fill_(100.0)
        big[2].weight.zero_()
    big[0].requires_grad_(False)
    growing = [(features * 1.12**index, labels) for index, (features, labels) in enumerate(batches(90))]
    settings = ForensicsConfig(snapshot_every_steps=10)

    def slow(model: nn.Module) -> torch.optim.Optimizer:
        return torch.optim.SGD(model[2].parameters(), 1e-12)

    found, _run, _model = trained(slow, growing, half=torch.float16, model=big, settings=settings)
    assert found is not None and found.cause is Cause.HALF_OVERFLOW, found
    first = found.first_nonfinite
    assert first is not None and first.place is Place.FORWARD and first.path == "0" and first.operation == "linear"
    assert first.dtype == "float16" and "> 65504" in found.text and "full precision from step" in found.text


def test_a_gradient_that_is_not_finite_and_applied() -> None:
    class Rooted(nn.Module):
        """The root of an exact zero has an infinite slope."""

        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Linear(8, 4)

        def forward(self, x: Tensor) -> Tensor:
            logits: Tensor = self.inner(x)
            return logits + 0 * logits.norm(dim=1, keepdim=True).sqrt()

    model = Rooted()
    with torch.no_grad():
        model.inner.bias.zero_()
    model.inner.bias.requires_grad_(False)
    data = batches(120)
    data[59] = (data[59][0].index_fill(0, torch.tensor([3]), 0.0), data[59][1])
    found, _run, _model = trained(lambda m: torch.optim.AdamW([m.inner.weight], 1e-3), data, model=model)
    assert found is not None and found.cause is Cause.BAD_STEP_APPLIED, found
    first = found.first_nonfinite
    assert first is not None and first.place is Place.BACKWARD and first.step == 60, first
    assert "skip non-finite steps from step" in found.text


def test_a_batch_with_a_nan_is_named_without_a_replay() -> None:
    data = batches(120)
    data[59] = (data[59][0].index_fill(0, torch.tensor([3]), float("nan")), data[59][1])
    found, _run, _model = trained(sgd(0.03), data)
    assert found is not None and found.cause is Cause.NONFINITE_FEATURES and "step 60" in found.text
    assert found.num_replayed_steps == 0


def test_what_lies_outside_of_the_steps_is_not_explained_by_them() -> None:
    def ruin(step: int, model: nn.Module) -> None:
        if step == 70:
            with torch.no_grad():
                model[0].weight.fill_(float("nan"))

    found, _run, _model = trained(sgd(0.03), batches(120), meddle=ruin)
    assert found is None


def test_replays_leave_nothing_behind_but_another_state() -> None:
    found, run, model = trained(sgd(300.0), batches(200), scale=30)
    optimizer = run.kept_steps.optimizers[0]
    assert not optimizer._optimizer_step_pre_hooks and not optimizer._optimizer_step_post_hooks
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    assert torch.autocast.__enter__.__qualname__ == "autocast.__enter__"
    assert run.kept_steps.num_bytes > 0
    run.kept_steps.forget()
    assert run.kept_steps.num_bytes == 0 and not run.kept_steps.states


def test_the_same_steps_again_give_the_same() -> None:
    """Dropout and momentum too: the state and what is drawn at random are those of then."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 32), nn.Tanh(), nn.Dropout(0.5), nn.Linear(32, 4))
    optimizer = torch.optim.AdamW(model.parameters(), 0.01)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 100)
    run = Run(Judged(), num_snapshots=2, snapshot_every_steps=10)
    losses: list[float] = []

    def step(features: Tensor, labels: Tensor) -> Tensor:
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(features), labels)
        loss.backward()
        optimizer.step()
        schedule.step()
        return loss.detach()

    train = run.snapshot(step, model, optimizer, schedule)
    for batch in batches(37):
        losses.append(float(train(*batch)["loss"]))
    kept = run.kept_steps
    assert kept.states == [20, 30] and [one.step for one in kept.since(20)] == list(range(21, 38))
    for _ in range(2):
        kept.restore(20)
        again = [float(kept.again(one)["loss"]) for one in kept.since(20)]
        assert again == losses[20:]


def updated(model: nn.Module, optimizer: torch.optim.Optimizer, features: Tensor, labels: Tensor) -> Tensor:
    """The loss of an update."""
    optimizer.zero_grad()
    loss = nn.functional.cross_entropy(model(features), labels)
    loss.backward()
    optimizer.step()
    return loss


def kept_run(step: Callable[..., object], *parts: object) -> tuple[Run, Callable[..., object], Judged]:
    sink = Judged()
    run = Run(sink, num_snapshots=8)
    return run, run.snapshot(step, *parts), sink


def explained(run: Run, sink: Judged) -> Explanation | None:
    verdict = sink.monitor.end_verdict() if run.reason is None else sink.monitor.finish()
    return explain_steps(
        run.kept_steps, sink.records, verdict, l_const=L_CONST, l_unif=L_CONST, settings=DEFAULTS
    )  # fmt: skip


def until_it_stops(train: Callable[..., object], given: list[object]) -> None:
    with contextlib.suppress(Stop):
        for one in given:
            train(one)


@dataclass
class Pair:
    features: Tensor
    labels: Tensor


@pytest.mark.parametrize("kind", ["dict that is emptied", "dataclass", "numpy", "mapping"])
def test_batches_of_any_form(kind: str) -> None:
    model = deep()
    optimizer = sgd(10.0)(model)

    def step(batch: object) -> dict[str, object]:
        if isinstance(batch, Pair):
            features, labels = batch.features, batch.labels
        elif isinstance(batch, tuple):
            features, labels = torch.from_numpy(batch[0]), torch.from_numpy(batch[1])
        else:
            features, labels = batch.pop("features"), batch.pop("labels")
        loss = updated(model, optimizer, features, labels)
        return {"loss": loss, "step": len(sink.records) + 1}

    run, train, sink = kept_run(step, model, optimizer)
    forms: dict[str, Callable[[Tensor, Tensor], object]] = {
        "dict that is emptied": lambda f, y: {"features": f, "labels": y},
        "dataclass": Pair,
        "numpy": lambda f, y: (f.numpy(), y.numpy()),
        "mapping": lambda f, y: UserDict(features=f, labels=y),
    }
    given = [forms[kind](*batch) for batch in batches(120)]
    if kind == "mapping":
        # Nobody knows how to copy one, and so it is empty when it comes again.
        step_of = step
        step = lambda batch: step_of(dict(batch))  # noqa: E731
        run, train, sink = kept_run(step, model, optimizer)
    until_it_stops(train, given)
    assert run.kept_steps._memory.num_bytes > 1000
    found = explained(run, sink)
    assert found is not None and found.cause is Cause.LR_TOO_HIGH, found


def test_a_batch_that_is_changed_in_place_is_not_trained_again() -> None:
    model = deep()
    optimizer = sgd(10.0)(model)

    def step(batch: tuple[Tensor, Tensor]) -> Tensor:
        return updated(model, optimizer, batch[0].mul_(2), batch[1])

    run, train, sink = kept_run(step, model, optimizer)
    until_it_stops(train, list(batches(120)))
    found = explained(run, sink)
    assert found.cause is Cause.UNKNOWN and "changed its batch in place" in found.details[0]


def test_a_step_that_cannot_be_trained_again_says_so() -> None:
    model, source = deep(), iter(batches(120))
    optimizer = sgd(10.0)(model)

    def step(_index: int) -> Tensor:
        features, labels = next(source)
        loss = updated(model, optimizer, features, labels)
        if run.kept_steps.is_replaying:
            raise KeyError("no more")
        return loss

    run, train, sink = kept_run(step, model, optimizer)
    until_it_stops(train, list(range(100)))
    found = explained(run, sink)
    assert found.cause is Cause.UNKNOWN and "cannot be trained again: KeyError: 'no more'" in found.details[0]


def test_modes_gradients_and_a_scaler_amid_a_step_are_put_back() -> None:
    model = nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.Dropout(0.5), nn.Linear(16, 4))
    optimizer, scaler = torch.optim.SGD(model.parameters(), 0.1), torch.amp.GradScaler("cpu")
    count: list[int] = []
    told: list[float] = []

    def step(batch: tuple[Tensor, Tensor]) -> Tensor:
        loss = nn.functional.cross_entropy(model(batch[0]), batch[1])
        scaler.scale(loss).backward()
        count.append(0)
        if len(count) % 4 == 0 or run.kept_steps.is_replaying:
            scaler.step(optimizer)
            scaler.update()
            optimizer.zero_grad()
        run.report(accuracy=1.0)
        return loss.detach()

    run, train, sink = kept_run(step, model, optimizer, scaler)
    for batch in batches(31):
        told.append(float(train(batch)["loss"]))
    model.eval()
    scaler.scale(model(batches(1)[0][0]).sum()).backward()
    scaler.unscale_(optimizer)
    kept = run.kept_steps
    kept.restore(25)
    assert model.training and next(model.parameters()).grad is not None
    assert float(kept.again(kept.since(25)[0])["loss"]) == told[25]


def test_a_batch_that_the_loop_leaves_out_after_an_error_is_none() -> None:
    model = deep()
    optimizer = sgd(10.0)(model)

    def step(batch: tuple[Tensor, Tensor]) -> Tensor:
        if len(batch[0]) != 32:
            raise ValueError("a bad batch")
        return updated(model, optimizer, batch[0], batch[1])

    run, train, sink = kept_run(step, model, optimizer)
    given = list(batches(120))
    given[2] = (given[2][0][:3], given[2][1][:3])
    with contextlib.suppress(Stop):
        for batch in given:
            with contextlib.suppress(ValueError):
                train(batch)
    assert [one.step for one in run.kept_steps.since(0)] == list(range(1, len(sink.records) + 1))
    assert explained(run, sink).cause is Cause.LR_TOO_HIGH


def test_what_does_not_fit_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_steps, "MOST_BATCH_BYTES", 10_000)
    model = deep()
    whole = torch.randn(64, 8), torch.randint(4, (64,))

    def step(batch: tuple[Tensor, ...]) -> float:
        return 1.0

    run, train, _sink = kept_run(step, model, torch.optim.LBFGS(model.parameters()))
    for _ in range(60):
        train(whole)
    assert run.kept_steps.states == [0, 25, 50], "the same batch counts once"
    run, train, _sink = kept_run(step, model, torch.optim.LBFGS(model.parameters()))
    for _ in range(60):
        train((torch.randn(1000, 8),))
    assert run.kept_steps.states == [] and run.kept_steps.since(0) == []


def test_a_disabled_scaler_is_none_and_autocast_around_the_steps_counts() -> None:
    big = nn.Sequential(nn.Linear(8, 32), nn.Identity(), nn.Linear(32, 4))
    with torch.no_grad():
        big[0].weight.fill_(100.0)
        big[2].weight.zero_()
    big[0].requires_grad_(False)
    optimizer = torch.optim.SGD(big[2].parameters(), 1e-12)

    def step(batch: tuple[Tensor, Tensor]) -> Tensor:
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(big(batch[0]).float(), batch[1])
        loss.backward()
        optimizer.step()
        return loss

    run, train, sink = kept_run(step, big, optimizer, torch.amp.GradScaler("cpu", enabled=False))
    assert run.kept_steps.scalers == []
    growing = [(features * 1.12**index, labels) for index, (features, labels) in enumerate(batches(90))]
    with torch.autocast("cpu", torch.float16):
        until_it_stops(train, growing)
    found = explained(run, sink)
    assert found is not None and found.cause is Cause.HALF_OVERFLOW, found
