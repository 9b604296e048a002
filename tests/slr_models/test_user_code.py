"""What a name in a file may lead to: decided before anything of it is imported."""

import importlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from slr_models.errors import SettingError
from slr_models.user_code import files_of, imported, look_in, refusal

MARKING = "import pathlib\npathlib.Path(__file__).with_name('ran').touch()\n"
MAKE = "def make():\n    return 3\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of the user's on Python's path; what is imported from it is forgotten at the end."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", None)).startswith(str(tmp_path)):
            del sys.modules[name]


def written(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    importlib.invalidate_caches()


@pytest.mark.parametrize(
    "factory",
    [
        "os:system",
        "os.path:join",
        "posix:system",
        "subprocess:run",
        "builtins:exec",
        "_io:open",
        "zipimport:zipimporter",
        "pickle:loads",
        "antigravity:fly",
        "idlelib.idle:main",
        "test.support.os_helper:rmtree",
        "__main__:main",
        "__hello__:main",
    ],
)
def test_python_itself_is_never_named(factory: str) -> None:
    assert refusal(factory) == f"{factory.split(':')[0].split('.')[0]} is part of Python"
    with pytest.raises(SettingError, match=rf"data.factory '{factory}' must not be used: .* is part of Python"):
        imported(factory, "data.factory")
    assert "antigravity" not in sys.modules


@pytest.mark.parametrize("factory", ["sweep.store:write_text", "slr_models.data.words:read", "sweep:load"])
def test_nor_is_this_program(factory: str) -> None:
    assert refusal(factory) == f"{factory.split(':')[0].split('.')[0]} is part of this program"


@pytest.mark.parametrize("factory", ["torch:load", "numpy:load", "ray:init", "yaml:unsafe_load", "pytest:main"])
def test_nor_is_what_else_is_installed(factory: str) -> None:
    assert "is an installed package that does not require slr-stability-sweep" in (refusal(factory) or "")


@pytest.mark.parametrize("where", ["site-packages", "dist-packages", "target"])
@pytest.mark.parametrize("factory", ["some_package:make", "some_package.data:make"])
def test_what_is_installed_is_not_imported_to_be_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch, where: str, factory: str
) -> None:
    place = folder / where
    written(place, {"some_package/__init__.py": MARKING + MAKE, "some_package/data.py": MARKING + MAKE})
    # `pip install --target` leaves this in any folder.
    written(place, {"some_package-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: some-package\nVersion: 1.0\n"})
    monkeypatch.syspath_prepend(place)
    with pytest.raises(SettingError, match="some_package is an installed package that does not require"):
        imported(factory, "data.factory")
    assert not (place / "some_package" / "ran").exists() and "some_package" not in sys.modules


@pytest.mark.parametrize("requirement", ["slr-stability-sweep", "SLR_Stability.Sweep[beam]>=0.1; python_version > '3'"])
def test_an_installed_package_that_is_made_for_this_program_may_be_named(
    folder: Path, monkeypatch: pytest.MonkeyPatch, requirement: str
) -> None:
    place = folder / "site-packages"
    about = f"Metadata-Version: 2.1\nName: made-for-it\nVersion: 1.0\nRequires-Dist: {requirement}\n"
    written(place, {"made_for_it.py": MAKE, "made_for_it-1.0.dist-info/METADATA": about})
    written(place, {"made_for_it-1.0.dist-info/top_level.txt": "made_for_it\n"})
    monkeypatch.syspath_prepend(place)
    assert imported("made_for_it:make", "data.factory")() == 3


def test_own_files_may_be_named_and_their_packages_are_known_without_an_import(folder: Path) -> None:
    written(folder, {"own/__init__.py": MARKING, "own/data/__init__.py": "", "own/data/clips.py": MAKE})
    expected = (folder / "own/__init__.py", folder / "own/data/__init__.py", folder / "own/data/clips.py")
    assert refusal("own.data.clips:make") is None
    assert files_of("own.data.clips:make") == expected
    assert not (folder / "own" / "ran").exists() and "own" not in sys.modules
    assert imported("own.data.clips:make", "data.factory")() == 3
    assert files_of("own.data.clips:make") == expected, "the same once it is imported"


def test_folders_without_init_files_are_packages_too(folder: Path) -> None:
    written(folder, {"spread/over/data.py": MAKE})
    assert files_of("spread.over.data:make") == (folder / "spread/over/data.py",)
    assert imported("spread.over.data:make", "data.factory")() == 3


def test_a_module_that_is_nowhere_has_no_files(folder: Path) -> None:
    written(folder, {"half/__init__.py": ""})
    assert files_of("half.data:make") == files_of("nowhere_at_all:make") == ()
    assert refusal("half.data:make") is None
    with pytest.raises(SettingError, match="cannot be imported: No module named 'half.data'"):
        imported("half.data:make", "data.factory")


HOPS = """
import functools, os, subprocess
from os import system
from subprocess import run
from numpy import load
from helper import made_elsewhere
shell = functools.partial(os.system)
nothing = None

class Own:
    pass

@functools.wraps(Own)
def wrapped():
    return 4

@functools.lru_cache
def kept():
    return 5
"""


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("system", "is not defined there, but in posix"),
        ("run", "is not defined there, but in subprocess"),
        ("load", "is not defined there, but in numpy"),
        ("made_elsewhere", "is not defined there, but in helper: name it where it is defined"),
        ("os", "names no function of the module hops"),
        ("shell", "names no function of the module hops"),
        ("nothing", "names no function of the module hops"),
        ("absent", "names no function of the module hops"),
    ],
)
@pytest.mark.skipif(os.name != "posix", reason="other systems name another module")
def test_a_name_leads_to_no_other_module_by_way_of_an_own_one(folder: Path, name: str, message: str) -> None:
    written(folder, {"hops.py": HOPS, "helper.py": "def made_elsewhere():\n    pass\n"})
    with pytest.raises(SettingError, match=message):
        imported(f"hops:{name}", "model.factory")


def test_functions_and_classes_of_the_package_are_what_may_be_named(folder: Path) -> None:
    written(folder, {"hops.py": HOPS, "helper.py": "def made_elsewhere():\n    pass\n"})
    assert imported("hops:Own", "model.factory").__name__ == "Own"
    assert imported("hops:wrapped", "model.factory")() == 4 and imported("hops:kept", "model.factory")() == 5
    written(folder, {"whole/__init__.py": "from whole.inner import make\n", "whole/inner.py": MAKE})
    assert imported("whole:make", "model.factory")() == 3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def make(:\n", "SyntaxError"),
        ("1 / 0\n", r"ZeroDivisionError: division by zero \(.*broken.py:1\)"),
        ("import no_such_library\n", "No module named 'no_such_library'"),
    ],
)
def test_a_module_that_fails_is_one_line(folder: Path, text: str, message: str) -> None:
    written(folder, {"broken.py": text})
    with pytest.raises(SettingError, match=f"data.factory 'broken:make' cannot be imported: .*{message}") as caught:
        imported("broken:make", "data.factory")
    assert "\n" not in str(caught.value)


def test_folders_to_look_in_are_handed_on_and_hide_nothing_of_python(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLR_SWEEP_LOOK_IN", "")
    (tmp_path / "of_a_user.py").write_text("def train(config, run): ...\n")
    (tmp_path / "queue.py").write_text("raise AssertionError('hidden')\n")
    look_in(tmp_path)
    child = "import queue; from slr_models.user_code import imported; print(imported('of_a_user:train', 'x').__name__)"
    done = subprocess.run(
        [sys.executable, "-c", child], cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.stderr) == ("train\n", "")
