"""Every study of README.md and docs/ is one that the loader takes, and every part of one fits into a study."""

import re

import pytest

from slr_models.errors import SettingError
from sweep import yaml_source
from sweep.study import validate
from tests.docs.blocks import ROOT, Block, blocks

NOT_A_STUDY = "not a study"
REFUSED = "refused: "
OURS = {
    "name": "example",
    "model": "{kind: teacher, width: 0.125}",
    "data": "{kind: fingerspelling}",
    "budget": "{steps: 160}",
}
"""What a part of a study is put into."""
YAML = [block for block in blocks("yaml") if not block.mark.startswith(NOT_A_STUDY)]


def whole(text: str) -> str:
    """A part of a study with what it lacks of one."""
    keys = set(re.findall(r"^(\w+):", text, re.MULTILINE))
    needed = {key: OURS[key] for key in OURS if key == "name" or "trial" not in keys}
    return text + "".join(f"\n{key}: {value}" for key, value in needed.items() if key not in keys) + "\n"


@pytest.mark.parametrize("block", YAML, ids=lambda block: block.place)
def test_it_is_taken(block: Block) -> None:
    source = yaml_source.parse(whole(block.text), block.place)
    if block.mark.startswith(REFUSED):
        said = block.mark.removeprefix(REFUSED)
        assert f"`{said}`" in (ROOT / block.place.rpartition(":")[0]).read_text(encoding="utf-8"), "readers see it too"
        with pytest.raises(SettingError, match=re.escape(said)):
            validate(source)
    else:
        assert validate(source).study.name


def test_what_is_no_study_is_marked_with_its_reader() -> None:
    marked = [block.mark for block in blocks("yaml") if block.mark.startswith(NOT_A_STUDY)]
    assert marked and all(re.match(r"not a study: \w+", mark) for mark in marked)
