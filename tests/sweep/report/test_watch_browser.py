"""A reader watches a study in a browser: the page follows, and what the reader did to it stays."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.browser, pytest.mark.slow]
Tree = dict[str, tuple[int, int]]


def tree(folder: Path) -> Tree:
    """Every file with its size and time of change."""
    return {str(path): (path.stat().st_size, path.stat().st_mtime_ns) for path in folder.rglob("*")}


class Watched:
    """A page that watches a folder, through the real command."""

    def __init__(self, browser: Any, folder: Path) -> None:
        self.folder = folder
        command = [sys.executable, "-m", "sweep.watch", str(folder), "--port", "0"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        found = re.search(r"http://127\.0\.0\.1:\d+/", self.process.stdout.readline())
        assert found
        self.url = found[0]
        self.page = browser.new_page(viewport={"width": 1280, "height": 900})
        self.trouble: list[str] = []
        self.page.on("console", lambda message: self.trouble.append(message.text))
        self.page.on("pageerror", lambda error: self.trouble.append(str(error)))
        self.page.goto(self.url)
        self.report = self.page.frame_locator("iframe:not(.coming)")
        self.report.locator("body[data-ready=yes]").wait_for(timeout=90_000)
        # What an earlier visit left is put back after the figures are drawn.
        self.page.wait_for_timeout(300)

    @property
    def version(self) -> str:
        return str(self.page.locator("iframe:not(.coming)").get_attribute("src"))

    def stop(self) -> tuple[int, str]:
        # Also where SIGINT is ignored, as in what a script starts in the background.
        self.process.send_signal(signal.SIGTERM)
        _, errors = self.process.communicate(timeout=30)
        return self.process.returncode, errors


@pytest.fixture
def watch(browser: Any) -> Iterator[Callable[[Path], Watched]]:
    opened: list[Watched] = []

    def watch_(folder: Path) -> Watched:
        opened.append(Watched(browser, folder))
        return opened[-1]

    yield watch_
    for one in opened:
        one.page.close()
        if one.process.poll() is None:
            one.stop()


def test_the_page_follows_and_keeps_what_the_reader_did(
    watch: Callable[[Path], Watched], tmp_path: Path, make_results: Callable[..., Path]
) -> None:
    seen = watch(make_results(tmp_path, num_trials=18))
    report, page = seen.report, seen.page
    at_top = "node => node.getBoundingClientRect().top"
    report.locator("[data-trial=t0008]").first.click()
    report.locator("[data-compare=t0002]").check()
    report.locator("#filter").fill("fp16")
    report.locator("#only").select_option("stable")
    heading = report.locator("#table th:has-text('learning rate')")
    heading.locator("button").click()
    heading.locator("button").click()
    report.locator("details summary").first.click()
    plot = report.locator("#lr-0 .nsewdrag").first
    plot.scroll_into_view_if_needed()
    box = plot.bounding_box()
    page.mouse.move(box["x"] + 0.3 * box["width"], box["y"] + 0.3 * box["height"])
    page.mouse.down()
    page.mouse.move(box["x"] + 0.6 * box["width"], box["y"] + 0.7 * box["height"], steps=4)
    page.mouse.up()
    zoom = "node => JSON.stringify([node.layout.xaxis.range, node.layout.yaxis.range])"
    zoomed = report.locator("#lr-0").evaluate(zoom)
    report.locator("#trials").evaluate("node => node.scrollIntoView({behavior: 'instant'})")
    before, top = seen.version, report.locator("#trials").evaluate(at_top)
    shown = int(report.locator("#count").inner_text().split(" of ")[1])

    make_results(tmp_path, num_trials=19)
    report.locator("#count", has_text=f" of {shown + 1}").wait_for(timeout=90_000)

    assert seen.version != before
    assert report.locator("#filter").input_value() == "fp16"
    assert report.locator("#only").input_value() == "stable"
    rows = report.locator("#table tbody tr:visible").all_inner_texts()
    assert rows and all("fp16" in row for row in rows)
    chosen = report.locator("#trace-text").inner_text()
    assert "Trial 8:" in chosen and "Trial 2:" in chosen
    assert heading.get_attribute("aria-sort") == "descending"
    assert report.locator("details").first.evaluate("node => node.open")
    assert report.locator("#lr-0").evaluate(zoom) == zoomed
    assert report.locator("#trials").evaluate(at_top) == pytest.approx(top, abs=1)
    assert page.locator("iframe").count() == 1

    page.reload()
    report.locator("body[data-ready=yes]").wait_for(timeout=60_000)
    page.wait_for_timeout(500)
    assert report.locator("#filter").input_value() == "fp16"
    assert report.locator("#trace-text").inner_text() == chosen
    assert report.locator("#trials").evaluate(at_top) == pytest.approx(top, abs=1)
    assert seen.trouble == []


def test_a_reader_who_selects_or_pauses_is_not_disturbed(
    watch: Callable[[Path], Watched], tmp_path: Path, make_results: Callable[..., Path]
) -> None:
    seen = watch(make_results(tmp_path, num_trials=6))
    page, before = seen.page, seen.version
    seen.report.locator("h1").evaluate("node => getSelection().selectAllChildren(node)")
    make_results(tmp_path, num_trials=7)
    page.get_by_text("new results from").wait_for(timeout=90_000)
    page.get_by_role("button", name="Show now").wait_for(timeout=60_000)
    page.wait_for_timeout(2_500)
    assert seen.version == before, "it waits for the selection to end"
    page.get_by_role("button", name="Pause").click()
    seen.report.locator("h1").evaluate("() => getSelection().removeAllRanges()")
    page.wait_for_timeout(2_500)
    assert seen.version == before, "it waits for the pause to end"
    page.get_by_role("button", name="Show now").click()
    page.locator(f"iframe:not(.coming):not([src='{before}'])").wait_for(timeout=90_000)
    assert seen.trouble == []


def test_a_watcher_leaves_no_trace(
    watch: Callable[[Path], Watched], tmp_path: Path, make_results: Callable[..., Path]
) -> None:
    folder = make_results(tmp_path / "study", num_trials=0)
    before = tree(tmp_path)
    seen = watch(folder)
    children = Path(f"/proc/{seen.process.pid}/task/{seen.process.pid}/children")
    worker = [int(pid) for pid in children.read_text().split()] if children.exists() else []
    started = time.monotonic()
    assert seen.stop() == (0, "")
    assert time.monotonic() - started < 10
    assert tree(tmp_path) == before
    for pid in worker:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_a_folder_that_is_no_study_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    done = subprocess.run(
        [sys.executable, "-m", "sweep.watch", str(tmp_path)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
