"""CTC mathematics against torch's ctc_loss, direct minimisation and brute force."""

import itertools
import math
import random
import sys
import time
from collections import Counter

import pytest
import torch
import torch.nn.functional as F
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor

from slr_models import ctc
from slr_models.errors import SettingError

torch.set_num_threads(1)


def pad(targets: list[list[int]]) -> tuple[Tensor, Tensor]:
    longest = max(len(target) for target in targets)
    padded = torch.tensor([target + [0] * (longest - len(target)) for target in targets]).reshape(len(targets), longest)
    return padded, torch.tensor([len(target) for target in targets])


def random_task(
    seed: int, num: int, vocabulary: int, frames: tuple[int, int], labels: tuple[int, int]
) -> tuple[list[int], list[list[int]]]:
    rng = random.Random(seed)
    targets = [[rng.randint(1, vocabulary - 1) for _ in range(rng.randint(*labels))] for _ in range(num)]
    return [rng.randint(*frames) for _ in range(num)], targets


def test_losses_equal_torch_mean_and_ignore_padding() -> None:
    torch.manual_seed(0)
    lengths, targets = random_task(0, 6, 9, (8, 12), (1, 4))
    padded, target_lengths = pad(targets)
    logits = torch.randn(6, 12, 9)
    losses = ctc.ctc_losses(logits, torch.tensor(lengths), padded, target_lengths)
    peer = F.ctc_loss(logits.log_softmax(-1).transpose(0, 1), padded, torch.tensor(lengths), target_lengths)
    torch.testing.assert_close(losses.mean(), peer)
    junk = logits.clone()
    for row, length in enumerate(lengths):
        junk[row, length:] = 1e3
    torch.testing.assert_close(ctc.ctc_losses(junk, torch.tensor(lengths), padded, target_lengths), losses)


def test_losses_are_normalised_in_float32() -> None:
    logits = torch.randn(2, 7, 5, generator=torch.Generator().manual_seed(1)).half()
    padded, target_lengths = pad([[1, 2], [3]])
    losses = ctc.ctc_losses(logits, torch.tensor([7, 7]), padded, target_lengths)
    assert losses.dtype == torch.float32
    # Shifting logits changes nothing: they are normalised inside.
    shifted = ctc.ctc_losses(logits.float() + 3, torch.tensor([7, 7]), padded, target_lengths)
    torch.testing.assert_close(losses, shifted)


@pytest.mark.parametrize(
    ("frames", "target"), [(3, [1, 2, 3]), (4, [1, 1, 2]), (3, [1, 1, 2]), (2, [1, 2, 3]), (1, [])]
)
def test_feasible_exactly_when_the_loss_is_finite(frames: int, target: list[int]) -> None:
    padded, target_lengths = pad([target, [1]])
    logits = torch.zeros(2, 5, 4)
    loss = ctc.ctc_losses(logits, torch.tensor([frames, 5]), padded, target_lengths)[0]
    assert ctc.is_feasible(frames, target) == bool(torch.isfinite(loss))
    if not ctc.is_feasible(frames, target):
        assert loss == math.inf


def test_num_repeats() -> None:
    assert ctc.num_repeats([5, 5, 5, 3]) == 2
    assert ctc.num_repeats([1, 2, 1, 2]) == 0
    assert ctc.num_repeats([]) == 0


def test_uniform_loss_is_torch_loss_of_zero_logits() -> None:
    lengths, targets = random_task(2, 50, 6, (10, 30), (0, 8))
    lengths[0], targets[0] = 3, [1, 1, 1]  # infeasible: left out
    padded, target_lengths = pad(targets[1:])
    losses = ctc.ctc_losses(torch.zeros(49, 30, 6), torch.tensor(lengths[1:]), padded, target_lengths)
    assert ctc.uniform_loss(lengths, targets, 6) == pytest.approx(float(losses.mean()), rel=2e-6)


def directly_minimised(pairs: list[tuple[int, list[int]]], vocabulary: int, blank_logits: tuple[float, ...]) -> float:
    """Least torch CTC loss of a constant output, from several starts."""
    padded, target_lengths = pad([target for _, target in pairs])
    output_lengths = torch.tensor([frames for frames, _ in pairs])
    longest = int(output_lengths.max())
    if longest == 0:
        return 0.0

    def minimised(blank_logit: float) -> float:
        logits = torch.randn(vocabulary, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) / 4
        logits[ctc.BLANK] = blank_logit
        logits.requires_grad_()
        optimizer = torch.optim.LBFGS([logits], max_iter=200, line_search_fn="strong_wolfe")

        def closure() -> Tensor:
            optimizer.zero_grad()
            log_probs = logits.log_softmax(0).expand(longest, len(pairs), vocabulary)
            loss = F.ctc_loss(log_probs, padded, output_lengths, target_lengths)
            loss.backward()
            return loss

        optimizer.step(closure)
        return closure().item()

    return min(map(minimised, blank_logits))


@pytest.mark.parametrize(
    ("num", "vocabulary", "frames", "labels"),
    [
        (100, 27, (20, 20), (3, 6)),
        (60, 4, (12, 40), (0, 12)),
        (40, 12, (6, 8), (3, 3)),
        (60, 2, (9, 60), (1, 4)),
        (2, 4, (900, 1000), (100, 300)),
        (3, 3, (1500, 1500), (1, 2)),
    ],
)
def test_constant_floor_is_the_directly_minimised_ctc_loss(
    num: int, vocabulary: int, frames: tuple[int, int], labels: tuple[int, int]
) -> None:
    lengths, targets = random_task(3, num, vocabulary, frames, labels)
    pairs = [(n, t) for n, t in zip(lengths, targets, strict=True) if ctc.is_feasible(n, t)]
    floor = ctc.constant_floor(lengths, targets, vocabulary)
    assert floor == pytest.approx(directly_minimised(pairs, vocabulary, (0.0, -3.0)), rel=1e-4)
    assert floor < ctc.uniform_loss(lengths, targets, vocabulary)


small_sample = st.tuples(st.integers(0, 9), st.lists(st.integers(1, 3), max_size=4))


@pytest.mark.slow
@settings(max_examples=60, deadline=None, derandomize=True)
@example(samples=[(2, [1, 2]), (7, [1, 2])])
@given(samples=st.lists(small_sample, min_size=1, max_size=4))
def test_constant_floor_of_any_small_data_is_the_directly_minimised_ctc_loss(
    samples: list[tuple[int, list[int]]],
) -> None:
    pairs = [(frames, target) for frames, target in samples if ctc.is_feasible(frames, target)]
    floor = ctc.constant_floor([frames for frames, _ in samples], [target for _, target in samples], 4)
    if not pairs:
        assert math.isnan(floor)
        return
    direct = directly_minimised(pairs, 4, (0.0, -6.0, 4.0))
    assert floor == pytest.approx(direct, abs=2e-3)


@pytest.mark.parametrize(
    ("num", "vocabulary", "frames", "labels"),
    [
        (50, 27, (1500, 1500), (400, 400)),
        (5, 1200, (2000, 2000), (300, 300)),
        (20, 50, (700, 1600), (0, 320)),
        (3, 3, (3000, 3000), (1, 2)),
    ],
)
def test_constant_floor_of_long_outputs_is_finite_and_fast(
    num: int, vocabulary: int, frames: tuple[int, int], labels: tuple[int, int]
) -> None:
    lengths, targets = random_task(6, num, vocabulary, frames, labels)
    start = time.process_time()
    floor = ctc.constant_floor(lengths, targets, vocabulary)
    assert time.process_time() - start < 5
    assert 0 < floor < ctc.uniform_loss(lengths, targets, vocabulary)


def test_constant_floor_where_no_frame_is_spare() -> None:
    assert ctc.constant_floor([2, 2], [[1, 2], [2, 1]], 3) == pytest.approx(math.log(2))
    assert ctc.constant_floor([3], [[1, 1]], 3) == pytest.approx(1.5 * math.log(3) - math.log(2))
    assert ctc.constant_floor([0, 4], [[], []], 3) == 0


@pytest.mark.slow
def test_constant_floor_holds_a_label_where_blanks_are_worse() -> None:
    """One label for 2000 frames: all frames on it lose nothing, one frame among blanks loses a nat."""
    assert ctc.constant_floor([2000], [[1]], 3) == pytest.approx(0, abs=1e-6)
    # And with a rare label, whose power 2000 is less than any float.
    assert 0 < ctc.constant_floor([2000] * 100, [[1]] * 99 + [[2]], 3) < 1.1


def test_constant_floor_matches_the_approximate_closed_form_and_is_fast() -> None:
    lengths, targets = random_task(4, 800, 27, (20, 20), (4, 4))
    start = time.process_time()
    floor = ctc.constant_floor(lengths, targets, 27)
    assert time.process_time() - start < 1
    counts = Counter(label for target in targets for label in target)
    entropy = -sum(n / 3200 * math.log(n / 3200) for n in counts.values())
    assert floor == pytest.approx(entropy + math.log(2 * math.pi * 4 * (1 - 4 / 20)) / 8, rel=0.025)


def test_floors_without_a_feasible_sample_are_nan() -> None:
    assert math.isnan(ctc.constant_floor([1], [[1, 2]], 3))
    assert math.isnan(ctc.uniform_loss([], [], 3))


def test_constant_floor_rejects_labels_outside_the_vocabulary() -> None:
    with pytest.raises(SettingError, match=r"labels in 1\.\.3"):
        ctc.constant_floor([9], [[1, 4]], 4)
    with pytest.raises(SettingError, match="0 is the blank"):
        ctc.constant_floor([9], [[1, 0]], 4)


def collapse(path: tuple[int, ...]) -> list[int]:
    return [label for label, _ in itertools.groupby(path) if label != ctc.BLANK]


@settings(max_examples=60, deadline=None)
@given(path=st.lists(st.integers(0, 3), max_size=8))
def test_greedy_decode_merges_repeats_and_ignores_padding(path: list[int]) -> None:
    frames = torch.tensor([*path, 2, 3, 1])
    logits = F.one_hot(frames, 4).float()[None]
    assert ctc.greedy_decode(logits, torch.tensor([len(path)])) == [collapse(tuple(path))]


def test_beam_decode_finds_the_most_probable_sequence() -> None:
    pytest.importorskip("ctc_beam_decoder")
    torch.manual_seed(0)
    differs_from_greedy = 0
    for seed in range(40):
        num_frames, vocabulary = random.Random(seed).randint(1, 5), 4
        logits = torch.randn(1, num_frames + 2, vocabulary) * 2
        log_probs = logits[0].log_softmax(-1).tolist()
        totals: dict[tuple[int, ...], float] = {}
        for path in itertools.product(range(vocabulary), repeat=num_frames):
            key = tuple(collapse(path))
            totals[key] = totals.get(key, 0.0) + math.exp(sum(log_probs[s][v] for s, v in enumerate(path)))
        best = list(max((total, key) for key, total in totals.items())[1])
        lengths = torch.tensor([num_frames])
        assert ctc.beam_decode(logits, lengths, beam_width=100) == [best]
        differs_from_greedy += ctc.greedy_decode(logits, lengths) != [best]
    assert differs_from_greedy > 0


def test_decoders_survive_nan_and_empty_utterances() -> None:
    pytest.importorskip("ctc_beam_decoder")
    logits, lengths = torch.full((2, 3, 4), math.nan), torch.tensor([3, 0])
    assert ctc.greedy_decode(logits, lengths) == [[], []]
    assert ctc.beam_decode(logits, lengths, beam_width=4) == [[], []]


def test_beam_decode_names_the_missing_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ctc_beam_decoder", None)
    with pytest.raises(SettingError, match=r"slr-stability-sweep\[beam\]"):
        ctc.beam_decode(torch.zeros(1, 1, 2), torch.tensor([1]), beam_width=4)


def test_blank_rate_counts_valid_frames_only() -> None:
    logits = torch.zeros(2, 4, 3)
    logits[:, :, 1] = 1.0
    logits[0, :2, ctc.BLANK] = 5.0
    logits[:, 3, ctc.BLANK] = math.nan
    assert float(ctc.blank_rate(logits, torch.tensor([3, 1]))) == pytest.approx(2 / 4)


def test_input_dependence_spans_zero_to_ln_v() -> None:
    lengths = torch.tensor([4, 2])
    constant = torch.randn(5).expand(2, 4, 5).clone()
    constant[1, 2:] = math.nan  # padding
    assert abs(float(ctc.input_dependence(constant, lengths))) < 1e-6
    certain = torch.full((2, 4, 3), -40.0)
    for row, frame, label in [(0, 0, 0), (0, 1, 1), (0, 2, 2), (0, 3, 0), (1, 0, 1), (1, 1, 2)]:
        certain[row, frame, label] = 40.0
    assert float(ctc.input_dependence(certain, lengths)) == pytest.approx(math.log(3), rel=1e-6)


def test_a_second_log_softmax_changes_nothing_and_a_softmax_caps_every_probability() -> None:
    torch.manual_seed(3)
    logits_BSV = (10 * torch.randn(2, 7, 5)).requires_grad_()
    padded, target_lengths = pad([[1, 2], [3]])
    lengths = torch.tensor([7, 6])

    def loss(normalization: ctc.OutputNormalization) -> Tensor:
        return ctc.ctc_losses(ctc.as_scores(logits_BSV, normalization), lengths, padded, target_lengths).sum()

    (gradient,) = torch.autograd.grad(loss("once"), logits_BSV)
    (twice,) = torch.autograd.grad(loss("log_softmax_twice"), logits_BSV)
    torch.testing.assert_close(loss("log_softmax_twice"), loss("once"))
    torch.testing.assert_close(twice, gradient)
    # The best case of the other: all the mass on one label. Even then V - 1 others keep 1 / (e + V - 1) each.
    certain_BSV = 100 * F.one_hot(torch.tensor([[1, 2, 3]]), 5)
    capped_BSV = F.softmax(ctc.as_scores(certain_BSV, "softmax_then_log_softmax"), dim=-1)
    torch.testing.assert_close(capped_BSV.amax(dim=-1), torch.full((1, 3), math.e / (math.e + 4)))


def test_sureness_is_zero_where_nothing_is_said_and_padding_is_no_part_of_it() -> None:
    logits_BSV = torch.zeros(2, 5, 4)
    lengths_B = torch.tensor([5, 3])
    assert ctc.sureness(logits_BSV, lengths_B).item() == pytest.approx(0.0, abs=1e-6)
    logits_BSV[1, 3:] = math.nan
    assert ctc.sureness(logits_BSV, lengths_B).item() == pytest.approx(0.0, abs=1e-6)
    logits_BSV[0, 0, 0] = 3.0
    probs = torch.softmax(torch.tensor([3.0, 0.0, 0.0, 0.0]), 0)
    expected = sum(0.25 * math.log(0.25 / p) for p in probs.tolist()) / 8
    assert ctc.sureness(logits_BSV, lengths_B).item() == pytest.approx(expected, rel=1e-5)
