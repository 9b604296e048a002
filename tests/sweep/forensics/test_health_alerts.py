"""Warnings of numeric health: they say what crossed which level when, and nothing of healthy runs."""

import math
from pathlib import Path

import pandas as pd
import pytest

from sweep import store
from sweep.forensics.health_alerts import HealthAlert, health_alerts, health_warnings
from sweep.records import HealthMetric, HealthRecord


def rows(tmp_path: Path, *courses: tuple[HealthMetric, str, list[float]]) -> pd.DataFrame:
    """As they come from the results folder; a value a step, from step 1."""
    records = [
        HealthRecord(step, metric, path, value)
        for metric, path, values in courses
        for step, value in enumerate(values, start=1)
    ]
    store.write_health(tmp_path, "t1", records)
    frame = store.read_health(tmp_path, "t1")
    assert frame.columns.tolist() == ["step", "metric", "path", "value"] and len(frame) == len(records)
    return frame


def test_a_healthy_run_gives_no_warning(tmp_path: Path) -> None:
    healthy = rows(
        tmp_path,
        (HealthMetric.HEADROOM_BITS, "encoder.0", [3.1, 12.0, math.inf]),
        (HealthMetric.OUTPUT_ABSMAX, "encoder.0", [1e4, 1e4, 0.0]),
        (HealthMetric.ATTENTION_LOGIT_MAX, "fusion", [1.0, 30.0, 9000.0]),
        (HealthMetric.UPDATE_RATIO, "w", [1e-4, 1e-2, 1e-3, 9e-3]),
        (HealthMetric.FLUSH_RATE, "w", [0.1, 1.0, 0.5]),
        (HealthMetric.ADAM_RMS, "w", [9.0, 1.0, 1.0]),
        (HealthMetric.ADAM_RMS, "v", [1.0, 1.0, 2.3]),
    )
    assert health_alerts(healthy) == [] and health_warnings(healthy) == []
    assert health_warnings(rows(tmp_path)) == []


@pytest.mark.parametrize(
    ("metric", "values", "alert"),
    [
        (HealthMetric.HEADROOM_BITS, [5.0, 2.9, 8.0, 1.0], (2, 2.9, 3.0, 2)),
        (HealthMetric.HEADROOM_BITS, [5.0, -math.inf], (2, -math.inf, 3.0, 1)),
        (HealthMetric.ATTENTION_LOGIT_MAX, [1.0, 2e4, 3e4], (2, 2e4, 1e4, 2)),
        # Ten times the median of what came before, never counting itself; not before there are three.
        (HealthMetric.UPDATE_RATIO, [1e-4, 9e-3, 1e-4, 9e-4, 51e-4], (5, 51e-4, 50e-4, 1)),
        (HealthMetric.ADAM_RMS, [1.0, 2.4], (2, 2.4, 2.3, 1)),
    ],
)
def test_each_level(
    tmp_path: Path, metric: HealthMetric, values: list[float], alert: tuple[int, float, float, int]
) -> None:
    (found,) = health_alerts(rows(tmp_path, (metric, "a.b", values)))
    step, value, level, num_steps = alert
    assert found == HealthAlert(metric, "a.b", step, pytest.approx(value), pytest.approx(level), num_steps)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("metric", [HealthMetric.ATTENTION_LOGIT_MAX, HealthMetric.UPDATE_RATIO, HealthMetric.ADAM_RMS])
def test_what_is_not_finite_crosses_every_level_and_enters_no_median(
    tmp_path: Path, metric: HealthMetric, bad: float
) -> None:
    table = rows(tmp_path, (metric, "w", [0.01, 0.01, 0.01, bad, bad, bad, bad, 0.01]))
    (found,) = [alert for alert in health_alerts(table) if alert.path]
    assert (found.step, found.num_steps) == (4, 4)
    assert math.isnan(found.value) if math.isnan(bad) else found.value == bad


def test_rms_counts_where_most_parameters_cross_at_once(tmp_path: Path) -> None:
    table = rows(
        tmp_path,
        (HealthMetric.ADAM_RMS, "a", [9.0, 3.0, 1.0]),
        (HealthMetric.ADAM_RMS, "b", [1.0, 4.0, 1.0]),
        (HealthMetric.ADAM_RMS, "c", [1.0, 1.0, 8.0]),
    )
    assert [(alert.path, alert.step) for alert in health_alerts(table)] == [("a", 2), ("b", 2)]


def test_large_updates_of_the_whole_model(tmp_path: Path) -> None:
    table = rows(
        tmp_path,
        (HealthMetric.UPDATE_RATIO, "a", [0.01, 0.09, 0.09]),
        (HealthMetric.UPDATE_RATIO, "b", [0.9, 0.07, 0.01]),
        (HealthMetric.UPDATE_RATIO, "c", [0.04, 0.01, 0.08]),
    )
    (alert,) = health_alerts(table)
    assert alert == HealthAlert(HealthMetric.UPDATE_RATIO, "", 2, pytest.approx(0.07), 0.05, 2)
    assert health_warnings(table) == [
        "an update changed the median parameter by 0.07 of its norm at step 2 (warned above 0.05): "
        "the learning rate is high"
    ]


def test_the_sentences(tmp_path: Path) -> None:
    table = rows(
        tmp_path,
        (HealthMetric.HEADROOM_BITS, "late", [9.0, 9.0, 1.0]),
        (HealthMetric.HEADROOM_BITS, "encoder.0.expand", [9.0, 2.5, -math.inf]),
        (HealthMetric.ATTENTION_LOGIT_MAX, "fusion", [1.0, 1.0, math.nan]),
    )
    assert health_warnings(table) == [
        "encoder.0.expand came within 2.5 bits of overflow at step 2 (warned below 3); "
        "so did 1 other part of the model",
        "attention logits of fusion reached NaN at step 3 (warned above 10000)",
    ]
    overflowed = rows(tmp_path, (HealthMetric.HEADROOM_BITS, "stem", [-math.inf]))
    assert health_warnings(overflowed) == ["outputs of stem overflowed at step 1"]
    lost = rows(tmp_path, (HealthMetric.HEADROOM_BITS, "stem", [math.nan]))
    assert health_warnings(lost) == ["outputs of stem were not a number at step 1"]
