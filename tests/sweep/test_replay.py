"""Judging logs: the same verdict as live, as the study's, and for what other programs wrote; the command line."""

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from slr_models.data import SyntheticConfig
from slr_models.errors import UserError
from sweep import store
from sweep.judging.monitor import MonitorConfig, RunContext, StabilityMonitor
from sweep.logs.answer import replay
from sweep.logs.files import read_trace
from sweep.records import Outcome, SkipReason, StepRecord, TrialResult, Verdict
from sweep.replay import main
from sweep.running.job import Job, Progress, RunOptions
from sweep.running.trial import TrialRunner
from sweep.training.config import TrialConfig

NAN, INF = math.nan, math.inf


def alarms(records: list[StepRecord], context: RunContext) -> list[Verdict | None]:
    """The live monitor's answer at every step."""
    monitor = StabilityMonitor(context)
    return [monitor.observe(record) for record in records]


numbers = st.one_of(st.sampled_from([NAN, INF, -INF, 0.0, 3.0, 1e30]), st.floats(0, 100, width=32))
steps = st.builds(
    StepRecord,
    step=st.just(0),
    loss=numbers,
    grad_norm=numbers,
    loss_scale=st.sampled_from([None, 0.5, 256.0, 65536.0]),
    applied=st.booleans(),
    skip_reason=st.none(),
    num_infeasible=st.integers(0, 2),
    blank_rate=st.sampled_from([None, 0.5, 1.0]),
    input_dependence=st.sampled_from([None, 0.0, 0.5]),
    params_finite=st.sampled_from([True] * 20 + [False]),
)


@st.composite
def traces(draw) -> list[StepRecord]:
    """Stretches of equal steps, so that rules that count steps in a row get their turn."""
    stretches = draw(st.lists(st.tuples(steps, st.integers(1, 60)), min_size=1, max_size=5))
    records = [record for record, length in stretches for _ in range(length)]
    reasons = [None if r.applied else SkipReason.THRESHOLD for r in records]
    return [
        dataclasses.replace(r, step=k, skip_reason=reason)
        for k, (r, reason) in enumerate(zip(records, reasons, strict=True), 1)
    ]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(traces(), st.booleans())
def test_what_was_written_is_judged_as_live_at_every_step(tmp_path, records, has_scaler) -> None:
    context = RunContext(3.3, 12.0, 200, has_scaler)
    store.write_steps(tmp_path, "0000", records)
    read = list(read_trace(tmp_path / "steps" / "0000.parquet").records())
    for one, other in zip(alarms(records, context), alarms(read, context), strict=True):
        assert (one is None) == (other is None)
        if one is not None and other is not None:
            assert (one.outcome, one.stop_step, one.reason) == (other.outcome, other.stop_step, other.reason)


def healthy(num_steps: int = 300, end: float = 0.5) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    loss = (3.3 * np.exp(np.linspace(1, math.log(end / 3.3), num_steps))) * np.exp(rng.normal(0, 0.05, num_steps))
    return pd.DataFrame({"step": range(1, num_steps + 1), "loss": loss, "grad_norm": rng.lognormal(0, 0.3, num_steps)})


@pytest.mark.parametrize("suffix", ["csv", "parquet", "jsonl", "log"])
def test_all_formats_of_a_log_give_one_verdict(tmp_path, suffix) -> None:
    frame = healthy()
    frame.loc[150:, ["loss", "grad_norm"]] = NAN
    path = tmp_path / f"log.{suffix}"
    if suffix == "csv":
        frame.to_csv(path, index=False)
    elif suffix == "parquet":
        frame.to_parquet(path)
    elif suffix == "jsonl":
        path.write_text("\n".join(json.dumps(row) for row in frame.to_dict("records")))
    else:
        path.write_text(
            "\n".join(f"step {r.step} | loss {r.loss} | grad norm {r.grad_norm}" for r in frame.itertuples())
        )
    answer = replay(path, l_const=3.3)
    assert (answer["verdict"], answer["stop_step"], answer["detector"]) == ("diverged-nonfinite", 155, "nonfinite")
    assert answer["first_bad_step"] == 151 and answer["num_steps"] == 300
    assert answer["end_verdict"] == "diverged-nonfinite"


def test_a_healthy_log_is_not_stopped(tmp_path, capsys) -> None:
    healthy().rename(columns={"loss": "train/loss", "grad_norm": "gnorm"}).to_csv(tmp_path / "a.csv", index=False)
    assert main([str(tmp_path / "a.csv"), "--json", "--l-const", "3.3", "--l-unif", "12", "--budget", "300"]) == 0
    out, err = capsys.readouterr()
    (line,) = out.splitlines()
    answer = json.loads(line)
    assert answer["verdict"] in ("stable", "spiky-recovering") and answer["end_verdict"] == answer["verdict"]
    for key in ("stop_step", "detector", "first_bad_step", "last_good_step", "value", "threshold"):
        assert answer[key] is None
    assert answer["context"] == {"l_const": 3.3, "l_unif": 12.0, "budget_steps": 300, "has_scaler": False}
    assert "train/loss is read as loss" in err and "gnorm is read as grad_norm" in err


def test_options_say_which_columns_hold_what(tmp_path, capsys) -> None:
    frame = healthy().rename(columns={"loss": "ce", "grad_norm": "my norm", "step": "tick"})
    frame["kl"] = 0.01
    frame["run"] = ["a"] * 150 + ["b"] * 150
    frame.to_csv(tmp_path / "a.csv", index=False)
    options = ["--json", "--loss", "ce", "--loss", "kl", "--norm", "my_norm", "--step", "tick", "--run", "a"]
    assert main([str(tmp_path / "a.csv"), *options]) == 0
    out, err = capsys.readouterr()
    answer = json.loads(out)
    assert answer["columns"] == {"loss": "ce + kl", "grad_norm": "my norm", "step": "tick"}
    assert answer["num_steps"] == 150 and "note: the run is a" in err and "the sum of ce and kl" in err
    assert main([str(tmp_path / "a.csv"), "--loss", "ce,nothing", "--run", "a"]) == 2
    assert "has no column nothing for --loss; its columns are: tick, ce, my norm, kl" in capsys.readouterr().err
    assert main([str(tmp_path / "a.csv"), "--loss", "ce"]) == 2
    assert "holds 2 runs (a, b); choose one by --run NAME" in capsys.readouterr().err


def test_unknown_numbers_are_null(tmp_path, capsys) -> None:
    healthy().to_csv(tmp_path / "a.csv", index=False)
    assert main([str(tmp_path / "a.csv")]) == 0
    out = capsys.readouterr().out
    assert "NaN" not in out and json.loads(out)["context"]["l_const"] is None and out.count("\n") > 5


def test_an_alarm_that_the_end_contradicts_is_told_with_it(tmp_path) -> None:
    bump = healthy()
    bump.loc[150:210, "loss"] = 8.0
    bump.to_csv(tmp_path / "a.csv", index=False)
    answer = replay(tmp_path / "a.csv", l_const=3.3, l_unif=12.0)
    assert answer["verdict"] == "diverged-loss" and answer["end_verdict"] in ("stable", "spiky-recovering")
    assert 150 < answer["stop_step"] < 211 and answer["value"] > answer["threshold"]


def sparse(num_steps: int = 5000, every: int = 50) -> pd.DataFrame:
    """A healthy log with a gradient norm at every step and a loss now and then."""
    frame = healthy(num_steps)
    frame.loc[frame["step"] % every != 0, "loss"] = NAN
    return frame


def test_a_spike_at_one_of_few_logged_losses_is_one_spike(tmp_path) -> None:
    frame = sparse()
    frame.loc[frame["step"] == 3000, "loss"] = 50.0
    frame.to_csv(tmp_path / "a.csv", index=False)
    answer = replay(tmp_path / "a.csv", l_const=3.3, l_unif=12.0, budget=5000)
    assert answer["verdict"] == "spiky-recovering" and answer["stop_step"] is None and answer["num_steps"] == 5000


def test_gradients_are_judged_at_every_step_where_few_log_a_loss(tmp_path) -> None:
    frame = sparse()
    frame.loc[frame["step"] >= 3001, "grad_norm"] = INF
    frame.to_csv(tmp_path / "a.csv", index=False)
    answer = replay(tmp_path / "a.csv", l_const=3.3, l_unif=12.0)
    assert (answer["verdict"], answer["stop_step"]) == ("diverged-nonfinite", 3005)
    assert answer["end_verdict"] == "diverged-nonfinite"


def test_few_logged_losses_that_rise_are_a_divergence(tmp_path) -> None:
    frame = sparse()
    frame.loc[(frame["step"] > 2500) & frame["loss"].notna(), "loss"] = 300.0
    frame.to_csv(tmp_path / "a.csv", index=False)
    answer = replay(tmp_path / "a.csv", l_const=3.3, l_unif=12.0)
    assert answer["verdict"] == "diverged-loss" and 2500 <= answer["last_good_step"] < 2600


@pytest.mark.parametrize(("dependence", "outcome"), [(1e-5, "blank-collapse"), (0.01, "stalled")])
def test_without_a_budget_only_the_end_tells_of_time(tmp_path, dependence: float, outcome: str) -> None:
    frame = pd.DataFrame({"loss": [3.3] * 2000, "blank_rate": 1.0, "input_dependence": dependence})
    frame.to_csv(tmp_path / "a.csv", index=False)
    answer = replay(tmp_path / "a.csv", l_const=3.3, l_unif=12.0)
    assert answer["verdict"] == outcome and answer["stop_step"] is None
    assert replay(tmp_path / "a.csv", l_const=3.3, l_unif=12.0, budget=2000)["stop_step"] is not None


def test_a_log_of_a_scaler_that_calibrates_is_no_divergence(tmp_path) -> None:
    scales = [65536 / 2**k for k in range(8)]
    pd.DataFrame({"loss": 3.0, "grad_norm": INF, "scale": scales, "skipped": 1}).to_csv(tmp_path / "a.csv", index=False)
    answer = replay(tmp_path / "a.csv", l_const=3.3)
    assert answer["context"]["has_scaler"] and answer["verdict"] == "calibrating" and answer["stop_step"] is None


WARNINGS = "\n".join(
    [f"WARNING - Infinite gradient norm at batch {k}" for k in range(4)]
    + [f"Large gradient norm: {70 + k / 3:.2f} at batch {k}, skipping" for k in range(4, 40)]
)


def test_warnings_of_skipped_batches_alone_are_judged(tmp_path) -> None:
    (tmp_path / "a.log").write_text(WARNINGS)
    answer = replay(tmp_path / "a.log", l_const=3.3)
    assert answer["verdict"] == "skip-starved" and answer["detector"] == "skip_starved"
    assert "loss" not in answer["reason"] and any("looks for its first usable value" in n for n in answer["notes"])
    (tmp_path / "b.log").write_text("\n".join(WARNINGS.splitlines()[:6]))
    short = replay(tmp_path / "b.log", l_const=3.3)
    assert short["verdict"] == "skip-starved" and short["stop_step"] is None and "loss" not in short["reason"]
    skipped = [f"Batch {k}: grad_norm={100 + k}.34 \u2192 SKIPPED" for k in range(1, 31)]
    (tmp_path / "c.log").write_text("\n".join(skipped), encoding="utf-8")
    assert replay(tmp_path / "c.log")["verdict"] == "skip-starved"


def test_healthy_gradients_without_losses_decide_nothing(tmp_path) -> None:
    (tmp_path / "a.log").write_text("\n".join(f"Batch {k}: grad_norm=3.4" for k in range(1, 400)))
    answer = replay(tmp_path / "a.log", l_const=3.3, budget=400)
    assert answer["verdict"] == "unjudged" and answer["stop_step"] is None
    assert any("no losses, so only gradients and skips are judged" in note for note in answer["notes"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none.csv"], "does not exist"),
        (["a.csv", "--l-const", "-1"], "--l-const is -1.0"),
        (["a.csv", "--l-unif", "nan"], "--l-unif is nan"),
        (["a.csv", "--budget", "0"], "--budget is 0"),
        (["b.csv"], "its columns are: step, wer"),
        (["c.csv"], "is empty"),
    ],
)
def test_mistakes_end_with_one_line_and_code_2(tmp_path, capsys, arguments, message) -> None:
    healthy(20).to_csv(tmp_path / "a.csv", index=False)
    (tmp_path / "b.csv").write_text("step,wer\n1,0.5\n")
    (tmp_path / "c.csv").write_text("step,loss\n")
    assert main([str(tmp_path / arguments[0]), *arguments[1:]]) == 2
    out, err = capsys.readouterr()
    assert out == "" and message in err and err.count("\n") == 1 and err.startswith("error: ")


DATA = {
    "kind": "synthetic",
    "vocabulary_size": 4,
    "num_train": 48,
    "num_valid": 8,
    "frames_per_label": 6,
    "max_labels": 3,
}


def trained(folder: Path, training: dict[str, object], early_stop: bool = True, max_steps: int = 30) -> TrialResult:
    """A study's results folder with one real training, judged by rules that are not the usual ones."""
    config = MonitorConfig.model_validate(
        {"detectors": [{"kind": "nonfinite", "losses_in_row": 3}, {"kind": "stalled"}]}
    )
    settings = {"batch_size": 4, "eval_every_steps": 30, "health_every_steps": None, **training}
    content = {"model": {"kind": "baseline", "width": 0.0625}, "data": DATA, "training": settings}
    runner = TrialRunner(
        SyntheticConfig.model_validate(DATA).build(), RunOptions(folder, "wer", config, early_stop, "none")
    )
    trial = runner.start(Job("0000", 0, 0, 0, "explore", {}, TrialConfig.model_validate(content), max_steps))
    while isinstance(result := trial.advance(), Progress):
        pass
    store.write_trials(folder, [result.row()])
    store.write_yaml(
        folder / "study.yaml", {"name": "x", "monitor": config.model_dump(mode="json"), "budget": {"steps": 9}}
    )
    return result


HOT = {
    "optimizer": {"kind": "sgd", "lr": 1e30},
    "clip": {"kind": "off"},
    "bad_batch": {"kind": "never_skip"},
}


@pytest.mark.parametrize(
    ("training", "early_stop"),
    [(HOT, True), (HOT, False), ({"optimizer": {"kind": "adamw", "lr": 2e-3}, "precision": {"kind": "fp16"}}, True)],
)
def test_a_trial_of_a_study_is_judged_as_its_study_did(tmp_path, training, early_stop) -> None:
    result = trained(tmp_path, training, early_stop)
    answer = replay(tmp_path / "steps" / "0000.parquet")
    assert answer["verdict"] == result.verdict and answer["stop_step"] == result.stop_step
    assert answer["notes"] == [] and (answer["reason"] == result.reason or result.audited)
    assert answer["context"]["l_const"] == result.l_const and answer["context"]["budget_steps"] == 30
    assert answer["context"]["has_scaler"] is ("precision" in training)
    assert replay(tmp_path / "steps" / "0000.parquet", l_const=9.0)["context"]["l_const"] == 9.0


def test_a_trial_that_crashed_stays_crashed(tmp_path) -> None:
    result = trained(tmp_path, {"optimizer": {"kind": "adamw", "lr": 2e-3}}, max_steps=5)
    crashed = dataclasses.replace(result, verdict=Outcome.CRASHED, reason="the training ended with an exception")
    store.write_trials(tmp_path, [crashed.row()])
    path = tmp_path / "steps" / "0000.parquet"
    assert replay(path)["verdict"] == "crashed" and replay(path)["reason"] == crashed.reason
    store.write_steps(tmp_path, "0000", [])
    assert replay(path)["verdict"] == "crashed" and replay(path)["num_steps"] == 0


def test_an_audited_trial_that_ended_stable_is_stable(tmp_path) -> None:
    result = trained(tmp_path, {"optimizer": {"kind": "adamw", "lr": 2e-3}}, max_steps=2)
    bump = [3.0 * math.exp(-k / 100) if not 150 < k < 160 else NAN for k in range(1, 301)]
    store.write_steps(tmp_path, "0000", [StepRecord(k, loss) for k, loss in enumerate(bump, 1)])
    audited = dataclasses.replace(result, verdict=Outcome.STABLE, audited=True, alarm=Outcome.DIVERGED_NONFINITE)
    store.write_trials(tmp_path, [audited.row()])
    answer = replay(tmp_path / "steps" / "0000.parquet")
    assert answer["notes"] == ["the study called this trial stable (to its end)"], "because of the stop step"
    assert answer["verdict"] == "stable" and answer["alarm"] == "diverged-nonfinite" and answer["stop_step"] == 153


def test_settings_of_another_version_are_replaced_and_told(tmp_path) -> None:
    trained(tmp_path, {"optimizer": {"kind": "adamw", "lr": 2e-3}}, max_steps=5)
    content = yaml.safe_load((tmp_path / "study.yaml").read_text())
    content["monitor"]["detectors"] = [{"kind": "of_old"}]
    store.write_yaml(tmp_path / "study.yaml", content)
    assert any("another version" in note for note in replay(tmp_path / "steps" / "0000.parquet")["notes"])
    (tmp_path / "study.yaml").write_text("[")
    with pytest.raises(UserError, match=r"study\.yaml"):
        replay(tmp_path / "steps" / "0000.parquet")
