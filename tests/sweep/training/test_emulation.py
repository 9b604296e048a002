"""The emulation against real half arithmetic of the CPU, and against the rules of CUDA autocast."""

from collections.abc import Callable
from threading import Thread

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from slr_models.models.blocks import SelfAttention
from slr_models.models.norm import Frames
from sweep.training.emulation import NotEmulatedError, emulated_autocast

torch.set_num_threads(1)  # the tensors are tiny: threads only cost

HALF, BF16 = torch.float16, torch.bfloat16


def _leaf(*shape: int, seed: int, scale: float = 1.0) -> Tensor:
    return (torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * scale).requires_grad_()


def _conv(x: Tensor, w: Tensor, b: Tensor) -> Tensor:
    return F.conv1d(x, w, b, padding=1)


PRODUCTS: dict[str, tuple[Callable[..., Tensor], tuple[tuple[int, ...], ...]]] = {
    "matmul": (torch.matmul, ((3, 7, 16), (3, 16, 5))),
    "operator": (lambda a, b: a @ b, ((7, 16), (16, 5))),
    "method": (lambda a, b: a.bmm(b), ((3, 7, 16), (3, 16, 5))),
    "einsum": (lambda a, b: torch.einsum("btc,bdc->btd", a, b), ((3, 7, 16), (3, 5, 16))),
    "linear": (F.linear, ((4, 7, 16), (5, 16), (5,))),
    "baddbmm": (torch.baddbmm, ((3, 7, 5), (3, 7, 16), (3, 16, 5))),
    "conv1d": (_conv, ((2, 16, 9), (8, 16, 3), (8,))),
    "attention": (F.scaled_dot_product_attention, ((2, 2, 6, 8), (2, 2, 6, 8), (2, 2, 6, 8))),
}


@pytest.mark.parametrize("dtype", [HALF, BF16])
@pytest.mark.parametrize("name", PRODUCTS)
def test_products_and_their_gradients_agree_with_native_half(name: str, dtype: torch.dtype) -> None:
    function, shapes = PRODUCTS[name]
    inputs = [_leaf(*shape, seed=i) for i, shape in enumerate(shapes)]
    with emulated_autocast(dtype):
        emulated = function(*inputs)
    native = function(*[tensor.to(dtype) for tensor in inputs])
    assert emulated.dtype is dtype
    tolerance = 4 * torch.finfo(dtype).eps
    torch.testing.assert_close(emulated, native, rtol=tolerance, atol=tolerance)

    weights = _leaf(*emulated.shape, seed=9).detach().to(dtype)
    got = torch.autograd.grad((emulated * weights).float().sum(), inputs)
    wanted = torch.autograd.grad((native * weights).float().sum(), inputs)
    for g, w in zip(got, wanted, strict=True):
        assert g.dtype is torch.float32
        # Each value is one that half precision holds: the gradient was rounded on its way back.
        torch.testing.assert_close(g, g.to(dtype).float(), rtol=0, atol=0)
        torch.testing.assert_close(g, w, rtol=2 * tolerance, atol=4 * tolerance)


def test_products_accumulate_in_fp32() -> None:
    # 4096 + 1 is no fp16 number: a half accumulator would stick at 4096 and lose the last 512 ones.
    ones = torch.ones(1, 4608)
    with emulated_autocast(HALF):
        assert (ones @ ones.T).item() == 4608.0


def test_a_product_above_65504_overflows() -> None:
    x = torch.full((1, 4), 200.0)
    with emulated_autocast(HALF):
        assert torch.isinf(x @ x.T).all()
        assert torch.isfinite((x / 4) @ x.T).all()
    with emulated_autocast(BF16):
        assert torch.isfinite(x @ x.T).all()


def test_elementwise_ops_between_products_overflow_too() -> None:
    x = torch.full((1, 1), 200.0)
    with emulated_autocast(HALF):
        y = x @ x.T
        assert y.item() == 40000.0
        assert torch.isinf(y + y).all()
        assert torch.isfinite(y + torch.tensor([[40000.0]])).all()  # fp32 wins, as on a GPU


@pytest.mark.parametrize(
    ("upstream", "expected"),
    [(7e4, float("inf")), (6e4, 6e4), (2.0**-24, 2.0**-24), (2.0**-26, 0.0)],
)
def test_gradients_overflow_and_flush(upstream: float, expected: float) -> None:
    weight = torch.ones(1, 1, requires_grad=True)
    with emulated_autocast(HALF):
        y = F.linear(torch.ones(1, 1), weight).float()
    y.backward(torch.full_like(y, upstream))
    assert weight.grad is not None
    # fp16 steps are 32 wide at 6e4.
    torch.testing.assert_close(weight.grad.item(), expected, rtol=1e-3, atol=0.0)


def _product(dtype: torch.dtype = HALF) -> Tensor:
    """A tensor as products leave them, with values near 1."""
    return torch.rand(2, 8, 8, generator=torch.Generator().manual_seed(0)).add(0.5).to(dtype)


FULL: dict[str, Callable[[Tensor], Tensor]] = {
    "functional softmax": lambda x: F.softmax(x, -1),
    "softmax": lambda x: x.softmax(-1),
    "log_softmax": lambda x: torch.log_softmax(x, -1),
    "functional log_softmax": lambda x: F.log_softmax(x, dim=-1),
    "layer_norm": nn.LayerNorm(8),
    "group_norm": nn.GroupNorm(2, 8),
    "sum": lambda x: x.sum(-1),
    "cumsum": lambda x: torch.cumsum(x, -1),
    "exp": torch.exp,
    "log": lambda x: x.log(),
    "power": lambda x: x**2,
    "scalar power": lambda x: 2.0**x,
    "reciprocal": lambda x: 1.0 / x,
    "norm": lambda x: x.norm(dim=-1),
    "vector_norm": lambda x: torch.linalg.vector_norm(x, dim=-1),
    "normalize": lambda x: F.normalize(x, dim=-1),
    "softplus": F.softplus,
    "logsumexp": lambda x: x.logsumexp(-1),
    "interpolate": lambda x: F.interpolate(x, 5),
    "mse_loss": lambda x: F.mse_loss(x, torch.zeros_like(x)),
}


@pytest.mark.parametrize("name", FULL)
def test_the_full_list_runs_in_fp32(name: str) -> None:
    x = _product()
    with emulated_autocast(HALF):
        y = FULL[name](x)
    assert y.dtype is torch.float32
    torch.testing.assert_close(y, FULL[name](x.float()), rtol=0, atol=0)


HALF_KEPT: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": F.relu,
    "silu": F.silu,
    "sigmoid": torch.sigmoid,
    "dropout": lambda x: F.dropout(x, 0.5),
    "max_pool1d": lambda x: F.max_pool1d(x, 3, 2, 1),
    "avg_pool1d": lambda x: F.avg_pool1d(x, 2),
    "mean": lambda x: x.mean(-1),
    "batch_norm": nn.BatchNorm1d(8),
    "cat": lambda x: torch.cat([x, x]),
    "multiply": lambda x: x * 0.5,
    "sum with a dtype": lambda x: x.sum(dtype=HALF),
    "softmax with a dtype": lambda x: torch.softmax(x, -1, HALF),
}


@pytest.mark.parametrize("name", HALF_KEPT)
def test_other_ops_keep_half(name: str) -> None:
    with emulated_autocast(HALF):
        assert HALF_KEPT[name](_product()).dtype is HALF


def test_promotion_of_mixed_inputs() -> None:
    x = _product()
    with emulated_autocast(HALF):
        assert torch.dot(x[0, 0], x[0, 0]).dtype is HALF
        assert torch.dot(x[0, 0], x[0, 0].float()).dtype is torch.float32


def test_float64_and_out_are_left_alone() -> None:
    x = torch.ones(2, 2, dtype=torch.float64)
    out = torch.empty(2, 2)
    with emulated_autocast(HALF):
        assert (x @ x).dtype is torch.float64
        assert torch.matmul(x.float(), x.float(), out=out).dtype is torch.float32


@pytest.mark.parametrize("need_weights", [False, True])
def test_multihead_attention_is_seen_through(need_weights: bool) -> None:
    torch.manual_seed(0)
    attention = nn.MultiheadAttention(8, 2, batch_first=True)
    x = torch.randn(2, 5, 8)
    with emulated_autocast(HALF):
        y, _ = attention(x, x, x, need_weights=need_weights)
    assert y.dtype is HALF
    torch.testing.assert_close(y.float(), attention(x, x, x)[0], rtol=1e-2, atol=2e-3)


def test_exposed_attention_scores_overflow_and_fused_ones_do_not() -> None:
    attention = nn.MultiheadAttention(8, 1, batch_first=True, bias=False)
    with torch.no_grad():
        attention.in_proj_weight.copy_(torch.eye(8).repeat(3, 1) * 300)
        attention.out_proj.weight.copy_(torch.eye(8) * 1e-3)
    x = torch.eye(8)[None] * 3  # q . k = 810000 / sqrt(8)
    with emulated_autocast(HALF):
        exposed, _ = attention(x, x, x, need_weights=True)
        fused, _ = attention(x, x, x, need_weights=False)
    assert not torch.isfinite(exposed).all()
    assert torch.isfinite(fused).all()


@pytest.mark.parametrize("lengths", [(9, 9), (9, 4)])
@pytest.mark.parametrize("head", [8, 32])
def test_written_out_scores_of_the_teacher_overflow_and_its_other_attention_does_not(
    lengths: tuple[int, int], head: int
) -> None:
    fused, written_out = SelfAttention(2 * head, 2), SelfAttention(2 * head, 2, "written_out")
    written_out.load_state_dict(fused.state_dict())
    x_BTD = torch.randn(2, 9, 2 * head, generator=torch.Generator().manual_seed(0))
    frames = Frames.of(torch.tensor(lengths), 9, torch.float32)

    def outputs() -> tuple[Tensor, Tensor]:
        both = fused(x_BTD, frames), written_out(x_BTD, frames)
        return tuple(y_BTD[torch.arange(9) < frames.lengths_B[:, None]].float() for y_BTD in both)

    torch.testing.assert_close(*outputs(), rtol=1e-5, atol=1e-5)
    with emulated_autocast(HALF):
        torch.testing.assert_close(*outputs(), rtol=1e-2, atol=2e-3)
    with torch.no_grad():
        for attention in (fused, written_out):
            # Queries and keys of some hundreds, which fp16 holds; their products it does not.
            attention.query_key_value.weight[: 4 * head] *= 1000
    torch.testing.assert_close(*outputs(), rtol=1e-4, atol=1e-4)
    with emulated_autocast(HALF):
        assert torch.isfinite(outputs()[0]).all() and not torch.isfinite(outputs()[1]).all()
    with emulated_autocast(BF16):
        assert torch.isfinite(outputs()[1]).all()


@pytest.mark.parametrize("layer", [nn.LSTM, nn.GRU])
def test_recurrent_layers_take_half_inputs(layer: type[nn.LSTM] | type[nn.GRU]) -> None:
    torch.manual_seed(0)
    recurrent = layer(8, 4, bidirectional=True, batch_first=True)
    x = torch.randn(2, 5, 8)
    with emulated_autocast(HALF):
        y, _ = recurrent(x.half())
    assert y.dtype is HALF
    torch.testing.assert_close(y.float(), recurrent(x)[0], rtol=1e-2, atol=2e-3)
    y.float().sum().backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in recurrent.parameters())


def test_a_weight_used_twice_is_cast_once_and_gets_both_gradients() -> None:
    weight = torch.ones(1, 1, requires_grad=True)
    with emulated_autocast(HALF):
        with torch.no_grad():
            F.linear(torch.ones(1, 1), weight)
        y = F.linear(torch.full((1, 1), 4e4), weight)
        z = F.linear(torch.full((1, 1), 4e4), weight)
    (y.float() + z.float()).sum().backward()
    assert weight.grad is not None
    assert torch.isinf(weight.grad).all()  # 4e4 + 4e4 met in half


def test_the_emulation_ends_with_its_context() -> None:
    with pytest.raises(ZeroDivisionError), emulated_autocast(HALF):
        assert torch.is_autocast_enabled("cuda") and torch.is_autocast_enabled("cpu")
        raise ZeroDivisionError
    assert not torch.is_autocast_enabled("cuda") and not torch.is_autocast_enabled("cpu")
    assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype is torch.float32


def test_autocast_of_the_cpu_is_torchs_own_elsewhere() -> None:
    x = _product()
    with emulated_autocast(HALF):
        assert x.softmax(-1).dtype is torch.float32
        other = Thread(target=lambda: found.append((x.float() @ x.float()).dtype))
        found: list[torch.dtype] = []
        other.start()
        other.join()
    assert found == [torch.float32]
    with torch.autocast("cpu", BF16):
        assert x.bfloat16().softmax(-1).dtype is BF16


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_autocast_for_cuda_is_torchs_own_elsewhere() -> None:
    with emulated_autocast(HALF):
        pass
    with pytest.warns(UserWarning, match="(?i)cuda.* is not available"):
        torch.autocast("cuda")


@pytest.mark.parametrize("device", ["cuda", "cpu"])
def test_a_part_can_be_kept_in_fp32(device: str) -> None:
    x = torch.ones(2, 2)
    with emulated_autocast(HALF):
        with torch.autocast(device, enabled=False):
            assert (x @ x).dtype is torch.float32
            assert x.half().square().dtype is HALF
            with torch.autocast("cpu", enabled=True):
                assert (x @ x).dtype is (HALF if device == "cpu" else torch.float32)
        assert (x @ x).dtype is HALF


def test_a_part_can_have_another_half() -> None:
    x = torch.ones(2, 2, requires_grad=True)
    with emulated_autocast(HALF):
        assert (x @ x).dtype is HALF
        with torch.autocast(x.device.type, dtype=BF16):
            assert (x @ x).dtype is BF16
        assert (x @ x).dtype is HALF


@pytest.mark.parametrize("dtype", [None, HALF, BF16])
def test_autocast_for_cuda_by_the_model_is_refused(dtype: torch.dtype | None) -> None:
    with emulated_autocast(HALF), pytest.raises(NotEmulatedError, match=r"torch\.autocast\(x\.device\.type"):
        torch.autocast("cuda", dtype=dtype)


def test_what_an_operation_is_made_of_is_treated() -> None:
    """As CUDA autocast does, which meets the power inside of a square, and the sum inside of a reduction of a shape."""
    x = torch.full((2, 4), 300.0, dtype=HALF)
    with emulated_autocast(HALF):
        assert (x * torch.rsqrt(x.square().mean(-1, keepdim=True))).isfinite().all()
        assert torch.isfinite(F.pairwise_distance(x, -x)).all()
        assert (x * 100).sum_to_size(1, 4).isfinite().all()
        assert torch.linalg.matrix_power(torch.eye(4), 3).dtype is HALF
        assert torch.linalg.cross(x[:, :3], x[:, :3]).dtype is HALF
        assert F.interpolate(x[None], 2, mode="area").dtype is HALF


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_compiled_and_mapped_modules_are_emulated() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4), nn.Linear(4, 4))
    x = torch.randn(3, 4)
    with emulated_autocast(HALF):
        y = model(x)
        compiled = torch.compile(model, backend="aot_eager")(x)
        mapped = torch.func.vmap(lambda row: row @ model[0].weight)(x)
    assert compiled.dtype is mapped.dtype is HALF
    torch.testing.assert_close(compiled, y, rtol=0, atol=0)


def test_what_has_no_half_kernel_on_cpus_is_rounded_from_fp32() -> None:
    x = torch.rand(1, 1, 4, 4, 4, generator=torch.Generator().manual_seed(0)).half().requires_grad_()
    with emulated_autocast(HALF):
        y = F.avg_pool3d(x, 2)
        z = F.rrelu(x, training=True)
    assert y.dtype is z.dtype is HALF
    torch.testing.assert_close(y, F.avg_pool3d(x.float(), 2).half(), rtol=0, atol=0)
    (y.sum() + z.sum()).backward()
    assert x.grad is not None and x.grad.dtype is HALF


def test_what_cannot_be_computed_in_half_is_refused_in_one_sentence() -> None:
    with (
        pytest.raises(NotEmulatedError, match=r"`bf16` .* at .*test_emulation.py:\d+\); give it `x\.float\(\)`"),
        emulated_autocast(BF16),
    ):
        torch.fft.rfft(_product(BF16))
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"), emulated_autocast(HALF):
        torch.ones(2, 3) @ torch.ones(2, 3)


def test_a_loss_that_cuda_autocast_bans_is_refused() -> None:
    p = torch.full((2,), 0.5)
    with emulated_autocast(HALF):
        with pytest.raises(NotEmulatedError, match="binary_cross_entropy_with_logits"):
            F.binary_cross_entropy(p, p)
        with torch.autocast(p.device.type, enabled=False):
            assert F.binary_cross_entropy(p, p).dtype is torch.float32


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("dtype", [HALF, BF16])
def test_agrees_with_cuda_autocast(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv1d(12, 32, 3, padding=1),
        nn.GroupNorm(4, 32),
        nn.ReLU(),
        nn.Conv1d(32, 32, 3, padding=1),
        nn.Flatten(),
        nn.Linear(32 * 20, 16),
    )
    x = torch.randn(4, 12, 20)
    outputs, gradients = [], []
    for device in ("cpu", "cuda"):
        model.to(device).zero_grad(set_to_none=True)
        context = emulated_autocast(dtype) if device == "cpu" else torch.autocast("cuda", dtype)
        with context:
            y = model(x.to(device))
            loss = F.log_softmax(y, -1)[:, 3].mean()
        loss.backward()
        outputs.append(y.detach().cpu())
        gradients.append([p.grad.cpu() for p in model.parameters() if p.grad is not None])
    assert outputs[0].dtype is outputs[1].dtype is dtype
    eps = torch.finfo(dtype).eps
    torch.testing.assert_close(outputs[0], outputs[1], rtol=8 * eps, atol=8 * eps)
    for emulated, real in zip(*gradients, strict=True):
        assert (emulated - real).norm() <= 16 * eps * real.norm()
