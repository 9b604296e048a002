"""Where results go: folders that every system takes, and what is told in a line before anything is read or written."""

import os
import shutil
import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest
import yaml

from sweep.run import main
from sweep.run.place import LONGEST_INSIDE, check_place, portable, results_dir

STUDY = "studies/smoke.yaml"


@pytest.mark.parametrize(
    ("name", "folder"),
    [
        ("smoke", "smoke"),
        ("größe 日本 🎉 עברית", "größe 日本 🎉 עברית"),
        ("100% 'sure' #1", "100% 'sure' #1"),
        ('a:b|c*<d> "e"?', "a_b_c__d_ _e__"),
        ("ends in a dot.", "ends in a dot_"),
        ("ends in spaces  ", "ends in spaces_"),
        ("...", "_"),
        ("CON", "CON_"),
        ("nul.txt", "nul_.txt"),
        ("com1", "com1_"),
        ("COM\u00b9", "COM\u00b9_"),
        ("lpt\u00b3.log", "lpt\u00b3_.log"),
        ("CONIN$", "CONIN$_"),
        ("conout$.txt", "conout$_.txt"),
        ("conin", "conin"),
        ("console", "console"),
        ("com10", "com10"),
    ],
)
def test_a_folder_has_a_name_that_every_system_takes(name: str, folder: str) -> None:
    assert portable(name) == folder == portable(folder), "and the name of a folder is its own"


def test_two_spellings_of_a_letter_are_one_folder(tmp_path: Path) -> None:
    composed, parts = (unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))
    assert composed != parts
    assert results_dir(tmp_path, composed) == results_dir(tmp_path, parts) == tmp_path / composed
    (tmp_path / parts).mkdir()
    assert results_dir(tmp_path, composed) == results_dir(tmp_path, parts) == tmp_path / parts, "what is there stays"


def test_a_folder_of_an_earlier_version_is_gone_on_with(tmp_path: Path) -> None:
    (tmp_path / "a: b?").mkdir()
    (tmp_path / "a_ b_").mkdir()
    assert results_dir(tmp_path, "a: b?") == tmp_path / "a: b?"


def fails(capsys: pytest.CaptureFixture[str], *arguments: str | Path, code: int = 3) -> str:
    """Runs the smoke study, which has to fail at once; returns what it says."""
    assert main([STUDY, *map(str, arguments)]) == code
    told = capsys.readouterr()
    assert told.out == "", "nothing was read before"
    assert told.err.startswith("error: ") and told.err.count("\n") == 1
    return told.err


def test_what_is_in_the_way_of_the_results_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("precious")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("nowhere")
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "smoke").write_text("precious")
    before = sorted(tmp_path.rglob("*"))
    assert f"{tmp_path}/file is a file, but results go to a folder" in fails(capsys, "--results", tmp_path / "file")
    assert f"{tmp_path}/file is a file" in fails(capsys, "--results", tmp_path / "file" / "a" / "b")
    assert f"{tmp_path}/pipe is a pipe or a device" in fails(capsys, "--results", tmp_path / "pipe")
    assert "is a link to nowhere, which does not exist" in fails(capsys, "--results", tmp_path / "link")
    assert "is a link to nowhere, which does not exist" in fails(capsys, "--results", tmp_path / "link" / "a")
    assert f"{tmp_path}/taken/smoke is a file" in fails(capsys, "--results", tmp_path / "taken")
    assert "is a file" in fails(capsys, "--results", tmp_path / "file", "--dry-run")
    assert sorted(tmp_path.rglob("*")) == before and (tmp_path / "file").read_text() == "precious"


def test_names_are_measured_in_bytes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = fails(capsys, "--results", tmp_path, "--set", f"name={'日' * 100}")
    assert "the study's `name` makes a folder name of 300 bytes, but 255 are the most here" in told
    told = fails(capsys, "--results", tmp_path / ("x" * 256) / "y")
    assert "--results makes a folder name of 256 bytes" in told
    deep = tmp_path.joinpath(*["x" * 200] * 19)
    assert f"but {4096 - LONGEST_INSIDE} are the most: shorten --results" in fails(capsys, "--results", deep)
    assert not list(tmp_path.iterdir())
    check_place(tmp_path / ("日" * 85), writes=True)


def test_an_address_is_no_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(Path(__file__).parents[3] / "studies", tmp_path / "studies")
    for address in ("hdfs://node:8020/results", "ftp://host", "HTTPS://bucket/x"):
        assert "is an address, but files are read and written by paths" in fails(capsys, "--results", address, code=2)
    assert fails(capsys, "--results", "file:///srv/results", code=2).endswith("give /srv/results\n")
    for address in ("gs:b/x", "hdfs:results", "s3:"):
        assert f"{address} looks like an address" in fails(capsys, "--results", address, code=2)
    assert fails(capsys, "--results", "file:results", code=2).endswith("give results\n")
    for nothing in ("", " "):
        assert "--results is empty: give a folder" in fails(capsys, "--results", nothing, code=2)
    assert [path.name for path in tmp_path.iterdir()] == ["studies"]


WITH_MOUNT = 'mount -t tmpfs -o {options} none "$0" && {then} exec "$@"'


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "then", "problem"),
    [
        ("size=64k", "", "No space left on device"),
        ("size=16m", 'mount -o remount,ro none "$0" &&', "Read-only file system"),
    ],
)
def test_a_disk_that_takes_nothing_is_told_at_once(tmp_path: Path, options: str, then: str, problem: str) -> None:
    script = WITH_MOUNT.format(options=options, then=then)
    probe = subprocess.run(["unshare", "-rm", "sh", "-c", script, str(tmp_path), "true"], capture_output=True)
    if probe.returncode:
        pytest.skip("nothing can be mounted here")
    command = [sys.executable, "-m", "sweep.run", STUDY, "--results", str(tmp_path / "new")]
    shell = ["unshare", "-rm", "sh", "-c", script + "; ", str(tmp_path), *command]
    done = subprocess.run(shell, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr == (
        f"error: {tmp_path}/new/smoke: results cannot be written there ({problem}): give --results another folder\n"
    )


@pytest.mark.slow
def test_a_folder_s_letter_that_the_locale_lacks_is_told(tmp_path: Path) -> None:
    content = yaml.safe_load(Path(STUDY).read_text(encoding="utf-8"))
    (tmp_path / "s.yaml").write_text(yaml.safe_dump(content | {"name": "größe"}, allow_unicode=True), encoding="utf-8")
    ascii_only = {**os.environ, "PYTHONUTF8": "0", "LC_ALL": "C", "PYTHONIOENCODING": "ascii"}

    command = [sys.executable, "-m", "sweep.run", str(tmp_path / "s.yaml"), "--results", str(tmp_path / "r")]
    refused = subprocess.run(command, capture_output=True, text=True, timeout=120, env=ascii_only)
    assert (refused.returncode, refused.stdout) == (3, "")
    assert "gr\\xf6\\xdfe': names of files are in ascii here" in refused.stderr and refused.stderr.count("\n") == 1
    assert not (tmp_path / "r").exists()
