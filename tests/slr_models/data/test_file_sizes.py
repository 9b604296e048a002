"""Files that take far more memory than disk are refused before they are unpacked, whatever their headers say."""

import io
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from slr_models.data import ClipsConfig, LandmarksConfig, SyntheticConfig
from slr_models.data.features_file import FeatureReader
from slr_models.data.reading import csv_lines
from slr_models.errors import DataError, UserError

SMALL_GB = 0.001
TOO_LARGE = r"takes .* GB of memory, more than max_file_gb: 0\.001 allows; .* else raise max_file_gb"


def header(shape: tuple[int, ...], dtype: str = "<f4") -> bytes:
    """The header of a .npy file."""
    file = io.BytesIO()
    np.lib.format.write_array_header_2_0(file, {"descr": dtype, "fortran_order": False, "shape": shape})
    return file.getvalue()


def packed(path: Path, content: bytes, method: int = zipfile.ZIP_DEFLATED) -> None:
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("features.npy", content)


def of_zeros(path: Path) -> None:
    np.savez_compressed(path, features=np.zeros((100_000, 6), dtype=np.float32))


def of_bytes(path: Path) -> None:
    np.savez_compressed(path, features=np.zeros((50_000, 6), dtype=np.uint8))


def that_claims_more(path: Path) -> None:
    packed(path, header((10**9, 10**6)) + bytes(24))


def array_that_claims_more(path: Path) -> None:
    path.write_bytes(header((10**9, 10**6)) + bytes(24))


def table_of_runs(path: Path) -> None:
    column = pa.array(np.zeros(100_000, dtype=np.float32))
    parquet.write_table(pa.table({name: column for name in "abcdef"}), path, compression="zstd")


def sparse_pose(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(2**31)


@pytest.mark.parametrize(
    ("make", "suffix"),
    [
        (of_zeros, ".npz"),
        (of_bytes, ".npz"),
        (that_claims_more, ".npz"),
        (array_that_claims_more, ".npy"),
        (table_of_runs, ".parquet"),
        (sparse_pose, ".pose"),
    ],
)
def test_what_takes_too_much_memory_names_the_setting(
    make: Callable[[Path], None], suffix: str, tmp_path: Path
) -> None:
    path = tmp_path / f"bomb{suffix}"
    make(path)
    with pytest.raises(DataError, match=TOO_LARGE):
        FeatureReader(SMALL_GB).read(path, None)


@pytest.mark.parametrize("make", [of_zeros, table_of_runs])
def test_a_study_can_raise_the_limit(make: Callable[[Path], None], tmp_path: Path) -> None:
    path = tmp_path / ("bomb.npz" if make is of_zeros else "bomb.parquet")
    make(path)
    assert FeatureReader(0.01).read(path, None).values.shape == (100_000, 6)
    lines = ["id,path,labels,signer,split", f"a,{path.name},A,x,train", f"b,{path.name},A,x,dev"]
    (tmp_path / "manifest.csv").write_text("\n".join(lines))
    with pytest.raises(DataError, match=f"line 2: .*{TOO_LARGE}, or set on_bad: exclude"):
        LandmarksConfig(path=str(tmp_path), max_file_gb=SMALL_GB).build()
    assert len(LandmarksConfig(path=str(tmp_path), max_file_gb=0.01).build().train) == 1


def test_sixteen_hundred_megabytes_in_a_small_file_are_refused_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "bomb.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        with archive.open("features.npy", "w", force_zip64=True) as file:
            file.write(header((400_000_000 // 64, 64)))
            # What follows is never read: the entry's own header says how much there is.
            file.write(bytes(2**20))
    with pytest.raises(DataError, match=r"takes 1\.6 GB of memory, more than max_file_gb: 1\.5 allows"):
        FeatureReader().read(path, None)


@pytest.mark.parametrize("where", ["in the directory", "in the array"])
def test_headers_that_claim_less_than_there_is_unpack_no_more(where: str, tmp_path: Path) -> None:
    path = tmp_path / "lie.npz"
    packed(path, header((10, 6)) + bytes(50_000_000))
    content = bytearray(path.read_bytes())
    if where == "in the directory":
        place = content.index(b"PK\x01\x02")
        struct.pack_into("<I", content, place + 24, 400)
        path.write_bytes(content)
        with pytest.raises(DataError, match="cannot be read"):
            FeatureReader(SMALL_GB).read(path, None)
    else:
        with pytest.raises(DataError, match=TOO_LARGE):
            FeatureReader(SMALL_GB).read(path, None)


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_packing_without_bounds_is_refused(method: int, tmp_path: Path) -> None:
    packed(tmp_path / "x.npz", header((10, 6)) + bytes(240), method)
    with pytest.raises(DataError, match="is packed as NumPy packs nothing; save it with np.savez_compressed"):
        FeatureReader().read(tmp_path / "x.npz", None)


@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_pickles_are_never_loaded(suffix: str, tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[Callable[..., None], tuple[str]]:
            return Path.touch, (tmp_path / "ran",)  # type: ignore[return-value]

    objects = np.array([[Bomb()]], dtype=object)
    path = tmp_path / f"x{suffix}"
    np.save(path, objects) if suffix == ".npy" else np.savez(path, features=objects)
    with pytest.raises(DataError, match="pickled Python objects .* never loaded"):
        FeatureReader().read(path, None)
    assert not (tmp_path / "ran").exists()


def test_clips_have_the_same_limit(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("label,signer,split,all_missing\nA,x,train,0\n")
    landmarks, present = np.zeros((1, 5000, 67, 3), dtype=np.float16), np.zeros((1, 5000, 3), dtype=np.uint8)
    np.savez_compressed(tmp_path / "clips.npz", landmarks=landmarks, present=present)
    with pytest.raises(DataError, match=TOO_LARGE):
        ClipsConfig(path=str(tmp_path), max_file_gb=SMALL_GB).build()


def test_a_list_without_ends_of_lines_is_not_read_into_memory(tmp_path: Path) -> None:
    path = tmp_path / "manifest.csv"
    with path.open("wb") as file:
        file.write(b"id,path\n")
        file.truncate(2**33)
    with pytest.raises(DataError, match="manifest.csv line 2 has more than 1048576 characters"):
        list(csv_lines(path))


def test_made_up_data_that_fill_the_memory_are_refused_before_they_are_made() -> None:
    config = SyntheticConfig(num_train=1_000_000, max_labels=10_000, frames_per_label=10_000, num_features=10_000)
    with pytest.raises(
        UserError, match="made-up utterances take about .* GB of memory, more than half of the .*; lower"
    ):
        config.build()
