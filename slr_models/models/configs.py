"""What models can be built, as settings: read without torch, which `build` imports."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field, JsonValue

from slr_models.data.batch import FeatureGroup
from slr_models.spec import Spec
from slr_models.user_code import FactoryName

if TYPE_CHECKING:
    from slr_models.models.base import CtcModel

OUTPUT_STRIDE = 4
"""Input frames an output frame of the built-in models; at 8 some real sentences have too few frames for CTC."""

NormKind = Literal["batch", "group", "layer"]
AttentionKernel = Literal["sdpa", "written_out"]


class NetworkSpec(Spec, ABC):
    """Settings that the built-in models share, and how one is built.

    Sizes that a model's description names are those of its defaults for 225 features in three groups and a vocabulary
    of 1232; layers are counted as `CtcModel.num_layers` says.
    """

    is_stackable: ClassVar[bool] = True
    """Whether `torch.func.vmap` can run it over the stacked weights of several."""

    width: float = Field(default=1.0, ge=0.0625, le=2.0)
    """Factor on every channel count. 1 is the full-size model; 0.125 a proxy that trains on a CPU."""
    norm: NormKind = "batch"
    """Normalization of the convolutional part; its statistics come from valid frames only."""
    dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Probability of zeroing an activation in training."""
    init_scale: float = Field(default=1.0, gt=0.0, le=1e6)
    """Factor on every initial weight matrix and kernel (not on biases and norm gains)."""
    conv_scale: float = Field(default=1.0, gt=0.0, le=1e6)
    """Further factor on the initial convolution kernels."""

    def output_length(self, num_frames: int) -> int:
        """Output frames for so many input frames: ceil(T / 4)."""
        return -(-num_frames // OUTPUT_STRIDE)

    def build(self, num_features: int, groups: Sequence[FeatureGroup], vocabulary_size: int, seed: int) -> "CtcModel":
        """Makes the model on the CPU; the same seed gives the same weights.

        Raises:
            SettingError: the groups do not partition the features, or the vocabulary holds no label.
        """
        from slr_models.models.base import build_seeded, check_inputs

        check_inputs(num_features, groups, vocabulary_size)
        return build_seeded(lambda: self.network(groups, vocabulary_size), seed)

    def num_parameters(self, groups: Sequence[FeatureGroup], vocabulary_size: int) -> int:
        """Weights of the network, counted without making them."""
        import torch

        with torch.device("meta"):
            return sum(weights.numel() for weights in self.network(groups, vocabulary_size).parameters())

    @abstractmethod
    def network(self, groups: Sequence[FeatureGroup], vocabulary_size: int) -> "CtcModel":
        """The network with weights drawn from torch's generator as it is; `groups` partition the features."""


class TeacherConfig(NetworkSpec):
    """Settings of the teacher: 43.7 M parameters; 31 layers on the longest path, 69 in total."""

    kind: Literal["teacher"] = "teacher"
    num_modules: int = Field(default=9, ge=1, le=32)
    """Inception modules; each has six convolutions in at most two steps of depth."""
    num_encoder_layers: int = Field(default=2, ge=0, le=16)
    """Layers (attention and feed-forward) after the convolutions."""
    attention: bool = True
    """Whether frames attend to each other, before the convolutions and in the encoder layers."""
    attention_kernel: AttentionKernel = "sdpa"
    """How attention is computed: `sdpa` by torch's `scaled_dot_product_attention`, which keeps the scores in fp32, or
    `written_out` as softmax(QK^T)V, as `nn.MultiheadAttention` does where it returns its weights: in half precision
    the scores are half then, and in fp16 they can overflow."""
    num_heads: int = Field(default=8, ge=1, le=64)
    """Heads of each attention, at every width."""
    hidden_size: int = Field(default=1024, ge=1, le=65_536)
    """Size of the encoder at width 1; the width scales it, rounded to a multiple of the heads."""

    def network(self, groups: Sequence[FeatureGroup], vocabulary_size: int) -> "CtcModel":
        """See `NetworkSpec.network`."""
        from slr_models.models.teacher import Teacher

        return Teacher(self, groups, vocabulary_size)


class MobileNetConfig(NetworkSpec):
    """Settings of the baseline: 15.6 M parameters; 65 layers on the longest path (its source: 20 rows), 67 in total."""

    kind: Literal["baseline"] = "baseline"

    def network(self, groups: Sequence[FeatureGroup], vocabulary_size: int) -> "CtcModel":
        """See `NetworkSpec.network`."""
        from slr_models.models.mobilenet import baseline

        return baseline(self, groups, vocabulary_size)


class MobileNetTeacherConfig(NetworkSpec):
    """Settings of the scaled-up baseline, of the teacher's size without its branches and attention.

    44.4 M parameters; 182 layers on the longest path, 184 in total.
    """

    kind: Literal["mobilenet_teacher"] = "mobilenet_teacher"

    def network(self, groups: Sequence[FeatureGroup], vocabulary_size: int) -> "CtcModel":
        """See `NetworkSpec.network`."""
        from slr_models.models.mobilenet import large

        return large(self, groups, vocabulary_size)


class CnnBiLstmConfig(NetworkSpec):
    """Settings of the field's usual network: two convolutions with pooling, then a bidirectional LSTM.

    21.9 M parameters; 6 layers on the longest path, 10 in total.
    """

    kind: Literal["cnn_bilstm"] = "cnn_bilstm"
    is_stackable: ClassVar[bool] = False
    norm: NormKind = "batch"
    """Normalization of the convolutional part, by default the field's; its statistics come from valid frames only."""
    hidden_size: int = Field(default=1024, ge=1, le=65_536)
    """Channels of the convolutions, and of both directions of the LSTM together, at width 1; the width scales it,
    rounded to a multiple of 8."""
    num_lstm_layers: int = Field(default=2, ge=1, le=16)
    """Bidirectional layers."""

    def network(self, groups: Sequence[FeatureGroup], vocabulary_size: int) -> "CtcModel":
        """See `NetworkSpec.network`."""
        from slr_models.models.cnn_bilstm import CnnBiLstm

        return CnnBiLstm(self, groups, vocabulary_size)


class CustomModelConfig(Spec):
    """A model made by the user's function `factory(num_features=, groups=, vocabulary_size=, **options)`."""

    kind: Literal["custom"] = "custom"
    factory: FactoryName
    """Where the function is: `package.module:function`. It returns a `slr_models.models.base.CtcModel`."""
    options: dict[str, JsonValue] = Field(default_factory=dict)
    """Further keyword arguments of the function."""
    output_stride: int = Field(ge=1, le=1000)
    """Input frames an output frame: an utterance of T frames gives ceil(T / output_stride) outputs."""

    def output_length(self, num_frames: int) -> int:
        """Output frames for so many input frames: ceil(T / output_stride)."""
        return -(-num_frames // self.output_stride)

    def build(self, num_features: int, groups: Sequence[FeatureGroup], vocabulary_size: int, seed: int) -> "CtcModel":
        """Calls the factory under an own random stream; the same seed gives the same weights.

        Raises:
            SettingError: the groups do not partition the features, the factory cannot be imported or called
                so, or it returns something else than a CtcModel with the declared output lengths.
        """
        from slr_models.models.custom import build_custom

        return build_custom(self, num_features, groups, vocabulary_size, seed)


ModelConfig = Annotated[
    TeacherConfig | MobileNetConfig | MobileNetTeacherConfig | CnnBiLstmConfig | CustomModelConfig,
    Field(discriminator="kind"),
]
"""Any model configuration; `kind` says which."""
