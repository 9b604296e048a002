"""Continuous sentences, composed from a user's folder of isolated sign clips, signer by signer.

The folder holds `labels.csv` with a row a clip: `label` ("-" is idling), `signer`, `split` (train, valid or dev, by
recording session; test is not used), and, as far as wanted, `all_missing` (1 or true: nothing was seen), `path`, and
any other columns. The landmarks lie either

- in the files that `path` names, of any kind that the source landmarks reads, or
- in `clips.npz`, in the same order: `landmarks` [N, T, P, C] (with clips of different lengths an array `lengths` [N];
  then also [all frames, P, C]), and, where it is known, `present` [N, T, parts] or [N, T, points].
  A part that was not seen is NaN, in one place, or 0 in `present`.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, Self

import numpy as np
from pydantic import Field, PositiveInt, model_validator

from slr_models.data.batch import BLANK_TOKEN, DataFacts, Dataset
from slr_models.data.clip_files import FILLER, ClipReader, ClipRow, read_labels
from slr_models.data.columns import has_pose, layout_of, parts_of, to_clip
from slr_models.data.compose import Augmentation, Rendering, Script, render
from slr_models.data.features_file import Block
from slr_models.data.layout import Clip, Layout, PointSet
from slr_models.data.missing import PartCount, mark_missing, parts_seen
from slr_models.data.normalize import select, selected_layout, to_body_frame, to_hands_frame
from slr_models.data.reading import MAX_FILE_GB
from slr_models.data.recognition import check_layout
from slr_models.errors import DataError
from slr_models.spec import Spec

_TRAIN, _VALID, _SENTENCES = range(3)


_Pool = dict[str, dict[str, list[Clip]]]
"""Signer -> label -> clips."""


class ClipsConfig(Spec):
    """Isolated signs joined into sentences of one signer each."""

    kind: Literal["clips"] = "clips"
    """Selects this source."""
    path: str = Field(min_length=1)
    """Folder with labels.csv and clips.npz (or a file a clip); `~` is the home folder. What is not found from where one
    stands is looked for beside the study file."""
    layout: dict[str, PositiveInt] = Field(default_factory=dict)
    """Name and number of points of each part of arrays without names, in order, as in the source landmarks. Empty:
    known shapes are recognized."""
    split: Literal["session", "signer"] = "session"
    """Validate on the folder's valid sessions, or on a signer that is not trained on."""
    valid_signer: str = ""
    """The signer to validate on where split is signer."""
    num_train: int = Field(default=800, ge=1, le=1_000_000)
    """Training sentences."""
    num_valid: int = Field(default=100, ge=1, le=1_000_000)
    """Validation sentences."""
    min_signs: int = Field(default=2, ge=1, le=1000)
    """Fewest signs of a sentence."""
    max_signs: int = Field(default=5, ge=1, le=1000)
    """Most signs of a sentence."""
    filler_rate: float = Field(default=0.2, ge=0, le=1)
    """Probability of an idle clip before each sign; it has no label."""
    drop_first_frames: int = Field(default=1, ge=0, le=10_000)
    """Frames cut off the start of each clip (a recorder can pause after its first frame)."""
    aspect_ratio: float = Field(default=1.0, gt=0, le=1000)
    """Width / height of the video; 1 where x and y already have the same unit."""
    frames_per_sign: int | None = Field(default=None, ge=2, le=10_000)
    """Mean frames of a sign, without transition; None keeps the recording's length."""
    transition_frames: int = Field(default=4, ge=0, le=10_000)
    """Frames from one clip to the next."""
    frames_per_output: int = Field(default=4, ge=1, le=1000)
    """Input frames an output frame of the model (its stride); sentences are slowed down where CTC needs it."""
    points: PointSet = "hands_pose"
    """Which landmarks become features."""
    velocity: bool = True
    """Whether differences of neighbouring frames are stacked on the positions."""
    augmentation: Augmentation = Augmentation()
    """How much sentences vary."""
    max_file_gb: float = Field(default=MAX_FILE_GB, gt=0, le=10_000)
    """Most memory, in GB (10^9 bytes), that the features of one file may take; found out before it is unpacked."""
    seed: int = Field(default=0, ge=0)
    """Seed of everything random here."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        check_layout(tuple(self.layout.items()))
        if self.min_signs > self.max_signs:
            raise ValueError(f"min_signs ({self.min_signs}) must not exceed max_signs ({self.max_signs})")
        if (self.split == "signer") != bool(self.valid_signer):
            raise ValueError("valid_signer names whom split: signer validates on; give both or neither")
        return self

    def build(self) -> Dataset:
        """Reads the clips and composes both splits.

        Raises:
            DataError: A file is missing or not as described above, or a split has no usable clips.
        """
        folder = Path(self.path).expanduser()
        rows = read_labels(folder / "labels.csv")
        reader = ClipReader(folder, self.max_file_gb, tuple(self.layout.items()))
        placer = _Placer(self)
        exclusions: Counter[str] = Counter()
        pools = {"train": _Pool(), "valid": _Pool(), "unused": _Pool()}
        for row, block in zip(rows, reader.read(rows), strict=True):
            if row.all_missing:
                exclusions["clip without landmarks"] += 1
                continue
            clip = placer.place(row, block)
            if isinstance(clip, str):
                exclusions[clip] += 1
                continue
            pool = pools[self._split_of(row)]
            pool.setdefault(row.signer, {}).setdefault(row.label, []).append(clip)
        unused = sum(len(clips) for signs in pools.pop("unused").values() for clips in signs.values())
        exclusions["clip of a signer with fewer than two signs in the split"] += _drop_poor_signers(pools["train"])
        glosses = sorted({label for signs in pools["train"].values() for label in signs} - {FILLER})
        for signs in pools["valid"].values():
            for label in [label for label in signs if label not in glosses and label != FILLER]:
                exclusions["validation clip of a sign that is not trained"] += len(signs.pop(label))
        exclusions["clip of a signer with fewer than two signs in the split"] += _drop_poor_signers(pools["valid"])
        # Without the reasons that never occurred.
        exclusions = +exclusions
        for name, pool in pools.items():
            if not pool:
                signers = sorted({row.signer for row in rows})
                raise DataError(
                    f"{folder / 'labels.csv'} leaves no usable clips for the {name} split with split: {self.split}"
                    f"; excluded: {dict(exclusions)}; the signers are {', '.join(signers)}."
                )
        notes = [f"{unused} test clips were not used"] if unused else []
        notes += [f"landmarks were taken for {text} (`layout` can say otherwise)" for text in reader.assumed]
        return self._compose(pools, glosses, exclusions, placer, notes)

    def _compose(
        self,
        pools: dict[str, _Pool],
        glosses: list[str],
        exclusions: Counter[str],
        placer: "_Placer",
        notes: list[str],
    ) -> Dataset:
        rendering = Rendering(
            layout=selected_layout(layout_of(self.points, placer.full), self.points),
            points=self.points,
            velocity=self.velocity,
            frames_per_clip=self.frames_per_sign,
            frames_per_output=self.frames_per_output,
            augmentation=self.augmentation,
        )
        label_of = {gloss: label for label, gloss in enumerate(glosses, start=1)}
        splits, stretched = [], 0
        for stream, (name, size) in enumerate((("train", self.num_train), ("valid", self.num_valid))):
            scripts = [self._script(pools[name], label_of, stream, index) for index in range(size)]
            split, slowed = render(scripts, rendering, self.seed, stream)
            splits.append(split)
            stretched += slowed
        parts = parts_seen(placer.counts)
        notes += ["sentences are random sequences of signs without grammar"]
        notes += [part.text for part in parts if part.frames_seen < part.frames]
        if stretched:
            notes.append(f"{stretched} sentences were slowed down so that CTC can align their target")
        signers = ", ".join(sorted(pools["valid"]))
        measures = (
            f"New sentences of {signers} from recording sessions that were not trained on; "
            "the same signers are in the training split where they recorded for it."
            if self.split == "session"
            else f"Sentences of {signers}, who is not trained on: transfer to a new signer."
        )
        return Dataset(
            train=splits[_TRAIN],
            valid=splits[_VALID],
            vocabulary=(BLANK_TOKEN, *glosses),
            groups=rendering.groups,
            facts=DataFacts(
                source=f"isolated sign clips in {Path(self.path).name}, joined into sentences of one signer",
                valid_measures=measures,
                exclusions=dict(exclusions),
                parts=parts,
                notes=tuple(notes),
            ),
        )

    def _split_of(self, row: ClipRow) -> str:
        if self.split == "session" or row.split == "unused":
            return row.split
        return "valid" if row.signer == self.valid_signer else "train"

    def _script(self, pool: _Pool, label_of: dict[str, int], stream: int, index: int) -> Script:
        """A random sentence; a signer is drawn by the number of clips."""
        rng = np.random.default_rng((self.seed, _SENTENCES, stream, index))
        names = sorted(pool)
        weights = np.array([sum(len(clips) for clips in pool[name].values()) for name in names], dtype=float)
        signer = names[int(rng.choice(len(names), p=weights / weights.sum()))]
        signs = pool[signer]
        choices = sorted(set(signs) - {FILLER})
        clips: list[Clip] = []
        labels: list[int] = []
        for _ in range(int(rng.integers(self.min_signs, self.max_signs + 1))):
            if FILLER in signs and rng.random() < self.filler_rate:
                clips.append(_pick(signs[FILLER], rng))
            gloss = choices[int(rng.integers(len(choices)))]
            clips.append(_pick(signs[gloss], rng))
            labels.append(label_of[gloss])
        return Script(
            clips=tuple(clips),
            transitions=(self.transition_frames,) * (len(clips) - 1),
            labels=tuple(labels),
            id=f"{('train', 'valid')[stream]}-{index}",
            signer=signer,
        )


@dataclass
class _Placer:
    """Places and scales clips by the signer's body, or by the hands where there are hands alone."""

    config: ClipsConfig
    counts: list[tuple[str, tuple[PartCount, ...]]] = field(default_factory=list)
    """How often each part was seen, clip by clip."""
    full: Layout = field(default_factory=lambda: Layout(()))
    """All points of the first clip."""

    def place(self, row: ClipRow, block: Block) -> Clip | str:
        """The clip, or why it cannot be used.

        Raises:
            DataError: It holds other landmarks than the clips before it, or not what `points` reads.
        """
        config = self.config
        block = replace(block, values=block.values[config.drop_first_frames :])
        values, parts = mark_missing(block, (), equal_is_missing=True)
        if not len(values) or np.isnan(values).all():
            return "clip without landmarks"
        if not self.full.parts:
            self.full = Layout.of(**{part.name: len(part.axes["x"]) for part in parts_of(block.columns)})
        try:
            clip = to_clip(values, block.columns, config.points, self.full)
        except DataError as error:
            raise DataError(f"{row.where}: its clip {error}.") from error
        clip.points[..., 0] *= config.aspect_ratio
        layout = layout_of(config.points, self.full)
        if has_pose(block.columns):
            placed, reason = to_body_frame(clip, layout), "clip without shoulders"
        else:
            placed, reason = to_hands_frame(clip, layout), "clip without a whole hand"
        if placed is None:
            return reason
        self.counts.append((row.id, parts))
        return select(placed, layout, config.points)


def _drop_poor_signers(pool: _Pool) -> int:
    """Removes signers with fewer than two signs, whose sentences would repeat one sign; returns how many clips went."""
    poor = [name for name, signs in pool.items() if len(set(signs) - {FILLER}) < 2]
    return sum(len(clips) for name in poor for clips in pool.pop(name).values())


def _pick(clips: Sequence[Clip], rng: np.random.Generator) -> Clip:
    return clips[int(rng.integers(len(clips)))]
