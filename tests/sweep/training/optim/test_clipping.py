"""Gradient norm and every clipper against an independent computation."""

import math

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter
from torch import Tensor, nn

from sweep.training.optim import AdaGc, Adaptive, Agc, ByNorm, ByValue, ClipConfig, Off
from sweep.training.optim.clippers import Clipper, grad_norm

torch.set_num_threads(1)

APPLIED, REFUSED = torch.tensor(False), torch.tensor(True)
ALL = [Off(), ByNorm(max_norm=0.5), ByValue(max_value=0.2), Agc(), Adaptive(warmup_steps=2), AdaGc(warmup_steps=2)]
REMEMBERING = [Adaptive(warmup_steps=3), AdaGc(warmup_steps=3)]
"""Those that go by the norms of earlier steps."""


def _parameters(scale: float = 1.0, seed: int = 0) -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(seed)
    parameters = [nn.Parameter(torch.randn(s, generator=generator)) for s in ((4, 3, 5), (6, 4), (7,), (2,))]
    for parameter in parameters[:3]:
        parameter.grad = torch.randn(parameter.shape, generator=generator) * scale
    return parameters


def _with_norm(norm: float) -> list[nn.Parameter]:
    parameters = _parameters()
    factor = norm / grad_norm(parameters)
    for parameter in parameters[:3]:
        assert parameter.grad is not None
        parameter.grad *= factor
    return parameters


def _gradients(parameters: list[nn.Parameter]) -> Tensor:
    return torch.cat([p.grad.flatten() for p in parameters if p.grad is not None])


def test_grad_norm_is_the_global_l2_norm() -> None:
    parameters = _parameters()
    expected = math.sqrt(sum(float((p.grad.double() ** 2).sum()) for p in parameters if p.grad is not None))
    assert grad_norm(parameters).item() == pytest.approx(expected, rel=1e-6)
    assert grad_norm([nn.Parameter(torch.ones(2))]).item() == 0.0


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_grad_norm_shows_a_bad_gradient(bad: float) -> None:
    parameters = _parameters()
    assert parameters[1].grad is not None
    parameters[1].grad[2, 1] = bad
    assert not math.isfinite(grad_norm(parameters).item())


@pytest.mark.parametrize("config", ALL)
def test_round_trip_through_the_union(config: ClipConfig) -> None:
    adapter: TypeAdapter[ClipConfig] = TypeAdapter(ClipConfig)
    assert adapter.validate_python(adapter.dump_python(config)) == config


@pytest.mark.parametrize("config", ALL)
def test_small_gradients_pass_unchanged(config: ClipConfig) -> None:
    parameters = _parameters(scale=1e-5)
    before = _gradients(parameters)
    config.build().clip_(parameters, grad_norm(parameters), APPLIED)
    assert torch.equal(_gradients(parameters), before)


@pytest.mark.parametrize("config", ALL)
def test_a_nan_gradient_is_never_hidden(config: ClipConfig) -> None:
    parameters = _parameters()
    assert parameters[0].grad is not None
    parameters[0].grad[0, 0, 0] = math.nan
    config.build().clip_(parameters, grad_norm(parameters), APPLIED)
    assert torch.isnan(_gradients(parameters)).any()


def test_by_norm() -> None:
    parameters = _parameters()
    before, norm = _gradients(parameters), grad_norm(parameters)
    ByNorm(max_norm=0.5).build().clip_(parameters, norm, APPLIED)
    torch.testing.assert_close(_gradients(parameters), before * 0.5 / norm, rtol=1e-5, atol=0)


def test_by_value() -> None:
    parameters = _parameters()
    before = _gradients(parameters)
    ByValue(max_value=0.2).build().clip_(parameters, grad_norm(parameters), APPLIED)
    assert torch.equal(_gradients(parameters), before.clamp(-0.2, 0.2))


def test_agc_limits_each_unit() -> None:
    parameters = _parameters()
    with torch.no_grad():
        parameters[1][0] = 0.0  # a row of zeros is given the norm eps
        assert parameters[1].grad is not None
        parameters[1].grad[1] = 0.0  # a row without gradient stays
        parameters[1].grad[2] *= 1e-6  # a row within its limit stays
    expected = []
    for parameter in parameters[:3]:
        assert parameter.grad is not None
        num_units = len(parameter) if parameter.ndim > 1 else 1
        weight = parameter.detach().double().numpy().reshape(num_units, -1)
        gradient = parameter.grad.double().numpy().reshape(num_units, -1)
        for unit_weight, unit_gradient in zip(weight, gradient, strict=True):
            limit = 0.05 * max(float(np.linalg.norm(unit_weight)), 1e-3)
            norm = np.linalg.norm(unit_gradient)
            expected.append(unit_gradient * limit / norm if norm > limit else unit_gradient)
    Agc(max_ratio=0.05).build().clip_(parameters, grad_norm(parameters), APPLIED)
    np.testing.assert_allclose(_gradients(parameters).numpy(), np.concatenate(expected), rtol=1e-5)


def _clip_norm(clipper: Clipper, norm: float) -> float:
    parameters = _with_norm(norm)
    clipper.clip_(parameters, grad_norm(parameters), APPLIED)
    return grad_norm(parameters).item()


def test_adaptive_follows_the_papers_recursion() -> None:
    norms = [1.0, 1.2, 0.9, 1.1, 1.05, 8.0, 1.0, 3.0, 1.1, 0.2, 30.0]
    clipper = Adaptive(z=2.5, decay=0.9, warmup_steps=4).build()
    mean, variance = float(np.mean(norms[:4])), float(np.var(norms[:4]))
    for i, norm in enumerate(norms):
        expected = norm
        if i >= 4:
            z = (norm - mean) / math.sqrt(variance)
            if z > 2.5:
                expected = mean + 2.5**2 / z * math.sqrt(variance)
            mean = 0.9 * mean + 0.1 * expected
            variance = 0.9 * variance + 0.1 * (expected - mean) ** 2
        assert _clip_norm(clipper, norm) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("config", REMEMBERING)
def test_non_finite_norms_are_forgotten_and_a_training_resumes(config: Adaptive | AdaGc) -> None:
    plain, shaken = config.build(), config.build()
    for norm in (1.0, 1.1, 0.9, 1.0):
        _clip_norm(plain, norm)
        _clip_norm(shaken, norm)
        for bad in (math.nan, math.inf):
            shaken.clip_(_parameters(), torch.tensor(bad), APPLIED)
    assert shaken.state_dict() == plain.state_dict()
    resumed = config.build()
    resumed.load_state_dict(plain.state_dict())
    assert _clip_norm(resumed, 5.0) == _clip_norm(plain, 5.0) < 2.0


@pytest.mark.parametrize("config", REMEMBERING)
def test_refused_norms_are_forgotten(config: Adaptive | AdaGc) -> None:
    plain, shaken = config.build(), config.build()
    for norm in (1.0, 1.1, 0.9, 1.0, 1.2):
        _clip_norm(plain, norm)
        _clip_norm(shaken, norm)
        parameters = _with_norm(50.0)
        shaken.clip_(parameters, grad_norm(parameters), REFUSED)
    assert shaken.state_dict() == plain.state_dict()


def test_adagc_follows_the_papers_algorithm() -> None:
    """Each tensor by itself, in NumPy."""
    scales = [1.0, 3.0, 0.2, 0.5, 40.0, 0.1, 1.0]
    clipper = AdaGc(max_ratio=1.2, decay=0.9, max_norm=2.0, warmup_steps=3).build()
    means = [math.inf] * 3
    for step, scale in enumerate(scales):
        parameters = _parameters(scale, seed=step)
        if step == 1:
            assert parameters[2].grad is not None
            parameters[2].grad.zero_()
        norm = grad_norm(parameters).item()
        gradients = [p.grad.double().numpy().copy() for p in parameters if p.grad is not None]
        expected = []
        for tensor, gradient in enumerate(gradients):
            own = float(np.linalg.norm(gradient))
            factor = min(1.0, 2.0 / norm) if step < 3 else min(1.0, 1.2 * means[tensor] / own)
            clipped = own * factor
            if clipped > 0:
                means[tensor] = min(means[tensor], clipped) if step < 3 else 0.9 * means[tensor] + 0.1 * clipped
            expected.append((gradient * factor).ravel())
        clipper.clip_(parameters, grad_norm(parameters), APPLIED)
        np.testing.assert_allclose(_gradients(parameters).numpy(), np.concatenate(expected), rtol=2e-5)


def test_adagc_lets_a_tensor_move_that_begins_without_a_gradient() -> None:
    clipper = AdaGc(warmup_steps=2).build()
    for scale in (0.0, 0.0, 0.0, 0.01):
        parameters = _parameters(scale)
        before = _gradients(parameters)
        clipper.clip_(parameters, grad_norm(parameters), APPLIED)
        assert torch.equal(_gradients(parameters), before)
    parameters = _parameters(1.0)
    clipper.clip_(parameters, grad_norm(parameters), APPLIED)
    assert grad_norm(parameters).item() == pytest.approx(1.05 * grad_norm(_parameters(0.01)).item(), rel=1e-5)
