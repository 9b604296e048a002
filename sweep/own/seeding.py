"""Seeds what programs draw from by default."""

import random

import numpy as np
import torch


def seed_all(seed: int) -> None:
    """So that one who draws at random without a word of `run.seed` gets the same again."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)
