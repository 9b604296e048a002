"""What a check found, for a person."""

from collections.abc import Iterator, Sequence

from slr_models.data.inspection import Spread
from sweep.check.calibration import Calibration
from sweep.check.report import Report
from sweep.wording import number, plural

EXAMPLES_SHOWN = 5


def lines(report: Report) -> Iterator[tuple[str, str]]:
    """The report for a person: lines with their rich style."""
    yield f"{report.study}: {report.source}", "bold"
    for problem in report.problems:
        yield f"{problem.severity}: {problem.kind}: {problem.text}", "red" if problem.severity == "error" else "yellow"
        for item in shortened(problem.items):
            yield f"    {item}", ""
    for note in report.notes:
        yield f"note: {note}", ""
    yield (
        f"utterances: {report.num_train} to train, {report.num_valid} to validate; {report.num_features} features, "
        f"{report.vocabulary_size - 1} labels",
        "",
    )
    yield f"features were checked {report.feature_values}", ""
    yield f"training lengths: frames {_range(report.frames)}, labels {_range(report.labels)}", ""
    yield f"tightest training target: {report.least_spare_outputs} output frames more than CTC needs", ""
    counts = [(label, count) for label, count in report.label_counts.items() if count]
    if counts:
        (most, most_count), (least, least_count) = counts[0], counts[-1]
        yield f"labels in training: {most!r} most often ({most_count}), {least!r} least often ({least_count})", ""
    yield (
        f"loss of learning nothing L_const = {number(report.l_const, 4)}, of a uniform output "
        f"L_unif = {number(report.l_unif, 4)} nats a label",
        "",
    )
    if report.largest_gradient is not None:
        yield f"largest fp16 gradient at the start (unscaled): {number(report.largest_gradient)}", ""
    for start in report.calibration:
        yield f"loss scale {start.initial_scale:g}: {_describe_start(start)}", ""
    yield _conclusion(report)


def shortened(items: Sequence[str]) -> list[str]:
    """The first few, and how many more there are; a single one more takes no more room than that line."""
    if len(items) <= EXAMPLES_SHOWN + 1:
        return list(items)
    return [*items[:EXAMPLES_SHOWN], f"and {len(items) - EXAMPLES_SHOWN} more (--json lists all)"]


def _range(spread: Spread) -> str:
    return f"{spread.smallest} to {spread.largest} (median {spread.median:g})"


def _describe_start(start: Calibration) -> str:
    expected = "unknown" if start.expected_skips is None else f"about {start.expected_skips}"
    measured = "not measured to the end" if start.measured_skips is None else f"{start.measured_skips} measured"
    return f"first steps skipped to calibrate: {expected} expected from one batch, {measured} in a real start"


def _conclusion(report: Report) -> tuple[str, str]:
    num_errors = sum(problem.severity == "error" for problem in report.problems)
    num_warnings = len(report.problems) - num_errors
    if not report.problems:
        return "nothing wrong found", "green"
    counts = f"{plural(num_errors, 'error')}, {plural(num_warnings, 'warning')}"
    return counts, "red" if num_errors else "yellow"
