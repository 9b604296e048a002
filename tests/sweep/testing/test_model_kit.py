"""The kit for models: a sound model passes, and for each check there is a model that fails it."""

from typing import Literal

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from slr_models.models.base import CtcModel, build_seeded
from slr_models.spec import Spec
from sweep.testing import ModelCase, ModelKit


class PairsConfig(Spec):
    """Linear scores of two neighbouring frames."""

    kind: Literal["pairs"] = "pairs"
    flaw: str = ""

    def output_length(self, num_frames: int) -> int:
        return num_frames // 2 if self.flaw == "another stride" else -(-num_frames // 2)

    def build(self, num_features, groups, vocabulary_size, seed) -> CtcModel:
        def make() -> CtcModel:
            return Pairs(num_features, vocabulary_size, self.flaw)

        if self.flaw == "moves the stream":
            torch.manual_seed(seed)
            return make()
        return build_seeded(make, 0 if self.flaw == "one seed for all" else seed)


class Misspelled(PairsConfig):
    """Takes settings that it does not know."""

    model_config = {"extra": "ignore"}


class Pairs(CtcModel):
    def __init__(self, num_features: int, vocabulary_size: int, flaw: str) -> None:
        super().__init__()
        self.flaw = flaw
        self.linear = nn.Linear(2 * num_features, vocabulary_size)
        self.register_buffer("mean", torch.zeros(num_features))
        if flaw == "a dead parameter":
            self.dead = nn.Parameter(torch.ones(2))

    def output_lengths(self, lengths_B: Tensor) -> Tensor:
        return (lengths_B + 1) // 2

    def forward(self, features_BTF: Tensor, lengths_B: Tensor) -> Tensor:
        flaw = self.flaw
        valid_BT1 = (torch.arange(features_BTF.shape[1]) < lengths_B[:, None])[..., None]
        if flaw == "multiplies by a mask":
            features_BTF = features_BTF * valid_BT1
        elif flaw != "reads the padding":
            features_BTF = torch.where(valid_BT1, features_BTF, 0.0)
        if flaw == "mean of the padded length":
            features_BTF = torch.where(valid_BT1, features_BTF - features_BTF.mean(1, keepdim=True), 0.0)
        if flaw == "mean of the batch":
            features_BTF = torch.where(valid_BT1, features_BTF - features_BTF[:, :1].mean(0), 0.0)
        if flaw == "statistics of the padding":
            self.mean = features_BTF.detach().mean((0, 1))
        if flaw == "statistics in evaluation" and not self.training:
            self.mean = self.mean + 1
        if flaw == "ignores a frame":
            features_BTF = features_BTF * (torch.arange(features_BTF.shape[1]) != 1)[:, None]
        if flaw == "single precision":
            features_BTF = features_BTF.float().bfloat16().to(features_BTF.dtype)
        pairs_BSF = F.pad(features_BTF, (0, 0, 0, features_BTF.shape[1] % 2)).unflatten(1, (-1, 2)).flatten(2)
        if flaw == "dropout in evaluation":
            pairs_BSF = F.dropout(pairs_BSF, 0.5)
        logits_BSV = self.linear(pairs_BSF)
        if flaw == "normalises":
            return logits_BSV.log_softmax(-1)
        if flaw == "normalises to probabilities":
            return logits_BSV.softmax(-1)
        if flaw == "no blank":
            return torch.cat((logits_BSV[..., 1:], torch.full_like(logits_BSV[..., :1], -torch.inf)), -1)
        if flaw == "an output too few":
            return logits_BSV[:, : max(1, logits_BSV.shape[1] - 1)]
        if flaw == "infinite gradient":
            return logits_BSV + torch.sqrt(self.linear.bias - self.linear.bias.detach())
        return logits_BSV


class TestASoundModel(ModelKit):
    @pytest.fixture
    def case(self) -> ModelCase:
        return ModelCase(PairsConfig())


class TestTwoLabels(ModelKit):
    """The smallest vocabulary, of the blank and one label."""

    @pytest.fixture
    def case(self) -> ModelCase:
        return ModelCase(PairsConfig(), vocabulary_size=2)


FLAWS = [
    ("test_the_configuration_is_one", Misspelled(), "takes a setting that it does not know"),
    ("test_output_lengths", "another stride", "1 frames give 1 outputs by the model's output_lengths and 0"),
    ("test_output_lengths", "an output too few", "3 frames give logits of shape"),
    ("test_output_lengths", "no blank", "logits of 1 frames are not finite"),
    ("test_outputs_are_raw_scores", "normalises", "the output is a log_softmax"),
    ("test_outputs_are_raw_scores", "normalises to probabilities", "the output is a softmax"),
    ("test_padding_has_no_effect", "reads the padding", "junk in the padding changes the logits"),
    ("test_padding_has_no_effect", "multiplies by a mask", "a NaN in the padding changes the logits .* by inf"),
    ("test_padding_has_no_effect", "mean of the padded length", "longer padding changes the logits"),
    ("test_padding_has_no_effect", "statistics of the padding", "longer padding changes the statistic mean"),
    ("test_alone_equals_in_a_batch", "mean of the batch", "alone and in a batch differ"),
    ("test_padding_gets_no_gradient_and_all_else_does", "reads the padding", "padding after 3 frames gets a gradient"),
    ("test_padding_gets_no_gradient_and_all_else_does", "ignores a frame", "frames .1. of 37 count for nothing"),
    ("test_padding_gets_no_gradient_and_all_else_does", "a dead parameter", "without a gradient: dead"),
    ("test_ctc_can_train_it", "no blank", "the CTC losses are"),
    ("test_ctc_can_train_it", "infinite gradient", "not finite: linear.bias"),
    ("test_seeds", "moves the stream", "moves the caller's random stream"),
    ("test_seeds", "one seed for all", "two seeds give the same weights"),
    ("test_evaluation_repeats_itself", "dropout in evaluation", "two evaluations of the same batch differ"),
    ("test_evaluation_repeats_itself", "statistics in evaluation", "an evaluation changes mean"),
]


@pytest.mark.parametrize(("check", "flaw", "message"), FLAWS)
def test_each_check_can_fail(check: str, flaw: str | Spec, message: str) -> None:
    config = PairsConfig(flaw=flaw) if isinstance(flaw, str) else flaw
    with pytest.raises(AssertionError, match=message):
        getattr(ModelKit(), check)(ModelCase(config))


def test_no_check_is_left_out(checks_of) -> None:
    assert {check for check, _, _ in FLAWS} == checks_of(ModelKit)


def test_a_model_that_couples_utterances_says_so() -> None:
    """As batch norm does, in training alone."""

    class Coupled(Pairs):
        def forward(self, features_BTF: Tensor, lengths_B: Tensor) -> Tensor:
            shift = features_BTF[:, 0].mean() if self.training else 0.0
            return super().forward(features_BTF, lengths_B) + shift

    class CoupledConfig(PairsConfig):
        def build(self, num_features, groups, vocabulary_size, seed) -> CtcModel:
            return build_seeded(lambda: Coupled(num_features, vocabulary_size, ""), seed)

    ModelKit().test_alone_equals_in_a_batch(ModelCase(CoupledConfig(), couples_utterances=True))
    with pytest.raises(AssertionError, match="training=True"):
        ModelKit().test_alone_equals_in_a_batch(ModelCase(CoupledConfig()))
