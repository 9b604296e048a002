"""A whole study as typed settings: what a study file, and study.yaml of a results folder, hold."""

import hashlib
import itertools
import unicodedata
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from slr_models.data import DataConfig
from slr_models.models import ModelConfig
from slr_models.spec import Spec
from sweep.forensics.settings import ForensicsConfig
from sweep.judging.monitor import MonitorConfig
from sweep.own.program import (
    CommandProgram,
    CtcProgram,
    FunctionProgram,
    Goal,
    MetricName,
    ProgramConfig,
    Score,
    score_of,
)
from sweep.records import Checkpoints, Metric
from sweep.search import GridSearch, SearchConfig, StabilitySearch
from sweep.space import Space, grid_settings
from sweep.study.claim import Claim
from sweep.study.design import Paired, num_trainings
from sweep.study.design import dimensions as design_dimensions
from sweep.study.full_size import FullSize
from sweep.study.resources import Resources
from sweep.study.scheduler import SchedulerConfig
from sweep.training.config import TrainingConfig

MAX_TRIALS = 100_000
MAX_NAME = 100
"""Letters of a study's name."""


class Budget(Spec):
    """How much a study may spend."""

    trials: int = Field(32, ge=1, le=MAX_TRIALS)
    """Trainings of the exploration (settings x repeats); confirmations come on top. A `design` has its own number."""
    steps: int | None = Field(None, ge=1, le=1_000_000_000)
    """Updates of each training. Give either this or `epochs`."""
    epochs: float | None = Field(None, gt=0, le=1e6)
    """Passes of each training over its training split."""
    wall_time_s: float | None = Field(None, gt=0, le=1e9)
    """No trial starts after this time, over all runs of the study; the confirmation's share is kept free.
    Null: no limit."""


class Confirm(Spec):
    """Trains the best settings again, over seeds that the search has not seen and that they share."""

    settings: int = Field(1, ge=0, le=1000)
    """How many of the best settings; 0 turns confirmation off."""
    seeds: int = Field(3, ge=1, le=1000)
    """Fresh seeds of each, before one may drop out that is worse than another one beyond chance."""
    recommended: bool = True
    """Whether the setting that `safety` recommends is trained too, also where the search never tried it."""
    max_trainings: int | None = Field(None, ge=1, le=MAX_TRIALS)
    """Trainings that this may take: further seeds of the settings that are left, until one is better beyond chance or
    all are equal within what matters. Settings of which a fresh seed is unstable give way to the next and do not count.
    Null: none beyond `seeds` of each."""


class Safety(Spec):
    """The distance from instability that a recommended setting keeps."""

    lr_factor: float = Field(3.0, ge=1, le=1e6)
    """The recommended learning rate lies at least this factor below the one at which every second training breaks."""
    p_stable: float = Field(0.95, ge=0.5, lt=1)
    """Least probability that a training with a fresh seed does not break."""
    credibility: float = Field(0.95, ge=0.5, lt=1)
    """How sure both have to be: they are taken as low as the trainings leave them with this credibility."""


class Audit(Spec):
    """Lets some trials run on after an alarm, so that the report can say how often stopping is wrong."""

    rate: float = Field(0.1, ge=0, le=1)
    """Share of the trials that would be stopped; 0 for none. An alarm that no later step can undo needs no audit."""

    def chooses(self, study_seed: int, trial_number: int) -> bool:
        """Whether this trial runs on after an alarm: drawn for each trial by itself, and the same when it is repeated.

        A trial that one rate chooses, every higher rate chooses too.
        """
        digest = hashlib.sha256(f"audit of trial {trial_number}, seed {study_seed}".encode()).digest()
        return int.from_bytes(digest[:8], "big") < self.rate * 2**64


def _one_spelling(name: str) -> str:
    """An accent may be a part of its letter, or a sign of its own behind it: both are one name, and one folder."""
    return unicodedata.normalize("NFC", name)


class Study(Spec):
    """A whole study, as a file holds it."""

    name: Annotated[str, AfterValidator(_one_spelling)] = Field(min_length=1, max_length=MAX_NAME)
    """Names the results folder."""
    description: str = ""
    """What the study is to find out; stands in the report."""
    trial: ProgramConfig = CtcProgram()
    """What trains: our own loop, with `model`, `data` and `training`; or a function or a command of yours."""
    model: ModelConfig | None = None
    """What is trained in our own loop."""
    data: DataConfig | None = None
    """What it learns there."""
    training: TrainingConfig = TrainingConfig()
    """How it learns there."""
    space: Space = Field({}, max_length=200)
    """What varies: dotted path -> dimension. Empty: one fixed setting. With a `design`: what each block draws anew; a
    results folder holds the paths of the factors here, too."""
    design: Paired | None = None
    """Trains blocks of settings that differ by chosen levels alone, to settle `claims`, in place of a search."""
    claims: tuple[Claim, ...] = Field((), max_length=200)
    """What the design is to settle: each ends as supported, refuted, equivalent or undecided."""
    search: SearchConfig = StabilitySearch()
    """Which setting is tried next."""
    objective: MetricName | Goal | None = None
    """What a stable training is judged by. In our own loop `wer` (the default) or `val_loss`. Of a function or a
    command, one of its results, such as {maximize: accuracy}; by default its validation loss if it reports one, else
    its last training loss."""
    budget: Budget = Budget()
    resources: Resources = Resources()
    repeats: int = Field(1, ge=1, le=1000)
    """Trainings of every setting, over the seeds seed .. seed + repeats - 1."""
    seed: int = Field(0, ge=0)
    """First seed of the trainings; all settings share the seeds, so they differ by their settings alone."""
    confirm: Confirm = Confirm()
    safety: Safety = Safety()
    """What a recommended setting has to meet."""
    full_size: FullSize | None = None
    """Whether the edge of stability is predicted, and tested, at another size than the searched ones."""
    monitor: MonitorConfig = MonitorConfig()
    early_stop: bool = True
    """Whether a trial ends as soon as it is judged; false lets it run on (for reference maps)."""
    scheduler: SchedulerConfig | None = None
    """Ends, pauses or changes trainings that do worse than others; null: each runs to its end or its alarm."""
    audit: Audit = Audit()
    """How many trials run on after an alarm all the same."""
    forensics: ForensicsConfig = ForensicsConfig()
    """Which bad trials are explained by replaying them."""
    checkpoints: Checkpoints = "none"
    """What each trial keeps on disk, for resuming and for later use."""
    provenance: dict[str, Any] = {}
    """Written by the tool into results; ignored when read."""

    @property
    def own(self) -> FunctionProgram | CommandProgram | None:
        """The program of the user's that trains; None where our own loop does."""
        return None if isinstance(self.trial, CtcProgram) else self.trial

    @property
    def is_own(self) -> bool:
        """Whether a program of the user's trains."""
        return self.own is not None

    @property
    def metric(self) -> Metric:
        """What stable trainings are ranked by."""
        if self.is_own:
            return "score"
        return "val_loss" if self.objective == "val_loss" else "wer"

    @property
    def score(self) -> Score | None:
        """What trainings of the user's own are ranked by; None where our own loop trains."""
        return score_of(self.objective) if self.is_own else None

    @property
    def made(self) -> tuple[ModelConfig, DataConfig]:
        """Model and data of our own loop."""
        assert self.model is not None and self.data is not None, "validated when loaded"
        return self.model, self.data

    @property
    def searched(self) -> Space:
        """All that differs between trainings: what the factors of a design vary, and `space`."""
        return {**(design_dimensions(self.design) if self.design else {}), **self.space}

    @property
    def recommends(self) -> bool:
        """Whether the answer is a setting to use: of a design, only where settings are confirmed; else its claims."""
        return self.design is None or self.confirm.settings > 0


def num_leaders(study: Study) -> int:
    """Settings that are confirmed, at most as long as every fresh seed is stable."""
    confirm = study.confirm
    # A study of one setting has nothing to recommend besides the best.
    return confirm.settings + (confirm.recommended and bool(study.searched)) if confirm.settings else 0


def num_confirmations(study: Study) -> int:
    """Trainings that confirm, at most as long as every fresh seed is stable."""
    if num_leaders(study) < 2 or study.confirm.max_trainings is None:
        return num_leaders(study) * study.confirm.seeds
    return study.confirm.max_trainings


def num_settings(study: Study) -> int:
    """Distinct settings that the exploration will try; of a design all its trainings, told apart by their blocks."""
    if study.design is not None:
        return num_trainings(study.design)
    wanted = study.budget.trials // study.repeats
    if not study.space:
        return 1
    if isinstance(study.search, GridSearch):
        available = sum(1 for _ in itertools.islice(grid_settings(study.space), wanted))
        return min(wanted, available + len(study.search.try_first))
    return wanted
