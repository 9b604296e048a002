"""What every part of a GPU day is as a process.

python -m benchmarks.gpu.NAME [--device cuda] [--quick] [--rows FILE]
"""

import argparse
import dataclasses
import json
import sys
from collections.abc import Callable
from pathlib import Path

import torch

from benchmarks.gpu.results import Row
from benchmarks.gpu.settings import FULL, QUICK, Scale

Keep = Callable[[Row], None]
"""Takes a row that is ready: what comes later can no longer lose it."""

Measure = Callable[[torch.device, Scale, Keep], None]
"""A part. It raises if it cannot go on; SystemExit with a sentence where that says it better."""


def run(measure: Measure) -> None:
    """Measures, and writes every row as a line of JSON at once: to the end of a file, or to standard output."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    parser.add_argument("--quick", action="store_true", help="tiny settings, which measure nothing")
    parser.add_argument("--rows", type=Path, help="where the rows go; else to standard output")
    options = parser.parse_args()

    def keep(row: Row) -> None:
        line = json.dumps(dataclasses.asdict(row)) + "\n"
        if options.rows is None:
            sys.stdout.write(line)
            return
        with options.rows.open("a", encoding="utf-8") as file:
            file.write(line)

    # As a trial has it: what the host computes is small, and processes side by side would fight for its cores.
    torch.set_num_threads(1)
    measure(torch.device(options.device), QUICK if options.quick else FULL, keep)
