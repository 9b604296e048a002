"""Checks the data of a study: reads them, inspects them, and looks at the first steps of its model on them."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from slr_models.data.batch import Split
from slr_models.data.feasibility import num_outputs_needed
from slr_models.data.inspection import Spread, inspect_dataset
from sweep.check.calibration import Calibration, calibrations
from sweep.check.problems import calibration_problems, problems_of
from sweep.check.reading import Problem, read
from sweep.running.plan import resource_lines
from sweep.study import LoadedStudy
from sweep.training.config import TrialConfig
from sweep.training.learnable import floors, output_lengths
from sweep.training.precision import Fp16, PrecisionConfig

CALIBRATION_LIMIT_S = 30.0
"""CPU time that measuring the start of loss scales may take, seconds."""


@dataclass(frozen=True)
class Report:
    """All that a check found."""

    study: str
    source: str
    """Which data, from where."""
    problems: tuple[Problem, ...]
    """Errors first."""
    notes: tuple[str, ...]
    """What the source assumed and changed, how often parts of the body were seen, what limits the results; and on
    which nodes trainings run."""
    num_train: int
    num_valid: int
    num_features: int
    vocabulary_size: int
    feature_values: str
    """Which values were checked: before or after which normalisation."""
    exclusions: dict[str, int]
    """Reason -> utterances that the source left out."""
    frames: Spread
    """Input frames of training utterances."""
    labels: Spread
    """Labels of training targets."""
    least_spare_outputs: int
    """Output frames that the tightest training target has beyond what CTC needs; negative: infeasible."""
    label_counts: dict[str, int]
    """In training, most frequent first."""
    l_const: float
    """Zero-information loss, nats a label; NaN if there is none."""
    l_unif: float
    largest_gradient: float | None
    """Largest unscaled gradient that fp16 has to hold in the first backward pass; None without fp16."""
    calibration: tuple[Calibration, ...]
    """One for each initial loss scale of the study."""

    @property
    def has_errors(self) -> bool:
        """Whether the data must be corrected before training."""
        return any(problem.severity == "error" for problem in self.problems)


def check(loaded: LoadedStudy) -> Report:
    """Checks the data of a study in our own loop, with the model of its first settings.

    Raises:
        UserError: the data cannot be read at all.
    """
    study = loaded.study
    _, data = study.made
    torch.set_num_threads(study.resources.of(loaded.first_settings()).cpus)
    source = read(data, f"{loaded.source.where(('data',))}: data")
    dataset, problems = source.dataset, list(source.problems)
    config = loaded.trial_config(loaded.first_settings())
    found = inspect_dataset(dataset)
    precisions = _precisions(loaded)
    l_const, l_unif = floors(output_lengths(config, dataset), dataset)
    spare = _spare_outputs(config, dataset.train)
    problems += problems_of(found, config, precisions, source, l_const)
    scaled = list({p.model_dump_json(): p for p in precisions if isinstance(p, Fp16)}.values())
    bad = {problem.id for problem in found.nonfinite if problem.split == "train"}
    usable = [i for i in _order(study.seed, len(dataset.train)) if spare[i] >= 0 and dataset.train.ids[i] not in bad]
    largest: float | None = None
    starts: tuple[Calibration, ...] = ()
    if scaled and usable:
        batch = usable[: config.training.batch_size]
        largest, starts = calibrations(config, scaled, dataset, batch, seed=study.seed, limit_s=CALIBRATION_LIMIT_S)
        problems += calibration_problems(largest)
    return Report(
        study=study.name,
        source=dataset.facts.source,
        problems=tuple(sorted(problems, key=lambda problem: problem.severity != "error")),
        notes=(*dataset.facts.notes, *resource_lines(study.resources)),
        num_train=len(dataset.train),
        num_valid=len(dataset.valid),
        num_features=dataset.num_features,
        vocabulary_size=len(dataset.vocabulary),
        feature_values=source.feature_values,
        exclusions=dataset.facts.exclusions,
        frames=found.frames,
        labels=found.labels,
        least_spare_outputs=int(spare.min()),
        label_counts=found.label_counts,
        l_const=l_const,
        l_unif=l_unif,
        largest_gradient=largest,
        calibration=starts,
    )


def _order(seed: int, num_train: int) -> list[int]:
    """The order of the first epoch, as `Training` takes it."""
    return [int(i) for i in np.random.default_rng([seed, 0]).permutation(num_train)]


def _precisions(loaded: LoadedStudy) -> list[PrecisionConfig]:
    """Every precision at the ends of the space."""
    corners = [loaded.first_settings(), *(settings for _, settings in loaded.corners())]
    return [loaded.trial_config(settings).training.precision for settings in corners]


def _spare_outputs(config: TrialConfig, split: Split) -> npt.NDArray[np.int64]:
    """Output frames of each utterance beyond U + repeats, [N]."""
    lengths = split.lengths.tolist()
    return np.array(
        [config.model.output_length(n) - num_outputs_needed(split.target(i).tolist()) for i, n in enumerate(lengths)]
    )
