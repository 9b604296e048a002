"""What trainings may use of this machine."""

import math
import os

import psutil
import torch

from slr_models.memory import memory_bytes
from sweep.running.cores import cores
from sweep.running.placement import Limits, Node
from sweep.study import Resources
from sweep.wording import clipped

_FOR_TRAININGS = 0.7
"""Of the memory that is free; Ray keeps the rest for the data that all of them read, and for itself."""


def this_machine(resources: Resources) -> Node:
    """Its usable cores, the GPUs that CUDA_VISIBLE_DEVICES leaves where any are asked for, and its free memory."""
    most = memory_bytes()
    free = psutil.virtual_memory().available
    memory_mib = math.inf if most is None else _FOR_TRAININGS * min(free, most) / 2**20
    return Node(cores().usable, torch.cuda.device_count() if resources.gpus else 0, memory_mib)


def limits() -> Limits:
    """What keeps a run from all of this machine."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return Limits(str(cores()), None if visible is None else f"CUDA_VISIBLE_DEVICES={clipped(visible)}")
