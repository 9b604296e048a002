"""A GPU day as Markdown."""

import pytest

from benchmarks.gpu.results import Card, GpuDay, ModelRun, PartResult, Status
from benchmarks.gpu.table import markdown

CARD = Card("NVIDIA X1", 81_000.0, "9.0", "2.13.0+cu130", "13.0", "580.1", "3.12.3", 16)
RUN = ModelRun("teacher", "fp16", 1e-3, "stable", None, 100, 3, 1.98765, 812.34, None, "CUDA autocast", "a | b\nc")


def day(device: str, quick: bool, card: Card | None = CARD) -> GpuDay:
    parts = [
        PartResult("models", "Models", Status.OUT_OF_TIME, "1 rows were ready by then", 60.0, 60.0, [RUN]),
        PartResult("packing", "Packing", Status.FAILED, "RuntimeError: no", 3.0, 70.0),
    ]
    return GpuDay(device, quick, 9.0, "2026-01-02T03:04:05+00:00", 512.0, card, parts)


def test_it_names_card_torch_cuda_driver_and_date() -> None:
    lines = markdown(day("cuda", False)).splitlines()
    assert lines[0] == "# GPU day: NVIDIA X1"
    facts = lines[2]
    for fact in ("2026-01-02T03:04:05", "512 of 540 s", "torch 2.13.0+cu130", "cuda 13.0", "driver 580.1", "cores 16"):
        assert fact in facts
    assert not any(line.startswith("**") for line in lines)


def test_a_part_has_its_status_and_its_rows() -> None:
    page = markdown(day("cuda", False))
    assert "## Models\n\nran out of its time, 60 of 60 s: 1 rows were ready by then\n\n| model | precision |" in page
    assert (
        "| samples/s |" in page and "| teacher | fp16 | 0.001 | stable | - | 100 | 3 | 1.988 | - | 812.3 |" not in page
    )
    assert "| 1.988 | 812.3 | - | CUDA autocast | a \\| b c |" in page
    assert page.endswith("## Packing\n\nfailed, 3 of 70 s: RuntimeError: no\n")


@pytest.mark.parametrize(("device", "quick"), [("cpu", True), ("cpu", False), ("cuda", True)])
def test_what_measures_nothing_says_so(device, quick) -> None:
    page = markdown(day(device, quick))
    assert ("nothing here says anything about a GPU" in page) == (device == "cpu")
    assert ("the numbers mean nothing" in page) == quick


def test_a_card_that_said_nothing_is_no_error() -> None:
    assert "did not say" in markdown(day("cuda", False, None)).splitlines()[0]
