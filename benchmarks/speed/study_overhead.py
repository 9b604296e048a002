"""What a study costs beside its trainings: wall time against bare processes that do the same optimizer steps.

All of them train the small teacher on made-up sequences, so many trainings of so many seconds, on two lanes of one
thread each, and evaluate it as often:

| name     | what it is                                                                                          |
|----------|-----------------------------------------------------------------------------------------------------|
| bare     | two processes, each with half of the trainings one after another, in a loop written by hand          |
| sweep    | `python -m sweep.run` of a study, with all that it does by default: records, verdicts, report         |
| Ray Tune | the hand-written loop as function trainable, Optuna's search, of which two run at once               |
| Optuna   | two processes of one study on a journal file, with the hand-written loop as objective                |

Wall time is from the start of the first process to the end of the last, imports included. They take turns, in an order
drawn anew each time; the table gives medians, and ratios to the bare processes of the same turn. Of the sweep also: how
long until its first training begins, and how long it takes from its last result to its end.

    python -m benchmarks.speed.study_overhead [--trials 8] [--seconds 5] [--turns 3] [--only bare,sweep]
"""

import argparse
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from benchmarks.reliability.runs import lines
from slr_models.ctc import ctc_losses, greedy_decode
from slr_models.data import SyntheticConfig
from slr_models.data.batch import Dataset, Split
from slr_models.data.batches import collate
from slr_models.models import CtcModel, TeacherConfig
from slr_models.wer import ErrorCounts, count_errors

BARE, SWEEP, RAY, OPTUNA = "bare", "sweep", "Ray Tune", "Optuna"
LANES = 2
WIDTH, BATCH, LR, EVAL_EVERY = 0.125, 8, (1e-4, 1e-3), 50
STUDY = f"""
name: overhead
model: {{kind: teacher, width: {WIDTH}}}
data: {{kind: synthetic}}
training: {{batch_size: {BATCH}, eval_every_steps: {EVAL_EVERY}}}
space: {{training.optimizer.lr: {{loguniform: [{LR[0]}, {LR[1]}]}}}}
search: {{kind: random, seed: 1}}
confirm: {{settings: 0}}
"""


def train(lr: float, seed: int, steps: int, dataset: Dataset) -> float:
    """A training as one writes it by hand, with the defaults of the tool; returns its last validation loss."""
    settings = TeacherConfig(width=WIDTH)
    model = settings.build(dataset.num_features, dataset.groups, len(dataset.vocabulary), seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=0.01, foreach=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    torch.manual_seed(seed)
    per_epoch = len(dataset.train) // BATCH
    for step in range(steps):
        epoch, position = divmod(step, per_epoch)
        if position == 0:
            order = np.random.default_rng([seed, epoch]).permutation(len(dataset.train)).tolist()
        batch = collate(dataset.train, order[position * BATCH : (position + 1) * BATCH])
        optimizer.zero_grad(set_to_none=True)
        logits_BSV = model(batch.features_BTF, batch.lengths_B)
        lengths_B = model.output_lengths(batch.host_lengths_B)
        ctc_losses(logits_BSV, lengths_B, batch.targets_BU, batch.target_lengths_B).mean().backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if (step + 1) % EVAL_EVERY == 0 or step + 1 == steps:
            loss = evaluate(model, dataset.valid)
    return loss


@torch.no_grad()
def evaluate(model: CtcModel, split: Split) -> float:
    """Validation loss; the word error rate is counted too."""
    model.eval()
    losses, counts = [], ErrorCounts()
    order = np.argsort(split.lengths, kind="stable").tolist()
    for start in range(0, len(order), 2 * BATCH):
        batch = collate(split, order[start : start + 2 * BATCH])
        logits_BSV = model(batch.features_BTF, batch.lengths_B)
        lengths_B = model.output_lengths(batch.host_lengths_B)
        losses.append(ctc_losses(logits_BSV, lengths_B, batch.targets_BU, batch.target_lengths_B))
        for index, hypothesis in zip(batch.indices, greedy_decode(logits_BSV, lengths_B), strict=True):
            counts += count_errors(split.target(index).tolist(), hypothesis)
    model.train()
    return torch.cat(losses).mean().item()


def bare_worker(trials: int, steps: int, lane: int, _journal: str) -> None:
    """One of the bare processes."""
    dataset, rng = SyntheticConfig().build(), random.Random(lane)
    for _ in range(trials // LANES):
        train(LR[0] * (LR[1] / LR[0]) ** rng.random(), 0, steps, dataset)


def ray_worker(trials: int, steps: int, _lane: int, _journal: str) -> None:
    """Ray Tune, as its guide shows it."""
    import ray
    from ray import tune
    from ray.tune.search.optuna import OptunaSearch

    def trainable(config: dict[str, float], dataset: Dataset) -> None:
        torch.set_num_threads(1)
        tune.report({"loss": train(config["lr"], 0, steps, dataset)})

    ray.init(address="local", num_cpus=LANES, include_dashboard=False, log_to_driver=False)
    with tempfile.TemporaryDirectory() as folder:
        tune.Tuner(
            tune.with_resources(tune.with_parameters(trainable, dataset=SyntheticConfig().build()), {"cpu": 1}),
            param_space={"lr": tune.loguniform(*LR)},
            tune_config=tune.TuneConfig(
                search_alg=OptunaSearch(), metric="loss", mode="min", num_samples=trials, max_concurrent_trials=LANES
            ),
            run_config=tune.RunConfig(name="overhead", storage_path=folder, verbose=0),
        ).fit()
    ray.shutdown()


def optuna_worker(trials: int, steps: int, lane: int, journal: str) -> None:
    """One of Optuna's processes."""
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    dataset = SyntheticConfig().build()
    study = optuna.create_study(
        study_name="overhead",
        storage=JournalStorage(JournalFileBackend(journal)),
        sampler=optuna.samplers.TPESampler(seed=lane),
        load_if_exists=True,
    )
    study.optimize(
        lambda trial: train(trial.suggest_float("lr", *LR, log=True), 0, steps, dataset), n_trials=trials // LANES
    )


def processes(name: str, trials: int, steps: int, folder: Path) -> list[list[str]]:
    """The commands that are started at once."""
    this = [sys.executable, "-m", "benchmarks.speed.study_overhead", "--steps", str(steps), "--trials", str(trials)]
    if name == SWEEP:
        (folder / "overhead.yaml").write_text(STUDY)
        changed = ["--set", f"budget.steps={steps}", "--trials", str(trials), "--results", str(folder / "results")]
        return [[sys.executable, "-m", "sweep.run", str(folder / "overhead.yaml"), *changed]]
    lanes = 1 if name == RAY else LANES
    return [[*this, "--worker", name, "--lane", str(n), "--journal", str(folder / "journal")] for n in range(lanes)]


def timed(name: str, trials: int, steps: int) -> dict[str, float]:
    """Seconds that one of them takes; of the sweep also until its first training and from its last result on."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        ledger = folder / "results" / "overhead" / "ledger.jsonl"
        started = time.perf_counter()
        output = (folder / "output").open("w+")
        running = [
            subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
            for command in processes(name, trials, steps, folder)
        ]
        told: list[float] = []
        while any(process.poll() is None for process in running):
            if name == SWEEP and ledger.is_file():
                number = ledger.read_bytes().count(b'"event": "tell"')
                told += [time.perf_counter()] * (number - len(told))
            time.sleep(0.02)
        ended = time.perf_counter()
        if any(process.returncode for process in running):
            output.seek(0)
            sys.exit(f"{name} failed:\n{output.read()}")
        if name != SWEEP:
            return {"wall": ended - started}
        first_s, num_steps = results_of(folder / "results" / "overhead")
        assert num_steps == [steps] * trials, f"not all trainings ran to their end: {num_steps}"
        return {
            "wall": ended - started,
            "to the first step": told[0] - first_s - started,
            "from the last result": ended - told[-1],
        }


def results_of(folder: Path) -> tuple[float, list[int]]:
    """Seconds of the training that ended first, and the steps of all."""
    results = [line["result"] for line in lines(folder, "tell")]
    return results[0]["wall_s"], [result["num_steps"] for result in results]


def steps_in(seconds: float) -> int:
    """Optimizer steps that a lane does in so many seconds while the other is busy too, evaluations included."""
    script = (
        "import time, torch; torch.set_num_threads(1); from benchmarks.speed.study_overhead import *\n"
        "dataset = SyntheticConfig().build(); train(LR[0], 0, 10, dataset); started = time.perf_counter()\n"
        "train(LR[0], 0, 2 * EVAL_EVERY, dataset); print((time.perf_counter() - started) / (2 * EVAL_EVERY))"
    )
    running = [
        subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) for _ in range(LANES)
    ]
    step_s = statistics.fmean(float(process.communicate()[0]) for process in running)
    return max(1, round(seconds / step_s))


WORKERS: dict[str, Callable[[int, int, int, str], None]] = {BARE: bare_worker, RAY: ray_worker, OPTUNA: optuna_worker}


def main() -> None:
    """Runs the comparison and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=5, help="of a training, on a lane of this machine")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--only", default=",".join((BARE, SWEEP, RAY, OPTUNA)))
    parser.add_argument("--steps", type=int, help="of a training, instead of its seconds")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.add_argument("--lane", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--journal", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker is not None:
        torch.set_num_threads(1)
        WORKERS[options.worker](options.trials, options.steps, options.lane, options.journal)
        return
    steps = options.steps or steps_in(options.seconds)
    print(f"{options.trials} trainings of {steps} steps ({options.seconds:g} s) on {LANES} lanes")
    names, found = options.only.split(","), []
    shuffled = random.Random(0)
    for _ in range(options.turns):
        shuffled.shuffle(names)
        found.append({name: timed(name, options.trials, steps) for name in names})
        print({name: {what: round(s, 1) for what, s in times.items()} for name, times in found[-1].items()}, flush=True)
    for name in options.only.split(","):
        wall = statistics.median(turn[name]["wall"] for turn in found)
        ratios = [turn[name]["wall"] / turn[BARE]["wall"] for turn in found] if BARE in names else [float("nan")]
        more = {what: statistics.median(turn[name][what] for turn in found) for what in found[0][name]}
        said = "".join(f", {s:.1f} s {what}" for what, s in more.items() if what != "wall")
        print(f"{name:9s} {wall:7.1f} s, {statistics.median(ratios):.2f} of bare{said}")


if __name__ == "__main__":
    main()
