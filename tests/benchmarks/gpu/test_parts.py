"""Every part of a GPU day with tiny settings on the CPU: what is measured, and that disagreement would be seen."""

import dataclasses
import json
import math
import types
from pathlib import Path

import pytest
import torch

from benchmarks.gpu import card, emulation, marked_tests, models, monitoring, packing, part, precisions
from benchmarks.gpu.results import Card, EmulationRun, ModelRun, MonitorRun, PackedRun, PrecisionRun, Row, TestRun
from benchmarks.gpu.settings import FULL, MODELS, QUICK
from benchmarks.speed.monitor_cost import LoopCost
from slr_models.models import CustomModelConfig, ModelConfig
from sweep import StepRecord

CPU = torch.device("cpu")


def measured(measure, scale=QUICK) -> list[Row]:
    rows: list[Row] = []
    measure(CPU, scale, rows.append)
    return rows


def test_the_card_of_a_cpu_has_no_driver() -> None:
    (row,) = measured(card.measure)
    assert isinstance(row, Card) and row.torch == torch.__version__ and row.driver is None and row.cores > 0


def test_a_card_is_named_with_its_driver(tmp_path, monkeypatch) -> None:
    properties = types.SimpleNamespace(name="NVIDIA X1", total_memory=80 * 2**30, major=9, minor=0)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: properties)
    monkeypatch.setenv("PATH", str(tmp_path))
    rows: list[Card] = []
    card.measure(torch.device("cuda"), QUICK, rows.append)
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho 580.1\n")
    program.chmod(0o755)
    card.measure(torch.device("cuda"), QUICK, rows.append)
    assert [row.driver for row in rows] == [None, "580.1"]
    assert (rows[1].name, rows[1].memory_mib, rows[1].compute_capability) == ("NVIDIA X1", 81_920.0, "9.0")


def test_no_gpu_is_told_in_a_sentence(monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit, match="no GPU"):
        card.measure(torch.device("cuda"), QUICK, print)


def test_every_shipped_model_is_measured() -> None:
    kinds = {model.model_fields["kind"].default for model in ModelConfig.__args__[0].__args__} - {"custom"}
    assert CustomModelConfig.model_fields["kind"].default == "custom" and set(MODELS) == kinds
    assert FULL.width == 1.0 and len(FULL.learning_rates) == 3
    assert FULL.packed[0] == 1 and max(FULL.packed) == 8


def test_a_part_as_a_process_adds_its_rows_to_a_file(tmp_path, monkeypatch) -> None:
    rows = tmp_path / "rows"
    seen = []

    def measure(device, scale, keep) -> None:
        keep(TestRun("a", "passed", 1.0, ""))
        seen.append((device, scale, rows.read_text()))
        keep(TestRun("b", "failed", math.nan, "why"))

    monkeypatch.setattr("sys.argv", ["part", "--device", "cpu", "--quick", "--rows", str(rows)])
    part.run(measure)
    first, second = rows.read_text().splitlines()
    assert seen == [(CPU, QUICK, first + "\n")], "a row is in the file before the next one is measured"
    assert json.loads(first) == {"test": "a", "outcome": "passed", "seconds": 1.0, "message": ""}
    assert math.isnan(json.loads(second)["seconds"])


@pytest.mark.slow
def test_models_are_trained_and_judged_in_every_precision_of_the_cpu() -> None:
    rows = measured(models.measure)
    assert [(row.model, row.precision) for row in rows] == [
        (model, precision) for model in MODELS for precision in ("fp32", "bf16", "fp16")
    ]
    for row in rows:
        assert isinstance(row, ModelRun) and row.num_steps == QUICK.training_steps
        assert row.outcome in ("too-short", "calibrating")
        assert row.samples_per_s > 0 and math.isfinite(row.end_loss)
        assert ("emulated" in row.implementation) == (row.precision != "fp32")


def test_a_training_that_diverges_is_stopped_and_one_that_crashes_is_a_row() -> None:
    scale = dataclasses.replace(QUICK, training_steps=40)
    dataset = scale.data.build()
    hot = models.judged(scale.config("baseline", 0.0625, {"kind": "fp16_unscaled"}, 1e6), dataset, CPU, scale)
    assert hot.outcome.startswith("diverged") and hot.stop_step < 40 and hot.num_steps == hot.stop_step
    tf32 = models.judged(scale.config("baseline", 0.0625, {"kind": "tf32"}, 1e-3), dataset, CPU, scale)
    assert tf32.outcome == "crashed" and "needs an NVIDIA GPU" in tf32.reason
    assert tf32.num_steps == 0 and tf32.samples_per_s is None and tf32.end_loss is None


def test_the_emulation_agrees_with_itself() -> None:
    rows = measured(emulation.measure)
    assert [row.model for row in rows] == list(emulation.MODELS)
    for row in rows:
        assert isinstance(row, EmulationRun) and row.same_skips and row.same_end_scale and row.is_within_tolerance
        assert row.skips_emulated == row.skips_gpu == QUICK.emulated_steps
        assert row.loss_difference == row.fp32_loss_difference == 0.0


def test_another_skip_scale_or_loss_is_seen() -> None:
    def course(*steps: tuple[float, bool, float]) -> list[StepRecord]:
        return [
            StepRecord(step=i + 1, loss=loss, applied=applied, loss_scale=scale)
            for i, (loss, applied, scale) in enumerate(steps)
        ]

    ours = course((2.0, False, 8.0), (2.0, True, 4.0))
    same = emulation.compared("teacher", 0, ours, course((2.0, False, 8.0), (2.015, True, 4.0)), 0.0)
    assert same.same_skips and same.same_end_scale and same.loss_difference == pytest.approx(0.0075)
    assert same.is_within_tolerance
    other = emulation.compared("teacher", 0, ours, course((2.0, True, 8.0), (2.1, False, 8.0)), 0.0)
    assert (other.skips_emulated, other.skips_gpu) == (1, 1) and not other.same_skips
    assert not other.same_end_scale and not other.is_within_tolerance
    broken = emulation.compared("teacher", 0, ours, course((2.0, False, 8.0), (math.nan, True, 4.0)), 0.0)
    assert broken.loss_difference is None and not broken.is_within_tolerance
    both = course((math.nan, False, 8.0), (2.0, True, 4.0))
    assert emulation.loss_difference(both, both) == 0.0


@pytest.mark.slow
def test_watching_is_measured_beside_the_loops_without_it() -> None:
    rows = measured(monitoring.measure)
    assert len(rows) == 4 * len(monitoring.CASES)
    for row in rows:
        assert isinstance(row, MonitorRun) and row.step_ms > 0
        assert (row.monitor_us is not None) == row.loop.endswith("monitored") == (row.monitor_share is not None)
        assert row.waits_per_step is None and row.added_waits is None


def test_what_the_monitor_adds_in_waits_is_told(monkeypatch) -> None:
    costs = {
        loop: LoopCost([0.01], None, waits)
        for loop, waits in (("bare", 2.0), ("bare, monitored", 2.0), ("tool", 2.0), ("tool, monitored", 3.0))
    }
    monkeypatch.setattr(monitoring, "compare", lambda *_: costs)
    added = {row.loop: row.added_waits for row in measured(monitoring.measure)}
    assert added == {"bare": None, "bare, monitored": 0.0, "tool": None, "tool, monitored": 1.0}


@pytest.mark.slow
def test_trainings_run_side_by_side() -> None:
    rows = measured(packing.measure, dataclasses.replace(QUICK, packed=(1, 2), packed_s=0.1))
    assert [(row.model, row.num_trials) for row in rows] == [(m, n) for m in packing.MODELS for n in (1, 2)]
    for row in rows:
        assert isinstance(row, PackedRun)
        assert 0 < row.slowest_samples_per_s <= row.fastest_samples_per_s <= row.samples_per_s
    assert rows[0].gain == rows[0].each == 1.0


@pytest.mark.slow
def test_a_training_that_fails_beside_others_says_why() -> None:
    with pytest.raises(SystemExit, match="a training beside others failed: ValidationError"):
        measured(packing.measure, dataclasses.replace(QUICK, packed=(1,), width=50.0))


def test_packed_trainings_are_compared_with_one_alone() -> None:
    alone = packing.packed("teacher", [packing.Speed(100.0, 300.0)], None)
    assert (alone.gain, alone.each, alone.peak_memory_mib) == (1.0, 1.0, 300.0)
    both = packing.packed("teacher", [packing.Speed(60.0, 310.0), packing.Speed(80.0, None)], alone.samples_per_s)
    assert (both.samples_per_s, both.gain, both.each) == (140.0, 1.4, 0.7)
    assert (both.slowest_samples_per_s, both.fastest_samples_per_s, both.peak_memory_mib) == (60.0, 80.0, 310.0)


@pytest.mark.slow
def test_every_precision_of_the_cpu_has_its_step() -> None:
    rows = measured(precisions.measure)
    assert [(row.model, row.precision) for row in rows] == [
        (model, precision) for model in precisions.MODELS for precision in ("fp32", "bf16", "fp16")
    ]
    for row in rows:
        assert isinstance(row, PrecisionRun) and row.step_ms > 0 and row.peak_memory_mib is None
        assert row.ratio_low <= row.ratio <= row.ratio_high
        assert row.precision != "fp32" or row.ratio == 1.0


def test_only_marked_files_are_collected(tmp_path) -> None:
    for name, text in (("test_a.py", "\n@pytest.mark.gpu\ndef"), ("test_b.py", "# mark.gpu"), ("c.py", "")):
        (tmp_path / name).write_text(text)
    assert [path.name for path in marked_tests.marked_files(tmp_path)] == ["test_a.py"]
    found = marked_tests.marked_files(marked_tests.ROOT / "tests")
    assert Path("tests/sweep/training/test_emulation.py") in [p.relative_to(marked_tests.ROOT) for p in found]


@pytest.mark.parametrize(
    ("body", "outcome", "device", "message"),
    [
        ("pass", "passed", "cuda", None),
        ("assert 1 == 2", "failed", "cpu", "1 of 1 tests failed"),
        ("pytest.skip('no card')", "skipped", "cpu", None),
        ("pytest.skip('no card')", "skipped", "cuda", "1 of 1 tests were skipped although there is a GPU"),
    ],
)
def test_marked_tests_are_run_and_told(tmp_path, monkeypatch, body, outcome, device, message) -> None:
    text = f"import pytest\n\n@pytest.mark.gpu\ndef test_it():\n    {body}\n\ndef test_other():\n    assert False\n"
    (tmp_path / "tests").mkdir()
    # A module of the same name would be the one that was imported before.
    name = f"test_{tmp_path.name}.py"
    (tmp_path / "tests" / name).write_text(text)
    (tmp_path / "pyproject.toml").write_text(
        '[tool.pytest.ini_options]\nmarkers = ["gpu: needs one"]\naddopts = "--import-mode=importlib"\n'
    )
    monkeypatch.setattr(marked_tests, "ROOT", tmp_path)
    rows: list[TestRun] = []
    if message is None:
        marked_tests.measure(torch.device(device), QUICK, rows.append)
    else:
        with pytest.raises(SystemExit, match=message):
            marked_tests.measure(torch.device(device), QUICK, rows.append)
    assert [(row.test, row.outcome) for row in rows] == [(f"tests/{name}::test_it", outcome)]
    assert bool(rows[0].message) == (outcome != "passed")
