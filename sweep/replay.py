"""python -m sweep.replay FILE: judges a training from its log, with the rules that watch live trainings.

Prints one JSON object. `verdict` is how the training went (the outcome of the first alarm, else of its end),
`stop_step` where it would have been stopped (null: nowhere), `detector` the rule that fired (null: none), `reason` one
sentence with the numbers.
"""

import argparse
import json
import math
import sys
import textwrap
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from slr_models.errors import UserError
from sweep import store
from sweep.command_line import tell_user_error
from sweep.logs import Trace, read_trace
from sweep.logs.columns import SPELLINGS
from sweep.logs.judging import End, Judgement, Setting, judge, setting_of

_FORMATS = """\
FILE is CSV (also TSV), Parquet, JSON lines, a TensorBoard event file or a folder that holds one, or a plain text log.
A steps/<trial>.parquet of a results folder is judged with its study's own settings.
Columns or tags are found by their names in any case and with any separators, with or without "train/":
"""


def replay(
    path: Path, *, l_const: float | None = None, l_unif: float | None = None, budget: int | None = None
) -> dict[str, Any]:
    """The verdict on a log, as the JSON object that is printed.

    Args:
        path: the log.
        l_const: zero-information loss, nats a label; None: as the log's study says, else unknown.
        l_unif: loss of a uniform output, nats a label; None: likewise.
        budget: steps that the run was planned for; None: likewise.

    Raises:
        UserError: the log cannot be read or is empty, or an option is no possible value.
    """
    _check_options(l_const, l_unif, budget)
    trace = read_trace(path)
    setting = setting_of(path, trace)
    if not len(trace) and setting.known_end is None:
        raise UserError(f"{path} is empty: it holds no step; give a log with at least one loss")
    context = replace(
        setting.context,
        l_const=setting.context.l_const if l_const is None else l_const,
        l_unif=setting.context.l_unif if l_unif is None else l_unif,
        budget_steps=setting.context.budget_steps if budget is None else budget,
    )
    judgement = judge(trace, context, setting.config)
    return _answer(path, trace, replace(setting, context=context), judgement)


def _answer(path: Path, trace: Trace, setting: Setting, judgement: Judgement) -> dict[str, Any]:
    alarm, end = judgement.alarm, setting.known_end or judgement.end
    finding = alarm.finding if alarm is not None else None
    # An audit overrules an alarm only where the run ended stable.
    overruled = setting.audited and end.outcome is not None and end.outcome.is_stable
    verdict = end if alarm is None or overruled else End(alarm.outcome, alarm.reason)
    stop_step = alarm.stop_step if alarm is not None else None
    notes = [*trace.notes, *setting.notes, *_calibration_note(trace)]
    if setting.known_end is None and setting.said and setting.said != (verdict.outcome, stop_step):
        # Options may differ from the study's, and so may the rules of another version.
        outcome, step = setting.said
        where = "to its end" if step is None else f"stopped at step {step}"
        notes.append(f"the study called this trial {outcome} ({where})")
    return {
        "verdict": verdict.outcome,
        "stop_step": stop_step,
        "detector": finding.detector if finding is not None else None,
        "reason": verdict.reason,
        "first_bad_step": finding.first_bad_step if finding is not None else None,
        "last_good_step": finding.last_good_step if finding is not None else None,
        "value": finding.value if finding is not None else None,
        "threshold": finding.threshold if finding is not None else None,
        "alarm": alarm.outcome if alarm is not None else None,
        "end_verdict": end.outcome,
        "end_reason": end.reason,
        "num_steps": len(trace),
        "file": str(path),
        "format": trace.format,
        "columns": trace.read_as,
        "context": asdict(setting.context),
        "notes": notes,
    }


def _check_options(l_const: float | None, l_unif: float | None, budget: int | None) -> None:
    for name, value in (("--l-const", l_const), ("--l-unif", l_unif), ("--budget", budget)):
        if value is not None and not (math.isfinite(value) and value > 0):
            raise UserError(f"{name} is {value}, but it must be a positive number; leave it out where it is unknown")


def _calibration_note(trace: Trace) -> list[str]:
    """Says of norms that are infinite at first and then finite what they usually are."""
    if trace.has_scaler or "grad_norm" not in trace.values:
        return []
    infinite = np.isinf(trace.values["grad_norm"])
    leading = int(np.argmin(infinite)) if not infinite.all() else 0
    if leading == 0:
        return []
    return [
        f"the first {leading} gradient norms are infinite and the next is finite: so does a loss scale that looks for "
        f"its first usable value, but the log names none (a column loss_scale would tell)"
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code: 0 for any log that can be read, 2 for a user's mistake."""
    options = _parse(arguments)
    try:
        answer = replay(options.file, l_const=options.l_const, l_unif=options.l_unif, budget=options.budget)
    except UserError as error:
        return tell_user_error(error)
    for note in answer["notes"]:
        print(f"note: {note}", file=sys.stderr)
    print(json.dumps(store.without_nonfinite(answer), indent=None if options.json else 2, allow_nan=False))
    return 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m sweep.replay",
        description="Judge a training from its log: prints one JSON object with verdict, stop_step, detector, reason.",
        epilog=_columns_help(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", type=Path, metavar="FILE", help="the log")
    parser.add_argument("--json", action="store_true", help="print one compact line")
    parser.add_argument("--l-const", type=float, metavar="X", help="zero-information loss, nats a label")
    parser.add_argument("--l-unif", type=float, metavar="X", help="loss of a uniform output, nats a label")
    parser.add_argument("--budget", type=int, metavar="N", help="steps that the run was planned for")
    return parser.parse_args(arguments)


def _columns_help() -> str:
    lines = [f"  {field}: {', '.join(names[1:])}" for field, names in SPELLINGS.items()]
    return _FORMATS + "\n".join(textwrap.fill(line, 100, subsequent_indent="    ") for line in lines)


if __name__ == "__main__":
    sys.exit(main())
