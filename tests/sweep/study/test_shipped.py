"""Studies that come with this program: by name from any folder, in a checkout and where it is installed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from slr_models.errors import SettingError
from sweep.study import load
from sweep.study.shipped import shipped, study_file

ROOT = Path(__file__).parents[3]


def test_each_has_a_question_a_time_and_what_its_trainings_run() -> None:
    every = shipped()
    assert {path.stem for path in (ROOT / "studies").glob("*.yaml")} <= every.keys()
    for study in every.values():
        assert 20 < len(study.question) < 120 and 8 < len(study.time) < 60, study.name
    assert every["smoke"].time == "about a minute"
    assert [path.name for path in every["own/digits"].files()] == ["digits.yaml", "digits.py"]
    assert [path.name for path in every["own/descent"].files()] == ["descent.yaml", "descent.sh"]


def test_a_file_wins_over_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert study_file(Path("smoke")) == ROOT / "studies" / "smoke.yaml"
    assert study_file(Path("own/digits")) == ROOT / "studies" / "own" / "digits.yaml"
    Path("smoke").mkdir()
    assert study_file(Path("smoke")) == ROOT / "studies" / "smoke.yaml", "results may lie in a folder of that name"
    Path("smoke.yaml").touch()
    assert study_file(Path("smoke")) == Path("smoke.yaml")
    Path("overfit").touch()
    assert study_file(Path("overfit")) == Path("overfit")
    assert study_file(Path("missing.yaml")) == Path("missing.yaml"), "told of where it is read"
    with pytest.raises(SettingError, match=r"teacher_stabilty is neither a file .* did you mean teacher_stability"):
        study_file(Path("teacher_stabilty"))


def test_what_lies_beside_a_study_is_found_from_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    script = ROOT / "studies" / "own" / "descent.sh"
    trial = load(study_file(Path("own/descent"))).study.own
    assert trial.run == ("bash", str(script), "{lr}", "{curvature}", "{seed}", "{steps}")
    Path("descent.sh").touch()
    assert load(study_file(Path("own/descent"))).study.own.run.startswith("bash descent.sh")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds this program as its wheel installs it."""
    folder = tmp_path_factory.mktemp("installed")
    pip = [sys.executable, "-m", "pip", "-q", "--disable-pip-version-check"]
    built = folder / "build"
    built.mkdir()
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE", "sweep", "slr_models", "studies"):
        # Not in the checkout: a build leaves folders behind.
        (built / name).symlink_to(ROOT / name)
    wheel = [*pip, "wheel", "--no-deps", "--no-build-isolation", "-w", str(folder), str(built)]
    done = subprocess.run(wheel, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (wheel_file,) = folder.glob("*.whl")
    target = folder / "site-packages"
    subprocess.run([*pip, "install", "--no-deps", "--target", str(target), str(wheel_file)], check=True)
    return target


@pytest.mark.slow
@pytest.mark.parametrize("name", ["smoke", "own/digits", "own/descent"])
def test_a_wheel_runs_them_from_an_empty_folder(name: str, installed: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    command = [sys.executable, str(installed / "bin" / "slr-sweep"), "check", name]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0 and "nothing wrong found" in done.stdout, done.stderr
    if name == "own/digits":
        assert str(installed / "sweep" / "shipped" / "own" / "digits.py") in done.stdout
    assert list(tmp_path.iterdir()) == []
