"""Judges a log as its training would have been judged live: the rules of the monitor, step by step."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import ValidationError

from sweep import store
from sweep.judging.detectors import NonfiniteConfig, RunContext, ScalerCollapseConfig, SkipStarvedConfig
from sweep.judging.monitor import MonitorConfig, StabilityMonitor
from sweep.logs.trace import Trace
from sweep.records import Learning, Outcome, Verdict

_SINGLE_STEPS = 64
"""Steps that are read one by one after a quiet stretch."""
_RULES_WITHOUT_LEVEL = (NonfiniteConfig, ScalerCollapseConfig, SkipStarvedConfig)
"""What holds whatever the loss means."""


@dataclass(frozen=True)
class Judgement:
    """What the rules say of a whole log."""

    alarm: Verdict | None
    """The first alarm; None if there was none."""
    end: Verdict
    """How the run ended, whatever was alarmed before."""


@dataclass(frozen=True)
class Setting:
    """What a log is judged with."""

    context: RunContext
    config: MonitorConfig
    known_end: Verdict | None = None
    """What its study says of a trial that an exception ended; no log tells of it."""
    audited: bool = False
    """Whether its study let the trial run on to see whether its alarm was right."""
    said: tuple[Outcome, int | None] | None = None
    """Verdict and stop step that its study noted; None where there is none."""
    notes: tuple[str, ...] = ()


def judge(trace: Trace, context: RunContext, config: MonitorConfig) -> Judgement:
    """Gives all steps to a fresh monitor, one by one as a live training would.

    Where a loss has no level that means anything (adversarial losses, reinforcement learning), only the numbers are
    judged.
    """
    if trace.is_adversarial:
        kept = tuple(rule for rule in config.detectors if isinstance(rule, _RULES_WITHOUT_LEVEL))
        config = config.model_copy(update={"detectors": kept})
        context = replace(context, l_const=math.nan, l_unif=math.nan)
    monitor = StabilityMonitor(context, config)
    for step, val_loss in trace.validation:
        monitor.observe_validation(step, val_loss)
    alarm: Verdict | None = None
    position = 0
    while position < len(trace):
        position += monitor.pass_over(trace.plain_steps(position))
        for record in trace.records(position, position + _SINGLE_STEPS):
            alarm = monitor.observe(record)
        position += _SINGLE_STEPS
    end = monitor.end_verdict()
    if trace.is_adversarial and not (end.outcome.is_open or end.outcome in _OUTCOMES_WITHOUT_LEVEL):
        ended = end.reason.removeprefix("learned nothing: ").partition(",")[0]
        reason = f"{ended}; the level of such a loss tells nothing of what was learned"
        end = replace(end, outcome=Outcome.UNJUDGED, reason=reason, learning=Learning.UNKNOWN, finding=None)
    return Judgement(alarm, end)


_OUTCOMES_WITHOUT_LEVEL = (
    Outcome.DIVERGED_NONFINITE,
    Outcome.SCALER_COLLAPSE,
    Outcome.SKIP_STARVED,
    Outcome.INFEASIBLE_DATA,
)


def setting_of(path: Path, trace: Trace) -> Setting:
    """What a log is to be judged with: as its study did where it is a trial's steps/<trial>, else the usual.

    Raises:
        ResultsError: the study's own files are damaged.
    """
    usual = Setting(RunContext(has_scaler=trace.has_scaler), MonitorConfig())
    folder = path.resolve().parent.parent
    is_own = path.suffix in (".parquet", store.STREAM_SUFFIX) and path.resolve().parent.name == "steps"
    if not is_own or not (folder / "study.yaml").exists():
        return usual
    content = store.read_study(folder)
    notes: tuple[str, ...] = ()
    try:
        config = MonitorConfig.model_validate(content.get("monitor") or {})
    except ValidationError:
        # Rules come and go between versions.
        config = usual.config
        notes = ("the study's monitor settings are of another version; the usual ones are in force",)
    provenance, budget = content.get("provenance"), content.get("budget")
    context = replace(
        usual.context,
        l_const=_number(provenance, "l_const"),
        l_unif=_number(provenance, "l_unif"),
        budget_steps=int(steps) if math.isfinite(steps := _number(budget, "steps")) else None,
    )
    if not (folder / "trials.parquet").exists():
        return Setting(context, config, notes=notes)
    trials = store.read_trials(folder)
    rows = trials[trials["trial_id"] == path.stem].to_dict("records")
    if not rows:
        return Setting(context, config, notes=notes)
    row = rows[0]
    crashed = Outcome(row["verdict"]).is_broken_off
    return Setting(
        replace(context, l_const=row["l_const"], l_unif=row["l_unif"], budget_steps=int(row["max_steps"])),
        config,
        known_end=Verdict(Outcome(row["verdict"]), row["reason"], int(row["num_steps"])) if crashed else None,
        # Results of earlier versions know no audits.
        audited=bool(row.get("audited", False)),
        said=(Outcome(row["verdict"]), None if math.isnan(row["stop_step"]) else int(row["stop_step"])),
        notes=notes,
    )


def _number(section: object, key: str) -> float:
    """A number of a section of study.yaml; NaN where it is not known."""
    value = section.get(key) if isinstance(section, Mapping) else None
    return float(value) if isinstance(value, int | float) else math.nan
