"""Shared by all tests: one torch thread, as a trial on one core has, so that parallel runs do not fight for cores."""

import torch

torch.set_num_threads(1)
