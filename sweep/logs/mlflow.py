"""MLflow's metric files: a file a metric, a line `timestamp value step` a value, in the folder metrics of a run."""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from slr_models.errors import UserError
from sweep.logs.choice import ColumnChoice
from sweep.logs.columns import meaning_of
from sweep.logs.raw import Cell, RawLog, from_rows
from sweep.logs.source import Source
from sweep.logs.words import parse

_NUMBER = r"[-+]?(?:[\d.]+(?:e[-+]?\d+)?|nan|inf(?:inity)?)"
_LINE = re.compile(rf"\d{{9,}}\s+({_NUMBER})\s+(-?\d+)", re.IGNORECASE)


def is_metric(head: bytes) -> bool:
    """Whether a file's first lines are values of a metric."""
    lines = head.decode("utf-8", errors="replace").split("\n")[:20]
    whole = [line.strip() for line in (lines[:-1] or lines) if line.strip()]
    return bool(whole) and all(_LINE.fullmatch(line) for line in whole)


def metrics_of(folder: Path) -> list[Path]:
    """The metric files of a run's folder, or of its folder metrics; none where it is neither."""
    for root in (folder / "metrics", folder):
        files = sorted(path for path in root.glob("**/*") if path.is_file()) if root.name == "metrics" else []
        found = [path for path in files if is_metric(Source(path).head)]
        if found:
            return found
    return []


def read_metrics(files: Sequence[Path], choice: ColumnChoice) -> RawLog:
    """The values of metric files by step, named as the files are.

    Raises:
        UserError: A line is none of a metric file.
    """
    root = next((parent for parent in files[0].parents if parent.name == "metrics"), files[0].parent)
    rows: dict[int, dict[str, Cell]] = {}
    notes: tuple[str, ...] = ()
    for path in files:
        name = str(path.relative_to(root))
        if len(files) == 1 and meaning_of(name) is None:
            notes = (f"{name} is the only metric, so it is taken for the training loss",)
            name = "loss"
        for number, line in enumerate(Source(path).text().split("\n"), start=1):
            if not line.strip():
                continue
            found = _LINE.fullmatch(line.strip())
            try:
                step, value = (None, None) if found is None else (int(found[2]), parse(found[1]))
            except ValueError:
                step = None
            if step is None:
                raise UserError(f"{path}: line {number} is no `timestamp value step` of an MLflow metric")
            rows.setdefault(step, {})[name] = value
    in_order = [(step, {"step": step, **rows[step]}) for step in sorted(rows)]
    if len(rows) == 1 and len(files) == 1:
        # Logged without a step: all at step 0, in order.
        values = [
            parse(found[1]) for line in Source(files[0]).text().split("\n") if (found := _LINE.fullmatch(line.strip()))
        ]
        if len(values) > 1:
            in_order = [(place, {name: value}) for place, value in enumerate(values, start=1)]
    raw = from_rows("MLflow", in_order, choice.wants, is_table=False, notes=notes)
    return replace(raw, lines=None)
