"""The first non-finite value of a step: the right place, operation and module, and a step that is left as it was."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from torch import nn

from sweep.forensics.counterfactuals import next_record
from sweep.forensics.trace_ops import trace_step
from sweep.records import Place


class _WrittenOut(nn.Module):
    """The attention's scores as a product of their own, as in much user code."""

    def __init__(self, inner, scale):
        super().__init__()
        self.inner = inner
        with torch.no_grad():
            inner.query_key_value.weight[: 2 * inner.output.in_features] *= scale

    def forward(self, x_BTD, frames):
        query, key, value = self.inner._project(x_BTD)
        scores = torch.matmul(query, key.transpose(2, 3))
        if frames.attend_B11T is not None:
            scores = scores + torch.zeros_like(scores).masked_fill(~frames.attend_B11T, -torch.inf)
        return self.inner.output((scores.softmax(dim=-1).to(value.dtype) @ value).transpose(1, 2).flatten(2))


class _Sink(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        return gradient * torch.inf


def first_step(story, **more):
    told = story(**more)
    return trace_step(told.start(), told.dataset)


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16", "fp16_unscaled"])
def test_a_traced_step_is_the_plain_step_bit_by_bit(story, precision) -> None:
    told = story(training={"precision": {"kind": precision}, "accumulate": 2}, model={"dropout": 0.1})
    plain = told.start()
    expected = [next_record(plain) for _ in range(3)]
    # One after the other: both draw their dropout from the global generator.
    traced = told.start()
    for record in expected:
        trace = trace_step(traced, told.dataset)
        blank = {"time_s": 0.0}
        assert repr(dataclasses.replace(trace.record, **blank)) == repr(dataclasses.replace(record, **blank))
        assert (trace.first is None) == math.isfinite(record.grad_norm)
    for one, two in zip(plain.model.parameters(), traced.model.parameters(), strict=True):
        assert torch.equal(one, two)
    assert "forward_context" not in vars(traced.precision), "nothing is left behind"
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in traced.model.modules())


def test_a_convolution_that_overflows_in_half_is_one_operation_with_its_true_size(story) -> None:
    trace = first_step(story, training={"precision": {"kind": "fp16"}}, model={"conv_scale": 1e6})
    first = trace.first
    assert (first.place, first.operation, first.path, first.dtype) == (
        Place.FORWARD,
        "linear",
        "stem_convs.0",
        "float16",
    )
    assert first.num_inf > 0 and first.output_absmax <= 65504 < trace.full_absmax and not trace.is_attention


def test_scores_of_attention_are_told_from_the_layer_around_them(story) -> None:
    told = story(training={"precision": {"kind": "fp16"}})
    training = told.start()
    training.model.fusion = _WrittenOut(training.model.fusion, 1000.0)
    trace = trace_step(training, told.dataset)
    assert (trace.first.operation, trace.first.path) == ("matmul", "fusion")
    assert trace.is_attention and trace.full_absmax > 65504 > trace.first.input_absmax


@pytest.mark.parametrize("batch_size, operation", [(4, "baddbmm"), (1, "bmm")])
def test_scores_of_the_written_out_attention_are_named(story, batch_size, operation) -> None:
    """With padding they are added to a mask, whose infinities are not theirs."""
    for kernel in ("sdpa", "written_out"):
        model = {"attention_kernel": kernel}
        told = story(training={"precision": {"kind": "fp16"}, "batch_size": batch_size}, model=model)
        training = told.start()
        with torch.no_grad():
            training.model.fusion.query_key_value.weight[: 2 * training.model.fusion.output.in_features] *= 1000
        trace = trace_step(training, told.dataset)
        if kernel == "sdpa":
            assert trace.first is None or trace.first.place is Place.BACKWARD
        else:
            assert (trace.first.operation, trace.first.path) == (operation, "fusion")
            assert trace.is_attention and trace.full_absmax > 65504 > trace.first.output_absmax
            assert trace.first.num_inf > 0 and trace.first.num_nan == 0


def test_scores_of_the_written_out_attention_are_named_in_fp32_too(story) -> None:
    told = story(model={"attention_kernel": "written_out"})
    training = told.start()
    with torch.no_grad():
        training.model.fusion.query_key_value.weight[: 2 * training.model.fusion.output.in_features] *= 1e21
    trace = trace_step(training, told.dataset)
    assert (trace.first.operation, trace.first.path, trace.is_attention) == ("baddbmm", "fusion", True)


def test_infinities_of_a_mask_are_no_fault(story) -> None:
    told = story()
    training = told.start()
    training.model.fusion = _WrittenOut(training.model.fusion, 1.0)
    assert trace_step(training, told.dataset).first is None
    written_out = story(model={"attention_kernel": "written_out"})
    assert trace_step(written_out.start(), written_out.dataset).first is None
    half = {"precision": {"kind": "fp16"}}
    later = first_step(story, training=half, model={"attention_kernel": "written_out", "conv_scale": 1e6})
    assert (later.first.operation, later.first.path, later.is_attention) == ("linear", "stem_convs.0", False)


class _Buffered(nn.Module):
    """Writes what another module gives into memory that it takes as it is, here full of NaN and infinities."""

    def __init__(self, inner, write):
        super().__init__()
        self.inner, self.write = inner, write

    def forward(self, *args):
        result = self.inner(*args)
        return self.write(result, torch.empty_like(result))


def _by_out(result, buffer):
    return torch.mul(result.detach(), 1.0, out=buffer) + (result - result.detach())


@pytest.fixture
def memory_full_of_nonsense():
    """Memory that nobody wrote to holds NaN: what is there by chance elsewhere is always there here."""
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True, warn_only=True)
    assert torch.utils.deterministic.fill_uninitialized_memory and torch.empty(3).isnan().all()
    yield
    torch.use_deterministic_algorithms(before)


@pytest.mark.parametrize("write", [lambda result, buffer: buffer.copy_(result), _by_out])
def test_memory_that_nobody_wrote_to_is_no_fault(story, memory_full_of_nonsense, write) -> None:
    told = story()
    training = told.start()
    training.model.classifier = _Buffered(training.model.classifier, write)
    assert trace_step(training, told.dataset).first is None
    overflowing = told.start()
    overflowing.model.classifier = _Buffered(overflowing.model.classifier, lambda r, b: b.copy_(r * 1e38 * 1e38))
    first = trace_step(overflowing, told.dataset).first
    assert (first.place, first.operation) == (Place.FORWARD, "mul")


def test_a_copy_that_overflows_in_half_is_the_operation(story, memory_full_of_nonsense) -> None:
    told = story()
    training = told.start()
    training.model.classifier = _Buffered(
        training.model.classifier, lambda r, b: torch.empty(r.shape, dtype=torch.half).copy_(r * 1e9).float()
    )
    first = trace_step(training, told.dataset).first
    assert (first.place, first.operation, first.dtype) == (Place.FORWARD, "copy_", "float16")


def test_an_overflow_of_the_loss_scale_is_found_in_the_backward_pass(story) -> None:
    trace = first_step(story, training={"precision": {"kind": "fp16", "initial_scale": 2.0**40}})
    assert trace.first.place is Place.BACKWARD and trace.first.dtype == "float16"
    assert math.isfinite(trace.record.loss) and math.isfinite(trace.first.input_absmax)


def test_a_custom_function_is_named_with_its_module(story) -> None:
    told = story()
    training = told.start()
    training.model.inceptions[0].register_forward_hook(lambda module, inputs, output: _Sink.apply(output))
    first = trace_step(training, told.dataset).first
    assert (first.place, first.operation, first.num_nan + first.num_inf > 0) == (Place.BACKWARD, "_Sink", True)


def test_data_come_first(story, memory_full_of_nonsense) -> None:
    first = first_step(story, data={"nan_rate": 1.0}).first
    assert first.place is Place.FEATURES and first.path.startswith("train-") and first.num_nan > 0
    first = first_step(story, data={"infeasible_rate": 1.0}).first
    assert (first.place, first.operation) == (Place.LOSS, "ctc_loss")
    assert first.path.count("train-") == 4 and first.num_inf == 4


def test_a_weight_that_was_lost_before_and_one_that_the_step_loses(story) -> None:
    told = story()
    training = told.start()
    with torch.no_grad():
        training.model.classifier.bias[1] = torch.nan
    first = trace_step(training, told.dataset).first
    assert (first.place, first.path, first.step) == (Place.WEIGHT_BEFORE, "classifier.bias", 1)
    huge = story(training={"optimizer": {"kind": "sgd", "lr": 3e38}, "clip": {"kind": "norm", "max_norm": 1e3}})
    first = trace_step(huge.start(), huge.dataset).first
    assert first.place is Place.WEIGHT and first.num_inf > 0


def test_a_moment_that_is_infinite_is_found_in_the_optimizer(story) -> None:
    told = story()
    training = told.start()
    trace_step(training, told.dataset)
    training.optimizer.state[training.model.classifier.bias]["exp_avg_sq"][1] = torch.inf
    first = trace_step(training, told.dataset).first
    assert (first.place, first.operation, first.path) == (Place.OPTIMIZER_STATE, "exp_avg_sq", "classifier.bias")


def test_features_may_be_read_only(story) -> None:
    told = story()
    told.dataset.train.features.flags.writeable = False
    assert trace_step(told.start(), told.dataset).first is None
    assert np.isfinite(told.dataset.train.features).all()
