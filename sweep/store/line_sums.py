"""Checksums of the lines of a file that is appended to: a line that was changed or moved, or lacks others, is found.

A line is one JSON object, whose last field `sum` is the CRC-32 (eight hexadecimal digits) of the line before the comma
in front of it, begun with the line's number, counted from 1.
"""

import re
import zlib

_SUM, _SUM_LENGTH = re.compile(rb', "sum": "([0-9a-f]{8})"}'), 20


def with_sum(content: bytes, number: int) -> bytes:
    """A JSON object that is not empty as the line of that number, with its checksum and its end."""
    head = content[:-1]
    return head + b', "sum": "%08x"}\n' % zlib.crc32(head, number)


def line_sum(line: bytes) -> tuple[bytes, int] | None:
    """What a line says before its checksum, and the checksum; None where it has none."""
    line = line.rstrip(b"\r\n")
    end = _SUM.fullmatch(line, max(len(line) - _SUM_LENGTH, 0))
    return None if end is None else (line[: end.start()], int(end[1], 16))


def check_sum(line: bytes, number: int) -> None:
    """Raises ValueError if a line is not as it was written under its number."""
    stated = line_sum(line)
    if stated is None or stated[1] != zlib.crc32(stated[0], number):
        raise ValueError("its checksum does not fit: the line was changed, or lines before it are missing")
