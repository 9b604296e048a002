from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sweep.report import build_report

Opened = Callable[[Path, int, str], tuple[Any, list[str]]]
pytestmark = pytest.mark.browser


def test_a_reader_can_use_the_page(opened: Opened, report: Path) -> None:
    page, trouble = opened(report, 1280, "light")
    assert page.locator(".js-plotly-plot .main-svg").count() > 0

    page.fill("#filter", "FP16 scaler")
    visible = page.locator("#table tbody tr:visible")
    assert 0 < visible.count() < 39
    assert page.inner_text("#count") == f"{visible.count()} of 39"
    assert all("scaler-collapse" in text and "fp16" in text for text in visible.all_inner_texts())
    page.fill("#filter", "")
    page.select_option("#only", "stable")
    assert {row.get_attribute("data-outcome") for row in visible.all()} == {"stable"}
    page.select_option("#only", "")

    page.click("#table th:has-text('learning rate') button")
    rates = page.locator("#table tbody tr td:nth-child(4)")
    values = [float(cell.get_attribute("data-v")) for cell in rates.all()]
    assert values == sorted(values)
    assert page.get_attribute("#table th:has-text('learning rate')", "aria-sort") == "ascending"

    page.select_option("#pick", label="Typical scaler-collapse")
    assert "scaler-collapse" in page.inner_text("#trace-text")
    assert "loss scale" in page.locator("#trace .infolayer").text_content()
    page.select_option("#pick", value="t0016")
    assert "would have been stopped: stalled" in page.locator("#trace .infolayer").text_content()
    page.click("[data-trial=t0000]")
    assert page.inner_text("#trace-text").startswith("Trial 0 ")
    assert trouble == []


def test_the_map_has_its_edge_and_leads_to_the_trials(opened: Opened, report: Path) -> None:
    page, trouble = opened(report, 1280, "light")
    assert page.locator("#map-0 .contourlayer .contour").count() == 3
    edge = page.locator("#map-0 .contourlevel path").last
    assert edge.evaluate("node => getComputedStyle(node).stroke") == "rgb(27, 31, 35)"
    plot = page.locator("#map-0 .nsewdrag").bounding_box()
    page.mouse.click(plot["x"] + 0.5 * plot["width"], plot["y"] + 0.03 * plot["height"])
    mark = page.locator("#map-0 .scatterlayer .trace .point").first.bounding_box()
    page.mouse.click(mark["x"] + mark["width"] / 2, mark["y"] + mark["height"] / 2)
    shown = page.input_value("#pick")
    fp32 = page.locator("#table tbody tr", has=page.locator(f"[data-trial={shown}]"))
    assert "fp32" in fp32.inner_text(), "a click on the first panel shows a trial of its precision"
    assert trouble == []


def test_the_recipe_and_the_code_can_be_copied(opened: Opened, report: Path) -> None:
    page, trouble = opened(report, 1280, "light")
    for name in ("recipe", "snippet"):
        button = page.locator(f"[data-copy={name}]")
        page.locator("details", has=button).locator("summary").click()
        button.click()
        told = page.locator(f"[data-copy={name}] + [role=status]")
        told.get_by_text("Copied.").or_(told.get_by_text("Selected")).wait_for(timeout=5_000)
        if told.inner_text().startswith("Selected"):
            selected = page.evaluate("getSelection().toString()")
            assert selected.strip() == page.locator(f"#{name}").text_content().strip()
    assert trouble == []


def test_the_page_fits_a_phone_and_the_dark(opened: Opened, report: Path) -> None:
    page, trouble = opened(report, 390, "dark")
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    mark = page.evaluate("getComputedStyle(document.querySelector('#map-0 .point')).fill")
    assert mark == "rgb(86, 180, 233)", "a stable mark has its dark-theme colour"
    page.emulate_media(color_scheme="light")
    page.locator("#map-0 .point[style*='rgb(0, 114, 178)']").first.wait_for(timeout=10_000)
    page.locator("#map-0 .contourfill path[style*='rgb(196, 223, 240)']").first.wait_for(timeout=10_000)
    assert trouble == []


def test_an_empty_study_opens_without_errors(opened: Opened, tmp_path: Path, make_results: Any) -> None:
    _, trouble = opened(build_report(make_results(tmp_path, num_trials=0)), 390, "light")
    assert trouble == []


def test_lines_of_trials_are_kept_by_ranges_on_their_axes(opened: Opened, report: Path) -> None:
    page, trouble = opened(report, 1280, "light")
    lines = page.locator(".parallel polyline")
    left_out = page.locator(".parallel polyline.left-out")
    assert lines.count() == 39 and left_out.count() == 0
    num_stable = page.locator('.parallel polyline[data-good="1"]').count()

    axis = page.locator(".parallel .brush").last
    axis.hover()  # scrolls there, and waits until it stands still
    box = axis.bounding_box()
    middle, bottom = box["x"] + box["width"] / 2, box["y"] + box["height"]
    # The stable outcomes are the lowest of the axis' levels.
    levels = page.locator(".parallel .axis").last.locator(".tick").count()
    page.mouse.move(middle, bottom - 1)
    page.mouse.down()
    page.mouse.move(middle, bottom - box["height"] * 2 / (levels + 1), steps=4)
    page.mouse.up()
    kept = page.inner_text("#kept")
    assert kept == f"{num_stable} of 39 lines kept: {num_stable} stable, 0 not"
    assert left_out.count() == 39 - num_stable
    assert kept in axis.get_attribute("aria-valuetext")

    rate = page.get_by_role("slider", name="learning rate")
    rate.focus()
    page.keyboard.press("ArrowUp")
    page.keyboard.press("ArrowUp")
    assert left_out.count() > 39 - num_stable, "both ranges hold together"
    page.keyboard.press("Escape")
    assert page.inner_text("#kept") == kept and rate.get_attribute("aria-valuetext") == "all"
    page.click("#keep-all")
    assert left_out.count() == 0 and page.inner_text("#kept") == ""

    line = page.locator('.parallel polyline[data-line="t0016"]')
    line.dispatch_event("click")
    assert page.inner_text("#trace-text").startswith("Trial 16 ")
    assert trouble == []
