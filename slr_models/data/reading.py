"""Foreign files, read so that whatever is wrong in one is a DataError that names it."""

import codecs
import csv
import math
import shlex
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np

from slr_models.errors import DataError
from slr_models.memory import GB

MAX_FILE_GB = 1.5
"""Of the setting `max_file_gb`: Kaggle's files of a thousand sequences take 1.1 GB."""
_MAX_LINE = 2**20
"""Characters of a line of a list; a field has 131072 at most."""
_ZIP = (b"PK\x03\x04", b"PK\x05\x06")
_FLOAT_BYTES = 4
"""Of a number in memory: all become float32."""


def check_file_size(path: Path, num_bytes: float, max_gb: float) -> None:
    """Refuses a file that takes more memory than the setting `max_file_gb` allows.

    Args:
        path: the file.
        num_bytes: what its content takes, unpacked.
        max_gb: the setting, in GB (10^9 bytes).

    Raises:
        DataError: it takes more.
    """
    if num_bytes > max_gb * GB:
        raise DataError(
            f"{path} takes {num_bytes / GB:.3g} GB of memory, more than max_file_gb: {max_gb:g} allows; replace it if "
            f"it should not be so large, else raise max_file_gb"
        )


def check_numpy_size(path: Path, file: IO[bytes], max_gb: float) -> None:
    """Refuses a .npy or .npz whose arrays are larger than `max_gb`, each by what its own header says.

    No header can lie: of a packed file no more is unpacked than its entry says, and an array ends with its entry.

    Args:
        path: of the file, for messages.
        file: open at its start, where it is left again. What is no NumPy file is passed over.
        max_gb: see `check_file_size`.

    Raises:
        DataError: an array is larger, or packed in a way that unpacks without limit.
        Exception: the file is damaged; see `parsing`.
    """
    start = file.read(6)
    file.seek(0)
    if start.startswith(_ZIP):
        with zipfile.ZipFile(file) as archive:
            for entry in archive.infolist():
                # Others are unpacked a block at a time, however large that becomes.
                if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                    raise DataError(f"{path} is packed as NumPy packs nothing; save it with np.savez_compressed")
                check_file_size(path, entry.file_size, max_gb)
                with archive.open(entry) as array:
                    check_file_size(path, _array_bytes(array), max_gb)
    else:
        check_file_size(path, _array_bytes(file), max_gb)
    file.seek(0)


def _array_bytes(file: IO[bytes]) -> int:
    """Memory that an array takes as numbers, by its header; 0 of what has none."""
    start = file.read(np.lib.format.MAGIC_LEN)
    if not start.startswith(np.lib.format.MAGIC_PREFIX):
        return 0
    reader: Any = np.lib.format.read_array_header_1_0 if start[6] == 1 else np.lib.format.read_array_header_2_0
    shape, _, dtype = reader(file)
    num_bytes: int = math.prod(shape) * max(dtype.itemsize, _FLOAT_BYTES)
    return num_bytes


def bounded_lines(path: Path, file: IO[str]) -> Iterator[str]:
    """The lines of a text file, none of which may take up the memory.

    Raises:
        DataError: a line is longer than any of a list.
    """
    number = 0
    while line := file.readline(_MAX_LINE + 1):
        number += 1
        if len(line) > _MAX_LINE:
            raise DataError(f"{path} line {number} has more than {_MAX_LINE} characters; correct the line.")
        yield line


@contextmanager
def parsing(path: Path, advice: str) -> Iterator[None]:
    """Around a library's parser of a binary format: its errors become "<path> cannot be read (...); <advice>".

    Raises:
        DataError: The parser failed.
    """
    try:
        yield
    except DataError:
        raise
    except Exception as error:
        # On damaged bytes parsers raise nearly anything: zlib.error, BadZipFile, struct.error, IndexError, MemoryError.
        # Some explain themselves over several lines, some not at all.
        said = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{path} cannot be read ({said}); {advice}") from error


def csv_lines(path: Path, delimiter: str = ",", quoting: bool = True) -> Iterator[tuple[int, list[str]]]:
    """Line number and fields of each line of a CSV file (UTF-8, with or without a byte order mark), header included.

    Raises:
        DataError: The file is missing, cannot be opened, is not UTF-8, or a line is no CSV.
    """
    with opening(path):
        if not path.is_file():
            raise DataError(f"{path.absolute()} is missing; put it there, or correct `path`.")
        try:
            with path.open(encoding="utf-8-sig", newline="") as lines:
                rows = bounded_lines(path, lines)
                reader = csv.reader(rows, delimiter=delimiter, quoting=csv.QUOTE_MINIMAL if quoting else csv.QUOTE_NONE)
                try:
                    for fields in reader:
                        yield reader.line_num, fields
                except csv.Error as error:
                    raise DataError(f"{path} line {reader.line_num}: {error}; correct the line.") from error
        except UnicodeDecodeError as error:
            raise DataError(
                f"{path} is not UTF-8 ({error.reason}); save it in that encoding, for example with: "
                f"iconv -f {_encoding(path)} -t utf-8 {shlex.quote(path.name)} > utf8.csv"
            ) from error


def _encoding(path: Path) -> str:
    """What a text that is not UTF-8 may be written in."""
    with path.open("rb") as file:
        start = file.read(2)
    return "utf-16" if start in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) else "latin1"


@contextmanager
def opening(path: Path) -> Iterator[None]:
    """Around looks at files of a user: what the system does not allow is a DataError.

    Raises:
        DataError: a file or a folder cannot be opened.
    """
    try:
        yield
    except OSError as error:
        raise DataError(f"{path} cannot be opened ({error}); correct the file or its permissions.") from error
