"""The first non-finite value of one training step, found operation by operation.

Nothing of the training is changed: a `TorchFunctionMode` inside of the forward context sees every torch call before
an emulation of half precision takes it apart, module hooks say in which module it is, and hooks on the nodes of the
autograd graph, labelled by the call that made them, watch the gradients flow back. Hooks on modules alone blame the
wrong place: a product of queries and keys that overflows shows up as a bad output of the layer around it.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import BackwardCFunction
from torch.nn import Module
from torch.optim import Optimizer
from torch.overrides import TorchFunctionMode

from slr_models.data.batch import Dataset
from sweep.forensics.batches import first_bad_feature
from sweep.forensics.nonfinite import Summary, all_finite, bad_gradient, bad_state, bad_weight, summarize, tensors_in
from sweep.records import NAN, FirstNonfinite, Place, StepRecord, is_broken
from sweep.training.train import Training

HALF_DTYPES = (torch.float16, torch.bfloat16)

_FILLS = frozenset(
    "masked_fill masked_fill_ full full_like new_full where fill_ tensor as_tensor new_tensor triu tril pad".split()
)
"""Calls that put infinities in on purpose, such as into an attention mask."""
_UNWRITTEN = frozenset(
    "empty empty_like empty_permuted empty_strided new_empty new_empty_strided resize_ resize_as_".split()
)
"""Calls that give memory as it happens to be: whatever stands in it is nobody's result."""
_OVERWRITING = frozenset(
    "copy_ fill_ zero_ normal_ uniform_ bernoulli_ exponential_ log_normal_ cauchy_ geometric_ random_".split()
)
"""In-place calls that do not read what they write to."""
_NO_RESULTS = _FILLS | _UNWRITTEN
_PRODUCTS = frozenset("matmul bmm baddbmm einsum".split())
_FUSED_ATTENTION = frozenset("scaled_dot_product_attention multi_head_attention_forward".split())


@dataclass(frozen=True)
class OpTrace:
    """What one traced step showed."""

    record: StepRecord
    first: FirstNonfinite | None
    """None if every value of the step was finite."""
    is_attention: bool = False
    """Whether the operation makes attention scores."""
    full_absmax: float = NAN
    """Largest absolute value that the operation gives in fp32 where it overflowed in half precision; else NaN."""


def trace_step(training: Training, dataset: Dataset) -> OpTrace:
    """Trains one step and finds the first non-finite value in it.

    The order is that of the step: features, weights before it, forward operations, loss, backward operations,
    gradients, optimizer state, weights after it. The step itself computes what it would have computed anyway.

    Args:
        training: on the step before the one to look at.
        dataset: what it trains on, to name the utterance of a bad feature or loss.
    """
    batches, step = training.next_batches(), training.step + 1
    model, precision = training.model, training.precision
    observer = _Observer(model, step, [[dataset.train.ids[i] for i in batch] for batch in batches])
    observer.first = first_bad_feature(dataset.train, batches, step) or bad_weight(model, Place.WEIGHT_BEFORE, step)
    plain = precision.forward_context

    @contextmanager
    def observed() -> Iterator[None]:
        with plain(), observer.forward():
            yield

    with observer.hooks(), ExitStack() as undo:
        # On the instance only. The mode has to lie inside of the context, and nothing else of the step calls it.
        precision.forward_context = observed  # type: ignore[method-assign]
        undo.callback(delattr, precision, "forward_context")
        record = next(r for r in training.records() if isinstance(r, StepRecord))
    return _traced(observer, record, training.optimizer)


def trace_call(model: Module, optimizer: Optimizer, step: int, train: Callable[[], StepRecord]) -> OpTrace:
    """As `trace_step`, of a step that is a call: forward, backward and update in whatever way it does them.

    Args:
        model: what it trains.
        optimizer: what it updates the weights by.
        step: 1-based.
        train: trains the step, and says what it gave.
    """
    observer = _Observer(model, step, (), is_whole_step=True)
    observer.first = bad_weight(model, Place.WEIGHT_BEFORE, step)
    with observer.hooks(), observer.forward():
        record = train()
    return _traced(observer, record, optimizer)


def _traced(observer: "_Observer", record: StepRecord, optimizer: Optimizer) -> OpTrace:
    model, first = observer.model, observer.first
    if first is None and is_broken(record.grad_norm):
        first = bad_gradient(model, record.step)
    if first is None:
        first = bad_state(model, optimizer, record.step) or bad_weight(model, Place.WEIGHT, record.step)
    return OpTrace(record, first, observer.is_attention, observer.full_absmax)


@dataclass(frozen=True)
class _Label:
    """What made a node of the autograd graph."""

    operation: str
    path: str


class _Observer:
    """What is seen of one step: the module that runs, candidates for the first bad value, and the first one."""

    def __init__(
        self, model: Module, step: int, utterances: Sequence[Sequence[str]], *, is_whole_step: bool = False
    ) -> None:
        self.model = model
        self.first: FirstNonfinite | None = None
        self.is_attention = False
        self.full_absmax = NAN
        self._step = step
        self._is_whole_step = is_whole_step
        """Whether `forward` holds the backward pass and the update too."""
        self._is_forward = False
        self._utterances = utterances
        """Names a micro-batch."""
        self._micro_batch = -1
        self._modules: list[str] = []
        self._labels: dict[Any, _Label] = {}
        self._candidate: FirstNonfinite | None = None
        self._is_weak = False
        """Whether the candidate made a NaN out of infinities, which need not have been a fault themselves."""
        self._score_path: str | None = None
        """Module in which a product of two activations is the candidate: scores, if a softmax follows there."""
        self._candidate_full_absmax = NAN
        self._candidate_is_attention = False
        self._last_output: Tensor | None = None
        self._has_gradient = False

    @contextmanager
    def hooks(self) -> Iterator[None]:
        """Within, modules say when they run."""
        with ExitStack() as installed:
            for path, module in self.model.named_modules():
                enter = module.register_forward_pre_hook(self._enter(path))
                leave = module.register_forward_hook(self._leave, always_call=True)
                installed.callback(enter.remove)
                installed.callback(leave.remove)
            try:
                yield
            finally:
                self._labels.clear()

    @contextmanager
    def forward(self) -> Iterator[None]:
        """Within, every torch call is seen."""
        with _Mode(self):
            self._begin_forward()
            yield
            self._end_forward()

    @property
    def busy(self) -> bool:
        """Whether there is still something to find in a training step (an evaluation is not watched)."""
        return self.first is None and (self._is_whole_step or self.model.training)

    def _enter(self, path: str) -> Callable[..., None]:
        def hook(module: Module, inputs: Any) -> None:
            if self._is_whole_step and not self._is_forward:
                # Another micro-batch.
                self._begin_forward()
            self._modules.append(path)

        return hook

    def _leave(self, module: Module, inputs: Any, outputs: Any) -> None:
        # Nodes that no torch call made belong to a custom autograd function: they carry its name.
        if self.busy:
            for tensor in tensors_in(outputs):
                self._label(tensor, None)
        self._modules.pop()

    def _begin_forward(self) -> None:
        self._micro_batch += 1
        self._candidate, self._is_weak, self._score_path = None, False, None
        self._last_output, self._is_forward = None, True

    def _end_forward(self) -> None:
        """Takes the candidate if the loss is not finite; what does not reach the loss, such as a mask, is no fault."""
        if not self._is_forward:
            return
        self._is_forward = False
        if self.busy and self._candidate is not None and self._last_output is not None:
            if not bool(self._last_output.isfinite().all()):
                self.first = self._candidate
                self.is_attention = self._candidate_is_attention
                self.full_absmax = self._candidate_full_absmax

    def call(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Runs a torch call of the forward pass and looks at what went in and came out."""
        name = getattr(func, "__name__", type(func).__name__)
        if name == "backward" and self._is_whole_step and isinstance(args[0], Tensor):
            # Another may have been computed since, such as a norm to print.
            self._last_output = args[0].detach()
            self._end_forward()
        if not self.busy or not self._is_forward or name == "__get__":
            return func(*args, **kwargs)
        name = name.strip("_") if name.startswith("__") else name
        inputs = [t for t in tensors_in(_read_by(name, args, kwargs)) if t.is_floating_point()]
        # An in-place call destroys what it read.
        before = summarize(inputs) if name.endswith("_") else None
        result = func(*args, **kwargs)
        outputs = [t for t in tensors_in(result) if t.is_floating_point()]
        if outputs:
            self._last_output = outputs[-1]
        made = outputs
        if name == "baddbmm" and len(args) == 3:
            # What infinities a mask brings into a product are not of its making.
            inputs, made = tensors_in(args[1:]), [outputs[0].where(args[0].isfinite(), 0.0)]
        if name == "softmax" and self._score_path == self._path:
            self._candidate_is_attention = True
        for tensor in outputs:
            self._label(tensor, name)
        if (self._candidate is None or self._is_weak) and name not in _NO_RESULTS and not all_finite(made):
            self._consider(name, func, args, kwargs, before or summarize(inputs), made)
        return result

    @property
    def _path(self) -> str:
        return self._modules[-1] if self._modules else ""

    def _consider(
        self,
        name: str,
        func: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        inputs: Summary,
        outputs: Sequence[Tensor],
    ) -> None:
        """Makes this call the candidate if it turned good values into bad ones."""
        made = summarize(outputs)
        is_weak = inputs.num_inf > 0
        if inputs.num_nan > 0 or (is_weak and (self._candidate is not None or made.num_nan == 0)):
            return
        in_model = bool(self._modules)
        self._candidate = FirstNonfinite(
            place=Place.FORWARD if in_model else Place.LOSS,
            step=self._step,
            operation=name,
            path=self._path if in_model else ", ".join(self._bad_utterances(outputs[0])),
            dtype=str(outputs[0].dtype).removeprefix("torch."),
            input_absmax=inputs.absmax,
            output_absmax=made.absmax,
            num_nan=made.num_nan,
            num_inf=made.num_inf,
        )
        self._is_weak = is_weak
        is_half = outputs[0].dtype in HALF_DTYPES
        self._candidate_full_absmax = _full_absmax(name, func, args, kwargs) if is_half else NAN
        self._candidate_is_attention = name in _FUSED_ATTENTION
        self._score_path = self._path if name in _PRODUCTS and _are_activations(args) else None

    def _bad_utterances(self, losses_B: Tensor) -> list[str]:
        names = self._utterances[self._micro_batch] if self._micro_batch < len(self._utterances) else []
        if losses_B.shape != (len(names),):
            return []
        bad = (~losses_B.detach().isfinite()).tolist()
        return [name for name, is_bad in zip(names, bad, strict=True) if is_bad]

    def _label(self, tensor: Tensor, operation: str | None) -> None:
        """Labels the nodes between this output and what is labelled already, and watches their gradients."""
        pending = [tensor.grad_fn]
        while pending:
            node = pending.pop()
            if node is None or node in self._labels or node.name().endswith("AccumulateGrad"):
                continue
            # A custom autograd function is no torch call: the next call finds its node, which has its own name.
            made_by = None if isinstance(node, BackwardCFunction) else operation
            label = _Label(made_by or node.name().removesuffix("Backward"), self._path)
            self._labels[node] = label
            node.register_hook(self._gradient_hook(label))
            pending += [before for before, _ in node.next_functions]

    def _gradient_hook(self, label: _Label) -> Callable[[tuple[Tensor, ...], tuple[Tensor, ...]], None]:
        def hook(outgoing: tuple[Tensor, ...], incoming: tuple[Tensor, ...]) -> None:
            # Where nobody called `backward` by this name.
            self._end_forward()
            if self.first is not None:
                return
            came, went = tensors_in(incoming), tensors_in(outgoing)
            if not all_finite(came):
                # Every node before this one gave finite gradients: their sum overflowed, or the scaled loss itself.
                what = f"sum of gradients at {label.operation}" if self._has_gradient else "scaled loss"
                self.first = self._backward(_Label(what, label.path), came, came)
            elif not all_finite(went):
                self.first = self._backward(label, came, went)
            self._has_gradient = True

        return hook

    def _backward(self, label: _Label, came: Sequence[Tensor], went: Sequence[Tensor]) -> FirstNonfinite:
        inputs, outputs = summarize(came), summarize(went)
        bad = next(t for t in went if not bool(t.isfinite().all()))
        return FirstNonfinite(
            place=Place.BACKWARD,
            step=self._step,
            operation=label.operation,
            path=label.path,
            dtype=str(bad.dtype).removeprefix("torch."),
            input_absmax=inputs.absmax,
            output_absmax=outputs.absmax,
            num_nan=outputs.num_nan,
            num_inf=outputs.num_inf,
        )


class _Mode(TorchFunctionMode):
    """Shows the observer every torch call."""

    def __init__(self, observer: _Observer) -> None:
        super().__init__()
        self._observer = observer

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Called by torch in place of each of its functions; the mode is off meanwhile."""
        return self._observer.call(func, args, kwargs or {})


def _read_by(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Any]:
    """The arguments without those that a call only writes to: they may hold anything."""
    read = list(args[1:] if name in _OVERWRITING else args)
    return read + [value for key, value in kwargs.items() if key != "out"]


def _are_activations(args: tuple[Any, ...]) -> bool:
    """Whether at least two tensors go in, and none of them is a weight."""
    tensors = tensors_in(args)
    return len(tensors) >= 2 and not any(tensor.is_leaf and tensor.requires_grad for tensor in tensors)


def _full_absmax(name: str, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> float:
    """Largest absolute value of the same call in fp32, of the scores for fused attention; NaN for in-place calls."""
    if name.endswith("_"):
        return NAN
    with torch._C.DisableTorchFunction(), torch.no_grad(), _no_autocast(args):
        full_args, full_kwargs = _in_full(args), _in_full(kwargs)
        if name == "scaled_dot_product_attention":
            query, key = full_args[:2]
            return summarize([query @ key.transpose(-2, -1) * query.shape[-1] ** -0.5]).absmax
        return summarize(t for t in tensors_in(func(*full_args, **full_kwargs)) if t.is_floating_point()).absmax


@contextmanager
def _no_autocast(args: tuple[Any, ...]) -> Iterator[None]:
    tensors = tensors_in(args)
    with torch.autocast(tensors[0].device.type if tensors else "cpu", enabled=False):
        yield


def _in_full(value: Any) -> Any:
    """Nested arguments with half tensors as fp32."""
    if isinstance(value, Tensor):
        return value.detach().float() if value.dtype in HALF_DTYPES else value.detach()
    if isinstance(value, dict):
        return {key: _in_full(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_in_full(item) for item in value)
    return value
