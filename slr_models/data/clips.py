"""Continuous sentences, composed from a user's folder of isolated sign clips, signer by signer.

The folder holds:

- `clips.npz`: `landmarks` [N, T, 67, 3] (MediaPipe pose points 0..24, left hand 21, right hand 21; x and y as shares
  of the image, z relative) and `present` [N, T, 3] (whether pose, left and right hand were seen).
- `labels.csv` with a row a clip, in the same order: `label` ("-" is idling), `signer`, `split` (train or valid;
  by recording session), `all_missing` (1: nothing was seen), and any other columns.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from slr_models.data.batch import BLANK_TOKEN, DataFacts, Dataset
from slr_models.data.compose import Augmentation, Rendering, Script, render
from slr_models.data.layout import UPPER_BODY, Clip, PointSet
from slr_models.data.normalize import select, selected_layout, to_body_frame
from slr_models.data.reading import MAX_FILE_GB, check_numpy_size, csv_lines, parsing
from slr_models.errors import DataError
from slr_models.spec import Spec

FILLER = "-"
"""Label of clips in which nothing is signed."""

_TRAIN, _VALID, _SENTENCES = range(3)


@dataclass(frozen=True)
class _Row:
    """One line of labels.csv."""

    label: str
    signer: str
    split: str
    all_missing: bool


_Pool = dict[str, dict[str, list[Clip]]]
"""Signer -> label -> clips."""


class ClipsConfig(Spec):
    """Isolated signs joined into sentences of one signer each."""

    kind: Literal["clips"] = "clips"
    """Selects this source."""
    path: str = Field(min_length=1)
    """Folder with clips.npz and labels.csv."""
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
        folder = Path(self.path)
        rows = _read_labels(folder / "labels.csv")
        landmarks, present = _read_clips(folder / "clips.npz", len(rows), self.max_file_gb)
        exclusions: Counter[str] = Counter()
        pools = {"train": _Pool(), "valid": _Pool()}
        for row, points, seen in zip(rows, landmarks, present, strict=True):
            if row.all_missing:
                exclusions["clip without landmarks"] += 1
                continue
            body = self._clip(points, seen)
            if body is None:
                exclusions["clip without shoulders"] += 1
                continue
            pool = pools[self._split_of(row)]
            pool.setdefault(row.signer, {}).setdefault(row.label, []).append(body)
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
        return self._compose(pools, glosses, exclusions)

    def _compose(self, pools: dict[str, _Pool], glosses: list[str], exclusions: Counter[str]) -> Dataset:
        rendering = Rendering(
            layout=selected_layout(UPPER_BODY, self.points),
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
        notes = ["sentences are random sequences of signs without grammar"]
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
                notes=tuple(notes),
            ),
        )

    def _split_of(self, row: _Row) -> str:
        if self.split == "session":
            return row.split
        return "valid" if row.signer == self.valid_signer else "train"

    def _clip(self, points: npt.NDArray[np.float16], seen: npt.NDArray[np.uint8]) -> Clip | None:
        """One clip in the body frame, or None where no shoulders are seen."""
        sizes = [part.stop - part.start for part in UPPER_BODY.parts]
        present = np.repeat(seen.astype(bool), sizes, axis=1)[self.drop_first_frames :]
        scaled = points[self.drop_first_frames :].astype(np.float32)
        scaled[..., 0] *= self.aspect_ratio
        body = to_body_frame(Clip(scaled, present), UPPER_BODY) if len(scaled) else None
        return None if body is None else select(body, UPPER_BODY, self.points)

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


def _drop_poor_signers(pool: _Pool) -> int:
    """Removes signers with fewer than two signs, whose sentences would repeat one sign; returns how many clips went."""
    poor = [name for name, signs in pool.items() if len(set(signs) - {FILLER}) < 2]
    return sum(len(clips) for name in poor for clips in pool.pop(name).values())


def _pick(clips: Sequence[Clip], rng: np.random.Generator) -> Clip:
    return clips[int(rng.integers(len(clips)))]


def _read_labels(path: Path) -> list[_Row]:
    lines = csv_lines(path)
    _, header = next(lines, (0, []))
    missing = {"label", "signer", "split", "all_missing"} - set(header)
    if missing:
        raise DataError(f"{path} line 1: lacks the columns {', '.join(sorted(missing))}; add them.")
    rows: list[_Row] = []
    for number, fields in lines:
        if not fields:
            continue
        where = f"{path} line {number}"
        if len(fields) != len(header):
            raise DataError(f"{where}: has another number of fields than the header; correct the line.")
        row = dict(zip(header, fields, strict=True))
        if row["split"] not in ("train", "valid"):
            raise DataError(f"{where}: split is {row['split']!r}; write train or valid.")
        if not row["label"]:
            raise DataError(f"{where}: has no label; write the sign, or {FILLER} where nothing is signed.")
        rows.append(_Row(row["label"], row["signer"], row["split"], row["all_missing"] == "1"))
    return rows


def _read_clips(path: Path, num_rows: int, max_gb: float) -> tuple[npt.NDArray[np.float16], npt.NDArray[np.uint8]]:
    if not path.is_file():
        raise DataError(f"{path} is missing; set `path` to the folder that holds clips.npz and labels.csv.")
    with (
        parsing(path, "it must hold the plain arrays landmarks and present."),
        # NumPy leaves a file that it opens itself open where it finds a damaged archive.
        path.open("rb") as file,
    ):
        check_numpy_size(path, file, max_gb)
        with np.load(file, allow_pickle=False) as arrays:
            landmarks, present = arrays["landmarks"], arrays["present"]
    num_frames = landmarks.shape[1] if landmarks.ndim == 4 else 0
    shape = (num_rows, num_frames, UPPER_BODY.num_points, 3)
    if landmarks.shape != shape or present.shape != (num_rows, num_frames, len(UPPER_BODY.parts)):
        raise DataError(
            f"{path}: landmarks has shape {landmarks.shape} and present {present.shape}, but labels.csv has "
            f"{num_rows} rows; landmarks must be [rows, T, {UPPER_BODY.num_points}, 3] and present [rows, T, 3]."
        )
    if landmarks.dtype.kind not in "fiu" or present.dtype.kind not in "bfiu":
        raise DataError(
            f"{path}: landmarks holds {landmarks.dtype} and present {present.dtype}; "
            "store landmarks as numbers, and present as 0 and 1."
        )
    finite = np.isfinite(landmarks).all(axis=(1, 2, 3))
    if not finite.all():
        raise DataError(
            f"{path}: clip {int(np.argmin(finite))} of landmarks holds NaN or infinity; "
            "mark undetected parts in present and set them to 0."
        )
    return landmarks, present
