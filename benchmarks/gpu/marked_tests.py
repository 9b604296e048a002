"""Part 1: the tests that need a GPU, those marked `gpu`.

Only files that have the mark are collected: to read all tests would take a good part of the time. On a CPU all of them
skip themselves.
"""

from pathlib import Path

import pytest
import torch

from benchmarks.gpu.part import Keep, run
from benchmarks.gpu.results import TestRun
from benchmarks.gpu.settings import Scale

ROOT = Path(__file__).parents[2]
MARK = "@pytest.mark.gpu"


def marked_files(tests: Path) -> list[Path]:
    """Every file of tests that holds the mark."""
    return sorted(path for path in tests.rglob("test_*.py") if f"\n{MARK}\n" in path.read_text(encoding="utf-8"))


class _Listener:
    """A plug-in of pytest that keeps a row of each test that ends."""

    def __init__(self, keep: Keep) -> None:
        self._keep = keep
        self.outcomes: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Called after setup, call and teardown of each test."""
        # A test counts once: by its call, or by what kept it from being called or failed after it.
        if report.when == "call" or not report.passed:
            self.outcomes.append(report.outcome)
            lines = report.longreprtext.strip().splitlines()
            if isinstance(report.longrepr, tuple):
                lines = [str(report.longrepr[-1])]
            self._keep(TestRun(report.nodeid, report.outcome, report.duration, lines[-1] if lines else ""))


def measure(device: torch.device, _scale: Scale, keep: Keep) -> None:
    """A row a test.

    Raises:
        SystemExit: one failed, none was found, or one was skipped although there is a GPU.
    """
    listener = _Listener(keep)
    files = [str(path) for path in marked_files(ROOT / "tests")]
    code = pytest.main(
        ["-m", "gpu", "-p", "no:cacheprovider", "--rootdir", str(ROOT), "-c", str(ROOT / "pyproject.toml"), *files],
        plugins=[listener],
    )
    failed, skipped = listener.outcomes.count("failed"), listener.outcomes.count("skipped")
    if failed:
        raise SystemExit(f"{failed} of {len(listener.outcomes)} tests failed")
    if skipped and device.type == "cuda":
        raise SystemExit(f"{skipped} of {len(listener.outcomes)} tests were skipped although there is a GPU")
    if code is not pytest.ExitCode.OK:
        raise SystemExit(f"pytest could not run them: {pytest.ExitCode(code).name.lower().replace('_', ' ')}")


if __name__ == "__main__":
    run(measure)
