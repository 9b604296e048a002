"""Ctrl-C at many moments of a run: from the first import to the end of the report, once and several times in a row.

Every run is begun anew or goes on with the last, and is interrupted a little later than the one before. Each has to end
with 130 (or 0, where it had ended of itself), without a traceback, with no process and no session folder of Ray left,
and without losing a finished trial. Exit code 1 where one does not.

    python -m benchmarks.reliability.interrupts [--moments 40] [--until 20] [--times 1] [--signal INT|TERM]
"""

import argparse
import os
import signal
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.reliability.runs import STUDY, Run, lines, start, told, violations
from sweep.running.private_ray import PREFIX

PAUSE_S = 0.05
"""Between signals in a row."""


def main() -> int:
    """Runs as the module says; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--moments", type=int, default=40, help="runs, spread evenly over the time")
    parser.add_argument("--until", type=float, default=20.0, help="the last moment, seconds after the start")
    parser.add_argument("--since", type=float, default=0.05, help="the first moment: the interpreter itself starts")
    parser.add_argument("--times", type=int, default=1, help="signals in a row")
    parser.add_argument("--signal", choices=("INT", "TERM"), default="INT")
    options = parser.parse_args()
    number = signal.Signals[f"SIG{options.signal}"]
    bad = 0
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        (base / "tmp").mkdir()
        study = base / "short.yaml"
        study.write_text(STUDY)
        for moment in range(options.moments):
            after_s = options.since + (options.until - options.since) * moment / max(options.moments - 1, 1)
            results = base / f"results{moment // 10}"
            before = lines(results / "short", "tell")
            run = start(study, results, TMPDIR=str(base / "tmp"))
            problems, ended_s, stage = interrupted(run, after_s, number, options.times)
            problems += violations(before, run.folder)
            problems += [f"left in TMPDIR: {left.name}" for left in (base / "tmp").glob(f"{PREFIX}*")]
            bad += bool(problems)
            done = len(told(run.folder))
            verdict = "; ".join(problems) or "good"
            print(
                f"after {after_s:5.2f} s ({stage}): ended {ended_s:4.1f} s later, {done} trials: {verdict}", flush=True
            )
    print(f"{options.moments} runs, {options.times} x SIG{options.signal}: {bad} ended badly")
    return 1 if bad else 0


def interrupted(run: Run, after_s: float, number: signal.Signals, times: int) -> tuple[list[str], float, str]:
    """Interrupts a run so long after its start; returns what was wrong, how long it took to end, and where it was."""
    time.sleep(after_s)
    _ = run.processes
    sent = time.monotonic()
    for _ in range(times):
        if run.process.poll() is None:
            # A terminal's Ctrl-C reaches the whole process group, a job scheduler's SIGTERM the command.
            (os.killpg if number == signal.SIGINT else os.kill)(run.process.pid, number)
            time.sleep(PAUSE_S)
    code, out, err = run.end(120)
    ended_s = time.monotonic() - sent
    problems = []
    if code != 130 and not (code == 0 and out.rstrip().endswith("report.html")):
        problems.append(f"exit code {code}")
    if "Traceback" in err or "Error" in err or len(err.splitlines()) > 1:
        problems.append(f"stderr: {err!r}")
    problems += [f"left alive: {one}" for one in run.left_behind()]
    said = [line for line in out.splitlines() if line.strip()]
    return problems, ended_s, said[-1].strip()[:40] if said else "nothing printed yet"


if __name__ == "__main__":
    sys.exit(main())
