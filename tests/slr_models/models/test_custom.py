"""Custom models: what is handed to the factory, and what each mistake is told."""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import torch
from torch import nn

from slr_models.data.batch import FeatureGroup
from slr_models.errors import SettingError
from slr_models.models import CtcModel, CustomModelConfig

GROUPS = (FeatureGroup("all", 0, 6),)
MODULE = """
import torch
from torch import nn
from slr_models.models.base import CtcModel

class Pointwise(CtcModel):
    def __init__(self, num_features, vocabulary_size, gain):
        super().__init__()
        self.linear = nn.Linear(num_features, vocabulary_size)
        self.gain = gain
    def forward(self, features_BTF, lengths_B):
        return self.gain * self.linear(features_BTF[:, ::2])
    def output_lengths(self, lengths_B):
        return (lengths_B + 1) // 2
    @property
    def num_layers(self):
        return 1

def make(num_features, groups, vocabulary_size, gain=1.0):
    assert groups[0].name == "all"
    return Pointwise(num_features, vocabulary_size, gain)

def make_other(num_features, groups, vocabulary_size):
    return nn.Linear(num_features, vocabulary_size)

def make_broken(num_features, groups, vocabulary_size):
    raise RuntimeError("a mistake inside the factory")

value = 3
"""


@pytest.fixture(autouse=True)
def user_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / "user_models_for_test.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    sys.modules.pop("user_models_for_test", None)


def config(function: str = "make", stride: int = 2, **options: float) -> CustomModelConfig:
    return CustomModelConfig(factory=f"user_models_for_test:{function}", options=dict(options), output_stride=stride)


def build(settings: CustomModelConfig, groups: Sequence[FeatureGroup] = GROUPS) -> torch.nn.Module:
    return settings.build(6, groups, 4, seed=3)


def test_factory_gets_sizes_and_options() -> None:
    settings = config(gain=0.0)
    model = build(settings)
    logits_BSV = model(torch.ones(1, 5, 6), torch.tensor([5]))
    assert logits_BSV.shape == (1, settings.output_length(5), 4)
    assert not logits_BSV.any()


def test_seeded() -> None:
    before = torch.random.get_rng_state()
    torch.testing.assert_close(build(config()).state_dict(), build(config()).state_dict(), atol=0, rtol=0)
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (CustomModelConfig(factory="no_such_package.x:make", output_stride=2), "cannot be imported"),
        (config("absent"), "names no function"),
        (config("value"), "names no function"),
        (config("make_other"), "returned a Linear"),
        (config(colour=1.0), "cannot be called"),
        (config(vocabulary_size=9), "must not set 'vocabulary_size'"),
        (config(stride=4), "correct model.output_stride"),
    ],
)
def test_mistakes_are_told(settings: CustomModelConfig, message: str) -> None:
    with pytest.raises(SettingError, match=message):
        build(settings)


def test_errors_inside_the_factory_name_their_place() -> None:
    with pytest.raises(
        SettingError, match=r"RuntimeError: a mistake inside the factory \(.*user_models_for_test\.py:\d+\)"
    ):
        build(config("make_broken"))


def test_groups_are_checked() -> None:
    with pytest.raises(SettingError, match="partition"):
        build(config(), (FeatureGroup("all", 0, 5),))


@pytest.mark.parametrize("factory", ["make", "package.module", "package.module:make()", ":make"])
def test_factory_is_an_import_string(factory: str) -> None:
    with pytest.raises(ValueError, match="factory"):
        CustomModelConfig(factory=factory, output_stride=2)


def test_torchs_layers_of_a_users_model_are_counted() -> None:
    class Mine(CtcModel):
        def __init__(self) -> None:
            super().__init__()
            self.attention = nn.MultiheadAttention(8, 2)
            self.lstm = nn.LSTM(8, 4, num_layers=2, bidirectional=True)
            self.body = nn.Sequential(nn.Conv1d(8, 8, 3), nn.BatchNorm1d(8), nn.Linear(8, 5))

        def forward(self, features_BTF: torch.Tensor, lengths_B: torch.Tensor) -> torch.Tensor:
            raise NotImplementedError

        def output_lengths(self, lengths_B: torch.Tensor) -> torch.Tensor:
            raise NotImplementedError

    assert (Mine().num_layers, Mine().total_layers) == (5, 7)
