import math
import sys

import numpy as np
import pytest
import torch

from sweep.training.footprint import footprint
from sweep.training.peak_memory import peak_memory_mib, reset_peak_memory

CPU = torch.device("cpu")


@pytest.mark.skipif(sys.platform != "linux", reason="the system says nothing of it")
def test_what_a_process_has_taken_for_itself_counts_and_what_it_shares_does_not(tmp_path) -> None:
    reset_peak_memory(CPU)
    before = footprint(CPU, math.nan).host_mib
    assert 0 < before < peak_memory_mib(CPU)
    np.full((200, 2**17), 1.0)  # 200 MiB
    own = footprint(CPU, math.nan).host_mib
    assert own - before > 150
    # What is read of a file is there once for all who read it.
    np.full((200, 2**17), 1.0).tofile(tmp_path / "data")
    mapped = np.memmap(tmp_path / "data", dtype=np.float64)
    assert mapped.sum() > 0
    assert footprint(CPU, math.nan).host_mib - own < 60
    assert footprint(CPU, 10_000.0).host_mib > 9_000, "the records may know of a higher peak"


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_tells_what_it_holds_and_has_room_for() -> None:
    device = torch.device("cuda")
    torch.zeros(2**20, device=device)
    found = footprint(device, 4.0)
    assert found.card_mib is not None and found.card_room_mib is not None
    whole_mib = torch.cuda.get_device_properties(device).total_memory / 2**20
    # What CUDA takes for itself is not known exactly.
    assert 4 < found.card_mib < found.card_room_mib <= 1.05 * whole_mib
