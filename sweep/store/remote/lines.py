"""Files that processes of several machines add lines to, where these share none: an object a line, made once."""

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

from slr_models.errors import SettingError
from sweep.store.remote.address import as_address
from sweep.store.remote.objects import PATIENCE_S, ExistsError, ObjectStore

STORED_AT_FILE = ".stored-at"
"""In the folder of a process that shares it with no other: the address of the study, where such lines are."""
SHARED = "shared"
SHARED_FILES = ("evidence/replayed.txt",)
"""The files of a results folder that have such lines."""


class SharedLines:
    """The lines of a file, in the order in which they were added."""

    def __init__(self, objects: ObjectStore, file: str) -> None:
        """Of a file of the results folder; reads nothing yet."""
        self._objects, self._name = objects, f"{SHARED}/{file}"

    def read(self) -> list[str]:
        """All of them.

        Raises:
            MachineError: the store cannot be reached.
        """
        return [(self._objects.get(one.key) or b"").decode() for one in self._objects.listing(self._name)]

    def add(self, line: str, may: Callable[[Sequence[str]], bool] = lambda lines: True) -> bool:
        """Adds a line, unless it is there; returns whether it is now.

        Args:
            line: without an end.
            may: whether it may be added to the lines that are there.

        Raises:
            MachineError: the store cannot be reached.
        """
        while True:
            lines = self.read()
            if line in lines:
                return True
            if not may(lines):
                return False
            try:
                self._objects.create(f"{self._name}/{len(lines) + 1:06d}", line.encode())
            except ExistsError:
                # Another process was quicker, or the answer was lost: what is there now tells.
                continue
            return True


def shared_lines(folder: Path, file: Path) -> SharedLines | None:
    """The lines of a file that a folder's process shares with others; None where the folder itself is shared.

    Raises:
        SettingError: the store of the folder's address cannot be opened.
    """
    path = folder / STORED_AT_FILE
    if not path.is_file():
        return None
    return SharedLines(_opened(path.read_text(encoding="utf-8")), file.relative_to(folder).as_posix())


@cache
def _opened(text: str) -> ObjectStore:
    address = as_address(text)
    if address is None:
        raise SettingError(f"{text} is no address of an object store")
    objects = ObjectStore(address)
    objects.patience_s = PATIENCE_S
    return objects
