"""What is read of a damaged ledger, line by line."""

import time
import zlib

import pytest

from sweep.store.ledger_lines import Ask, event_of, written
from sweep.store.recovery import salvage


def line(number: int) -> bytes:
    """A sound line of a ledger, counted from 1."""
    return written(event_of(Ask(f"{number:04d}", number, number, 0, "explore", {"lr": 0.1})), number)


@pytest.mark.parametrize("missing", [1, 7, 40, 9_000])
def test_lines_behind_missing_ones_are_found_by_their_checksum(missing: int) -> None:
    kept = [*range(1, 4), *range(4 + missing, 20 + missing)]
    found = salvage(b"".join(map(line, kept)))
    assert [ask.number for ask in found.lines if isinstance(ask, Ask)] == kept and found.num_damaged == 0


def test_a_changed_or_doubled_line_costs_itself_alone() -> None:
    lines = [line(number) for number in range(1, 10)]
    lines[3] = lines[3].replace(b'"seed": 0', b'"seed": 1')
    lines.insert(6, lines[5])
    # Under a number that no file of this size comes to.
    lines.append(written(event_of(Ask("9999", 9999, 1, 0, "explore", {})), 2**31))
    found = salvage(b"".join(lines))
    assert [ask.number for ask in found.lines if isinstance(ask, Ask)] == [1, 2, 3, 5, 6, 7, 8, 9]
    assert found.num_damaged == 3


def test_many_changed_lines_take_no_time() -> None:
    lines = [line(number).replace(b'"seed": 0', b'"seed": 1') for number in range(1, 6_401)]
    assert zlib.crc32(lines[0]) != zlib.crc32(line(1))
    started = time.process_time()
    assert salvage(b"".join(lines)).num_damaged == 6_400
    assert time.process_time() - started < 3, "26 s, where each place is tried for each line"
