"""What people install: the source distribution, the wheel made of it, and its commands in an empty folder."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("sweep", "slr_models")
IMPORT_ALL = """
import importlib, json, pkgutil, sys
import slr_models, sweep

for name in sweep.__all__:
    getattr(sweep, name)
missing = []
for package in (slr_models, sweep):
    for found in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        if found.name.rpartition(".")[2] == "__main__":
            continue
        try:
            importlib.import_module(found.name)
        except ModuleNotFoundError as error:
            missing.append(error.name)
print(json.dumps({"files": [sweep.__file__, slr_models.__file__], "missing": sorted(set(missing))}))
"""
EXTRAS = {"transformers", "accelerate", "lightning", "pytorch_lightning", "keras"}
"""What modules import that are made for a library of the user's choice."""


def shell(*arguments: str | Path, cwd: Path, site: Path | None = None) -> str:
    """What a command prints; `site` comes before what is installed."""
    environment = {**os.environ, "PYTHONPATH": "" if site is None else str(site), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(arguments, cwd=cwd, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, made of the source distribution alone, as an installer makes it."""
    folder = tmp_path_factory.mktemp("made")
    source = folder / "source"
    parts = ("pyproject.toml", "setup.py", "README.md", "LICENSE", "studies", *PACKAGES)
    for name in parts:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        source.mkdir(exist_ok=True)
        copy(ROOT / name, source / name)
    build = "import sys; from setuptools import build_meta; print(build_meta.build_{}(sys.argv[1]))"
    name = shell(sys.executable, "-c", build.format("sdist"), folder, cwd=source).split()[-1]
    shutil.unpack_archive(folder / name, folder / "unpacked", filter="data")
    (unpacked,) = (folder / "unpacked").iterdir()
    return folder / shell(sys.executable, "-c", build.format("wheel"), folder, cwd=unpacked).split()[-1]


@pytest.mark.long
def test_the_wheel_holds_every_file_of_the_packages(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if ".dist-info/" not in name}
        (license_file,) = (name for name in archive.namelist() if name.endswith("LICENSE"))
    places = {"sweep": "sweep", "slr_models": "slr_models", "studies": "sweep/shipped"}
    files = ((folder, path) for folder in places for path in (ROOT / folder).rglob("*") if path.is_file())
    assert packed == {
        f"{places[folder]}/{path.relative_to(ROOT / folder).as_posix()}"
        for folder, path in files
        if "__pycache__" not in path.parts
    }
    assert license_file.endswith(".dist-info/licenses/LICENSE")


@pytest.mark.long
def test_what_is_installed_runs_in_an_empty_folder(wheel: Path, tmp_path: Path) -> None:
    site, empty = tmp_path / "site", tmp_path / "empty"
    empty.mkdir()
    pip = (sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", site, wheel)
    shell(*pip, cwd=empty)
    command = site / "bin" / "slr-sweep"
    version = wheel.name.split("-")[1]
    assert shell(command, "--version", cwd=empty, site=site) == f"slr-stability-sweep {version}\n"
    schema = json.loads(shell(command, "schema", cwd=empty, site=site))
    assert schema == json.loads((ROOT / "studies" / "study.schema.json").read_text(encoding="utf-8"))
    shutil.copy(ROOT / "studies" / "smoke.yaml", empty)
    assert "smoke" in shell(command, "check", "smoke.yaml", cwd=empty, site=site)
    found = json.loads(shell(sys.executable, "-c", IMPORT_ALL, cwd=empty, site=site).splitlines()[-1])
    assert all(Path(file).is_relative_to(site) for file in found["files"])
    assert set(found["missing"]) <= EXTRAS
    assert [path.name for path in empty.iterdir()] == ["smoke.yaml"], "nothing is left behind"
