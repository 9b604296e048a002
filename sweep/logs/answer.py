"""The verdict on a log, as the JSON object that `python -m sweep.replay` prints.

`verdict` is how the training went (the outcome of the first alarm, else of its end). It answers three questions:
`numbers` whether they are sound, `learning` what became of what was to be learned, `judged_with` what both rest on.
`stop_step` is where it would have been stopped (null: nowhere), `detector` the rule that fired (null: none), `reason`
one sentence with the numbers, and `first_bad_step`, `last_good_step`, `value` and `threshold` its evidence.
"""

import math
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from slr_models.errors import UserError
from sweep.logs.choice import ColumnChoice
from sweep.logs.files import read_trace
from sweep.logs.judging import Judgement, Setting, judge, setting_of
from sweep.logs.trace import Trace


def replay(
    path: Path,
    *,
    l_const: float | None = None,
    l_unif: float | None = None,
    budget: int | None = None,
    choice: ColumnChoice = ColumnChoice(),  # noqa: B008
) -> dict[str, Any]:
    """The verdict on a log, as the JSON object that is printed.

    Args:
        path: the log.
        l_const: zero-information loss, nats a label; None: as the log's study says, else unknown.
        l_unif: loss of a uniform output, nats a label; None: likewise.
        budget: steps that the run was planned for; None: likewise.
        choice: which columns hold what, and which run is judged; what it leaves out is found by itself.

    Raises:
        UserError: the log cannot be read or is empty, or an option is no possible value.
    """
    _check_options(l_const, l_unif, budget)
    trace = read_trace(path, choice)
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
    # An audit overrules an alarm only where the run ended stable.
    verdict = end if alarm is None or (setting.audited and end.stable) else alarm
    finding = verdict.finding if alarm is None else alarm.finding
    stop_step = alarm.stop_step if alarm is not None else None
    notes = [*trace.notes, *setting.notes, *_calibration_note(trace)]
    if setting.known_end is None and setting.said and setting.said != (verdict.outcome, stop_step):
        # Options may differ from the study's, and so may the rules of another version.
        outcome, step = setting.said
        where = "to its end" if step is None else f"stopped at step {step}"
        notes.append(f"the study called this trial {outcome} ({where})")
    return {
        "verdict": verdict.outcome,
        "numbers": verdict.numbers,
        "learning": verdict.learning,
        "judged_with": verdict.basis.describe(),
        "stop_step": stop_step,
        "detector": alarm.finding.detector if alarm is not None and alarm.finding is not None else None,
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
