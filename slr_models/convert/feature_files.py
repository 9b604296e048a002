"""Files that the source landmarks reads already: .npz, .npy, .parquet, .pose."""

from pathlib import Path

from slr_models.convert.utterance import Found, Source, Utterance
from slr_models.data.features_file import FeatureReader
from slr_models.data.reading import MAX_FILE_GB


def read(source: Source, path: Path) -> Found:
    """The utterance of a file."""
    block = FeatureReader(MAX_FILE_GB).read(path, None)
    yield Utterance(
        source.name_of(path),
        block.values,
        str(path),
        split=source.split_of(path),
        groups=block.groups if block.columns else (),
        columns=block.columns,
        file=path,
    )
