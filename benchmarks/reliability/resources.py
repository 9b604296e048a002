"""What a long study takes of the machine: disk, and memory and open files of its processes, over thousands of trials.

Runs one study of very short trainings through the command line and looks at its processes every few seconds: the
command itself (the driver), the actors that train, and the rest of Ray. Memory is USS, the pages that are a process's
own, where the system tells it, else RSS: shared ones depend on what else runs. The slope is a least-squares line over
the second half of the trials, since libraries fill their caches in the first.

Last measured: 2,000 trials in 16 minutes, on two cores that other programs kept busy. Open files: driver 40, two actors
88, flat. Memory: two actors 651 MiB, +1.0 MiB per 1000 trials, flat; the driver 372 to 387 MiB from the 400th to the
1,600th trial, 12 KiB a trial, of which 9 are what the study knows of its trials (`benchmarks.speed.driver_scale`), then
a step of 27 MiB at once and as slowly on; the rest of Ray 532 to 548 MiB, +18 per 1000. Disk: 21 KiB a trial in the
results folder with its report, none of it Ray's; 19 MiB in Ray's own folder, which goes with the run, +8 per 1000.

    python -m benchmarks.reliability.resources [--trials 2000] [--time 25m] [--output FILE.json]
"""

import argparse
import contextlib
import json
import os
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from benchmarks.reliability.runs import Run, start, told
from sweep.running.private_ray import PREFIX

STUDY = """
name: long
model: {kind: baseline, width: 0.0625}
data: {kind: synthetic, vocabulary_size: 3, num_train: 8, num_valid: 2, frames_per_label: 4, max_labels: 2}
training: {batch_size: 4, eval_every_steps: 3}
space: {training.optimizer.lr: {loguniform: [1e-3, 1e-1]}}
search: {kind: random, seed: 1}
budget: {trials: 2000, steps: 3}
confirm: {settings: 0}
forensics: {trials: 0}
"""
EVERY_S = 5.0
MIB = 2**20
FLAT_MIB, FLAT_FILES = 5.0, 2.0
"""A slope below this, per 1000 trials, is called flat."""


def main() -> int:
    """Runs as the module says; returns the exit code, 1 where the run failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=2000)
    parser.add_argument("--time", default="25m", help="the run ends by then, wherever it is")
    parser.add_argument("--output", type=Path, help="keeps every look, as JSON")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        (base / "tmp").mkdir()
        study = base / "long.yaml"
        study.write_text(STUDY)
        run = start(
            study,
            base / "results",
            *("--trials", str(options.trials), "--time", options.time),
            TMPDIR=str(base / "tmp"),
        )
        try:
            looks = watched(run, base / "tmp")
        finally:
            if run.process.poll() is None:
                run.process.terminate()
            code, out, err = run.end()
        size = disk(run.folder)
        trials = len(told(run.folder))
        left = run.left_behind()
    if options.output is not None:
        options.output.write_text(json.dumps(looks))
    print(out.strip().splitlines()[-1] if code in (0, 75) else f"exit code {code}: {err}")
    print(f"{trials} trials, exit code {code}, processes left: {', '.join(left) or 'none'}")
    print(f"disk a trial: {sum(size.values()) / max(trials, 1) / 1024:.1f} KiB in the results folder, of which")
    for name, num_bytes in sorted(size.items(), key=lambda one: -one[1])[:8]:
        print(f"  {name:20s} {num_bytes / max(trials, 1) / 1024:6.2f} KiB")
    for line in slopes(looks):
        print(line)
    return 0 if code in (0, 75) else 1


def watched(run: Run, temporary: Path) -> list[dict[str, Any]]:
    """Looks at a run until it ends."""
    looks = []
    while run.process.poll() is None:
        sums: dict[str, float] = defaultdict(float)
        for process in run.processes:
            try:
                kind = kind_of(process, run.process.pid)
                memory = process.memory_full_info()
                sums[f"{kind}: MiB"] += getattr(memory, "uss", memory.rss) / MIB
                sums[f"{kind}: open files"] += process.num_fds()
                sums[f"{kind}: processes"] += 1
            except psutil.Error:
                continue
        folders = [*temporary.glob(f"{PREFIX}*")]
        sums["Ray's folder: MiB"] = sum(sum(disk(one).values()) for one in folders) / MIB
        looks.append({"trials": len(told(run.folder)), "time": time.time(), **sums})
        time.sleep(EVERY_S)
    return looks


def kind_of(process: psutil.Process, driver: int) -> str:
    """Whether a process is the command, an actor that trains, or another of Ray's."""
    if process.pid == driver:
        return "driver"
    name = process.cmdline()[0] if process.cmdline() else ""
    # An actor is called by its trial while it trains, and else by what it does.
    others = ("ray::IDLE", "ray::DashboardAgent", "ray::RuntimeEnvAgent")
    return "actors" if name.startswith("ray::") and not name.startswith(others) else "rest of Ray"


def disk(folder: Path) -> dict[str, int]:
    """Bytes on disk under a folder, by the first name in it."""
    sizes: dict[str, int] = defaultdict(int)
    for place, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(place, name)
            # It may be gone by now.
            with contextlib.suppress(FileNotFoundError):
                sizes[path.relative_to(folder).parts[0]] += path.lstat().st_blocks * 512
    return dict(sizes)


def slopes(looks: list[dict[str, Any]]) -> list[str]:
    """How each quantity goes over the second half of the trials, a line each."""
    most = max((look["trials"] for look in looks), default=0)
    late = [look for look in looks if look["trials"] >= most / 2 and look.get("actors: processes", 0) >= 1]
    found = []
    for name in sorted({name for look in late for name in look} - {"trials", "time"}):
        # Between two trainings an actor goes by another name.
        full = [look for look in late if name in look]
        if len(full) < 10 or name.endswith("processes"):
            continue
        x, y = (np.array([look[key] for look in full], dtype=float) for key in ("trials", name))
        slope = 1000 * np.polyfit(x, y, 1)[0]
        flat = abs(slope) < (FLAT_FILES if name.endswith("files") else FLAT_MIB)
        ends = f"{np.median(y[:5]):8.1f} -> {np.median(y[-5:]):8.1f}"
        found.append(f"{name:28s} {ends}, {slope:+7.2f} per 1000 trials: {'flat' if flat else 'NOT FLAT'}")
    return found


if __name__ == "__main__":
    sys.exit(main())
