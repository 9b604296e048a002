"""No line of the sources makes code or objects of what a file holds."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import slr_models
import sweep

FOLDERS = [Path(package.__path__[0]) for package in (sweep, slr_models)]

NEVER = {
    "eval", "exec", "compile", "__import__", "execfile", "breakpoint",
    "os.system", "os.popen", "os.execv", "os.execvp", "os.spawnv", "runpy.run_path", "runpy.run_module",
    "pickle.load", "pickle.loads", "pickle.Unpickler", "marshal.load", "marshal.loads", "shelve.open", "dill.load",
    "dill.loads", "cloudpickle.load", "cloudpickle.loads", "joblib.load", "pd.read_pickle", "pandas.read_pickle",
    "pd.read_hdf", "pa.deserialize", "pyarrow.deserialize", "np.fromstring",
    "yaml.unsafe_load", "yaml.full_load", "yaml.load_all", "yaml.unsafe_load_all", "yaml.full_load_all",
    "torch.jit.load", "torch.hub.load", "torch.serialization.add_safe_globals", "tune.Tuner.restore", "Tuner.restore",
    "tarfile.open", "shutil.unpack_archive", "xml.etree.ElementTree.parse", "jinja2.Template",
}  # fmt: skip
NEVER_BY_ANY_NAME = {"read_pickle", "unsafe_load", "full_load", "enable_unsafe_deserialization"}
IMPORTS_BY_NAME = {"sweep/__init__.py", "slr_models/user_code.py"}
"""The public face imports its own modules late; the other is where the rule for a user's code stands."""

PICKLES = {"slr_models/convert/pickles.py"}
"""Loads them where the user says that they are trusted: tests/slr_models/convert/test_pickles.py."""


def problems(source: str, name: str) -> Iterator[str]:
    """Calls in a source that make more than data of something."""
    for call in ast.walk(ast.parse(source)):
        if not isinstance(call, ast.Call):
            continue
        called = ast.unparse(call.func)
        last = called.rpartition(".")[2]
        if called == "pickle.load" and name in PICKLES:
            continue
        if called in NEVER or last in NEVER_BY_ANY_NAME:
            yield called
        elif called == "torch.load" and given(call, "weights_only") != "True":
            yield "torch.load without weights_only=True"
        elif called.startswith(("np.", "numpy.")) and last == "load" and given(call, "allow_pickle") != "False":
            yield f"{called} without allow_pickle=False"
        elif called == "yaml.load" and not (given(call, "Loader") or "").endswith(("SafeLoader", "_Loader")):
            yield "yaml.load without a safe loader"
        elif given(call, "shell") not in (None, "False"):
            yield f"{called} with a shell"
        elif given(call, "autoescape") not in (None, "True"):
            yield f"{called} without autoescape"
        elif last == "import_module" and name not in IMPORTS_BY_NAME:
            yield "import_module: the rule for a user's code stands in slr_models/user_code.py"


def given(call: ast.Call, name: str) -> str | None:
    """A keyword argument, as it is written."""
    return next((ast.unparse(one.value) for one in call.keywords if one.arg == name), None)


def test_nothing_that_a_file_holds_becomes_code() -> None:
    found = {}
    for folder in FOLDERS:
        for path in sorted(folder.rglob("*.py")):
            name = path.relative_to(folder.parent).as_posix()
            if told := list(problems(path.read_text(encoding="utf-8"), name)):
                found[name] = told
    assert found == {}


@pytest.mark.parametrize(
    "source",
    [
        "eval(text)",
        "pickle.load(file)",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "np.load(path)",
        "numpy.load(path, allow_pickle=True)",
        "yaml.load(text, Loader=yaml.Loader)",
        "yaml.unsafe_load(text)",
        "frame = pandas.read_pickle(path)",
        "subprocess.run(command, shell=True)",
        "os.system(command)",
        "Environment(autoescape=False)",
        "importlib.import_module(name)",
    ],
)
def test_each_of_them_would_be_noticed(source: str) -> None:
    assert list(problems(source, "sweep/new.py"))
