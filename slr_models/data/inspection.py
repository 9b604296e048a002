"""What is wrong or odd in a dataset, as plain data: found by looking at the arrays, without any model.

Dimension legend: N utterances, T frames, F features.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from slr_models.data.batch import Dataset, Split

Floats = npt.NDArray[np.float64]

CONSTANT_RANGE = 1e-6
"""A column whose values span less than this part of its largest is constant."""
SCALE_GAP = 20.0
"""Ratio of neighbouring utterances' largest values beyond which a set has two scales: an image has more pixels."""
_FEWEST_COUNTED = 5
"""Frames of an utterance that can tell a counter."""
OUTLIER_Z = 6.0
"""Robust z of ln absmax beyond which an utterance or column is out of scale."""
SMALLEST_DEVIATION = 0.384
"""Of ln absmax: sets that are more uniform than this are not judged more strictly (6 of these are a factor of 10)."""


@dataclass(frozen=True)
class UtteranceName:
    """Which utterance."""

    split: str
    id: str


@dataclass(frozen=True)
class NonfiniteUtterance:
    """An utterance with NaN or infinity."""

    split: str
    id: str
    num_nan: int
    num_inf: int
    features: tuple[str, ...]
    """Names of the columns that are affected, such as `left_hand[3]`."""
    first_frame: int
    last_frame: int


@dataclass(frozen=True)
class ScaleOutlier:
    """An utterance or a column whose largest absolute value is far from that of the others."""

    name: str
    absmax: float
    """Of a column: of the median utterance, so that a single wild one says nothing of its columns."""
    usual: float
    """Median of the same over all."""
    z: float
    """Robust z of ln absmax: distance from the median in 1.4826 median absolute deviations (at least 0.384)."""


@dataclass(frozen=True)
class Spread:
    """Smallest, median and largest of some counts."""

    smallest: int
    median: float
    largest: int


@dataclass(frozen=True)
class Duplicates:
    """Pairs of utterances with the same features."""

    pairs: tuple[tuple[str, str], ...]
    num_other_target: int
    """How many of the pairs have different targets."""


@dataclass(frozen=True)
class TwoScales:
    """Utterances whose values come in two scales, such as pixels and shares of an image."""

    small: tuple[str, ...]
    """Ids."""
    large: tuple[str, ...]
    small_absmax: float
    """Largest absolute value of the median utterance among the small ones."""
    large_absmax: float


@dataclass(frozen=True)
class Inspection:
    """What was found."""

    nonfinite: tuple[NonfiniteUtterance, ...]
    still: tuple[UtteranceName, ...]
    """Utterances of several frames that are all the same, such as zeros."""
    single_frames: tuple[UtteranceName, ...]
    """Utterances of one frame."""
    repeated_ids: tuple[UtteranceName, ...]
    """Ids that more than one utterance of a split has."""
    constant_features: tuple[str, ...]
    """Columns that never vary in training."""
    counters: tuple[str, ...]
    """Columns that grow or fall evenly from frame to frame in all training utterances, such as frame numbers."""
    utterance_outliers: tuple[ScaleOutlier, ...]
    """Training utterances, farthest first."""
    feature_outliers: tuple[ScaleOutlier, ...]
    """Columns in training, farthest first."""
    absmax: float
    """Largest finite absolute feature of both splits."""
    frames: Spread
    """Of training utterances."""
    labels: Spread
    """Of training targets."""
    label_counts: dict[str, int]
    """How often each vocabulary entry (without the blank) occurs in the training targets, most frequent first."""
    untrained_labels: tuple[str, ...]
    """Labels of the validation split that no training target holds."""
    leaked: Duplicates
    """Training and validation utterances with the same features."""
    repeated: Duplicates
    """Training utterances with the same features."""


def inspect_dataset(dataset: Dataset) -> Inspection:
    """Looks at both splits once."""
    train, valid = _Extremes(dataset.train), _Extremes(dataset.valid)
    names = feature_names(dataset)
    counts = np.bincount(dataset.train.labels, minlength=len(dataset.vocabulary))
    tested = np.bincount(dataset.valid.labels, minlength=len(dataset.vocabulary))
    by_count = sorted(range(1, len(dataset.vocabulary)), key=lambda label: (-counts[label], label))
    train_hashes, valid_hashes = _hashes(dataset.train), _hashes(dataset.valid)
    return Inspection(
        nonfinite=(*train.nonfinite("train", names), *valid.nonfinite("valid", names)),
        still=_named(dataset, _still),
        single_frames=_named(dataset, lambda split: split.lengths == 1),
        repeated_ids=tuple(
            UtteranceName(name, id)
            for name, split in _splits(dataset)
            for id, count in Counter(split.ids).items()
            if count > 1
        ),
        constant_features=tuple(names[column] for column in train.constant_columns()),
        counters=tuple(names[column] for column in _counters(dataset.train)),
        utterance_outliers=_outliers(dataset.train.ids, train.utterance_absmax()),
        feature_outliers=_outliers(names, _typical_absmax(dataset.train)),
        absmax=float(max(train.column_absmax.max(), valid.column_absmax.max())),
        frames=_spread(dataset.train.lengths),
        labels=_spread(np.diff(dataset.train.label_offsets)),
        label_counts={dataset.vocabulary[label]: int(counts[label]) for label in by_count},
        untrained_labels=tuple(dataset.vocabulary[i] for i in np.flatnonzero((tested > 0) & (counts == 0))),
        leaked=_duplicates(dataset.train, train_hashes, dataset.valid, valid_hashes),
        repeated=_duplicates(dataset.train, train_hashes),
    )


def feature_names(dataset: Dataset) -> list[str]:
    """A name a column: its group and its place in it."""
    return [f"{group.name}[{i}]" for group in dataset.groups for i in range(group.stop - group.start)]


def utterance_outliers(split: Split) -> tuple[ScaleOutlier, ...]:
    """The utterances out of scale, farthest first."""
    return _outliers(split.ids, _Extremes(split).utterance_absmax())


def two_scales(dataset: Dataset) -> TwoScales | None:
    """The utterances in two groups where a gap of `SCALE_GAP` lies between their largest values; None where none does.

    A twentieth of them (two at least) have to lie on each side; fewer are outliers.
    """
    splits = [dataset.train, dataset.valid] if dataset.valid is not dataset.train else [dataset.train]
    ids = [id for split in splits for id in split.ids]
    absmax = np.concatenate([_Extremes(split).utterance_absmax() for split in splits])
    order = np.argsort(absmax, kind="stable")
    fewest = max(2, len(order) // 20)
    if len(order) < 2 * fewest:
        return None
    ordered = np.maximum(absmax[order], np.finfo(np.float32).tiny)
    ratios = ordered[fewest : len(order) - fewest + 1] / ordered[fewest - 1 : len(order) - fewest]
    cut = int(np.argmax(ratios)) + fewest
    if ratios.max() < SCALE_GAP:
        return None
    small, large = sorted(order[:cut].tolist()), sorted(order[cut:].tolist())
    return TwoScales(
        tuple(ids[i] for i in small),
        tuple(ids[i] for i in large),
        float(np.median(absmax[small])),
        float(np.median(absmax[large])),
    )


def _counters(split: Split) -> list[int]:
    """Columns that rise, or fall, evenly but for a hundredth in each utterance of five frames or more."""
    candidates = np.arange(split.num_features)
    judged = 0
    for index in range(len(split)):
        block = split.utterance(index)[:, candidates].astype(np.float64)
        if len(block) < _FEWEST_COUNTED or not len(candidates):
            continue
        judged += 1
        steps = np.diff(block, axis=0)
        mean = steps.mean(axis=0)
        # An even line; timestamps shiver around it.
        line = block[0] + mean * np.arange(len(block))[:, None]
        even = np.abs(block - line).max(axis=0) <= 0.01 * np.abs(mean) * len(block)
        candidates = candidates[(steps * np.sign(mean) > 0).all(axis=0) & even]
    return candidates.tolist() if judged > 1 else []


def _splits(dataset: Dataset) -> tuple[tuple[str, Split], ...]:
    return ("train", dataset.train), ("valid", dataset.valid)


def _named(dataset: Dataset, affected_N: Callable[[Split], npt.NDArray[np.bool_]]) -> tuple[UtteranceName, ...]:
    """The utterances of both splits for which a function of the split says so."""
    return tuple(
        UtteranceName(name, split.ids[index])
        for name, split in _splits(dataset)
        for index in np.flatnonzero(affected_N(split)).tolist()
    )


def _still(split: Split) -> npt.NDArray[np.bool_]:
    """Whether no feature of an utterance changes over its frames, [N]; one frame, or NaN, says nothing."""
    blocks = (split.utterance(i) for i in range(len(split)))
    return np.array([len(block) > 1 and bool((block == block[0]).all()) for block in blocks], dtype=bool)


class _Extremes:
    """Smallest and largest finite values by frame and by column, in one pass over the features."""

    _CHUNK_FRAMES = 8192

    def __init__(self, split: Split) -> None:
        self._split = split
        num_frames, num_features = split.features.shape
        self._frame_absmax = np.zeros(num_frames, dtype=np.float32)
        self._is_finite_frame = np.ones(num_frames, dtype=bool)
        self._smallest = np.full(num_features, np.inf)
        self._largest = np.full(num_features, -np.inf)
        for start in range(0, num_frames, self._CHUNK_FRAMES):
            chunk = split.features[start : start + self._CHUNK_FRAMES]
            stop = start + len(chunk)
            low, high = chunk.min(axis=1), chunk.max(axis=1)
            finite = np.isfinite(low) & np.isfinite(high)
            self._is_finite_frame[start:stop] = finite
            if not finite.all():
                # Rare, so only here is a copy made: what is not finite counts for nothing.
                self._take(np.where(np.isfinite(chunk), chunk, np.nan))
                known = np.where(np.isfinite(chunk), chunk, 0.0)
                low, high = known.min(axis=1), known.max(axis=1)
            else:
                self._take(chunk)
            self._frame_absmax[start:stop] = np.maximum(-low, high)
        self.column_absmax: Floats = np.maximum(np.abs(self._smallest), np.abs(self._largest))
        self.column_absmax[~np.isfinite(self.column_absmax)] = 0.0

    def _take(self, chunk: npt.NDArray[np.float32]) -> None:
        # fmin and fmax pass over NaN.
        self._smallest = np.fmin(self._smallest, np.fmin.reduce(chunk, axis=0))
        self._largest = np.fmax(self._largest, np.fmax.reduce(chunk, axis=0))

    def utterance_absmax(self) -> Floats:
        """Largest finite absolute value of each utterance, [N]."""
        values: Floats = np.maximum.reduceat(self._frame_absmax, self._split.offsets[:-1]).astype(np.float64)
        return values

    def constant_columns(self) -> list[int]:
        """Columns that never vary, or hold nothing finite."""
        span = self._largest - self._smallest
        return [int(i) for i in np.flatnonzero(~(span > CONSTANT_RANGE * self.column_absmax))]

    def nonfinite(self, split_name: str, names: Sequence[str]) -> list[NonfiniteUtterance]:
        """The utterances with NaN or infinity, in order."""
        split = self._split
        frames = np.flatnonzero(~self._is_finite_frame)
        affected = np.unique(np.searchsorted(split.offsets, frames, side="right") - 1)
        found = []
        for index in affected.tolist():
            block = split.utterance(index)
            bad = ~np.isfinite(block)
            rows = np.flatnonzero(bad.any(axis=1))
            found.append(
                NonfiniteUtterance(
                    split=split_name,
                    id=split.ids[index],
                    num_nan=int(np.isnan(block).sum()),
                    num_inf=int(np.isinf(block).sum()),
                    features=tuple(names[column] for column in np.flatnonzero(bad.any(axis=0)).tolist()),
                    first_frame=int(rows[0]),
                    last_frame=int(rows[-1]),
                )
            )
        return found


def _typical_absmax(split: Split) -> Floats:
    """Median over the utterances of each column's largest absolute value, [F]; 0 where it is not finite."""
    largest_NF = np.stack([np.abs(split.utterance(i)).max(axis=0) for i in range(len(split))])
    typical: Floats = np.median(np.where(np.isfinite(largest_NF), largest_NF, 0.0), axis=0).astype(np.float64)
    return typical


def _outliers(names: Sequence[str], absmax: Floats) -> tuple[ScaleOutlier, ...]:
    """What is out of scale, farthest first; what is zero throughout is constant, not small."""
    known = np.flatnonzero(absmax > 0).tolist()
    if len(known) < 3:
        return ()
    logs = np.log(absmax[known])
    middle = float(np.median(logs))
    distances = logs - middle
    deviation = max(1.4826 * float(np.median(np.abs(distances))), SMALLEST_DEVIATION)
    scores = distances / deviation
    order = np.argsort(-np.abs(scores), kind="stable").tolist()
    return tuple(
        ScaleOutlier(names[known[i]], float(absmax[known[i]]), float(np.exp(middle)), float(scores[i]))
        for i in order
        if abs(scores[i]) > OUTLIER_Z
    )


def _spread(counts: npt.NDArray[np.int64]) -> Spread:
    return Spread(int(counts.min()), float(np.median(counts)), int(counts.max()))


def _hashes(split: Split) -> list[bytes]:
    return [
        hashlib.blake2b(np.ascontiguousarray(split.utterance(i)).data, digest_size=16).digest()
        for i in range(len(split))
    ]


def _duplicates(
    split: Split, hashes: Sequence[bytes], other: Split | None = None, other_hashes: Sequence[bytes] = ()
) -> Duplicates:
    """Each utterance of `other` (None: each later one of `split`) with the first of `split` that equals it."""
    places: dict[bytes, list[int]] = defaultdict(list)
    for index, value in enumerate(hashes):
        places[value].append(index)
    if other is None:
        pairs = [(split, same[0], split, later) for same in places.values() for later in same[1:]]
    else:
        pairs = [(split, places[v][0], other, i) for i, v in enumerate(other_hashes) if v in places]
    return Duplicates(
        tuple((a.ids[i], b.ids[j]) for a, i, b, j in pairs),
        sum(a.target(i).tolist() != b.target(j).tolist() for a, i, b, j in pairs),
    )
