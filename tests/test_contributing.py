"""CONTRIBUTING.md and README.md name files that exist."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize("document", ["CONTRIBUTING.md", "README.md"])
def test_every_path_that_it_names_exists(document: str) -> None:
    text = (ROOT / document).read_text(encoding="utf-8")
    named = {
        path for path in re.findall(r"`((?:sweep|slr_models|tests|studies|benchmarks|docs|examples)/[^`\s]*)`", text)
    }
    assert named, "a document without paths would keep this test from seeing anything"
    # `foo` stands for the reader's own file: the folder is what must be there.
    places = {path.rpartition("/")[0] if "foo" in path else path for path in named}
    assert sorted(place for place in places if not (ROOT / place).exists()) == []
