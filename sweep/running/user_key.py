"""The key of this user: 32 random bytes that nobody else can read, made once, where the user's settings are."""

import os
import secrets
import stat
from pathlib import Path

from sweep.records import NotKnown

KEY_FILE = "signing.key"
_KEY_BYTES = 32


def user_key(*, make: bool) -> bytes | NotKnown:
    """This user's key, made where there is none yet and `make` asks for one."""
    try:
        path = _folder() / KEY_FILE
        if make and not path.exists():
            _make_key(path)
        return _read_key(path)
    except FileNotFoundError as error:
        return NotKnown(f"there is no {error.filename}")
    except (OSError, RuntimeError) as error:
        # Without a home folder, pathlib raises a RuntimeError.
        said = f"{error.filename}: {error.strerror}" if isinstance(error, OSError) and error.filename else str(error)
        return NotKnown(f"your signing key cannot be had ({said})")


def _folder() -> Path:
    """Where this user's settings of this program are."""
    windows = os.name == "nt"
    given = Path(os.environ.get("APPDATA" if windows else "XDG_CONFIG_HOME", ""))
    usual = Path("AppData", "Roaming") if windows else Path(".config")
    return (given if given.is_absolute() else Path.home() / usual) / "slr-sweep"


def _make_key(path: Path) -> None:
    path.parent.parent.mkdir(parents=True, exist_ok=True)
    path.parent.mkdir(mode=0o700, exist_ok=True)
    temporary = path.with_name(f".{KEY_FILE}.{secrets.token_hex(8)}")
    file = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    try:
        with os.fdopen(file, "wb") as written:
            written.write(secrets.token_bytes(_KEY_BYTES))
        # Unlike a renamed file, a linked one replaces none: of two runs that make a key at once, one has made it.
        os.link(temporary, path)
    except FileExistsError:
        pass
    finally:
        temporary.unlink()


def _read_key(path: Path) -> bytes | NotKnown:
    with path.open("rb") as file:
        for place, found in ((path, os.fstat(file.fileno())), (path.parent, path.parent.stat())):
            if (problem := _exposed(found)) is not None:
                return NotKnown(
                    f"{place} {problem}, so that others may sign in your name: chmod 700 {path.parent}, and delete "
                    f"{KEY_FILE} there; the next run makes another"
                )
        key = file.read(_KEY_BYTES + 1)
    if len(key) != _KEY_BYTES:
        return NotKnown(f"{path} is damaged: delete it, and the next run makes another")
    return key


def _exposed(found: os.stat_result) -> str | None:
    """Why others may have read or written a file; None where they cannot, or where files have no owners."""
    if os.name != "posix":
        return None
    if found.st_uid != os.geteuid():
        return "is another user's"
    if found.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        return f"is open to others (mode {stat.S_IMODE(found.st_mode):04o})"
    return None
