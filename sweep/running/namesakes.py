"""Files of others that have the name of a package of this program, and would be taken for it where trainings run."""

import os
import sys
from importlib.machinery import PathFinder
from pathlib import Path

from slr_models.errors import SettingError


def check_names() -> None:
    """Checks that processes that Ray starts find this program: they look in the working folder first.

    Raises:
        SettingError: they would find something else.
    """
    for name in ("slr_models", "sweep"):
        own = Path(str(sys.modules[name].__file__)).resolve()
        found = PathFinder.find_spec(name, [os.getcwd(), *sys.path])
        # None where this program is found by other means than a path, as after an editable installation.
        if found is None or (found.origin is not None and Path(found.origin).resolve() == own):
            continue
        place = found.origin or next(iter(found.submodule_search_locations or []))
        raise SettingError(
            f"{place} has the name of a package of this program, {name}, and the processes that train would find it in "
            f"place of {own.parent}: rename it, or start the study from another folder"
        )
