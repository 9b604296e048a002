"""Judges a log as its training would have been judged live: the rules of the monitor, step by step."""

import math
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import ValidationError

from sweep import store
from sweep.judging.detectors import NonfiniteConfig, RunContext, ScalerCollapseConfig, SkipStarvedConfig
from sweep.judging.monitor import MonitorConfig, StabilityMonitor
from sweep.logs.trace import Trace
from sweep.records import Outcome, Verdict

_RULES_WITHOUT_LOSSES = (NonfiniteConfig, ScalerCollapseConfig, SkipStarvedConfig)
_RULES_OF_EVERY_STEP = (ScalerCollapseConfig, SkipStarvedConfig)
_OUTCOMES_WITHOUT_LOSSES = (
    Outcome.DIVERGED_NONFINITE,
    Outcome.SCALER_COLLAPSE,
    Outcome.CALIBRATING,
    Outcome.SKIP_STARVED,
    Outcome.INFEASIBLE_DATA,
)
"""What gradients, scales and skips alone can show."""


@dataclass(frozen=True)
class End:
    """How a run ended, whatever was alarmed before."""

    outcome: Outcome | None
    """None where the log cannot tell: it holds no losses, and its gradients show nothing wrong."""
    reason: str


@dataclass(frozen=True)
class Judgement:
    """What the rules say of a whole log."""

    alarm: Verdict | None
    """The first alarm; None if there was none."""
    end: End


@dataclass(frozen=True)
class Setting:
    """What a log is judged with."""

    context: RunContext
    config: MonitorConfig
    known_end: End | None = None
    """What its study says of a trial that an exception ended; no log tells of it."""
    audited: bool = False
    """Whether its study let the trial run on to see whether its alarm was right."""
    said: tuple[Outcome, int | None] | None = None
    """Verdict and stop step that its study noted; None where there is none."""
    notes: tuple[str, ...] = ()


def judge(trace: Trace, context: RunContext, config: MonitorConfig) -> Judgement:
    """Gives all steps to a fresh monitor, one by one as a live training would.

    Where most steps log no loss, gradients and skips are judged at every step, and losses where they were logged.
    """
    if not trace.has_losses:
        return _judge_gradients(trace, context, config)
    if not trace.is_sparse:
        return _watch(trace, context, config)
    gradients = _judge_gradients(trace, context, config)
    # Of the steps that log a loss, none tells how many were skipped between them.
    kept = tuple(rule for rule in config.detectors if not isinstance(rule, _RULES_OF_EVERY_STEP))
    losses = _watch(trace.with_losses(), context, config.model_copy(update={"detectors": kept}))
    alarms = [judgement.alarm for judgement in (gradients, losses) if judgement.alarm is not None]
    alarm = min(alarms, key=lambda alarm: alarm.step, default=None)
    return Judgement(alarm, losses.end if gradients.end.outcome is None else gradients.end)


def _watch(trace: Trace, context: RunContext, config: MonitorConfig) -> Judgement:
    monitor = StabilityMonitor(context, config)
    alarm: Verdict | None = None
    for record in trace.records():
        alarm = monitor.observe(record)
    end = monitor.end_verdict()
    return Judgement(alarm, End(end.outcome, end.reason))


def _judge_gradients(trace: Trace, context: RunContext, config: MonitorConfig) -> Judgement:
    # The losses between the logged ones must be taken neither for a plateau nor for something learned.
    context = replace(context, l_const=math.nan, l_unif=math.nan)
    kept = tuple(rule for rule in config.detectors if isinstance(rule, _RULES_WITHOUT_LOSSES))
    found = _watch(trace, context, config.model_copy(update={"detectors": kept}))
    if found.end.outcome in _OUTCOMES_WITHOUT_LOSSES:
        return Judgement(found.alarm, End(found.end.outcome, found.end.reason.partition("; the loss ended")[0]))
    reason = "the gradient norms show nothing wrong; without losses nobody can tell whether anything was learned"
    return Judgement(found.alarm, End(None, reason))


def setting_of(path: Path, trace: Trace) -> Setting:
    """What a log is to be judged with: as its study did where it is steps/<trial>.parquet of one, else the usual.

    Raises:
        ResultsError: the study's own files are damaged.
    """
    usual = Setting(RunContext(has_scaler=trace.has_scaler), MonitorConfig())
    folder = path.resolve().parent.parent
    if path.suffix != ".parquet" or path.resolve().parent.name != "steps" or not (folder / "study.yaml").is_file():
        return usual
    content = store.read_study(folder)
    notes: tuple[str, ...] = ()
    try:
        config = MonitorConfig.model_validate(content.get("monitor", {}))
    except ValidationError:
        # Rules come and go between versions.
        config = usual.config
        notes = ("the study's monitor settings are of another version; the usual ones are in force",)
    provenance, budget = content.get("provenance") or {}, content.get("budget") or {}
    context = replace(
        usual.context,
        l_const=provenance.get("l_const", math.nan),
        l_unif=provenance.get("l_unif", math.nan),
        budget_steps=budget.get("steps"),
    )
    if not (folder / "trials.parquet").is_file():
        return Setting(context, config, notes=notes)
    trials = store.read_trials(folder)
    rows = trials[trials["trial_id"] == path.stem].to_dict("records")
    if not rows:
        return Setting(context, config, notes=notes)
    row = rows[0]
    crashed = row["verdict"] in (Outcome.CRASHED, Outcome.OUT_OF_MEMORY)
    return Setting(
        replace(context, l_const=row["l_const"], l_unif=row["l_unif"], budget_steps=int(row["max_steps"])),
        config,
        known_end=End(Outcome(row["verdict"]), row["reason"]) if crashed else None,
        # Results of earlier versions know no audits.
        audited=bool(row.get("audited", False)),
        said=(Outcome(row["verdict"]), None if math.isnan(row["stop_step"]) else int(row["stop_step"])),
        notes=notes,
    )
