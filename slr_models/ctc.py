"""Connectionist temporal classification: losses, length contract, zero-information floor, decoding.

Dimension legend: B batch, S output frames, U labels of a target, V vocabulary with the blank at index 0.

A target of U labels with r adjacent repeats (equal neighbours) can be aligned with S frames if and only if
`S >= U + r`: every repeat needs a blank between. Otherwise its loss is infinite, and nothing here hides that.
"""

import itertools
import math
from collections.abc import Sequence
from typing import assert_never

import numpy as np
import numpy.typing as npt
import scipy.sparse
import torch
import torch.nn.functional as F
from torch import Tensor

from slr_models.errors import SettingError
from slr_models.spec import OutputNormalization
from slr_models.transfer import to_device

Floats = npt.NDArray[np.float64]

BLANK = 0
"""Index of the blank in every vocabulary."""


_SMALLEST_SHARE = 1e-300
"""Stands for a probability of zero, whose logarithm would be none."""
_LARGEST_COEFFICIENT = 1e100
"""Where a series is scaled down; far from the largest float, because the next coefficient may be much larger."""

_FIRST_SYMBOL = 0xF0000
"""Start of a private Unicode plane: one character a label makes the beam decoder's text a label sequence."""


def as_scores(logits_BSV: Tensor, normalization: OutputNormalization) -> Tensor:
    """What a model that normalises its output hands to the loss, which normalises it once more, [B, S, V].

    | normalization              | the loss sees                                                                      |
    |----------------------------|------------------------------------------------------------------------------------|
    | `once`                     | the logits themselves                                                              |
    | `log_softmax_twice`        | log-probabilities: their log_softmax is the same, so nothing changes but rounding  |
    | `softmax_then_log_softmax` | probabilities as if they were logits: none can then exceed e / (e + V - 1)         |

    Args:
        logits_BSV: raw scores of a model.
        normalization: how the code under study normalises.
    """
    match normalization:
        case "once":
            return logits_BSV
        case "log_softmax_twice":
            return F.log_softmax(logits_BSV.float(), dim=-1)
        case "softmax_then_log_softmax":
            return F.softmax(logits_BSV.float(), dim=-1)
        case _:
            assert_never(normalization)


def ctc_losses(logits_BSV: Tensor, output_lengths_B: Tensor, targets_BU: Tensor, target_lengths_B: Tensor) -> Tensor:
    """CTC loss a label of every sample, [B], nats.

    Each entry is the sample's negative log-likelihood divided by its number of labels (by 1 for an empty
    target), so the mean over B equals torch's `reduction="mean"`. The logits are normalised here, once, in
    float32. A sample that cannot be aligned has loss inf (and NaN gradients).

    Args:
        logits_BSV: unnormalised scores; padding frames do not matter.
        output_lengths_B: valid frames, int64. On the CPU, as torch would fetch them from a GPU, and wait.
        targets_BU: labels in 1..V-1, padded with anything in 0..V-1.
        target_lengths_B: valid labels, int64; on the CPU likewise.
    """
    log_probs_SBV = F.log_softmax(logits_BSV.float(), dim=-1).transpose(0, 1)
    losses_B = F.ctc_loss(log_probs_SBV, targets_BU, output_lengths_B, target_lengths_B, blank=BLANK, reduction="none")
    return losses_B / to_device(target_lengths_B.clamp(min=1), losses_B.device)


def num_repeats(target: Sequence[int]) -> int:
    """Adjacent equal labels: 2 in (5, 5, 5, 3)."""
    return sum(left == right for left, right in zip(target, target[1:], strict=False))


def is_feasible(num_output_frames: int, target: Sequence[int]) -> bool:
    """Whether CTC can align the target with so many frames."""
    return num_output_frames >= len(target) + num_repeats(target)


def uniform_loss(output_lengths: Sequence[int], targets: Sequence[Sequence[int]], vocabulary_size: int) -> float:
    """Loss of a uniform output, nats a label, mean over the feasible samples (NaN if there is none).

    All alignments are equally likely, so a sample's loss is `S ln V - ln C(S + U - r, S - U - r)`.
    """
    losses = [
        (
            frames * math.log(vocabulary_size)
            - _log_binomial(frames + len(target) - num_repeats(target), 2 * len(target))
        )
        / max(len(target), 1)
        for frames, target in _feasible(output_lengths, targets)
    ]
    return math.fsum(losses) / len(losses) if losses else math.nan


def constant_floor(output_lengths: Sequence[int], targets: Sequence[Sequence[int]], vocabulary_size: int) -> float:
    """Zero-information floor: the best loss of one probability vector for all frames of all samples.

    Whoever ignores the input cannot do better; a loss near this value means "learned nothing", however far
    it fell. Counted as in training: nats a label, mean over the feasible samples (NaN if there is none).

    With a constant output p (blank b), the sum over the alignments of a target y is the coefficient of z^S in
    `(b z)^r prod_i(p_yi z / (1 - p_yi z)) / (1 - b z)^(U + 1)`, so the fit needs neither frames nor V.
    """
    samples = _feasible(output_lengths, targets)
    if not samples:
        return math.nan
    labels = sorted({label for _, target in samples for label in target})
    if labels and not 0 < labels[0] <= labels[-1] < vocabulary_size:
        raise SettingError(
            f"targets must hold labels in 1..{vocabulary_size - 1} (0 is the blank), "
            f"but they range over {labels[0]}..{labels[-1]}"
        )
    position = {label: index + 1 for index, label in enumerate(labels)}
    return _ConstantPredictor(samples, position).minimum()


class _ConstantPredictor:
    """Exact CTC loss of a constant output, and its minimum.

    Legend: N samples, K labels that occur plus the blank, P powers.
    """

    def __init__(self, samples: Sequence[tuple[int, Sequence[int]]], position: dict[int, int]) -> None:
        num_labels = np.array([len(target) for _, target in samples])
        repeats = np.array([num_repeats(target) for _, target in samples])
        columns = np.array([position[label] for _, target in samples for label in target], dtype=np.int64)
        rows = np.repeat(np.arange(len(samples)), num_labels)
        shape = (len(samples), len(position) + 1)
        counts = scipy.sparse.csr_array((np.ones(len(rows)), (rows, columns)), shape=shape)
        slots = scipy.sparse.csr_array((num_labels + 1.0, (np.arange(len(samples)), np.zeros_like(repeats))), shape)
        # How often the label or blank k may be held for any number of extra frames.
        self._holders_NK = (counts + slots).tocsr()
        self._weights_N = 1 / np.maximum(num_labels, 1) / len(samples)
        # Frames left after one for each label and one blank for each repeat.
        self._spare_N = np.array([frames for frames, _ in samples]) - num_labels - repeats
        self._fixed_K = counts.T @ self._weights_N
        self._fixed_K[BLANK] = self._weights_N @ repeats
        self._unigram_K = np.bincount(columns, minlength=shape[1]) / max(len(columns), 1)

    def minimum(self) -> float:
        """Best loss, by expectation-maximisation from several starts.

        The frames between two labels are bridged by blanks or by holding a label, so one start has many blanks and
        one few. Labels that are equally frequent would stay equal for ever, although holding only one of them can
        be better, so a third start tells them apart. A handful of tiny samples can still hide a better minimum.
        """
        ranks_K = np.arange(len(self._unigram_K))
        tilted_K = self._unigram_K / (1 + ranks_K)
        starts = [(self._unigram_K, 0.5), (self._unigram_K, 0.001), (tilted_K / max(tilted_K.sum(), 1e-12), 0.001)]
        # A certain output loses nothing, up to rounding.
        return max(0.0, min(self._descend(labels_K, blank_share) for labels_K, blank_share in starts))

    def _descend(self, labels_K: Floats, blank_share: float) -> float:
        """The local minimum that is reached from these label frequencies and this share of blanks.

        Each round sets the probabilities to the expected shares of frames, so the loss can only fall.
        """
        probs_K = labels_K * (1 - blank_share)
        probs_K[BLANK] = blank_share
        loss, frames_K = self._expect(np.log(np.maximum(probs_K, _SMALLEST_SHARE)))
        previous = math.inf
        while previous - loss > 1e-9:
            previous = loss
            # Where no frame is spare the blank may hold none, and where there is no frame nothing holds any.
            frames_K = np.maximum(frames_K, _SMALLEST_SHARE)
            loss, frames_K = self._expect(np.log(frames_K / frames_K.sum()))
        return loss

    def _expect(self, log_probs_K: Floats) -> tuple[float, Floats]:
        """The loss, and the expected number of frames that each label and the blank hold (weighted, [K])."""
        num_powers = int(self._spare_N.max())
        # Each sample is taken relative to (just above) the largest probability of its own holders, so that powers
        # neither overflow nor all vanish; few references, because each needs its own powers.
        width = 200 / max(num_powers, 1)
        largest_N = np.maximum.reduceat(log_probs_K[self._holders_NK.indices], self._holders_NK.indptr[:-1])
        reference_N = np.ceil(largest_N / width) * width
        groups = [
            (rows := np.flatnonzero(reference_N == reference), self._holders_NK[rows], reference)
            for reference in np.unique(reference_N)
        ]

        power_sums_NP = np.empty((len(self._spare_N), num_powers))
        for rows, holders, reference in groups:
            power_sums_NP[rows] = np.asarray(holders @ _powers(log_probs_K - reference, num_powers))
        series_NP, log_scale_N = self._series(power_sums_NP)
        rows_N = np.arange(len(self._spare_N))
        chosen_N = series_NP[rows_N, self._spare_N]
        log_chosen_N = np.log(chosen_N) + log_scale_N + self._spare_N * reference_N
        loss = -(self._fixed_K @ log_probs_K + self._weights_N @ log_chosen_N)
        # d ln h_n / d ln p_k sums the expected extra frames: h_(n-m) p_k^m / h_n over m.
        earlier_NP = self._spare_N[:, None] - np.arange(1, num_powers + 1)
        shares_NP = np.where(earlier_NP >= 0, series_NP[rows_N[:, None], np.maximum(earlier_NP, 0)], 0.0)
        shares_NP *= (self._weights_N / chosen_N)[:, None]
        frames_K = self._fixed_K.copy()
        for rows, holders, reference in groups:
            frames_K += ((holders.T @ shares_NP[rows]) * _powers(log_probs_K - reference, num_powers)).sum(axis=1)
        return float(loss), frames_K

    def _series(self, power_sums_NP: Floats) -> tuple[Floats, Floats]:
        """Coefficients h_0 .. h_spare of prod 1 / (1 - p z), and the ln factor that each sample's are short of.

        Newton's identity: n h_n = sum_k p_k h_(n-k), with the power sums p_k. They may grow beyond any float, so a
        sample is scaled down where it must be; coefficients that vanish thereby are too small to matter.
        """
        num_samples, num_powers = power_sums_NP.shape
        series_NP = np.zeros((num_samples, num_powers + 1))
        series_NP[:, 0] = 1.0
        log_scale_N = np.zeros(num_samples)
        for n in range(1, num_powers + 1):
            coefficient_N = np.einsum("np,np->n", power_sums_NP[:, :n], series_NP[:, n - 1 :: -1]) / n
            # Beyond its spare frames a sample needs none, and must not be scaled for their sake.
            series_NP[:, n] = np.where(n <= self._spare_N, coefficient_N, 0.0)
            if series_NP[:, n].max() > _LARGEST_COEFFICIENT:
                grown = series_NP[:, n] > _LARGEST_COEFFICIENT
                factor = series_NP[grown, n]
                series_NP[grown, : n + 1] /= factor[:, None]
                log_scale_N[grown] += np.log(factor)
        return series_NP, log_scale_N


def _powers(relative_log_probs_K: Floats, num_powers: int) -> Floats:
    """Powers 1 .. P of the probabilities relative to a reference, [K, P].

    What is larger than the reference counts as 1: no sample that is taken relative to this reference holds it.
    """
    powers_KP: Floats = np.exp(np.outer(np.minimum(relative_log_probs_K, 0.0), np.arange(1, num_powers + 1)))
    return powers_KP


def greedy_decode(logits_BSV: Tensor, output_lengths_B: Tensor) -> list[list[int]]:
    """Best label a frame, repeats merged, blanks removed; padding frames are not read."""
    best_BS = logits_BSV.argmax(dim=-1).tolist()
    valid = [frames[:length] for frames, length in zip(best_BS, output_lengths_B.tolist(), strict=True)]
    return [[label for label, _ in itertools.groupby(frames) if label != BLANK] for frames in valid]


def beam_decode(logits_BSV: Tensor, output_lengths_B: Tensor, beam_width: int) -> list[list[int]]:
    """Most probable label sequence by prefix-beam search; no language model, padding frames are not read.

    Labels below e^-9 in a frame are not tried there. An utterance with a NaN decodes to nothing.

    Raises:
        SettingError: the package `ctc-beam-decoder` is not installed.
    """
    try:
        from ctc_beam_decoder import BeamSearchDecoder
    except ImportError as error:
        raise SettingError(
            "beam decoding needs the package ctc-beam-decoder: pip install 'slr-stability-sweep[beam]', "
            "or use greedy decoding"
        ) from error
    num_labels = logits_BSV.shape[-1] - 1
    # The empty string is the decoder's name for the blank.
    decoder = BeamSearchDecoder(["", *(chr(_FIRST_SYMBOL + label) for label in range(1, num_labels + 1))])
    log_probs_BSV = F.log_softmax(logits_BSV.detach().float(), dim=-1).cpu()
    decoded: list[list[int]] = []
    for log_probs_SV, length in zip(log_probs_BSV, output_lengths_B.tolist(), strict=True):
        valid_SV = log_probs_SV[:length]
        if length == 0 or bool(valid_SV.isnan().any()):
            decoded.append([])
            continue
        # The default pruning (tokens below e^-5, beams 10 nats behind) can lose the best sequence.
        beams = decoder.decode_beams(
            valid_SV.numpy(), beam_width=beam_width, beam_prune_logp=-30.0, token_min_logp=-9.0
        )
        decoded.append([ord(symbol) - _FIRST_SYMBOL for symbol in beams[0][0]])
    return decoded


def sureness(logits_BSV: Tensor, lengths_B: Tensor) -> Tensor:
    """Mean KL(uniform || output) over the valid frames, nats: 0 where every label is as likely; a scalar.

    Args:
        logits_BSV: scores, not normalised.
        lengths_B: valid output frames of each utterance.
    """
    log_probs_BSV = logits_BSV.float().log_softmax(-1)
    apart_BS = -log_probs_BSV.mean(-1) - math.log(log_probs_BSV.shape[-1])
    valid_BS = _valid_frames(logits_BSV, lengths_B)
    return apart_BS.masked_fill(~valid_BS, 0.0).sum() / valid_BS.sum()


def blank_rate(logits_BSV: Tensor, output_lengths_B: Tensor) -> Tensor:
    """Share of the batch's valid frames whose best label is the blank, a scalar on the logits' device."""
    valid_BS = _valid_frames(logits_BSV, output_lengths_B)
    blank_BS = torch.where(valid_BS, logits_BSV.detach().argmax(dim=-1) == BLANK, False)
    return blank_BS.sum() / valid_BS.sum()


def input_dependence(logits_BSV: Tensor, output_lengths_B: Tensor) -> Tensor:
    """How much the output says of the frame, `H(mean p) - mean H(p)` over valid frames, nats, a scalar.

    0 for an output that is the same for every frame of the batch (up to rounding, about 1e-7), at most ln V.
    """
    valid_BS1 = _valid_frames(logits_BSV, output_lengths_B)[:, :, None]
    log_probs_BSV = F.log_softmax(logits_BSV.detach().float(), dim=-1)
    # `where`, not a product: padding frames may hold NaN.
    probs_BSV = torch.where(valid_BS1, log_probs_BSV.exp(), 0.0)
    num_frames = valid_BS1.sum()
    entropies_BSV = torch.special.entr(probs_BSV)
    mean_probs_V = probs_BSV.sum(dim=(0, 1)) / num_frames
    dependence: Tensor = torch.special.entr(mean_probs_V).sum() - entropies_BSV.sum() / num_frames
    return dependence


def _valid_frames(logits_BSV: Tensor, output_lengths_B: Tensor) -> Tensor:
    """True where a frame is no padding, [B, S]."""
    frames_S = torch.arange(logits_BSV.shape[1], device=logits_BSV.device)
    return frames_S < to_device(output_lengths_B, logits_BSV.device)[:, None]


def _feasible(output_lengths: Sequence[int], targets: Sequence[Sequence[int]]) -> list[tuple[int, Sequence[int]]]:
    """The (frames, target) pairs that CTC can align."""
    return [
        (int(frames), target)
        for frames, target in zip(output_lengths, targets, strict=True)
        if is_feasible(frames, target)
    ]


def _log_binomial(n: int, k: int) -> float:
    """Natural log of n choose k."""
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
