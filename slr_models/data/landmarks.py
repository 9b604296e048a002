"""A user's folder of landmark sequences with their glosses, checked utterance by utterance.

| format   | the folder holds                                                                                |
|----------|-------------------------------------------------------------------------------------------------|
| manifest | manifest.csv: id,path,labels,signer,split (labels apart by spaces; split train, valid or test)   |
| phoenix  | *train*.csv and *dev*.csv of RWTH-PHOENIX-2014 or 2014T (fields apart by "|", here or in          |
|          | annotations/manual), and features/<split>/<id>.npz or features/<id>.npz (or .npy, ...)           |
| kaggle   | train.csv: path,sequence_id,phrase[,participant_id], and the parquet files (characters as labels) |

Dimension legend: T frames, F features, U labels of a target.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal, Self

import numpy as np
from pydantic import Field, PositiveInt, model_validator

from slr_models.data.batch import BLANK_TOKEN, DataFacts, Dataset, FeatureGroup, PartSeen, Split, offsets_of
from slr_models.data.columns import GroupSizes, best_points, has_pose, layout_of, unread_points
from slr_models.data.features_file import Block, FeatureReader
from slr_models.data.index import Entry, Format, SplitName, find_format, read_index
from slr_models.data.labels import LabelsConfig
from slr_models.data.layout import Floats, PointSet
from slr_models.data.loading import Loader, Utterance, alike
from slr_models.data.missing import parts_seen
from slr_models.data.normalize import feature_groups, selected_layout
from slr_models.data.problems import OnBad, Problems
from slr_models.data.reading import MAX_FILE_GB
from slr_models.data.recognition import check_layout
from slr_models.data.scaling import column_statistics, stack_velocity
from slr_models.data.storage import joined
from slr_models.data.targets import with_sound_targets
from slr_models.data.unseen import UnseenPolicy, admitted, unseen_note
from slr_models.errors import DataError
from slr_models.spec import Spec


class LandmarksConfig(Spec):
    """Landmark sequences from a folder."""

    kind: Literal["landmarks"] = "landmarks"
    """Selects this source."""
    path: str = Field(min_length=1)
    """The folder with the list of utterances; `~` is the home folder. What is not found from where one stands is looked
    for beside the study file."""
    format: Literal["auto"] | Format = "auto"
    """How the list is written; auto: by what lies in the folder."""
    features_dir: str = Field("features", min_length=1)
    """Folder of the feature files of the format phoenix; relative to `path`."""
    on_bad: OnBad = "error"
    """A bad utterance or line ends the run with a message, or is left out and counted."""
    max_excluded: float = Field(default=0.5, ge=0, le=1)
    """Largest share of the utterances that on_bad: exclude may leave out; beyond it the data are not what was meant."""
    labels: LabelsConfig | None = None
    """Clean-up of the glosses; None: they are used as they are written."""
    unseen_glosses: UnseenPolicy | None = None
    """What becomes of a validation utterance with a gloss that no training utterance holds. count_as_errors: it is
    kept, and the gloss is an error in the WER. refuse: it is a bad one if the training list lacks the gloss, for a
    misspelling. exclude: it is left out and counted. None: count_as_errors in the format phoenix, whose splits are
    published ones, refuse in the others."""
    points: PointSet | None = None
    """Which landmarks become features, placed and scaled by the signer's body as in the source fingerspelling (by the
    hands where there are hands alone); for .pose files, parquet columns named like x_left_hand_0, and arrays of a known
    shape or with `layout`. None: the features as they are."""
    layout: dict[str, PositiveInt] = Field(default_factory=dict)
    """Name and number of points of each part of arrays without names, in order: pose (MediaPipe's 33 or the first of
    them), body_25 (OpenPose), coco (17), left_hand, right_hand (21), face, or others, which `points` does not read.
    Empty: known shapes are recognized; see `slr_models.data.recognition`."""
    missing: Literal["error", "zero"] = "error"
    """NaN in the features (a landmark of confidence 0 in a .pose file) is a fault, or becomes 0 (after
    standardization). With `points`, what is missing is 0 in any case."""
    equal_points: Literal["missing", "keep"] = "missing"
    """A part whose points are all exactly equal in a frame (zeros for a hand that was not found) was not seen there,
    and counts as missing; or is kept as it is."""
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
    map_dir: str | None = Field(default=None, min_length=1)
    """Folder for a file of all features, of which a training reads what it needs: for sets larger than memory. All
    machines of a cluster have to share it. None: features are held in memory, once a machine."""
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
        check_layout(tuple(self.layout.items()))
        if self.points is not None and self.standardize:
            raise ValueError("`points` already scales features by the body; remove standardize, or points")
        return self

    def build(self) -> Dataset:
        """Reads and checks the folder.

        Raises:
            DataError: The folder or its list cannot be used, an utterance is bad and `on_bad` is "error", or no
                utterance of a split is left.
        """
        folder = Path(self.path).expanduser()
        kind = find_format(folder) if self.format == "auto" else self.format
        problems = Problems(self.on_bad)
        entries = read_index(folder, kind, folder / self.features_dir, problems)
        entries, notes = with_sound_targets(entries, kind, self.labels, problems)
        if kind == "kaggle":
            entries = hold_out(entries, self.valid_rate, np.random.default_rng((self.seed, 0)))
        loader = self._loader(problems)
        chosen = self._choose(entries, "train", self.max_train, stream=1)
        train = loader.load(chosen)
        _refuse_empty(folder, "train", train, problems)
        usual = alike(train, problems, self.points)
        listed, trained = _glosses(entries, "train"), _glosses([u.entry for u in train], "train")
        policy = self.unseen_glosses or ("count_as_errors" if kind == "phoenix" else "refuse")
        to_validate = self._choose(entries, "valid", self.max_valid, stream=2)
        valid = loader.load(admitted(to_validate, listed, trained, policy, problems))
        alike(valid, problems, self.points, usual)
        _refuse_empty(folder, "valid", valid, problems)
        self._refuse_few(len(train) + len(valid), problems)
        if self.layout and not loader.reader.recognized:
            raise DataError(f"`layout` has no effect: the files in {folder} name their landmarks; remove it")
        parts = parts_seen((utterance.entry.id, utterance.parts) for utterance in (*train, *valid))
        groups, finish = self._finishing(loader, train, usual)

        def finished(utterances: list[Utterance]) -> Iterator[Floats]:
            for utterance in utterances:
                yield finish(loader.values(utterance, usual))
                # A corpus is not in memory twice.
                utterance.values = None

        def features(name: str, utterances: list[Utterance]) -> Floats:
            num_frames = sum(utterance.num_frames for utterance in utterances)
            return joined(finished(utterances), num_frames, groups[-1].stop, self._mapped(folder, name))

        vocabulary = (BLANK_TOKEN, *sorted(trained), *sorted(_glosses([u.entry for u in valid], "valid") - trained))
        label_of = {gloss: label for label, gloss in enumerate(vocabulary)}
        dataset = Dataset(
            train=_split(train, features("train", train), label_of),
            valid=_split(valid, features("valid", valid), label_of),
            vocabulary=vocabulary,
            groups=groups,
            facts=DataFacts(
                source=f"landmark sequences in {folder.resolve().name} ({kind})",
                valid_measures=_measures([u.entry for u in train], [u.entry for u in valid], held_out=kind == "kaggle"),
                exclusions=problems.counts,
                possible_points="" if self.points else best_points(usual.block.columns),
                parts=parts,
                notes=(*notes, *_unused(entries), *self._notes(loader.reader, usual.block, parts)),
            ),
            clean_up=self.labels if self.labels and self.labels.when == "evaluation" else None,
        )
        note = unseen_note(dataset, listed, _glosses(chosen, "train"))
        if note is None:
            return dataset
        return replace(dataset, facts=replace(dataset.facts, notes=(*dataset.facts.notes, note)))

    def _loader(self, problems: Problems) -> Loader:
        reader = FeatureReader(self.max_file_gb, tuple(self.layout.items()), wants_landmarks=self.points is not None)
        return Loader(
            reader,
            problems,
            folder=self.path,
            points=self.points,
            velocity=self.velocity,
            missing=self.missing,
            equal_is_missing=self.equal_points == "missing",
            groups=tuple(self.groups.items()),
            frames_per_output=self.frames_per_output,
            is_held=self.map_dir is None,
        )

    def _refuse_few(self, num_kept: int, problems: Problems) -> None:
        left_out = sum(problems.counts.values())
        share = left_out / (left_out + num_kept)
        if share > self.max_excluded:
            reasons = ", ".join(f"{reason}: {count}" for reason, count in problems.counts.items())
            raise DataError(
                f"{left_out} of {left_out + num_kept} utterances in {self.path} cannot be used ({reasons}), more than "
                f"max_excluded: {self.max_excluded:g} allows; correct them (on_bad: error shows the first), or raise "
                "max_excluded"
            )

    def _notes(self, reader: FeatureReader, usual: Block, parts: Sequence[PartSeen]) -> Iterator[str]:
        """What was assumed, and what was not seen."""
        if not self.layout:
            for (shape, _), found in reader.recognized.items():
                if found is not None:
                    size = " x ".join(map(str, shape))
                    yield f"arrays of {size} a frame were taken for {found.told} (`layout` can say otherwise)"
        yield from (part.text for part in parts if part.frames_seen < part.frames)
        if self.points is not None:
            by = "the signer's body" if has_pose(usual.columns) else "the hands, as there is no body"
            yield f"landmarks were placed and scaled by {by} (points: {self.points})"
            if unread := unread_points(usual.columns, self.points):
                yield f"the files hold no {', '.join(unread)}: these features are 0"

    def _choose(self, entries: Sequence[Entry], split: SplitName, limit: int | None, stream: int) -> list[Entry]:
        """The entries of a split, or a random part of them in list order."""
        of_split = [entry for entry in entries if entry.split == split]
        if limit is None or limit >= len(of_split):
            return of_split
        order = np.random.default_rng((self.seed, stream)).permutation(len(of_split))[:limit]
        return [of_split[i] for i in sorted(order.tolist())]

    def _group_sizes(self, usual: Utterance) -> GroupSizes:
        if not self.groups:
            return usual.block.groups
        total, num_features = sum(self.groups.values()), usual.num_features
        if total != num_features:
            raise DataError(
                f"`groups` names {total} columns, but the features in {self.path} have {num_features}; "
                "correct the numbers."
            )
        return tuple(self.groups.items())

    def _mapped(self, folder: Path, name: str) -> Path | None:
        """The file of a split's features, by the folder and all settings."""
        if self.map_dir is None:
            return None
        digest = hashlib.sha256(f"{folder.resolve()} {self.model_dump_json()}".encode()).hexdigest()[:12]
        return Path(self.map_dir).expanduser() / f"{folder.resolve().name}-{digest}-{name}.npy"

    def _finishing(
        self, loader: Loader, train: list[Utterance], usual: Utterance
    ) -> tuple[tuple[FeatureGroup, ...], Callable[[Floats], Floats]]:
        """The feature groups, and what makes features of values: velocities, standardization, 0 for what is missing."""
        if self.points is not None:
            layout = selected_layout(layout_of(self.points), self.points)
            return feature_groups(layout, self.points, self.velocity), lambda values: values
        sizes = self._group_sizes(usual)

        def moving(block: Floats) -> Floats:
            return stack_velocity(block, [size for _, size in sizes]) if self.velocity else block

        statistics = None
        if self.standardize is not False:
            statistics = column_statistics(moving(loader.values(utterance, usual)) for utterance in train)

        def finish(values: Floats) -> Floats:
            stacked = moving(values)
            scaled = stacked if statistics is None else statistics.standardize(stacked)
            finished: Floats = np.nan_to_num(scaled, nan=0.0)
            return finished

        groups, start = [], 0
        for name, size in sizes:
            stop = start + size * (2 if self.velocity else 1)
            groups.append(FeatureGroup(name, start, stop))
            start = stop
        return tuple(groups), finish


def _refuse_empty(folder: Path, name: str, kept: list[Utterance], problems: Problems) -> None:
    if not kept:
        raise DataError(
            f"{folder} has no usable {name} utterance (left out: {problems.counts or 'none'}); "
            f"add utterances of that split, or correct the bad ones (on_bad: error shows the first)."
        )


def _unused(entries: Sequence[Entry]) -> list[str]:
    unused = sum(entry.split == "unused" for entry in entries)
    return [f"{unused} test utterances were not used"] if unused else []


def _glosses(entries: Sequence[Entry], split: SplitName) -> set[str]:
    return {label for entry in entries if entry.split == split for label in entry.labels}


def _split(utterances: Sequence[Utterance], features: Floats, label_of: dict[str, int]) -> Split:
    targets = [[label_of[label] for label in utterance.entry.labels] for utterance in utterances]
    return Split(
        features=features,
        offsets=offsets_of([utterance.num_frames for utterance in utterances]),
        labels=np.asarray([label for target in targets for label in target], dtype=np.int64),
        label_offsets=offsets_of([len(target) for target in targets]),
        ids=tuple(utterance.entry.id for utterance in utterances),
        signers=tuple(utterance.entry.signer for utterance in utterances),
    )


def hold_out(entries: Sequence[Entry], valid_rate: float, rng: np.random.Generator) -> list[Entry]:
    """Moves at least `valid_rate` of the entries to validation, whole signers where all are known and several."""
    signers = {entry.signer for entry in entries}
    # The only signer would leave nothing to train on.
    by_signer = "" not in signers and len(signers) > 1
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
