"""Foreign files, read so that whatever is wrong in one is a DataError that names it."""

import csv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from slr_models.errors import DataError


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
    if not path.is_file():
        raise DataError(f"{path} is missing; put it there, or correct `path`.")
    try:
        with path.open(encoding="utf-8-sig", newline="") as lines:
            reader = csv.reader(lines, delimiter=delimiter, quoting=csv.QUOTE_MINIMAL if quoting else csv.QUOTE_NONE)
            try:
                for fields in reader:
                    yield reader.line_num, fields
            except csv.Error as error:
                raise DataError(f"{path} line {reader.line_num}: {error}; correct the line.") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 ({error.reason}); save it in that encoding.") from error
    except OSError as error:
        raise DataError(f"{path} cannot be opened ({error}); correct the file or its permissions.") from error
