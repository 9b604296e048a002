"""Which stable settings none beats in both result and cost."""

import math
from dataclasses import dataclass
from typing import Any, get_args

from sweep.analysis.region.evidence import Evidence
from sweep.analysis.trials.dimensions import plain
from sweep.records import Cost

COSTS: tuple[Cost, ...] = get_args(Cost)


@dataclass(frozen=True)
class ParetoRow:
    """A setting whose every judged seed was stable."""

    group: int
    setting: dict[str, Any]
    """Dotted path -> value; None where a conditional setting was inactive."""
    result: float
    """Lower is better: mean over its seeds of the final WER, or of the final validation loss (nats a label)."""
    cost: float
    """Mean over its seeds of the median time of a training step (seconds), or of the peak memory (MiB)."""
    dominated: bool
    """Whether another setting is at least as good in both, and better in one."""


def pareto_front(evidence: Evidence, metric: str, cost: Cost) -> tuple[ParetoRow, ...]:
    """The stable settings that no other stable setting dominates, cheapest first.

    A setting with an unstable seed does not count, however cheap or good it was; neither do trainings at full size,
    nor settings whose result or cost is unknown, such as the time of a step in results of an earlier version.

    Args:
        evidence: the trials, and what was searched.
        metric: `wer` or `val_loss`.
        cost: a column of the table.
    """
    return tuple(row for row in stable_settings(evidence, metric, cost) if not row.dominated)


def stable_settings(evidence: Evidence, metric: str, cost: Cost) -> tuple[ParetoRow, ...]:
    """All stable settings with result and cost, cheapest first; see `pareto_front`."""
    known = evidence.tried
    if cost not in known:
        return ()
    found = []
    for key, part in known.groupby("group", sort=False):
        values = part[metric].astype(float).mean(skipna=False), part[cost].astype(float).mean(skipna=False)
        if part["stable"].astype(bool).all() and all(math.isfinite(v) for v in values):
            first = part.iloc[0]
            setting = {path: plain(first[path]) if path in part else None for path in evidence.space}
            found.append((int(str(key)), setting, float(values[0]), float(values[1])))
    rows: list[ParetoRow] = []
    best = math.inf
    for group, setting, result, price in sorted(found, key=lambda row: (row[3], row[2])):
        # Among those that cost no more: cheaper ones, and equally cheap ones with a result no worse.
        equal = any(r.result == result and r.cost == price and not r.dominated for r in rows)
        rows.append(ParetoRow(group, setting, result, price, dominated=best <= result and not equal))
        best = min(best, result)
    return tuple(rows)
