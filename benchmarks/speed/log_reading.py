"""What reading a log costs: a million rows of CSV and 200,000 lines of text, from the file to the steps.

Each is done in a process of its own, in turns, and so is `pyarrow.csv.read_csv` of the same CSV, which understands
nothing: nobody reads the file faster. Prints CPU time (of all threads, without the start of Python and its imports) and
peak memory of the process, and the ratios to PyArrow's of the same run; and what judging the same steps costs beside.

    python -m benchmarks.speed.log_reading [--rows 1000000] [--lines 200000] [--repeats 3]
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

ALONE, CSV, TEXT = "pyarrow.csv.read_csv alone", "CSV", "text"


def write_csv(path: Path, num_rows: int) -> None:
    """A log of eight columns with drawn values, of which four are needed."""
    with path.open("w") as file:
        file.write("step,loss,grad_norm,lr,epoch,tokens,time_s,mfu\n")
        for step, loss, norm in _steps(num_rows):
            file.write(f"{step},{loss:.6f},{norm:.4f},0.001000,{step / 1e5:.5f},{4096 * step},0.250,45.12\n")


def write_text(path: Path, num_lines: int) -> None:
    """A log as a program prints it, with a time, a total and a rate that count for nothing."""
    with path.open("w") as file:
        for step, loss, norm in _steps(num_lines):
            file.write(
                f"2026-11-22 13:02:{step % 60:02d},{step % 1000:03d} - trainer - INFO - step {step}/{num_lines} | "
                f"loss {loss:.6f} | grad_norm {norm:.4f} | lr {1e-3 / (1 + step / 1e4):.3e} | 0.25 s/it\n"
            )


def _steps(count: int) -> Iterator[tuple[int, float, float]]:
    rng = np.random.default_rng(0)
    losses = 3.3 * np.exp(-np.arange(count) / 2e5) * np.exp(rng.normal(0, 0.05, count))
    return zip(range(1, count + 1), losses.tolist(), rng.lognormal(0, 0.3, count).tolist(), strict=True)


def measure(what: str, path: Path) -> dict[str, float]:
    """Seconds and MiB of one reading; in this process, which should have done nothing else."""
    if what == ALONE:
        from pyarrow import csv

        started = time.process_time()
        csv.read_csv(path)
        return {"read_s": time.process_time() - started, "peak_mib": _peak_mib()}
    from sweep.logs.files import read_trace
    from sweep.logs.judging import judge, setting_of

    started = time.process_time()
    trace = read_trace(path)
    found = {"read_s": time.process_time() - started, "peak_mib": _peak_mib()}
    setting = setting_of(path, trace)
    started = time.process_time()
    judge(trace, setting.context, setting.config)
    return {**found, "judged_s": time.process_time() - started, "whole_peak_mib": _peak_mib()}


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def compare(num_rows: int, num_lines: int, repeats: int) -> None:
    """Prints the medians."""
    with tempfile.TemporaryDirectory() as folder:
        table, text = Path(folder) / "log.csv", Path(folder) / "train.log"
        write_csv(table, num_rows)
        write_text(text, num_lines)
        found: dict[str, list[dict[str, float]]] = {}
        for _ in range(repeats):
            for what, path in ((ALONE, table), (CSV, table), (TEXT, text)):
                command = [sys.executable, "-m", "benchmarks.speed.log_reading", "--one", what, "--file", str(path)]
                done = subprocess.run(command, check=True, capture_output=True, text=True)
                found.setdefault(what, []).append(json.loads(done.stdout))
    middle = {
        what: {name: statistics.median(one[name] for one in runs) for name in runs[0]} for what, runs in found.items()
    }
    floor = middle[ALONE]
    print(f"{ALONE}: {floor['read_s']:.2f} s CPU, peak {floor['peak_mib']:.0f} MiB ({num_rows:,} rows)")
    for what, count in ((CSV, f"{num_rows:,} rows"), (TEXT, f"{num_lines:,} lines")):
        one = middle[what]
        print(f"{what}, {count}: read and understood in {one['read_s']:.2f} s CPU, peak {one['peak_mib']:.0f} MiB")
        if what == CSV:
            time_ratio, memory_ratio = one["read_s"] / floor["read_s"], one["peak_mib"] / floor["peak_mib"]
            print(f"  {time_ratio:.2f} times the time of PyArrow alone, {memory_ratio:.2f} times its memory")
        print(f"  judged in {one['judged_s']:.2f} s more; peak of all {one['whole_peak_mib']:.0f} MiB")


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000, help="of the CSV")
    parser.add_argument("--lines", type=int, default=200_000, help="of the text")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--one", choices=[ALONE, CSV, TEXT], help=argparse.SUPPRESS)
    parser.add_argument("--file", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one is not None:
        print(json.dumps(measure(options.one, options.file)))
    else:
        compare(options.rows, options.lines, options.repeats)


if __name__ == "__main__":
    main()
