"""A report to be shared: without names and facts of the machine and the people that it comes from.

Left out are the machine and the software that the study was run with. From every text go absolute paths and addresses,
and the names of this host and this user.
"""

import dataclasses
import getpass
import json
import re
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from markupsafe import escape

from sweep.report.contents.view import View

PATH, NAME = "(path)", "(name)"
"""What stands in the place of paths and addresses, and of names."""
_ANY_PATH = re.compile(r"(?<![\w/<.+=])(?:~|[A-Za-z]:)?(?:[\\/]{1,3}[^\s\\/<>\"'`,;:()\[\]&]+){2,}[\\/]?")
_TAG = re.compile(r"(<[^>]*>)")
_TAG_OF_ROW = re.compile(r"(</?(?:tr|td|input|button|small|svg|path|circle|rect|g|b|i|br|span|sub|sup)\b[^>]*>)")
"""Of the markup in what scripts work with; anything else in brackets is a text, such as Python's of an object."""
_TOLD = re.compile(r"(?<=\s)((?:title|aria-label|alt|placeholder|value|content)=\")([^\"]*)")
_OPEN = frozenset({"localhost", "root"})
"""Names that tell nothing."""


def without_machine(view: View) -> View:
    """The same study, as if nobody had written down what it was run on and with."""
    stored = view.stored
    made = {key: value for key, value in stored.made.items() if key not in ("host", "versions", "run")}
    content = {**stored.content, "provenance": made}
    provenance = stored.provenance.model_copy(update={"host": None, "versions": None})
    hidden = dataclasses.replace(stored, content=content, provenance=provenance)
    return View(dataclasses.replace(view.source, stored=hidden))


class Hidden:
    """Takes paths and names out of what a page says."""

    def __init__(self, view: View) -> None:
        """Finds out what there is to hide.

        Args:
            view: of the study as its folder has it.
        """
        folder = view.source.folder
        known = {str(folder.resolve()), str(Path.home()), *_paths(view.stored.content)}
        if folder.is_absolute():
            known.add(str(folder))
        # The longest first: one may hold another. What is as short as / may be anything.
        forms = {form for path in known if len(path) > 1 for form in (path, str(escape(path)))}
        self._paths = sorted(forms, key=len, reverse=True)
        names = {socket.gethostname(), socket.gethostname().partition(".")[0], _user()} - _OPEN - {""}
        self._names = re.compile(
            rf"(?<![\w-])(?:{'|'.join(map(re.escape, sorted(names)))})(?![\w-])" if names else r"(?!)"
        )

    def text(self, text: str) -> str:
        """A text without them."""
        return self._names.sub(NAME, self._without_paths(text))

    def html(self, html: str, tag: re.Pattern[str] = _TAG) -> str:
        """Markup without them; of its tags, names are only looked for in what is read."""
        parts = tag.split(self._without_paths(html))
        parts[::2] = (self._names.sub(NAME, part) for part in parts[::2])
        parts[1::2] = (_TOLD.sub(lambda found: found[1] + self.text(found[2]), part) for part in parts[1::2])
        return "".join(parts)

    def _without_paths(self, text: str) -> str:
        for path in self._paths:
            text = text.replace(path, PATH)
        return _ANY_PATH.sub(PATH, text)

    def json(self, text: str) -> str:
        """JSON, of which only strings are looked at that are no numbers in disguise, as Plotly's arrays are."""
        return json.dumps(self.values(json.loads(text)), separators=(",", ":"))

    def values(self, value: Any) -> Any:
        """The same of what JSON holds."""
        if isinstance(value, str):
            return self.html(value, _TAG_OF_ROW)
        if isinstance(value, list):
            return [self.values(one) for one in value]
        if isinstance(value, Mapping):
            return {key: one if key == "bdata" else self.values(one) for key, one in value.items()}
        return value


def _paths(value: Any) -> Iterator[str]:
    """The absolute paths among the settings of a study, whatever stands in them."""
    if isinstance(value, str):
        if Path(value).is_absolute() and len(Path(value).parts) > 1:
            yield value
    elif isinstance(value, Mapping):
        for one in value.values():
            yield from _paths(one)
    elif isinstance(value, list):
        for one in value:
            yield from _paths(one)


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        # There are containers whose user has no name.
        return ""
