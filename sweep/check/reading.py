"""Reads the data of a study to the end, with what was left out and the scale that the files have."""

import contextlib
import tempfile
from collections import defaultdict
from dataclasses import dataclass
from typing import Literal

from slr_models.data import ClipsConfig, DataConfig, FingerspellingConfig, LandmarksConfig, MemorizeConfig
from slr_models.data.batch import Dataset
from slr_models.data.inspection import ScaleOutlier, TwoScales, two_scales, utterance_outliers
from slr_models.data.normalize import MAX_ABS
from slr_models.data.problems import Exclusion, recorded_exclusions
from slr_models.errors import DataError, UserError
from sweep.wording import plural

Severity = Literal["error", "warning"]


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with the data."""

    severity: Severity
    """error: training cannot work with it, or not on what is affected; warning: results may suffer."""
    kind: str
    text: str
    """One sentence, with the numbers and what to do."""
    items: tuple[str, ...] = ()
    """What is affected, worst first."""


@dataclass(frozen=True)
class SourceReading:
    """What a data source gave."""

    dataset: Dataset
    problems: tuple[Problem, ...]
    """One a reason for which utterances cannot be used."""
    feature_values: str
    """Which values the dataset holds, as an adverbial: `after standardization ...`."""
    raw_outliers: tuple[ScaleOutlier, ...]
    """Training utterances out of scale in the files; empty where the dataset holds the files' values."""
    two_scales: TwoScales | None
    """Where the utterances' raw values come in two scales."""
    is_made: bool
    """Whether the features are made of landmarks here, so that no one can leave a column out of the files."""
    is_memory: bool
    """Whether a few utterances are to be learned by heart: both splits are the same, whatever labels they hold."""


def read(config: DataConfig, where: str) -> SourceReading:
    """Reads a source. One that ends at the first bad utterance is read again without the bad ones, to see the rest.

    Args:
        config: the source.
        where: the place of its settings, for messages.

    Raises:
        UserError: nothing usable is left.
    """
    # Before the dataset itself, so that a corpus is not in memory twice.
    raw_outliers, scales = _raw_scales(config)
    with recorded_exclusions() as left_out:
        try:
            dataset, severity = _build(config)
        except UserError as error:
            # Counts alone would not tell what to correct, so one example a reason goes with them.
            examples = {exclusion.reason: _describe(exclusion) for exclusion in reversed(left_out)}
            raise UserError("\n    ".join([f"{where}: {error}", *examples.values()])) from error
    problems = _problems(dataset.facts.exclusions, left_out, severity)
    is_made = _is_made(config)
    if not is_made and not _is_standardized(config):
        scales = two_scales(dataset)
    is_memory = isinstance(config, MemorizeConfig)
    return SourceReading(dataset, problems, feature_values(config), raw_outliers, scales, is_made, is_memory)


def _is_made(config: DataConfig) -> bool:
    if isinstance(config, MemorizeConfig):
        return _is_made(config.source)
    return isinstance(config, ClipsConfig | FingerspellingConfig) or (
        isinstance(config, LandmarksConfig) and config.points is not None
    )


def _build(config: DataConfig) -> tuple[Dataset, Severity]:
    """The dataset, and how bad it is that utterances are missing there."""
    try:
        return config.build(), "warning"
    except DataError as error:
        if not (isinstance(config, LandmarksConfig) and config.on_bad == "error"):
            raise
        try:
            return _lenient(config).build(), "error"
        except DataError:
            # That nothing is left says less than the first fault.
            raise error from None


def _lenient(config: LandmarksConfig) -> LandmarksConfig:
    """The source without what is bad, however much that is."""
    return config.model_copy(update={"on_bad": "exclude", "max_excluded": 1.0})


def _problems(exclusions: dict[str, int], left_out: list[Exclusion], severity: Severity) -> tuple[Problem, ...]:
    places = defaultdict(list)
    for exclusion in left_out:
        places[exclusion.reason].append(_describe(exclusion))
    kind, effect = (
        ("{}", "training ends at the first; correct them, or set on_bad: exclude")
        if severity == "error"
        else ("left out: {}", "the source left them out")
    )
    return tuple(
        Problem(
            severity,
            kind.format(reason),
            f"{plural(count, 'utterance or line', 'utterances or lines')}: {effect}",
            tuple(places[reason]),
        )
        for reason, count in exclusions.items()
    )


def _describe(exclusion: Exclusion) -> str:
    return f"{exclusion.where}: {exclusion.message}"


def _is_standardized(config: DataConfig) -> bool:
    return isinstance(config, LandmarksConfig) and config.points is None and config.standardize is not False


def feature_values(config: DataConfig) -> str:
    """Which values a source gives, as an adverbial."""
    if isinstance(config, MemorizeConfig):
        return feature_values(config.source)
    if _is_standardized(config):
        return "after standardization of each column"
    if isinstance(config, LandmarksConfig) and config.points is not None:
        return f"after normalisation by the signer's body, cut off at {MAX_ABS:g}"
    return "as the source gives them"


def _raw_scales(config: DataConfig) -> tuple[tuple[ScaleOutlier, ...], TwoScales | None]:
    """What standardization hides."""
    if not (isinstance(config, LandmarksConfig) and _is_standardized(config)):
        return (), None
    change: dict[str, object] = {"standardize": False, "velocity": False}
    with contextlib.ExitStack() as stack:
        if config.map_dir is not None:
            # Of use here alone.
            change["map_dir"] = stack.enter_context(tempfile.TemporaryDirectory(dir=config.map_dir))
        try:
            raw = _lenient(config).model_copy(update=change).build()
        except (UserError, OSError):
            # The same folder is read as it is configured next, and that says what is wrong.
            return (), None
        return utterance_outliers(raw.train), two_scales(raw)
