"""SIGKILL at random moments: no finished trial is lost, none is run twice, no process stays.

One study is begun and goes on after each kill, of the command alone or of its whole process group (as a scheduler's
last resort does it); at the end it runs on to its end. After each kill the ledger has to begin with all that it held
before, and every process of the run has to be gone within ten seconds. Zombies are left out: their parent is whoever
adopts orphans on the machine. Exit code 1 where something does not hold.

    python -m benchmarks.reliability.kills [--kills 20] [--seed 0]
"""

import argparse
import os
import random
import signal
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.reliability.runs import STUDY, lines, start, told, violations
from sweep import store
from sweep.running.private_ray import PREFIX


def main(arguments: list[str] | None = None) -> int:
    """Runs as the module says; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        problems = killed(Path(folder), options.kills, random.Random(options.seed))
    print(f"{options.kills} kills: " + ("; ".join(problems) or "nothing lost, nothing run twice, nothing left alive"))
    return 1 if problems else 0


def killed(base: Path, kills: int, moments: random.Random) -> list[str]:
    """Kills the runs of a study in a folder, and lets the last one run to its end; returns what did not hold."""
    study, results, temporary = base / "short.yaml", base / "results", base / "tmp"
    study.write_text(STUDY)
    temporary.mkdir()
    num_trials = 10 + 4 * kills
    command = ("--trials", str(num_trials))
    problems: list[str] = []
    for number in range(1, kills + 1):
        before = lines(results / study.stem, "tell")
        run = start(study, results, *command, TMPDIR=str(temporary))
        more, pause_s, whole_group = moments.choice((0, 1, 2, 3)), moments.uniform(0, 3), moments.random() < 0.5
        if more:
            run.wait_for_results(len(before) + more)
        time.sleep(pause_s)
        _ = run.processes
        (os.killpg if whole_group else os.kill)(run.process.pid, signal.SIGKILL)
        run.end()
        found = [f"left alive: {one}" for one in run.left_behind()] + violations(before, run.folder)
        problems += [f"kill {number}: {one}" for one in found]
        what = "its group" if whole_group else "the command"
        print(f"kill {number:2d} of {what:11s} {pause_s:.1f} s after {more} more results: ", end="")
        print("; ".join(found) or f"good, {len(told(run.folder))} trials told", flush=True)
    before = lines(results / study.stem, "tell")
    run = start(study, results, *command, TMPDIR=str(temporary))
    code, _, err = run.end(1800)
    problems += [f"the last run: {one}" for one in [*run.left_behind(), *violations(before, run.folder)]]
    if (code, err) != (0, ""):
        problems.append(f"the last run ended with {code}: {err}")
    trials = store.read_trials(run.folder)["trial_id"]
    if sorted(trials) != sorted(told(run.folder)) or len(trials) != num_trials:
        problems.append(f"{len(trials)} trials in the table and {len(told(run.folder))} told, of {num_trials}")
    problems += [f"left in TMPDIR: {left.name}" for left in temporary.glob(f"{PREFIX}*")]
    return problems


if __name__ == "__main__":
    sys.exit(main())
