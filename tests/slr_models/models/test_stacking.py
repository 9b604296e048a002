"""Several models run as one by `torch.func.vmap`: each has the losses, gradients and statistics that it has alone."""

import copy
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor
from torch.func import functional_call, stack_module_state, vmap

from slr_models.ctc import ctc_losses
from slr_models.data.batch import FeatureGroup
from slr_models.models import CtcModel, MobileNetConfig, MobileNetTeacherConfig, TeacherConfig
from slr_models.models.configs import NetworkSpec, NormKind

NUM_FEATURES = 20
GROUPS = (FeatureGroup("hands", 0, 12), FeatureGroup("pose", 12, 20))
VOCABULARY_SIZE = 7
TARGETS_BU = torch.tensor([[1, 2], [3, 1], [4, 5]])
TARGET_LENGTHS_B = torch.tensor([2, 1, 2])
RAGGED = ([40, 23, 31], [29, 29, 12], [33, 9, 17])
"""Frames of the utterances of each model."""
FULL = ([32, 32, 32], [32, 32, 32], [32, 32, 32])
WIDTH = 0.125
NORMS: Sequence[NormKind] = ("batch", "group", "layer")
CONFIGS: list[NetworkSpec] = [
    *(TeacherConfig(width=WIDTH, norm=norm, num_modules=3) for norm in NORMS),
    TeacherConfig(width=WIDTH, num_modules=1, attention=False),
    # Heads large enough for torch's own attention.
    TeacherConfig(width=WIDTH, num_modules=1, num_heads=2),
    TeacherConfig(width=WIDTH, num_modules=1, attention_kernel="written_out"),
    *(MobileNetConfig(width=WIDTH, norm=norm) for norm in NORMS),
    *(MobileNetTeacherConfig(width=0.0625, norm=norm) for norm in NORMS),
]


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def name(config: NetworkSpec) -> str:
    options = config.model_dump(exclude_defaults=True, exclude={"kind", "width", "num_modules", "norm"})
    return "-".join([config.kind, config.norm, *options])  # type: ignore[attr-defined]


def losses_of(logits_BSV: Tensor, model: CtcModel, lengths_B: Tensor) -> Tensor:
    return ctc_losses(logits_BSV, model.output_lengths(lengths_B), TARGETS_BU, TARGET_LENGTHS_B)


def largest_difference(alone: dict[str, Tensor], stacked: dict[str, Tensor]) -> float:
    """Relative to the largest value of a tensor, or a thousandth of the largest of all: some gradients are 0 but for
    rounding, as that of a bias before a batch norm."""
    least = max(tensor.abs().max().item() for tensor in alone.values()) / 1000
    return max(
        (tensor - stacked[key]).abs().max().item() / max(tensor.abs().max().item(), least)
        for key, tensor in alone.items()
    )


@pytest.mark.parametrize(
    ("frames", "dtype"),
    [(RAGGED, torch.float32), (RAGGED, torch.float64), (FULL, torch.float64)],
    ids=["ragged-float32", "ragged-float64", "full-float64"],
)
@pytest.mark.parametrize("config", CONFIGS, ids=name)
def test_each_of_a_stack_is_what_it_is_alone(
    config: NetworkSpec, dtype: torch.dtype, frames: tuple[list[int], ...]
) -> None:
    tolerance = 1e-9
    if dtype == torch.float32:
        # The deepest model's own gradients in float32 are up to 5e-2 from those in float64.
        tolerance = 2e-3 if isinstance(config, MobileNetTeacherConfig) else 1e-4
    models = [config.build(NUM_FEATURES, GROUPS, VOCABULARY_SIZE, seed).to(dtype) for seed in range(3)]
    generator = torch.Generator().manual_seed(1)
    lengths_MB = torch.tensor(frames)
    longest = int(lengths_MB.max())
    features_MBTF = torch.randn(3, 3, longest, NUM_FEATURES, generator=generator, dtype=dtype)
    weights, buffers = stack_module_state([*models])
    shape = copy.deepcopy(models[0]).to("meta")

    def logits_of(one: dict[str, Tensor], state: dict[str, Tensor], x_BTF: Tensor, lengths_B: Tensor) -> Tensor:
        logits_BSV: Tensor = functional_call(shape, (one, state), (x_BTF, lengths_B))
        return logits_BSV

    logits_MBSV = vmap(logits_of)(weights, buffers, features_MBTF, lengths_MB)
    losses_MB = torch.stack(
        [
            losses_of(logits, model, lengths)
            for logits, model, lengths in zip(logits_MBSV, models, lengths_MB, strict=True)
        ]
    )
    losses_MB.sum().backward()

    found: dict[str, float] = {}
    for index, (model, lengths_B) in enumerate(zip(models, lengths_MB, strict=True)):
        # Alone, a model's batch is as long as its own longest utterance.
        alone_BTF = features_MBTF[index, :, : int(lengths_B.max())]
        losses_B = losses_of(model(alone_BTF, lengths_B), model, lengths_B)
        losses_B.sum().backward()
        found[f"losses of {index}"] = largest_difference({"": losses_B}, {"": losses_MB[index]})
        found[f"gradients of {index}"] = largest_difference(
            {key: weight.grad for key, weight in model.named_parameters() if weight.grad is not None},
            {key: weights_M.grad[index] for key, weights_M in weights.items() if weights_M.grad is not None},
        )
        if config.norm == "batch":
            statistics = dict(model.named_buffers())
            found[f"statistics of {index}"] = largest_difference(
                statistics, {key: buffers[key][index] for key in statistics}
            )
    assert max(found.values()) <= tolerance, found
