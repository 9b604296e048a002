"""A section of the page: whether it applies, what it holds, and what stands in its place where it cannot be made."""

import json
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from markupsafe import Markup

from slr_models.errors import UserError
from sweep.report.contents.view import View
from sweep.report.figures.panel import Panel
from sweep.report.templating import template

_MAX_REASON = 300
"""Characters of an exception's message that a reader sees."""


@dataclass(frozen=True)
class Content:
    """What a section holds."""

    words: Mapping[str, Any]
    """The names that its template uses."""
    figures: Mapping[str, Sequence[Panel]] = field(default_factory=dict)
    """Name of a figure -> its panels; the template has a place for each of them."""
    data: Mapping[str, str] = field(default_factory=dict)
    """What the page's script reads of this section: name of a packed block -> JSON."""


@dataclass(frozen=True)
class Section:
    """A part of the page; it knows nothing of the others."""

    anchor: str
    """Its id in the page; its template has this name."""
    title: str
    """In the page's list of sections."""
    content: Callable[[View], Content]
    applies: Callable[[View], bool] = lambda view: True
    """Whether this study has such a section."""


@dataclass(frozen=True)
class FailedSection:
    """A section that could not be made."""

    title: str
    reason: str
    """The exception, in a line."""
    traceback: str


@dataclass(frozen=True)
class MadeSection:
    """A section of a page, or the card that stands in its place."""

    anchor: str
    title: str
    html: Markup
    figures: Mapping[str, Any]
    """Id of an element -> its figure as JSON has it."""
    data: Mapping[str, str]
    failed: FailedSection | None = None


def made(section: Section, view: View) -> MadeSection | None:
    """The section of a study; None where it does not apply. Whatever goes wrong in it, the others stand.

    Raises:
        UserError: a file of the results folder is damaged, which is for the user to mend.
    """
    try:
        if not section.applies(view):
            return None
        content = section.content(view)
        html = Markup(template(section.anchor).render(content.words))
        return MadeSection(section.anchor, section.title, html, _figures(content), content.data)
    except UserError:
        raise
    except Exception as error:
        text = " ".join(f"{type(error).__name__}: {error}".split())
        reason = text if len(text) <= _MAX_REASON else f"{text[:_MAX_REASON]} ..."
        failed = FailedSection(section.title, reason, traceback.format_exc())
        html = Markup(template("failed").render(anchor=section.anchor, title=section.title, reason=reason))
        return MadeSection(section.anchor, section.title, html, {}, {}, failed)


def _figures(content: Content) -> dict[str, Any]:
    return {
        f"{name}-{index}": json.loads(panel.figure.to_json())
        for name, panels in content.figures.items()
        for index, panel in enumerate(panels)
        if panel.figure is not None
    }
