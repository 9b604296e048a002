"""Files of others that are called as a package of this program: told before anything is trained, with what to do."""

from pathlib import Path

import pytest

import sweep
from slr_models.errors import SettingError
from sweep.__main__ import main
from sweep.running.namesakes import check_names

SMOKE = Path(__file__).parents[3] / "studies" / "smoke.yaml"


@pytest.mark.parametrize("name", ["sweep.py", "slr_models.py", "sweep/__init__.py"])
def test_a_file_in_the_working_folder_is_told_in_a_line(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = tmp_path / name
    mine.parent.mkdir(exist_ok=True)
    mine.write_text("raise AssertionError('this is run')\n")
    monkeypatch.chdir(tmp_path)
    assert main(["run", str(SMOKE), "--dry-run"]) == 2
    told = capsys.readouterr().err
    assert told.startswith(f"error: {mine} has the name of a package of this program") and told.count("\n") == 1
    assert "rename it, or start the study from another folder" in told
    assert not (tmp_path / "results").exists()


def test_this_program_itself_is_no_namesake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = Path(sweep.__file__).parents[1]
    monkeypatch.syspath_prepend(str(root))
    (tmp_path / "link").symlink_to(root)
    (tmp_path / "data" / "sweep").mkdir(parents=True)
    # A folder without code is no package as long as there is one on the path.
    for folder in (root, tmp_path, tmp_path / "link", tmp_path / "data"):
        monkeypatch.chdir(folder)
        check_names()


def test_it_is_told_from_wherever_on_the_path_it_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "sweep.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path / "lib"))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SettingError, match="lib/sweep.py has the name"):
        check_names()


def test_another_package_that_was_installed_over_this_one_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        "importlib.metadata.packages_distributions", lambda: {"sweep": ["slr-stability-sweep", "sweep"]}
    )
    assert main(["grafana"]) == 0 and capsys.readouterr().out
    monkeypatch.delattr(sweep, "__all__")
    assert main(["grafana"]) == 3
    told = capsys.readouterr()
    assert told.out == "" and told.err.count("\n") == 1 and "pip uninstall sweep, then pip install" in told.err
