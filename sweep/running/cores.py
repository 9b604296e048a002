"""How many of this machine's cores a run may use, and what limits them: the only place that counts cores."""

import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from slr_models.cgroups import groups, text_of

_SLURM = ("SLURM_CPUS_PER_TASK", "SLURM_CPUS_ON_NODE", "SLURM_JOB_CPUS_PER_NODE")
"""How Slurm tells a job what it was given; the narrower ones come first."""


@dataclass(frozen=True)
class Cores:
    """What can be used of a machine."""

    usable: int
    """At least 1."""
    machine: int
    """All that it has."""
    limit: str | None
    """What leaves fewer, in a few words; None where all can be used."""

    def __str__(self) -> str:
        if self.limit is None:
            return f"{self.usable} core{'s' if self.usable > 1 else ''}"
        return f"{self.usable} of {self.machine} cores: {self.limit}"


def cores(environ: Mapping[str, str] = os.environ, system: Path = Path("/")) -> Cores:
    """The cores that this process may use: the tightest of all limits, each rounded down to whole cores.

    Args:
        environ: the variables of the environment.
        system: the root of the file system, for the limits of control groups.
    """
    machine = os.cpu_count() or 1
    # Among equal limits the first one is told.
    usable, limit = min(
        [(machine, None), *_affinity(system), *_quotas(system), *_slurm(environ)], key=lambda found: found[0]
    )
    usable = max(int(usable), 1)
    return Cores(usable, machine, limit if usable < machine else None)


def _affinity(system: Path) -> Iterator[tuple[float, str]]:
    # No public part of Python on every system.
    affinity: Callable[[int], set[int]] | None = getattr(os, "sched_getaffinity", None)
    if affinity is None:
        return
    allowed = len(affinity(0))
    for group in groups("cpuset", system):
        for name in ("cpuset.cpus.effective", "cpuset.effective_cpus"):
            # The system takes what a cpuset leaves out from the affinity, too.
            if (said := text_of(group / name)) and (num := _num_listed(said)) == allowed:
                yield num, "cpuset of the control group"
    yield allowed, "CPU affinity"


def _num_listed(text: str) -> int | None:
    """How many numbers a list such as `0-3,8` has; None of what is no such list."""
    if re.fullmatch(r"\d{1,6}(-\d{1,6})?(,\d{1,6}(-\d{1,6})?)*", text, re.ASCII) is None:
        return None
    ranges = (part.partition("-") for part in text.split(","))
    return sum(int(last or first) - int(first) + 1 for first, _, last in ranges)


def _quotas(system: Path) -> Iterator[tuple[float, str]]:
    """Shares of the time of the cores that control groups allow."""
    for group in groups("cpu", system):
        whole = (text_of(group / "cpu.max") or "").split()
        older = (text_of(group / f"cpu.cfs_{name}_us") for name in ("quota", "period"))
        quota, period = whole if len(whole) == 2 else older
        # "max" and -1: no limit.
        if quota and period and quota.isdecimal() and period.isdecimal() and int(period) > 0:
            num = int(quota) / int(period)
            yield num, f"the control group's quota of {num:.3g}"


def _slurm(environ: Mapping[str, str]) -> Iterator[tuple[float, str]]:
    """What Slurm has given this job on this node."""
    if "SLURM_JOB_ID" not in environ:
        return
    for name in _SLURM:
        # Of several nodes: `16(x2),8`.
        numbers = [
            int(num) for num in re.findall(r"(?:^|,)(\d{1,6})(?:\(x\d+\))?(?=,|$)", environ.get(name, ""), re.ASCII)
        ]
        if numbers and min(numbers) > 0:
            yield min(numbers), f"{name}={environ[name]}"
            return
