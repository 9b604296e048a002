"""The control groups of Linux that this process is in: what a container, a service or a batch system allows it."""

from collections.abc import Iterator
from pathlib import Path


def groups(controller: str, system: Path = Path("/")) -> Iterator[Path]:
    """The folders of this process's groups that are there, of both versions: each limits it, and all above it do.

    Args:
        controller: such as `cpu`: its folders in version 1, where each has its own.
        system: the root of the file system.
    """
    mounted = system / "sys/fs/cgroup"
    try:
        # Bytes: a group may have any name.
        lines = (system / "proc/self/cgroup").read_bytes().decode(errors="surrogateescape").splitlines()
    except OSError:
        return
    for line in lines:
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers and controller not in controllers.split(","):
            continue
        root = mounted / controller if controllers else mounted
        # In a container its own group may be mounted as the root, under the path that it has outside.
        here = root.joinpath(*[part for part in path.split("/") if part not in ("", "..")])
        while True:
            if here.is_dir():
                yield here
            if here == root:
                break
            here = here.parent


def text_of(file: Path) -> str | None:
    """What a file of a group says; None where it is not there."""
    try:
        return file.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return None
