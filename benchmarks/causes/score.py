"""Whether the named cause is right: trainings with injected causes, explained from config, data and records alone.

Every case is run over several seeds, on the teacher and the baseline in turn, judged by the monitor and stopped at its
alarm as a trial of a study is. Prints each run as it ends and writes benchmarks/causes/score.md:

    python -m benchmarks.causes.score [--seeds 5] [--jobs 1] [--case TEXT]
"""

import argparse
import multiprocessing
import statistics
import sys
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

import torch

from benchmarks.causes.cases import CASES, Case
from slr_models.data.batch import Dataset
from sweep.forensics.explaining import explain
from sweep.forensics.settings import ForensicsConfig
from sweep.judging.detectors import RunContext
from sweep.judging.monitor import StabilityMonitor
from sweep.records import Explanation, StepRecord, Verdict
from sweep.training.config import TrialConfig
from sweep.training.learnable import floors, output_lengths
from sweep.training.snapshots import SnapshotRing
from sweep.training.train import Training

CPU = torch.device("cpu")
SETTINGS = ForensicsConfig(replay_steps=40, learning_replay_steps=100)
"""Somewhat shorter than usual: these models are quick."""
REPORT = Path(__file__).with_suffix(".md")


@dataclass(frozen=True)
class Result:
    """One explained run."""

    case: Case
    seed: int
    verdict: Verdict
    num_steps: int
    explanation: Explanation
    training_s: float
    explaining_s: float

    @property
    def is_right(self) -> bool:
        """Whether the named cause is the injected one."""
        return self.explanation.cause is self.case.truth


def run_case(case: Case, seed: int, settings: ForensicsConfig) -> Result:
    """Trains, judges and explains one case."""
    config, dataset = case.config(seed), case.dataset(seed)
    l_const, l_unif = floors(output_lengths(config, dataset), dataset)
    snapshots = SnapshotRing(settings.snapshot_every_steps, settings.num_snapshots)
    started = time.process_time()
    records, verdict = _train(case, config, dataset, seed, (l_const, l_unif), snapshots)
    trained = time.process_time()
    explanation = explain(
        config,
        dataset,
        seed=seed,
        max_steps=case.steps,
        device=CPU,
        records=records,
        verdict=verdict,
        l_const=l_const,
        l_unif=l_unif,
        settings=settings,
        snapshots=snapshots,
    )
    now = time.process_time()
    return Result(case, seed, verdict, len(records), explanation, trained - started, now - trained)


def _train(
    case: Case,
    config: TrialConfig,
    dataset: Dataset,
    seed: int,
    floors: tuple[float, float],
    snapshots: SnapshotRing,
) -> tuple[list[StepRecord], Verdict]:
    training = Training(config, dataset, seed=seed, max_steps=case.steps, device=CPU)
    has_scaler = config.training.precision.kind == "fp16"
    monitor = StabilityMonitor(RunContext(floors[0], floors[1], case.steps, has_scaler))
    records: list[StepRecord] = []
    try:
        snapshots.offer(training)
        for record in training.records():
            if not isinstance(record, StepRecord):
                continue
            records.append(record)
            if monitor.observe(record) is not None:
                break
            if case.damage is not None and training.step == case.damage_step:
                case.damage(training)
            snapshots.offer(training)
    except (RuntimeError, LookupError) as error:
        return records, monitor.finish(crash=error)
    return records, monitor.finish()


def report(results: Sequence[Result]) -> str:
    """The results as Markdown."""
    right = sum(r.is_right for r in results)
    replayed = [r for r in results if r.explanation.num_replayed_steps]
    free = len(results) - len(replayed)
    seeds = len({r.seed for r in results})
    lines = [
        "# Injected causes",
        "",
        f"Made by `python -m benchmarks.causes.score --seeds {seeds}`: {len({r.case.name for r in results})} cases of "
        f"{len({r.case.truth for r in results})} causes, {seeds} seeds each, on synthetic data, batch 4, up to 200 "
        "steps. Teacher and baseline at width 0.0625 take turns, or the teacher alone where only it fails in this way "
        f"or a layer of it is changed. Replays of {SETTINGS.replay_steps} steps, or {SETTINGS.learning_replay_steps} "
        "where nothing was learned. The tool sees configuration, data, records and the usual snapshots. The size of "
        "each fault was chosen so that it makes a training fail; seeds 0 and 1 were looked at while it was written.",
        "",
        f"**Right: {right} of {len(results)} ({right / len(results):.1%}).** {free} were told without a replay.",
    ]
    if replayed:
        steps = [r.explanation.num_replayed_steps for r in replayed]
        seconds = [r.explaining_s for r in replayed]
        lines.append(
            f"The others took {statistics.median(steps):.0f} replayed steps in the median (at most {max(steps)}), "
            f"{statistics.median(seconds):.1f} s of CPU time (at most {max(seconds):.1f} s)."
        )
    lines += ["", "| injected | right | verdicts | named | replayed steps (median) |", "|---|---|---|---|---|"]
    for case in CASES:
        own = [r for r in results if r.case.name == case.name]
        if not own:
            continue
        named = ", ".join(
            f"{cause} ({n})" for cause, n in Counter(r.explanation.cause.value for r in own).most_common()
        )
        verdicts = ", ".join(f"{v} ({n})" for v, n in Counter(r.verdict.outcome.value for r in own).most_common())
        steps_median = statistics.median(r.explanation.num_replayed_steps for r in own)
        lines.append(
            f"| {case.name} | {sum(r.is_right for r in own)} of {len(own)} | {verdicts} | {named} | {steps_median:g} |"
        )
    lines += ["", "One explanation of each, in the tool's words:", ""]
    first = {r.case.name: r.explanation.text for r in reversed(results)}
    lines += [f"- {first[case.name]}" for case in CASES if case.name in first]
    wrong = [r for r in results if not r.is_right]
    if wrong:
        lines += ["", "Wrong:", ""]
        lines += [f"- {r.case.name}, seed {r.seed} ({r.verdict.outcome}): {r.explanation.text}" for r in wrong]
    return "\n".join(lines) + "\n"


def _line(result: Result) -> str:
    explanation = result.explanation
    return (
        f"{'right' if result.is_right else 'WRONG'}  {result.case.name}, seed {result.seed}: {result.verdict.outcome} "
        f"after {result.num_steps} steps ({result.training_s:.0f} s) -> {explanation.text} "
        f"[{explanation.num_replayed_steps} steps, {result.explaining_s:.0f} s]"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description="Explain trainings with injected causes.")
    parser.add_argument("--seeds", type=int, default=5, help="runs of each cause (default 5; 1 for a quick look)")
    parser.add_argument("--jobs", type=int, default=1, help="processes, one thread each (default 1)")
    parser.add_argument("--case", default="", help="only cases whose name holds this text; writes no report")
    options = parser.parse_args(arguments)
    results = []
    # All cases with one seed, then with the next: what is printed first says most.
    runs = [(c, seed) for seed in range(options.seeds) for c in CASES if options.case in c.name]
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(options.jobs, context, torch.set_num_threads, (1,)) as pool:
        for future in as_completed([pool.submit(run_case, case, seed, SETTINGS) for case, seed in runs]):
            results.append(result := future.result())
            print(_line(result), flush=True)
            if not options.case:
                # Each time anew, so that an interrupted run leaves what it has.
                REPORT.write_text(report(sorted(results, key=lambda r: r.seed)), encoding="utf-8")
    named = Counter(cause for r in results for cause in [r.explanation.cause] if not r.is_right)
    print(f"right: {sum(r.is_right for r in results)} of {len(results)}; wrongly named: {dict(named) or 'none'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
