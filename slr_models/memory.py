"""What a setting or a file would take of this machine's memory: told before it is taken."""

import os
from pathlib import Path

from slr_models.errors import UserError

_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
"""Where a container is told how much of the machine's memory it may use."""
GB = 10**9


def memory_bytes() -> int | None:
    """Memory that this process can have at most; None where the system does not say."""
    try:
        found = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    except (AttributeError, ValueError, OSError):
        return None
    for path in _LIMITS:
        try:
            found.append(int(path.read_text()))
        except (OSError, ValueError):  # no such system, or "max": no limit
            continue
    return min(found)


def check_memory(num_bytes: float, what: str, advice: str) -> None:
    """Refuses what would fill this machine's memory.

    Args:
        num_bytes: what it takes.
        what: it is, such as "1000000 made-up utterances".
        advice: what to do, as a clause.

    Raises:
        UserError: it takes more than half of the memory: while it is made, parts of it are there twice.
    """
    total = memory_bytes()
    if total is not None and num_bytes > total / 2:
        raise UserError(
            f"{what} take about {num_bytes / GB:.3g} GB of memory, more than half of the {total / GB:.3g} GB that this "
            f"machine has; {advice}"
        )
