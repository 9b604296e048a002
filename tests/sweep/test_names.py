"""Names: one public class, one name."""

import ast
from collections import defaultdict
from pathlib import Path

import sweep
from sweep.records import TrialResult

ALIKE_ON_PURPOSE = {"StabilityCallback"}
"""One for each library: a program imports one of them."""


def test_no_two_public_classes_bear_one_name() -> None:
    root = Path(sweep.__file__).parent
    places = defaultdict(list)
    for path in sorted(root.rglob("*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_") and node.name not in ALIKE_ON_PURPOSE:
                places[node.name].append(path.relative_to(root).as_posix())
    assert {name: files for name, files in places.items() if len(files) > 1} == {}


def test_columns_of_the_trials_that_code_asks_for_exist() -> None:
    asked = defaultdict(list)
    for path in sorted(Path(sweep.__file__).parent.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            match node:
                case ast.Subscript(
                    value=ast.Name(id="trials" | "searched") | ast.Attribute(attr="trials" | "searched"),
                    slice=ast.Constant(value=str() as column),
                ):
                    asked[column].append(f"{path}:{node.lineno}")
    assert len(asked) > 20
    assert {column: places for column, places in asked.items() if column not in TrialResult.columns()} == {}
