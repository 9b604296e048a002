"""Utterances in nested mappings, lists and arrays, as .pt, .h5, .mat and pickles hold them.

| what is found                                             | is read as                                       |
|-----------------------------------------------------------|--------------------------------------------------|
| an array                                                  | an utterance without labels                      |
| {features: [T, ...], labels: ..., signer: ..., ...}       | an utterance                                     |
| {features: [N, T, ...] or N arrays, labels: N, lengths: N} | N utterances                                     |
| [{id: ..., features: ..., ...}, ...]                      | an utterance each                                |
| {id: any of these, ...}                                   | utterances; nested names are joined by "/"       |
| {train: any of these, dev: ...}                           | the same, with their split                       |

Names of fields are those below, in any case. Dimension legend: N utterances, T frames, U labels.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from slr_models.convert.labels import labels_in
from slr_models.convert.utterance import Bad, Found, Labels, Utterance
from slr_models.data.index import SPLITS
from slr_models.errors import DataError

FEATURES = ("features", "landmarks", "keypoints", "feature", "keypoint", "feats", "poses", "pose", "data", "x", "sign")
LABELS = ("labels", "label", "glosses", "gloss", "label_gloss", "annotation", "targets", "target", "y", "sign", "word")
_LENGTHS = ("lengths", "length", "num_frames")
_LABEL_LENGTHS = ("label_lengths", "target_lengths", "num_labels")
_SIGNERS = ("signer", "signers", "signer_id", "speaker", "participant_id", "participant")
_SPLIT_NAMES = ("split", "splits", "subset")
_NAMES = ("id", "ids", "name", "names", "video_id", "video", "video_name", "utterance")
FIELDS = (*LABELS, *_LENGTHS, *_LABEL_LENGTHS, *_SIGNERS, *_SPLIT_NAMES, *_NAMES)
"""All that may stand beside features."""


@runtime_checkable
class Rows(Protocol):
    """An array, in memory or in a file."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Its sizes."""
        ...

    @property
    def dtype(self) -> Any:
        """NumPy's name of its numbers."""
        ...

    def __getitem__(self, key: Any) -> Any:
        """A part of it, in memory."""
        ...


def utterances(content: Any, name: str, where: str, split: str = "", prefix: str = "") -> Found:
    """What nested content holds.

    Args:
        content: as of the table above.
        name: of the only utterance, where the content has no name for it.
        where: the file and the place in it, for messages.
        split: of all utterances that do not tell theirs.
        prefix: of the names that a mapping gives.
    """
    if isinstance(content, np.ndarray) and content.dtype.kind == "O":
        content = content.tolist()
    if isinstance(content, Rows):
        yield Utterance(name, np.asarray(content[()]), where, split=split)
    elif isinstance(content, list | tuple):
        yield from _list(content, where, split)
    elif isinstance(content, Mapping):
        yield from _mapping(content, name, where, split, prefix)
    else:
        yield Bad("wrong content", where, f"holds {type(content).__name__}, no features; {_advice()}")


def holds_some(value: Any) -> bool:
    """Whether a value may hold utterances; else it is a remark of the file, such as its version."""
    if isinstance(value, Rows):
        return len(value.shape) > 0 and value.dtype.kind in "fiuO"
    return isinstance(value, Mapping) or (isinstance(value, list | tuple) and any(map(_is_mapping, value)))


def _is_mapping(value: Any) -> bool:
    return isinstance(value, Mapping)


def _list(items: Sequence[Any], where: str, split: str) -> Found:
    for index, item in enumerate(items):
        place = f"{where}[{index}]"
        fields = _fields(item) if isinstance(item, Mapping) else {}
        key = _first(fields, _NAMES)
        if key is None:
            yield Bad("no name", place, f"has none of the fields {', '.join(_NAMES)}; give each item of a list its id")
        else:
            yield from _mapping(item, _text(fields[key]), place, split)


def _mapping(content: Mapping[Any, Any], name: str, where: str, split: str, prefix: str = "") -> Found:
    fields = _fields(content)
    for key in FEATURES:
        if (values := _features(fields.get(key))) is not None:
            others = {other: value for other, value in fields.items() if other != key}
            beside = [other for other, value in others.items() if other not in FIELDS and _is_array(value)]
            if beside and key != FEATURES[0]:
                told = f"holds the arrays {', '.join((key, *beside))}; put what is to be used into one, {FEATURES[0]!r}"
                yield Bad("several arrays", where, told)
                return
            try:
                yield from _record(key, values, others, name, where, split)
            except DataError as error:
                yield Bad("wrong content", where, str(error))
            return
    inside = {str(key): value for key, value in content.items() if holds_some(value)}
    if not inside or _first(fields, LABELS) is not None:
        keys = ", ".join(list(fields)[:8]) or "nothing"
        yield Bad("wrong keys", where, f"holds {keys}, but no features; {_advice()}")
        return
    is_splits = all(key.lower() in SPLITS for key in inside)
    for key, value in inside.items():
        below, place = f"{prefix}{key}", f"{where}[{key!r}]"
        if is_splits:
            yield from utterances(value, below, place, key.lower(), prefix)
        else:
            yield from utterances(value, below, place, split, f"{below}/")


def _record(key: str, values: Rows | list[Any], fields: dict[str, Any], name: str, where: str, split: str) -> Found:
    """One utterance, or several side by side."""
    labels, lengths = _of(fields, LABELS), _of(fields, _LENGTHS)
    shape = () if isinstance(values, list) else tuple(values.shape)
    if not isinstance(values, list) and len(shape) == 4 and shape[0] == 1 and lengths is None:
        # A batch of one, as models take it.
        values, shape = np.asarray(values[0]), shape[1:]
    is_batch = isinstance(values, list) or len(shape) == 4 or _size(lengths) is not None
    if not isinstance(values, list) and not is_batch:
        if len(shape) == 3 and shape[0] == _size(labels) and shape[0] > 1:
            raise DataError(
                f"has {key} of shape {shape} beside as many labels: [frames, points, coordinates] of one utterance, or "
                "several? Add `lengths` (the frames of each) if they are several"
            )
        array, told = np.asarray(values[()]), labels_in(labels)
        of_one = _text(_of(fields, _SPLIT_NAMES)) or split
        yield Utterance(name, array, where, told, _text(_of(fields, _SIGNERS)), of_one)
        return
    if not isinstance(values, list) and lengths is None:
        raise DataError(f"has {key} of shape {shape}, but not the frames of each utterance; add `lengths`")
    count = len(values) if isinstance(values, list) else values.shape[0]
    names, signers = _column(fields, _NAMES, count), _column(fields, _SIGNERS, count)
    splits, every_length = _column(fields, _SPLIT_NAMES, count), _column(fields, _LENGTHS, count)
    targets = _targets(fields, count)
    for index in range(count):
        array, place = np.asarray(values[index]), f"{where}[{index}]"
        length = len(array) if every_length[index] is None else int(every_length[index])
        if not 0 <= length <= len(array):
            yield Bad("wrong length", place, f"has {len(array)} frames, but its length is {length}; correct it")
            continue
        called = _text(names[index]) or f"{name}_{index:06d}"
        of_one = _text(splits[index]) or split
        yield Utterance(called, array[:length], place, targets[index], _text(signers[index]), of_one)


def _targets(fields: dict[str, Any], count: int) -> list[Labels | None]:
    """The labels of utterances that are side by side, without what fills up their rows."""
    lengths = _column(fields, _LABEL_LENGTHS, count)
    found: list[Labels | None] = []
    for index, value in enumerate(_column(fields, LABELS, count)):
        labels = np.asarray(value) if isinstance(value, Rows) else value
        if isinstance(labels, np.ndarray) and labels.ndim == 1 and labels.dtype.kind in "iuf":
            labels = _without_padding(labels, lengths[index], index)
        found.append(labels_in(labels))
    return found


def _without_padding(labels: npt.NDArray[Any], length: Any, index: int) -> npt.NDArray[Any]:
    if length is not None:
        return labels[: int(length)]
    kept = labels[labels >= 0]
    if len(kept) and kept[-1] == 0:
        raise DataError(f"the labels of utterance {index} end in 0, a label or a filling; add label_lengths")
    return kept


def _column(fields: dict[str, Any], names: Sequence[str], count: int) -> list[Any]:
    """A value for each of several utterances; None where there is none."""
    key = _first(fields, names)
    if key is None:
        return [None] * count
    values = fields[key]
    values = np.asarray(values[()]) if isinstance(values, Rows) else values
    if _size(values) != count:
        raise DataError(f"{key} has {_size(values) or 1} values for {count} utterances; give one for each")
    return list(values)


def _fields(content: Mapping[Any, Any]) -> dict[str, Any]:
    return {str(key).lower(): value for key, value in content.items()}


def _first(fields: Mapping[str, Any], names: Sequence[str]) -> str | None:
    return next((name for name in names if name in fields), None)


def _of(fields: Mapping[str, Any], names: Sequence[str]) -> Any:
    key = _first(fields, names)
    if key is None:
        return None
    value = fields[key]
    return np.asarray(value[()]) if isinstance(value, Rows) else value


def _features(value: Any) -> Rows | list[Any] | None:
    """An array of numbers; a list of those that differ in shape; None of anything else."""
    if isinstance(value, np.ndarray) and value.dtype.kind == "O":
        value = list(value)
    if isinstance(value, Rows):
        return value if value.dtype.kind in "fiu" and value.shape else None
    if not isinstance(value, list | tuple) or not value or not isinstance(value[0], Rows | list | tuple):
        return None
    arrays = [np.asarray(one[()] if isinstance(one, Rows) else one) for one in value]
    if any(array.dtype.kind not in "fiu" for array in arrays):
        return None
    return np.stack(arrays) if len({array.shape for array in arrays}) == 1 else arrays


def _is_array(value: Any) -> bool:
    return isinstance(value, Rows) and len(value.shape) > 1 and value.dtype.kind in "fiu"


def _size(value: Any) -> int | None:
    """How many values a list or an array has; None of a single one."""
    if isinstance(value, np.ndarray):
        return len(value) if value.ndim else None
    return len(value) if isinstance(value, list | tuple) else None


def _text(value: Any) -> str:
    labels = labels_in(value)
    return " ".join(labels) if isinstance(labels, tuple) else (labels or "")


def _advice() -> str:
    return f"call the features {FEATURES[0]!r} (or {', '.join(FEATURES[1:4])}) and the labels {LABELS[0]!r}"
