""".h5 and .hdf5: a group an utterance, a dataset an utterance (labels in its attributes), or all side by side."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slr_models.convert import records
from slr_models.convert.containers import of_file
from slr_models.convert.utterance import Found, Source
from slr_models.errors import DataError

if TYPE_CHECKING:
    import h5py


def read(source: Source, path: Path) -> Found:
    """The utterances of a file, each read where it is asked for."""
    with opened(path) as file:
        yield from of_file(source, path, _content(file))


@contextmanager
def opened(path: Path) -> Iterator["h5py.File"]:
    """An HDF5 file.

    Raises:
        DataError: h5py is not installed.
    """
    try:
        import h5py
    except ImportError as error:
        raise DataError(f"Reading {path.name} needs h5py; run: pip install 'slr-stability-sweep[convert]'") from error
    with h5py.File(path, "r") as file:
        yield file


def _content(group: "h5py.Group") -> dict[str, Any]:
    """Groups as mappings; datasets as they are, or with their attributes where they are no field."""
    import h5py

    found: dict[str, Any] = dict(group.attrs.items())
    for name, node in group.items():
        if isinstance(node, h5py.Group):
            found[name] = _content(node)
        elif isinstance(node, h5py.Dataset):
            is_field = name.lower() in (*records.FEATURES, *records.FIELDS)
            has_labels = any(key.lower() in records.LABELS for key in node.attrs)
            found[name] = {**dict(node.attrs.items()), "features": node} if has_labels and not is_field else node
    return found
