"""Feature files and lists that nobody wrote: made of sound ones by chance. They are read, or told of in a DataError."""

import io
from collections.abc import Callable
from importlib import util
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from slr_models.data import ClipsConfig, LandmarksConfig
from slr_models.data.features_file import FeatureReader
from slr_models.data.lexicon import find_lexicon, read_index
from slr_models.errors import DataError, UserError

# The same examples each time, unless more of them are asked for by a profile.
FUZZ = settings(
    derandomize=settings.default.max_examples <= 100,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
FEATURES = np.random.default_rng(0).standard_normal((20, 6)).astype(np.float32)


def written(write: Callable[[io.BytesIO], object]) -> bytes:
    file = io.BytesIO()
    write(file)
    return file.getvalue()


def table(compression: str) -> bytes:
    columns = {f"x_left_hand_{k}": FEATURES[:, k] for k in range(6)}
    rows = pa.table({**columns, "frame": np.arange(20), "sequence_id": np.zeros(20, dtype=np.int64)})
    return written(lambda file: parquet.write_table(rows, file, compression=compression))


SEEDS: dict[str, bytes] = {
    "x.npy": written(lambda file: np.save(file, FEATURES)),
    "x.npz": written(lambda file: np.savez(file, features=FEATURES, other=FEATURES[0])),
    "y.npz": written(lambda file: np.savez_compressed(file, features=FEATURES)),
    "x.parquet": table("none"),
    "y.parquet": table("zstd"),
}
if util.find_spec("spoken_to_signed") is not None and util.find_spec("pose_format") is not None:
    SEEDS["x.pose"] = find_lexicon().letters("ase")["A"].read_bytes()
PIECES = st.binary(max_size=8) | st.sampled_from(
    [b"\xff" * 4, b"\0" * 8, b"\x7f\xff\xff\xff", b"|O", b"'<f4'", b"(10,", b"{", b"PK\x01\x02", b"PAR1", b"9" * 200]
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("features")


def changed(content: bytes, data: st.DataObject) -> bytes:
    """A file with up to four pieces of it replaced; most of them near its ends, where headers are."""
    near = min(400, len(content))
    places = st.integers(0, near) | st.integers(len(content) - near, len(content)) | st.integers(0, len(content))
    for _ in range(data.draw(st.integers(1, 4))):
        start, piece = data.draw(places), data.draw(PIECES)
        # Most of all in place, as offsets in a file would else be wrong wherever they point.
        length = data.draw(st.sampled_from([len(piece), len(piece), 0, 30]))
        content = content[:start] + piece + content[start + length :]
    return content if data.draw(st.integers(0, 9)) else content[: data.draw(st.integers(0, len(content)))]


@pytest.mark.parametrize("name", SEEDS)
@FUZZ
@given(data=st.data())
def test_a_feature_file_with_pieces_of_it_changed(name: str, data: st.DataObject, folder: Path) -> None:
    path = folder / name
    path.write_bytes(changed(SEEDS[name], data))
    try:
        block = FeatureReader(0.01).read(path, data.draw(st.sampled_from([None, 0])))
        assert block.values.ndim == 2 and block.values.dtype == np.float32
    except DataError as error:
        assert path.name in str(error)


@FUZZ
@given(st.sampled_from(sorted(SEEDS)), st.binary(max_size=300))
def test_any_content_of_a_feature_file(folder: Path, name: str, content: bytes) -> None:
    path = folder / name
    path.write_bytes(content)
    with pytest.raises(DataError, match=path.name):
        FeatureReader().read(path, None)


ROWS = {
    "manifest.csv": "id,path,labels,signer,split\na,x.npy,A B,s,train\nb,x.npy,B,t,dev\n",
    "x.train.corpus.csv": "id|folder|signer|annotation\nx|x|s|A B\n",
    "train.csv": "path,sequence_id,phrase,participant_id\nx.parquet,0,ab,1\nx.parquet,0,b,2\n",
}


@pytest.mark.parametrize("name", ROWS)
@FUZZ
@given(data=st.data())
def test_a_list_of_utterances_with_pieces_of_it_changed(name: str, data: st.DataObject, folder: Path) -> None:
    place = folder / name.partition(".")[0]
    (place / "features").mkdir(parents=True, exist_ok=True)
    for kind in ("x.npy", "x.parquet"):
        (place / kind).write_bytes(SEEDS[kind])
        (place / "features" / kind).write_bytes(SEEDS[kind])
    (place / "x.dev.corpus.csv").write_text(ROWS["x.train.corpus.csv"])
    content = changed(ROWS[name].encode(), data)
    for _ in range(data.draw(st.integers(0, 2))):
        start = data.draw(st.integers(0, len(content)))
        content = (
            content[:start]
            + data.draw(st.sampled_from([b'"', b",", b"|", b"\n", b"/", b"..", b"\xef"]))
            + content[start:]
        )
    (place / name).write_bytes(content)
    try:
        LandmarksConfig(path=str(place), on_bad=data.draw(st.sampled_from(["error", "exclude"]))).build()
    except UserError as error:
        assert "\n" not in str(error).replace("\\n", "")


CLIPS = {
    "labels.csv": b"label,signer,split,all_missing\n" + b"A,s,train,0\nB,s,train,0\nA,s,valid,0\nB,s,valid,0\n",
    "clips.npz": written(
        lambda file: np.savez_compressed(
            file,
            landmarks=np.random.default_rng(1).random((4, 5, 67, 3)).astype(np.float16),
            present=np.ones((4, 5, 3), dtype=np.uint8),
        )
    ),
}


@pytest.mark.parametrize("name", CLIPS)
@FUZZ
@given(data=st.data())
def test_a_folder_of_clips_with_pieces_of_it_changed(name: str, data: st.DataObject, folder: Path) -> None:
    for one, content in CLIPS.items():
        (folder / one).write_bytes(changed(content, data) if one == name else content)
    try:
        ClipsConfig(path=str(folder), num_train=2, num_valid=2, max_file_gb=0.01).build()
    except UserError as error:
        assert "\n" not in str(error).replace("\\n", "")


@FUZZ
@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_any_index_of_letters(folder: Path, content: bytes) -> None:
    path = folder / "index.csv"
    path.write_bytes(content)
    with pytest.raises(DataError):
        read_index(path, "1")
