"""What a Ray that a run starts has to itself: a folder, a token, loopback, and processes that end with the run."""

import contextlib
import errno
import os
import secrets
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout
from ray._private import ray_constants
from ray._private import worker as ray_worker

from sweep.command_line import before_leaving
from sweep.running.guard import guarded, remove

PREFIX = "slr-"
_OWNER_FILE = "owner.lock"
RAY_IN_IT = "r"
"""Ray opens its folder to all, so it gets one within the folder that is closed."""
_LONGEST_SOCKET = (
    f"/{PREFIX}12345678/{RAY_IN_IT}/session_2026-11-29_03-01-20_490859_4194304/sockets/dash_MetricsHead123"
)
"""In the folder that the session's is made in, with a little room."""
_MAX_SOCKET_PATH = 107
"""Bytes of the path of a Unix socket; Linux takes no more."""


@contextlib.contextmanager
def session_folder() -> Iterator[Path]:
    """A new folder that its user alone may enter, for Ray's sockets, logs and what it spills; removed at the end.

    Those of runs that were killed are removed too. It lies where RAY_TMPDIR or else TMPDIR says, unless that is too
    long a path for a socket: then in /tmp.

    Raises:
        OSError: none can be made.
    """
    base = os.environ.get("RAY_TMPDIR") or tempfile.gettempdir()
    if not Path(base).is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), base)
    if len(os.fsencode(base)) > _MAX_SOCKET_PATH - len(_LONGEST_SOCKET) and os.name == "posix":
        base = "/tmp"
    _remove_left_behind(Path(base))
    folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=base))
    owner = FileLock(folder / _OWNER_FILE, thread_local=False)
    # A second Ctrl-C may come while the first is seen to.
    with before_leaving(lambda: remove(folder)):
        try:
            with owner, guarded(folder):
                yield folder
        finally:
            remove(folder)


def _remove_left_behind(base: Path) -> None:
    """Removes the folders of runs that did not live to do it: a lock ends with its process, however that dies."""
    for folder in base.glob(f"{PREFIX}*"):
        owner = folder / _OWNER_FILE
        with contextlib.suppress(OSError, Timeout):
            if folder.is_symlink() or not owner.is_file() or not _is_ours(folder):
                continue
            with FileLock(owner, blocking=False):
                remove(folder)


def _is_ours(path: Path) -> bool:
    return os.name != "posix" or path.stat().st_uid == os.getuid()


def token_settings(folder: Path) -> dict[str, str]:
    """Sees to it that Ray finds a token that nobody else can read; returns what its environment needs for that.

    Ray's own place for it is ~/.ray/auth_token, which it would make readable for all. Where nothing can be written
    there, the token is one of this session.

    Raises:
        OSError: a token can be written nowhere.
    """
    if "RAY_AUTH_TOKEN" in os.environ or "RAY_AUTH_TOKEN_PATH" in os.environ:
        return {}
    try:
        _write_token(Path.home() / ".ray" / "auth_token")
    except (OSError, RuntimeError):
        # RuntimeError: there is no home folder.
        path = folder / "auth_token"
        _write_token(path)
        return {"RAY_AUTH_TOKEN_PATH": str(path)}
    return {}


def _write_token(path: Path) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        if path.read_text(encoding="utf-8", errors="replace").strip():
            _keep_private(path.parent)
            _keep_private(path)
            return
    except FileNotFoundError:
        pass
    _keep_private(path.parent)
    # Whole or not at all: two runs may start at once, and an empty token is refused.
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(secrets.token_hex(32))
    part.replace(path)


def _keep_private(path: Path) -> None:
    """Takes away what others may do with a file or folder that Ray made for all to read."""
    if os.name != "posix":
        return
    state = path.stat()
    if state.st_uid == os.getuid() and state.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        path.chmod(stat.S_IMODE(state.st_mode) & stat.S_IRWXU)


@contextlib.contextmanager
def silent() -> Iterator[None]:
    """Within, Ray prints nothing amid our lines; of a raylet that dies it would print its last twenty."""
    before = ray_worker._worker_logs_enabled
    ray_worker._worker_logs_enabled = False
    try:
        yield
    finally:
        ray_worker._worker_logs_enabled = before


@contextlib.contextmanager
def on_loopback() -> Iterator[None]:
    """Within, Ray keeps the address 127.0.0.1, and all services that it starts listen there alone.

    Elsewhere it replaces that by an address that other machines reach, and listens on all. On Windows and macOS it
    keeps it of itself; this says so on Linux too. Its processes need not be told: they are given the address.
    """
    before = ray_constants.ENABLE_RAY_CLUSTER
    ray_constants.ENABLE_RAY_CLUSTER = False
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before
