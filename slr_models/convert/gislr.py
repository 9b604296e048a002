"""Kaggle's isolated signs (GISLR): train.csv, and a parquet file an utterance with a row a landmark of a frame.

Dimension legend: T frames, P points.
"""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from slr_models.convert.utterance import Bad, Found, Source, Utterance
from slr_models.data.layout import HOLISTIC
from slr_models.data.reading import csv_lines, parsing
from slr_models.errors import DataError

LIST = "train.csv"
COLUMNS = ("path", "participant_id", "sequence_id", "sign")


def is_list(path: Path) -> bool:
    """Whether a file is GISLR's list of utterances."""
    return path.is_file() and set(COLUMNS).issubset(next(csv_lines(path), (0, [""]))[1])


def read(source: Source) -> Found:
    """An utterance a line: [T, 543, 3] in the order of `layout.HOLISTIC`, and its sign; what is not seen is NaN."""
    list_file = source.path / LIST
    lines = csv_lines(list_file)
    _, header = next(lines)
    for number, fields in lines:
        where = f"{list_file} line {number}"
        if len(fields) != len(header):
            yield Bad("malformed line", where, f"has {len(fields)} fields, not {len(header)}; correct the line")
            continue
        row = dict(zip(header, (field.strip() for field in fields), strict=True))
        path = source.path / row["path"]
        if not path.resolve().is_relative_to(source.path.resolve()):
            yield Bad("malformed line", where, f"the path {row['path']!r} leads out of {source.path}; correct it")
        elif not path.is_file():
            yield Bad("missing file", where, f"there is no {path}; add it or correct its path")
        else:
            try:
                values = _frames(path)
            except DataError as error:
                yield Bad("unreadable file", where, str(error))
                continue
            # A sign of several words is one label.
            labels = (row["sign"],) if row["sign"] else None
            yield Utterance(row["sequence_id"], values, where, labels, row["participant_id"], is_holistic=True)


def _frames(path: Path) -> npt.NDArray[np.float32]:
    """[T, 543, 3] of the frames that the file has, in order."""
    from pyarrow import parquet

    with parsing(path, "replace it"):
        table = parquet.read_table(path, columns=["frame", "type", "landmark_index", "x", "y", "z"])
        columns: dict[str, npt.NDArray[Any]] = {name: table[name].to_numpy() for name in table.column_names}
        frames, place = np.unique(columns["frame"], return_inverse=True)
        points = np.full(table.num_rows, -1)
        for part in HOLISTIC.parts:
            of_part, index = columns["type"] == part.name, columns["landmark_index"]
            inside = of_part & (index >= 0) & (index < part.stop - part.start)
            points[inside] = part.start + index[inside]
        if (points < 0).any():
            kinds = sorted(set(columns["type"][points < 0].tolist()))
            raise DataError(f"{path} has landmarks of {', '.join(kinds)} that MediaPipe Holistic lacks; replace it")
        if len(set(zip(place.tolist(), points.tolist(), strict=True))) < len(points):
            raise DataError(f"{path} has a landmark of a frame twice; replace it")
        values = np.full((len(frames), HOLISTIC.num_points, 3), np.nan, dtype=np.float32)
        values[place, points] = np.column_stack([columns[axis] for axis in "xyz"])
    return values
