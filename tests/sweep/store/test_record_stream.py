"""Records of a training under way are appended, read as a table would be, and lost by no fault but their own."""

import json
import math
import os
import random
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from slr_models.errors import ResultsError
from sweep import store
from sweep.logs.answer import replay
from sweep.machine import is_of_machine
from sweep.records import EvalRecord, SkipReason, StepRecord
from sweep.store import tables
from sweep.store.completeness import recorded_ids
from sweep.store.line_sums import with_sum
from sweep.store.recovery import set_aside

STEPS = [
    StepRecord(1, 3.5, math.inf, 65536.0, False, SkipReason.CALIBRATION),
    StepRecord(2, math.nan, -math.inf, lr=1e-3, num_samples=8, time_s=0.25, params_finite=False),
    StepRecord(3),
    *(StepRecord(step, 3.0 / step, 0.1, num_samples=8, blank_rate=0.5) for step in range(4, 31)),
]
EVALS = [EvalRecord(step, math.nan if step == 10 else 1.5, 1, 2, 3, 10, 0.9, 0.1, 0.2) for step in (10, 20, 30)]


def train(folder: Path, num_steps: int = 30) -> tuple[Any, Any]:
    """Writes what a training has recorded at its evaluations, every 10 steps."""
    streams = store.record_stream(folder, "steps", "0003"), store.record_stream(folder, "evals", "0003")
    for step in range(10, num_steps + 1, 10):
        streams[0].write(STEPS[:step])
        streams[1].write(EVALS[: step // 10])
    return streams


def path(folder: Path, kind: str = "steps") -> Path:
    return folder / kind / "0003.jsonl"


def test_records_under_way_are_read_as_those_of_a_table(tmp_path: Path) -> None:
    table, under_way = tmp_path / "table", tmp_path / "under_way"
    store.write_steps(table, "0003", STEPS)
    store.write_evals(table, "0003", EVALS)
    train(under_way)
    assert os.listdir(under_way / "steps") == ["0003.jsonl"]
    for read in (store.read_steps, store.read_evals):
        pd.testing.assert_frame_equal(read(under_way, "0003"), read(table, "0003"))
    for load in (store.load_steps, store.load_evals):
        assert repr(load(under_way, "0003")) == repr(load(table, "0003"))
    names = ["loss", "step"]
    mine, theirs = (store.read_columns(folder, "steps", "0003", names) for folder in (under_way, table))
    assert mine is not None and theirs is not None and list(mine) == names
    assert all(mine[name].tobytes() == theirs[name].tobytes() for name in names)
    assert store.has_records(under_way, "steps", "0003") and not store.has_records(under_way, "health", "0003")


def test_more_than_is_read_at_once(tmp_path: Path) -> None:
    steps = [StepRecord(step, 1.0) for step in range(1, 20_002)]
    store.record_stream(tmp_path, "steps", "0003").write(steps)
    assert store.load_steps(tmp_path, "0003") == steps


def test_each_record_is_written_once_and_appended(tmp_path: Path) -> None:
    steps, _ = train(tmp_path, 10)
    place, before = path(tmp_path).stat().st_ino, path(tmp_path).read_bytes()
    steps.write(STEPS[:20])
    steps.write(STEPS[:20])
    steps.write(STEPS[:30])
    content = path(tmp_path).read_bytes()
    assert path(tmp_path).stat().st_ino == place and content.startswith(before)
    assert [json.loads(line)["step"] for line in content.splitlines()] == list(range(1, 31))


def test_at_its_end_a_training_has_a_table_alone(tmp_path: Path) -> None:
    train(tmp_path)
    store.write_steps(tmp_path, "0003", STEPS)
    store.write_evals(tmp_path, "0003", EVALS)
    for kind in ("steps", "evals"):
        assert os.listdir(tmp_path / kind) == ["0003.parquet"]


def test_of_both_the_table_counts(tmp_path: Path) -> None:
    train(tmp_path, 10)
    kept = path(tmp_path).read_bytes()
    store.write_steps(tmp_path, "0003", STEPS)
    path(tmp_path).write_bytes(kept)
    assert len(store.load_steps(tmp_path, "0003")) == 30
    store.settle_records(tmp_path, "0003")
    assert os.listdir(tmp_path / "steps") == ["0003.parquet"] and len(store.load_steps(tmp_path, "0003")) == 30


@pytest.mark.parametrize("left", ["a table", "a stream"])
def test_a_training_that_goes_on_has_no_record_twice_and_none_of_those_dropped(tmp_path: Path, left: str) -> None:
    train(tmp_path)
    if left == "a table":
        store.settle_records(tmp_path, "0003")
    kept = [r for r in store.load_steps(tmp_path, "0003") if r.step <= 10]
    again = store.record_stream(tmp_path, "steps", "0003")
    assert len(store.load_steps(tmp_path, "0003")) == 30, "until the first evaluation nothing is lost"
    again.write([*kept, *(StepRecord(step, 9.0) for step in range(11, 21))])
    assert os.listdir(tmp_path / "steps") == ["0003.jsonl"]
    found = store.load_steps(tmp_path, "0003")
    assert [r.step for r in found] == list(range(1, 21)) and found[10].loss == 9.0
    assert repr(found[:10]) == repr(kept)


def test_a_file_cut_anywhere_loses_the_line_that_is_cut_alone(tmp_path: Path) -> None:
    train(tmp_path)
    content = path(tmp_path).read_bytes()
    for end in range(len(content) + 1):
        path(tmp_path).write_bytes(content[:end])
        assert len(store.load_steps(tmp_path, "0003")) == content.count(b"\n", 0, end)


def test_a_training_mends_what_became_of_its_file(tmp_path: Path) -> None:
    for harm in (Path.unlink, lambda p: p.write_bytes(b""), lambda p: p.write_bytes(p.read_bytes() + b'{"step": 1')):
        steps, _ = train(tmp_path, 20)
        harm(path(tmp_path))
        steps.write(STEPS)
        assert [r.step for r in store.load_steps(tmp_path, "0003")] == list(range(1, 31))


@contextmanager
def room_for(num_bytes: int) -> Iterator[None]:
    """No file may become larger, so that a write beyond stops amid it."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_what_an_append_half_wrote_is_cut_away(tmp_path: Path) -> None:
    steps, _ = train(tmp_path, 10)
    before = path(tmp_path).read_bytes()
    with room_for(len(before) + 300), pytest.raises(OSError, match="File too large") as caught:
        steps.write(STEPS[:20])
    assert is_of_machine(caught.value)
    assert path(tmp_path).read_bytes() == before
    with room_for(100), pytest.raises(OSError, match="File too large"):
        store.record_stream(tmp_path, "steps", "0003").write(STEPS[:20])
    assert path(tmp_path).read_bytes() == before and os.listdir(tmp_path / "steps") == ["0003.jsonl"]
    steps.write(STEPS)
    assert [r.step for r in store.load_steps(tmp_path, "0003")] == list(range(1, 31))


def test_every_bit_that_falls_over_is_found(tmp_path: Path) -> None:
    train(tmp_path, 10)
    content = path(tmp_path).read_bytes()
    rng = random.Random(0)
    # Without its end the last line is one that is still being written.
    for place in rng.sample(range(len(content) - 1), 300):
        changed = bytearray(content)
        changed[place] ^= 1 << rng.randrange(8)
        path(tmp_path).write_bytes(changed)
        with pytest.raises(ResultsError, match=r"0003.jsonl cannot be read as lines of JSON \(line \d+.*: delete it"):
            store.load_steps(tmp_path, "0003")


def signed(*rows: dict[str, object]) -> bytes:
    return b"".join(with_sum(json.dumps(row).encode(), number) for number, row in enumerate(rows, start=1))


WRONG = {
    "a line is missing": (signed({"step": 1}, {"step": 2}).split(b"\n", 1)[1], "line 1: its checksum does not fit"),
    "a line stands twice": (signed({"step": 1}) * 2, "line 2: its checksum does not fit"),
    "no checksum": (b'{"step": 1}\n', "line 1: its checksum does not fit"),
    "a list": (with_sum(b"[1]", 1), "one of its lines 1 to 1 is not JSON"),
    "text": (with_sum(b'"step"', 1), "one of its lines 1 to 1 is not JSON"),
    "no step": (signed({"step": 1}, {"loss": 1.0}), "line 2: step: Field required"),
    "a word": (signed({"step": 1, "loss": "much"}), "line 1: loss"),
    "an unknown reason": (signed({"step": 1, "skip_reason": "why not"}), "line 1: skip_reason"),
    "a step that no column holds": (signed({"step": 2**40}), "0003.jsonl cannot be read"),
    "steps that do not ascend": (signed({"step": 2}, {"step": 1}), "its steps do not ascend"),
    "a step below 0": (signed({"step": -1}), "below 0"),
    "a line without end": (b"x" * 100_000, "line 1 has more than 16384 bytes"),
    "zeros": (b"\0" * 100_000, "line 1 has more than 16384 bytes"),
    "few zeros": (signed({"step": 1}) + b"\0" * 100, "line 2 holds no record"),
    "nested without end": (with_sum(b'{"step": ' + b"[" * 16_000 + b"}", 1), "one of its lines 1 to 1 is not JSON"),
}


@pytest.mark.parametrize("case", WRONG)
def test_lines_that_say_what_cannot_be_are_refused(tmp_path: Path, case: str) -> None:
    content, what = WRONG[case]
    path(tmp_path).parent.mkdir()
    path(tmp_path).write_bytes(content)
    with pytest.raises(ResultsError) as caught:
        store.load_steps(tmp_path, "0003")
    assert what in str(caught.value) and "\n" not in str(caught.value)
    assert str(caught.value).endswith("delete it: the report does without it")


def test_a_pipe_and_a_file_without_end_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path(tmp_path).parent.mkdir()
    os.mkfifo(path(tmp_path))
    with pytest.raises(ResultsError, match="is no file: delete it"):
        store.load_steps(tmp_path, "0003")
    path(tmp_path).unlink()
    train(tmp_path)
    monkeypatch.setattr(tables, "MAX_STREAM_MIB", 0.001)
    with pytest.raises(ResultsError, match="no such file has more than"):
        store.load_steps(tmp_path, "0003")


def test_a_training_that_ends_while_it_is_read_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train(tmp_path)
    read = tables.read_stream

    def just_too_late(*args: Any) -> Any:
        monkeypatch.setattr(tables, "read_stream", read)
        store.settle_records(tmp_path, "0003")
        return read(*args)

    monkeypatch.setattr(tables, "read_stream", just_too_late)
    assert len(store.read_steps(tmp_path, "0003")) == 30
    assert not path(tmp_path).exists()


def test_records_that_a_training_left_open_become_tables(tmp_path: Path) -> None:
    train(tmp_path)
    before = store.read_steps(tmp_path, "0003")
    damaged = path(tmp_path, "evals")
    damaged.write_bytes(b"x\n")
    store.settle_records(tmp_path, "0003")
    assert os.listdir(tmp_path / "steps") == ["0003.parquet"]
    pd.testing.assert_frame_equal(store.read_steps(tmp_path, "0003"), before)
    assert damaged.read_bytes() == b"x\n", "what cannot be read stays for the report to tell of"
    store.settle_records(tmp_path, "0009")
    assert not (tmp_path / "steps" / "0009.parquet").exists()


def test_a_trial_that_is_removed_leaves_neither_form(tmp_path: Path) -> None:
    train(tmp_path, 10)
    kept = path(tmp_path).read_bytes()
    store.write_steps(tmp_path, "0003", STEPS)
    path(tmp_path).write_bytes(kept)
    store.remove_trial(tmp_path, "0003")
    assert os.listdir(tmp_path / "steps") == os.listdir(tmp_path / "evals") == []


def test_a_ledger_is_held_against_trainings_under_way_and_recover_sets_them_aside(tmp_path: Path) -> None:
    train(tmp_path)
    (tmp_path / "health").mkdir()
    (tmp_path / "health" / "0004.jsonl").write_text("somebody's own")
    assert recorded_ids(tmp_path, "steps") == recorded_ids(tmp_path, "evals") == {"0003"}
    assert recorded_ids(tmp_path, "health") == set()
    folder, unknown = set_aside(tmp_path, [])
    assert folder is not None and unknown == ["0003"]
    assert len(store.load_steps(folder, "0003")) == 30 and not path(tmp_path).exists()


@pytest.mark.parametrize("num_cut", [0, 40])
@pytest.mark.parametrize("end", [{"loss": 0.2}, {"loss": math.nan, "grad_norm": math.nan, "params_finite": False}])
def test_replay_judges_a_training_under_way_as_its_table(tmp_path: Path, end: dict[str, Any], num_cut: int) -> None:
    steps = [
        StepRecord(n, 3.0 / n**0.5, 1.0, 64.0, n % 7 > 0, None if n % 7 else SkipReason.NONFINITE, 0.1, 8)
        for n in range(1, 181)
    ]
    steps += [StepRecord(n, **end) for n in range(181, 201)]
    whole = 200 - bool(num_cut)
    store.record_stream(tmp_path, "steps", "0003").write(steps)
    path(tmp_path).write_bytes(path(tmp_path).read_bytes()[: -num_cut or None])
    store.write_steps(tmp_path / "table", "0003", steps[:whole])
    mine, theirs = (replay(log) for log in (path(tmp_path), tmp_path / "table" / "steps" / "0003.parquet"))
    same = mine.keys() - {"file", "format"}
    assert repr({name: mine[name] for name in same}) == repr({name: theirs[name] for name in same})
    assert mine["num_steps"] == whole and mine["verdict"].is_stable == ("params_finite" not in end)
