"""Plain frozen data that flows through the tool: step and evaluation records, findings, verdicts, results.

Nothing here needs torch, Ray or Optuna.
"""

import functools
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from enum import StrEnum
from typing import Annotated, Any, Literal, TypeGuard, get_type_hints

from pydantic import AfterValidator, Field, StrictBool
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

NAN = float("nan")

STRICT: Any = {"extra": "forbid"}
"""As `__pydantic_config__` of a dataclass that is read from a file: a field that it does not have is an error."""


class _Checked:
    """As a part of `Annotated`: the type is read from files by a schema of pydantic's core, as fast as a plain one."""

    def __init__(self, schema: CoreSchema, problem: str) -> None:
        self._schema = core_schema.custom_error_schema(schema, "checked", custom_error_message=problem)

    def __get_pydantic_core_schema__(self, _type: Any, _handler: Any) -> CoreSchema:
        return self._schema


def _number(problem: str, ge: float | None = None, le: float | None = None) -> _Checked:
    """A number in bounds, or one of those that JSON lacks, which are text there: NaN, and infinity if in bounds."""
    kept = {"nan": NAN, "inf": math.inf, "-inf": -math.inf}
    if ge is not None:
        del kept["-inf"]
    if le is not None:
        del kept["inf"]
    text = core_schema.no_info_after_validator_function(kept.__getitem__, core_schema.literal_schema(list(kept)))
    nan = core_schema.no_info_plain_validator_function(_nan)
    number = core_schema.float_schema(strict=True, ge=ge, le=le)
    return _Checked(core_schema.union_schema([number, text, nan], mode="left_to_right"), problem)


def _nan(value: object) -> float:
    if not isinstance(value, float) or not math.isnan(value):
        raise ValueError
    return value


def _settings(values: Mapping[str, bool | int | float | str]) -> Mapping[str, bool | int | float | str]:
    for path, value in values.items():
        if not path or path in RESULT_COLUMNS:
            raise PydanticCustomError("path", "{path} cannot name a setting", {"path": repr(path)})
        if isinstance(value, int | float) and not abs(value) < 2**1023:
            raise PydanticCustomError("finite", "{path} should be finite", {"path": path})
    return values


def checked_trial_id(trial_id: str) -> str:
    """The id, if it can name a trial. Ids become names of files, so none may lead anywhere else.

    Raises:
        ValueError: it cannot.
    """
    if not _TRIAL_ID.fullmatch(trial_id):
        told = ascii(trial_id if len(trial_id) <= 40 else f"{trial_id[:40]}...")
        raise ValueError(f"{told} cannot name a trial: {_TRIAL_ID_RULE}")
    return trial_id


_TRIAL_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_TRIAL_ID_RULE = "that is a letter or digit, then at most 63 letters, digits, '_', '-' and '.'"

# Types of what is read from files. A number may be NaN or infinite where it is not said otherwise.
TrialId = Annotated[
    str, _Checked(core_schema.str_schema(pattern=f"^{_TRIAL_ID.pattern}$"), f"Cannot name a trial: {_TRIAL_ID_RULE}")
]
Count = Annotated[int, Field(strict=True, ge=0, lt=2**63)]
"""As large as a column of a table holds."""
Number = Annotated[float, _number("Input should be a valid number")]
Finite = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Amount = Annotated[float, _number("Input should be a valid number of at least 0", ge=0)]
"""At least 0, or NaN."""
Share = Annotated[float, _number("Input should be a valid number in [0, 1]", ge=0, le=1)]
"""In [0, 1], or NaN."""
Margin = Annotated[float, _number("Input should be a valid number in [-1, 1]", ge=-1, le=1)]
"""In [-1, 1], or NaN."""
SettingValues = Annotated[dict[str, bool | int | float | str], AfterValidator(_settings)]
"""Of searched settings, by dotted path."""

Cost = Literal["step_time_s", "peak_memory_mib"]
"""What a search may trade a result against; fields of `TrialResult`."""
SearchMode = Literal["balanced", "map", "exploit"]
"""What the search `stability` spends its trials on: the boundary, the best result, or both."""
Metric = Literal["wer", "val_loss", "score"]
"""What stable trainings are ranked by: the word error rate, the validation loss (nats a label), or the score that a
program of the user's own reports; fields of `TrialResult`."""
LOSS_SCORE = "loss"
"""The score of a training of the user's own where its study names none: its validation loss if it reports one, else its
last training loss."""
Checkpoints = Literal["none", "last", "best_and_last"]
"""What a trial keeps on disk."""


class Phase(StrEnum):
    """What a training is for."""

    EXPLORE = "explore"
    """The search, or a design, asked for its settings."""
    CONFIRM = "confirm"
    """It repeats a chosen setting with a fresh seed."""
    FULL_SIZE = "full_size"
    """It tests a predicted edge outside the searched space."""


class Outcome(StrEnum):
    """How a training went. `STABLE` and `SPIKY_RECOVERING` are good ends; open ones say nothing of stability.

    | outcome            | kind     | numbers | meaning                                                            |
    |--------------------|----------|---------|--------------------------------------------------------------------|
    | stable             | good     | sound   | learned (see `Learning.LEARNED`), without an alarm                 |
    | spiky-recovering   | good     | sound   | stable, with loss spikes that came back by themselves              |
    | foregone           | good     | sound   | as good as stable, and ended there: what it comes to is not known  |
    | calibrating        | open     | sound   | the loss scale still halves towards its first usable value         |
    | unjudged           | open     | sound   | what is known does not tell whether anything was learned           |
    | too-short          | open     | sound   | too few losses to tell                                             |
    | pruned             | open     | sound   | ended by a scheduler, since others did better, or by hand           |
    | diverged-nonfinite | diverged | broken  | weights, losses or gradients are NaN or infinite for good          |
    | scaler-collapse    | diverged | broken  | the loss scale fell so low that no gradient survives               |
    | diverged-loss      | diverged | sound   | the loss rose and stayed up: nothing was learned, or it was lost   |
    | skip-starved       | failed   | sound   | most batches are skipped, so hardly any update is applied          |
    | blank-collapse     | failed   | sound   | every frame is blank whatever the input: nothing is learned        |
    | stalled            | failed   | sound   | nothing was learned, or less than was asked: the loss stays up      |
    | memorised          | failed   | sound   | only the training data were learned: held-out data show nothing    |
    | infeasible-data    | failed   | sound   | targets longer than CTC can align                                  |
    | out-of-memory      | failed   |         | the process ran out of memory                                      |
    | crashed            | failed   |         | an exception ended the training, or its command failed             |
    | hung               | failed   |         | a command of the user's wrote nothing for too long                 |
    | timed-out          | failed   |         | a command of the user's took too long                              |
    """

    STABLE = "stable"
    SPIKY_RECOVERING = "spiky-recovering"
    FOREGONE = "foregone"
    CALIBRATING = "calibrating"
    UNJUDGED = "unjudged"
    TOO_SHORT = "too-short"
    DIVERGED_NONFINITE = "diverged-nonfinite"
    SCALER_COLLAPSE = "scaler-collapse"
    DIVERGED_LOSS = "diverged-loss"
    SKIP_STARVED = "skip-starved"
    BLANK_COLLAPSE = "blank-collapse"
    STALLED = "stalled"
    MEMORISED = "memorised"
    INFEASIBLE_DATA = "infeasible-data"
    OUT_OF_MEMORY = "out-of-memory"
    CRASHED = "crashed"
    HUNG = "hung"
    TIMED_OUT = "timed-out"
    PRUNED = "pruned"

    @property
    def is_stable(self) -> bool:
        """Whether a training that ended so is called stable."""
        return self in (Outcome.STABLE, Outcome.SPIKY_RECOVERING, Outcome.FOREGONE)

    @property
    def is_open(self) -> bool:
        """Whether nobody can tell how the training would have gone: neither stable nor a failure."""
        return self in (Outcome.CALIBRATING, Outcome.UNJUDGED, Outcome.TOO_SHORT, Outcome.PRUNED)

    @property
    def kind(self) -> Literal["stable", "diverged", "failed", "open"]:
        """What it counts as, for a person; a failed one learned nothing, or broke off."""
        if self.is_stable:
            return "stable"
        return "diverged" if self.is_diverged else "open" if self.is_open else "failed"

    @property
    def is_broken_off(self) -> bool:
        """Whether it ended by what its numbers say nothing of."""
        return self in (Outcome.CRASHED, Outcome.OUT_OF_MEMORY, Outcome.HUNG, Outcome.TIMED_OUT)

    @property
    def may_take_replays(self) -> bool:
        """Whether its cause may have to be looked for by replays: others have none, or tell it themselves."""
        return not (self.is_stable or self.is_open or self.is_broken_off or self is Outcome.MEMORISED)

    @property
    def is_diverged(self) -> bool:
        """Whether the training blew up (rather than learned nothing or failed otherwise)."""
        return self in (Outcome.DIVERGED_NONFINITE, Outcome.SCALER_COLLAPSE, Outcome.DIVERGED_LOSS)


class Numbers(StrEnum):
    """First question of a verdict: are the numbers sound?"""

    SOUND = "sound"
    BROKEN = "broken"
    """Weights, losses or gradients are not finite for good, or the loss scale lost them."""
    UNKNOWN = "unknown"
    """An exception ended the training, or nothing was recorded."""


class Learning(StrEnum):
    """Second question of a verdict: what became of what was to be learned?"""

    LEARNED = "learned"
    """Ended clearly below the zero-information loss; where that is unknown, clearly below its own beginning."""
    LOST = "lost"
    """Learned, and then most of it was lost; or it ended above its own beginning."""
    MEMORISED = "memorised"
    """The training loss fell, but the validation loss ended at the zero-information level or above, or turned up for
    good and lost most of what it had gained."""
    LITTLE = "little"
    """Ended below the zero-information loss, but not as far below as was asked (`MonitorConfig.stable_below`)."""
    NOTHING = "nothing"
    UNKNOWN = "unknown"
    """What is known does not tell."""


class Side(StrEnum):
    """On which side of the settings that work a training failed."""

    TOO_HOT = "too-hot"
    """It broke, or was thrown about: smaller steps, or what else calms a training, would help."""
    TOO_COLD = "too-cold"
    """Nothing broke, but it was too slow for its budget: larger steps, or more of them, would help."""
    UNTOLD = "untold"
    """Nobody can tell, or neither: where the data are to blame, say."""


@dataclass(frozen=True, slots=True)
class Basis:
    """Third question of a verdict: what was it judged with?"""

    l_const: bool = False
    """Whether the zero-information loss was known."""
    l_unif: bool = False
    """Whether the loss of a uniform output was known."""
    budget: bool = False
    """Whether the planned number of steps was known."""
    num_losses: int = 0
    telemetry: tuple[str, ...] = ()
    """What else was logged: `grad_norm`, `loss_scale`, `blank_rate`, `input_dependence`, `val_loss`."""

    def describe(self) -> str:
        """In words, such as `300 losses, the zero-information loss, the budget, gradient norms`."""
        known = {"the zero-information loss": self.l_const, "a uniform output's loss": self.l_unif}
        named = [what for what, is_known in (*known.items(), ("the budget", self.budget)) if is_known]
        named += [_TELEMETRY_WORDS[name] for name in self.telemetry]
        losses = "1 loss" if self.num_losses == 1 else f"{self.num_losses:,} losses"
        return ", ".join([losses, *named]) if named else f"{losses} alone"


_TELEMETRY_WORDS = {
    "grad_norm": "gradient norms",
    "loss_scale": "the loss scale",
    "blank_rate": "blank rates",
    "input_dependence": "the input dependence",
    "val_loss": "validation losses",
}


class SkipReason(StrEnum):
    """Why a step applied no update."""

    CALIBRATION = "calibration"
    """The loss scaler overflowed before its first usable value, or at a regular growth: healthy."""
    NONFINITE = "nonfinite"
    """A gradient (or the loss) was NaN or infinite."""
    THRESHOLD = "threshold"
    """The bad-batch policy rejected a finite gradient norm."""
    INFEASIBLE = "infeasible"
    """The batch holds a target that CTC cannot align, and the loss was not finite."""


def is_finite(value: float | None) -> TypeGuard[float]:
    """Whether a value was logged, and is neither NaN nor infinite."""
    return value is not None and math.isfinite(value)


def is_broken(value: float | None) -> bool:
    """Whether a value was logged as NaN or infinite; what was not logged says nothing."""
    return value is not None and not math.isfinite(value)


@dataclass(frozen=True, slots=True)
class StepRecord:
    """One training step (one attempted optimizer update). None was not logged; a NaN is one that was logged."""

    step: int
    """1-based."""
    loss: float | None = None
    """Mean over the step's samples (of a CTC training: nats a label); unscaled."""
    grad_norm: float | None = None
    """Global L2 norm of the unscaled gradient *before* clipping."""
    loss_scale: float | None = None
    """The scale in force during this step; None without a scaler."""
    applied: bool = True
    """Whether the optimizer changed the weights."""
    skip_reason: SkipReason | None = None
    """Set exactly when not applied."""
    lr: float | None = None
    num_samples: int = 0
    num_infeasible: int = 0
    """Samples of this step with T_out < U + repeats."""
    time_s: float | None = None
    """Wall time of the step."""
    blank_rate: float | None = None
    """Share of valid frames whose argmax is blank; sampled, None in between."""
    input_dependence: float | None = None
    """I = H(mean_t p_t) - mean_t H(p_t), nats; sampled, None in between."""
    params_finite: bool = True
    """False as soon as a weight is NaN or infinite; checked now and then and whenever a value looks bad."""


@dataclass(frozen=True, slots=True)
class EvalRecord:
    """One evaluation on the validation split."""

    step: int
    val_loss: float
    """Of a CTC training, nats a label, over the targets that CTC can align and whose labels training has all; NaN where
    it was not measured."""
    substitutions: int = 0
    deletions: int = 0
    insertions: int = 0
    num_labels: int = 0
    """Reference labels; WER = (S + D + I) / num_labels, not capped at 1. 0 where no labels are counted."""
    blank_rate: float = NAN
    input_dependence: float = NAN
    time_s: float = NAN
    score: float | None = None
    """As `TrialResult.score`, after this step; None where none was reported."""
    wer_raw: float | None = None
    """Word error rate before the clean-up of labels, where `data.labels` cleans them at evaluation; None elsewhere."""

    @property
    def wer(self) -> float:
        """Word error rate over the split; NaN where no labels are counted."""
        errors = self.substitutions + self.deletions + self.insertions
        return errors / self.num_labels if self.num_labels else NAN


@dataclass(frozen=True, slots=True)
class Finding:
    """What a detector saw, with its evidence."""

    detector: str
    outcome: Outcome
    step: int
    """The step at which the rule fired."""
    value: float
    """The value that crossed the threshold."""
    threshold: float
    reason: str
    """One sentence for a person, with the numbers."""
    first_bad_step: int
    """Where the trouble began."""
    last_good_step: int | None = None
    """The latest step before it at which all was well; None if there was none."""
    irreversible: bool = False
    """True where no later step can repair it (a NaN weight)."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a training went, and on what evidence."""

    outcome: Outcome
    reason: str
    """One sentence for a person."""
    step: int
    """Last observed step."""
    stop_step: int | None = None
    """Where the training was (or would have been) stopped; None if it ran to its end."""
    finding: Finding | None = None
    numbers: Numbers = Numbers.UNKNOWN
    """Whether they are sound."""
    learning: Learning = Learning.UNKNOWN
    """What became of what was to be learned."""
    basis: Basis = Basis()
    """What it was judged with."""

    @property
    def stable(self) -> bool:
        """Whether the training counts as stable."""
        return self.outcome.is_stable


IRREPARABLE = "no later step can repair it"
"""Part of a reason, where the alarm cannot have been wrong."""


class HealthMetric(StrEnum):
    """What is measured of a model's numbers now and then; the name of a row in health/<trial>.parquet."""

    HEADROOM_BITS = "headroom_bits"
    """Doublings before a module's largest output overflows the format that it computes in; path: the module."""
    OUTPUT_ABSMAX = "output_absmax"
    """Largest absolute output of a module; path: the module."""
    ATTENTION_LOGIT_MAX = "attention_logit_max"
    """Largest scaled query-key product of an attention; path: the module."""
    FLUSH_RATE = "flush_rate"
    """Share of the nonzero gradients of a parameter that half precision flushed to zero; path: the parameter."""
    UPDATE_RATIO = "update_ratio"
    """Norm of an update over the norm of the weights before it; path: the parameter."""
    ADAM_RMS = "adam_rms"
    """RMS_t = sqrt(mean(g^2 / max(v, eps^2))) with v as the step left it, bias-corrected: gradients far above what
    Adam remembers are large here; path: the parameter."""
    MICRO_GRAD_NORM = "micro_grad_norm"
    """Norm of the gradient of the update's first micro-batch alone, where there are several; no path."""
    UPDATE_GRAD_NORM = "update_grad_norm"
    """That of the whole update, before clipping; with it. Both tell the gradient noise scale."""


@dataclass(frozen=True, slots=True)
class HealthRecord:
    """One number of one part of the model at one sampled step."""

    step: int
    metric: HealthMetric
    path: str
    """Dotted name of the module or parameter."""
    value: float


@dataclass(frozen=True, slots=True)
class HealthSample:
    """The numeric health of a model at one training step."""

    step: int
    records: tuple[HealthRecord, ...]
    """All of this step."""


_SAID_BY: Mapping[str, dict[str, Any]] = {
    "verdict": {"stable": bool},
    "margin": {"margin_break": float, "margin_learn": float},
}
"""Columns that other fields of a result say, behind those: for readers without our code."""
DERIVED_COLUMNS = frozenset(name for columns in _SAID_BY.values() for name in columns)
UNMEASURED_MARGIN = 0.3
"""Stands for the distance from breaking of a training that was too slow to learn."""


@dataclass(frozen=True, kw_only=True)
class TrialResult:
    """What one training came to: a row of trials.parquet. Fields are named and ordered as its columns.

    This class is the one source of a trial's row: the table's schema and the ledger's lines follow its fields. What
    has a default was not measured where nobody says so.
    """

    __pydantic_config__ = STRICT

    trial_id: TrialId
    number: Count
    """Counts all trials of the study from 0."""
    group: Count
    """Trials of one setting share it."""
    seed: Count
    phase: Phase
    block: Count | None = None
    """Of a design: which block it belongs to, counted from 0."""
    cell: str | None = None
    """Of a design: its levels, such as `model=teacher, precision=fp16`."""
    settings: SettingValues
    """The searched settings, by dotted path; each is a column of its own, behind all others."""
    verdict: Outcome
    numbers: Numbers = Numbers.UNKNOWN
    """Whether the numbers are sound; a table of an earlier version does not say."""
    learning: Learning = Learning.UNKNOWN
    """What became of what was to be learned; likewise."""
    judged_with: str = ""
    """What the verdict rests on, in words (`Basis.describe`)."""
    cause: str | None = None
    """Why it went bad, in plain words; None where it did not, or where nobody knows."""
    reason: str
    side: Side | None = None
    """Of a training that failed: on which side; None of one that did not, and where a crash or the like ended it."""
    audited: StrictBool = False
    """Whether the run went on to its end after an alarm that could have been wrong, so that the end tells; it is then
    called stable if it ended so."""
    alarm: Outcome | None = None
    """Of an audited run: what it would have been stopped as, at `stop_step`."""
    foregone_step: Count | None = None
    """Of a training that only told where the boundary lies: where it was as good as stable (`judging/foregone.py`). One
    that was to end there has the verdict `foregone`; others ran on, to show whether that is right."""
    stop_step: Count | None = None
    """Where it was stopped early. Of a run that went on after an alarm (audited, or with early stop off): where it
    would have been stopped. None where nothing was alarmed."""
    num_steps: Count
    """How far it ran."""
    max_steps: Count
    objective: Finite
    """Finite; lower is better."""
    margin: Margin
    """In [-1, 1]; negative = stable. NaN for a pruned trial, of which nobody knows."""
    final_train_loss: Number = NAN
    """Median of the last 20 training losses, nats a label."""
    val_loss: Number = NAN
    best_val_loss: Number = NAN
    wer: Amount = NAN
    best_wer: Amount = NAN
    wer_raw: Amount = NAN
    """As `wer`, before the clean-up of labels that is made at evaluation; NaN without one."""
    score: Number = NAN
    """What the study judges trainings of the user's own by, at the end: smaller is better, so that one to be large has
    its sign turned; NaN elsewhere."""
    metrics: str = ""
    """All that a training of the user's own reported of its end: a JSON object of numbers; empty elsewhere."""
    l_const: Number = NAN
    l_unif: Number = NAN
    applied_update_rate: Share = NAN
    """Share of steps that changed the weights."""
    skipped_calibration: Count = 0
    skipped_nonfinite: Count = 0
    skipped_threshold: Count = 0
    skipped_infeasible: Count = 0
    wall_s: Amount = NAN
    cpu_s: Amount = NAN
    forensics_s: Amount = 0.0
    """Wall time of explaining it; no part of `wall_s`."""
    step_time_s: Amount = NAN
    """Median wall time of a training step; NaN where no step was run."""
    peak_memory_mib: Amount = NAN
    """Peak of the training process (CPU) or of the device's allocator (GPU); NaN where unknown."""
    precision_implementation: str = ""
    settings_changed_at_step: Count | None = None
    """The latest step after which a scheduler changed the settings and took over another trial's weights; None where
    the settings held from the start. `settings` are those that it ended with."""
    micro_batch: Count | None = None
    """Utterances a micro-batch, where memory ran out with as many as were asked for, so that it was trained with fewer
    at a time and more micro-batches an update; None elsewhere."""
    gpu_shared_by: Count | None = None
    """With `gpus: auto`: how many trainings its GPU was to hold while it ran, itself among them; None elsewhere."""
    node: str | None = None
    """On a cluster that was joined: where it ended, as `ray start --node-name` calls that node, or its address."""
    noise_scale: Amount = NAN
    """Gradient noise scale, utterances (McCandlish et al. 2018, arXiv 1812.06162): an update of many fewer follows
    noise, one of many more gains little. Over the sampled steps; NaN without accumulation, or where noise hides it."""

    @property
    def stable(self) -> bool:
        """Whether the training counts as stable."""
        return self.verdict.is_stable

    @property
    def margin_break(self) -> float:
        """As `margin`, of breaking alone: negative = did not break; NaN where nobody can tell."""
        if self.side is Side.TOO_HOT or self.stable:
            return self.margin
        # How far it was from breaking, nothing that was measured tells.
        return -UNMEASURED_MARGIN if self.side is Side.TOO_COLD or self.verdict is Outcome.MEMORISED else NAN

    @property
    def margin_learn(self) -> float:
        """As `margin`, of learning within the budget alone: negative = learned; NaN where it broke before that."""
        return NAN if self.side is Side.TOO_HOT else self.margin

    @property
    def pruned(self) -> bool:
        """Whether a scheduler ended it, so that it was not judged."""
        return self.verdict is Outcome.PRUNED

    def with_cause(self, cause: str | None, forensics_s: float) -> "TrialResult":
        """The same, knowing why it went bad, and on which side of the settings that work if the cause tells that."""
        told = None if cause is None or self.side is None else _SIDE_OF_CAUSE.get(few_words(cause))
        return replace(self, cause=cause, side=told or self.side, forensics_s=forensics_s)

    def cost(self, name: Cost) -> float:
        """What a step took, or the peak of memory; NaN where unknown."""
        return self.step_time_s if name == "step_time_s" else self.peak_memory_mib

    @classmethod
    @functools.cache
    def columns(cls) -> dict[str, Any]:
        """The fixed columns of trials.parquet, in their order -> the type of their values."""
        columns: dict[str, Any] = {}
        types = get_type_hints(cls)
        for field in fields(cls):
            if field.name != "settings":
                columns[field.name] = types[field.name]
            columns |= _SAID_BY.get(field.name, {})
        return columns

    def row(self) -> dict[str, object]:
        """The result as one flat mapping of plain values: fixed columns, then the settings by their paths."""
        values = {name: getattr(self, name) for name in self.columns()}
        row = {name: value.value if isinstance(value, StrEnum) else value for name, value in values.items()}
        return {**row, **self.settings}


RESULT_COLUMNS = frozenset(TrialResult.columns())
"""Names that no setting can have."""


class Cause(StrEnum):
    """What made a training go bad. The words are what a person reads; `Explanation.cause` adds the particulars."""

    LR_TOO_HIGH = "learning rate too high"
    LR_TOO_LOW = "learning rate too low"
    NO_CLIPPING = "gradients not clipped"
    CLIP_TOO_TIGHT = "gradients clipped too tightly"
    INIT_TOO_LARGE = "initial weights too large"
    INIT_TOO_SMALL = "initial weights too small"
    HALF_OVERFLOW_ATTENTION = "fp16 overflow in attention scores"
    HALF_OVERFLOW = "fp16 overflow in the forward pass"
    HALF_GRADIENT_OVERFLOW = "fp16 overflow of gradients"
    HALF_UNDERFLOW = "fp16 flushes gradients to zero"
    SCALE_CALIBRATION = "loss-scale calibration, not a divergence"
    SKIP_THRESHOLD = "the skip threshold rejects healthy batches"
    BAD_STEP_APPLIED = "a non-finite gradient was applied"
    OPTIMIZER_STATE = "damaged or stale optimizer state"
    HALF_PRECISION = "half precision"
    SETTING_TOO_HIGH = "a setting too high"
    SETTING_TOO_LOW = "a setting too low"
    SINGLE_BATCH = "one batch sets it off"
    INFEASIBLE_SAMPLE = "a target that CTC cannot align"
    NONFINITE_FEATURES = "NaN or infinite features"
    FEATURE_OUTLIER = "features out of scale"
    OUT_OF_MEMORY = "out of memory"
    EXCEPTION = "an exception"
    NOTHING = "nothing to explain"
    UNKNOWN = "unknown"


_SIDE_OF_CAUSE: Mapping[str, Side] = {
    Cause.LR_TOO_HIGH: Side.TOO_HOT,
    Cause.NO_CLIPPING: Side.TOO_HOT,
    Cause.INIT_TOO_LARGE: Side.TOO_HOT,
    Cause.HALF_OVERFLOW_ATTENTION: Side.TOO_HOT,
    Cause.HALF_OVERFLOW: Side.TOO_HOT,
    Cause.HALF_GRADIENT_OVERFLOW: Side.TOO_HOT,
    Cause.BAD_STEP_APPLIED: Side.TOO_HOT,
    Cause.OPTIMIZER_STATE: Side.TOO_HOT,
    Cause.HALF_PRECISION: Side.TOO_HOT,
    Cause.SETTING_TOO_HIGH: Side.TOO_HOT,
    Cause.SETTING_TOO_LOW: Side.TOO_COLD,
    Cause.SINGLE_BATCH: Side.TOO_HOT,
    Cause.LR_TOO_LOW: Side.TOO_COLD,
    Cause.CLIP_TOO_TIGHT: Side.TOO_COLD,
    Cause.INIT_TOO_SMALL: Side.TOO_COLD,
    Cause.HALF_UNDERFLOW: Side.TOO_COLD,
    Cause.SKIP_THRESHOLD: Side.TOO_COLD,
    Cause.INFEASIBLE_SAMPLE: Side.UNTOLD,
    Cause.NONFINITE_FEATURES: Side.UNTOLD,
    Cause.FEATURE_OUTLIER: Side.UNTOLD,
}
"""What each cause says of the side; the others leave it open."""


class Place(StrEnum):
    """Where the first non-finite value was, in the order of a training step."""

    FEATURES = "features"
    WEIGHT_BEFORE = "weight before the step"
    FORWARD = "forward"
    LOSS = "loss"
    BACKWARD = "backward"
    GRADIENT = "gradient"
    OPTIMIZER_STATE = "optimizer state"
    WEIGHT = "weight"


@dataclass(frozen=True)
class FirstNonfinite:
    """The first value that was NaN or infinite, all before it being finite."""

    __pydantic_config__ = STRICT

    place: Place
    step: Count
    operation: str
    """Such as `linear`, `matmul` or `ConvolutionBackward`; empty where no operation made it (features, weights)."""
    path: str
    """Dotted name of the module, of the parameter, or the utterance; empty if unknown."""
    dtype: str
    input_absmax: float
    """Largest finite absolute input of the operation; NaN if unknown."""
    output_absmax: float
    """Largest finite absolute value of its output; NaN if there is none."""
    num_nan: Count
    num_inf: Count


@dataclass(frozen=True)
class Counterfactual:
    """The same batches from the same snapshot with one thing changed, several times over."""

    __pydantic_config__ = STRICT

    change: str
    """Such as `same`, `fp32`, `LR / 10`, `drop step 17`, `fresh optimizer state`."""
    num_rescued: Count
    num_repeats: Count
    end_loss: float
    """Median over the repeats of the median of the last losses, nats a label; NaN if none was finite."""

    @property
    def rescues(self) -> bool:
        """Whether most repeats were rescued."""
        return 2 * self.num_rescued > self.num_repeats


@dataclass(frozen=True)
class Explanation:
    """The answer to "why", with its evidence."""

    __pydantic_config__ = STRICT

    cause: Cause
    text: str
    """The cause in plain words with its particulars, one line: `fp16 overflow in attention scores (encoder.0)`."""
    details: tuple[str, ...] = ()
    """Further sentences: what was seen, with numbers."""
    first_nonfinite: FirstNonfinite | None = None
    counterfactuals: tuple[Counterfactual, ...] = ()
    snapshot_step: Count | None = None
    """The step after which the replays began; 0 is the initial model."""
    num_replayed_steps: Count = 0
    """Training steps that the explanation cost."""


def few_words(cause: str) -> str:
    """A cause without its particulars: what stands before the first colon, bracket or semicolon."""
    return re.split(r"[:;(]", cause, maxsplit=1)[0].strip()


def told_cause(cause: str) -> str:
    """A cause in a line that says how a training ended: few words, and of an unknown one also what was tried."""
    few = few_words(cause)
    tried = cause.partition("; ")[2]
    return f"{few}; {tried}" if few == Cause.UNKNOWN and tried else few


@dataclass(frozen=True)
class NotKnown:
    """Stands where an answer would: there is none."""

    reason: str
    """Why, in a sentence for a person."""
