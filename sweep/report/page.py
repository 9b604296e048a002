"""View -> HTML."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from markupsafe import Markup

from sweep.report.contents.view import View
from sweep.report.payload import NO_TRIALS, figures_payload, packed
from sweep.report.private import Hidden, without_machine
from sweep.report.sections.every import sections_of
from sweep.report.sections.section import FailedSection, made
from sweep.report.templating import FOLDER, template
from sweep.report.theme import css_classes, css_variables

_PLOTLY = Path(__file__).parent / "vendor" / "plotly-cartesian.min.js"
"""plotly.js's own bundle of the kinds of figures with two axes, which starts in half the time of the whole
(https://github.com/plotly/plotly.js/blob/master/dist/README.md)."""
_SCRIPTS = ("figures", "link", "trials", "courses", "parallel", "export", "page")
"""In their order; they share one scope."""


@dataclass(frozen=True)
class ReportPage:
    """The whole page; it needs nothing but itself."""

    html: str
    failed: tuple[FailedSection, ...]
    """Sections in whose place a card says why they could not be made."""
    damaged: tuple[str, ...]
    """Files that the page does without, each in a sentence that says what is wrong and what to do."""


def render(view: View, *, private: bool = False) -> ReportPage:
    """Makes the page. A section that fails leaves the others as they are.

    Args:
        view: what it shows.
        private: whether it names neither the machine nor the people that it comes from.

    Raises:
        ResultsError: a file of the results folder is damaged.
    """
    hidden = Hidden(view) if private else None
    shown = without_machine(view) if private else view
    sections = [one for section in sections_of(shown) if (one := made(section, shown)) is not None]
    figures: Mapping[str, Any] = {name: figure for one in sections for name, figure in one.figures.items()}
    data = {"trials": NO_TRIALS, "courses": "{}", "answer": "{}"} | {
        k: text for one in sections for k, text in one.data.items()
    }
    told = (view.study.name, view.study.description, *view.damaged)
    if hidden is not None:
        sections = [dataclasses.replace(one, html=Markup(hidden.html(one.html))) for one in sections]
        figures, data = hidden.values(figures), {name: hidden.json(text) for name, text in data.items()}
        told = tuple(map(hidden.text, told))
    name, description, *damaged = told
    html = template("page").render(
        name=name,
        description=description,
        sections=sections,
        damaged=damaged,
        light_css=Markup(css_variables(dark=False)),
        dark_css=Markup(css_variables(dark=True)),
        classes=Markup(css_classes()),
        css=Markup((FOLDER / "page.css").read_text(encoding="utf-8")),
        script=Markup("".join((FOLDER / f"{name}.js").read_text(encoding="utf-8") for name in _SCRIPTS)),
        plotly=_plotly(),
        payload=packed(figures_payload(figures, is_ctc=not view.study.is_own)),
        trials_payload=packed(data["trials"]),
        answer_payload=packed(data["answer"]),
        courses_payload=packed(data["courses"]),
    )
    return ReportPage(html, tuple(one.failed for one in sections if one.failed is not None), view.damaged)


@lru_cache(maxsize=1)
def _plotly() -> str:
    return packed(_PLOTLY.read_text(encoding="utf-8"))
