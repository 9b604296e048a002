"""One training: the loop and what its steps are made of.

train.py          the loop: a generator that yields records and decides nothing; config.py: its settings, without torch
precision.py      fp32, bf16, fp16 and its loss scale; emulation.py: CUDA autocast's arithmetic on a CPU
optim/            optimizer, schedule, clipping, what to do with a bad batch
telemetry.py      what every step tells of the model; health.py: what is sampled
late.py           reads a device's values a few steps late, so that no step waits
snapshots.py      where replays start from; peak_memory.py; footprint.py: what others cannot have
"""
