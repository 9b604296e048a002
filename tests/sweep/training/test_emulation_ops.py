"""The emulation's dtypes against those that torch's own dispatcher gives under CUDA autocast, operator by operator.

On a build without CUDA, too, fake tensors of the device "cuda" pass through the dispatcher up to the kernels: they have
shapes and dtypes, and no values. torch's database of its operators (OpInfo) gives the inputs.
"""

import logging
import re
import sys
import unittest
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from itertools import islice, product
from types import ModuleType
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import DataDependentOutputException, DynamicOutputShapeException, FakeTensorMode
from torch.utils._pytree import tree_leaves, tree_map

from sweep.training import emulation
from sweep.training.emulation import NotEmulatedError, emulated_autocast

HALF, BF16 = torch.float16, torch.bfloat16

GPU_ONLY = {
    "_scaled_dot_product_flash_attention",
    "_thnn_fused_gru_cell",
    "_thnn_fused_lstm_cell",
    "cudnn_convolution",
    "cudnn_convolution_transpose",
}
"""Listed by CUDA autocast, and kernels of GPUs alone: nothing on a CPU calls them."""

NOT_COMPARED = {
    "fake tensors have no values, on which the result's shape or the way to it depends": (
        "allclose argwhere combinations corrcoef cov equal item linalg.lstsq linalg.lstsq.grad_oriented masked_select "
        "nn.functional.gaussian_nll_loss nonzero unique unique_consecutive"
    ),
    "its kernel for fake tensors indexes, or asks about the device, which needs a build with CUDA": (
        "__getitem__ _batch_norm_with_update _unsafe_masked_index _unsafe_masked_index_put_accumulate geqrf "
        "grid_sampler_2d histogram histogramdd nn.functional.ctc_loss nn.functional.grid_sample "
        "nn.functional.instance_norm nn.functional.unfold tensor_split to_sparse uniform"
    ),
    "fake tensors are not sparse": "sparse.mm.reduce sparse.sampled_addmm",
    "compiles for GPUs alone": (
        "jiterator_2inputs_2outputs jiterator_4inputs_with_extra_args jiterator_binary jiterator_binary_return_by_ref "
        "jiterator_unary"
    ),
    "has kernels of its own for fake tensors; the real one, in C++ and the same on both devices, calls listed ops": (
        "ldexp linalg.pinv linalg.pinv.hermitian linalg.pinv.singular matrix_exp mvlgamma.mvlgamma_p_1 "
        "mvlgamma.mvlgamma_p_3 mvlgamma.mvlgamma_p_5 pinverse torch.ops.aten._safe_softmax.default"
    ),
    "refused: torch has no half kernel on CPUs for a part of it": "pca_lowrank svd_lowrank",
    "the input is a view of memory that a copy of it has not": "as_strided.partial_views",
}

NAMED = set(" ".join(NOT_COMPARED.values()).split())

REFUSED = re.compile(
    "fft|linalg|special|cholesky|lu$|lu_solve|qr|ormqr|triangular_solve|polar|stft|"
    r"nn\.functional\.(binary_cross_entropy|rrelu)$"
)
"""What the emulation may refuse for half: Fourier, LAPACK, Bessel and their like; what CUDA autocast bans; and rrelu
in place."""

FAKE_ONLY = re.compile("not linked with support for cuda|not compiled with CUDA|Sparse CSR tensors|to be on cpu, but")
"""What fake tensors alone complain of, beside that they have no values."""


def test_the_lists_are_those_of_the_installed_torch() -> None:
    """Fails for a torch that lists an op more; one that lists fewer is followed."""
    listed = emulation._listed("AutocastCUDA")
    assert listed - GPU_ONLY <= set(emulation._TREATMENTS)
    if torch.__version__.startswith("2.13."):
        assert set(emulation._TREATMENTS) - set(emulation._HALF_BY_CUDNN) == listed - GPU_ONLY


@pytest.fixture(scope="module")
def op_db() -> Sequence[Any]:
    """torch's operators with inputs for each. Its tests need one more package, for a base class alone."""
    stand_in = ModuleType("expecttest")
    stand_in.TestCase = unittest.TestCase  # type: ignore[attr-defined]
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "expecttest", sys.modules.get("expecttest", stand_in))
        # Else the import forbids the rest of the process to set torch's switches.
        patch.setattr(torch.backends, "disable_global_flags", lambda: None)
        if sys.version_info < (3, 12):
            # It imports setuptools, which insists on its own distutils where another test's library has Python's.
            patch.setenv("SETUPTOOLS_USE_DISTUTILS", "stdlib")
        module = pytest.importorskip(
            "torch.testing._internal.common_methods_invocations", reason="this torch came without its tests' inputs"
        )
    operators: Sequence[Any] = module.op_db
    return operators


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("dtype", [HALF, BF16])
def test_dtypes_are_those_of_cuda_autocast(
    op_db: Sequence[Any], dtype: torch.dtype, caplog: pytest.LogCaptureFixture
) -> None:
    """Of all operators that take float32, as functions, methods and in place: 677 in torch 2.13, less 49 named above.

    Each runs on its first inputs in OpInfo: all in fp32, all in half, and the first in half and the others in fp32;
    emulated on the CPU, and with fake tensors of the device "cuda" under autocast. Compared are the dtypes of all
    results, and whether it raises. Beside equal outcomes two others pass: a refusal by one sentence of ours, and a
    difference that is there without autocast just so, which is one between two devices. What was emulated has to give
    gradients, too: CPUs lack kernels for half there as well.
    """
    caplog.set_level(logging.CRITICAL, logger="torch._subclasses.fake_tensor")
    compared, refused, lacks_kernel = Counter[str](), set(), set()
    different: defaultdict[str, set[str]] = defaultdict(set)
    for op in op_db:
        name = ".".join(filter(None, [op.name, op.variant_test_name]))
        if torch.float32 not in op.dtypes or name in NAMED:
            continue
        compared[name] = 0
        for call in _calls(op, dtype):
            on_gpu = _dtypes(call, _cuda_autocast(dtype), fake=True)
            if isinstance(on_gpu, Exception) and _is_of_fake_tensors(on_gpu):
                continue
            here = _dtypes(call, emulated_autocast(dtype))
            if isinstance(here, NotEmulatedError):
                compared[name] += isinstance(on_gpu, Exception)
                refused.add(name)
                continue
            compared[name] += 1
            if not _are_equal(here, on_gpu) and not (
                _are_equal(here, _dtypes(call, nullcontext()))
                and _are_equal(on_gpu, _dtypes(call, nullcontext(), fake=True))
            ):
                different[name].add(f"{call.kind}: {here!r} here, {on_gpu!r} on a GPU")
            if op.supports_autograd and _lacks_kernel_backward(call, emulated_autocast(dtype)):
                lacks_kernel.add(name)
    assert not different
    assert not lacks_kernel - refused
    assert not [name for name in refused if not REFUSED.match(name)]
    assert not [name for name, count in compared.items() if count == 0]
    assert len(compared) > 500


class _Call(NamedTuple):
    """An operator with inputs."""

    kind: str
    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]


def _calls(op: Any, dtype: torch.dtype) -> Iterator[_Call]:
    samples = list(islice(op.sample_inputs("cpu", torch.float32, requires_grad=op.supports_autograd), 3))
    for function, sample in product(filter(None, [op.op, op.method_variant, op.inplace_variant]), samples):
        full = (sample.input, *sample.args), dict(sample.kwargs)
        half_args, half_kwargs = tree_map(lambda value: _as_half(value, dtype), full)
        yield _Call("fp32", function, *full)
        yield _Call("half", function, half_args, half_kwargs)
        yield _Call("mixed", function, (half_args[0], *full[0][1:]), full[1])


def _as_half(value: Any, dtype: torch.dtype) -> Any:
    return value.to(dtype) if isinstance(value, Tensor) and value.dtype is torch.float32 else value


_Outcome = tuple[torch.dtype, ...] | Exception


def _dtypes(call: _Call, context: AbstractContextManager[object], fake: bool = False) -> _Outcome:
    """Those of the results; or what is raised."""
    try:
        with FakeTensorMode() if fake else nullcontext():
            args, kwargs = tree_map(_on_fake_gpu if fake else _copy, (call.args, call.kwargs))
            if fake and "device" in kwargs:
                kwargs["device"] = "cuda"
            with context:
                results = call.function(*args, **kwargs)
    except Exception as error:
        return error
    return tuple(result.dtype for result in tree_leaves(results) if isinstance(result, Tensor))


def _on_fake_gpu(value: Any) -> Any:
    if not isinstance(value, Tensor):
        return value
    return torch.empty_strided(value.shape, value.stride(), dtype=value.dtype, device="cuda")


def _copy(value: Any) -> Any:
    return value.clone() if isinstance(value, Tensor) else value


def _is_of_fake_tensors(error: Exception) -> bool:
    of_values = isinstance(error, DataDependentOutputException | DynamicOutputShapeException)
    return of_values or FAKE_ONLY.search(str(error)) is not None


def _are_equal(one: _Outcome, other: _Outcome) -> bool:
    if isinstance(one, Exception) or isinstance(other, Exception):
        return isinstance(one, Exception) and isinstance(other, Exception)
    return one == other


def _lacks_kernel_backward(call: _Call, context: AbstractContextManager[object]) -> bool:
    args, kwargs = tree_map(_copy, (call.args, call.kwargs))
    try:
        with context:
            results = call.function(*args, **kwargs)
        outputs = [
            y for y in tree_leaves(results) if isinstance(y, Tensor) and y.requires_grad and y.is_floating_point()
        ]
        inputs = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor) and x.requires_grad]
        if outputs and inputs:
            torch.autograd.grad([y.float().sum() for y in outputs], inputs, allow_unused=True)
    except RuntimeError as error:
        return emulation._NO_HALF_KERNEL_ERROR.search(str(error)) is not None
    return False


@contextmanager
def _cuda_autocast(dtype: torch.dtype) -> Iterator[None]:
    """`torch.autocast("cuda", dtype)` without its question whether there is a GPU."""
    enabled, before = torch.is_autocast_enabled("cuda"), torch.get_autocast_dtype("cuda")
    torch.set_autocast_enabled("cuda", True)
    torch.set_autocast_dtype("cuda", dtype)
    torch.autocast_increment_nesting()
    try:
        yield
    finally:
        torch.autocast_decrement_nesting()
        torch.clear_autocast_cache()
        torch.set_autocast_enabled("cuda", enabled)
        torch.set_autocast_dtype("cuda", before)
