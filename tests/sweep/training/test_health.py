"""The health probe: it measures what independent formulas say, and a watched step is like any other."""

import copy
import math
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from slr_models.ctc import ctc_losses
from slr_models.data.batch import FeatureGroup
from slr_models.models import TeacherConfig
from sweep.records import HealthMetric, HealthSample
from sweep.training.amp import Precision
from sweep.training.health import HealthProbe
from sweep.training.peak_memory import peak_memory_mib, reset_peak_memory
from sweep.training.precision import Bf16, Fp16, Fp16Unscaled, Fp32

torch.set_num_threads(1)
CPU = torch.device("cpu")
FEATURES_BTF = torch.randn(4, 24, 12, generator=torch.Generator().manual_seed(0))
LENGTHS_B = torch.tensor([24, 20, 17, 24])
TARGETS_BU = torch.tensor([[1, 2], [3, 1], [2, 2], [1, 3]])
TARGET_LENGTHS_B = torch.full((4,), 2)
PRECISIONS = [Fp32(), Bf16(), Fp16(initial_scale=2.0**10), Fp16Unscaled()]


class Loop:
    """A training of a tiny teacher, with everything that a pass can change: buffers, random state, a loss scale."""

    def __init__(self, precision: Fp32 | Bf16 | Fp16 | Fp16Unscaled, optimizer: str = "adamw", **model: object) -> None:
        config = TeacherConfig.model_validate(
            {"width": 0.0625, "num_modules": 1, "num_encoder_layers": 1, "norm": "batch", "dropout": 0.2, **model}
        )
        self.model = config.build(12, (FeatureGroup("all", 0, 12),), 5, seed=0)
        kinds = {"adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}
        self.optimizer: torch.optim.Optimizer = kinds[optimizer](self.model.parameters(), lr=1e-3, fused=True)
        self.precision: Precision = precision.build(CPU)
        self.probe = HealthProbe(self.model, self.optimizer)
        torch.manual_seed(1)

    def losses(self) -> Iterator[Tensor]:
        """Two micro-batches."""
        for rows in (slice(0, 2), slice(2, 4)):
            logits_BSV = self.model(FEATURES_BTF[rows], LENGTHS_B[rows])
            lengths_B = self.model.output_lengths(LENGTHS_B[rows])
            yield ctc_losses(logits_BSV, lengths_B, TARGETS_BU[rows], TARGET_LENGTHS_B[rows]).mean() / 2

    def backward(self) -> None:
        self.optimizer.zero_grad(set_to_none=True)
        with self.precision.forward_context():
            losses = list(self.losses())
        for loss in losses:
            self.precision.scale_loss(loss).backward()
        self.precision.unscale_(self.optimizer)

    def step(self) -> None:
        self.backward()
        self.precision.step(self.optimizer)

    def watched_step(self, step: int = 1) -> HealthSample:
        with self.probe.watch():
            self.backward()
            self.probe.compare_gradients(self.losses)
            self.precision.step(self.optimizer)
        return self.probe.sample(step).read()

    def state(self) -> list[Tensor]:
        moments = [state["exp_avg_sq"] for state in self.optimizer.state.values()]
        gradients = [p.grad for p in self.model.parameters() if p.grad is not None]
        return [*self.model.state_dict().values(), *moments, *gradients, torch.get_rng_state()]


def values(sample: HealthSample, metric: HealthMetric) -> dict[str, float]:
    found = [r for r in sample.records if r.metric is metric]
    assert len({r.path for r in found}) == len(found), "one value a path"
    return {r.path: r.value for r in found}


@pytest.mark.parametrize("precision", PRECISIONS, ids=lambda p: p.kind)
def test_a_watched_step_is_bit_identical(precision: Fp32 | Bf16 | Fp16 | Fp16Unscaled) -> None:
    plain = Loop(precision)
    for _ in range(4):
        plain.step()
    expected = plain.state()
    watched = Loop(precision)
    watched.step()
    watched.watched_step()
    watched.watched_step()
    watched.step()
    actual = watched.state()
    assert len(actual) == len(expected) > 100
    assert all(torch.equal(a, b) for a, b in zip(actual, expected, strict=True))
    assert watched.precision.state_dict() == plain.precision.state_dict()


def test_outputs_and_headroom_follow_the_format_of_each_module() -> None:
    loop = Loop(Fp16(initial_scale=1.0), dropout=0.0)
    largest: dict[str, float] = {}

    def keep(name: str, dtype: torch.dtype):
        def hook(module: nn.Module, args: object, output: Tensor) -> None:
            assert output.dtype is dtype
            largest[name] = max(largest.get(name, 0.0), output.abs().max().item())

        return hook

    # Autocast runs linear layers in half and norms in full precision.
    loop.model.classifier.register_forward_hook(keep("classifier", torch.float16))
    loop.model.final_norm.register_forward_hook(keep("final_norm", torch.float32))
    with loop.probe.watch():
        loop.step()
    sample = loop.probe.sample(7).read()
    assert sample.step == 7 and all(r.step == 7 for r in sample.records)
    outputs, bits = values(sample, HealthMetric.OUTPUT_ABSMAX), values(sample, HealthMetric.HEADROOM_BITS)
    assert outputs.keys() == bits.keys()
    assert {"encoder.0.attention", "stem_convs.0", "inceptions.0.norm"} < outputs.keys()
    # The largest over both micro-batches.
    assert {name: outputs[name] for name in largest} == largest
    assert bits["classifier"] == pytest.approx(math.log2(65504 / largest["classifier"]))
    assert bits["final_norm"] == pytest.approx(128 - math.log2(largest["final_norm"]))


def test_an_overflow_shows_as_no_headroom() -> None:
    loop = Loop(Fp16Unscaled())
    with torch.no_grad():
        loop.model.classifier.bias.fill_(1e5)
    sample = loop.watched_step()
    assert values(sample, HealthMetric.HEADROOM_BITS)["classifier"] == -math.inf
    assert values(sample, HealthMetric.OUTPUT_ABSMAX)["classifier"] == math.inf


def test_attention_logits_of_the_teacher() -> None:
    loop = Loop(Bf16(), dropout=0.0)
    attention = loop.model.encoder[0].attention
    expected: list[float] = []
    handle = attention.register_forward_hook(
        lambda module, args, output: expected.append(module.largest_logit(*args).item())
    )
    list(loop.losses())
    handle.remove()
    assert len(expected) == 2
    found = values(loop.watched_step(), HealthMetric.ATTENTION_LOGIT_MAX)
    assert found.keys() == {"fusion", "encoder.0.attention"}
    assert found["encoder.0.attention"] == pytest.approx(max(expected), rel=0.02)


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("kdim", [None, 6])
def test_attention_logits_of_torch_s_layer(batch_first: bool, kdim: int | None) -> None:
    torch.manual_seed(0)
    model = nn.MultiheadAttention(8, 2, batch_first=batch_first, kdim=kdim, vdim=kdim)
    query, key = torch.randn(3, 5, 8), torch.randn(3, 4, kdim or 8)
    padding = torch.tensor([[False, False, False, True]] * 3)
    key[:, 3] = 1e4  # what is masked does not count
    shape = (lambda x: x) if batch_first else (lambda x: x.transpose(0, 1))
    probe = HealthProbe(model, torch.optim.SGD(model.parameters(), lr=0.1))
    with probe.watch():
        model(shape(query), shape(key), shape(key), key_padding_mask=padding)
    found = values(probe.sample(1).read(), HealthMetric.ATTENTION_LOGIT_MAX)
    with torch.no_grad():
        if kdim is None:
            weight_q, weight_k, _ = model.in_proj_weight.chunk(3)
        else:
            weight_q, weight_k = model.q_proj_weight, model.k_proj_weight
        q, k = query @ weight_q.T, key[:, :3] @ weight_k.T
        logits = [q[..., h : h + 4] @ k[..., h : h + 4].transpose(1, 2) / 2 for h in (0, 4)]
    assert found == {"": pytest.approx(torch.stack(logits).abs().max().item(), rel=1e-5)}


def test_flush_rates_compare_with_the_gradients_of_float32() -> None:
    loop = Loop(Fp16Unscaled())
    twin = copy.deepcopy(loop.model)
    sample = loop.watched_step()
    half = {name: p.grad.clone() for name, p in loop.model.named_parameters()}
    loop.model = twin
    torch.manual_seed(1)  # the same dropout
    for loss in loop.losses():
        loss.backward()
    expected = {}
    for name, parameter in twin.named_parameters():
        nonzero = parameter.grad != 0
        if nonzero.any():
            expected[name] = (half[name][nonzero] == 0).float().mean().item()
    found = values(sample, HealthMetric.FLUSH_RATE)
    assert found == pytest.approx(expected, abs=1e-6)
    assert max(found.values()) > 0


def test_no_scale_flushes_more_than_a_scale() -> None:
    def mean_rate(precision: Fp16 | Fp16Unscaled) -> float:
        loop = Loop(precision, init_scale=0.3, dropout=0.0)
        rates = values(loop.watched_step(), HealthMetric.FLUSH_RATE)
        return sum(rates.values()) / len(rates)

    assert mean_rate(Fp16Unscaled()) > 2 * mean_rate(Fp16(initial_scale=2.0**14))


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_update_ratios_and_adam_s_memory(optimizer: str) -> None:
    loop = Loop(Fp32(), optimizer)
    loop.step()
    before = {name: p.detach().clone() for name, p in loop.model.named_parameters()}
    sample = loop.watched_step()
    ratios = values(sample, HealthMetric.UPDATE_RATIO)
    expected = {
        name: ((p - before[name]).norm() / before[name].norm()).item()
        for name, p in loop.model.named_parameters()
        if before[name].any()
    }
    assert ratios == pytest.approx(expected, rel=1e-4) and len(ratios) > 30
    rms = values(sample, HealthMetric.ADAM_RMS)
    if optimizer == "sgd":
        assert rms == {}
        return
    assert rms.keys() >= expected.keys()
    for name, parameter in loop.model.named_parameters():
        v = (loop.optimizer.state[parameter]["exp_avg_sq"] / (1 - 0.999**2)).clamp_min(1e-16)
        assert rms[name] == pytest.approx((parameter.grad**2 / v).mean().sqrt().item(), rel=1e-3), name


def test_a_refused_step_says_nothing_of_updates() -> None:
    loop = Loop(Fp16(initial_scale=2.0**40))
    for _ in range(2):
        sample = loop.watched_step()
        assert loop.precision.state_dict()["scale"] < 2.0**40
        assert values(sample, HealthMetric.UPDATE_RATIO) == values(sample, HealthMetric.ADAM_RMS) == {}
        assert values(sample, HealthMetric.HEADROOM_BITS)


def test_nan_reaches_the_record() -> None:
    loop = Loop(Fp32())
    with torch.no_grad():
        loop.model.projection.weight[0, 0] = math.nan
    sample = loop.watched_step()
    outputs = values(sample, HealthMetric.OUTPUT_ABSMAX)
    assert math.isnan(outputs["projection"]) and math.isnan(outputs["classifier"])
    assert math.isfinite(outputs["stem_convs.0"])
    assert math.isnan(values(sample, HealthMetric.UPDATE_RATIO)["projection.weight"])


def test_nothing_stays_behind() -> None:
    def hooks(loop: Loop) -> int:
        of_modules = sum(len(module._forward_hooks) for module in loop.model.modules())
        return (
            of_modules + len(loop.optimizer._optimizer_step_pre_hooks) + len(loop.optimizer._optimizer_step_post_hooks)
        )

    loop = Loop(Fp32())
    first = loop.watched_step()
    assert hooks(loop) == 0
    with pytest.raises(ZeroDivisionError), loop.probe.watch():
        loop.backward()
        assert hooks(loop) > 20
        raise ZeroDivisionError
    assert hooks(loop) == 0
    # Nor does a broken step leave its values to the next.
    with loop.probe.watch():
        pass
    assert loop.probe.sample(3).read() == HealthSample(3, ())
    assert first.records


def test_a_sample_can_be_read_late() -> None:
    loop = Loop(Fp32())
    with loop.probe.watch():
        loop.step()
    pending = loop.probe.sample(2)
    loop.watched_step(3)
    assert pending.packed.ndim == 1 and pending.packed.dtype is torch.float32
    assert pending.unpack(pending.packed.tolist()) == pending.read()
    assert pending.read().step == 2


def test_a_comparison_without_memory_left_costs_the_flush_rates_and_nothing_else() -> None:
    def without_memory() -> Iterator[Tensor]:
        torch.rand(3)
        raise torch.OutOfMemoryError("CUDA out of memory")
        yield

    plain = Loop(Fp16Unscaled())
    plain.step()
    expected = plain.state()
    starved = Loop(Fp16Unscaled())
    with starved.probe.watch():
        starved.backward()
        starved.probe.compare_gradients(without_memory)
        starved.precision.step(starved.optimizer)
    sample = starved.probe.sample(1).read()
    assert not values(sample, HealthMetric.FLUSH_RATE) and values(sample, HealthMetric.HEADROOM_BITS)
    assert all(torch.equal(a, b) for a, b in zip(expected, starved.state(), strict=True))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_memory_of_a_comparison_is_not_the_training_s() -> None:
    cuda = torch.device("cuda")
    model = nn.Linear(8, 8).to(cuda)
    probe = HealthProbe(model, torch.optim.SGD(model.parameters(), lr=0.1))

    def greedy() -> list[Tensor]:
        torch.zeros(64 * 2**20, device=cuda)
        return [model(torch.ones(1, 8, device=cuda)).sum()]

    reset_peak_memory(cuda)
    with probe.watch():
        model(torch.ones(1, 8, device=cuda)).sum().backward()
        held = torch.zeros(8 * 2**20, device=cuda)
        del held
        probe.compare_gradients(greedy)
    assert 32 <= probe.peak_memory_mib < 200 and peak_memory_mib(cuda) < 200
