"""CUDA autocast's arithmetic on a CPU: fp16 or bf16 values, fp32 accumulation, the same op lists.

CPU autocast is another arithmetic (softmax and log_softmax stay in half there) and a real fp16 convolution
is dozens of times slower on most CPUs. So a mode reads every torch call of the forward pass and treats it
by the list that CUDA autocast has it on:

| list    | examples                                  | what happens here                                   |
|---------|-------------------------------------------|-----------------------------------------------------|
| half    | conv1d, linear, matmul, attention, LSTM   | inputs rounded to half, fp32 arithmetic, half out   |
| full    | softmax, layer_norm, sum, exp, pow, norms | half inputs cast up, fp32 out                       |
| promote | addcmul, dot, index_put                   | half inputs cast up if another input is fp32        |
| none    | relu, add, dropout, pooling, batch_norm   | in the dtype of the inputs: half overflows at 65504 |

Between ops the tensors are real half tensors. The backward pass needs no mode: autograd differentiates the
casts, so that a gradient is rounded (and overflows, or is flushed to zero) wherever it crosses one, as on a
GPU. A weight is cast once a forward pass and its gradient returns through the same cast.

What differs from a GPU: the order of summation; a bias is added before the one rounding of a convolution
(cuDNN rounds twice); attention keeps its probabilities in fp32 (the fused kernels round them to half before
they meet the values); inside LSTM and GRU the state stays fp32 from frame to frame; split-K partial sums
are not rounded (`allow_fp16_reduced_precision_reduction`); in-place and `out=` variants are left alone, as
by CUDA autocast. Scripted or compiled modules hide their calls from the mode and stay fp32.

Source of the lists: `ATen/autocast_mode.h` of PyTorch, whose names follow below in its order.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import FunctionType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

_HALF = (
    "_convolution convolution conv1d conv2d conv3d conv_tbc conv_transpose1d conv_transpose2d "
    "conv_transpose3d prelu addmm addmv addr matmul __matmul__ __rmatmul__ einsum mm mv vecdot linear "
    "addbmm baddbmm bmm chain_matmul multi_dot lstm_cell gru_cell rnn_tanh_cell rnn_relu_cell "
    "scaled_dot_product_attention "
    # CUDA autocast has a rule of its own for these: cuDNN runs them in half.
    "lstm gru rnn_tanh rnn_relu"
).split()

_FULL = (
    "acos arccos asin arcsin cosh erfinv exp expm1 log log10 log2 log1p reciprocal rsqrt sinh tan pow "
    "__pow__ __rpow__ __rdiv__ __rtruediv__ softplus layer_norm native_layer_norm rms_norm group_norm "
    "nuclear_norm cosine_similarity poisson_nll_loss cosine_embedding_loss nll_loss cross_entropy "
    "hinge_embedding_loss kl_div l1_loss smooth_l1_loss huber_loss mse_loss margin_ranking_loss "
    "multilabel_margin_loss soft_margin_loss triplet_margin_loss multi_margin_loss "
    "binary_cross_entropy_with_logits dist pdist cdist renorm logsumexp interpolate upsample norm "
    "normalize"
).split()

_FULL_UNLESS_DTYPE = "prod softmax softmin log_softmax cumprod cumsum vector_norm matrix_norm sum".split()

_PROMOTE = (
    "addcdiv addcmul atan2 bilinear cross dot vdot grid_sampler grid_sample index_put tensordot scatter_add"
).split()

_NAMESPACES = (torch, torch.Tensor, F, torch.linalg, torch.special, torch._C._nn)

_Function = Callable[..., Any]


def _named(names: Iterable[str]) -> frozenset[_Function]:
    """Every spelling of the named ops: function, method, functional."""
    spellings = {space: set(dir(space)) for space in _NAMESPACES}
    return frozenset(getattr(space, name) for space, known in spellings.items() for name in names if name in known)


_HALF_OPS = _named(_HALF)
_FULL_OPS = _named(_FULL)
_FULL_UNLESS_DTYPE_OPS = _named(_FULL_UNLESS_DTYPE)
_PROMOTE_OPS = _named(_PROMOTE)
_LISTED_OPS = _HALF_OPS | _FULL_OPS | _FULL_UNLESS_DTYPE_OPS | _PROMOTE_OPS
_LISTED_NAMES = frozenset(_HALF + _FULL + _FULL_UNLESS_DTYPE + _PROMOTE)


def _never(*_: object) -> bool:
    return False


_OPEN_NAMESPACE = vars(F) | {
    name: _never for name in ("has_torch_function", "has_torch_function_unary", "has_torch_function_variadic")
}


def _opened(function: FunctionType) -> FunctionType:
    """A Python function of `torch.nn.functional` that does not hand itself over to a mode again."""
    opened = FunctionType(
        function.__code__, _OPEN_NAMESPACE, function.__name__, function.__defaults__, function.__closure__
    )
    opened.__kwdefaults__ = function.__kwdefaults__
    return opened


# Some functions, attention for one, are written in Python on top of listed ops. A mode is off while it
# handles a call, so these are run again from within, with the mode on: else their matmuls would escape.
_OPENED_OPS: dict[_Function, FunctionType] = {
    function: _opened(function)
    for function in vars(F).values()
    if isinstance(function, FunctionType)
    and function.__globals__ is vars(F)
    and function not in _LISTED_OPS
    and _LISTED_NAMES & set(function.__code__.co_names)
}
_TREATED_OPS = _LISTED_OPS | set(_OPENED_OPS)


@contextmanager
def emulated_autocast(dtype: torch.dtype) -> Iterator[None]:
    """One forward pass (and its loss) on the CPU as under CUDA autocast; `dtype` is float16 or bfloat16.

    `torch.is_autocast_enabled("cuda")` is true within, for layers that ask (LSTM does). On CPU tensors it has no
    effect of its own. A part that must stay fp32 says so with `torch.autocast("cuda", enabled=False)` or a cast;
    disabling autocast for the device "cpu" goes unseen.
    """
    enabled, previous_dtype = torch.is_autocast_enabled("cuda"), torch.get_autocast_dtype("cuda")
    torch.set_autocast_enabled("cuda", True)
    torch.set_autocast_dtype("cuda", dtype)
    try:
        with _CastingMode(dtype):
            yield
    finally:
        torch.set_autocast_enabled("cuda", enabled)
        torch.set_autocast_dtype("cuda", previous_dtype)


class _CastingMode(TorchFunctionMode):
    """Casts what goes into and comes out of the listed ops; keeps the cast weights while it lives."""

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self._dtype = dtype
        self._half_weights: dict[Tensor, Tensor] = {}

    def __torch_function__(
        self, func: _Function, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Called by torch in place of each of its functions; the mode is off meanwhile."""
        kwargs = kwargs or {}
        if func not in _TREATED_OPS or kwargs.get("out") is not None or not torch.is_autocast_enabled("cuda"):
            return func(*args, **kwargs)
        if func in _HALF_OPS:
            half_args = [self._rounded(arg) for arg in args]
            half_kwargs = {name: self._rounded(arg) for name, arg in kwargs.items()}
            return self._lowered(func(*half_args, **half_kwargs))
        if func in _OPENED_OPS:
            with self:
                return _OPENED_OPS[func](*args, **kwargs)
        if (func in _FULL_UNLESS_DTYPE_OPS and _names_dtype(args, kwargs)) or (
            func in _PROMOTE_OPS and not _holds_fp32([args, *kwargs.values()])
        ):
            return func(*args, **kwargs)
        full_args = [self._raised(arg) for arg in args]
        return func(*full_args, **{name: self._raised(arg) for name, arg in kwargs.items()})

    # Each of the following casts one argument or result: a tensor, or a list or tuple of them (einsum, LSTM).
    # Float64, integers and all else stay as they are, as under CUDA autocast.

    def _rounded(self, value: Any) -> Any:
        """As fp32 tensor whose values half precision can hold."""
        if isinstance(value, Tensor):
            dtype = value.dtype
            if dtype is torch.float32:
                return self._half(value).float()
            return value.float() if dtype is self._dtype else value
        if isinstance(value, list | tuple):
            return type(value)(self._rounded(item) for item in value)
        return value

    def _lowered(self, value: Any) -> Any:
        """As half tensor."""
        if isinstance(value, Tensor):
            return value.to(self._dtype) if value.dtype is torch.float32 else value
        if isinstance(value, list | tuple):
            return type(value)(self._lowered(item) for item in value)
        return value

    def _raised(self, value: Any) -> Any:
        """As fp32 tensor."""
        if isinstance(value, Tensor):
            return value.float() if value.dtype is self._dtype else value
        if isinstance(value, list | tuple):
            return type(value)(self._raised(item) for item in value)
        return value

    def _half(self, tensor: Tensor) -> Tensor:
        """A half copy; that of a weight is kept, so that its gradients meet in half as they do on a GPU."""
        # A copy made without a graph must not serve a pass that needs gradients.
        if not (tensor.requires_grad and tensor.is_leaf and torch.is_grad_enabled()):
            return tensor.to(self._dtype)
        half = self._half_weights.get(tensor)
        if half is None:
            half = self._half_weights[tensor] = tensor.to(self._dtype)
        return half


def _names_dtype(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether the caller asked for a dtype of the result, which CUDA autocast respects."""
    return kwargs.get("dtype") is not None or any(isinstance(arg, torch.dtype) for arg in args)


def _holds_fp32(value: Any) -> bool:
    if isinstance(value, Tensor):
        return value.dtype is torch.float32
    return isinstance(value, list | tuple) and any(_holds_fp32(item) for item in value)
