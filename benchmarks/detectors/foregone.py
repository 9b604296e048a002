"""How often a training that was called as good as stable did not end so, among recorded trainings.

    python -m benchmarks.detectors.foregone    # about half a minute; prints the table, writes foregone.md here

Each real training of `traces/` is read as a study reads it, with an evaluation every tenth of its budget, up to the
first alarm. The traces hold no validation losses: the level of the training loss stands for them, so memorising is not
seen here. A label is wrong where the monitor does not call the training stable at its end.
"""

import math
import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.detectors.trace_set import Trace, load_real
from sweep.analysis.trials.outcomes import clopper_pearson
from sweep.judging.foregone import LATEST, ForegoneConfig, foregone
from sweep.judging.monitor import MonitorConfig, StabilityMonitor
from sweep.records import EvalRecord, is_finite

REPORT = Path(__file__).with_suffix(".md")
BOUNDS = (0.95, 0.8, 0.5)
"""`monitor.stable_below` of a study."""
NUM_EVALUATIONS = 10


def foregone_at(trace: Trace, bound: float, max_steps: int) -> int | None:
    """After how many steps a training is called as good as stable; None where it is not before an alarm or its end."""
    monitor = StabilityMonitor(trace.context)
    every = max(max_steps // NUM_EVALUATIONS, 1)
    for number, record in enumerate(trace.records, start=1):
        if monitor.observe(record) is not None:
            return None
        if number % every:
            continue
        latest = [r.loss for r in trace.records[max(0, number - LATEST) : number] if r.loss is not None]
        known = [loss for loss in latest if is_finite(loss)]
        level = statistics.median(known) if known else math.nan
        seen = EvalRecord(record.step, level, 0, 0, 0, 1, 0.0, 0.0, 0.0)
        if foregone(ForegoneConfig(), trace.records[:number], seen, bound=bound, max_steps=max_steps):
            return number
    return None


def lines(traces: Sequence[Trace]) -> Iterator[str]:
    """The table."""
    yield f"{len(traces)} recorded trainings; `search.foregone` as it comes.\n"
    yield "| stable below | stable | as good as stable before | wrong | 95 % interval | steps saved | of all steps |"
    yield "|---|---|---|---|---|---|---|"
    total = sum(len(trace.records) for trace in traces)
    for below in BOUNDS:
        stable = told = wrong = saved = 0
        for trace in traces:
            monitor = StabilityMonitor(trace.context, MonitorConfig(stable_below=below))
            for record in trace.records:
                if monitor.observe(record) is not None:
                    break
            ends_stable = monitor.finish().stable
            stable += ends_stable
            max_steps = trace.context.budget_steps or len(trace.records)
            at = foregone_at(trace, below * (trace.context.l_const or math.nan), max_steps)
            if at is not None:
                told += 1
                wrong += not ends_stable
                saved += len(trace.records) - at
        low, high = clopper_pearson(wrong, told)
        yield (
            f"| {below} L_const | {stable} | {told} | {wrong} | {100 * low:.1f} to {100 * high:.1f} % | {saved} "
            f"| {100 * saved / total:.0f} % |"
        )


def main() -> None:
    """Prints the table and writes it."""
    text = "\n".join(lines(load_real()))
    print(text)
    head = "<!-- Written by python -m benchmarks.detectors.foregone -->\n\n# As good as stable, and at the end?\n\n"
    REPORT.write_text(head + text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
