"""A process that extracts landmarks in an environment of its own, spoken to in lines of JSON; see holistic.py."""

import json
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from slr_models.errors import DataError, SettingError
from slr_models.extraction import holistic

INSTALL = (
    "MediaPipe wants other versions of NumPy and protobuf than this tool, so it gets an environment of its own:\n"
    "  python3.11 -m venv mediapipe-env        (any Python from 3.9 to 3.12)\n"
    "  mediapipe-env/bin/pip install 'mediapipe<0.10.30'\n"
    "then give --python mediapipe-env/bin/python"
)
_MAX_TOLD = 300
"""Characters of what a process printed."""


class _EndedError(Exception):
    """The process is no more."""


class VideoError(DataError):
    """A video cannot be read; others may."""


@dataclass
class Worker:
    """A process that extracts a video at a time."""

    version: str
    """Of MediaPipe."""
    _process: subprocess.Popen[str]
    _printed: IO[bytes]

    def extract(self, video: Path, out: Path, progress: Callable[[int, int], None]) -> tuple[int, int]:
        """Writes the landmarks of a video; returns its frames, and how many its file promises (0: not told).

        `progress` hears the same now and then.

        Raises:
            VideoError: the video cannot be read.
            DataError: the process has ended.
        """
        order = json.dumps({"video": str(video.absolute()), "out": str(out.absolute())})
        try:
            self._send(order)
            while "frame" in (answer := _answer(self._process, self._printed)):
                progress(answer["frame"], answer["frames"])
        except _EndedError as error:
            raise DataError(f"{video}: {error}; if it does so again, take the video away.") from error
        if "failed" in answer:
            raise VideoError(f"{video} cannot be read ({answer['failed']}); replace it, or take it away.")
        return answer["done"], answer["frames"]

    def _send(self, order: str) -> None:
        assert self._process.stdin is not None
        # Where nobody reads it any more, the answer that does not come says so.
        with suppress(BrokenPipeError):
            self._process.stdin.write(order + "\n")
            self._process.stdin.flush()


@contextmanager
def worker(python: Path) -> Iterator[Worker]:
    """A process of the environment whose interpreter is `python`; it ends with the block.

    Raises:
        SettingError: there is no such interpreter, or MediaPipe is not installed there.
    """
    with tempfile.TemporaryFile() as printed:
        try:
            process = subprocess.Popen(
                # Isolated: neither this environment's paths nor the current folder are seen there.
                [str(python), "-I", holistic.__file__],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=printed,
                text=True,
                encoding="utf-8",
            )
        except OSError as error:
            raise SettingError(f"{python} is no Python that can be started ({error.strerror}). {INSTALL}") from error
        with process:
            try:
                try:
                    ready = _answer(process, printed)
                except _EndedError as error:
                    raise SettingError(f"{python}: {error}. {INSTALL}") from error
                if "ready" not in ready:
                    raise SettingError(f"{python} has no MediaPipe Holistic ({ready.get('failed')}). {INSTALL}")
                yield Worker(ready["ready"], process, printed)
            finally:
                process.kill()


def _answer(process: subprocess.Popen[str], printed: IO[bytes]) -> dict[str, Any]:
    """The next line of a process.

    Raises:
        _EndedError: it has ended.
    """
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line.endswith("\n"):
        code = process.wait()
        printed.seek(0)
        told = " ".join(printed.read().decode(errors="replace").split())[-_MAX_TOLD:]
        raise _EndedError(f"the process that extracts landmarks ended with {code} ({told})")
    answer: dict[str, Any] = json.loads(line)
    return answer
