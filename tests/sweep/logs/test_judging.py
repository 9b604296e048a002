"""A log is judged in stretches as it would be step by step."""

from pathlib import Path

import numpy as np
import pytest

from sweep.judging import MonitorConfig, RunContext, StabilityMonitor
from sweep.logs.files import read_trace
from sweep.logs.judging import judge
from sweep.records import Outcome


def write_csv(path: Path, seed: int, num: int = 3000) -> None:
    """A training with some trouble, in which now and then something was not logged."""
    rng = np.random.default_rng(seed)
    losses = (0.5 + 5 * np.exp(-np.arange(num) / 300)) * np.exp(rng.normal(0, 0.1, num))
    losses[rng.integers(0, num) :] *= rng.choice([1.0, 1.0, 4.0, 50.0])
    rows = {
        "loss": [f"{loss:.6g}" for loss in losses],
        "grad_norm": [f"{norm:.4g}" for norm in rng.lognormal(size=num)],
        "loss_scale": ["1024"] * num,
        "skipped": ["0"] * num,
        "input_dependence": [""] * num,
    }
    odd = {"loss": ["", "nan", "0", "-1.5"], "grad_norm": ["", "nan", "inf"], "loss_scale": ["", "512", "0"],
           "skipped": ["1"], "input_dependence": ["0.1"]}  # fmt: skip
    for name in rng.choice(list(rows), size=rng.integers(0, 4), replace=False):
        for start in rng.integers(0, num, size=rng.integers(1, 5)):
            for k in range(start, min(num, start + int(rng.choice([1, 3, 4])))):
                rows[name][k] = str(rng.choice(odd[name][: 3 if seed % 4 else 4]))
    kept = ["loss", *(name for name in list(rows)[1:] if rng.random() < 0.6)]
    lines = [",".join(["step", *kept]), *(f"{k + 1}," + ",".join(rows[name][k] for name in kept) for k in range(num))]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


@pytest.mark.parametrize("seed", range(24))
def test_stretches_are_judged_like_single_steps(seed: int, tmp_path: Path) -> None:
    write_csv(tmp_path / "log.csv", seed)
    trace = read_trace(tmp_path / "log.csv")
    context = RunContext(has_scaler=trace.has_scaler, l_const=3.0 if seed % 2 else float("nan"))
    monitor = StabilityMonitor(context)
    alarm = None
    for record in trace.records():
        alarm = monitor.observe(record)
    found = judge(trace, context, MonitorConfig())
    assert (found.alarm, found.end) == (alarm, monitor.end_verdict())


def test_a_quiet_log_is_judged_in_few_single_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    losses = 1 + 5 * np.exp(-np.arange(20_000) / 300) + np.random.default_rng(0).normal(0, 0.05, 20_000)
    text = "loss\n" + "\n".join(f"{loss:.5f}" for loss in losses)
    (tmp_path / "log.csv").write_text(text, encoding="utf-8")
    trace = read_trace(tmp_path / "log.csv")
    observed = []
    observe = StabilityMonitor.observe
    monkeypatch.setattr(StabilityMonitor, "observe", lambda self, r: observed.append(r.step) or observe(self, r))
    assert judge(trace, RunContext(), MonitorConfig()).end.outcome is Outcome.STABLE
    assert len(observed) < 1000
