"""From step records to a verdict: whether a training should be stopped, and how it went.

Usable in any training loop, without the rest of the tool:

    monitor = StabilityMonitor(RunContext(l_const=3.4, l_unif=12.1, budget_steps=2000))
    ...
        verdict = monitor.observe(StepRecord(step=step, loss=loss, grad_norm=grad_norm))
        if verdict is not None: break
    verdict = monitor.finish()
"""

import math
from dataclasses import dataclass, field, replace
from typing import TypeVar

from pydantic import Field

from slr_models.errors import SettingError
from slr_models.spec import Spec
from sweep.judging.detectors import (
    JSON,
    BlankCollapseConfig,
    DetectorConfig,
    DivergedLossConfig,
    NonfiniteConfig,
    RunContext,
    ScalerCollapseConfig,
    SkipStarvedConfig,
    StalledConfig,
)
from sweep.judging.detectors.base import GradientState, before, dump_state, is_known, load_state
from sweep.judging.detectors.skip_starved import SkipWindow
from sweep.judging.detectors.statistics import LEVEL_DELAY, LossLevel, SpikeCounter
from sweep.records import Finding, Outcome, StepRecord, Verdict
from sweep.wording import number, plural

C = TypeVar("C", bound=Spec)

__all__ = ["MonitorConfig", "RunContext", "StabilityMonitor", "StepRecord", "Verdict"]

_PRIORITY = (
    Outcome.INFEASIBLE_DATA,
    Outcome.DIVERGED_NONFINITE,
    Outcome.SCALER_COLLAPSE,
    Outcome.DIVERGED_LOSS,
    Outcome.SKIP_STARVED,
    Outcome.BLANK_COLLAPSE,
    Outcome.STALLED,
)
"""Where several rules hold at the same step, the first of these names the outcome."""

_MEMORY_ERRORS = ("MemoryError", "OutOfMemoryError")
"""By name, so that neither torch nor ray is imported: both call theirs OutOfMemoryError."""
_MEMORY_MESSAGES = ("out of memory", "can't allocate memory")
"""torch's CPU allocator raises a plain RuntimeError."""


class MonitorConfig(Spec):
    """Which rules watch a run, and what counts as learned at its end."""

    detectors: tuple[DetectorConfig, ...] = (
        NonfiniteConfig(),
        ScalerCollapseConfig(),
        DivergedLossConfig(),
        SkipStarvedConfig(),
        BlankCollapseConfig(),
        StalledConfig(),
    )
    """The rules, by default all of them with their usual settings. Those that only time can decide wait for a part
    of the budget: `blank_collapse` judges from 45 % on, and only an input dependence below 0.001 nats;
    `stalled` starts its clock at 30 %. Without a known budget they judge the end alone. The end is judged by the same
    settings, and by the usual ones of a rule that is left out."""
    stable_below: float = Field(0.95, gt=0)
    """Multiple of the zero-information loss; a run must end below it to be called stable, and by two standard
    errors below that loss itself. Where that loss is unknown, the level of the run's first 20 losses takes its
    place, with four standard errors, because that level is noisy too."""
    nonfinite_at_end: int = Field(5, ge=1)
    """Non-finite losses in a row at the end that make a run diverged, if the last of these steps was refused."""
    applied_nonfinite_at_end: int = Field(2, ge=1)
    """The same if it was applied."""


@dataclass(slots=True)
class _State:
    """What the verdict at the end needs, beside the detectors' own memories."""

    skips: SkipWindow
    """Holds the state of calibration too."""
    loss: LossLevel = field(default_factory=LossLevel)
    spikes: SpikeCounter = field(default_factory=SpikeCounter)
    blank_rate: float | None = None
    input_dependence: float | None = None
    params_finite: bool = True
    first_step: int = 0
    last_step: int = 0
    last_was_applied: bool = False
    last_sound_step: int | None = None
    """Latest step with finite loss and weights."""
    last_low_step: int | None = None
    """Latest step whose level was the best, or nearly."""
    num_steps: int = 0
    num_nonfinite: int = 0
    """Steps with a non-finite loss."""
    nonfinite_in_row: int = 0
    """Such steps in a row, up to the latest."""
    verdict: Verdict | None = None
    """Of the first alarm."""


class StabilityMonitor:
    """Watches one run.

    | call          | before an alarm                  | after an alarm             |
    |---------------|----------------------------------|----------------------------|
    | `observe`     | None, or the verdict of an alarm | that same verdict          |
    | `finish`      | how the run ended                | that same verdict          |
    | `end_verdict` | how the run ended                | how it ended all the same  |

    Neither raises on any record. One monitor, one run. The verdict of an alarm has a `stop_step`, that of an end has
    none; both hold a finding if they are bad: the evidence, at an end under the name `end`.
    """

    def __init__(self, context: RunContext, config: MonitorConfig = MonitorConfig()) -> None:  # noqa: B008
        self._config = config
        self._lost_rise = self._rule(StalledConfig()).lost_rise
        self._begin(context)

    def _begin(self, context: RunContext) -> None:
        self._context = context
        self._detectors = [detector.build(context) for detector in self._config.detectors]
        window_steps = self._rule(SkipStarvedConfig()).window_steps
        self._state = _State(skips=SkipWindow(window_steps, GradientState(has_scaler=context.has_scaler)))

    @property
    def calibrated(self) -> bool:
        """Whether the loss scale has found its first usable value; True from the start without a scaler."""
        return self._state.skips.gradient.calibrated

    def observe(self, record: StepRecord) -> Verdict | None:
        """Reads the next step; a verdict as soon as the run should be stopped."""
        if self._state.num_steps == 0 and math.isfinite(record.loss_scale) and not self._context.has_scaler:
            self._begin(replace(self._context, has_scaler=True))
        state = self._state
        self._update(record)
        if state.verdict is not None:
            return state.verdict
        findings = [finding for detector in self._detectors if (finding := detector.observe(record))]
        if findings:
            first = min(findings, key=lambda finding: _PRIORITY.index(finding.outcome))
            state.verdict = _alarm(first)
        return state.verdict

    def finish(self, crash: BaseException | None = None) -> Verdict:
        """The verdict of the whole run: that of the first alarm, of the crash, or of its end."""
        state = self._state
        if state.verdict is not None:
            return state.verdict
        if crash is not None:
            ran_out = _is_out_of_memory(crash)
            what = "ran out of memory" if ran_out else "ended with an exception"
            message = str(crash).strip().partition("\n")[0]
            error = f"{type(crash).__name__}: {message}" if message else type(crash).__name__
            return Verdict(
                outcome=Outcome.OUT_OF_MEMORY if ran_out else Outcome.CRASHED,
                reason=f"the training {what} after step {state.last_step}: {error}",
                step=state.last_step,
            )
        return self.end_verdict()

    def end_verdict(self) -> Verdict:
        """How the run ended, whatever was alarmed before: for auditing alarms by running on."""
        end = self._judge_end()
        return Verdict(
            outcome=end.outcome,
            reason=end.reason,
            step=self._state.last_step,
            finding=None if end.evidence is None else self._end_finding(end, end.evidence),
        )

    def state_dict(self) -> dict[str, JSON]:
        """All memory as JSON values, for a checkpoint."""
        return {
            "monitor": dump_state(self._state),
            "detectors": [
                {"kind": config.kind, "state": detector.state_dict()}
                for config, detector in zip(self._config.detectors, self._detectors, strict=True)
            ],
        }

    def load_state_dict(self, state: dict[str, JSON]) -> None:
        """Takes the memory of `state_dict`.

        Raises:
            SettingError: the memory is that of other detectors.
        """
        checkpoint = load_state(_Checkpoint, state)
        written = [entry.kind for entry in checkpoint.detectors]
        configured = [config.kind for config in self._config.detectors]
        if written != configured:
            raise SettingError(
                f"the checkpoint holds the detectors {written}, but the monitor is set to {configured}: "
                "resume with the settings of the first run, or start anew"
            )
        self._begin(replace(self._context, has_scaler=checkpoint.monitor.skips.gradient.has_scaler))
        self._state = checkpoint.monitor
        for entry, detector in zip(checkpoint.detectors, self._detectors, strict=True):
            detector.load_state_dict(entry.state)

    def _update(self, record: StepRecord) -> None:
        state = self._state
        state.skips.update(record)
        state.spikes.update(record.loss, state.loss)
        state.loss.update(record.loss)
        state.first_step = record.step if state.num_steps == 0 else state.first_step
        state.last_step = record.step
        state.last_was_applied = record.applied
        state.num_steps += 1
        state.params_finite = record.params_finite
        is_finite = math.isfinite(record.loss)
        state.num_nonfinite += not is_finite
        state.nonfinite_in_row = 0 if is_finite else state.nonfinite_in_row + 1
        if is_finite and record.params_finite:
            state.last_sound_step = record.step
        if state.loss.best is not None and state.loss.rise <= self._lost_rise / 4:
            state.last_low_step = record.step
        if math.isfinite(record.blank_rate):
            state.blank_rate = record.blank_rate
        if math.isfinite(record.input_dependence):
            state.input_dependence = record.input_dependence

    def _end_finding(self, end: "_End", evidence: "_Evidence") -> Finding:
        first_bad_step, last_good_step = self._state.first_step, evidence.last_good_step
        if last_good_step is not None and last_good_step >= first_bad_step:
            first_bad_step = last_good_step + 1
        return Finding(
            detector="end",
            outcome=end.outcome,
            step=self._state.last_step,
            value=evidence.value,
            threshold=evidence.threshold,
            reason=end.reason,
            first_bad_step=first_bad_step,
            last_good_step=before(last_good_step, first_bad_step),
            # There is no later step that could repair it.
            irreversible=True,
        )

    def _judge_end(self) -> "_End":
        """How the run looks at its end, and why.

        Stable is a run whose last level lies clearly below the zero-information loss. Without that loss nothing tells
        what was learned from what merely settled; then the level must at least lie clearly below that of the first 20
        losses (by the factor `stable_below` and by what counts as progress for `stalled`) and must not have risen again
        from its best by more than a swing (see `diverged_loss`). A run too short for that has shown nothing, and is not
        stable.
        """
        state = self._state
        if (broken := self._judge_numbers()) is not None:
            return broken
        where = self._describe_end()
        skips, skip_rule = state.skips, self._rule(SkipStarvedConfig())
        largest_skips = skip_rule.largest_skip_rate * len(skips.steps)
        is_starved = skips.num_skipped > largest_skips
        stalled = self._rule(StalledConfig())
        has_lost = state.loss.has_risen(stalled.lost_rise, stalled.lost_rise_errors)
        lowest_lost = -math.inf
        if not is_known(self._context.l_const) and state.loss.best is not None:
            lowest_lost = self._rule(DivergedLossConfig()).bound_of_unknown(state.loss)
            has_lost = has_lost and state.loss.level > lowest_lost
        if self._has_learned(has_lost) and not is_starved:
            if state.spikes.num_recovered:
                itself = "itself" if state.spikes.num_recovered == 1 else "themselves"
                spikes = f"{plural(state.spikes.num_recovered, 'loss spike')} came back by {itself}"
                return _End(Outcome.SPIKY_RECOVERING, f"{where}; {spikes}")
            return _End(Outcome.STABLE, where)
        level = math.exp(state.loss.level)
        if has_lost:
            assert state.loss.best is not None
            rise = max(stalled.lost_rise, stalled.lost_rise_errors * state.loss.standard_error())
            last_good = None if state.last_low_step is None else state.last_low_step - LEVEL_DELAY
            return _End(
                Outcome.DIVERGED_LOSS,
                f"{where}, after it had been at {number(math.exp(state.loss.best))}",
                _Evidence(level, math.exp(max(state.loss.best + rise, lowest_lost)), last_good),
            )
        if is_starved:
            evidence = _Evidence(skips.num_skipped, largest_skips, skips.last_applied_before)
            return _End(skips.outcome, f"{skips.describe()}; {where}", evidence)
        return self._judge_unlearned(where, level)

    def _judge_numbers(self) -> "_End | None":
        """The verdict of a run whose losses cannot be judged; None for any other."""
        state = self._state
        if state.num_steps == 0:
            return _End(Outcome.CRASHED, "the training ended before its first step")
        if not state.params_finite:
            return _End(
                Outcome.DIVERGED_NONFINITE,
                f"a weight is NaN or infinite at the last step {state.last_step}",
                _Evidence(1, 1, state.last_sound_step),
            )
        # Refused steps leave no trace; applied ones are how a loop ends that stops itself soon after the first NaN.
        at_end = self._config.applied_nonfinite_at_end if state.last_was_applied else self._config.nonfinite_at_end
        enough = min(at_end, state.num_steps)
        if state.nonfinite_in_row >= enough:
            last = "loss is" if state.nonfinite_in_row == 1 else f"{state.nonfinite_in_row} losses are"
            evidence = _Evidence(state.nonfinite_in_row, enough, state.last_sound_step)
            return _End(Outcome.DIVERGED_NONFINITE, f"the last {last} not finite", evidence)
        gradient = state.skips.gradient
        if not gradient.calibrated:
            scale = "" if gradient.last_scale is None else f" (now {gradient.last_scale:g})"
            return _End(
                Outcome.CALIBRATING,
                f"no gradient was finite in {plural(state.num_steps, 'step')}: the loss scale{scale} still looks for "
                "its first usable value, so the run says nothing about stability",
            )
        return None

    def _describe_end(self) -> str:
        state, l_const = self._state, self._context.l_const
        end = math.exp(state.loss.level)
        where = f"the loss ended at {number(end)}"
        if is_known(l_const):
            where += f", {end / l_const:.2f} times the zero-information level {number(l_const)}"
        elif (ends := state.loss.ends()) is not None:
            first, end = math.exp(ends.first), math.exp(ends.last)
            where = f"the loss ended at {number(end)}"
            where += (
                f", {end / first:.2f} times its first level {number(first)} (the zero-information level is unknown)"
            )
        if state.num_nonfinite:
            are = "was" if state.num_nonfinite == 1 else "were"
            where += f"; {state.num_nonfinite} of {plural(state.num_steps, 'loss', 'losses')} {are} not finite"
        return where

    def _has_learned(self, has_lost: bool) -> bool:
        loss, l_const = self._state.loss, self._context.l_const
        if is_known(l_const):
            return loss.is_below(self._config.stable_below * l_const, l_const)
        errors = self._rule(StalledConfig()).progress_errors
        return not has_lost and loss.has_fallen(-math.log(self._config.stable_below), errors)

    def _judge_unlearned(self, where: str, level: float) -> "_End":
        state, l_const = self._state, self._context.l_const
        uniform = self._rule(DivergedLossConfig()).uniform_bound(self._context)
        if level > uniform and state.loss.slope() >= 0:
            reason = f"{where}, above {number(uniform)}, and does not fall"
            return _End(Outcome.DIVERGED_LOSS, reason, _Evidence(level, uniform))
        ends = state.loss.ends()
        smallest_rise = self._rule(DivergedLossConfig()).smallest_rise
        if not is_known(l_const) and ends is not None and ends.last - ends.first > max(smallest_rise, 6 * ends.error):
            bound = math.exp(ends.first + smallest_rise)
            return _End(Outcome.DIVERGED_LOSS, where, _Evidence(math.exp(ends.last), bound))
        blank = self._rule(BlankCollapseConfig())
        if blank.describes(state.loss, l_const, state.blank_rate, state.input_dependence):
            assert state.input_dependence is not None
            return _End(
                Outcome.BLANK_COLLAPSE,
                f"{where}, and {state.blank_rate:.1%} of the frames are blank whatever the input "
                f"(I = {number(state.input_dependence, 2)} nats)",
                _Evidence(state.input_dependence, blank.largest_input_dependence),
            )
        if is_known(l_const):
            evidence = _Evidence(level, self._config.stable_below * l_const)
        elif ends is not None:
            evidence = _Evidence(level, self._config.stable_below * math.exp(ends.first))
        else:
            reason = f"{where}, after too few steps ({state.num_steps}) to show any learning"
            return _End(Outcome.STALLED, reason)
        return _End(Outcome.STALLED, f"learned nothing: {where}", evidence)

    def _rule(self, usual: C) -> C:
        """The run's own settings of a rule, or the usual ones."""
        return next((own for own in self._config.detectors if isinstance(own, type(usual))), usual)


@dataclass(frozen=True, slots=True)
class _Evidence:
    """What showed that a run ended badly."""

    value: float
    threshold: float
    last_good_step: int | None = None
    """None where the run was never well."""


@dataclass(frozen=True, slots=True)
class _End:
    """How a run ended."""

    outcome: Outcome
    reason: str
    evidence: _Evidence | None = None
    """None of a good or an open end."""


@dataclass(slots=True)
class _DetectorState:
    kind: str
    state: dict[str, JSON]


@dataclass(slots=True)
class _Checkpoint:
    monitor: _State
    detectors: list[_DetectorState]


def _alarm(finding: Finding) -> Verdict:
    return Verdict(
        outcome=finding.outcome,
        reason=finding.reason,
        step=finding.step,
        stop_step=finding.step,
        finding=finding,
    )


def _is_out_of_memory(crash: BaseException) -> bool:
    if any(cls.__name__ in _MEMORY_ERRORS for cls in type(crash).__mro__):
        return True
    return isinstance(crash, RuntimeError) and any(text in str(crash).lower() for text in _MEMORY_MESSAGES)
