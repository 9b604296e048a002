"""The ledger on an object store: numbered segments, each made once, whose lines behind each other are the ledger.

A segment's first line says which run made it; the others are lines of the ledger, or none: a run begins with a segment
that says so, after which no other run can make the one that it would have made next. So whoever was taken over, or
began at the same moment, finds its place taken, and nothing is ever overwritten.
"""

import json
import re
import uuid
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

from slr_models.errors import ResultsError
from sweep.store.remote.lease import taken_over
from sweep.store.remote.objects import ExistsError, ObjectStore

SEGMENTS, WHOLE = "ledger", "ledger-whole"
_KEY = re.compile(rf"(?:{SEGMENTS}|{WHOLE})/(\d{{10}})\.jsonl")
_WHOLE_EVERY = 500
"""Segments after which all lines are kept in one object too: a reader gets no more objects than so many."""
_AT_ONCE = 16


class LedgerSegments:
    """The segments of one study, for the run that adds to them."""

    def __init__(self, objects: ObjectStore) -> None:
        """Reads what is stored.

        Raises:
            ResultsError: a segment is missing.
            MachineError: the store cannot be reached.
        """
        self._objects = objects
        self._writer = uuid.uuid4().hex
        self._unsent = b""
        self._stored, self._next, self._whole_at = _read(objects)

    @property
    def is_new(self) -> bool:
        """Whether no run has begun the study there."""
        return self._next == 1

    def begin(self, here: bytes) -> tuple[bytes, str | None]:
        """Goes on with what is stored, so that no other run can add to it any more.

        Args:
            here: the ledger as this machine has it, where it does. Lines that a run wrote here and could not send, are
                sent if no other run went on meanwhile.

        Returns:
            The ledger, and a note for the user where lines of `here` are not in it.

        Raises:
            ResultsError: another run began at this moment, or a segment is missing.
            MachineError: the store cannot be reached.
        """
        stored, here = self._stored, here[: here.rfind(b"\n") + 1]
        goes_on = here.startswith(stored)
        self._unsent = here[len(stored) :] if goes_on else b""
        note = None
        if not goes_on and not stored.startswith(here):
            note = "another machine went on with the study: what this one had not sent to it yet is set aside"
        whole = stored + self._unsent
        if self._next - self._whole_at > _WHOLE_EVERY:
            self._keep_whole(stored)
        self._put()
        return whole, note

    def add(self, line: bytes, ledger: Callable[[], bytes]) -> None:
        """Adds a line, with those before it that could not be sent.

        Args:
            line: with its end.
            ledger: gives all lines, with this one.

        Raises:
            MachineError: the store cannot be reached, or another run has taken the study over.
        """
        self._unsent += line
        self._put()
        if self._next - self._whole_at > _WHOLE_EVERY:
            self._keep_whole(ledger())

    def _put(self) -> None:
        key = _key(SEGMENTS, self._next)
        content = json.dumps({"writer": self._writer}).encode() + b"\n" + self._unsent
        try:
            self._objects.create(key, content)
        except ExistsError:
            # The answer to a put may have been lost on its way, and what was put be ours.
            if self._objects.get(key) != content:
                raise taken_over(self._objects) from None
        self._next, self._unsent = self._next + 1, b""

    def _keep_whole(self, ledger: bytes) -> None:
        try:
            # Whoever makes it, it holds the same.
            self._objects.create(_key(WHOLE, self._next), ledger)
        except ExistsError:
            pass
        self._whole_at = self._next


def read_segments(objects: ObjectStore) -> bytes | None:
    """The ledger as it is stored now; None where no run has begun the study there.

    Raises:
        ResultsError: a segment is missing.
        MachineError: the store cannot be reached.
    """
    lines, following, _ = _read(objects)
    return None if following == 1 else lines


def _read(objects: ObjectStore) -> tuple[bytes, int, int]:
    """All lines, the number of the next segment, and the number before which `WHOLE` has all of them."""
    whole_at = max(_numbers(objects, WHOLE), default=1)
    after = None if whole_at == 1 else _key(SEGMENTS, whole_at - 1)
    numbers = sorted(_numbers(objects, SEGMENTS, after))
    if numbers != list(range(whole_at, whole_at + len(numbers))):
        missing = next(n for n, found in enumerate(numbers, start=whole_at) if n != found)
        raise _lacking(objects, _key(SEGMENTS, missing))
    before = b"" if whole_at == 1 else _content(objects, _key(WHOLE, whole_at))
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        segments = list(pool.map(lambda n: _content(objects, _key(SEGMENTS, n)), numbers))
    return before + b"".join(one.partition(b"\n")[2] for one in segments), whole_at + len(numbers), whole_at


def _numbers(objects: ObjectStore, folder: str, after: str | None = None) -> Iterable[int]:
    found = (_KEY.fullmatch(one.key) for one in objects.listing(folder, after))
    return (int(one[1]) for one in found if one is not None)


def _content(objects: ObjectStore, key: str) -> bytes:
    content = objects.get(key)
    if content is None:
        raise _lacking(objects, key)
    return content


def _lacking(objects: ObjectStore, key: str) -> ResultsError:
    return ResultsError(
        f"{objects.address}/{key} is missing, a part of the ledger: restore it from a version of the bucket or a backup"
    )


def _key(folder: str, number: int) -> str:
    return f"{folder}/{number:010d}.jsonl"
