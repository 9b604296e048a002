"""A device's work and the host's clock."""

import torch


def wait_for(device: torch.device) -> None:
    """Returns once the device has done all that it was given; what runs on a CPU is done already."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
