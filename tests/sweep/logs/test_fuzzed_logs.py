"""Logs that nobody wrote: made of real ones by chance. A log is read, or told of; nothing else happens."""

import gzip
import io
import json
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from slr_models.errors import UserError
from sweep.logs.files import read_trace

# The same examples each time, unless more of them are asked for by a profile.
FUZZ = settings(
    derandomize=settings.default.max_examples <= 100,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
ROWS = [{"step": k, "loss": 3.0 / (k + 1), "grad_norm": 0.5 + k, "lr": 1e-3, "epoch": k // 4} for k in range(12)]


def as_parquet() -> bytes:
    file = io.BytesIO()
    parquet.write_table(pa.Table.from_pylist(ROWS), file)
    return file.getvalue()


def as_events() -> bytes:
    from tensorboardX import SummaryWriter

    with tempfile.TemporaryDirectory() as folder:
        with SummaryWriter(folder) as writer:
            for row in ROWS:
                writer.add_scalar("loss", row["loss"], row["step"])
        return next(Path(folder).glob("*tfevents*")).read_bytes()


HEADER = ",".join(ROWS[0])
SEEDS: dict[str, bytes] = {
    "x.csv": "\n".join([HEADER, *(",".join(map(str, row.values())) for row in ROWS)]).encode(),
    "x.tsv": "\n".join(["\t".join(ROWS[0]), *("\t".join(map(str, row.values())) for row in ROWS)]).encode(),
    "x.jsonl": "\n".join(map(json.dumps, ROWS)).encode(),
    "x.json": json.dumps({"log_history": ROWS, "best": None}).encode(),
    "y.json": json.dumps({key: [row[key] for row in ROWS] for key in ROWS[0]}).encode(),
    "x.log": "\n".join(f"step {r['step']} | loss {r['loss']:.4f} | grad norm {r['grad_norm']}" for r in ROWS).encode(),
    "y.log": "\n".join(f"Epoch 1/3: {k}/12 [==>...] - loss: {3 - k / 9:.4f} - lr: 1e-3\r" for k in range(12)).encode(),
    "z.log": "\n".join(str({"loss": row["loss"], "grad_norm": row["grad_norm"]}) for row in ROWS).encode(),
    "x.md": "\n".join(["| step | loss |", "|---|---|", *(f"| {r['step']} | {r['loss']} |" for r in ROWS)]).encode(),
    "x": "\n".join(f"1700000000000 {row['loss']} {row['step']}" for row in ROWS).encode(),
    "x.parquet": as_parquet(),
    "events.out.tfevents.1": as_events(),
}
PIECES = st.binary(max_size=8) | st.sampled_from(
    [
        *(b"nan", b"inf", b"-1e400", b"1" * 400, b"9" * 5000, b"null", b"{", b"[[[[", b'"', b"\n", b"\r", b"\x1b[A"),
        *(b",", b"|", b": ", b"=", b"\0", b"\xff\xfe", b"loss", b"step", b"skipped", b"epoch 1/0", b"1_0", b"0x1f"),
    ]
)


def read(folder: Path, name: str, content: bytes) -> None:
    """Reads a log; whatever is not told of as a mistake of the user's is an error here."""
    path = folder / name
    path.write_bytes(content)
    began = time.process_time()
    try:
        trace = read_trace(path)
        assert all(len(values) == len(trace) for values in trace.values.values())
    except UserError as error:
        assert str(path) in str(error) or path.name in str(error)
    assert time.process_time() - began < 5


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("logs")


@pytest.mark.parametrize("name", SEEDS)
@FUZZ
@given(data=st.data())
def test_a_log_with_pieces_of_it_changed(name: str, data: st.DataObject, folder: Path) -> None:
    content = SEEDS[name]
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(content)))
        end = start + data.draw(st.sampled_from([0, 0, 1, 4, 30]))
        content = content[:start] + data.draw(PIECES) + content[end:]
    if data.draw(st.integers(0, 9)) == 0:
        content = content[: data.draw(st.integers(0, len(content)))]
    zipped = data.draw(st.integers(0, 19)) == 0
    read(folder, f"{name}.gz" if zipped else name, gzip.compress(content) if zipped else content)


@FUZZ
@given(st.sampled_from([*SEEDS]), st.binary(max_size=300) | st.text(max_size=300).map(str.encode))
def test_any_content(folder: Path, name: str, content: bytes) -> None:
    read(folder, name, content)


CELLS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=6), st.lists(st.integers(), max_size=3)
)
KEYS = st.sampled_from(["loss", "step", "epoch", "lr", "grad_norm", "val_loss", "run", "time", "wer", "loss_scale"])
JSON = st.recursive(
    CELLS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS | st.text(max_size=4), inner)
)


@FUZZ
@given(JSON, st.booleans())
def test_any_json(folder: Path, value: object, in_lines: bool) -> None:
    values = value if in_lines and isinstance(value, list) else [value]
    name = "x.jsonl" if in_lines else "x.json"
    read(folder, name, "\n".join(json.dumps(one) for one in values).encode("utf-8", errors="replace"))


@FUZZ
@given(st.lists(st.dictionaries(KEYS, CELLS), min_size=1, max_size=8))
def test_any_table(folder: Path, rows: list[dict[str, object]]) -> None:
    keys = list(dict.fromkeys(key for row in rows for key in row)) or ["loss"]
    lines = [",".join(keys), *(",".join(str(row.get(key, "")) for key in keys) for row in rows)]
    read(folder, "x.csv", "\n".join(lines).encode("utf-8", errors="replace"))


def test_what_lies_too_deep_or_has_no_end_of_line_is_told_in_one_line(tmp_path: Path) -> None:
    deep = b"[" * 200_000
    for name, content in {
        "deep.json": deep,
        "deep.jsonl": b'{"a":' * 200_000,
        "deep.log": deep,
        "deeper.json": b'{"a":' * 500 + b"1" + b"}" * 500,
        "digits.json": b"[" + b"9" * 10_000 + b"]",
        "quote.csv": b'"loss, grad norm\n1,2\n3,4\n',
        "metric": b"1700000000000 3.0 0\n1700000000001 2.9.1 1\n",
        "metric of digits": b"1700000000000 3.0 0\n1700000000001 2.9 " + b"1" * 5000 + b"\n",
        "rules.csv": b"---\n---\n",
        "line.log": b"step 1 | loss 2\n" + b"x" * (2**26 + 2),
        "line.csv": b"step,loss\n1,2\n" + b"x" * (2**26 + 2),
    }.items():
        with pytest.raises(UserError) as told:
            path = tmp_path / name
            path.write_bytes(content)
            read_trace(path)
        assert "\n" not in str(told.value) and len(str(told.value)) < 600, name
    with pytest.raises(UserError, match="is a pipe or a device"):
        read_trace(Path("/dev/zero"))


def test_logs_that_fill_the_memory_are_refused_unread(tmp_path: Path) -> None:
    large = tmp_path / "large.log"
    with large.open("wb") as file:
        file.write(b"step 1 | loss 3\n" * 5000)
        file.truncate(2**42)
    with pytest.raises(UserError, match="large.log has more than .* GB, too much to read"):
        read_trace(large)


def test_whole_numbers_that_no_float_tells_apart_are_read(tmp_path: Path) -> None:
    times = 1_700_000_000_000_000_001 + np.arange(10)
    columns = {"step": np.arange(10), "time_ns": times, "loss": np.linspace(3, 2, 10)}
    parquet.write_table(pa.table(columns), tmp_path / "x.parquet")
    assert len(read_trace(tmp_path / "x.parquet")) == 10


def test_a_table_of_runs_that_fills_the_memory_is_refused_unread(tmp_path: Path) -> None:
    table = pa.table({name: np.zeros(50_000) for name in ("step", "loss")})
    parquet.write_table(table, tmp_path / "y.parquet")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("slr_models.memory.memory_bytes", lambda: 2**20)
        with pytest.raises(UserError, match="the 50000 rows of .* more than half of the 0.00105 GB"):
            read_trace(tmp_path / "y.parquet")
