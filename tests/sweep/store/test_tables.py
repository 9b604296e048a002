"""What is written comes back; nothing is half-written; what is missing is said."""

import dataclasses
import json
import math
import os
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from slr_models.errors import ResultsError
from sweep import store
from sweep.records import (
    Cause,
    Counterfactual,
    EvalRecord,
    Explanation,
    FirstNonfinite,
    Outcome,
    Phase,
    Place,
    SkipReason,
    StepRecord,
    TrialResult,
)

STEPS = [
    StepRecord(
        step=1, loss=3.5, grad_norm=math.inf, loss_scale=65536.0, applied=False, skip_reason=SkipReason.CALIBRATION
    ),
    StepRecord(step=2, loss=math.nan, grad_norm=2.0, lr=1e-3, num_samples=8, params_finite=False),
]
EVALS = [EvalRecord(2, 1.5, 1, 2, 3, 10, 0.9, 0.1, 0.2)]
ROW = TrialResult(
    trial_id="0", number=0, group=0, seed=0, phase=Phase.EXPLORE, settings={}, verdict=Outcome.STABLE, reason="it fell",
    num_steps=10, max_steps=10, objective=0.5, margin=-0.5,
).row()  # fmt: skip


def test_records_come_back_as_they_were(tmp_path) -> None:
    store.write_steps(tmp_path, "0001", STEPS)
    store.write_evals(tmp_path, "0001", EVALS)
    back = store.load_steps(tmp_path, "0001")
    assert back[0].skip_reason is SkipReason.CALIBRATION and back[1].skip_reason is None
    assert back[0].grad_norm == math.inf and math.isnan(back[1].loss) and not back[1].params_finite
    assert [r.step for r in back] == [1, 2]
    assert store.load_evals(tmp_path, "0001") == EVALS
    frame = store.read_evals(tmp_path, "0001")
    assert frame["wer"].tolist() == [0.6] and frame["wer_raw"].isna().all()


def test_evaluations_of_an_earlier_version_know_no_other_wer(tmp_path) -> None:
    store.write_evals(tmp_path, "0001", [dataclasses.replace(EVALS[0], wer_raw=0.5)])
    assert store.load_evals(tmp_path, "0001")[0].wer_raw == 0.5
    path = tmp_path / "evals" / "0001.parquet"
    pq.write_table(pq.read_table(path).drop_columns("wer_raw"), path)
    assert store.load_evals(tmp_path, "0001") == EVALS


def test_what_was_not_logged_is_none_and_a_logged_nan_stays_one(tmp_path) -> None:
    given = [StepRecord(1, 3.5), StepRecord(2, math.nan, math.nan, lr=0.5, blank_rate=0.25), StepRecord(3)]
    store.write_steps(tmp_path, "0001", given)
    first, second, third = store.load_steps(tmp_path, "0001")
    assert first == given[0] and third == given[2]
    assert math.isnan(second.loss) and math.isnan(second.grad_norm)
    assert (second.lr, second.blank_rate, second.time_s, second.loss_scale) == (0.5, 0.25, None, None)
    frame = store.read_steps(tmp_path, "0001")
    assert frame["grad_norm"].isna().all() and frame["grad_norm"].dtype == np.float32
    columns = store.read_columns(tmp_path, "steps", "0001", ["loss", "lr"])
    assert columns is not None and np.isnan(columns["loss"]).tolist() == [False, True, True]
    assert columns["lr"].tolist()[1] == 0.5 and np.isnan(columns["lr"]).tolist() == [True, False, True]


@pytest.mark.parametrize("metadata", [{"schema_version": "1"}, None])
def test_steps_of_an_earlier_version_do_not_tell_a_nan_from_what_was_not_logged(tmp_path, metadata) -> None:
    nan, unknown = math.nan, [math.nan, 2.0]
    columns = {
        "step": [1, 2],
        "loss": [nan, 3.0],
        "grad_norm": unknown,
        "loss_scale": [nan, nan],
        "applied": [False, True],
        "skip_reason": ["nonfinite", None],
        "lr": unknown,
        "num_samples": [8, 8],
        "num_infeasible": [0, 0],
        "time_s": unknown,
        "blank_rate": unknown,
        "input_dependence": unknown,
        "params_finite": [True, True],
    }
    (tmp_path / "steps").mkdir()
    table = pa.table(columns, schema=store.STEP_SCHEMA).replace_schema_metadata(metadata)
    pq.write_table(table, tmp_path / "steps" / "0001.parquet")
    first, second = store.load_steps(tmp_path, "0001")
    assert math.isnan(first.loss), "the loss was always logged"
    known = StepRecord(1, 0.0, applied=False, skip_reason=SkipReason.NONFINITE, num_samples=8)
    assert dataclasses.replace(first, loss=0.0) == known
    assert second == StepRecord(2, 3.0, 2.0, lr=2.0, num_samples=8, time_s=2.0, blank_rate=2.0, input_dependence=2.0)
    store.write_steps(tmp_path, "0001", [first, second])
    assert store.load_steps(tmp_path, "0001")[1] == second, "written anew, the table is one of this version"
    assert pq.read_schema(tmp_path / "steps" / "0001.parquet").metadata[b"schema_version"] == b"2"


def test_no_steps_at_all_still_make_a_table(tmp_path) -> None:
    store.write_steps(tmp_path, "0001", [])
    store.write_evals(tmp_path, "0001", [])
    assert list(store.read_steps(tmp_path, "0001").columns) == store.STEP_SCHEMA.names
    assert store.load_evals(tmp_path, "0001") == []


def test_settings_become_columns_of_their_kind(tmp_path) -> None:
    rows = [
        {**ROW, "trial_id": "1", "number": 1, "lr": 1, "kind": "a", "flag": True},
        {**ROW, "trial_id": "0", "number": 0, "lr": 0.5, "kind": "b", "flag": False, "scale": 4},
    ]
    store.write_trials(tmp_path, rows)
    frame = store.read_trials(tmp_path)
    assert frame["trial_id"].tolist() == ["0", "1"], "in order of number"
    assert frame["lr"].tolist() == [0.5, 1.0]
    assert frame["flag"].tolist() == [False, True]
    assert pd.isna(frame["scale"][1])


def test_an_explanation_comes_back_and_its_unknown_numbers_are_null(tmp_path) -> None:
    first = FirstNonfinite(Place.FORWARD, 12, "matmul", "encoder.0.attention", "float16", 341.5, math.nan, 0, 3)
    replays = (Counterfactual("same", 0, 2, math.nan), Counterfactual("LR / 10", 2, 2, 1.5))
    given = Explanation(Cause.HALF_OVERFLOW_ATTENTION, "overflow", ("a", "b"), first, replays, 10, 60)
    assert store.read_explanation(tmp_path, "0001") is None
    store.write_explanation(tmp_path, "0001", given)
    path = tmp_path / "evidence" / "0001" / "explanation.json"
    assert json.loads(path.read_text())["counterfactuals"][0]["end_loss"] is None
    assert repr(store.read_explanation(tmp_path, "0001")) == repr(given)
    bare = Explanation(Cause.UNKNOWN, "nobody knows")
    store.write_explanation(tmp_path, "0002", bare)
    assert store.read_explanation(tmp_path, "0002") == bare


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ("{", "EOF while parsing an object"),
        ("[1]", "Input should be a dictionary or an instance of Explanation"),
        ('{"cause": "bad luck", "text": "oh"}', "cause: Input should be 'learning rate too high'"),
        ('{"cause": "unknown"}', "text: Field required"),
        ('{"cause": "unknown", "text": "oh", "blame": "the data"}', "this version knows no field blame"),
        (
            '{"cause": "unknown", "text": "oh", "counterfactuals": [{"change": "same"}]}',
            "counterfactuals.0.num_rescued: Field required",
        ),
    ],
)
def test_a_damaged_explanation_is_named_in_one_line(tmp_path, content: str, what: str) -> None:
    path = tmp_path / "evidence" / "0001" / "explanation.json"
    path.parent.mkdir(parents=True)
    path.write_text(content)
    with pytest.raises(ResultsError) as told:
        store.read_explanation(tmp_path, "0001")
    assert f"explanation.json is not an explanation ({what}" in str(told.value)
    assert "delete it, or write it anew with python -m sweep.explain" in str(told.value)
    assert "\n" not in str(told.value)


def test_a_table_of_an_earlier_version_has_its_new_columns_empty(tmp_path) -> None:
    known = ("trial_id", "number", "group", "seed", "phase", "verdict", "reason", "num_steps", "max_steps", "objective")
    pd.DataFrame([{name: ROW[name] for name in (*known, "margin")}]).to_parquet(tmp_path / "trials.parquet")
    frame = store.read_trials(tmp_path)
    assert not frame["audited"][0] and pd.isna(frame["alarm"][0]) and pd.isna(frame["forensics_s"][0])


def test_the_map_comes_back_with_settings_of_any_kind(tmp_path) -> None:
    grid = pd.DataFrame({"level": ["fp16", None], "training.optimizer.lr": [1e-3, 1e-2], "p_stable": [0.9, math.nan]})
    edges = pd.DataFrame(
        {
            "flag": [True, None],
            "model.width": [0.25, math.nan],
            "along": ["lr", "lr"],
            "side": ["hot", None],
            "value": [0.02, math.nan],
            "inner": [0.01, math.nan],
            "outer": [0.03, math.nan],
            "width": [0.4, math.nan],
            "always": [None, "stable"],
            "num_near": [3, 4],
            "stable_decades": [2.0, 3.0],
        }
    )
    store.write_map(tmp_path, grid, edges)
    back = pd.read_parquet(tmp_path / "stability_map.parquet")
    assert back["level"].tolist()[0] == "fp16" and back["level"].isna().tolist() == [False, True]
    assert back["training.optimizer.lr"].tolist() == [1e-3, 1e-2] and back["p_stable"].isna().tolist() == [False, True]
    rows = pq.read_table(tmp_path / "edges.parquet")
    assert rows.schema.metadata[b"schema_version"] == store.SCHEMA_VERSION.encode()
    assert rows.schema.field("flag").type == pa.bool_() and rows.schema.field("num_near").type == pa.int64()
    assert rows.to_pylist()[1] == {
        **dict.fromkeys(("flag", "model.width", "side", "value", "inner", "outer", "width")),
        "along": "lr",
        "always": "stable",
        "num_near": 4,
        "stable_decades": 3.0,
    }
    store.remove_map(tmp_path)
    store.remove_map(tmp_path)
    assert not list(tmp_path.iterdir())


def test_importances_come_back_and_are_empty_where_nobody_estimated_them(tmp_path) -> None:
    assert store.read_importance(tmp_path) == {}
    shares = {"fanova": {"training.optimizer.lr": 0.75, "model.width": 0.25}}
    store.write_importance(tmp_path, shares)
    assert store.read_importance(tmp_path) == shares
    for damaged in ("{", "[1]", '{"fanova": 3}'):
        (tmp_path / "importance.json").write_text(damaged)
        with pytest.raises(ResultsError, match="is damaged"):
            store.read_importance(tmp_path)


TEXT, NUMBER, WHOLE, FLAG = pa.string(), pa.float64(), pa.int64(), pa.bool_()
TRIAL_COLUMNS = {
    "trial_id": TEXT,
    "number": WHOLE,
    "group": WHOLE,
    "seed": WHOLE,
    "phase": TEXT,
    "block": WHOLE,
    "cell": TEXT,
    "verdict": TEXT,
    "stable": FLAG,
    "numbers": TEXT,
    "learning": TEXT,
    "judged_with": TEXT,
    "cause": TEXT,
    "reason": TEXT,
    "side": TEXT,
    "audited": FLAG,
    "alarm": TEXT,
    "foregone_step": WHOLE,
    "stop_step": WHOLE,
    "num_steps": WHOLE,
    "max_steps": WHOLE,
    "objective": NUMBER,
    "margin": NUMBER,
    "margin_break": NUMBER,
    "margin_learn": NUMBER,
    "final_train_loss": NUMBER,
    "val_loss": NUMBER,
    "best_val_loss": NUMBER,
    "wer": NUMBER,
    "best_wer": NUMBER,
    "wer_raw": NUMBER,
    "score": NUMBER,
    "metrics": TEXT,
    "l_const": NUMBER,
    "l_unif": NUMBER,
    "applied_update_rate": NUMBER,
    "skipped_calibration": WHOLE,
    "skipped_nonfinite": WHOLE,
    "skipped_threshold": WHOLE,
    "skipped_infeasible": WHOLE,
    "wall_s": NUMBER,
    "cpu_s": NUMBER,
    "forensics_s": NUMBER,
    "step_time_s": NUMBER,
    "peak_memory_mib": NUMBER,
    "precision_implementation": TEXT,
    "settings_changed_at_step": WHOLE,
    "micro_batch": WHOLE,
    "gpu_shared_by": WHOLE,
    "node": TEXT,
    "noise_scale": NUMBER,
}
"""As they were first stored: what others have written for these columns must go on reading them."""


def test_the_fixed_columns_of_a_trial_stay_as_they_were() -> None:
    assert list(zip(store.TRIAL_SCHEMA.names, store.TRIAL_SCHEMA.types, strict=True)) == list(TRIAL_COLUMNS.items())
    assert store.TRIAL_SCHEMA.metadata == {b"schema_version": b"1"}


def test_a_result_is_stored_under_its_own_names(tmp_path) -> None:
    result = TrialResult(
        trial_id="0007",
        number=7,
        group=2,
        seed=3,
        phase=Phase.CONFIRM,
        cell="model=teacher",
        settings={"training.optimizer.lr": 0.25},
        verdict=Outcome.SPIKY_RECOVERING,
        reason="two spikes",
        audited=True,
        alarm=Outcome.DIVERGED_LOSS,
        num_steps=40,
        max_steps=40,
        objective=0.5,
        margin=-0.25,
        wer=0.5,
    )
    row = result.row()
    assert list(row) == [*TRIAL_COLUMNS, "training.optimizer.lr"]
    assert all(type(value) in (str, int, float, bool, type(None)) for value in row.values())
    store.write_trials(tmp_path, [row])
    table = pq.read_table(tmp_path / "trials.parquet")
    assert table.schema.names == list(row)
    (back,) = table.to_pylist()
    assert back["stable"] and back["audited"]
    known = {name: value for name, value in row.items() if value == value}
    assert {name: value for name, value in back.items() if value == value} == known
    words = (back["phase"], back["verdict"], back["alarm"])
    assert words == ("confirm", "spiky-recovering", "diverged-loss")
    assert math.isnan(back["val_loss"]) and back["block"] is None and back["stop_step"] is None


def test_a_failed_write_leaves_the_old_file(tmp_path) -> None:
    path = tmp_path / "a.txt"
    store.write_text(path, "old")
    with pytest.raises(RuntimeError), store.atomic_path(path) as temporary:
        temporary.write_text("new")
        raise RuntimeError
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_results_are_as_readable_as_the_user_s_other_files(tmp_path) -> None:
    before = os.umask(0o027)
    try:
        store.write_text(tmp_path / "a.txt", "a")
    finally:
        os.umask(before)
    assert (tmp_path / "a.txt").stat().st_mode & 0o777 == 0o640


def test_writing_never_touches_the_umask_that_all_threads_share(tmp_path, monkeypatch) -> None:
    changes = []
    monkeypatch.setattr(os, "umask", changes.append)
    beside = threading.Event()

    def write(name: str) -> None:
        for number in range(50):
            store.write_text(tmp_path / name, f"{name} {number}")

    def make_files() -> None:
        number = 0
        while not beside.is_set():
            (tmp_path / f"beside-{number}").touch()
            number += 1

    writers = [threading.Thread(target=write, args=(name,)) for name in ("a", "a", "b")]
    third = threading.Thread(target=make_files)
    for thread in (third, *writers):
        thread.start()
    for thread in writers:
        thread.join()
    beside.set()
    third.join()
    assert not changes
    assert {name: (tmp_path / name).read_text() for name in ("a", "b")} == {"a": "a 49", "b": "b 49"}
    assert len({path.stat().st_mode for path in tmp_path.iterdir()}) == 1


def test_missing_and_damaged_results_are_named(tmp_path) -> None:
    with pytest.raises(ResultsError, match="is not a folder"):
        store.read_study(tmp_path / "none")
    with pytest.raises(ResultsError, match="not the results folder"):
        store.read_study(tmp_path)
    with pytest.raises(ResultsError, match="no trials"):
        store.read_trials(tmp_path)
    (tmp_path / "trials.parquet").write_bytes(b"PAR1 but not really")
    with pytest.raises(
        ResultsError, match=r"cannot be read as Parquet .*: restore it from a backup, or bring back what can be with"
    ):
        store.read_trials(tmp_path)
    (tmp_path / "study.yaml").write_text("a: [")
    with pytest.raises(ResultsError, match=r"study.yaml:\d: not valid YAML: .*: delete it, then run") as told:
        store.read_study(tmp_path)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("load", [store.load_steps, store.load_evals, store.load_health])
def test_records_that_are_no_parquet_are_told_by_their_file(
    tmp_path: Path, load: Callable[[Path, str], object]
) -> None:
    for folder in ("steps", "evals", "health"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "0000.parquet").write_text("garbage")
    with pytest.raises(ResultsError, match=r"0000.parquet cannot be read"):
        load(tmp_path, "0000")


def test_a_table_that_has_gone_while_the_ledger_stands_says_how_it_comes_back(tmp_path: Path) -> None:
    (tmp_path / "ledger.jsonl").write_text('{"event": "tell", "trial_id": "0000"}\n')
    with pytest.raises(ResultsError, match="trials.parquet is missing, but ledger.jsonl holds results"):
        store.read_trials(tmp_path)
