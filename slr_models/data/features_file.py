"""Reads feature files: .npz, .npy, .parquet and .pose. Pickles are never loaded.

Dimension legend: T frames, P points, C coordinates a point, F features.
"""

import re
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from slr_models.data.layout import HOLISTIC, Floats
from slr_models.data.lexicon import read_pose
from slr_models.errors import DataError

GroupSizes = tuple[tuple[str, int], ...]
"""Name and number of columns of each group, in order."""

_ARRAY_NAMES = ("features", "landmarks")
_SEQUENCE = "sequence_id"
_BOOKKEEPING = (_SEQUENCE, "frame", "__index_level_0__")
_LANDMARK_COLUMN = re.compile(r"([xyz])_(\w+)_(\d+)")


@dataclass(frozen=True)
class _Table:
    """A parquet file."""

    path: Path
    values: Floats
    groups: GroupSizes
    sequences: npt.NDArray[Any] | None
    """The sequence of each row, where the file tells."""


class FeatureReader:
    """Reads one utterance after another; keeps the last parquet file, as neighbours in a list share one."""

    def __init__(self) -> None:
        self._table: _Table | None = None

    def read(self, path: Path, sequence: int | None) -> tuple[Floats, GroupSizes]:
        """One utterance, [T, F], and its column groups. NaN stands for a missing landmark.

        An array [T, P, C] becomes [T, P x C]. Groups are known for .pose files and for parquet columns named
        like x_left_hand_0 (which are brought into the order part, point, axis); else all columns are one group.

        Raises:
            DataError: The file is broken, holds Python objects, or another shape ("what; what to do").
        """
        if path.suffix == ".pose":
            points, present = read_pose(path)
            block = np.where(present[..., None], points, np.nan).reshape(len(points), -1).astype(np.float32)
            return block, tuple((part.name, 3 * (part.stop - part.start)) for part in HOLISTIC.parts)
        if path.suffix == ".parquet":
            return self._read_parquet(path, sequence)
        if path.suffix not in (".npy", ".npz"):
            raise DataError(f"{path} is of no known kind; use .npz, .npy, .parquet or .pose")
        array = _read_numpy(path)
        if array.ndim not in (2, 3) or array.dtype.kind not in "fiu":
            raise DataError(
                f"{path} holds an array of {array.dtype} with shape {array.shape}; "
                "store numbers as [frames, features] or [frames, points, coordinates]"
            )
        size = int(np.prod(array.shape[1:]))
        return array.reshape(len(array), size).astype(np.float32), (("features", size),)

    def _read_parquet(self, path: Path, sequence: int | None) -> tuple[Floats, GroupSizes]:
        if self._table is None or self._table.path != path:
            self._table = _load_table(path)
        table = self._table
        if sequence is None:
            return table.values, table.groups
        if table.sequences is None:
            raise DataError(f"{path} has no column {_SEQUENCE}; write it as Kaggle's files have it")
        return table.values[table.sequences == sequence], table.groups


def _read_numpy(path: Path) -> npt.NDArray[Any]:
    try:
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return loaded
        with loaded as arrays:
            named = [name for name in _ARRAY_NAMES if name in arrays.files]
            names = named or (arrays.files if len(arrays.files) == 1 else [])
            found = ", ".join(arrays.files)
            array = np.asarray(arrays[names[0]]) if names else None
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        if "pickle" in str(error):
            raise DataError(
                f"{path} holds pickled Python objects (or is no NumPy file), and pickles are never loaded; "
                "save a plain array with np.save(path, array.astype('float32'))"
            ) from error
        raise DataError(f"{path} cannot be read ({error}); replace it") from error
    if array is None:
        raise DataError(f"{path} holds the arrays {found}; call the one to use {_ARRAY_NAMES[0]!r}")
    return array


def _load_table(path: Path) -> _Table:
    # Imported here: it takes a quarter of a second, and few sources need it.
    from pyarrow import ArrowException, parquet

    try:
        table = parquet.read_table(path)
        names, groups = _order_columns([name for name in table.column_names if name not in _BOOKKEEPING])
        columns = [table[name].to_numpy().astype(np.float32) for name in names]
    except (ArrowException, OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read as a table of numbers ({error}); replace it") from error
    if not columns:
        raise DataError(f"{path} has no feature columns; write one column a feature")
    sequences = table[_SEQUENCE].to_numpy() if _SEQUENCE in table.column_names else None
    return _Table(path, np.column_stack(columns), groups, sequences)


def _order_columns(names: list[str]) -> tuple[list[str], GroupSizes]:
    """Columns by part, point and axis where all are named so; else as they come."""
    matches = {name: _LANDMARK_COLUMN.fullmatch(name) for name in names}
    keys = {name: (match.group(2), int(match.group(3)), match.group(1)) for name, match in matches.items() if match}
    if len(keys) < len(names):
        return names, (("features", len(names)),)
    parts = list(dict.fromkeys(part for part, _, _ in keys.values()))
    ordered = sorted(names, key=lambda name: (parts.index(keys[name][0]), keys[name][1:]))
    sizes = tuple((part, sum(key[0] == part for key in keys.values())) for part in parts)
    return ordered, sizes
