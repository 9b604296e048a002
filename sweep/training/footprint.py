"""How much memory a training takes that others on its machine or its card cannot have."""

import math
import sys
from dataclasses import dataclass
from pathlib import Path

import torch

from sweep.training.peak_memory import peak_memory_mib

_CONTEXT_MIB = 600.0
"""What CUDA takes for a process beside its allocator; differs from card to card, this is more than usual."""
_SHARED = (b"RssFile:", b"RssShmem:")
"""Libraries, and the data that all trainings read: there once for all processes."""


@dataclass(frozen=True)
class Footprint:
    """At its peak, MiB."""

    host_mib: float
    """Of main memory; 0 where unknown."""
    card_mib: float | None = None
    """Of the GPU: what its allocator held, and what CUDA itself takes; None without one."""
    card_room_mib: float | None = None
    """What the GPU had for trainings then: its free memory, and that of this one."""


def footprint(device: torch.device, peak_mib: float) -> Footprint:
    """What this process's training has taken so far.

    Args:
        device: that it runs on.
        peak_mib: its peak as its records have it; NaN where unknown.
    """
    on_host = [mib for mib in (peak_memory_mib(torch.device("cpu")), peak_mib) if math.isfinite(mib)]
    if device.type != "cuda":
        return Footprint(max(max(on_host, default=0.0) - _shared_mib(), 0.0))
    host_mib = max(on_host[0] - _shared_mib(), 0.0) if sys.platform == "linux" and on_host else 0.0
    if not (torch.cuda.is_initialized() and torch.cuda.max_memory_reserved(device)):
        # Another library, or another process, has it: what it takes, torch does not know.
        return Footprint(host_mib)
    free, _ = torch.cuda.mem_get_info(device)
    return Footprint(
        host_mib,
        torch.cuda.max_memory_reserved(device) / 2**20 + _CONTEXT_MIB,
        (free + torch.cuda.memory_reserved(device)) / 2**20 + _CONTEXT_MIB,
    )


def _shared_mib() -> float:
    if sys.platform != "linux":
        return 0.0
    lines = Path("/proc/self/status").read_bytes().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith(_SHARED)) / 1024
