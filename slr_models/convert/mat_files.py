""".mat of MATLAB: variables, structures and cells; files of version 7.3 are HDF5."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from slr_models.convert.containers import of_file
from slr_models.convert.hdf5_files import opened
from slr_models.convert.utterance import Found, Source

if TYPE_CHECKING:
    import h5py


def read(source: Source, path: Path) -> Found:
    """The utterances of a file."""
    from scipy import io

    if _is_hdf5(path):
        with opened(path) as file:
            content = {name: _value(file, node) for name, node in file.items() if not name.startswith("#")}
    else:
        loaded = io.loadmat(path, simplify_cells=True)
        content = {name: value for name, value in loaded.items() if not name.startswith("__")}
    yield from of_file(source, path, content)


def _is_hdf5(path: Path) -> bool:
    with path.open("rb") as file:
        return b"MATLAB 7.3" in file.read(128)


def _value(file: "h5py.File", node: Any) -> Any:
    """A variable as `loadmat` has it: HDF5 has the sizes of MATLAB's arrays the other way round."""
    import h5py

    if isinstance(node, h5py.Group):
        return {name: _value(file, child) for name, child in node.items()}
    kind = node.attrs.get("MATLAB_class", b"")
    array = np.asarray(node[()])
    if "MATLAB_empty" in node.attrs and node.attrs["MATLAB_empty"]:
        return None
    if kind == b"char":
        return "".join(chr(letter) for letter in array.ravel())
    if array.dtype.kind == "O":
        # A cell, or a field of a list of structures.
        items = [_value(file, file[reference]) for reference in array.ravel()]
        return items[0] if kind != b"cell" and len(items) == 1 else items
    return array.T.squeeze() if array.size == max(array.shape, default=1) else array.T
