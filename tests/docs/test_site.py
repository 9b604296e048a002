"""docs/ as a site: it builds, every link and anchor leads somewhere, and its reference holds all that there is."""

import html
import importlib.util
import os
import re
import subprocess
import sys
import types
from collections.abc import Iterator
from pathlib import Path

import pytest

import sweep
from sweep.__main__ import COMMANDS
from sweep.study import Study
from sweep.study.fields import specs_in
from tests.docs.blocks import ROOT

MAX_README = 9 * 1024
"""Bytes: a page that is read in five minutes."""


def settings(spec: type, seen: frozenset[type] = frozenset()) -> Iterator[str]:
    """The names of all settings that a file may hold, `kind` left out."""
    for name, field in spec.model_fields.items():
        if name != "kind":
            yield field.alias or name
        for part in set(specs_in(field.annotation)) - seen:
            yield from settings(part, seen | {part})


@pytest.fixture(scope="module")
def reference() -> types.ModuleType:
    found = importlib.util.spec_from_file_location("reference", ROOT / "docs" / "site" / "reference.py")
    assert found is not None and found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


def test_the_reference_has_every_setting_with_its_meaning(reference: types.ModuleType) -> None:
    text = reference.study()
    assert set(settings(Study)) <= set(re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE))
    assert "`training.optimizer` {" in text and "number, above 0" in text and "**required**" in text
    assert re.findall(r"^\| `(\w+)` \| [^|]+ \| [^|]+ \|  \|$", text, re.MULTILINE) == []


def test_the_reference_has_every_command_and_every_option(reference: types.ModuleType) -> None:
    text = reference.commands()
    for command in COMMANDS:
        assert f"## {command.name} {{" in text and command.summary in text
    assert "| `--time 30m` |" in text and "| `STUDY.yaml` |" in text


def test_the_reference_has_every_public_name(reference: types.ModuleType) -> None:
    text = reference.python()
    assert [name for name in sweep.__all__ if f"## sweep.{name} {{" not in text] == ["__version__"]
    assert "- `grad_norm`: of the whole gradient before clipping" in text


def test_the_readme_is_short() -> None:
    assert (ROOT / "README.md").stat().st_size <= MAX_README


@pytest.mark.slow
def test_the_site_is_built_and_nothing_in_it_leads_nowhere(tmp_path: Path) -> None:
    pytest.importorskip("material", reason="the extra `docs` is not installed")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path)]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    )
    assert done.returncode == 0, done.stderr
    pages = sorted(tmp_path.rglob("*.html"))
    text = "".join(page.read_text(encoding="utf-8") for page in pages)
    fetched = re.findall(r'<(?:script|link|img)[^>]* (?:src|href)="(https?:[^"]*)"', text)
    assert fetched == [], "a page is read without anything from elsewhere"
    for page in pages:
        if page.name != "404.html":
            links = re.findall(r' (?:href|src)="([^":#?]+)["#?]', page.read_text(encoding="utf-8"))
            missing = {link for link in links if not (page.parent / html.unescape(link)).exists()}
            assert missing == set(), page
