"""The page is valid HTML, where a checker is at hand: `npm install vnu-jar html-validate` brings both.

The Nu checker is `vnu` on the path, or Java with the jar that VNU_JAR names; html-validate is the program of that name,
or the one that HTML_VALIDATE names.
"""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from sweep.report import build_report

Make = Callable[..., Path]
PLACES = ["left", "width", "height", "flex", "min-width", "max-width"]
"""What an inline style may say: where something lies and how long it is, which follows from the data."""
RULES = {
    "extends": ["html-validate:recommended"],
    "rules": {"no-inline-style": ["error", {"allowedProperties": PLACES}]},
    "root": True,
}


def nu_checker() -> Sequence[str] | None:
    """How the Nu checker is called."""
    jar = os.environ.get("VNU_JAR")
    return ["java", "-jar", jar] if jar else [found] if (found := shutil.which("vnu")) else None


def html_validate() -> Sequence[str] | None:
    """How html-validate is called."""
    found = shutil.which(os.environ.get("HTML_VALIDATE", "html-validate"))
    return [found] if found else None


@pytest.fixture(scope="module")
def pages(
    tmp_path_factory: pytest.TempPathFactory, make_results: Make, make_experiment: Make, make_claim: Callable[..., Any]
) -> list[Path]:
    """Reports of a search, of its first minute, and of an experiment."""
    folders = [tmp_path_factory.mktemp(name) for name in ("search", "begun", "experiment")]
    made = [
        make_results(folders[0]),
        make_results(folders[1], num_trials=0),
        make_experiment(folders[2], [make_claim("precision-matters")]),
    ]
    return [build_report(one) for one in made]


def test_the_nu_checker_finds_nothing(pages: list[Path]) -> None:
    if (call := nu_checker()) is None:
        pytest.skip("no Nu checker: npm install vnu-jar, and VNU_JAR=.../vnu.jar")
    told = subprocess.run([*call, "--format", "json", *map(str, pages)], capture_output=True, text=True, timeout=300)
    messages = json.loads(told.stderr)["messages"]
    assert [(one["url"], one.get("lastLine"), one["message"]) for one in messages] == []


def test_inline_styles_say_where_things_lie_alone(pages: list[Path]) -> None:
    for page in pages:
        markup = re.sub(r"<(script|style)\b.*?</\1>", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
        styles = re.findall(r'\sstyle="([^"]*)"', markup)
        said = {part.partition(":")[0].strip() for style in styles for part in style.split(";")}
        assert said <= set(PLACES), page


def test_html_validate_finds_nothing(pages: list[Path], tmp_path: Path) -> None:
    if (call := html_validate()) is None:
        pytest.skip("no html-validate: npm install html-validate, and HTML_VALIDATE=.../html-validate")
    config = tmp_path / "rules.json"
    config.write_text(json.dumps(RULES))
    told = subprocess.run(
        [*call, "--config", str(config), "--formatter", "json", *map(str, pages)],
        capture_output=True,
        text=True,
        timeout=300,
    )
    found = json.loads(told.stdout)
    assert [(one["filePath"], m["line"], m["ruleId"]) for one in found for m in one["messages"]] == []
    assert told.returncode == 0
