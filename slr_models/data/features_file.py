"""Reads feature files: .npz, .npy, .parquet and .pose. Pickles are never loaded.

Dimension legend: T frames, P points, C coordinates a point, F features.
"""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from slr_models.data.columns import GroupSizes, groups_of, order_columns
from slr_models.data.kinds import advice
from slr_models.data.layout import HOLISTIC, Floats
from slr_models.data.pose_file import read_pose_file
from slr_models.data.reading import MAX_FILE_GB, check_file_size, check_numpy_size, parsing
from slr_models.data.recognition import Recognized, recognize
from slr_models.errors import DataError

_ARRAY_NAMES = ("features", "landmarks", "keypoints")
_PART_NAMES = {"pose": "pose", "face": "face", "body": "pose"}
_PART_NAMES |= {name: "left_hand" for name in ("left_hand", "lefthand", "lh")}
_PART_NAMES |= {name: "right_hand" for name in ("right_hand", "righthand", "rh")}
"""How an archive with an array a part calls them."""
HOLISTIC_LAYOUT = "mediapipe_holistic"
"""What an array `layout` beside the landmarks [T, 543, 3] of a .npz says of them: the points of `layout.HOLISTIC`."""
_ALL_LOOKED_AT, _LOOKED_AT_EVERY = 16, 16
"""Files of a shape whose points are looked at: the first ones, and then every so many."""
_NUMBER_BYTES = 4
"""Of a feature in memory."""
_MOST_AXES = 4
"""Coordinates of a point, and what stands beside them; more are features."""
_MAX_NAMES = 6
"""Arrays that a message names."""
_SEQUENCE = "sequence_id"
_FRAME = "frame"
_BOOKKEEPING = (_SEQUENCE, _FRAME, "__index_level_0__")


@dataclass(frozen=True)
class Block:
    """One utterance as its file holds it."""

    values: Floats
    """[T, F]; NaN stands for a missing landmark."""
    columns: tuple[str, ...]
    """The name of each column; empty where the file names none."""
    groups: GroupSizes
    """The groups that the columns' names tell; else all are one."""
    shape: tuple[int, ...]
    """Of the array that the file holds."""


@dataclass(frozen=True)
class _Table:
    """A parquet file, its rows by frame."""

    path: Path
    block: Block
    sequences: npt.NDArray[Any] | None
    """The sequence of each row, where the file tells."""
    frames: npt.NDArray[Any] | None
    """The frame number of each row, where the file tells."""


class FeatureReader:
    """Reads one utterance after another; keeps the last parquet file, as neighbours in a list share one."""

    def __init__(self, max_gb: float = MAX_FILE_GB, layout: GroupSizes = (), wants_landmarks: bool = False) -> None:
        """For files of up to `max_gb` GB each, as they are in memory.

        Args:
            max_gb: the setting `max_file_gb`.
            layout: the parts of arrays without names; empty: known shapes are recognized.
            wants_landmarks: see `recognize`.
        """
        self._table: _Table | None = None
        self._max_gb = max_gb
        self._layout = layout
        self._wants_landmarks = wants_landmarks
        self._num_read: Counter[tuple[tuple[int, ...], GroupSizes]] = Counter()
        self.recognized: dict[tuple[tuple[int, ...], GroupSizes], Recognized | None] = {}
        """What arrays without names were taken for, by their shape without T and the parts that a file tells; the first
        of a kind decides, and others must not look like something else."""

    def read(self, path: Path, sequence: int | None) -> Block:
        """One utterance.

        An array [T, P, C] becomes [T, P x C]; the axis of a single person goes, as in [T, 1, P, C]. The columns of
        .pose files, and parquet columns named like x_left_hand_0, come in the order part, point, axis, where parts keep
        the file's order. Parquet rows are sorted by the column `frame`, if there is one.

        Raises:
            DataError: The file is broken, larger than `max_gb`, holds Python objects, or another shape ("what; what to
                do").
        """
        suffix = path.suffix.lower()
        if suffix == ".pose":
            check_file_size(path, path.stat().st_size, self._max_gb)
            file = read_pose_file(path)
            points = np.where(file.present[..., None], file.points, np.nan).astype(np.float32)
            return Block(points.reshape(len(points), -1), file.columns, groups_of(file.columns), points.shape)
        if suffix == ".parquet":
            return self._read_parquet(path, sequence)
        if suffix not in (".npy", ".npz"):
            raise DataError(f"{path} is of no known kind; {advice(path)}")
        array, parts = _read_numpy(path, self._max_gb)
        array = _without_single(array)
        if array.ndim not in (2, 3) or array.dtype.kind not in "fiu":
            raise DataError(
                f"{path} holds an array of {array.dtype} with shape {array.shape}; "
                "store numbers as [frames, features] or [frames, points, coordinates]"
            )
        flat = _as_float32(array.reshape(len(array), int(np.prod(array.shape[1:]))))
        found = self._recognized(path, flat.reshape(array.shape), parts)
        if found is None:
            return Block(flat, (), (("features", flat.shape[1]),), array.shape)
        return Block(flat, found.columns, groups_of(found.columns), array.shape)

    def _recognized(self, path: Path, array: Floats, parts: GroupSizes) -> Recognized | None:
        key = (array.shape[1:], parts)
        before = self.recognized.get(key)
        self._num_read[key] += 1
        number = self._num_read[key]
        # Looking costs ten times what reading does: whether a folder mixes orders is seen in some of its files.
        is_looked_at = number <= _ALL_LOOKED_AT or number % _LOOKED_AT_EVERY == 0
        if len(array) and (is_looked_at if before is not None else key not in self.recognized):
            try:
                self.recognized[key] = recognize(array, self._layout, self._wants_landmarks, parts, before)
            except DataError as error:
                raise DataError(f"{path} {error}") from error
        return self.recognized.get(key)

    def _read_parquet(self, path: Path, sequence: int | None) -> Block:
        if self._table is None or self._table.path != path:
            self._table = _load_table(path, self._max_gb)
        table = self._table
        if sequence is not None and table.sequences is None:
            raise DataError(f"{path} has no column {_SEQUENCE}; write it as Kaggle's files have it")
        rows: npt.NDArray[np.bool_] = np.ones(len(table.block.values), dtype=bool)
        if table.sequences is not None:
            if sequence is not None:
                rows = table.sequences == sequence
            elif (table.sequences != table.sequences[:1]).any():
                raise DataError(f"{path} holds several sequences ({_SEQUENCE}); write a file an utterance")
        if table.frames is not None:
            frames = table.frames[rows]
            again = np.flatnonzero(frames[1:] == frames[:-1])
            if len(again):
                raise DataError(f"{path} holds frame {frames[again[0]]:g} twice; number the frames of an utterance")
        values = table.block.values[rows]
        return Block(values, table.block.columns, table.block.groups, values.shape)


def _read_numpy(path: Path, max_gb: float) -> tuple[npt.NDArray[Any], GroupSizes]:
    """The array of a file and the parts that it tells: by a layout beside it, or by an array a part, [T, P, C] each."""
    # The file is opened here, as NumPy leaves its own open where it finds a damaged archive.
    with parsing(path, "replace it"), path.open("rb") as file:
        try:
            check_numpy_size(path, file, max_gb)
            loaded = np.load(file, allow_pickle=False)
            if isinstance(loaded, np.ndarray):
                return loaded, ()
            with loaded as arrays:
                by_part = [(_PART_NAMES[name.lower()], name) for name in arrays.files if name.lower() in _PART_NAMES]
                others = set(arrays.files) - {name for _, name in by_part}
                # Numbers and texts may stand beside the parts, such as the rate of the video.
                if len(by_part) > 1 and all(arrays[name].ndim < 2 for name in others):
                    return _side_by_side(path, [(part, arrays[name]) for part, name in by_part])
                named = [name for name in _ARRAY_NAMES if name in arrays.files]
                names = named or (arrays.files if len(arrays.files) == 1 else [])
                found = ", ".join(arrays.files[:_MAX_NAMES]) + (", ..." if len(arrays.files) > _MAX_NAMES else "")
                array = np.asarray(arrays[names[0]]) if names else None
                layout = str(arrays["layout"]) if named and "layout" in arrays.files else ""
        except ValueError as error:
            if "pickle" not in str(error):
                raise
            raise DataError(
                f"{path} holds pickled Python objects (or is no NumPy file), and pickles are never loaded; "
                "save a plain array with np.save(path, array.astype('float32'))"
            ) from error
    if array is None:
        raise DataError(f"{path} holds the arrays {found or '(none)'}; call the one to use {_ARRAY_NAMES[0]!r}")
    return array, HOLISTIC.sizes if layout == HOLISTIC_LAYOUT else ()


def _side_by_side(path: Path, parts: list[tuple[str, npt.NDArray[Any]]]) -> tuple[npt.NDArray[Any], GroupSizes]:
    alike = {array.shape[:1] + array.shape[2:] for _, array in parts}
    if len(alike) > 1 or len(dict(parts)) < len(parts) or any(array.ndim != 3 for _, array in parts):
        found = ", ".join(f"{part} {array.shape}" for part, array in parts)
        raise DataError(
            f"{path} holds the parts {found}; store each once, as [frames, points, coordinates], with as many frames "
            "and coordinates as the others"
        )
    return np.concatenate([array for _, array in parts], axis=1), tuple((part, array.shape[1]) for part, array in parts)


def _without_single(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """An array without the axis of a single person or of a batch of one, whose place its other axes tell."""
    if array.ndim == 4 and 1 in array.shape[:2]:
        return array[:, 0] if array.shape[1] == 1 else array[0]
    if array.ndim == 3 and 1 in array.shape[:2] and array.shape[2] > _MOST_AXES:
        return array[:, 0] if array.shape[1] == 1 else array[0]
    return array


def _load_table(path: Path, max_gb: float) -> _Table:
    # Imported here: it takes a quarter of a second, and few sources need it.
    from pyarrow import parquet

    with parsing(path, "replace it"), parquet.ParquetFile(path) as file:
        schema = file.schema_arrow
        twice = [name for name, count in Counter(schema.names).items() if count > 1]
        if twice:
            raise DataError(f"{path} holds the columns {', '.join(twice)} twice; rename them")
        names, groups = order_columns([name for name in schema.names if name not in _BOOKKEEPING])
        if not names:
            raise DataError(f"{path} has no feature columns; write one column a feature")
        wanted = [*names, *(name for name in (_SEQUENCE, _FRAME) if name in schema.names)]
        # Before anything is unpacked: a row of a text or a list has no end.
        for name in wanted:
            if name != _SEQUENCE:
                _check_numbers(path, name, schema.field(name).type)
        check_file_size(path, file.metadata.num_rows * len(wanted) * _NUMBER_BYTES, max_gb)
        table = file.read(columns=wanted)
        values = np.column_stack([_as_float32(_numbers(path, table, name)) for name in names])
        sequences = _sequences(path, table) if _SEQUENCE in table.column_names else None
        frames = None
        if _FRAME in table.column_names:
            frames = _numbers(path, table, _FRAME).astype(np.float64)
            if np.isnan(frames).any():
                raise DataError(f"{path} has rows without a number in the column {_FRAME}; number the frames")
            order = np.argsort(frames, kind="stable")
            values, frames = values[order], frames[order]
            sequences = None if sequences is None else sequences[order]
    return _Table(path, Block(values, tuple(names), groups, values.shape), sequences, frames)


def _sequences(path: Path, table: Any) -> npt.NDArray[Any]:
    """The column of sequence numbers, also where they are written as text."""
    from pyarrow import ArrowInvalid, int64, types

    kind = table[_SEQUENCE].type
    if types.is_string(kind) or types.is_large_string(kind):
        try:
            table = table.set_column(table.column_names.index(_SEQUENCE), _SEQUENCE, table[_SEQUENCE].cast(int64()))
        except ArrowInvalid as error:
            raise DataError(f"{path} holds text in the column {_SEQUENCE} ({error}); write whole numbers") from error
    else:
        _check_numbers(path, _SEQUENCE, kind)
    sequences: npt.NDArray[Any] = table[_SEQUENCE].to_numpy()
    return sequences


def _check_numbers(path: Path, name: str, kind: Any) -> None:
    from pyarrow import types

    is_numeric = (types.is_integer, types.is_floating, types.is_boolean, types.is_decimal, types.is_null)
    if not any(of_kind(kind) for of_kind in is_numeric):
        raise DataError(f"{path} holds {kind} in the column {name}; store numbers alone")


def _numbers(path: Path, table: Any, name: str) -> npt.NDArray[Any]:
    """A column of a pyarrow table: numbers, or objects of numbers and None."""
    column: npt.NDArray[Any] = table[name].to_numpy()
    # Nulls make objects of booleans and decimals; text must not be parsed into numbers.
    is_text = column.dtype.kind == "O" and any(isinstance(value, str | bytes) for value in column)
    if is_text or column.dtype.kind not in "fiubO":
        raise DataError(f"{path} holds {table[name].type} in the column {name}; store numbers alone")
    return column


def _as_float32(array: npt.NDArray[Any]) -> Floats:
    # What float32 cannot hold becomes infinity, which is reported as such.
    with np.errstate(over="ignore"):
        return array.astype(np.float32)
