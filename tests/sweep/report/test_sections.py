"""Sections that fail alone, and what all of them rest on made once."""

import base64
import gzip
import html
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from slr_models.errors import ResultsError
from sweep.analysis.answer.recommend import recommend
from sweep.analysis.answer.safe_setting import Rule
from sweep.boundary.model import MarginModel
from sweep.report import build_report
from sweep.report.__main__ import main
from sweep.report.contents.view import View, load_view
from sweep.report.page import render
from sweep.report.sections import every
from sweep.report.sections.section import Content, Section

Make = Callable[..., Path]
ANCHORS = [section.anchor for section in every.SECTIONS]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, make_results: Make, make_claim: Callable[..., Any]) -> Path:
    """A study that has every section: a search that looks at cost and asks for a full size, with a claim besides."""
    design = {
        "kind": "paired", "blocks": 8, "looks": 4, "fraction": "full", "seed": 0,
        "factors": {"precision": {kind: {"training.precision.kind": kind} for kind in ("fp32", "fp16")}},
    }  # fmt: skip
    return make_results(
        tmp_path_factory.mktemp("whole"),
        num_trials=30,
        search={"kind": "nsga2", "cost": "step_time_s"},
        full_size={"path": "model.width", "target": 1.0, "trainings": 2},
        design=design,
        claims=[make_claim("one")],
    )


def sections_in(page: str) -> dict[str, str]:
    return dict(re.findall(r'<section id="(\w+)"[^>]*>(.*?)</section>', page, re.DOTALL))


def payload(page: str, name: str) -> Any:
    packed = re.search(rf'id="{name}-gz">([^<]+)<', page)
    assert packed is not None
    return json.loads(gzip.decompress(base64.b64decode(packed.group(1))))


def broken(error: Exception) -> Callable[[View], Content]:
    def content(view: View) -> Content:
        raise error

    return content


def with_section(monkeypatch: pytest.MonkeyPatch, anchor: str, **changes: Any) -> None:
    changed = tuple(replace(one, **changes) if one.anchor == anchor else one for one in every.SECTIONS)
    monkeypatch.setattr(every, "SECTIONS", changed)


@pytest.fixture(scope="module")
def sound(view: View) -> dict[str, str]:
    """The sections of the page without a failure."""
    page = render(view)
    assert page.failed == ()
    found = sections_in(page.html)
    assert set(found) == set(ANCHORS)
    return found


@pytest.fixture(scope="module")
def view(whole: Path) -> View:
    """One view for all: what it has computed it keeps."""
    return load_view(whole)


@pytest.mark.parametrize("anchor", ANCHORS)
def test_a_section_that_fails_is_a_card_with_the_reason_and_the_others_stand(
    view: View, sound: dict[str, str], monkeypatch: pytest.MonkeyPatch, anchor: str
) -> None:
    with_section(monkeypatch, anchor, content=broken(ZeroDivisionError("a <b> in\nthe analysis")))
    page = render(view)
    found = sections_in(page.html)
    title = next(section.title for section in every.SECTIONS if section.anchor == anchor)
    assert [failed.title for failed in page.failed] == [title]
    assert {name: text for name, text in found.items() if name != anchor} == {
        name: text for name, text in sound.items() if name != anchor
    }
    card = html.unescape(re.sub(r"<[^>]+>", " ", found[anchor]))
    assert "The rest of the page stands." in card and "ZeroDivisionError: a <b> in the analysis" in card
    assert f'<a href="#{anchor}">{title}</a>' in page.html
    assert "Traceback" not in page.html and "Traceback" in page.failed[0].traceback
    ids = set(re.findall(r'<div class="plot" id="([\w-]+)"', page.html)) - {"trace"}
    assert set(payload(page.html, "payload")["figures"]) == ids, "every figure has its place"
    assert set(payload(page.html, "trials")) == {"ids", "numbers", "outcomes", "rows", "sort", "settings", "told"}
    assert bool(payload(page.html, "courses")) == (anchor != "traces")


def test_a_template_that_fails_and_a_question_whether_it_applies_are_cards_too(
    view: View, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_section(monkeypatch, "made", content=lambda view: Content({}))
    with_section(monkeypatch, "front", applies=lambda view: 1 / 0)
    page = render(view)
    reasons = {failed.title: failed.reason for failed in page.failed}
    assert reasons["Result against cost"] == "ZeroDivisionError: division by zero"
    assert reasons["How it was made"].startswith("UndefinedError: 'limits' is undefined")


@pytest.mark.slow
def test_an_analysis_that_fails_costs_only_the_sections_that_need_it(
    whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise ArithmeticError("no such thing")

    monkeypatch.setattr("sweep.report.contents.view.importance_table", fails)
    assert [one.title for one in render(load_view(whole)).failed] == ["What matters"]
    monkeypatch.setattr("sweep.report.contents.view.spending", fails)
    assert [one.title for one in render(load_view(whole)).failed] == ["What matters", "Cost"]


def test_the_command_tells_on_stderr_and_ends_well(
    tmp_path: Path, make_results: Make, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make_results(tmp_path, num_trials=2, num_confirm=0)
    with_section(monkeypatch, "map", content=broken(KeyError("lost")))
    assert main([str(folder)]) == 0
    told = capsys.readouterr()
    first = told.err.splitlines()[0]
    assert first.startswith("warning: ") and "'Stable region'" in first and "KeyError: 'lost'" in first
    assert "Traceback" in told.err and told.out.splitlines()[-1] == str(folder / "report.html")


def test_a_damaged_table_of_trials_is_the_users_to_mend(tmp_path: Path, make_results: Make) -> None:
    folder = make_results(tmp_path, num_trials=2, num_confirm=0)
    (folder / "trials.parquet").write_text("{")
    with pytest.raises(ResultsError, match="trials.parquet cannot be read"):
        build_report(folder)


def test_a_sections_name_is_that_of_its_template() -> None:
    assert len(set(ANCHORS)) == len(ANCHORS) and all(isinstance(section, Section) for section in every.SECTIONS)
    for anchor in ANCHORS:
        assert (Path(every.__file__).parents[1] / "templates" / f"{anchor}.html").is_file()


@pytest.mark.slow
def test_a_report_fits_the_model_of_the_boundary_once(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fitted: list[Any] = []
    made = MarginModel.__init__

    def noted(self: MarginModel, encoding: Any, settings: Any, margins: Any, **more: Any) -> None:
        fitted.append((list(settings), tuple(margins)))
        made(self, encoding, settings, margins, **more)

    monkeypatch.setattr(MarginModel, "__init__", noted)
    view = load_view(results)
    assert render(view).failed == () and view.recommendation.safety is not None
    of_all = [margins for settings, margins in fitted if settings == view.evidence.settings]
    assert 1 <= len(of_all) == len(set(of_all)) <= 2, "of the boundary and of breaking; all others leave settings out"
    num = len(fitted)
    recommend(view.evidence, view.study.objective, Rule(3.0, 0.95))
    assert len(fitted) == num


@pytest.mark.browser
@pytest.mark.parametrize("anchor", ["answer", "map", "trials", "traces", "matters"])
def test_the_pages_script_works_without_a_section(
    tmp_path: Path, whole: Path, view: View, monkeypatch: pytest.MonkeyPatch, opened: Callable[..., Any], anchor: str
) -> None:
    with_section(monkeypatch, anchor, content=broken(ValueError("lost")))
    path = tmp_path / "report.html"
    path.write_text(render(view).html, encoding="utf-8")
    page, trouble = opened(path, 1200, "light")
    if anchor not in ("trials", "traces"):
        page.click("#table [data-trial] >> nth=1")
        page.wait_for_selector("#trace .main-svg")
    assert trouble == [] and page.locator(f"#{anchor}").inner_text().count("could not be made") == 1
    page.close()
