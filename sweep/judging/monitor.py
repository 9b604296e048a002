"""From step records to a verdict: whether a training should be stopped, and how it went.

Usable in any training loop, without the rest of the tool:

    monitor = StabilityMonitor(RunContext(l_const=3.4, l_unif=12.1, budget_steps=2000))
    ...
        verdict = monitor.observe(StepRecord(step=step, loss=loss, grad_norm=grad_norm))
        if verdict is not None: break
    verdict = monitor.finish()
"""

import errno
import math
from dataclasses import dataclass, replace

from pydantic import Field

from slr_models.errors import SettingError
from slr_models.spec import Spec
from sweep.judging.detectors import (
    JSON,
    BlankCollapseConfig,
    Detector,
    DetectorConfig,
    DivergedLossConfig,
    NonfiniteConfig,
    RunContext,
    ScalerCollapseConfig,
    SkipStarvedConfig,
    StalledConfig,
)
from sweep.judging.detectors.base import (
    GradientState,
    PlainSteps,
    QuietDetector,
    RunStatistics,
    before,
    dump_state,
    is_known,
    load_state,
)
from sweep.judging.detectors.skip_starved import SkipWindow
from sweep.judging.detectors.statistics import LEVEL_DELAY
from sweep.judging.end_verdict import NORMS_MASK, End, EndEvidence, EndJudge, EndMemory
from sweep.judging.objective import USUAL_STABLE_BELOW
from sweep.judging.quiet import num_quiet, pass_over
from sweep.records import Basis, Finding, Numbers, Outcome, StepRecord, Verdict, is_finite
from sweep.redaction import redacted

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
_MEMORY_MESSAGES = ("out of memory", "can't allocate memory", "could not create a primitive", "bad_alloc")
"""torch's CPU allocator raises a plain RuntimeError, and so does oneDNN where it gets no memory for its code."""


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
    of the budget: `blank_collapse` stops a dead output from 45 % on, and anything else, like `stalled`, from 85 % on.
    Without a known budget they judge the end alone. The end is judged by the same settings, and by the usual ones of a
    rule that is left out."""
    stable_below: float = Field(USUAL_STABLE_BELOW, gt=0)
    """Multiple of the zero-information loss; a run must end below it to be called stable, and by two standard
    errors below that loss itself. Where that loss is unknown, the loss at which the run began (the median of its first
    five) takes its place, with four standard errors, because that is noisy too."""
    nonfinite_at_end: int = Field(5, ge=1)
    """Non-finite losses in a row at the end that make a run diverged, if the last of these steps was refused."""
    applied_nonfinite_at_end: int = Field(1, ge=1)
    """The same if it was applied: a program that stops at its first NaN logs just one."""


class StabilityMonitor:
    """Watches one run.

    | call          | before an alarm                  | after an alarm             |
    |---------------|----------------------------------|----------------------------|
    | `observe`     | None, or the verdict of an alarm | that same verdict          |
    | `finish`      | how the run ended                | that same verdict          |
    | `end_verdict` | how the run ended                | how it ended all the same  |

    Neither raises on any record. One monitor, one run. The verdict of an alarm has a `stop_step`, that of an end has
    none; both hold a finding if they are bad: the evidence, at an end under the name `end`. `observe_validation` takes
    what was measured on held-out data, at any time; the end alone is judged by it.
    """

    def __init__(
        self,
        context: RunContext = RunContext(),  # noqa: B008
        config: MonitorConfig = MonitorConfig(),  # noqa: B008
    ) -> None:
        """Watches a new run.

        Args:
            context: what is known of it beforehand; nothing has to be.
            config: the rules.
        """
        self._context, self._config = context, config
        self._detectors: list[Detector] = [detector.build(context) for detector in config.detectors]
        self._of_numbers = [
            detector
            for rule, detector in zip(config.detectors, self._detectors, strict=True)
            if isinstance(rule, NonfiniteConfig | ScalerCollapseConfig)
        ]
        self._run = RunStatistics(GradientState(has_scaler=context.has_scaler))
        memory = EndMemory(SkipWindow(0))
        self._end = EndJudge(
            self._run,
            memory,
            context,
            config.detectors,
            config.stable_below,
            config.nonfinite_at_end,
            config.applied_nonfinite_at_end,
        )
        memory.skips.size = self._end.rule(SkipStarvedConfig()).window_steps
        self._low_factor = math.exp(self._end.rule(StalledConfig()).lost_rise / 4)
        self._verdict: Verdict | None = None
        self._standing: Finding | None = None

    @property
    def calibrated(self) -> bool:
        """Whether the loss scale has found its first usable value; True from the start without a scaler."""
        return self._run.gradient.calibrated

    @property
    def is_alarmed(self) -> bool:
        """Whether a rule has found something so far."""
        return self._verdict is not None

    def observe(self, record: StepRecord) -> Verdict | None:
        """Reads the next step; a verdict as soon as the run should be stopped."""
        if record.loss == 0 and record.grad_norm is not None and math.isnan(record.grad_norm):
            # Hugging Face's Trainer writes a NaN loss so.
            record = replace(record, loss=math.nan)
        self._update(record)
        run = self._run
        findings = [finding for detector in self._watching if (finding := detector.observe(record, run))]
        first = min(findings, key=lambda finding: _PRIORITY.index(finding.outcome)) if findings else None
        self._standing = first
        if first is not None and self._verdict is None:
            self._verdict = self._alarm(first)
        return self._verdict

    @property
    def _watching(self) -> list[Detector]:
        """The detectors that still have something to say: after an alarm those of the numbers, for the end."""
        return self._detectors if self._verdict is None else self._of_numbers

    def pass_over(self, plain: PlainSteps) -> int:
        """Takes the first of many plain steps at once, as far as no rule might notice anything; how many it took.

        What comes after these must be given to `observe`. Both ways lead to the same.
        """
        watching = self._watching
        detectors = [detector for detector in watching if isinstance(detector, QuietDetector)]
        if len(detectors) < len(watching):
            return 0
        run, memory = self._run, self._end.memory
        num, levels = num_quiet(plain, run, memory, detectors)
        if not num:
            return 0
        taken = PlainSteps(plain.steps[:num], plain.losses[:num], plain.has_norms, plain.loss_scale)
        pass_over(taken, levels[:num], run, memory, self._low_factor)
        for detector in detectors:
            detector.pass_over(taken, run)
        self._standing = None
        if plain.has_norms:
            self._note("grad_norm")
        return num

    def observe_validation(self, step: int, val_loss: float) -> None:
        """Takes the validation loss after a step, on the scale of the training loss; one that is not finite is passed
        over."""
        self._end.memory.validation.update(step, val_loss)
        self._note("val_loss")

    def finish(self, crash: BaseException | None = None) -> Verdict:
        """The verdict of the whole run: that of the first alarm, of the crash, or of its end."""
        if self._verdict is not None:
            return self._verdict
        if crash is not None:
            step = self._end.memory.last_step
            ran_out = is_out_of_memory(crash)
            what = "ran out of memory" if ran_out else "ended with an exception"
            message = redacted(str(crash).strip().partition("\n")[0])
            error = f"{type(crash).__name__}: {message}" if message else type(crash).__name__
            return Verdict(
                outcome=Outcome.OUT_OF_MEMORY if ran_out else Outcome.CRASHED,
                reason=f"the training {what} after step {step}: {error}",
                step=step,
                basis=self.basis,
            )
        return self.end_verdict()

    @property
    def basis(self) -> Basis:
        """What the run can be judged with so far."""
        context = self._context
        return Basis(
            l_const=is_known(context.l_const),
            l_unif=is_known(context.l_unif),
            budget=context.budget_steps is not None,
            num_losses=self._end.memory.num_losses,
            telemetry=tuple(sorted(self._end.memory.telemetry)),
        )

    def end_verdict(self) -> Verdict:
        """How the run ended, whatever was alarmed before: for auditing alarms by running on."""
        end = self._end.judge(self._standing)
        return Verdict(
            outcome=end.outcome,
            reason=end.reason,
            step=self._end.memory.last_step,
            finding=None if end.evidence is None else self._end_finding(end, end.evidence),
            numbers=end.numbers,
            learning=end.learning,
            basis=self.basis,
        )

    def state_dict(self) -> dict[str, JSON]:
        """All memory as JSON values, for a checkpoint."""
        return {
            "run": dump_state(self._run),
            "end": dump_state(self._end.memory),
            "verdict": None if self._verdict is None else dump_state(self._verdict),
            "standing": None if self._standing is None else dump_state(self._standing),
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
        self._run, self._verdict, self._standing = checkpoint.run, checkpoint.verdict, checkpoint.standing
        self._end = replace(self._end, run=checkpoint.run, memory=checkpoint.end)
        for entry, detector in zip(checkpoint.detectors, self._detectors, strict=True):
            detector.load_state_dict(entry.state)

    def _update(self, record: StepRecord) -> None:
        run, memory = self._run, self._end.memory
        loss = record.loss
        if is_finite(loss):
            memory.spikes.update(loss, run.loss)
        run.update(record)
        memory.skips.update(record, calibrated=run.gradient.calibrated)
        if memory.num_steps == 0:
            memory.first_step = record.step
        memory.num_steps += 1
        memory.last_step = record.step
        memory.params_finite = record.params_finite
        if loss is not None:
            memory.num_losses += 1
            memory.last_was_applied = record.applied
            if is_finite(loss):
                memory.nonfinite_in_row, memory.nonfinite_since = 0, None
                if record.params_finite:
                    memory.last_sound_step = record.step
                if run.loss.best is not None and run.loss.level <= run.loss.lowest * self._low_factor:
                    memory.last_low_step = run.loss.steps[-1 - LEVEL_DELAY]
            else:
                if memory.nonfinite_in_row == 0:
                    memory.nonfinite_since = record.step
                memory.num_nonfinite += 1
                memory.nonfinite_in_row += 1
        if record.grad_norm is not None:
            is_nan = math.isnan(record.grad_norm) and record.applied
            memory.nan_norms_in_row = memory.nan_norms_in_row + 1 if is_nan else 0
            memory.broken_norms = (memory.broken_norms << 1 | (not math.isfinite(record.grad_norm))) & NORMS_MASK
            self._note("grad_norm")
        if run.gradient.scale is not None:
            self._note("loss_scale")
        if is_finite(record.blank_rate):
            memory.blank_rate = record.blank_rate
            self._note("blank_rate")
        if is_finite(record.input_dependence):
            memory.input_dependence = record.input_dependence
            self._note("input_dependence")

    def _note(self, what: str) -> None:
        if what not in self._end.memory.telemetry:
            self._end.memory.telemetry.append(what)

    def _alarm(self, finding: Finding) -> Verdict:
        is_broken = finding.outcome in (Outcome.DIVERGED_NONFINITE, Outcome.SCALER_COLLAPSE)
        rests = finding.outcome is Outcome.STALLED and self._run.loss.count > 0
        return Verdict(
            outcome=finding.outcome,
            reason=finding.reason,
            step=finding.step,
            stop_step=finding.step,
            finding=finding,
            numbers=Numbers.BROKEN if is_broken or self._end.memory.nonfinite_in_row else Numbers.SOUND,
            learning=self._end.learning_of_stall if rests else self._end.learning_of_failure,
            basis=self.basis,
        )

    def _end_finding(self, end: End, evidence: EndEvidence) -> Finding:
        memory = self._end.memory
        first_bad_step, last_good_step = memory.first_step, evidence.last_good_step
        if last_good_step is not None and last_good_step >= first_bad_step:
            first_bad_step = self._run.loss.step_after(last_good_step)
            if end.numbers is Numbers.BROKEN and memory.nonfinite_since is not None:
                first_bad_step = memory.nonfinite_since
        return Finding(
            detector="end",
            outcome=end.outcome,
            step=memory.last_step,
            value=evidence.value,
            threshold=evidence.threshold,
            reason=end.reason,
            first_bad_step=first_bad_step,
            last_good_step=before(last_good_step, first_bad_step),
            # There is no later step that could repair it.
            irreversible=True,
        )


@dataclass(slots=True)
class _DetectorState:
    kind: str
    state: dict[str, JSON]


@dataclass(slots=True)
class _Checkpoint:
    run: RunStatistics
    end: EndMemory
    verdict: Verdict | None
    standing: Finding | None
    detectors: list[_DetectorState]


def is_out_of_memory(crash: BaseException) -> bool:
    """Whether an exception says that memory, the device's or the machine's, ran out."""
    if isinstance(crash, OSError):
        return crash.errno == errno.ENOMEM
    if any(cls.__name__ in _MEMORY_ERRORS for cls in type(crash).__mro__):
        return True
    said = str(crash).lower()
    # A "primitive descriptor" fails where an operation is not supported.
    return (
        isinstance(crash, RuntimeError) and any(text in said for text in _MEMORY_MESSAGES) and "descriptor" not in said
    )
