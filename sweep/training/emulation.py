"""CUDA autocast's arithmetic on a CPU: fp16 or bf16 values, fp32 accumulation, the same op lists.

CPU autocast is another arithmetic (softmax and log_softmax stay in half there) and a real fp16 convolution
is dozens of times slower on most CPUs. So the ops that CUDA autocast lists get kernels of ours, in torch's dispatcher
and at the place where autocast has its own. Ops made of others, in C++ as in Python, are thereby treated as their
parts are, as on a GPU.

| list    | examples                                  | what happens here                                   |
|---------|-------------------------------------------|-----------------------------------------------------|
| half    | conv1d, linear, matmul, attention, LSTM   | inputs rounded to half, fp32 arithmetic, half out   |
| full    | softmax, layer_norm, sum, exp, pow, norms | half inputs cast up, fp32 out                       |
| promote | addcmul, dot, index_put                   | half inputs cast up if another input is fp32        |
| banned  | binary_cross_entropy                      | refused                                             |
| none    | relu, add, dropout, pooling, batch_norm   | in the dtype of the inputs: half overflows at 65504 |

Between ops the tensors are real half tensors. The backward pass needs nothing: autograd differentiates the
casts, so that a gradient is rounded (and overflows, or is flushed to zero) wherever it crosses one, as on a
GPU. A weight is cast once a forward pass and its gradient returns through the same cast.

What differs from a GPU: the order of summation; a bias is added before the one rounding of a convolution
(cuDNN rounds twice); attention keeps its probabilities in fp32 (the fused kernels round them to half before
they meet the values); inside LSTM and GRU the state stays fp32 from frame to frame; split-K partial sums
are not rounded (`allow_fp16_reduced_precision_reduction`); in-place and `out=` variants are left alone, as
by CUDA autocast. Unlisted ops for which torch has no half kernel on CPUs run in fp32 and are rounded; those that
are not known here are refused.

Compiled modules are emulated, and so are scripted ones (but torch's own backward pass of a scripted softmax fails).
Unseen are: what activation checkpointing computes again, in the backward pass; a `torch.autocast("cuda")` made before
the emulation, as a decorator is, which torch turns into one that is off, and warns; and
`torch.amp.custom_fwd(device_type="cuda", cast_inputs=...)`, which torch lets cast tensors of a GPU alone.

Source of the lists: `ATen/autocast_mode.h` of PyTorch, whose names follow below in its order. An op that the
installed torch does not list for CUDA is not treated either.
"""

import functools
import os
import re
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload

from slr_models.errors import SettingError

_HALF = (
    "_convolution.deprecated _convolution conv1d conv2d conv3d conv_tbc conv_transpose1d conv_transpose2d.input "
    "conv_transpose3d.input convolution prelu addmm addmv addr matmul einsum mm mv linalg_vecdot linear addbmm "
    "baddbmm bmm chain_matmul linalg_multi_dot lstm_cell gru_cell rnn_tanh_cell rnn_relu_cell "
    "scaled_dot_product_attention"
).split()

_HALF_BY_CUDNN = (
    "lstm.input lstm.data gru.input gru.data rnn_tanh.input rnn_tanh.data rnn_relu.input rnn_relu.data"
).split()
"""CUDA autocast has a rule of its own for these, inside of them, where cuDNN runs them."""

_FULL = (
    "acos asin cosh erfinv exp expm1 log log10 log2 log1p reciprocal rsqrt sinh tan pow.Tensor_Scalar "
    "pow.Tensor_Tensor pow.Scalar softplus layer_norm native_layer_norm rms_norm group_norm frobenius_norm.dim "
    "nuclear_norm nuclear_norm.dim cosine_similarity poisson_nll_loss cosine_embedding_loss nll_loss nll_loss2d "
    "hinge_embedding_loss kl_div l1_loss smooth_l1_loss huber_loss mse_loss margin_ranking_loss "
    "multilabel_margin_loss soft_margin_loss triplet_margin_loss multi_margin_loss "
    "binary_cross_entropy_with_logits dist pdist cdist renorm logsumexp upsample_nearest1d "
    "_upsample_nearest_exact1d upsample_nearest2d _upsample_nearest_exact2d upsample_nearest3d "
    "_upsample_nearest_exact3d upsample_linear1d upsample_bilinear2d _upsample_bilinear2d_aa upsample_trilinear3d "
    "upsample_bicubic2d _upsample_bicubic2d_aa norm.Scalar norm.ScalarOpt_dim"
).split()

_FULL_UNLESS_DTYPE = (
    "prod prod.dim_int softmax.int log_softmax.int cumprod cumsum linalg_vector_norm linalg_matrix_norm "
    "linalg_matrix_norm.str_ord sum sum.dim_IntList"
).split()

_PROMOTE = "addcdiv addcmul atan2 bilinear cross dot vdot grid_sampler index_put tensordot scatter_add".split()

_BANNED = ["binary_cross_entropy"]

_NO_HALF_KERNEL = "avg_pool3d rrelu special_i1 special_i1e".split()
"""Unlisted ops that have kernels for half on GPUs alone, forward or backward."""

_NO_HALF_KERNEL_ERROR = re.compile(
    "(not implemented for|Unsupported dtype|support tensors of type:) '?(Half|BFloat16|ComplexHalf)"
)
"""How torch says that one is missing."""

_HALF_DTYPES = frozenset({torch.float16, torch.bfloat16})

_Kernel = Callable[..., Any]

# A dispatch key of a backend that does not exist any more: free for kernels of ours, and inert where a thread has
# not included it. Like every other autocast key it comes before AutocastCPU and autograd.
_KEY_NAME = "AutocastIPU"
_KEY = torch._C.DispatchKeySet(torch._C._dispatch_key_parse(_KEY_NAME))
_AUTOCAST = _KEY.add(torch._C.DispatchKey.AutocastCPU)


@contextmanager
def emulated_autocast(dtype: torch.dtype) -> Iterator[None]:
    """One forward pass (and its loss) on the CPU as under CUDA autocast; `dtype` is float16 or bfloat16.

    Autocast counts as enabled within, for the devices "cuda" and "cpu": layers ask for it (LSTM does), and a model may
    switch it off for a part of itself by `torch.autocast(x.device.type, enabled=False)` or by
    `torch.autocast("cuda", enabled=False)`. `torch.autocast(x.device.type, dtype=...)` switches it on again.

    Raises:
        NotEmulatedError: the model enables autocast for "cuda" itself, which torch refuses to do on a CPU; it calls
            what CUDA autocast bans; or torch has no half kernel on CPUs for an op that it calls.
    """
    _install()
    previous = [(device, torch.is_autocast_enabled(device), torch.get_autocast_dtype(device)) for device in _DEVICES]
    half_weights = getattr(_thread, "half_weights", None)
    for device in _DEVICES:
        torch.set_autocast_enabled(device, True)
        torch.set_autocast_dtype(device, dtype)
    _thread.half_weights = {}
    include, exclude = torch._C._dispatch_tls_local_include_set(), torch._C._dispatch_tls_local_exclude_set()
    try:
        with torch._C._ForceDispatchKeyGuard(include | _KEY, exclude - _KEY):
            yield
    except RuntimeError as error:
        if isinstance(error, NotEmulatedError) or _NO_HALF_KERNEL_ERROR.search(str(error)) is None:
            raise
        name = "fp16" if dtype is torch.float16 else "bf16"
        raise NotEmulatedError(
            f"precision `{name}` is emulated on the CPU, where torch cannot compute an operation of the model in half "
            f"({str(error).splitlines()[0]}{_place(error)}); give it `x.float()`, or run this precision on a GPU."
        ) from error
    finally:
        for device, was_enabled, previous_dtype in previous:
            torch.set_autocast_enabled(device, was_enabled)
            torch.set_autocast_dtype(device, previous_dtype)
        _thread.half_weights = half_weights


class NotEmulatedError(SettingError, RuntimeError):
    """A model cannot run in emulated half precision as it is. A RuntimeError, too, as what a GPU refuses."""


def _place(error: Exception) -> str:
    """Where the code outside of torch is that met an error."""
    frames = traceback.extract_tb(error.__traceback__)
    outside = [f for f in frames if not f.filename.startswith((_TORCH, __file__))]
    return f" at {outside[-1].filename}:{outside[-1].lineno}" if outside else ""


_TORCH = os.path.dirname(torch.__file__)
_DEVICES = ("cuda", "cpu")
_thread = threading.local()
"""`half_weights` is each weight that the emulation in this thread has cast, with its copy; None where none runs."""


def _dtype_in_force() -> torch.dtype | None:
    """None inside of a context of the model that switches autocast off."""
    if torch.is_autocast_enabled("cuda") and torch.is_autocast_enabled("cpu"):
        return torch.get_autocast_dtype("cpu")
    return None


# Each of the following makes the kernel of an op.


def _half(op: OpOverload) -> _Kernel:
    def kernel(*args: Any, **kwargs: Any) -> Any:
        dtype = _dtype_in_force()
        if dtype is None:
            with torch._C._ExcludeDispatchKeyGuard(_AUTOCAST):
                return op(*args, **kwargs)
        rounded = functools.partial(_rounded, dtype=dtype)
        args, kwargs = _each(args, rounded), _each(kwargs, rounded)
        with torch._C._ExcludeDispatchKeyGuard(_AUTOCAST):
            full = op(*args, **kwargs)
        return _each(full, functools.partial(_lowered, dtype=dtype))

    return kernel


def _full(op: OpOverload) -> _Kernel:
    def kernel(*args: Any, **kwargs: Any) -> Any:
        if _dtype_in_force() is not None:
            args, kwargs = _each(args, _raised), _each(kwargs, _raised)
        with torch._C._ExcludeDispatchKeyGuard(_AUTOCAST):
            return op(*args, **kwargs)

    return kernel


def _full_unless_dtype(op: OpOverload) -> _Kernel:
    def kernel(*args: Any, **kwargs: Any) -> Any:
        has_dtype = kwargs.get("dtype") is not None or any(isinstance(arg, torch.dtype) for arg in args)
        if _dtype_in_force() is not None and args[0].dtype in _HALF_DTYPES and not has_dtype:
            kwargs["dtype"] = torch.float32
        with torch._C._ExcludeDispatchKeyGuard(_AUTOCAST):
            return op(*args, **kwargs)

    return kernel


def _promoted(op: OpOverload) -> _Kernel:
    def kernel(*args: Any, **kwargs: Any) -> Any:
        if _dtype_in_force() is not None and torch.float32 in _dtypes([args, kwargs]):
            args, kwargs = _each(args, _raised), _each(kwargs, _raised)
        with torch._C._ExcludeDispatchKeyGuard(_AUTOCAST):
            return op(*args, **kwargs)

    return kernel


def _banned(op: OpOverload) -> _Kernel:
    def kernel(*args: Any, **kwargs: Any) -> Any:
        if _dtype_in_force() is None:
            with torch._C._ExcludeDispatchKeyGuard(_AUTOCAST):
                return op(*args, **kwargs)
        raise NotEmulatedError(
            f"torch.nn.functional.{op._opname} overflows in half precision, and CUDA autocast refuses it: call "
            f"{op._opname}_with_logits on what the sigmoid is given, or wrap the call in "
            "`torch.autocast(x.device.type, enabled=False)` and give it float32."
        )

    return kernel


def _below(op: OpOverload) -> _Kernel:
    """Without AutocastCPU's treatment of this op; what it is made of meets the emulation again."""

    def kernel(keys: torch._C.DispatchKeySet, *args: Any, **kwargs: Any) -> Any:
        return op.redispatch(keys - _AUTOCAST, *args, **kwargs)

    return kernel


def _without_half_kernel(op: OpOverload) -> _Kernel:
    def kernel(keys: torch._C.DispatchKeySet, *args: Any, **kwargs: Any) -> Any:
        dtypes = _dtypes([args, kwargs])
        result = op.redispatch(keys - _AUTOCAST, *_each(args, _raised), **_each(kwargs, _raised))
        if torch.float32 in dtypes or not (halves := dtypes & _HALF_DTYPES):
            return result
        return _each(result, functools.partial(_lowered, dtype=halves.pop()))

    return kernel


def _each(value: Any, cast: Callable[[Tensor], Tensor]) -> Any:
    """Arguments or results with their tensors cast, those in lists (einsum, LSTM) too."""
    if isinstance(value, Tensor):
        return cast(value)
    if isinstance(value, list | tuple):
        return type(value)([_each(item, cast) for item in value])
    if isinstance(value, dict):
        return {name: _each(item, cast) for name, item in value.items()}
    return value


def _dtypes(value: Any) -> set[torch.dtype]:
    """Of the tensors in arguments."""
    found: set[torch.dtype] = set()
    _each(value, lambda tensor: found.add(tensor.dtype) or tensor)  # type: ignore[func-returns-value]
    return found


# Each of the following casts a tensor. Float64, integers and all else stay as they are, as under CUDA autocast.


def _rounded(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """As fp32 tensor whose values half precision can hold."""
    if not tensor.is_floating_point() or tensor.dtype is torch.float64:
        return tensor
    return _half_copy(tensor, dtype).float()


def _half_copy(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """That of a weight is kept, so that its gradients meet in half as they do on a GPU."""
    weights: dict[tuple[int, torch.dtype], tuple[Tensor, Tensor]] | None = getattr(_thread, "half_weights", None)
    # A copy made without a graph must not serve a pass that needs gradients.
    if weights is None or not (tensor.requires_grad and tensor.is_leaf and torch.is_grad_enabled()):
        return tensor.to(dtype)
    # The dispatcher may hand over the same tensor as another Python object.
    key = tensor._cdata, dtype
    if key not in weights:
        weights[key] = tensor, tensor.to(dtype)
    return weights[key][1]


def _lowered(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """As half tensor."""
    return tensor.to(dtype) if tensor.dtype is torch.float32 else tensor


def _raised(tensor: Tensor) -> Tensor:
    """As fp32 tensor."""
    return tensor.float() if tensor.dtype in _HALF_DTYPES else tensor


_TREATMENTS = {
    **dict.fromkeys([*_HALF, *_HALF_BY_CUDNN], _half),
    **dict.fromkeys(_FULL, _full),
    **dict.fromkeys(_FULL_UNLESS_DTYPE, _full_unless_dtype),
    **dict.fromkeys(_PROMOTE, _promoted),
    **dict.fromkeys(_BANNED, _banned),
}
"""How the emulation treats each op that CUDA autocast lists, by the name that the dispatcher has for it."""

_lock = threading.Lock()
_libraries: list[torch.library.Library] = []
"""What is registered, as long as they live."""


def _install() -> None:
    """Registers the kernels, once in a process."""
    with _lock:
        if _libraries:
            return
        everywhere = torch.library.Library("_", "IMPL", _KEY_NAME)
        everywhere.fallback(torch.library.fallthrough_kernel)
        ours = torch.library.Library("aten", "IMPL", _KEY_NAME)
        on_gpu, on_cpu = _listed("AutocastCUDA") | set(_HALF_BY_CUDNN), _listed("AutocastCPU")
        for name in on_gpu & set(_TREATMENTS) - set(_NO_HALF_KERNEL):
            ours.impl(name, _TREATMENTS[name](_op(name)))
        for name in _NO_HALF_KERNEL:
            ours.impl(name, _without_half_kernel(_op(name)), with_keyset=True)
        for name in on_cpu - on_gpu - set(_NO_HALF_KERNEL):
            ours.impl(name, _below(_op(name)), with_keyset=True)
        _refuse_autocast_for_cuda()
        _libraries.extend([everywhere, ours])


def _listed(key: str) -> set[str]:
    """The ops that the installed torch treats under an autocast key."""
    return {name.removeprefix("aten::") for name in torch._C._dispatch_get_registrations_for_dispatch_key(key)}


def _op(name: str) -> OpOverload:
    packet, _, overload = name.partition(".")
    op: OpOverload = getattr(getattr(torch.ops.aten, packet), overload or "default")
    return op


def _refuse_autocast_for_cuda() -> None:
    """Lets `torch.autocast("cuda")` fail within an emulation, where torch would switch autocast off and warn."""
    is_not_available: Callable[[], bool] = torch.cuda.amp.common.amp_definitely_not_available

    def refuse_or_tell() -> bool:
        if getattr(_thread, "half_weights", None) is not None:
            raise NotEmulatedError(
                "the model enables torch.autocast for the device 'cuda', but this training runs on the CPU; "
                "write `torch.autocast(x.device.type, ...)` for a tensor x of the model: it is the same on a GPU, and "
                "the emulation follows it here."
            )
        return is_not_available()

    torch.cuda.amp.common.amp_definitely_not_available = refuse_or_tell
