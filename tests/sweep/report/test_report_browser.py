import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import axe_playwright_python.sync_playwright as axe
import pytest

from sweep import store
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
    values = [float(text) for text in page.locator("#table tbody tr td:nth-child(8)").all_inner_texts()]
    assert len(values) == 39 and values == sorted(values)
    assert page.get_attribute("#table th:has-text('learning rate')", "aria-sort") == "ascending"

    page.select_option("#pick", label="Typical scaler-collapse")
    page.locator("#trace-text b", has_text="scaler-collapse").wait_for()
    page.locator("#trace .ytitle", has_text="loss").first.wait_for()
    assert "loss scale" in page.locator("#trace .infolayer").text_content()
    page.click("[data-trial=t0016]")
    page.locator("#trace .annotation-text", has_text="would have been stopped: stalled").wait_for()
    page.click("[data-trial=t0000]")
    page.locator("#trace-text").get_by_text("Trial 0:").wait_for()
    assert page.locator("#table tr.chosen").get_attribute("data-id") == "t0000"
    assert trouble == []


def test_several_trials_are_compared_in_one_figure(opened: Opened, report: Path) -> None:
    page, trouble = opened(report, 1280, "light")
    page.click("[data-trial=t0001]")
    page.check("[data-compare=t0005]")
    page.check("[data-compare=t0016]")
    page.get_by_text("3 trials in the figure").wait_for()
    losses = page.evaluate(
        "document.querySelector('#trace').data.filter(one => one.name.endsWith('training loss'))"
        ".map(one => [one.name, one.line.color])"
    )
    assert [name for name, _ in losses] == ["1: training loss", "5: training loss", "16: training loss"]
    assert len({colour for _, colour in losses}) == 3
    assert page.locator("#trace-text li").count() == 3 and page.url.endswith("#trials=1,5,16")
    for trial_id in ("t0002", "t0003", "t0004"):
        page.check(f"[data-compare={trial_id}]")
    page.get_by_text("6 trials in the figure").wait_for()
    assert page.is_disabled("[data-compare=t0007]") and not page.is_checked("[data-compare=t0007]"), "six at most"
    page.click("[aria-label='Remove trial 5 from the figure']")
    page.get_by_text("5 trials in the figure").wait_for()
    assert not page.is_checked("[data-compare=t0005]")
    page.reload()
    page.locator("body[data-ready]").wait_for()
    assert page.locator("#trace-text li").count() == 5, "a link names the trials"
    assert not page.is_disabled("[data-compare=t0007]")
    page.click("#next")
    page.locator("#trace-text").get_by_text("Trial 5:").wait_for()
    page.fill("#filter", "t0017 nonsense")
    page.get_by_text("No trial says all of these words.").wait_for()
    page.fill("#filter", "t0017")
    assert page.inner_text("#count") == "1 of 39"
    with page.expect_navigation():
        page.evaluate("location.hash = '#trials=7,9999,abc'")
    page.locator("body[data-ready]").wait_for()
    assert page.locator("#trace-text li").count() == 1 and "Trial 7:" in page.inner_text("#trace-text")
    assert page.inner_text("#compared") == "No trial 9999, abc in this report."
    assert trouble == []


def test_the_map_has_its_edge_and_leads_to_the_trials(opened: Opened, report: Path) -> None:
    page, trouble = opened(report, 1280, "light")
    lines = page.locator("#map-0 .contourlevel path").evaluate_all("all => all.map(n => getComputedStyle(n).stroke)")
    assert {"rgb(27, 31, 35)", "rgb(184, 74, 0)"} <= set(lines), "95 % stable, and the hot edge"
    plot = page.locator("#map-0 .nsewdrag").bounding_box()
    page.mouse.click(plot["x"] + 0.5 * plot["width"], plot["y"] + 0.03 * plot["height"])
    mark = page.locator("#map-0 .scatterlayer .trace .point").first.bounding_box()
    page.mouse.click(mark["x"] + mark["width"] / 2, mark["y"] + mark["height"] / 2)
    assert "fp32" in page.inner_text("#trace-text"), "a click on the first panel shows a trial of its precision"
    assert "fp32" in page.locator("#table tr.chosen").inner_text()
    assert trouble == []


def test_the_map_can_be_drawn_over_any_two_settings(opened: Opened, tmp_path: Path, make_results: Any) -> None:
    full_size = {"path": "model.width", "target": 1.0, "trainings": 2}
    report = build_report(make_results(tmp_path, num_trials=54, full_size=full_size))
    page, trouble = opened(report, 1280, "light")
    every = page.locator("#plane option").all_inner_texts()
    pairs = {"learning rate and clip norm", "learning rate and width"}
    assert every[0] == "learning rate and clip norm" and pairs < set(every) and len(every) == 3
    page.select_option("#plane", label="learning rate and width")
    page.locator("#map1-0 .ytitle", has_text="width").wait_for()
    assert page.locator("#map1-0 .contourlayer .contour").count() >= 3 and not page.is_visible("#map-0")
    page.locator("#map1-0 .scatterlayer .point").first.wait_for()
    assert trouble == []


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_people_who_do_not_see_or_point_can_use_the_page(opened: Opened, report: Path, width: int, scheme: str) -> None:
    page, _ = opened(report, width, scheme)
    page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
    page.check("[data-compare=t0005]")
    page.get_by_text("2 trials in the figure").wait_for()
    found = axe.Axe().run(page)
    told = [f"{v['id']}: {v['help']}: {v['nodes'][0]['html'][:200]}" for v in found.response["violations"]]
    assert told == [] and len(found.response["passes"]) > 20


def test_the_page_is_used_by_keyboard(opened: Opened, report: Path) -> None:
    page, trouble = opened(report, 1280, "light")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the answer"
    page.focus("#filter")
    page.keyboard.type("scaler")
    page.focus("#table th:has-text('learning rate') button")
    page.keyboard.press("Enter")
    assert page.get_attribute("#table th:has-text('learning rate')", "aria-sort") == "ascending"
    first = page.locator("#table tbody tr").first
    first.locator("[data-compare]").focus()
    page.keyboard.press("Space")
    page.get_by_text("2 trials in the figure").wait_for()
    first.locator("[data-trial]").focus()
    page.keyboard.press("Enter")
    page.locator("#trace-text b", has_text=f"Trial {first.locator('[data-trial]').inner_text()}:").wait_for()
    assert trouble == []


def test_it_prints_light_and_whole(opened: Opened, report: Path) -> None:
    page, trouble = opened(report, 1280, "dark")
    page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    page.locator("#map-0 .point[style*='rgb(0, 114, 178)']").first.wait_for(timeout=10_000)
    page.emulate_media(media="print")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    cut = page.evaluate(
        "[...document.querySelectorAll('.scroll')].filter(one => getComputedStyle(one).overflow !== 'visible').length"
    )
    assert cut == 0 and not page.is_visible("#filter"), "no table is cut off, and nothing asks to be clicked"
    assert len(page.pdf(format="A4")) > 100_000
    assert trouble == []


def test_the_recipe_and_the_code_can_be_copied(opened: Opened, report: Path) -> None:
    page, trouble = opened(report, 1280, "light")
    page.evaluate("document.body.append(document.createElement('textarea'))")
    for name, button in (("recipe", page.get_by_role("button", name="Copy recipe")), ("snippet", None)):
        if button is None:
            button = page.locator(f"[data-copy={name}]")
            page.locator("details", has=button).locator("summary").click()
        button.click()
        page.locator(f"[data-copy={name}] + [role=status]").get_by_text("Copied.").wait_for(timeout=5_000)
        page.locator("textarea").fill("")
        page.locator("textarea").press("ControlOrMeta+v")
        text = page.locator(f"#{name}").text_content()
        assert page.locator("textarea").input_value().strip() == text.strip() != ""
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
    page.locator("#trace-text b", has_text="Trial 16:").wait_for()
    assert trouble == []


def save(page: Any, name: str) -> str:
    """The file that a button gives."""
    with page.expect_download() as told:
        page.click(f"[data-export='{name}']")
    assert told.value.suggested_filename == f"precision-and-lr-{name}"
    return Path(told.value.path()).read_text(encoding="utf-8")


def test_trials_and_answer_are_saved_as_csv_and_json(opened: Opened, report: Path) -> None:
    page, trouble = opened(report, 1280, "light")
    rows = list(csv.DictReader(io.StringIO(save(page, "trials.csv"))))
    trials = store.read_trials(report.parent).set_index("trial_id")
    assert [row["trial"] for row in rows] == list(trials.index)
    lr = trials["training.optimizer.lr"]
    assert all(float(row["training.optimizer.lr"]) == pytest.approx(lr[row["trial"]], rel=1e-5) for row in rows)
    assert [row["Reason"] for row in rows] == [str(reason) for reason in trials["reason"].fillna("")]
    page.fill("#filter", "fp16 scaler")
    page.click("#table th:has-text('learning rate') button")
    told = json.loads(save(page, "trials.json"))
    shown = page.locator("#table tbody tr").evaluate_all("rows => rows.map(row => row.dataset.id)")
    assert [one["trial"] for one in told] == shown and len(shown) < len(rows)
    assert {one["Outcome"] for one in told} == {"scaler-collapse"} and isinstance(
        told[0]["training.optimizer.lr"], float
    )
    answer = json.loads(save(page, "answer.json"))
    assert answer["headline"] == page.inner_text("#answer .headline").replace("\u00a0", " ")
    assert set(answer["settings"]) == {"training.precision.kind", "training.optimizer.lr", "training.clip.max_norm"}
    said = page.inner_text("#answer").replace("\u00a0", " ")
    assert answer["caveats"] and all(one.replace("\u00a0", " ") in said for one in answer["caveats"])
    flat = dict(list(csv.reader(io.StringIO(save(page, "answer.csv"))))[1:])
    assert flat["headline"] == answer["headline"] and flat["caveats.0"] == answer["caveats"][0]
    assert [one for one in trouble if not one.startswith("blob:")] == []


def test_the_address_holds_what_is_seen_and_brings_it_back(opened: Opened, report: Path) -> None:
    page, _ = opened(report, 1280, "light")
    page.fill("#filter", "fp16 & nan")
    page.fill("#filter", "fp16")
    page.select_option("#only", "stable")
    for _ in range(2):
        page.click("#table th:has-text('learning rate') button")
    page.check("#table tbody tr:nth-child(2) [data-compare]")
    page.locator("#made details summary").nth(1).click()
    brush = page.locator(".parallel .brush").first
    brush.focus()
    brush.press("ArrowUp")
    if page.locator("#plane").count():
        page.select_option("#plane", index=1)
    seen = state(page)
    assert seen["sort"] == ["descending"] and seen["open"] and seen["kept"] and len(seen["chosen"]) == 2
    link = page.url
    other = page.context.browser.new_page(viewport={"width": 1280, "height": 900})
    other.goto(link)
    other.wait_for_selector("body[data-ready]", timeout=60_000)
    assert state(other) == seen and other.url == link
    with other.expect_navigation():
        other.evaluate("location.hash = 'only=stalled'")
    other.wait_for_selector("body[data-ready]", timeout=60_000)
    assert state(other)["only"] == "stalled" and state(other)["filter"] == "", "another address is another view"


def state(page: Any) -> dict[str, Any]:
    """What a reader chose."""
    seen: dict[str, Any] = page.evaluate(
        """() => ({
        filter: document.querySelector("#filter").value, only: document.querySelector("#only").value,
        sort: [...document.querySelectorAll("th[aria-sort]:not([aria-sort=none])")].map((one) => one.ariaSort),
        rows: [...document.querySelectorAll("#table tbody tr")].map((one) => one.dataset.id),
        chosen: [...document.querySelectorAll("#trace-text li b")].map((one) => one.textContent),
        open: [...document.querySelectorAll("details")].map((one) => one.open).flatMap((is, at) => is ? [at] : []),
        kept: document.querySelector("#kept").textContent, plane: document.querySelector("#plane")?.value,
        shown: [...document.querySelectorAll("[data-plane]")].map((one) => one.hidden),
        })"""
    )
    return seen
