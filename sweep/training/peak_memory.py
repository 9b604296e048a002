"""The largest memory that a training needed."""

import sys
from pathlib import Path

import torch

from sweep.records import NAN


def reset_peak_memory(device: torch.device) -> None:
    """Starts to measure."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    elif sys.platform == "linux":
        # Linux resets the high-water mark of this process's resident memory; without the right to do so the
        # mark is the process's, over all trials that it ran.
        try:
            Path("/proc/self/clear_refs").write_text("5")
        except OSError:
            pass


def peak_memory_mib(device: torch.device) -> float:
    """The largest memory since then, MiB: of this process (CPU) or of its allocator (GPU); NaN where unknown."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    if sys.platform != "linux":
        return NAN
    # Bytes: the first line has the process's title, cut to 15 of them, amid a letter where it falls so.
    for line in Path("/proc/self/status").read_bytes().splitlines():
        if line.startswith(b"VmHWM:"):
            return int(line.split()[1]) / 1024
    return NAN
