"""The bytes and the text of a log file, unzipped, read when they are asked for and not before."""

import gzip
import math
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa

from slr_models.errors import UserError
from slr_models.memory import GB, memory_bytes

_COPIES = 8
"""Times that a whole file is in memory while it is read: as bytes, as text, as lines, as numbers."""
MAX_LINE = 2**26
"""Characters of a line of a text log; a whole history in a line of JSON has fewer."""
_MANY_LINES = 2**26
"""More are made room for when they come."""
_HEAD = 2**16
_CHUNK = 2**20
_CURSOR_MOVE = re.compile(r"\x1b\[[0-9;]*[A-Hf]")
"""Terminal code after which a progress bar draws itself anew, as after a carriage return."""
_ESCAPE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b\n]*(?:\x07|\x1b\\)|[ -/]*[0-Z\\^-~])")
"""Any other terminal code: colours, titles, links."""
_QUOTE = re.compile(r"(?:> ?)+")
_UTF16 = (b"\xff\xfe", b"\xfe\xff")


def _unquoted(text: str) -> str:
    """The text without the marks `> ` of a quotation, where most of its lines have them."""
    lines = text.split("\n")
    num_quoted = sum(line.startswith(">") for line in lines)
    if 4 * num_quoted < 3 * sum(bool(line.strip()) for line in lines):
        return text
    return "\n".join(_QUOTE.sub("", line) for line in lines)


class Source:
    """One log file.

    Raises:
        UserError: on reading, it cannot be unzipped, or is no text.
        OSError: on reading, it cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @cached_property
    def is_zipped(self) -> bool:
        """Whether the file is compressed by gzip."""
        with self.path.open("rb") as file:
            return file.read(2) == b"\x1f\x8b"

    @cached_property
    def head(self) -> bytes:
        """The first 64 KiB."""
        return next(self._chunks(_HEAD), b"")

    @cached_property
    def num_lines_guessed(self) -> int:
        """About how many lines there are, from the length of the first ones; a little too many, yet within memory."""
        line_bytes = len(self.head) / max(self.head.count(b"\n"), 1)
        # Text is zipped to a third or less.
        size = self.path.stat().st_size * (4 if self.is_zipped else 1)
        return min(int(1.1 * size / line_bytes) + 16, _MANY_LINES)

    @property
    def suffix(self) -> str:
        """The name's ending without .gz."""
        return Path(self.path.name.lower().removesuffix(".gz")).suffix

    def content(self) -> bytes:
        """All bytes; refused as soon as they are more than can be read here."""
        memory = memory_bytes()
        limit = math.inf if memory is None else memory / _COPIES
        if not self.is_zipped and self.path.stat().st_size > limit:
            raise self._too_large(limit)
        chunks, size = [], 0
        for chunk in self._chunks(_CHUNK):
            size += len(chunk)
            if size > limit:
                raise self._too_large(limit)
            chunks.append(chunk)
        return b"".join(chunks)

    def _too_large(self, limit: float) -> UserError:
        unzipped = " unzipped" if self.is_zipped else ""
        return UserError(
            f"{self.path} has more than {limit / GB:.2g} GB{unzipped}, too much to read with the memory that is "
            f"here; give a part of it, as head -c and tail -c make, or a table (CSV), which is read piece by piece"
        )

    def has_escapes(self) -> bool:
        """Whether it holds terminal codes, zero bytes, or lone carriage returns."""
        return any(b"\x1b" in chunk or b"\0" in chunk for chunk in self._chunks(_CHUNK))

    def text(self) -> str:
        """The text as a reader sees it: without colours."""
        if b"\0" in self.head[:4096] and not self.head.startswith(_UTF16):
            raise UserError(
                f"{self.path} is none of the known formats: CSV, Parquet, JSON, JSON lines, a TensorBoard event file, "
                f"an MLflow metric, or a text log"
            )
        content = self.content()
        if content.startswith(_UTF16):
            decoded = content.decode("utf-16", errors="replace")
        else:
            # Names and numbers are ASCII; what else a log holds must not stop its reading.
            decoded = content.decode("utf-8-sig", errors="replace")
        self._check_lines(content)
        decoded = _ESCAPE.sub("", _CURSOR_MOVE.sub("\r", decoded)) if "\x1b" in decoded else decoded
        return _unquoted(decoded) if decoded.startswith(">") else decoded

    def _check_lines(self, content: bytes) -> None:
        """Refuses a line that no program printed."""
        start = 0
        while len(content) - start > MAX_LINE:
            end = content.rfind(b"\n", start, start + MAX_LINE)
            end = max(end, content.rfind(b"\r", start, start + MAX_LINE))
            if end < 0:
                number = content.count(b"\n", 0, start) + 1
                raise UserError(
                    f"{self.path}:{number}: the line has more than {MAX_LINE // 2**20} MiB, which no log has; "
                    f"give one with ends of lines"
                )
            start = end + 1

    @contextmanager
    def open(self) -> Iterator[Any]:
        """The unzipped bytes as a stream of PyArrow's."""
        with pa.input_stream(str(self.path), compression="gzip" if self.is_zipped else None) as stream:
            yield stream

    def _chunks(self, size: int) -> Iterator[bytes]:
        opened = gzip.open(self.path, "rb") if self.is_zipped else self.path.open("rb")
        try:
            with opened as file:
                while chunk := file.read(size):
                    yield chunk
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise UserError(f"{self.path} cannot be unzipped ({error}); copy it again, or unzip it yourself") from error
