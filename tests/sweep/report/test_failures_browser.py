from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Opened = Callable[[Path, int, str], tuple[Any, list[str]]]
pytestmark = pytest.mark.browser


def test_a_line_and_the_example_lead_to_the_course_of_their_trial(opened: Opened, report: Path) -> None:
    page, trouble = opened(report, 1280, "light")
    page.locator("#failures .example [data-trial]").click()
    page.locator("#trace-text", has_text="Trial 8:").wait_for(timeout=5_000)
    point = page.locator("#scale-0 .point[style*='rgb(192, 97, 154)']").last
    point.scroll_into_view_if_needed()
    box = point.bounding_box()
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.locator("#trace-text", has_text="scaler-collapse").wait_for(timeout=5_000)
    assert "precision fp16" in page.inner_text("#trace-text")
    assert trouble == []


@pytest.mark.parametrize("width", [390, 700, 1130])
def test_the_traced_failure_fits_and_each_value_is_named(opened: Opened, report: Path, width: int) -> None:
    page, trouble = opened(report, width, "dark")
    assert page.evaluate("document.documentElement.scrollWidth") == width
    section = page.locator("#failures").bounding_box()
    for table in page.locator("#failures .story, #failures .spine").all():
        box = table.bounding_box()
        assert box["x"] >= section["x"] and box["x"] + box["width"] <= section["x"] + section["width"] + 0.5
    row = page.locator("#failures .story tr.trouble").first
    label = row.locator("td[data-label]").first.evaluate("node => getComputedStyle(node, '::before').content")
    # A table names its columns, a card each of its values.
    assert label == ('"learning rate "' if width < 1120 else "none")
    assert trouble == []
