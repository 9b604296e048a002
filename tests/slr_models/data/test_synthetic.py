"""The synthetic source: exact shares of bad samples, and a small model learns it."""

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from slr_models.data import SyntheticConfig
from slr_models.data.batch import Split
from slr_models.data.batches import collate
from slr_models.data.feasibility import min_frames


def num_infeasible(split: Split) -> int:
    return sum(split.lengths[i] < min_frames(split.target(i).tolist(), 4) for i in range(len(split)))


def num_with_nan(split: Split) -> int:
    return sum(bool(np.isnan(split.utterance(i)).any()) for i in range(len(split)))


@pytest.mark.parametrize("frames_per_label", [1, 3, 12])
@pytest.mark.parametrize(("infeasible_rate", "nan_rate"), [(0.0, 0.0), (0.1, 0.25), (1.0, 0.5)])
def test_bad_shares_are_exact_and_validation_is_clean(
    frames_per_label: int, infeasible_rate: float, nan_rate: float
) -> None:
    data = SyntheticConfig(
        num_train=40,
        num_valid=20,
        vocabulary_size=2,
        frames_per_label=frames_per_label,
        infeasible_rate=infeasible_rate,
        nan_rate=nan_rate,
    ).build()
    assert num_infeasible(data.train) == 40 * infeasible_rate
    assert num_with_nan(data.train) == 40 * nan_rate
    assert num_infeasible(data.valid) == num_with_nan(data.valid) == 0
    assert len(data.facts.notes) == (infeasible_rate > 0) + (nan_rate > 0)


def test_infeasible_targets_need_two_labels() -> None:
    with pytest.raises(ValidationError, match="min_labels >= 2"):
        SyntheticConfig(min_labels=1, infeasible_rate=0.1)
    with pytest.raises(ValidationError, match="must not exceed"):
        SyntheticConfig(min_labels=9)


def test_a_small_ctc_model_learns_it_in_a_hundred_steps() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    data = SyntheticConfig().build()
    model = torch.nn.Sequential(
        torch.nn.Conv1d(data.num_features, 64, 5, 2, 2),
        torch.nn.ReLU(),
        torch.nn.Conv1d(64, 64, 5, 2, 2),
        torch.nn.ReLU(),
        torch.nn.Conv1d(64, len(data.vocabulary), 1),
    )
    optimizer = torch.optim.AdamW(model.parameters(), 5e-3)
    rng = np.random.default_rng(0)

    def loss_of(split: Split, indices: list[int]) -> torch.Tensor:
        batch = collate(split, indices)
        log_probs = model(batch.features_BTF.transpose(1, 2)).permute(2, 0, 1).log_softmax(-1)
        lengths = (batch.lengths_B + 3) // 4, batch.target_lengths_B
        total = torch.nn.functional.ctc_loss(log_probs, batch.targets_BU, *lengths, reduction="sum")
        return total / batch.target_lengths_B.sum()

    everything = list(range(len(data.valid)))
    before = loss_of(data.valid, everything).item()
    for _ in range(100):
        loss = loss_of(data.train, rng.choice(len(data.train), 8, replace=False).tolist())
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    after = loss_of(data.valid, everything).item()
    assert before > 2.0
    assert after < 0.5
