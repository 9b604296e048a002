"""What every CTC model owes to the training loop; knows nothing of sweeps.

    import pytest

    from slr_models.models import CustomModelConfig
    from sweep.testing import ModelCase, ModelKit

    class TestMyModel(ModelKit):
        @pytest.fixture
        def case(self):
            return ModelCase(CustomModelConfig(factory="my_models:make", output_stride=4))

Dimension legend: B batch, T input frames, S output frames, F features, V vocabulary (with the blank), U labels.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from slr_models.ctc import ctc_losses
from slr_models.data.batch import FeatureGroup
from slr_models.models.base import CtcModel
from sweep.testing.configuration import check_configuration

GROUPS = (FeatureGroup("hands", 0, 12), FeatureGroup("pose", 12, 20))
VOCABULARY_SIZE = 7
LENGTHS = (37, 1, 22, 6)
"""Frames of the utterances of a batch."""
TOLERANCES = {torch.float32: 2e-5, torch.float64: 1e-12}
"""Largest differences of logits that rounding may make."""


class ModelSpec(Protocol):
    """The configuration of a model, as `slr_models.models.ModelConfig` holds them."""

    def output_length(self, num_frames: int) -> int:
        """Output frames for so many input frames."""
        ...

    def build(self, num_features: int, groups: Sequence[FeatureGroup], vocabulary_size: int, seed: int) -> CtcModel:
        """The model with the weights that a seed draws."""
        ...


@dataclass(frozen=True)
class ModelCase:
    """A model and the data that it is built for. Small sizes are enough: nothing depends on the width."""

    config: ModelSpec
    groups: tuple[FeatureGroup, ...] = GROUPS
    """A partition of the feature columns, in order."""
    vocabulary_size: int = VOCABULARY_SIZE
    couples_utterances: bool = False
    """Whether the utterances of a training batch influence each other by design, as in batch normalization."""

    @property
    def num_features(self) -> int:
        """Features a frame."""
        return self.groups[-1].stop

    def build(self, seed: int = 0) -> CtcModel:
        """The model."""
        return self.config.build(self.num_features, self.groups, self.vocabulary_size, seed)


class ModelKit:
    """Checks of a model; a subclass gives the fixture `case`, a `ModelCase`."""

    def test_the_configuration_is_one(self, case: ModelCase) -> None:
        """It comes back from a file as it went, and refuses a setting that it does not know."""
        check_configuration(case.config)

    def test_output_lengths(self, case: ModelCase) -> None:
        """Configuration, model and logits agree on how many outputs so many frames give; all are finite."""
        model = case.build().eval()
        told = model.output_lengths(torch.arange(1, 400)).tolist()
        expected = [case.config.output_length(num_frames) for num_frames in range(1, 400)]
        differing = [n for n, (one, two) in enumerate(zip(told, expected, strict=True), start=1) if one != two]
        assert not differing, (
            f"{differing[0]} frames give {told[differing[0] - 1]} outputs by the model's output_lengths and "
            f"{expected[differing[0] - 1]} by the configuration's output_length"
        )
        with torch.no_grad():
            for num_frames in (*range(1, 18), 128, 129, 399):
                logits_BSV = model(*_features(case, [num_frames]))
                wanted = (1, expected[num_frames - 1], case.vocabulary_size)
                assert logits_BSV.shape == wanted, (
                    f"{num_frames} frames give logits of shape {tuple(logits_BSV.shape)}, not {wanted}"
                )
                assert bool(torch.isfinite(logits_BSV).all()), f"logits of {num_frames} frames are not finite"

    def test_outputs_are_raw_scores(self, case: ModelCase) -> None:
        """The loss normalises, once: a model must not."""
        model = case.build().eval()
        with torch.no_grad():
            logits_BSV = model(*_features(case, [LENGTHS[0]]))
        for sums_BS, name in ((logits_BSV.sum(-1), "softmax"), (logits_BSV.exp().sum(-1), "log_softmax")):
            assert not torch.allclose(sums_BS, torch.ones_like(sums_BS), atol=1e-4), (
                f"the output is a {name}, which the loss would normalise a second time; return raw scores"
            )

    def test_padding_has_no_effect(self, case: ModelCase) -> None:
        """Junk and NaN beyond an utterance's end, and more of it, change neither logits nor statistics."""
        features_BTF, lengths_B = _features(case, LENGTHS)
        junk_BTF, nan_BTF = features_BTF.clone(), features_BTF.clone()
        for row, length in enumerate(LENGTHS):
            junk_BTF[row, length:] = 1e3
            nan_BTF[row, length:] = float("nan")
        longer_BTF = torch.cat((features_BTF, torch.full((len(LENGTHS), 11, case.num_features), -50.0)), 1)
        for training in (True, False):
            logits_BSV, buffers = _outputs(case, features_BTF, lengths_B, training)
            for padded_BTF, what in (
                (junk_BTF, "junk in the padding"),
                (nan_BTF, "a NaN in the padding"),
                (longer_BTF, "longer padding"),
            ):
                other_BSV, other_buffers = _outputs(case, padded_BTF, lengths_B, training)
                for row, length in enumerate(LENGTHS):
                    valid = case.config.output_length(length)
                    difference = _largest_difference(logits_BSV[row, :valid], other_BSV[row, :valid])
                    assert difference <= TOLERANCES[torch.float32], (
                        f"{what} changes the logits of an utterance of {length} frames by {difference:.2g}"
                    )
                for name, buffer in buffers.items():
                    difference = _largest_difference(buffer, other_buffers[name])
                    assert difference <= TOLERANCES[torch.float32], f"{what} changes the statistic {name}"

    def test_alone_equals_in_a_batch(self, case: ModelCase) -> None:
        """An utterance has the same logits alone and in a batch, in single and in double precision."""
        for dtype, tolerance in TOLERANCES.items():
            features_BTF, lengths_B = _features(case, (*LENGTHS, 3), dtype)
            for training in (False,) if case.couples_utterances else (False, True):
                with torch.no_grad():
                    logits_BSV, _ = _outputs(case, features_BTF, lengths_B, training)
                    for row, length in enumerate(lengths_B.tolist()):
                        alone_1SV, _ = _outputs(
                            case, features_BTF[row : row + 1, :length], lengths_B[row : row + 1], training
                        )
                        valid = case.config.output_length(length)
                        difference = _largest_difference(alone_1SV[0], logits_BSV[row, :valid])
                        assert difference <= tolerance, (
                            f"the logits of an utterance of {length} frames alone and in a batch differ by "
                            f"{difference:.2g} in {dtype}, training={training}"
                        )

    def test_padding_gets_no_gradient_and_all_else_does(self, case: ModelCase) -> None:
        """Every valid frame and every parameter counts; padding does not."""
        lengths = (37, 3, 22)
        features_BTF, lengths_B = _features(case, lengths)
        features_BTF.requires_grad_()
        model = case.build()
        logits_BSV = model(features_BTF, lengths_B)
        valid_BS = torch.arange(logits_BSV.shape[1]) < model.output_lengths(lengths_B)[:, None]
        weights_V = torch.randn(case.vocabulary_size, generator=torch.Generator().manual_seed(0))
        (logits_BSV[valid_BS] * weights_V).sum().backward()
        assert features_BTF.grad is not None, "the logits do not depend on the features"
        for row, length in enumerate(lengths):
            assert not features_BTF.grad[row, length:].any(), f"padding after {length} frames gets a gradient"
            ignored = (~features_BTF.grad[row, :length].any(dim=1)).nonzero().flatten().tolist()
            assert not ignored, f"frames {ignored} of {length} count for nothing"
        silent = [key for key, value in model.named_parameters() if value.grad is None or not value.grad.any()]
        assert not silent, f"parameters without a gradient: {', '.join(silent)}"

    def test_ctc_can_train_it(self, case: ModelCase) -> None:
        """Targets as long as the outputs have losses and gradients that are finite."""
        lengths = (37, 22, 16)
        model = case.build().train()
        features_BTF, lengths_B = _features(case, lengths)
        output_lengths_B = model.output_lengths(lengths_B)
        targets_BU = (torch.arange(int(output_lengths_B.max())) % (case.vocabulary_size - 1) + 1).expand(3, -1)
        if case.vocabulary_size == 2:
            # Equal neighbours need a blank between them.
            target_lengths_B = (output_lengths_B + 1) // 2
        else:
            target_lengths_B = output_lengths_B
        losses_B = ctc_losses(model(features_BTF, lengths_B), output_lengths_B, targets_BU, target_lengths_B)
        assert bool(torch.isfinite(losses_B).all()), f"the CTC losses are {losses_B.tolist()}"
        losses_B.mean().backward()
        bad = [
            key
            for key, value in model.named_parameters()
            if value.grad is not None and not torch.isfinite(value.grad).all()
        ]
        assert not bad, f"parameters with a gradient that is not finite: {', '.join(bad)}"

    def test_seeds(self, case: ModelCase) -> None:
        """A seed fixes the weights, another one draws others, and the caller's random stream stays as it was."""
        with _random_stream():
            expected_next = torch.rand(3)
        with _random_stream():
            first, again, other = case.build(1), case.build(1), case.build(2)
            found_next = torch.rand(3)
        assert torch.equal(found_next, expected_next), "building a model moves the caller's random stream"
        states = first.state_dict(), again.state_dict()
        assert all(torch.equal(states[0][key], states[1][key]) for key in states[0]), "one seed, two sets of weights"
        same = [torch.equal(*pair) for pair in zip(first.parameters(), other.parameters(), strict=True)]
        assert not all(same), "two seeds give the same weights"

    def test_evaluation_repeats_itself(self, case: ModelCase) -> None:
        """In evaluation nothing is random, and nothing of the model changes."""
        model = case.build().eval()
        before = {key: value.clone() for key, value in model.state_dict().items()}
        with torch.no_grad():
            first, again = (model(*_features(case, LENGTHS)) for _ in range(2))
        assert torch.equal(first, again), "two evaluations of the same batch differ"
        changed = [key for key, value in model.state_dict().items() if not torch.equal(value, before[key])]
        assert not changed, f"an evaluation changes {', '.join(changed)}"


def _features(
    case: ModelCase, lengths: Sequence[int], dtype: torch.dtype = torch.float32, seed: int = 1
) -> tuple[Tensor, Tensor]:
    """Random utterances, padded with zeros, and their lengths."""
    generator = torch.Generator().manual_seed(seed)
    features_BTF = torch.zeros(len(lengths), max(lengths), case.num_features)
    for row, length in enumerate(lengths):
        features_BTF[row, :length] = torch.randn(length, case.num_features, generator=generator)
    return features_BTF.to(dtype), torch.tensor(lengths)


def _outputs(
    case: ModelCase, features_BTF: Tensor, lengths_B: Tensor, training: bool
) -> tuple[Tensor, dict[str, Tensor]]:
    """Logits and statistics of a fresh model, with the same dropout each time."""
    model = case.build().to(features_BTF.dtype).train(training)
    with _random_stream():
        logits_BSV = model(features_BTF, lengths_B)
    return logits_BSV, dict(model.named_buffers())


@contextmanager
def _random_stream() -> Iterator[None]:
    """A random stream of its own, always the same; the caller's is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(5)
        yield


def _largest_difference(one: Tensor, other: Tensor) -> float:
    """Inf where shapes differ or one of them alone is not finite."""
    if one.shape != other.shape:
        return float("inf")
    if one.numel() == 0:
        return 0.0
    return float((one.detach().double() - other.detach().double()).abs().nan_to_num(nan=float("inf")).max())
