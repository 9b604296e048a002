"""A store in memory, for tests of what is kept on one."""

from pathlib import Path
from typing import Any

import pytest

from sweep.store.remote.address import StoreAddress
from sweep.store.remote.objects import ObjectStore


@pytest.fixture
def store() -> Any:
    return pytest.importorskip("obstore.store").MemoryStore()


@pytest.fixture
def objects(store: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ObjectStore:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return ObjectStore(StoreAddress("s3", "bucket", "of/tests"), store)
