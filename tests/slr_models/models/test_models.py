"""What every built-in model promises: the kit for models, and sizes, initial scales, dropout, what may be observed."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from pydantic import TypeAdapter, ValidationError
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from slr_models.data.batch import FeatureGroup
from slr_models.errors import SettingError
from slr_models.models import (
    CnnBiLstmConfig,
    CtcModel,
    MobileNetConfig,
    MobileNetTeacherConfig,
    ModelConfig,
    TeacherConfig,
)
from slr_models.models.blocks import Conv, DepthwiseConv, SelfAttention
from slr_models.models.cnn_bilstm import BiLstm, halve, reversed_positions
from slr_models.models.configs import NormKind
from slr_models.models.norm import Frames
from sweep.testing import ModelCase, ModelKit

BuiltIn = TeacherConfig | MobileNetConfig | MobileNetTeacherConfig | CnnBiLstmConfig

NUM_FEATURES = 20
GROUPS = (FeatureGroup("hands", 0, 12), FeatureGroup("pose", 12, 20))
VOCABULARY_SIZE = 7
TINY = 0.0625
NORMS: Sequence[NormKind] = ("batch", "group", "layer")
TINY_CONFIGS: list[BuiltIn] = [
    *(TeacherConfig(width=TINY, norm=norm) for norm in NORMS),
    TeacherConfig(width=TINY, attention=False),
    TeacherConfig(width=TINY, attention_kernel="written_out"),
    *(MobileNetConfig(width=TINY, norm=norm) for norm in NORMS),
    *(MobileNetTeacherConfig(width=TINY, norm=norm) for norm in NORMS),
    *(CnnBiLstmConfig(width=TINY, norm=norm) for norm in NORMS),
]
FAMILIES: list[BuiltIn] = [
    TeacherConfig(width=TINY, norm="group"),
    MobileNetConfig(width=TINY, norm="group"),
    MobileNetTeacherConfig(width=TINY, norm="group"),
    CnnBiLstmConfig(width=TINY, norm="group"),
]


def name(config: BuiltIn) -> str:
    without_attention = isinstance(config, TeacherConfig) and not config.attention
    written_out = isinstance(config, TeacherConfig) and config.attention_kernel == "written_out"
    return f"{config.kind}-{config.norm}{'-no-attention' * without_attention}{'-written-out' * written_out}"


def build(config: BuiltIn, seed: int = 0) -> CtcModel:
    return config.build(NUM_FEATURES, GROUPS, VOCABULARY_SIZE, seed)


def features(lengths: Sequence[int], seed: int = 1) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    features_BTF = torch.zeros(len(lengths), max(lengths), NUM_FEATURES)
    for row, length in enumerate(lengths):
        features_BTF[row, :length] = torch.randn(length, NUM_FEATURES, generator=generator)
    return features_BTF, torch.tensor(lengths)


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.mark.parametrize(
    ("config", "parameters", "num_layers", "total_layers"),
    [
        (TeacherConfig(), 44.40e6, 31, 70),
        (MobileNetConfig(), 15.98e6, 65, 68),
        (MobileNetTeacherConfig(), 44.73e6, 182, 185),
        (CnnBiLstmConfig(), 22.57e6, 6, 11),
    ],
    ids=lambda value: value.kind if isinstance(value, BuiltIn) else "",
)
def test_full_size(config: BuiltIn, parameters: float, num_layers: int, total_layers: int) -> None:
    """At 1629 features in four groups and a vocabulary of 1232."""
    groups = tuple(FeatureGroup(str(i), round(i * 407.25), round((i + 1) * 407.25)) for i in range(4))
    assert config.num_parameters(groups, 1232) == pytest.approx(parameters, rel=5e-4)
    with torch.device("meta"):
        model = config.network(groups, 1232)
    assert (model.num_layers, model.total_layers) == (num_layers, total_layers)


def matrices_on_the_longest_path(model: CtcModel) -> int:
    """Of the autograd graph of its logits: how many operations on the way take a matrix or a kernel."""
    features_BTF, lengths_B = features([16, 9])
    first = model(features_BTF.requires_grad_(), lengths_B).grad_fn
    matrices = {id(weight) for weight in model.parameters() if weight.ndim > 1}
    # Of a node: whether it is a matrix in another shape, and else the length of the longest path to the features.
    found: dict[object, tuple[bool, int | None]] = {}
    pending = [first]
    while pending:
        node = pending[-1]
        before = [other for other, _ in node.next_functions if other is not None]
        if missing := [other for other in before if other not in found]:
            pending += missing
            continue
        pending.pop()
        lengths = [length for _, length in map(found.__getitem__, before) if length is not None]
        has_matrix = any(is_matrix for is_matrix, _ in map(found.__getitem__, before))
        if not before:
            variable = node.variable
            found[node] = id(variable) in matrices, 0 if variable is features_BTF else None
        elif lengths:
            found[node] = False, max(lengths) + has_matrix
        else:
            found[node] = has_matrix, None
    longest = found[first][1]
    assert longest is not None
    return longest


@pytest.mark.parametrize(
    "config", [TeacherConfig(width=TINY), TeacherConfig(width=TINY, attention=False, num_modules=2), *FAMILIES[1:3]]
)
def test_layers_are_those_on_the_longest_path(config: BuiltIn) -> None:
    model = build(config)
    # An attention is one layer with its two products.
    attentions = sum(isinstance(module, SelfAttention) for module in model.modules())
    assert model.num_layers == matrices_on_the_longest_path(model) - attentions


def test_teacher_layers_are_those_that_it_holds() -> None:
    model = build(TeacherConfig(width=TINY))
    modules = list(model.modules())
    attentions = sum(isinstance(module, SelfAttention) for module in modules)
    # A module's merged pointwise convolution stands for three branches: two more than it is modules.
    convolutions = sum(isinstance(module, Conv) for module in modules) + 2 * 9
    linears = sum(isinstance(module, nn.Linear) for module in modules) - 2 * attentions
    assert model.total_layers == convolutions + linears + attentions


@pytest.mark.parametrize("config", FAMILIES[1:], ids=name)
def test_layers_in_all_are_the_modules_that_hold_weights(config: BuiltIn) -> None:
    model = build(config)
    kinds = (Conv, DepthwiseConv, nn.Linear, nn.LSTM)
    assert model.total_layers == sum(isinstance(module, kinds) for module in model.modules())


class TestModels(ModelKit):
    """The kit over the built-in models, with each normalization."""

    @pytest.fixture(params=TINY_CONFIGS, ids=name)
    def case(self, request: pytest.FixtureRequest) -> ModelCase:
        return ModelCase(request.param, GROUPS, VOCABULARY_SIZE, couples_utterances=request.param.norm == "batch")

    def test_padding_gets_no_gradient_and_all_else_does(self, case: ModelCase) -> None:
        # Not the narrowest: there all few units of a squeeze layer can be dead from the start.
        wider = case.config.model_copy(update={"width": 0.125})
        super().test_padding_gets_no_gradient_and_all_else_does(replace(case, config=wider))


@pytest.mark.parametrize("config", FAMILIES, ids=name)
def test_output_length_is_a_quarter_rounded_up(config: BuiltIn) -> None:
    expected = [-(-num_frames // 4) for num_frames in range(1, 400)]
    assert [config.output_length(num_frames) for num_frames in range(1, 400)] == expected


@pytest.mark.parametrize("config", FAMILIES, ids=name)
def test_initial_scales(config: BuiltIn) -> None:
    plain = build(config)
    scaled = build(config.model_copy(update={"init_scale": 0.5, "conv_scale": 4.0}))
    for before, after in zip(plain.modules(), scaled.modules(), strict=True):
        for (key, weight), (_, scaled_weight) in zip(
            before.named_parameters(recurse=False), after.named_parameters(recurse=False), strict=True
        ):
            factor = 1.0
            if isinstance(before, Conv | DepthwiseConv):
                factor = 2.0
            elif isinstance(before, nn.Linear | nn.LSTM) and key.startswith("weight"):
                factor = 0.5
            torch.testing.assert_close(scaled_weight, weight * factor, atol=0, rtol=0)
        assert all(parameter.ndim == 1 for parameter in before.parameters(recurse=False)) or isinstance(
            before, Conv | DepthwiseConv | nn.Linear | nn.LSTM
        ), "a weight that no scale reaches"


@pytest.mark.parametrize("init_scale", [1e-12, 1e12])
@pytest.mark.parametrize("config", TINY_CONFIGS, ids=name)
def test_extreme_scales_do_not_crash(config: BuiltIn, init_scale: float) -> None:
    model = build(config.model_copy(update={"init_scale": init_scale}))
    logits_BSV = model(*features([13, 8]))
    logits_BSV.sum().backward()
    assert logits_BSV.shape == (2, 4, VOCABULARY_SIZE)


@pytest.mark.parametrize("config", FAMILIES, ids=name)
def test_dropout_acts_in_training_only(config: BuiltIn) -> None:
    model = build(config.model_copy(update={"dropout": 0.5}))
    batch = features([16, 16])
    assert not torch.equal(model(*batch), model(*batch))
    model.eval()
    torch.testing.assert_close(model(*batch), model(*batch), atol=0, rtol=0)
    torch.testing.assert_close(model(*batch), build(config).eval()(*batch), atol=0, rtol=0)


def test_attention_can_be_observed_by_a_hook() -> None:
    model = build(TeacherConfig(width=TINY))
    seen: dict[str, Tensor] = {}
    for key, module in model.named_modules():
        if isinstance(module, SelfAttention):

            def observe(module: SelfAttention, inputs: tuple[Tensor, Frames], _output: Tensor, key: str = key) -> None:
                seen[key] = module.largest_logit(*inputs)

            module.register_forward_hook(observe)
    model(*features([16, 9]))
    assert sorted(seen) == ["encoder.0.attention", "encoder.1.attention", "fusion"]
    assert all(bool(value > 0) and bool(torch.isfinite(value)) for value in seen.values())


@pytest.mark.parametrize("num_modules", [1, 2, 3, 11])
def test_any_number_of_modules_keeps_the_stride(num_modules: int) -> None:
    model = build(TeacherConfig(width=TINY, num_modules=num_modules, num_encoder_layers=0))
    assert model(*features([21])).shape == (1, 6, VOCABULARY_SIZE)


def test_heads_divide_the_sizes_at_any_width() -> None:
    config = TeacherConfig(width=0.07, num_heads=6, hidden_size=500)
    assert build(config)(*features([9])).shape == (1, 3, VOCABULARY_SIZE)


@pytest.mark.parametrize("config", FAMILIES, ids=name)
@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ((FeatureGroup("hands", 0, 12),), "cover 12 columns, but a frame has 20"),
        ((FeatureGroup("hands", 0, 12), FeatureGroup("pose", 13, 20)), "must start at 12"),
        ((FeatureGroup("hands", 0, 0), FeatureGroup("pose", 0, 20)), "not be empty"),
        ((), "cover 0 columns"),
    ],
)
def test_groups_must_partition_the_features(config: BuiltIn, groups: tuple[FeatureGroup, ...], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        config.build(NUM_FEATURES, groups, VOCABULARY_SIZE, 0)


def test_a_vocabulary_needs_a_label() -> None:
    with pytest.raises(SettingError, match="at least one label"):
        MobileNetConfig().build(NUM_FEATURES, GROUPS, 1, 0)


@pytest.mark.parametrize("lengths", [(37, 37, 37), (37, 1, 22)])
def test_the_lstm_of_each_direction_meets_the_valid_frames_alone(lengths: tuple[int, ...]) -> None:
    """As torch's bidirectional layer does over a packed sequence."""
    ours, torchs = BiLstm(6, 8), nn.LSTM(6, 4, batch_first=True, bidirectional=True)
    weights = dict(ours.lstm.state_dict())
    weights |= {f"{key}_reverse": value for key, value in ours.reversed_lstm.state_dict().items()}
    torchs.load_state_dict(weights)
    x_BSC, lengths_B = torch.randn(3, 37, 6), torch.tensor(lengths)
    packed, _ = torchs(pack_padded_sequence(x_BSC, lengths_B, batch_first=True, enforce_sorted=False))
    expected_BSD, _ = pad_packed_sequence(packed, batch_first=True, total_length=37)
    y_BSD = ours(x_BSC, reversed_positions(lengths_B, 37))
    is_valid_BS = torch.arange(37) < lengths_B[:, None]
    torch.testing.assert_close(y_BSD[is_valid_BS], expected_BSD[is_valid_BS], atol=1e-6, rtol=1e-6)


def test_pooling_keeps_a_last_odd_frame() -> None:
    x_BTC = torch.tensor([[[1.0], [3.0], [2.0]]])
    assert halve(x_BTC).flatten().tolist() == [3.0, 2.0]


def test_kind_selects_the_configuration() -> None:
    adapter: TypeAdapter[ModelConfig] = TypeAdapter(ModelConfig)
    for config in FAMILIES:
        assert adapter.validate_python(config.model_dump()) == config
    with pytest.raises(ValidationError, match="kind"):
        adapter.validate_python({"kind": "resnet"})
    with pytest.raises(ValidationError, match="extra"):
        adapter.validate_python({"kind": "baseline", "num_heads": 4})
    with pytest.raises(ValidationError, match="width"):
        adapter.validate_python({"kind": "teacher", "width": 0.01})
