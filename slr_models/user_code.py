"""Code of a user, which a file names as `package.module:function`: what may be named, and how it is found.

**The rule**: a name leads to a function or class that your own files define, or an installed package that requires
slr-stability-sweep; never to Python itself, to this program, or to anything else that is installed. The examples that
come with this program stand for files of your own.

Else a few words of a file would do anything (`os:system`, `pip:main`), as files travel and are not read. That nothing
else is named is known before anything is imported, since importing runs code: of a module, and of the packages around
it.
"""

import importlib
import importlib.metadata
import inspect
import os
import re
import sys
import sysconfig
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from slr_models.errors import SettingError

FactoryName = Annotated[str, Field(pattern=r"^[A-Za-z_]\w*(\.\w+)*:[A-Za-z_]\w*$")]
"""`package.module:function`."""
_OURS = "slr-stability-sweep"
_OWN_PACKAGES = ("slr_models", "sweep")
_INSTALLED = ("site-packages", "dist-packages")
_LOOK_IN = "SLR_SWEEP_LOOK_IN"
"""Environment variable: the folders of `look_in`, handed on to processes that are started."""
_EXAMPLES = Path(__file__).resolve().parents[1] / "sweep" / "shipped"
"""Where they are installed."""
ADVICE = f"name a function of a file of your own, or of an installed package that requires {_OURS}"
"""What to do about a `refusal`."""


def module_of(factory: str) -> str:
    """`my_package.data` of `my_package.data:make`."""
    return factory.partition(":")[0]


def refusal(factory: str) -> str | None:
    """Why a name must not lead to code, in a sentence; None where it may. Imports nothing."""
    module = module_of(factory)
    top = module.partition(".")[0]
    if top in sys.stdlib_module_names or top in sys.builtin_module_names or top == "__main__":
        return f"{top} is part of Python"
    if top in _OWN_PACKAGES:
        return f"{top} is part of this program"
    for place in _places(module):
        if place.file is None:
            if place.is_built_in:
                return f"{top} is part of Python"
            continue
        if any(_is_installed(root) for root in place.roots):
            if not _requires_us(top):
                return f"{top} is an installed package that does not require {_OURS}"
        elif any(place.file.is_relative_to(folder) for folder in _python_folders()):
            return f"{top} is part of Python"
    return None


def look_in(*folders: Path) -> None:
    """Lets names lead to modules in folders too, in this process and in those that it starts, after all other places.

    A program that was started as a module finds what lies in the current folder, one with a name of its own does not.
    PYTHONPATH comes before Python's own modules, and a user's `queue.py` would stand for these in every process of Ray.
    """
    known = os.environ.get(_LOOK_IN, "").split(os.pathsep)
    beyond = (*known, *(str(folder.absolute()) for folder in folders))
    os.environ[_LOOK_IN] = os.pathsep.join(dict.fromkeys(filter(None, beyond)))


def files_of(factory: str) -> tuple[Path, ...]:
    """The files that run when the module of a name is imported: of the packages around it, then its own.

    Empty where the module is not found, or comes from no file. Imports nothing.
    """
    module = module_of(factory)
    places = list(_places(module))
    is_found = len(places) == module.count(".") + 1 and places[-1].file is not None
    return tuple(place.file for place in places if place.file is not None) if is_found else ()


def imported(factory: str, setting: str) -> Callable[..., Any]:
    """The function or class that a name leads to. This runs code of the user.

    Args:
        factory: the name.
        setting: the dotted path of where it stands, for messages.

    Raises:
        SettingError: it breaks the rule above, cannot be imported, or is no function or class of that package.
    """
    said = f"{setting} {factory!r}"
    _check_may_be_named(factory, said)
    module_name, _, name = factory.partition(":")
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise SettingError(
            f"{said} cannot be imported: {error}; check the name, and that the module is in this folder, on PYTHONPATH "
            "or installed"
        ) from error
    except SystemExit as error:
        # It would end this program, perhaps with 0.
        raise SettingError(
            f"{said} cannot be imported: it ends the program (SystemExit: {error}): put what is to run as a script "
            f"behind if __name__ == '__main__'"
        ) from error
    except Exception as error:
        raise SettingError(f"{said} cannot be imported: {raised_text(error)}") from error
    # What is imported may be found where nothing was before.
    _check_may_be_named(factory, said)
    found = vars(module).get(name)
    if not (inspect.isroutine(found) or inspect.isclass(found)):
        raise SettingError(f"{said} names no function of the module {module_name}; write it as package.module:function")
    home = str(getattr(found, "__module__", None))
    if home.partition(".")[0] != module_name.partition(".")[0]:
        raise SettingError(
            f"{said} is not defined there, but in {home}: name it where it is defined, if that is code of your own"
        )
    function: Callable[..., Any] = found
    return function


def _check_may_be_named(factory: str, said: str) -> None:
    if (problem := refusal(factory)) is not None:
        raise SettingError(f"{said} must not be used: {problem}; {ADVICE}")


def raised_text(error: Exception) -> str:
    """An exception of a user's code with the place that raised it: `ValueError: my bug (my_model.py:12)`."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({frames[-1].filename}:{frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {error}{place}"


@dataclass(frozen=True)
class _Place:
    """Where a module, or a package around one, is."""

    file: Path | None
    """What runs when it is imported; None for a folder without `__init__.py`, and for what a program made itself."""
    roots: tuple[Path, ...] = ()
    """The folder on Python's path that holds it, or its package; and the one that links lead to."""
    is_built_in: bool = False
    search: list[str] | None = None
    """Where the modules of a package are; None for a module."""


def _places(module: str) -> Iterator[_Place]:
    """The packages around a module from the outermost in, and the module: as far as they are found."""
    beyond = os.environ.get(_LOOK_IN, "").split(os.pathsep)
    sys.path += [folder for folder in beyond if folder and folder not in sys.path]
    names = module.split(".")
    search: list[str] | None = None
    for depth in range(1, len(names) + 1):
        place = _place(".".join(names[:depth]), depth, search)
        if place is None:
            return
        yield place
        if place.search is None:
            return
        search = place.search


def _place(name: str, depth: int, search: list[str] | None) -> _Place | None:
    """Where a module is; None where it is not found.

    Args:
        name: of the module, `depth` names long.
        depth: of packages.
        search: where the modules of its package are; None where it is in none.
    """
    if name in sys.modules:
        spec = getattr(sys.modules[name], "__spec__", None)
        if spec is None:
            return _Place(None)
    else:
        spec = _spec(name, search)
        if spec is None:
            return None
    is_package = spec.submodule_search_locations is not None
    if spec.has_location and spec.origin:
        files = (Path(spec.origin).absolute(), Path(spec.origin).resolve())
        num_up = depth if is_package else depth - 1
        roots = tuple(file.parents[min(num_up, len(file.parents) - 1)] for file in files)
        return _Place(files[1], roots, search=list(spec.submodule_search_locations or ()) if is_package else None)
    if not is_package or spec.origin in ("built-in", "frozen"):
        return _Place(None, is_built_in=True)
    # A folder without a file of its own. To ask the spec where it is would need the packages around it.
    folders = [Path(one, name.rpartition(".")[2]) for one in search or sys.path]
    return _Place(None, search=[str(folder) for folder in folders if folder.is_dir()])


def _spec(name: str, search: list[str] | None) -> ModuleSpec | None:
    """As `importlib.util.find_spec`, which imports the packages around a module."""
    for finder in sys.meta_path:
        try:
            spec = finder.find_spec(name, search)
        except KeyError:
            # A folder without a file of its own, in another such.
            return ModuleSpec(name, None, is_package=True)
        if spec is not None:
            return spec
    return None


def _is_installed(root: Path) -> bool:
    # A folder that `pip install --target` filled has no name of its own.
    if root.resolve().is_relative_to(_EXAMPLES):
        return False
    return any(part in _INSTALLED for part in root.parts) or next(root.glob("*.dist-info"), None) is not None


def _python_folders() -> Iterator[Path]:
    for name in ("stdlib", "platstdlib"):
        yield Path(sysconfig.get_path(name)).resolve()


def _requires_us(top: str) -> bool:
    """Whether an installed distribution with that package requires this program."""
    for distribution in importlib.metadata.packages_distributions().get(top, ()):
        try:
            requirements = importlib.metadata.requires(distribution) or []
        except (importlib.metadata.PackageNotFoundError, ValueError):
            # A broken one has no name, or is taken away at this moment.
            continue
        for requirement in requirements:
            name = re.match(r"[\w.-]+", requirement)
            if name is not None and re.sub(r"[-_.]+", "-", name[0]).lower() == _OURS:
                return True
    return False
