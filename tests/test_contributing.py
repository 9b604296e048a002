"""CONTRIBUTING.md, README.md and docs/ name files that exist."""

import re

from tests.docs.blocks import PAGES, ROOT


def test_every_path_that_they_name_exists() -> None:
    text = "".join(page.read_text(encoding="utf-8") for page in (ROOT / "CONTRIBUTING.md", *PAGES))
    named = {
        path for path in re.findall(r"`((?:sweep|slr_models|tests|studies|benchmarks|docs|examples)/[^`\s]*)`", text)
    }
    assert len(named) > 60, "documents without paths would keep this test from seeing anything"
    # `foo` stands for the reader's own file: the folder is what must be there.
    places = {path.rpartition("/")[0] if "foo" in path else path for path in named}
    assert sorted(place for place in places if not (ROOT / place).exists()) == []
