"""python -m sweep.compare A B: what changed between two studies, regressions first."""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from rich.console import Console

from slr_models.errors import ResultsError, UserError
from sweep import store
from sweep.analysis.comparison.changes import ALPHA, StudyChange, Told, Verdict
from sweep.analysis.comparison.compare import Comparison, compare
from sweep.analysis.comparison.settings import TITLES, Difference
from sweep.analysis.comparison.shared import StudyRun
from sweep.analysis.trials.tried import space_of
from sweep.command_line import tell_user_error
from sweep.wording import number, percent, plural, value_text

EXIT_REGRESSION = 1
MAX_SETTINGS = 6
"""Differing settings that a line names."""

KINDS: tuple[tuple[str, Verdict, str], ...] = (
    ("Regressions", "regression", "red"),
    ("Improvements", "improvement", "green"),
    ("No difference that can be told", "open", ""),
)
"""Heading, verdict and rich style of the changes."""
Line = tuple[str, str]
"""Text and its rich style."""


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code: 0 without a regression, 1 with one, 2 for a user's mistake."""
    parser = argparse.ArgumentParser(
        prog="python -m sweep.compare",
        description="Tell what changed from one study to another: stable region, best result, outcomes, cost, claims. "
        "Exit code 1 where something became worse beyond chance.",
    )
    parser.add_argument("before", type=Path, metavar="A", help="results folder of a study, such as results/before")
    parser.add_argument("after", type=Path, metavar="B", help="results folder that is held against it")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the same as JSON")
    options = parser.parse_args(arguments)
    try:
        found = compare_folders(options.before, options.after)
        if options.json is not None:
            _write_json(options.json, found, options.before, options.after)
    except UserError as error:
        return tell_user_error(error)
    console = Console(soft_wrap=True)
    for text, style in lines(found, options.before, options.after):
        console.print(text, style=style or None, highlight=False, markup=False)
    return EXIT_REGRESSION if found.of("regression") else 0


def compare_folders(before: Path, after: Path) -> Comparison:
    """Compares two results folders.

    Raises:
        ResultsError: one of them is no results folder, both are the same, or nothing can be compared.
    """
    runs = [_run(before), _run(after)]
    if before.resolve() == after.resolve():
        raise ResultsError(f"{before} and {after} are the same folder: give two")
    return compare(*runs)


def _run(results_dir: Path) -> StudyRun:
    study = store.read_study(results_dir)
    try:
        space_of(study.get("space") or {})
    except ValidationError as error:
        why = f"{results_dir / 'study.yaml'} was edited: its space is not valid ({error.errors()[0]['msg']})"
        raise ResultsError(f"{why}; bring the file back as it was") from error
    return StudyRun(study, store.read_trials(results_dir), tuple(store.read_claims(results_dir)))


def lines(found: Comparison, before: Path, after: Path) -> Iterator[Line]:
    """The comparison for a person."""
    yield f"A: {before}", ""
    yield f"B: {after}", ""
    yield _verdict(found)
    for title, verdict, style in KINDS:
        changes = found.of(verdict)
        if changes:
            yield from _heading(title)
            for change in changes:
                yield from _change_lines(change, style)
    if found.incomparable:
        yield from _heading("Cannot be compared")
        for one in found.incomparable:
            yield f"  {one.subject}: {one.why}", ""
    yield from _heading("What was compared")
    for sentence in found.basis:
        yield f"  {sentence}", ""
    yield (
        f"  95 % intervals; p corrected for all tests, so that any false alarm has a chance of about {percent(ALPHA)}",
        "",
    )
    yield from _setting_lines(found.settings)
    yield from _told("Stable region", found.region)
    yield from _told("Best setting", found.best)
    yield from _told("Outcomes of all trainings of the shared part, new or gone", found.outcomes)
    yield from _told("Cost (told, not judged)", found.costs)
    yield from _told("Claims whose verdict changed", found.claims)
    if found.num_claims_same:
        yield f"  {plural(found.num_claims_same, 'claim')} with the same verdict", ""


def _verdict(found: Comparison) -> Line:
    worse, better, open_ = (len(found.of(verdict)) for _, verdict, _ in KINDS)
    text = (
        f"{plural(worse, 'regression')}, {plural(better, 'improvement')}, {open_} without a difference that can be told"
    )
    return text, "bold red" if worse else "bold green"


def _heading(title: str) -> Iterator[Line]:
    yield "", ""
    yield title, "bold"


def _change_lines(change: StudyChange, style: str) -> Iterator[Line]:
    yield f"  {change.subject}: {change.difference}", style
    yield f"      {change.before} -> {change.after}; {change.test}, {_p_text(change)}", ""


def _p_text(change: StudyChange) -> str:
    # What counts is the corrected one.
    return f"p = {number(change.p_corrected, 2)}" if change.num_tests else "which so few cannot show to differ"


def _told(title: str, facts: Sequence[Told]) -> Iterator[Line]:
    if not facts:
        return
    yield from _heading(title)
    for fact in facts:
        note = f"  [{fact.note}]" if fact.note else ""
        same = fact.before == fact.after
        yield f"  {fact.subject}: {f'{fact.before} in both' if same else f'{fact.before} -> {fact.after}'}{note}", ""


def _setting_lines(settings: Sequence[Difference]) -> Iterator[Line]:
    yield from _heading("What differs between the studies")
    if not settings:
        yield "  nothing: same settings, data, software and machine", ""
    for title in TITLES:
        own = [one for one in settings if one.title == title]
        known = [one for one in own if one.in_both]
        for one in known[:MAX_SETTINGS]:
            yield f"  {one.path}: {_exact(one.before)} -> {_exact(one.after)}", ""
        rest = len(own) - len(known[:MAX_SETTINGS])
        alone = [one.path for one in own if not one.in_both]
        if rest:
            kind = f"that only one of them has, such as {alone[0]}" if rest == len(alone) else "that differ"
            yield f"  {rest} more of {title} {kind} (--json lists all)", ""


def _exact(value: Any) -> str:
    return str(value) if isinstance(value, int | list) and not isinstance(value, bool) else value_text(value)


def _write_json(path: Path, found: Comparison, before: Path, after: Path) -> None:
    content: dict[str, Any] = {"a": str(before), "b": str(after), "alpha": ALPHA}
    content |= {verdict: [_as_json(change) for change in found.of(verdict)] for _, verdict, _ in KINDS}
    content |= {key: value for key, value in asdict(found).items() if key != "changes"}
    text = json.dumps(store.without_nonfinite(content), indent=2, allow_nan=False) + "\n"
    try:
        store.write_text(path, text)
    except OSError as error:
        raise ResultsError(f"{path} cannot be written ({error.strerror}): give another file to --json") from error


def _as_json(change: StudyChange) -> dict[str, Any]:
    return {**asdict(change), "p_corrected": change.p_corrected}


if __name__ == "__main__":
    sys.exit(main())
