"""What the driver of a long study costs: thousands of trials through its session, without Ray and without training.

A session is asked for each setting, and told a made-up result at once: search, ledger and table of trials do what they
do in a run. Then another session takes the same folder up, as a run that goes on does. Each in a process of its own,
for a row of lengths: seconds a trial (CPU time, since the ledger's writes are waited for on any disk), how that grows
from the shortest to the longest, resident memory, and seconds to take up. Beside them, in the same run, plain Optuna
with the same sampler on a journal file of its own.

    python -m benchmarks.speed.driver_scale [--trials 1000,10000] [--search random]
"""

import argparse
import json
import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import psutil
import yaml
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from sweep.records import Outcome, TrialResult
from sweep.running.job import Job
from sweep.running.session import StudySession
from sweep.study import load

LR, CLIP, PRECISION = "training.optimizer.lr", "training.clip.max_norm", "training.precision.kind"
STUDY: dict[str, Any] = {
    "name": "scale",
    "model": {"kind": "baseline", "width": 0.0625},
    "data": {"kind": "synthetic"},
    "space": {
        LR: {"loguniform": [1e-5, 1.0]},
        CLIP: {"loguniform": [0.1, 10.0]},
        PRECISION: {"choice": ["fp32", "bf16"]},
    },
    "confirm": {"settings": 0},
    "forensics": {"trials": 0},
}
MIB = 2**20


def result_of(job: Job, rng: np.random.Generator) -> TrialResult:
    """What a training might have come to."""
    lr = job.settings[LR]
    assert isinstance(lr, float)
    heat = math.log10(lr / 1e-2) + rng.normal(0, 0.15)
    stable = heat < 0
    wer = float(np.clip(0.3 - 0.1 * heat + rng.normal(0, 0.05), 0, 1))
    return TrialResult(
        trial_id=job.trial_id, number=job.number, group=job.group, seed=job.seed, phase=job.phase,
        settings=job.settings, verdict=Outcome.STABLE if stable else Outcome.DIVERGED_LOSS,
        reason="made up, of the length that a reason has: the loss reached 21.4, 6.9 times what learning nothing costs",
        num_steps=job.max_steps, max_steps=job.max_steps, objective=wer if stable else 2.5,
        margin=float(np.clip(heat, -1, 1)), wer=wer, best_wer=wer,
        final_train_loss=1.0, val_loss=1.0, best_val_loss=1.0, l_const=3.0, l_unif=9.0, wall_s=1.0, cpu_s=1.0,
    )  # fmt: skip


def through_session(folder: Path, trials: int, search: str) -> dict[str, float]:
    """Asks and tells so many trials."""
    loaded = _loaded(folder, trials, search)
    rng = np.random.default_rng(0)
    started, started_cpu = time.perf_counter(), time.process_time()
    with StudySession(loaded, folder / "results", 256) as session:
        while (job := session.next_job()) is not None:
            session.tell(result_of(job, rng))
        num = len(session.results)
    assert num == trials, f"{num} of {trials} trials"
    return {"cpu_s": time.process_time() - started_cpu, "wall_s": time.perf_counter() - started}


def taken_up(folder: Path, trials: int, search: str) -> dict[str, float]:
    """Opens a folder of so many trials as a run that goes on does."""
    loaded = _loaded(folder, trials, search)
    started, started_cpu = time.perf_counter(), time.process_time()
    with StudySession(loaded, folder / "results", 256) as session:
        assert len(session.results) == trials and session.done
    return {"cpu_s": time.process_time() - started_cpu, "wall_s": time.perf_counter() - started}


def through_optuna(folder: Path, trials: int, search: str) -> dict[str, float]:
    """The same by Optuna alone."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    samplers: dict[str, Callable[[], Any]] = {
        "random": lambda: optuna.samplers.RandomSampler(seed=0),
        "tpe": lambda: optuna.samplers.TPESampler(seed=0),
    }
    if search not in samplers:
        return {"cpu_s": math.nan, "wall_s": math.nan}
    started, started_cpu = time.perf_counter(), time.process_time()
    storage = JournalStorage(JournalFileBackend(str(folder / "journal")))
    study = optuna.create_study(storage=storage, sampler=samplers[search]())
    for _ in range(trials):
        trial = study.ask()
        trial.suggest_float("lr", 1e-5, 1.0, log=True)
        trial.suggest_float("max_norm", 0.1, 10.0, log=True)
        trial.suggest_categorical("kind", ["fp32", "bf16"])
        study.tell(trial, 1.0)
    return {"cpu_s": time.process_time() - started_cpu, "wall_s": time.perf_counter() - started}


def _loaded(folder: Path, trials: int, search: str) -> Any:
    path = folder / "scale.yaml"
    path.write_text(yaml.safe_dump(STUDY | {"search": {"kind": search}, "budget": {"trials": trials, "steps": 100}}))
    return load(path)


WORK = {"session": through_session, "taken up": taken_up, "Optuna": through_optuna}


def in_its_own_process(what: str, folder: Path, trials: int, search: str) -> dict[str, float]:
    """What a part of the work took, and the largest resident memory of its process, MiB."""
    command = ["--work", what, "--folder", str(folder), "--trials", str(trials), "--search", search]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.speed.driver_scale", *command], check=True, stdout=subprocess.PIPE, text=True
    )
    measured: dict[str, float] = json.loads(done.stdout)
    return measured


def main() -> None:
    """Prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", default="1000,10000")
    parser.add_argument("--search", default="random")
    parser.add_argument("--work", choices=WORK, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work is not None:
        before = psutil.Process().memory_info().rss
        measured = WORK[options.work](options.folder, int(options.trials), options.search)
        measured["grown_mib"] = (psutil.Process().memory_info().rss - before) / MIB
        print(json.dumps(measured))
        return
    print(f"{options.search} search")
    print("trials  what        CPU s   ms a trial   wall s   memory + MiB")
    per_trial: dict[str, list[float]] = {}
    for trials in map(int, options.trials.split(",")):
        with tempfile.TemporaryDirectory() as folder:
            for what in WORK:
                found = in_its_own_process(what, Path(folder), trials, options.search)
                each_ms = 1e3 * found["cpu_s"] / trials
                per_trial.setdefault(what, []).append(each_ms)
                print(
                    f"{trials:6d}  {what:9s} {found['cpu_s']:7.1f} {each_ms:12.2f} {found['wall_s']:8.1f} "
                    f"{found['grown_mib']:14.0f}",
                    flush=True,
                )
    for what, each in per_trial.items():
        print(f"{what}: a trial of the longest costs {each[-1] / each[0]:.2f} times one of the shortest")


if __name__ == "__main__":
    main()
