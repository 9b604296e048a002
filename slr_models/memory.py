"""What a setting or a file would take of this machine's memory: told before it is taken."""

import os
from pathlib import Path

from slr_models.cgroups import groups, text_of
from slr_models.errors import UserError

GB = 10**9


def memory_bytes(system: Path = Path("/")) -> int | None:
    """Memory that this process can have at most; None where the system does not say.

    Args:
        system: the root of the file system, for the limits of control groups.
    """
    try:
        found = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    except (AttributeError, ValueError, OSError):
        return None
    for group in groups("memory", system):
        for name in ("memory.max", "memory.limit_in_bytes"):
            # "max": no limit.
            if (said := text_of(group / name)) is not None and said.isdecimal():
                found.append(int(said))
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
