"""The formats that are converted, and how a source shows which it is.

To add one: a file with its reader, and a line in the table here.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from slr_models.convert import (
    feature_files,
    gislr,
    hdf5_files,
    mat_files,
    mediapipe_json,
    openpose,
    pickles,
    torch_files,
)
from slr_models.convert.utterance import Found, Source, each_file
from slr_models.data.index import SUFFIXES
from slr_models.data.kinds import VIDEO_SUFFIXES
from slr_models.errors import DataError

_CSL_DAILY = "csl2020ct_v*.pkl"
"""A pickle of labels, not of features."""


@dataclass(frozen=True)
class Format:
    """One format."""

    summary: str
    """What it is, for the user."""
    suffixes: tuple[str, ...]
    """How its files end."""
    read_file: Callable[[Source, Path], Found] | None = None
    """Reads one file of a source."""
    read_source: Callable[[Source], Found] | None = None
    """Reads a source whose files make sense together only."""

    def read(self, source: Source) -> Found:
        """All that a source holds."""
        if self.read_source is not None:
            return self.read_source(source)
        assert self.read_file is not None
        files = [path for path in source.files(self.suffixes) if not path.match(_CSL_DAILY)]
        return each_file(source, files, self.read_file)


FORMATS = {
    "torch": Format("tensors of torch.save", (".pt", ".pth"), torch_files.read),
    "hdf5": Format("HDF5", (".h5", ".hdf5"), hdf5_files.read),
    "mat": Format("MATLAB", (".mat",), mat_files.read),
    "pickle": Format(
        "pickles (with --trust)", (".pkl", ".pickle", ".p", ".gz", ".gzip", ".train", ".dev", ".test"), pickles.read
    ),
    "openpose": Format("OpenPose's JSON, a file a frame", (openpose.SUFFIX,), read_source=openpose.read),
    "mediapipe": Format("JSON of MediaPipe Tasks", (".json",), mediapipe_json.read),
    "gislr": Format("Kaggle's isolated signs", (gislr.LIST,), read_source=gislr.read),
    "features": Format("feature files, and .pose", SUFFIXES, feature_files.read),
}
"""By the name that a user gives."""


def find_format(source: Path) -> str:
    """The name of a source's format.

    Raises:
        DataError: there is no such source, or it shows none, or several.
    """
    if not source.exists():
        raise DataError(f"There is no {source}; correct the path.")
    if source.is_dir() and gislr.is_list(source / gislr.LIST):
        return "gislr"
    paths = [source] if source.is_file() else source.rglob("*")
    found: dict[str, Path] = {}
    video: Path | None = None
    for path in paths:
        if any(part.startswith(".") for part in path.relative_to(source.parent).parts[1:]) or path.match(_CSL_DAILY):
            continue
        if (kind := _format_of(path.name.lower())) is not None:
            found.setdefault(kind, path)
        elif path.suffix.lower() in VIDEO_SUFFIXES:
            video = path
    if len(found) == 1:
        return next(iter(found))
    if found:
        several = " and ".join(f"{kind} ({path.name})" for kind, path in found.items())
        raise DataError(f"{source} holds {several}; say with --format NAME which of them to convert.")
    if video is not None:
        raise DataError(
            f"{source} holds videos ({video.name}), which have no features before their landmarks are extracted: "
            "slr-sweep landmarks VIDEOS --out data/"
        )
    known = ", ".join(f"{kind.summary}" for kind in FORMATS.values())
    raise DataError(f"{source} holds nothing of a known format; known are {known}. --format NAME says which it is.")


def _format_of(name: str) -> str | None:
    for kind in ("openpose", *FORMATS):
        if kind != "gislr" and name.endswith(FORMATS[kind].suffixes):
            return kind
    return None
