from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sweep.report import build_report

Opened = Callable[[Path, int, str], tuple[Any, list[str]]]
pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def page_of_claims(
    tmp_path_factory: pytest.TempPathFactory, make_experiment: Callable[..., Path], make_claim: Callable[..., Any]
) -> Path:
    """A page of twelve claims with all kinds of drawings and long words."""
    kinds: list[dict[str, Any]] = [
        {"where": {"clip": "loose"}},
        {"response": "val_loss", "expected": "equal"},
        {"response": "step_time_s", "effect": "ratio", "value": 1.0, "smallest_effect": 1.1},
        {"response": "wer", "effect": "mean", "levels": ["fp32"], "value": 0.5},
        {"by": "clip", "by_levels": ["tight", "loose"], "expected": "equal"},
        {"response": "val_loss", "by": "clip", "by_levels": ["tight", "loose"], "expected": "equal"},
    ]
    text = "Mixed precision (fp16) is the root cause of the infinite gradient norms of the whole teacher"
    claims = [
        make_claim(f"claim_{number}", text=f"{text}, part {number}.", **kinds[number % len(kinds)])
        for number in range(12)
    ]
    return build_report(make_experiment(tmp_path_factory.mktemp("claims"), claims))


@pytest.mark.parametrize(("width", "scheme"), [(1440, "light"), (390, "dark")])
def test_twelve_claims_fit_and_nothing_overlaps(opened: Opened, page_of_claims: Path, width: int, scheme: str) -> None:
    page, trouble = opened(page_of_claims, width, scheme)
    assert page.evaluate("document.documentElement.scrollWidth") == width
    assert page.locator("article.claim").count() == 12 and page.locator("#answer tbody tr").count() == 12
    rows = [row.bounding_box() for row in page.locator("article.claim .effect").all()]
    assert all(row["x"] >= 0 and row["x"] + row["width"] <= width for row in rows)
    for row in page.locator("article.claim .ticks").all():
        ticks = [tick.bounding_box() for tick in row.locator("span").all()]
        assert len(ticks) >= 2
        assert all(a["x"] + a["width"] <= b["x"] for a, b in zip(ticks, ticks[1:], strict=False))
    for drawing in page.locator("svg.slopes").all():
        names = [name.bounding_box() for name in drawing.locator(".level").all()]
        assert all(a["x"] + a["width"] <= b["x"] for a, b in zip(names, names[1:], strict=False))
    assert trouble == []


def test_verdicts_follow_the_theme_and_lead_to_their_claim(opened: Opened, page_of_claims: Path) -> None:
    page, trouble = opened(page_of_claims, 1280, "light")
    word = page.locator("#claims .legend .verdict.v-refuted")
    assert word.inner_text() == "refuted" and word.locator("svg").count() == 1
    assert word.evaluate("node => getComputedStyle(node).color") == "rgb(184, 74, 0)"
    page.emulate_media(color_scheme="dark")
    assert word.evaluate("node => getComputedStyle(node).color") == "rgb(240, 118, 58)"
    page.emulate_media(reduced_motion="reduce")
    page.click("#answer tr:nth-child(9) a")
    assert 0 <= page.locator("#claim-9").bounding_box()["y"] < 40
    details = page.locator("#claim-9 details")
    assert not details.locator("dl").is_visible()
    details.locator("summary").click()
    assert "Assumptions" in details.inner_text()
    assert trouble == []
