"""Where the features of a split lie: in memory, or in a file that is mapped into it.

Dimension legend: T frames of all utterances, F features.
"""

import contextlib
import mmap
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from slr_models.data.layout import Floats
from slr_models.errors import DataError


def joined(blocks: Iterable[Floats], num_frames: int, num_features: int, path: Path | None) -> Floats:
    """Blocks end to end, [T, F]: in memory, or in the .npy file `path`, which appears when it is whole.

    Raises:
        DataError: The file cannot be written.
    """
    if path is None:
        held: Floats = np.empty((num_frames, num_features), dtype=np.float32)
        _fill(held, blocks)
        return held
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file_map = np.lib.format.open_memmap(partial, mode="w+", dtype=np.float32, shape=(num_frames, num_features))
        # Reserved at once: a disk that is full is told here, and not by a signal while the file is filled.
        with partial.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, file.seek(0, os.SEEK_END))
        _fill(file_map, blocks)
        file_map.flush()
        del file_map
        partial.replace(path)
    except OSError as error:
        raise DataError(
            f"the features cannot be kept in {path.parent.absolute()} ({error}); choose another map_dir"
        ) from error
    finally:
        with contextlib.suppress(OSError):
            partial.unlink()
    features: Floats = np.load(path, mmap_mode="r", allow_pickle=False)
    return features


def _fill(features: Floats, blocks: Iterable[Floats]) -> None:
    start = 0
    for block in blocks:
        features[start : start + len(block)] = block
        start += len(block)


def packed(features: Floats) -> Any:
    """What goes to another process: the place of mapped features instead of their values."""
    if not isinstance(features, np.memmap) or not features.flags.c_contiguous or features.filename is None:
        return features
    mapped = np.frombuffer(features._mmap, dtype=np.uint8)  # type: ignore[attr-defined]
    start = features.offset - features.offset % mmap.ALLOCATIONGRANULARITY
    offset = start + features.__array_interface__["data"][0] - mapped.__array_interface__["data"][0]
    return str(features.filename), offset, features.shape


def unpacked(place: Any) -> Floats:
    """The features again."""
    if not isinstance(place, tuple):
        features: Floats = place
        return features
    path, offset, shape = place
    try:
        return np.memmap(path, dtype=np.float32, mode="r", offset=offset, shape=shape)
    except OSError as error:
        raise DataError(
            f"the features cannot be read from {path} ({error}); map_dir has to be a folder that all machines share"
        ) from error
