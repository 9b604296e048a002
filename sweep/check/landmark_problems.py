"""What is wrong with extracted landmarks: parts that were not seen, columns that are none, units, raw coordinates."""

from collections.abc import Iterator

import numpy as np

from slr_models.data.inspection import Inspection, feature_names
from slr_models.data.normalize import MAX_ABS
from slr_models.data.recognition import is_known_width
from sweep.check.reading import Problem, SourceReading
from sweep.wording import number, plural

_FEATURE_SIZES = (256, 512, 768, 1024, 1280, 1536, 2048)
"""Of networks that people extract features with."""


def landmark_problems(found: Inspection, source: SourceReading) -> Iterator[Problem]:
    """The problems of one source, worst first."""
    yield from _two_scales(source)
    yield from _cut_off(source)
    yield from _transposed(source)
    yield from _counters(found, source)
    yield from _unseen(source)
    yield from _raw_coordinates(source)


def _two_scales(source: SourceReading) -> Iterator[Problem]:
    scales = source.two_scales
    if scales is None:
        return
    text = (
        f"{len(scales.small)} utterances have values up to {number(scales.small_absmax)}, "
        f"{len(scales.large)} up to {number(scales.large_absmax)}, and none lie between, as with shares of an image "
        "and pixels: extract all in one unit"
    )
    few, size = min((scales.small, "small"), (scales.large, "large"), key=lambda group: len(group[0]))
    yield Problem("warning", "mixed units", text, tuple(f"{id} ({size})" for id in few))


def _cut_off(source: SourceReading) -> Iterator[Problem]:
    """Features of landmarks that are cut off wherever they are not 0."""
    if not source.is_made:
        return
    values = source.dataset.train.features
    cut = np.count_nonzero(np.abs(values) >= MAX_ABS, axis=0)
    columns = np.flatnonzero(2 * cut > np.count_nonzero(values, axis=0))
    if len(columns):
        names = feature_names(source.dataset)
        text = (
            f"{plural(len(columns), 'feature')} that are cut off at {MAX_ABS:g} in most frames, many shoulder widths "
            "away: parts in different units, such as hands in pixels beside a body in shares of an image, or in "
            "another order than was assumed (see the notes)"
        )
        yield Problem("warning", "features cut off", text, tuple(names[column] for column in columns))


def _transposed(source: SourceReading) -> Iterator[Problem]:
    lengths = np.concatenate([source.dataset.train.lengths, source.dataset.valid.lengths])
    num_frames, num_features = int(lengths[0]), source.dataset.num_features
    if source.is_made or len(lengths) < 3 or (lengths != num_frames).any():
        return
    if num_frames > num_features and (is_known_width(num_frames) or num_frames in _FEATURE_SIZES):
        text = (
            f"every utterance has {num_frames} frames of {num_features} features, as if files of [features, frames] "
            "were read as [frames, features]: if so, store array.T"
        )
        yield Problem("warning", "frames and features swapped", text)


def _counters(found: Inspection, source: SourceReading) -> Iterator[Problem]:
    if found.counters and not source.is_made:
        text = (
            f"{plural(len(found.counters), 'feature')} that only count up (or down) from frame to frame, as frame "
            "numbers and timestamps do: a model can read lengths off them; leave them out when you extract"
        )
        yield Problem("warning", "counters among the features", text, found.counters)


def _unseen(source: SourceReading) -> Iterator[Problem]:
    """Utterances in which no hand is ever seen; a hand that is never seen may be one that does not sign."""
    hands = [part for part in source.dataset.facts.parts if part.name.endswith("hand")]
    if not hands:
        return
    total = len(source.dataset.train) + len(source.dataset.valid)
    never = set(hands[0].never).intersection(*(part.never for part in hands[1:]))
    if never and len(never) < total:
        text = (
            f"{plural(len(never), 'utterance')} in which no hand is ever seen: nothing can be learned from them; "
            "extract them again, or leave them out"
        )
        yield Problem("warning", "utterances without hands", text, tuple(id for id in hands[0].never if id in never))
    elif never:
        yield Problem("warning", "no hands", "no hand is seen in any utterance: extract them again")


def _raw_coordinates(source: SourceReading) -> Iterator[Problem]:
    points = source.dataset.facts.possible_points
    if points:
        text = (
            "the features are coordinates as the extractor gives them, which change with where a signer stands and how "
            f"far away the camera is: set data.points: {points}, which places and scales them by the body"
        )
        yield Problem("warning", "raw coordinates", text)
