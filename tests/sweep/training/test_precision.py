"""The formats by their contract, and the loss scale by its arithmetic."""

import math

import pytest
import torch
import torch.nn.functional as F
from pydantic import TypeAdapter, ValidationError
from torch import Tensor, nn

from slr_models.errors import SettingError
from sweep.training.amp import Precision
from sweep.training.precision import Bf16, Fp16, Fp16Unscaled, Fp32, PrecisionConfig, Tf32

torch.set_num_threads(1)  # the tensors are tiny: threads only cost

CPU = torch.device("cpu")
ON_CPU = [Fp32(), Bf16(), Fp16(), Fp16Unscaled()]


def _model() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv1d(4, 8, 3, padding=1), nn.ReLU(), nn.Conv1d(8, 5, 1))


def _loss(model: nn.Module, precision: Precision, gain: float = 1.0) -> Tensor:
    with precision.forward_context():
        logits = model(torch.randn(2, 4, 12, generator=torch.Generator().manual_seed(1)))
        return F.log_softmax(logits, 1)[:, 0].mean() * -gain


def _step(model: nn.Module, optimizer: torch.optim.Optimizer, precision: Precision, gain: float = 1.0) -> bool:
    optimizer.zero_grad()
    precision.scale_loss(_loss(model, precision, gain)).backward()
    precision.unscale_(optimizer)
    return bool(precision.step(optimizer))


def _weights(model: nn.Module) -> Tensor:
    return torch.cat([p.detach().flatten() for p in model.parameters()])


@pytest.mark.parametrize("config", ON_CPU)
def test_every_kind_trains_on_a_cpu(config: PrecisionConfig) -> None:
    model, precision = _model(), config.build(CPU)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, fused=True)
    first = _loss(model, precision).item()
    assert all([_step(model, optimizer, precision) for _ in range(10)])
    assert _loss(model, precision).item() < 0.9 * first
    assert all(p.dtype is torch.float32 for p in model.parameters())
    assert precision.has_scaler == isinstance(config, Fp16)
    assert math.isnan(precision.loss_scale()) != precision.has_scaler


@pytest.mark.parametrize("config", [Bf16(), Fp16()])
def test_gradients_stay_close_to_fp32(config: PrecisionConfig) -> None:
    gradients = []
    for each in (Fp32(), config):
        model, precision = _model(), each.build(CPU)
        optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
        precision.scale_loss(_loss(model, precision)).backward()
        precision.unscale_(optimizer)
        gradients.append(torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]))
    difference = (gradients[0] - gradients[1]).norm() / gradients[0].norm()
    assert 0 < difference < (2e-3 if isinstance(config, Fp16) else 1.6e-2)


@pytest.mark.parametrize("config", [*ON_CPU, Tf32()])
def test_round_trip_through_the_union(config: PrecisionConfig) -> None:
    adapter: TypeAdapter[PrecisionConfig] = TypeAdapter(PrecisionConfig)
    assert adapter.validate_python(adapter.dump_python(config)) == config


def test_implementation_names_what_runs() -> None:
    assert "emulated on CPU" in Fp16().build(CPU).implementation
    assert "GradScaler" in Fp16().build(CPU).implementation
    assert "GradScaler" not in Fp16Unscaled().build(CPU).implementation


def test_tf32_on_a_cpu_is_an_error_that_says_so() -> None:
    with pytest.raises(SettingError, match="tf32.*GPU.*fp32"):
        Tf32().build(CPU)


@pytest.mark.parametrize("config", ON_CPU)
def test_other_devices_are_an_error(config: PrecisionConfig) -> None:
    with pytest.raises(SettingError, match="mps"):
        config.build(torch.device("mps"))


@pytest.mark.parametrize("field", [{"backoff_factor": 1.0}, {"growth_factor": 1.0}, {"initial_scale": 0.0}])
def test_a_scaler_that_cannot_adapt_is_rejected(field: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        Fp16.model_validate(field)


@pytest.mark.parametrize("gain", [1e-3, 3.0, 50.0, 2e3, 5e4])
def test_calibration_takes_as_many_halvings_as_the_largest_gradient_demands(gain: float) -> None:
    """k = max(0, ceil(log2(S0 * amax / 65504))) for a largest half gradient amax."""
    weight = nn.Parameter(torch.ones(1, 1))
    optimizer = torch.optim.SGD([weight], lr=0.0, fused=True)
    precision = Fp16().build(CPU)
    halvings = 0
    while True:
        optimizer.zero_grad()
        with precision.forward_context():
            loss = F.linear(torch.ones(1, 1), weight).sum() * gain
        precision.scale_loss(loss).backward()
        precision.unscale_(optimizer)
        if precision.step(optimizer):
            break
        halvings += 1
    expected = max(0, math.ceil(math.log2(65536.0 * gain / 65504.0)))
    assert halvings == expected
    assert precision.loss_scale() == 65536.0 / 2**expected


@pytest.mark.parametrize("optimizer_class", [torch.optim.AdamW, torch.optim.SGD])
def test_step_tells_whether_the_weights_changed(
    optimizer_class: type[torch.optim.AdamW] | type[torch.optim.SGD],
) -> None:
    model, precision = _model(), Fp16(growth_interval=2).build(CPU)
    optimizer = optimizer_class(model.parameters(), lr=0.1, fused=True)
    outcomes = []
    for gain in (1.0, float("inf"), 1.0, 1.0, float("nan"), 1.0):
        before, scale = _weights(model), precision.loss_scale().item()
        applied = _step(model, optimizer, precision, gain)
        assert applied == bool((_weights(model) != before).any())
        outcomes.append((applied, precision.loss_scale().item() / scale))
    assert outcomes == [(True, 1.0), (False, 0.5), (True, 1.0), (True, 2.0), (False, 0.5), (True, 1.0)]
    assert torch.isfinite(_weights(model)).all()


def test_a_scale_of_zero_is_told_apart_too() -> None:
    model, precision = _model(), Fp16(initial_scale=1e-45, backoff_factor=0.25).build(CPU)
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    before = _weights(model)
    for _ in range(2):
        assert not _step(model, optimizer, precision, float("inf"))
        assert precision.loss_scale() == 0.0
    assert torch.equal(_weights(model), before)
    # The scaler checks the scaled gradients, all zero, and then makes 0 / 0 of them: the step is taken.
    assert _step(model, optimizer, precision)
    assert torch.isnan(_weights(model)).all()


@pytest.mark.parametrize("config", ON_CPU)
def test_a_refused_step_leaves_weights_and_lets_the_next_one_run(config: PrecisionConfig) -> None:
    model, precision = _model(), config.build(CPU)
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    before = _weights(model)
    precision.scale_loss(_loss(model, precision)).backward()
    precision.unscale_(optimizer)
    assert not precision.step(optimizer, refused=torch.tensor(True))
    assert torch.equal(_weights(model), before)
    assert _step(model, optimizer, precision)


def test_a_skip_still_backs_off_after_an_overflow() -> None:
    model, precision = _model(), Fp16().build(CPU)
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    precision.scale_loss(_loss(model, precision, float("inf"))).backward()
    precision.unscale_(optimizer)
    assert not precision.step(optimizer, refused=torch.tensor(True))
    assert precision.loss_scale() == 32768.0


def test_without_a_scaler_a_bad_gradient_reaches_the_weights() -> None:
    model, precision = _model(), Fp16Unscaled().build(CPU)
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    assert _step(model, optimizer, precision, float("inf"))
    assert not torch.isfinite(_weights(model)).all()


def test_small_gradients_are_lost_without_a_loss_scale_only() -> None:
    flushed = {}
    for config in (Fp16(), Fp16Unscaled()):
        model, precision = _model(), config.build(CPU)
        precision.scale_loss(_loss(model, precision, 1e-6)).backward()
        gradient = model[0].weight.grad
        assert isinstance(gradient, Tensor)
        flushed[config.kind] = (gradient == 0).float().mean().item()
    assert flushed["fp16_unscaled"] > 0.5
    assert flushed["fp16"] < 0.05


def test_state_continues_scale_and_growth() -> None:
    model, precision = _model(), Fp16(growth_interval=3).build(CPU)
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    for gain in (float("inf"), 1.0, 1.0):
        _step(model, optimizer, precision, gain)
    resumed = Fp16(growth_interval=3).build(CPU)
    resumed.load_state_dict(precision.state_dict())
    assert resumed.loss_scale() == precision.loss_scale() == 32768.0
    _step(model, optimizer, resumed)
    assert resumed.loss_scale() == 65536.0
    assert Fp32().build(CPU).state_dict() == {}


@pytest.mark.filterwarnings("ignore:.*CUDA is not available")
@pytest.mark.parametrize("config", [Fp32(), Fp16(), Fp16Unscaled()])
def test_tensorfloat_does_not_leak_from_an_earlier_training(config: PrecisionConfig) -> None:
    """The switches are the process's, and a process runs many trainings; they must stay off for backward too."""
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, cudnn.allow_tf32
    try:
        matmul.allow_tf32 = cudnn.allow_tf32 = True
        with config.build(torch.device("cuda")).forward_context():
            assert not matmul.allow_tf32 and not cudnn.allow_tf32
        assert not matmul.allow_tf32 and not cudnn.allow_tf32
    finally:
        matmul.allow_tf32, cudnn.allow_tf32 = before


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("config", [*ON_CPU, Tf32()])
def test_every_kind_trains_on_a_gpu_and_sees_its_overflow(config: PrecisionConfig) -> None:
    device = torch.device("cuda")
    precision = config.build(device)
    model = _model().to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, fused=True)
    x = torch.randn(2, 4, 12, device=device)
    losses = []
    for _ in range(10):
        optimizer.zero_grad()
        with precision.forward_context():
            loss = -F.log_softmax(model(x), 1)[:, 0].mean()
        precision.scale_loss(loss).backward()
        precision.unscale_(optimizer)
        assert precision.step(optimizer)
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    assert torch.backends.cudnn.allow_tf32 == isinstance(config, Tf32)
    assert torch.backends.cuda.matmul.allow_tf32 == isinstance(config, Tf32)


@pytest.mark.parametrize("refused_steps", [(), (0, 3, 4)])
def test_the_scale_moves_as_torchs_own_scaler_moves_it(refused_steps: tuple[int, ...]) -> None:
    """Also in steps that the caller refuses: torch's scaler learns of their overflows through `update` alone."""
    gains = [1.0, math.inf, 1.0, 1.0, math.inf, math.nan, 1.0, 1.0, 1.0]
    ours, theirs = _model(), _model()
    precision = Fp16(growth_interval=2, growth_factor=3.0, backoff_factor=0.25).build(CPU)
    scaler = torch.amp.GradScaler("cpu", growth_factor=3.0, backoff_factor=0.25, growth_interval=2)
    optimizers = [torch.optim.AdamW(m.parameters(), lr=1e-2, fused=True) for m in (ours, theirs)]
    for step, gain in enumerate(gains):
        is_refused = step in refused_steps
        assert precision.loss_scale().item() == scaler.get_scale()
        optimizers[0].zero_grad()
        precision.scale_loss(_loss(ours, precision, gain)).backward()
        precision.unscale_(optimizers[0])
        precision.step(optimizers[0], torch.tensor(is_refused))
        optimizers[1].zero_grad()
        scaler.scale(_loss(theirs, precision, gain)).backward()
        scaler.unscale_(optimizers[1])
        if not is_refused:
            scaler.step(optimizers[1])
        scaler.update()
        assert torch.equal(_weights(ours), _weights(theirs))
    assert precision.state_dict() == scaler.state_dict()
