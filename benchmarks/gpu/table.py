"""A GPU day as Markdown: a table a part, whose columns are the fields of its rows."""

import dataclasses
import math

from benchmarks.gpu.results import GpuDay, PartResult, Row

SIGNIFICANT_DIGITS = 4


def markdown(day: GpuDay) -> str:
    """The whole page."""
    blocks = [f"# GPU day: {_where(day)}", *_warnings(day), _facts(day)]
    for part in day.parts:
        blocks += [f"## {part.title}", _status(part)]
        if part.rows:
            blocks.append(table(part.rows))
    return "\n\n".join(blocks) + "\n"


def _where(day: GpuDay) -> str:
    if day.card is None:
        return "a device that did not say which it is"
    return day.card.name if day.device == "cuda" else f"no GPU, the CPU ({day.card.name})"


def _warnings(day: GpuDay) -> list[str]:
    warnings = []
    if day.device == "cpu":
        warnings.append("**Run on a CPU, to try the script: nothing here says anything about a GPU.**")
    if day.quick:
        warnings.append("**Tiny settings (`--quick`): the numbers mean nothing.**")
    return warnings


def _facts(day: GpuDay) -> str:
    facts = [f"{day.started_at}", f"{day.seconds:.0f} of {60 * day.minutes:.0f} s"]
    if day.card is not None:
        named = dataclasses.asdict(day.card) | {"name": None}
        facts += [f"{_heading(name)} {_cell(value)}" for name, value in named.items() if value is not None]
    return "; ".join(facts)


def _status(part: PartResult) -> str:
    status = f"{part.status}, {part.seconds:.0f} of {max(part.limit_s, 0):.0f} s"
    return f"{status}: {_cell(part.message)}" if part.message else status


def table(rows: list[Row]) -> str:
    """Rows of one kind, a column a field."""
    names = [field.name for field in dataclasses.fields(rows[0])]
    lines = [[_heading(name) for name in names], ["---"] * len(names)]
    lines += [[_cell(getattr(row, name)) for name in names] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _heading(name: str) -> str:
    """`samples_per_s` as `samples/s`."""
    return name.replace("_per_", "/").replace("_", " ")


def _cell(value: object) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.{SIGNIFICANT_DIGITS}g}"
    return " ".join(str(value).replace("|", "\\|").split())
