"""What the bar above the page says, as plain data."""

from pathlib import Path
from typing import Any

from slr_models.errors import ResultsError
from sweep.records import Phase
from sweep.store.ledger_lines import Ask
from sweep.watch.builder import Builder
from sweep.watch.folder import PHASES, Folder, Standing, neighbours
from sweep.watch.page import Page
from sweep.wording import plural, setting_text, short_names


def state(folder: Folder, builder: Builder) -> dict[str, Any]:
    """The state of a folder and of its page."""
    page, error = builder.page, builder.error
    try:
        words = said(folder.standing(), page, folder.path)
    except ResultsError as damaged:
        words, error = {"status": "unknown", "text": "", "hint": "", "count": "", "running": []}, str(damaged)
    return {
        "version": page.version if page else None,
        "built_at": page.built_at if page else None,
        "name": page.name if page else folder.path.resolve().name,
        "error": error,
        **words,
    }


def said(standing: Standing, page: Page | None, path: Path) -> dict[str, Any]:
    """How far the study is, in words."""
    return {
        "status": standing.status,
        "text": _text(standing, page),
        "hint": _hint(path) if standing.status == "absent" else "",
        "count": _count(standing, page),
        "running": _trainings(standing.running),
    }


def _hint(path: Path) -> str:
    """What the reader of a folder without a study may want to know: its name may be mistyped."""
    known = neighbours(path)
    beside = f" Studies beside it: {', '.join(known)}." if known else ""
    return f"There is no study in {path} yet. It is shown as soon as a run begins one.{beside}"


def _text(standing: Standing, page: Page | None) -> str:
    if standing.status == "absent":
        return "waiting for a run"
    done = standing.num_done or (page.num_trials if page else 0)
    if standing.status == "ended":
        if standing.num_open:
            return f"no run at work: {plural(done, 'trial')} done, {standing.num_open} begun or waiting"
        return f"finished: {plural(done, 'trial')}" if done else "no run at work"
    if standing.phase is None:
        return "starting"
    count = _count(standing, page) or str(done)
    waiting = f", {standing.num_open} waiting" if standing.num_open else ""
    return f"{PHASES.get(standing.phase, standing.phase)}: {count} done{waiting}"


def _count(standing: Standing, page: Page | None) -> str:
    """`12 of 40`, with as many as are known to come; empty where nobody knows."""
    planned = page.num_planned if page else None
    if standing.phase == Phase.EXPLORE:
        return f"{standing.num_done} of {max(planned, standing.num_asked)}" if planned else ""
    return f"{standing.num_done} of {standing.num_asked}" if standing.phase else ""


def _trainings(asks: tuple[Ask, ...]) -> list[str]:
    names = short_names(path for ask in asks for path in ask.settings)
    return [f"{ask.trial_id}: {_what(ask, names)}" for ask in asks]


def _what(ask: Ask, names: dict[str, str]) -> str:
    what = setting_text(ask.settings, names) if ask.cell is None else f"block {ask.block}, {ask.cell}"
    return f"{what}, seed {ask.seed}" if ask.phase != Phase.EXPLORE else what
