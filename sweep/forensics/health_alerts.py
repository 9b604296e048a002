"""Which part of a model came near the limits of its numbers, and when: rows of health/<trial>.parquet -> warnings."""

import math
import statistics
from collections.abc import Iterator
from dataclasses import dataclass

import pandas as pd

from sweep.records import HealthMetric
from sweep.wording import number, plural

HEADROOM_BITS_LEVEL = 3.0
"""Warn below: outputs within a factor of 8 of overflow."""
ATTENTION_LOGIT_LEVEL = 1e4
"""Warn above. Runs whose attention logits passed 1e4 diverged (Wortsman et al. 2023, arXiv 2309.14322)."""
UPDATE_RATIO_FACTOR = 10.0
"""Warn above so many times the parameter's own median so far."""
ADAM_RMS_LEVEL = 2.3
"""Loss spikes followed within 1 to 8 steps of an RMS_t above it (Wortsman et al. 2023, arXiv 2304.13013)."""
ADAM_RMS_SHARE = 0.5
"""Warn where more than this share of the parameters is above ADAM_RMS_LEVEL at once: when a healthy training
starts to learn, up to a third of them is for a few steps."""
UPDATE_RATIO_LEVEL = 0.05
"""Warn where the median parameter changes by more in one step. Measured on the teacher at width 0.125: the stable
trainings stayed at 0.01 and below, those that diverged (AdamW and SGD) passed 0.05 within four steps."""
MIN_MEDIAN_SAMPLES = 3
"""Samples from which on a median is one."""


@dataclass(frozen=True)
class HealthAlert:
    """A part of the model that crossed a level."""

    metric: HealthMetric
    path: str
    """Empty for the model as a whole."""
    step: int
    """The first sampled step at which it had."""
    value: float
    """What was measured there; NaN and infinite values cross every level."""
    level: float
    """What it crossed."""
    num_steps: int
    """Sampled steps at which it had."""


def health_alerts(rows: pd.DataFrame) -> list[HealthAlert]:
    """All crossings of a level, a row a metric and part of the model, in order of their first step.

    Args:
        rows: columns step, metric, path and value, as `store.read_health` gives them.
    """
    alerts = _large_updates(rows)
    for (metric, path), (steps, values) in _courses(_without_lone_rms(rows)).items():
        crossed = list(_crossings(metric, steps, values))
        if crossed:
            step, value, level = crossed[0]
            alerts.append(HealthAlert(metric, path, step, value, level, len(crossed)))
    return sorted(alerts, key=lambda alert: (alert.step, alert.metric, alert.path))


def health_warnings(rows: pd.DataFrame) -> list[str]:
    """One sentence for each level that was crossed: by which part first, when, and how many followed.

    Args:
        rows: columns step, metric, path and value, as `store.read_health` gives them.
    """
    alike: dict[tuple[HealthMetric, bool], list[HealthAlert]] = {}
    for alert in health_alerts(rows):
        alike.setdefault((alert.metric, alert.path == ""), []).append(alert)
    return [_sentence(alerts) for alerts in alike.values()]


def _courses(rows: pd.DataFrame) -> dict[tuple[HealthMetric, str], tuple[list[int], list[float]]]:
    """Steps and values of each metric and part of the model, in order."""
    # By hand: a model has hundreds of parts, and a group of pandas costs a millisecond.
    courses: dict[tuple[str, str], tuple[list[int], list[float]]] = {}
    ordered = rows.sort_values("step", kind="stable")
    columns = (ordered[name].tolist() for name in ("metric", "path", "step", "value"))
    for metric, path, step, value in zip(*columns, strict=True):
        steps, values = courses.setdefault((str(metric), str(path)), ([], []))
        steps.append(step)
        values.append(value)
    return {(HealthMetric(metric), path): course for (metric, path), course in courses.items()}


def _large_updates(rows: pd.DataFrame) -> list[HealthAlert]:
    """The alert, if any, that the updates of the model as a whole are large."""
    ratios = rows[(rows["metric"] == HealthMetric.UPDATE_RATIO) & rows["value"].notna()]
    median = ratios.groupby("step")["value"].median()
    large = median[median > UPDATE_RATIO_LEVEL]
    if large.empty:
        return []
    step, value = int(large.index.tolist()[0]), float(large.iloc[0])
    return [HealthAlert(HealthMetric.UPDATE_RATIO, "", step, value, UPDATE_RATIO_LEVEL, len(large))]


def _without_lone_rms(rows: pd.DataFrame) -> pd.DataFrame:
    """Leaves out RMS_t at the steps at which it says nothing: too few parameters are above the level."""
    is_rms = rows["metric"] == HealthMetric.ADAM_RMS
    above = ~(rows["value"] <= ADAM_RMS_LEVEL)  # NaN is above as well
    share = above[is_rms].groupby(rows["step"][is_rms]).mean()
    return rows[~is_rms | rows["step"].isin(share.index[share > ADAM_RMS_SHARE])]


def _crossings(metric: HealthMetric, steps: list[int], values: list[float]) -> Iterator[tuple[int, float, float]]:
    """Step, value and level of each crossing in the course of one part."""
    seen: list[float] = []
    for step, value in zip(steps, values, strict=True):
        level = _level(metric, seen)
        if level is not None and (
            not math.isfinite(value) or (value < level if metric is HealthMetric.HEADROOM_BITS else value > level)
        ):
            # Nothing but zeros leaves all the headroom there is.
            if not (metric is HealthMetric.HEADROOM_BITS and value == math.inf):
                yield step, value, level
        if math.isfinite(value):
            seen.append(value)


def _level(metric: HealthMetric, seen: list[float]) -> float | None:
    """The level in force after these values; None if there is none (yet)."""
    match metric:
        case HealthMetric.HEADROOM_BITS:
            return HEADROOM_BITS_LEVEL
        case HealthMetric.ATTENTION_LOGIT_MAX:
            return ATTENTION_LOGIT_LEVEL
        case HealthMetric.ADAM_RMS:
            return ADAM_RMS_LEVEL
        case HealthMetric.UPDATE_RATIO if len(seen) >= MIN_MEDIAN_SAMPLES:
            return UPDATE_RATIO_FACTOR * statistics.median(seen)
    return None


_WORDS = {
    HealthMetric.HEADROOM_BITS: "{path} came within {value} bits of overflow at step {step} (warned below {level})",
    HealthMetric.ATTENTION_LOGIT_MAX: "attention logits of {path} reached {value} at step {step} (warned above "
    "{level})",
    HealthMetric.UPDATE_RATIO: "an update changed {path} by {value} of its norm at step {step} "
    "(warned above {level}, ten times its median)",
    HealthMetric.ADAM_RMS: "gradients of {path} were {value} times what Adam remembers at step {step} "
    "(warned above {level})",
}


def _sentence(alerts: list[HealthAlert]) -> str:
    first = alerts[0]
    if first.metric is HealthMetric.UPDATE_RATIO and first.path == "":
        return (
            f"an update changed the median parameter by {number(first.value, 2)} of its norm at step {first.step} "
            f"(warned above {number(first.level, 2)}): the learning rate is high"
        )
    if first.metric is HealthMetric.HEADROOM_BITS and not math.isfinite(first.value):
        what = "were not a number" if math.isnan(first.value) else "overflowed"
        text = f"outputs of {first.path} {what} at step {first.step}"
    else:
        value = "NaN" if math.isnan(first.value) else number(first.value, 2)
        text = _WORDS[first.metric].format(path=first.path, value=value, step=first.step, level=number(first.level, 2))
    others = len(alerts) - 1
    return f"{text}; so did {plural(others, 'other part')} of the model" if others else text
