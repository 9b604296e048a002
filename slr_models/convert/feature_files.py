"""Files that the source landmarks reads already (.npz, .npy, .parquet, .pose), and .pose files of other layouts.

Dimension legend: T frames, P points, C coordinates a point.
"""

from pathlib import Path

import numpy as np

from slr_models.convert.utterance import Found, Source, Utterance
from slr_models.data.columns import is_holistic
from slr_models.data.features_file import FeatureReader
from slr_models.data.reading import MAX_FILE_GB, parsing
from slr_models.errors import DataError


def read(source: Source, path: Path) -> Found:
    """The utterance of a file."""
    name, split = source.name_of(path), source.split_of(path)
    try:
        block = FeatureReader(MAX_FILE_GB).read(path, None)
    except DataError as error:
        if path.suffix != ".pose" or "of MediaPipe Holistic" not in str(error):
            raise
        yield _other_pose(path, name, split)
        return
    groups = block.groups if block.columns else ()
    yield Utterance(
        name, block.values, str(path), split=split, groups=groups, is_holistic=is_holistic(block.columns), file=path
    )


def _other_pose(path: Path, name: str, split: str) -> Utterance:
    """The first person of a file of any layout: [T, P, C], NaN where the confidence is 0."""
    from pose_format import Pose

    with parsing(path, "replace it with a whole .pose file"):
        pose = Pose.read(path.read_bytes())
        data = np.asarray(pose.body.data.data, dtype=np.float32)[:, 0]
        seen = np.asarray(pose.body.confidence)[:, 0] > 0
        values = np.where(seen[..., None], data, np.float32(np.nan))
        groups = tuple((part.name.lower(), len(part.points) * data.shape[2]) for part in pose.header.components)
    return Utterance(name, values, str(path), split=split, groups=groups)
