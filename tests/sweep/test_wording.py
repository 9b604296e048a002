"""Numbers, counts and durations are written in one way."""

import ast
import math
from pathlib import Path

import pytest

import sweep
from sweep.wording import duration, number, plural


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [
        (0.0, 3, "0"),
        (0.0012, 3, "0.0012"),
        (0.00012345, 3, "0.000123"),
        (3.1e-5, 3, "3.1e-5"),
        (-2.5e-7, 3, "-2.5e-7"),
        (1234.0, 3, "1230"),
        (999_999.0, 3, "1000000"),
        (1e6, 3, "1e6"),
        (3.14159, 4, "3.142"),
        (0.5, 2, "0.5"),
        (math.nan, 3, "n/a"),
        (-math.inf, 3, "-inf"),
    ],
)
def test_a_number(value: float, digits: int, text: str) -> None:
    assert number(value, digits) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (42.4, "42 s"),
        (99, "99 s"),
        (210, "3.5 min"),
        (5999, "100.0 min"),
        (4320 * 2, "2.4 h"),
        (math.nan, "n/a"),
    ],
)
def test_a_duration(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_a_count() -> None:
    assert [plural(1, "trial"), plural(2, "trial"), plural(0, "trial")] == ["1 trial", "2 trials", "0 trials"]
    assert [plural(1, "loss", "losses"), plural(3, "loss", "losses")] == ["1 loss", "3 losses"]


def test_nobody_else_writes_durations_or_counts() -> None:
    root = Path(sweep.__file__).parent
    made = {
        path.relative_to(root).as_posix()
        for path in root.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef) and node.name.strip("_") in ("duration", "plural")
    }
    assert made == {"wording.py"}
