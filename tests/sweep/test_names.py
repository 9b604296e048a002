"""Names: one public class, one name."""

import ast
from collections import defaultdict
from pathlib import Path

import sweep


def test_no_two_public_classes_bear_one_name() -> None:
    root = Path(sweep.__file__).parent
    places = defaultdict(list)
    for path in sorted(root.rglob("*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places[node.name].append(path.relative_to(root).as_posix())
    assert {name: files for name, files in places.items() if len(files) > 1} == {}
