"""A user's folder of landmark sequences with their glosses, checked utterance by utterance.

| format   | the folder holds                                                                                |
|----------|-------------------------------------------------------------------------------------------------|
| manifest | manifest.csv: id,path,labels,signer,split (labels apart by spaces; split train, valid or test)   |
| phoenix  | *train*.csv and *dev*.csv of RWTH-PHOENIX-2014 or 2014T (fields apart by "|", here or in          |
|          | annotations/manual), and features/<split>/<id>.npz or features/<id>.npz (or .npy, ...)           |
| kaggle   | train.csv: path,sequence_id,phrase[,participant_id], and the parquet files (characters as labels) |

Dimension legend: T frames, F features, U labels of a target.
"""

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, Self

import numpy as np
from pydantic import Field, PositiveInt, model_validator

from slr_models.data.batch import BLANK_TOKEN, DataFacts, Dataset, FeatureGroup, Split
from slr_models.data.columns import GroupSizes, is_holistic, to_clip
from slr_models.data.feasibility import min_frames
from slr_models.data.features_file import Block, FeatureReader
from slr_models.data.index import Entry, Format, SplitName, find_format, read_index
from slr_models.data.layout import HOLISTIC, Bools, Floats, PointSet
from slr_models.data.normalize import feature_groups, features, select, selected_layout, to_body_frame
from slr_models.data.problems import OnBad, Problems
from slr_models.data.reading import MAX_FILE_GB
from slr_models.data.scaling import column_statistics, stack_velocity
from slr_models.errors import DataError
from slr_models.memory import check_memory
from slr_models.spec import Spec


@dataclass(frozen=True)
class _Loaded:
    """The usable utterances of a split, side by side."""

    entries: list[Entry]
    blocks: list[Floats]
    """[T, F] each."""


class LandmarksConfig(Spec):
    """Landmark sequences from a folder."""

    kind: Literal["landmarks"] = "landmarks"
    """Selects this source."""
    path: str = Field(min_length=1)
    """The folder with the list of utterances."""
    format: Literal["auto"] | Format = "auto"
    """How the list is written; auto: by what lies in the folder."""
    features_dir: str = Field("features", min_length=1)
    """Folder of the feature files of the format phoenix; relative to `path`."""
    on_bad: OnBad = "error"
    """A bad utterance or line ends the run with a message, or is left out and counted."""
    points: PointSet | None = None
    """Which landmarks become features, placed and scaled by the signer's body as in the source fingerspelling; for
    .pose files of MediaPipe Holistic, and parquet columns named like x_left_hand_0. None: the features as they are."""
    missing: Literal["error", "zero"] = "error"
    """NaN in the features (a landmark of confidence 0 in a .pose file) is a fault, or becomes 0 (after
    standardization). With `points`, what is missing is 0 in any case."""
    standardize: bool | None = None
    """Whether each column gets mean 0 and deviation 1 over the training frames (missing values left out); None: yes,
    but not with `points`, whose features have the body's scale."""
    velocity: bool = False
    """Whether differences of neighbouring frames are stacked on the features."""
    groups: dict[str, PositiveInt] = Field(default_factory=dict)
    """Name and number of columns of each feature group, in file order; empty: as the files tell, or one group."""
    frames_per_output: int = Field(default=4, ge=1, le=1000)
    """Input frames an output frame of the model; a target that CTC cannot align is a bad utterance."""
    max_train: int | None = Field(default=None, ge=1)
    """Use a random selection of this many training utterances; None: all."""
    max_valid: int | None = Field(default=None, ge=1)
    """Use a random selection of this many validation utterances; None: all."""
    valid_rate: float = Field(default=0.1, gt=0, lt=1)
    """Share of sequences to validate on in the format kaggle, by whole participants where they are known; (0, 1)."""
    max_file_gb: float = Field(default=MAX_FILE_GB, gt=0, le=10_000)
    """Most memory, in GB (10^9 bytes), that the features of one file may take; found out before it is unpacked."""
    seed: int = Field(default=0, ge=0)
    """Seed of the random selections."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        for name, kind in (("features_dir", "phoenix"), ("valid_rate", "kaggle")):
            # Not whether it was given: a recipe states the defaults too.
            if getattr(self, name) != type(self).model_fields[name].default and self.format not in ("auto", kind):
                raise ValueError(f"{name} has no effect with format: {self.format}; remove it")
        if self.points is not None and self.groups:
            raise ValueError("`points` makes its own feature groups; remove groups")
        if self.points is not None and self.standardize:
            raise ValueError("`points` already scales features by the body; remove standardize, or points")
        return self

    def build(self) -> Dataset:
        """Reads and checks the folder.

        Raises:
            DataError: The folder or its list cannot be used, an utterance is bad and `on_bad` is "error", or no
                utterance of a split is left.
        """
        folder = Path(self.path)
        kind = find_format(folder) if self.format == "auto" else self.format
        problems = Problems(self.on_bad)
        entries = read_index(folder, kind, folder / self.features_dir, problems)
        if kind == "kaggle":
            entries = hold_out(entries, self.valid_rate, np.random.default_rng((self.seed, 0)))
        loader = _Loader(self, problems)
        train = loader.load(self._choose(entries, "train", self.max_train, stream=1))
        vocabulary = sorted({label for entry in train.entries for label in entry.labels})
        valid = loader.load(self._choose(entries, "valid", self.max_valid, stream=2), known=frozenset(vocabulary))
        for name, kept in (("train", train), ("valid", valid)):
            if not kept.entries:
                raise DataError(
                    f"{folder} has no usable {name} utterance (left out: {problems.counts or 'none'}); "
                    f"add utterances of that split, or correct the bad ones (on_bad: error shows the first)."
                )
        if self.points is None:
            groups = self._finish(train, valid, self._group_sizes(loader))
        else:
            groups = feature_groups(selected_layout(HOLISTIC, self.points), self.points, self.velocity)
        label_of = {gloss: label for label, gloss in enumerate(vocabulary, start=1)}
        unused = sum(entry.split == "unused" for entry in entries)
        notes: tuple[str, ...] = (f"{unused} test utterances were not used",) if unused else ()
        if self.points is not None:
            notes += (f"landmarks were placed and scaled by the signer's body (points: {self.points})",)
        return Dataset(
            train=_join(train, label_of),
            valid=_join(valid, label_of),
            vocabulary=(BLANK_TOKEN, *vocabulary),
            groups=groups,
            facts=DataFacts(
                source=f"landmark sequences in {folder.resolve().name} ({kind})",
                valid_measures=_measures(train.entries, valid.entries, held_out=kind == "kaggle"),
                exclusions=problems.counts,
                notes=notes,
            ),
        )

    def _choose(self, entries: Sequence[Entry], split: SplitName, limit: int | None, stream: int) -> list[Entry]:
        """The entries of a split, or a random part of them in list order."""
        of_split = [entry for entry in entries if entry.split == split]
        if limit is None or limit >= len(of_split):
            return of_split
        order = np.random.default_rng((self.seed, stream)).permutation(len(of_split))[:limit]
        return [of_split[i] for i in sorted(order.tolist())]

    def _group_sizes(self, loader: "_Loader") -> GroupSizes:
        if not self.groups:
            return loader.sizes
        total, num_features = sum(self.groups.values()), sum(size for _, size in loader.sizes)
        if total != num_features:
            raise DataError(
                f"`groups` names {total} columns, but the features in {self.path} have {num_features}; "
                "correct the numbers."
            )
        return tuple(self.groups.items())

    def _finish(self, train: _Loaded, valid: _Loaded, sizes: GroupSizes) -> tuple[FeatureGroup, ...]:
        """Velocities, standardization and zeros for what is missing, in this order; replaces the blocks.

        One block after the other, so that a corpus is not in memory twice.
        """

        def moving(block: Floats) -> Floats:
            return stack_velocity(block, [size for _, size in sizes]) if self.velocity else block

        statistics = column_statistics(map(moving, train.blocks)) if self.standardize is not False else None
        for blocks in (train.blocks, valid.blocks):
            for i, block in enumerate(blocks):
                stacked = moving(block)
                scaled = stacked if statistics is None else statistics.standardize(stacked)
                blocks[i] = np.nan_to_num(scaled, nan=0.0)
        groups, start = [], 0
        for name, size in sizes:
            stop = start + size * (2 if self.velocity else 1)
            groups.append(FeatureGroup(name, start, stop))
            start = stop
        return tuple(groups)


class _UnusableError(Exception):
    """An utterance cannot be used."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class _Loader:
    """Reads entries; the first usable one fixes the number of features of all, and the order of named columns."""

    def __init__(self, config: LandmarksConfig, problems: Problems) -> None:
        self._config = config
        self._problems = problems
        self._reader = FeatureReader(config.max_file_gb)
        self._num_bytes = 0
        self._first: Block | None = None

    @property
    def sizes(self) -> GroupSizes:
        """The column groups of what was loaded as it is."""
        return () if self._first is None else self._first.groups

    def load(self, entries: Sequence[Entry], known: frozenset[str] | None = None) -> _Loaded:
        """The usable utterances; labels outside of `known` (None: any) make one unusable."""
        kept = _Loaded([], [])
        for entry in entries:
            try:
                block = self._load(entry, known)
            except _UnusableError as fault:
                self._problems.report(fault.reason, entry.where, str(fault))
                continue
            kept.entries.append(entry)
            kept.blocks.append(block)
            self._num_bytes += block.nbytes
            check_memory(
                self._num_bytes, f"the features of {self._config.path}", "choose fewer with max_train, max_valid"
            )
        return kept

    def _load(self, entry: Entry, known: frozenset[str] | None) -> Floats:
        unknown = [] if known is None else sorted(set(entry.labels) - known)
        if unknown:
            raise _UnusableError(
                "unknown gloss",
                f"the validation glosses {', '.join(unknown)} occur in no usable training utterance; "
                "correct their spelling",
            )
        # Unlike Path.is_file, it takes a name that is too long for a missing file.
        path = next((candidate for candidate in entry.candidates if os.path.isfile(candidate)), None)
        if path is None:
            raise _UnusableError(
                "missing file",
                f"utterance {entry.id!r} has no feature file {entry.candidates[0]}; add it or correct its path",
            )
        try:
            block = self._reader.read(path, entry.sequence)
        except DataError as error:
            raise _UnusableError("unreadable file", str(error)) from error
        if block.values.size == 0:
            raise _UnusableError("no frames", f"{path} holds no frames of {entry.id!r}; extract them again")
        infinite = np.isinf(block.values)
        if infinite.any():
            raise _UnusableError("non-finite features", f"{path} holds infinity{_at(infinite)}; correct the extraction")
        if np.isnan(block.values).all():
            raise _UnusableError("no landmarks", f"{path} holds only missing values; extract it again")
        values = self._as_is(block, path) if self._config.points is None else _of_body(block, path, self._config)
        self._check_length(len(values), path, entry)
        if self._first is None:
            self._first = block
        return values

    def _as_is(self, block: Block, path: Path) -> Floats:
        """The columns in the order of the first file."""
        absent = np.isnan(block.values)
        if absent.any() and self._config.missing == "error":
            ways = "set missing: zero if NaN stands for a missing landmark"
            if is_holistic(block.columns):
                ways += ", or points: hands_pose for features in which a missing landmark is 0"
            raise _UnusableError("non-finite features", f"{path} holds NaN{_at(absent)}; correct it, {ways}")
        if self._first is None or block.columns == self._first.columns != ():
            return block.values
        expected, found = self._first.columns, block.columns
        if block.values.shape[1] != self._first.values.shape[1]:
            raise _UnusableError(
                "feature size",
                f"{path} has {block.values.shape[1]} features a frame where the others have "
                f"{self._first.values.shape[1]}; extract all with the same settings",
            )
        if set(found) != set(expected):
            named = f"names {sorted(set(found) - set(expected))[0]!r}" if found else "names no columns"
            theirs = f"name {sorted(set(expected) - set(found))[0]!r}" if expected else "name none"
            raise _UnusableError(
                "feature names",
                f"{path} {named} where the files before it {theirs}, so that columns would be mixed up; "
                "store all utterances with the same columns",
            )
        place = {name: column for column, name in enumerate(found)}
        return block.values[:, [place[name] for name in expected]] if expected else block.values

    def _check_length(self, num_frames: int, path: Path, entry: Entry) -> None:
        # Labels are compared with each other only, so that any numbers tell the repeats.
        numbers = [entry.labels.index(label) for label in entry.labels]
        needed = min_frames(numbers, self._config.frames_per_output)
        if num_frames < needed:
            raise _UnusableError(
                "target too long",
                f"{path} has {num_frames} frames, but CTC needs {needed} for its {len(numbers)} labels at "
                f"{self._config.frames_per_output} frames an output; use a smaller frames_per_output and stride",
            )


def _of_body(block: Block, path: Path, config: LandmarksConfig) -> Floats:
    """The features of `config.points`, [T, F]; what is missing is 0."""
    assert config.points is not None
    try:
        clip = to_clip(block.values, block.columns, config.points)
    except DataError as error:
        raise _UnusableError("feature names", f"{path} {error}") from error
    body = to_body_frame(clip, HOLISTIC)
    if body is None:
        raise _UnusableError(
            "no shoulders",
            f"{path} never shows both shoulders, so that its landmarks cannot be placed; record or extract it again",
        )
    selected = select(body, HOLISTIC, config.points)
    if not selected.present.any():
        raise _UnusableError(
            "no landmarks", f"{path} shows none of the landmarks of points: {config.points}; leave it out"
        )
    return features(selected, selected_layout(HOLISTIC, config.points), config.points, config.velocity)


def _at(bad: Bools) -> str:
    frame, column = np.argwhere(bad)[0]
    return f" (first at frame {frame}, column {column})"


def _join(loaded: _Loaded, label_of: dict[str, int]) -> Split:
    return Split.from_utterances(
        loaded.blocks,
        [[label_of[label] for label in entry.labels] for entry in loaded.entries],
        [entry.id for entry in loaded.entries],
        [entry.signer for entry in loaded.entries],
        num_features=loaded.blocks[0].shape[1],
    )


def hold_out(entries: Sequence[Entry], valid_rate: float, rng: np.random.Generator) -> list[Entry]:
    """Moves at least `valid_rate` of the entries to validation, whole signers where all are known."""
    by_signer = all(entry.signer for entry in entries)
    keys = [entry.signer if by_signer else entry.id for entry in entries]
    sizes = Counter(keys)
    distinct = sorted(sizes)
    held: set[str] = set()
    count = 0
    for position in rng.permutation(len(distinct)):
        if count >= valid_rate * len(entries):
            break
        held.add(distinct[position])
        count += sizes[distinct[position]]
    return [replace(entry, split="valid") if key in held else entry for entry, key in zip(entries, keys, strict=True)]


def _measures(train: Sequence[Entry], valid: Sequence[Entry], held_out: bool) -> str:
    """What the validation split measures, as far as signers and targets tell."""
    trained = {entry.signer for entry in train} - {""}
    tested = {entry.signer for entry in valid} - {""}
    targets = {entry.labels for entry in train}
    repeated = sum(entry.labels in targets for entry in valid)
    origin = "A random part held out of the folder" if held_out else "The folder's own validation split"
    if not trained or not tested:
        signers = "the folder names no signers, so new signers may or may not be among them"
    elif tested & trained:
        signers = f"{len(tested & trained)} of its {len(tested)} signers are also trained on"
    else:
        signers = f"none of its {len(tested)} signers is trained on"
    return f"{origin}: {signers}; {repeated} of {len(valid)} targets also occur in training."
