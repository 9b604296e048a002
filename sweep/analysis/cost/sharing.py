"""What it brought that trainings shared a GPU."""

from dataclasses import dataclass

import pandas as pd

from sweep.analysis.trials.speed import samples_per_s
from sweep.study import Study
from sweep.wording import number, plural


@dataclass(frozen=True)
class GpuSharing:
    """Trainings of which a GPU held so many at once."""

    num_on_gpu: int
    num_trials: int
    samples_per_s: float
    """Median of one of them."""


def sharing(trials: pd.DataFrame, study: Study) -> tuple[GpuSharing, ...]:
    """Those that ran alone, then those of two a GPU, and so on; empty where none was placed by what was measured."""
    speeds = samples_per_s(trials, study)
    known = trials["gpu_shared_by"].notna() & (speeds > 0)
    groups = speeds[known].groupby(trials["gpu_shared_by"][known].astype(int))
    return tuple(GpuSharing(int(num), len(group), float(group.median())) for num, group in groups)


def sharing_text(found: tuple[GpuSharing, ...]) -> str:
    """How many samples a second a GPU trained with more trainings on it; empty where none shared one."""
    if not any(group.num_on_gpu > 1 for group in found):
        return ""
    parts = [_words(group) for group in found]
    text = "A GPU trained " + ", ".join(parts) + " (medians of a trial, times the trials on it)"
    alone = next((group.samples_per_s for group in found if group.num_on_gpu == 1), None)
    most = found[-1]
    if alone is None:
        return f"{text}."
    factor = most.num_on_gpu * most.samples_per_s / alone
    return f"{text}: {factor:.2g} times as many with {most.num_on_gpu} on it as with one alone."


def _words(group: GpuSharing) -> str:
    many = plural(group.num_trials, "trial")
    if group.num_on_gpu == 1:
        return f"{number(group.samples_per_s)} samples/s with one trial alone on it ({many})"
    whole = group.num_on_gpu * group.samples_per_s
    return f"{number(whole)} samples/s with {group.num_on_gpu} on it, {number(group.samples_per_s)} each ({many})"
