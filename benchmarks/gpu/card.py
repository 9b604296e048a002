"""Which GPU it is, and what drives it."""

import os
import platform
import subprocess

import torch

from benchmarks.gpu.part import Keep, run
from benchmarks.gpu.results import Card
from benchmarks.gpu.settings import Scale

NO_GPU = "torch finds no GPU here; `--device cpu --quick` tries the script without one"


def measure(device: torch.device, _scale: Scale, keep: Keep) -> None:
    """One row.

    Raises:
        SystemExit: a GPU is asked for and there is none.
    """
    name, memory_mib, capability = platform.machine(), None, None
    if device.type == "cuda":
        if not torch.cuda.is_available():
            raise SystemExit(NO_GPU)
        properties = torch.cuda.get_device_properties(device)
        name, memory_mib = properties.name, properties.total_memory / 2**20
        capability = f"{properties.major}.{properties.minor}"
    keep(
        Card(
            name=name,
            memory_mib=memory_mib,
            compute_capability=capability,
            torch=torch.__version__,
            cuda=torch.version.cuda,
            driver=_driver() if device.type == "cuda" else None,
            python=platform.python_version(),
            cores=os.cpu_count() or 1,
        )
    )


def _driver() -> str | None:
    """The driver's version, where NVIDIA's own program tells it."""
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        told = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.splitlines()
    except (OSError, subprocess.SubprocessError):
        return None
    return told[0].strip() if told else None


if __name__ == "__main__":
    run(measure)
