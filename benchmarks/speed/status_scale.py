"""What `slr-sweep status` costs of a long study: one look from its start to its end, and one more look of `--follow`.

Makes results folders as a run at work leaves them (a ledger of made-up results, Ray's folders, records of the training
under way), for a row of lengths, and reads each in processes of their own: wall and CPU time of the command, CPU time
of a further look after one more training has ended, peak memory. Beside them, what `json.loads` alone takes of the same
ledger, and the start of Python with pandas, which the results folder is read with.

    python -m benchmarks.speed.status_scale [--trials 100,1000,10000] [--repeats 5]
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.speed.report_scale import CLIP, DECAY, INIT, LR, PRECISION, STUDY, WIDTH
from sweep import store
from sweep.records import Outcome, Phase, StepRecord, TrialResult
from sweep.store import latest_run
from sweep.store.ledger_lines import LEDGER_FILE, Ask, Tell, event_of, written
from sweep.store.lock import FolderLock

SECOND_LOOK = """
import json, sys, time
from pathlib import Path
from sweep.status.reading import Reader
folder = Path(sys.argv[1])
reader = Reader(folder)
reader.read()
ledger, line = folder / "ledger.jsonl", (folder / "next.line").read_bytes()
whole = ledger.stat().st_size
with ledger.open("ab") as file:
    file.write(line)
started = time.process_time()
status = reader.read()
print(json.dumps([time.process_time() - started, status.done]))
with ledger.open("r+b") as file:
    file.truncate(whole)
"""
JSON_ALONE = "import json, sys, time; s = time.process_time(); [json.loads(x) for x in open(sys.argv[1], 'rb')]; " + (
    "print(time.process_time() - s)"
)


def make(folder: Path, num_trials: int) -> None:
    """A study of which all but the last training have ended."""
    rng = np.random.default_rng(0)
    made = {latest_run.KEY: latest_run.begun(0.0, num_trials, 3)}
    content = STUDY | {"budget": {"trials": num_trials, "steps": 1000}, "provenance": made}
    (folder / "ray").mkdir(parents=True)
    store.write_study(folder, content)
    lines: list[bytes] = []
    for number in range(num_trials):
        ask = Ask(f"{number:05d}", number, number, 0, Phase.EXPLORE, {
            PRECISION: "fp16", LR: float(rng.lognormal(-5, 2)), CLIP: float(rng.lognormal()),
            INIT: float(rng.lognormal()), WIDTH: 0.25, DECAY: 0.01,
        })  # fmt: skip
        lines.append(written(event_of(ask), len(lines) + 1))
        lines.append(written(event_of(Tell(ask.trial_id, 10.0 * number, _result(ask, rng))), len(lines) + 1))
        (folder / "ray" / f"{ask.trial_id}_lr").mkdir()
    (folder / "next.line").write_bytes(lines.pop())
    (folder / LEDGER_FILE).write_bytes(b"".join(lines))
    store.record_stream(folder, "steps", ask.trial_id).write([StepRecord(step=s, loss=1.0) for s in range(1, 500)])


def _result(ask: Ask, rng: np.random.Generator) -> TrialResult:
    stable = rng.random() < 0.6
    return TrialResult(
        trial_id=ask.trial_id, number=ask.number, group=ask.group, seed=ask.seed, phase=ask.phase,
        settings=ask.settings, verdict=Outcome.STABLE if stable else Outcome.DIVERGED_LOSS,
        reason="made up, of the length that a reason has: the loss reached 21.4, 6.9 times what learning nothing costs",
        num_steps=1000, max_steps=1000, objective=float(rng.random()), margin=0.1, wer=0.3, best_wer=0.3,
        final_train_loss=1.0, val_loss=1.0, best_val_loss=1.0, l_const=3.0, l_unif=9.0, wall_s=1.0, cpu_s=1.0,
    )  # fmt: skip


def spent(*arguments: str) -> tuple[float, float, float, str]:
    """Wall and CPU seconds, and peak MiB, of a fresh interpreter; and what it says."""
    started = time.perf_counter()
    child = subprocess.Popen([sys.executable, *arguments], stdout=subprocess.PIPE, text=True)
    said = child.stdout.read() if child.stdout else ""
    _, status, used = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    return time.perf_counter() - started, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024, said


def measure(folder: Path, num_trials: int, repeats: int) -> str:
    """A row of the table: medians."""
    looks, further, alone = [], [], []
    for _ in range(repeats):
        wall_s, cpu_s, peak_mib, said = spent("-m", "sweep", "status", str(folder), "--json")
        told = json.loads(said)
        assert (told["done"], len(told["running"])) == (num_trials - 1, 1), said
        looks.append((wall_s, cpu_s, peak_mib))
        look_s, done = json.loads(spent("-c", SECOND_LOOK, str(folder))[3])
        assert done == num_trials
        further.append(look_s)
        alone.append(float(spent("-c", JSON_ALONE, str(folder / LEDGER_FILE))[3]))
    wall_s, cpu_s, peak_mib = (statistics.median(column) for column in zip(*looks, strict=True))
    size = (folder / LEDGER_FILE).stat().st_size / 2**20
    return (
        f"| {num_trials:,} | {size:.1f} | {wall_s:.2f} | {cpu_s:.2f} | {1000 * statistics.median(further):.0f} "
        f"| {peak_mib:.0f} | {statistics.median(alone):.2f} |"
    )


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", default="100,1000,10000")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    start = statistics.median(spent("-c", "import pandas")[1] for _ in range(options.repeats))
    print(f"Python with pandas alone: {start:.2f} s CPU\n")
    print("| trials | ledger, MiB | wall, s | CPU, s | further look, CPU ms | peak, MiB | `json.loads` alone, CPU s |")
    print("|---|---|---|---|---|---|---|")
    for num_trials in map(int, options.trials.split(",")):
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary) / "made"
            make(folder, num_trials)
            # A run is at work.
            lock = FolderLock(folder)
            print(measure(folder, num_trials, options.repeats), flush=True)
            lock.release()


if __name__ == "__main__":
    main()
