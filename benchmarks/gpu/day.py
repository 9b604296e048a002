"""All that only a GPU can tell, in at most nine minutes on one card.

Every part is a process with its own share of the time, and what the parts before it left of theirs. One that fails or
runs out of its time is told with what it had measured by then, and the next one begins. After each of them gpu.json and
gpu.md are written anew; at the end the table is printed too.

    python -m benchmarks.gpu.day [--output DIR] [--minutes 9] [--device cpu --quick]

Exit code 0: every part did all that it should. 1: one did not, or there is no GPU. It has not been run on a GPU yet.
"""

import argparse
import contextlib
import dataclasses
import datetime
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from benchmarks.gpu.results import (
    Card,
    EmulationRun,
    GpuDay,
    ModelRun,
    MonitorRun,
    PackedRun,
    PartResult,
    PrecisionRun,
    Row,
    Status,
    TestRun,
)
from benchmarks.gpu.table import markdown
from sweep.store.files import without_nonfinite, write_text

ROOT = Path(__file__).parents[2]
MINUTES = 9.0
END_S = 5.0
"""How long a process that was killed is waited for: one that the driver holds may not end."""

KEPT_CHARACTERS = 20_000
"""Of what a part printed that was not done."""


@dataclass(frozen=True)
class Part:
    """A module of this room, run as a process."""

    module: str
    title: str
    row: type[Row]
    share_s: float
    """Its time, if the whole has nine minutes."""


CARD = Part("benchmarks.gpu.card", "The GPU", Card, 20)
PARTS = (
    Part("benchmarks.gpu.marked_tests", "Tests marked `gpu`", TestRun, 80),
    Part("benchmarks.gpu.models", "Every model in every precision", ModelRun, 185),
    Part("benchmarks.gpu.emulation", "The fp16 emulation against the GPU", EmulationRun, 80),
    Part("benchmarks.gpu.monitoring", "What watching costs", MonitorRun, 60),
    Part("benchmarks.gpu.packing", "Trainings that share the GPU", PackedRun, 65),
    Part("benchmarks.gpu.precisions", "What a step costs in each precision", PrecisionRun, 40),
)
WRITING_S = 60 * MINUTES - CARD.share_s - sum(part.share_s for part in PARTS)
"""What is left for the start of the script and for its end."""


def run_part(part: Part, arguments: list[str], limit_s: float) -> PartResult:
    """Runs one part as a process, and ends it with all that it started once its time is over."""
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        rows_file, told = Path(folder) / "rows", Path(folder) / "told"
        code = None
        if limit_s > 0:
            code = _run([sys.executable, "-m", part.module, *arguments, "--rows", str(rows_file)], told, limit_s)
        rows, output = _read(part, rows_file), ""
        if code != 0 and told.exists():
            output = told.read_text(encoding="utf-8", errors="replace")[-KEPT_CHARACTERS:]
        if code is None:
            status, message = Status.OUT_OF_TIME, f"{len(rows)} rows were ready by then"
        elif code == 0:
            status, message = Status.DONE, ""
        else:
            status, message = Status.FAILED, _last_line(output) or f"its process ended with exit code {code}"
        return PartResult(
            name=part.module.rpartition(".")[2],
            title=part.title,
            status=status,
            message=message,
            seconds=time.monotonic() - started,
            limit_s=limit_s,
            rows=rows,
            output=output,
        )


def _run(command: list[str], told: Path, limit_s: float) -> int | None:
    """Its exit code; None if it was ended for its time. What it prints goes to the file `told`."""
    with told.open("w") as file:
        # A group of its own, by which its children end with it.
        process = subprocess.Popen(command, cwd=ROOT, stdout=file, stderr=file, start_new_session=True)
    try:
        return process.wait(limit_s)
    except subprocess.TimeoutExpired:
        return None
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(END_S)


def _last_line(output: str) -> str:
    lines = output.strip().splitlines()
    return lines[-1].strip() if lines else ""


def _read(part: Part, rows: Path) -> list[Row]:
    """The rows that are whole: the last line of a process that was killed may not be."""
    if not rows.exists():
        return []
    *lines, _rest = rows.read_text(encoding="utf-8").split("\n")
    return [part.row(**json.loads(line)) for line in lines]


def run_day(
    output: Path, *, device: str, quick: bool, minutes: float, parts: tuple[Part, ...] = PARTS, card: Part = CARD
) -> GpuDay:
    """All parts within so many minutes, written to `output` after each.

    Raises:
        SystemExit: there is no such device.
    """
    started, started_at = time.monotonic(), datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    arguments = ["--device", device, *(["--quick"] if quick else [])]
    factor = minutes / MINUTES
    ends_s = started + factor * card.share_s
    found = run_part(card, arguments, factor * card.share_s)
    if found.status is Status.FAILED:
        raise SystemExit(found.message)
    day = GpuDay(
        device=device,
        quick=quick,
        minutes=minutes,
        started_at=started_at,
        seconds=0.0,
        card=next((row for row in found.rows if isinstance(row, Card)), None),
        parts=[],
    )
    for part in parts:
        # Each may have until its share is over in the row of shares, so what one leaves is for those after it.
        ends_s += factor * part.share_s
        result = run_part(part, arguments, ends_s - time.monotonic())
        print(f"{result.title}: {result.status} after {result.seconds:.0f} s", file=sys.stderr)
        day = dataclasses.replace(day, parts=[*day.parts, result], seconds=time.monotonic() - started)
        write(day, output)
    return day


def write(day: GpuDay, output: Path) -> None:
    """gpu.json and gpu.md, in the place of those before."""
    output.mkdir(parents=True, exist_ok=True)
    text = json.dumps(without_nonfinite(dataclasses.asdict(day)), indent=2, allow_nan=False)
    write_text(output / "gpu.json", text + "\n")
    write_text(output / "gpu.md", markdown(day))


def _leave(_number: int, _frame: object) -> NoReturn:
    raise SystemExit(143)


def main() -> None:
    """Runs all parts and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    parser.add_argument("--quick", action="store_true", help="tiny settings, which test the script and measure nothing")
    parser.add_argument("--output", type=Path, default=ROOT / "results", help="folder of gpu.json and gpu.md")
    parser.add_argument("--minutes", type=float, default=MINUTES, help="for all of it")
    options = parser.parse_args()
    if not 0 < options.minutes < 24 * 60:
        parser.error(f"--minutes must be above 0 and below a day, but it is {options.minutes:g}")
    # As with Ctrl-C, the part that is under way ends too.
    signal.signal(signal.SIGTERM, _leave)
    day = run_day(options.output, device=options.device, quick=options.quick, minutes=options.minutes)
    print(markdown(day))
    print(f"{options.output / 'gpu.json'}, {options.output / 'gpu.md'}", file=sys.stderr)
    sys.exit(0 if day.is_whole else 1)


if __name__ == "__main__":
    main()
