from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sweep.report import build_report

CHROMIUM = Path("/usr/bin/chromium")
sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not CHROMIUM.exists(), reason=f"there is no browser at {CHROMIUM}"),
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        yield browser
        browser.close()


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


def opened(browser: Any, path: Path, width: int, scheme: str) -> tuple[Any, list[str]]:
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    trouble: list[str] = []
    page.on("console", lambda message: trouble.append(message.text))
    page.on("pageerror", lambda error: trouble.append(str(error)))
    page.goto(path.as_uri())
    page.wait_for_selector("body[data-ready]", timeout=60_000)
    return page, trouble


@pytest.mark.parametrize(("width", "scheme"), [(1440, "light"), (390, "dark")])
def test_twelve_claims_fit_and_nothing_overlaps(browser: Any, page_of_claims: Path, width: int, scheme: str) -> None:
    page, trouble = opened(browser, page_of_claims, width, scheme)
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


def test_verdicts_follow_the_theme_and_lead_to_their_claim(browser: Any, page_of_claims: Path) -> None:
    page, trouble = opened(browser, page_of_claims, 1280, "light")
    word = page.locator("#claims .legend .v-refuted")
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
