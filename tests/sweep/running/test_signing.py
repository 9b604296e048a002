"""A user's own key, and what its signatures hold for."""

import os
import sys
from pathlib import Path

import pytest

from slr_models.errors import ResultsError
from sweep import store
from sweep.running.signing import check_trusted, sign
from sweep.running.user_key import KEY_FILE
from sweep.study import load, load_stored, stored
from sweep.study.code import named_by

STUDY = """
name: s
model: {kind: baseline, width: 0.0625}
data: {kind: custom, factory: "signed_data:make", options: {size: 1.0e-5, word: "1e-4", "n": null}}
budget: {trials: 2, steps: 60}
"""
NAMES = ("signed_data:make",)
POSIX = pytest.mark.skipif(os.name != "posix", reason="files have no owner and no mode")


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    """Where this user's settings are; nothing is there yet."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("APPDATA", str(tmp_path / "config"))
    return tmp_path / "config" / "slr-sweep"


@pytest.fixture
def results(home, tmp_path, monkeypatch) -> Path:
    """A results folder with the study.yaml that a run writes, not signed yet."""
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "signed_data.py").write_text("def make(size):\n    return size\n")
    monkeypatch.syspath_prepend(tmp_path / "code")
    (tmp_path / "s.yaml").write_text(STUDY)
    study = load(tmp_path / "s.yaml").study
    store.write_yaml(tmp_path / "results" / "study.yaml", {**stored(study), "provenance": {"num_lanes": 2}})
    assert tuple(named_by(study)) == NAMES
    return tmp_path / "results"


def distrust(results: Path) -> str:
    """Why a folder's code is not run; empty where it is."""
    try:
        check_trusted(results, load_stored(results / "study.yaml"), NAMES)
    except ResultsError as error:
        return str(error)
    return ""


def change(results: Path, **sections: object) -> None:
    store.write_yaml(results / "study.yaml", {**store.read_study(results), **sections})


def test_what_a_run_signed_is_trusted_and_the_rest_of_the_provenance_is_kept(results, home) -> None:
    assert "no run of yours has signed it" in distrust(results)
    assert sign(results, NAMES) is None
    assert distrust(results) == ""
    made = store.read_study(results)["provenance"]
    assert made["num_lanes"] == 2 and made["code"]["names"] == list(NAMES)
    change(results, description="not what decides which code runs", confirm={"settings": 0})
    assert distrust(results) == ""


def test_a_study_without_code_needs_no_key(results, home) -> None:
    assert sign(results, ()) is None
    assert not home.exists() and "code" not in store.read_study(results)["provenance"]
    check_trusted(results, load_stored(results / "study.yaml"), ())


@pytest.mark.parametrize(
    "sections",
    [
        {"data": {"kind": "custom", "factory": "signed_data:make", "options": {"size": 2.0}}},
        {"data": {"kind": "custom", "factory": "signed_data:other"}},
        {"model": {"kind": "custom", "factory": "signed_data:make", "output_stride": 4}},
        {"space": {"model.width": {"choice": [0.0625, 0.125]}}},
    ],
)
def test_another_study_is_not_what_was_signed(results, sections) -> None:
    sign(results, NAMES)
    change(results, **sections)
    assert "its signature is not yours, or study.yaml or a file of that code has changed" in distrust(results)


def test_other_code_is_not_what_was_signed(results, tmp_path, monkeypatch) -> None:
    sign(results, NAMES)
    code = tmp_path / "code" / "signed_data.py"
    before = code.read_text()
    code.write_text(before + "import os\n")
    assert "has changed since your run" in distrust(results)
    code.write_text(before)
    assert distrust(results) == ""
    # A folder that brings a file of the same name, with the same content, to which others may belong.
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "signed_data.py").write_text(before)
    monkeypatch.syspath_prepend(tmp_path / "elsewhere")
    assert f"signed_data ({tmp_path / 'elsewhere' / 'signed_data.py'})" in distrust(results)
    assert "signed_data" not in sys.modules, "nothing was imported to find out"


def test_code_that_is_nowhere_is_neither_signed_nor_trusted(results, tmp_path) -> None:
    sign(results, NAMES)
    (tmp_path / "code" / "signed_data.py").unlink()
    assert "signed_data:make is in no file that is found here" in distrust(results)
    assert sign(results, NAMES) == "signed_data:make is in no file that is found here"
    assert "signature" not in store.read_study(results)["provenance"]["code"]


@pytest.mark.parametrize("record", [None, 3, [], {}, {"signature": 3}, {"signature": ""}, {"signature": "\u00e9"}])
def test_whatever_stands_in_place_of_a_signature_is_none(results, home, record) -> None:
    sign(results, NAMES)
    change(results, provenance={"code": record})
    assert "repeat the command with --trust" in distrust(results)


def test_a_signature_of_another_user_is_none(results, home) -> None:
    sign(results, NAMES)
    (home / KEY_FILE).write_bytes(bytes(32))
    assert "its signature is not yours" in distrust(results)
    (home / KEY_FILE).unlink()
    assert f"there is no {home / KEY_FILE}" in distrust(results)
    assert not (home / KEY_FILE).exists(), "a key is made by a run alone"


@POSIX
def test_the_key_is_for_its_user_alone(results, home) -> None:
    before = os.umask(0)
    try:
        sign(results, NAMES)
    finally:
        os.umask(before)
    assert (home.stat().st_mode & 0o777, (home / KEY_FILE).stat().st_mode & 0o777) == (0o700, 0o600)
    assert [path.name for path in home.iterdir()] == [KEY_FILE]
    key = (home / KEY_FILE).read_bytes()
    assert len(key) == 32 and len(set(key)) > 8
    sign(results, NAMES)
    assert (home / KEY_FILE).read_bytes() == key, "made once"


@POSIX
@pytest.mark.parametrize(("name", "mode"), [(KEY_FILE, 0o640), (KEY_FILE, 0o604), (KEY_FILE, 0o620), ("", 0o770)])
def test_a_key_that_others_can_reach_signs_and_proves_nothing(results, home, name, mode) -> None:
    sign(results, NAMES)
    (home / name).chmod(mode)
    said = f"{home / name if name else home} is open to others (mode {mode:04o})"
    assert said in distrust(results)
    assert said in (sign(results, NAMES) or "")
    assert "signature" not in store.read_study(results)["provenance"]["code"]


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="only root gives files away")
@pytest.mark.parametrize("name", [KEY_FILE, ""])
def test_a_key_of_another_owner_is_refused(results, home, name) -> None:
    sign(results, NAMES)
    os.chown(home / name, 12345, 12345)
    assert "is another user's" in distrust(results)
    assert "is another user's" in (sign(results, NAMES) or "")


@pytest.mark.parametrize("content", [b"", b"short", bytes(33)])
def test_a_damaged_key_is_told(results, home, content) -> None:
    sign(results, NAMES)
    (home / KEY_FILE).write_bytes(content)
    assert "is damaged: delete it" in distrust(results) and "is damaged" in (sign(results, NAMES) or "")


def test_a_run_without_a_home_goes_on_without_a_signature(results, home, monkeypatch) -> None:
    home.parent.write_text("a file, where a folder should be")
    assert "your signing key cannot be had" in (sign(results, NAMES) or "")
    assert "no run of yours has signed it" in distrust(results)
    for name in ("XDG_CONFIG_HOME", "APPDATA"):
        monkeypatch.setenv(name, "relative")
    monkeypatch.setattr(Path, "home", lambda: (_ for _ in ()).throw(RuntimeError("Could not determine home")))
    assert sign(results, NAMES) == "your signing key cannot be had (Could not determine home)"
