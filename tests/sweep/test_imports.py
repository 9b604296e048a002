"""Importing the tool changes nothing of the process that imports it."""

import ast
import importlib.util
import json
import pkgutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

import slr_models
import sweep

IMPORTING = """
import importlib, json, logging, mimetypes, os, signal, sys, warnings
import torch

def umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask

def state():
    root = logging.getLogger()
    return {
        "environment": dict(os.environ),
        "umask": umask(),
        "signal handlers": {int(one): repr(signal.getsignal(one)) for one in signal.valid_signals()},
        "warnings": [repr(one) for one in warnings.filters],
        "logging": [root.level, len(root.handlers), logging.getLogger("ray").level, logging.getLogger("optuna").level],
        "torch threads": [torch.get_num_threads(), torch.get_num_interop_threads()],
        "torch": [torch.get_default_dtype().__repr__(), torch.backends.cuda.matmul.allow_tf32, torch.initial_seed()],
        "MIME types": sorted(mimetypes.types_map.items()),
        "path": sys.path,
        "recursion": sys.getrecursionlimit(),
    }

others, ours = json.loads(sys.stdin.read())
for name in others:
    importlib.import_module(name)
before = state()
for name in ours:
    importlib.import_module(name)
print(json.dumps([before, state()]))
"""


MADE_FOR = {
    "sweep.integrations.huggingface": "transformers",
    "sweep.integrations.keras": "keras",
    "sweep.integrations.lightning": "lightning",
}
"""Modules of ours that are of use, and can be imported, beside another library alone."""


def modules(package: ModuleType) -> list[str]:
    found = [one.name for one in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")]
    return [package.__name__, *(name for name in found if not name.endswith(".__main__") and is_of_use(name))]


def is_of_use(module: str) -> bool:
    return module not in MADE_FOR or importlib.util.find_spec(MADE_FOR[module]) is not None


def imported(path: Path) -> Iterator[str]:
    """What a file imports of other projects when it is imported itself."""
    body = ast.parse(path.read_text(encoding="utf-8")).body
    # The list grows as it is gone through.
    for node in body:
        if isinstance(node, ast.Try | ast.With):
            body += node.body
        elif isinstance(node, ast.Import):
            yield from (one.name for one in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module


@pytest.fixture(scope="module")
def states() -> tuple[dict, dict]:
    """What a process is like before and after it imports every module of ours; what others do is done before."""
    folders = [Path(package.__path__[0]) for package in (sweep, slr_models)]
    every = {name for folder in folders for path in folder.rglob("*.py") for name in imported(path)}
    own = {name for name in every if name.split(".")[0] in ("sweep", "slr_models")}
    others = sorted(name for name in every - own if importlib.util.find_spec(name.split(".")[0]))
    names = json.dumps([others, modules(sweep) + modules(slr_models)])
    done = subprocess.run([sys.executable, "-c", IMPORTING], input=names, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    before, after = json.loads(done.stdout.splitlines()[-1])
    return before, after


@pytest.mark.slow
@pytest.mark.parametrize(
    "what",
    [
        "environment",
        "umask",
        "signal handlers",
        "warnings",
        "logging",
        "torch threads",
        "torch",
        "MIME types",
        "path",
        "recursion",
    ],
)
def test_importing_every_module_leaves_the_process_as_it_was(states, what: str) -> None:
    before, after = states
    assert after[what] == before[what]
