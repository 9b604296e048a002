"""What `import sweep` gives: the documented names, each when it is asked for, and help that a person can read."""

import importlib.metadata
import pydoc
import subprocess
import sys

import pytest

import sweep


def loaded_after(statement: str) -> set[str]:
    """Top-level packages that a fresh interpreter holds after a statement."""
    code = f"import sys\n{statement}\nprint(*{{name.partition('.')[0] for name in sys.modules}})"
    return set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split())


def test_importing_it_costs_next_to_nothing() -> None:
    assert loaded_after("import sweep") - loaded_after("") - sys.stdlib_module_names == {"sweep"}


@pytest.mark.parametrize("name", sweep.__all__)
def test_every_public_name_is_there_and_documented(name: str) -> None:
    found = getattr(sweep, name)
    assert f"\n    {name} " in (sweep.__doc__ or "")
    if name != "__version__":
        assert found.__name__ == name and found.__doc__


def test_only_what_reads_tensors_brings_torch() -> None:
    assert "torch" not in loaded_after(
        "from sweep import StabilityMonitor, RunContext, MonitorConfig, Verdict, Outcome"
    )
    assert "torch" in loaded_after("from sweep import LateMonitor")


def test_the_version_is_that_of_the_installed_program() -> None:
    assert sweep.__version__ == importlib.metadata.version("slr-stability-sweep")


def test_what_is_no_public_name_is_none() -> None:
    with pytest.raises(AttributeError, match="module 'sweep' has no attribute 'stabilty'"):
        sweep.stabilty  # noqa: B018


def test_help_is_short_and_without_what_libraries_add() -> None:
    assert sweep.MonitorConfig and sweep.Outcome, "used before, as in a session"
    text = pydoc.render_doc(sweep, renderer=pydoc.plaintext)
    assert len(text) < 6_000
    for noise in ("model_", "pydantic", "casefold"):
        assert noise not in text
    for name in sweep.__all__:
        assert name in text
    assert "Opens a results folder" in text
