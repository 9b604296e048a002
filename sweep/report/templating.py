"""The page's templates, with what all of them may say: formats of numbers, and marks of outcomes."""

from functools import lru_cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup

from sweep.analysis.trials.dimensions import plain
from sweep.records import Outcome, few_words
from sweep.report.theme import svg_symbol, svg_verdict
from sweep.wording import duration, number, percent, value_text

FOLDER = Path(__file__).parent / "templates"


def template(name: str) -> Template:
    """The template of this name, without its ending."""
    return _environment().get_template(f"{name}.html")


@lru_cache(maxsize=1)
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_unbroken,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        number=number, percent=percent, value=value_text, duration=duration, plain=plain, few_words=few_words,
        verdict_mark=lambda verdict: Markup(svg_verdict(verdict)),
    )  # fmt: skip
    environment.globals.update(
        symbol=lambda outcome: Markup(svg_symbol(Outcome(outcome))),
        number=number,
        duration=duration,
        exact_percent=lambda rate: percent(rate, 1),
        thousands="{:,.0f}".format,
    )
    return environment


def _unbroken(value: Any) -> Any:
    """Keeps a number and its percent sign on one line."""
    return value.replace(" %", "\u00a0%") if type(value) is str else value
