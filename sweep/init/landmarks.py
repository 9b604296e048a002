"""A study of our own loop on a folder of data: what was read and measured, and what follows from it."""

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from slr_models.data.batch import Dataset, Split
from slr_models.data.index import find_format
from slr_models.data.landmarks import LandmarksConfig
from slr_models.errors import DataError
from slr_models.models import CnnBiLstmConfig
from sweep.init.ramps import RangeTest, range_test
from sweep.init.study_text import Measured, rates_line, study_text
from sweep.init.writing import step_text
from sweep.records import StepRecord
from sweep.running.cores import cores
from sweep.training.config import TrainingConfig, TrialConfig
from sweep.training.learnable import floors, nothing_to_learn, output_lengths
from sweep.training.optim import AdamW, Constant
from sweep.training.train import Training
from sweep.wording import duration, plural

TRIALS = 48
"""Sixteen for each of three dimensions."""
LONGEST_STUDY_S = 3600.0
"""A smaller model is taken where the study would take longer on a CPU."""
WIDTHS = (0.25, 0.125, 0.0625)
_TIMED_STEPS = 4
_FEWEST, _MOST = 300, 1000


@dataclass(frozen=True)
class FolderData:
    """A folder as a study reads it."""

    settings: dict[str, Any]
    """The study's `data`."""
    dataset: Dataset


def data_study(
    folder: Path, name: str, path: str, *, seconds: float, has_ramps: bool, say: Callable[[str], None]
) -> str:
    """The study file for a folder of data.

    Args:
        folder: with a list of utterances.
        name: of the study.
        path: the folder, as the file names it.
        seconds: most time to train in, for the measurements.
        has_ramps: whether the learning rates are measured too.
        say: takes lines for the user, as they become known.

    Raises:
        DataError: there are no usable data in the folder, or nothing can be learned from them.
    """
    data = read_folder(folder)
    say(read_line(data.dataset))
    # As a trial on one core is trained.
    torch.set_num_threads(1)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    lanes = 1 if device.type == "cuda" else cores().usable
    batch_size = _batch_size(len(data.dataset.train))
    steps = _steps(len(data.dataset.train), batch_size)
    config, step_s = _sized(data, batch_size, steps, lanes, device)
    _check_learnable(data.dataset, config)
    say(f"a step takes {step_text(step_s)} on this {'GPU' if device.type == 'cuda' else 'CPU, one core'}")
    test: RangeTest | None = None
    if has_ramps:
        say(f"training ramps of the learning rate, at most {duration(seconds)} (--no-ramp leaves them out)")
        test = range_test(config, data.dataset, device=device, seconds=seconds, step_s=step_s)
        step_s = test.step_s
        say(rates_line(test))
    total_s = (TRIALS + 6) * steps * step_s / lanes
    measured = Measured(
        read=read_line(data.dataset),
        notes=data.dataset.facts.notes,
        exclusions=data.dataset.facts.exclusions,
        machine=f"{cores()}{', a GPU' if device.type == 'cuda' else ''}",
        lanes=lanes,
        step_s=step_s,
        total_s=total_s,
        test=test,
    )
    settings = {**data.settings, "path": path}
    return study_text(name, settings, config, measured, trials=TRIALS, steps=steps, on_gpu=device.type == "cuda")


def read_folder(folder: Path) -> FolderData:
    """Reads a folder as well as it can be: what is bad is left out, landmarks are placed and scaled by the body.

    Raises:
        DataError: there is no list of utterances in it, or more than half of them cannot be used.
    """
    find_format(folder)
    found = _as_it_is(folder)
    if not found.dataset.facts.possible_points:
        return found
    placed = {
        **{key: value for key, value in found.settings.items() if key != "missing"},
        "points": found.dataset.facts.possible_points,
        "velocity": True,
    }
    return FolderData(placed, _built(folder, placed))


def _as_it_is(folder: Path) -> FolderData:
    try:
        return FolderData({}, _built(folder, {}))
    except DataError as error:
        tries: list[FolderData] = []
        for settings in ({"on_bad": "exclude"}, {"missing": "zero", "on_bad": "exclude"}):
            try:
                tries.append(FolderData(settings, _built(folder, settings)))
            except DataError:
                continue
        if not tries:
            raise error
    best = min(tries, key=lambda one: sum(one.dataset.facts.exclusions.values()))
    if best.dataset.facts.exclusions:
        return best
    return FolderData({key: value for key, value in best.settings.items() if key != "on_bad"}, best.dataset)


def _built(folder: Path, settings: dict[str, Any]) -> Dataset:
    return LandmarksConfig.model_validate({"path": str(folder), **settings}).build()


def read_line(dataset: Dataset) -> str:
    """What a dataset holds, in a sentence."""
    train = dataset.train
    left_out = sum(dataset.facts.exclusions.values())
    return (
        f"{plural(len(train), 'utterance')} to train ({_spread(train.lengths)} frames, "
        f"{_spread(np.diff(train.label_offsets))} labels) and {len(dataset.valid)} to validate, "
        f"{len(dataset.vocabulary) - 1} different labels, {dataset.num_features} features a frame; "
        f"{left_out or 'none'} left out"
    )


def _spread(counts: Any) -> str:
    return f"{counts.min()} to {counts.max()}, median {np.median(counts):g}"


def _batch_size(num_train: int) -> int:
    """Sixteen, or fewer where an epoch would have less than eight updates."""
    return min(16, 1 << int(math.log2(max(num_train / 8, 1))))


def _steps(num_train: int, batch_size: int) -> int:
    """Ten passes over the data, within limits; a round number."""
    steps = min(max(10 * num_train // batch_size, _FEWEST), _MOST)
    return round(steps, -1)


def _sized(
    data: FolderData, batch_size: int, steps: int, lanes: int, device: torch.device
) -> tuple[TrialConfig, float]:
    """The configuration whose study does not take too long, and how long a step of it takes."""
    widths = (1.0,) if device.type == "cuda" else WIDTHS
    for width in widths:
        config = TrialConfig(
            model=CnnBiLstmConfig(width=width),
            # It was read already: what stands here is not.
            data=LandmarksConfig.model_validate({"path": ".", **data.settings}),
            training=TrainingConfig(
                optimizer=AdamW(),
                batch_size=batch_size,
                length_window=_length_window(data.dataset.train, batch_size),
            ),
        )
        step_s = _step_s(config, data.dataset, device)
        if (TRIALS + 6) * steps * step_s / lanes <= LONGEST_STUDY_S:
            break
    return config, step_s


def _length_window(split: Split, batch_size: int) -> Literal[1, 8]:
    """Updates that share out utterances by length, where these differ much and there are several such windows."""
    differs = np.percentile(split.lengths, 90) > 1.3 * np.percentile(split.lengths, 10)
    return 8 if differs and len(split) >= 16 * batch_size else 1


def _step_s(config: TrialConfig, dataset: Dataset, device: torch.device) -> float:
    """Median time of a few real steps, the first one left out."""
    training = config.training.model_copy(update={"schedule": Constant(), "health_every_steps": None})
    # More than are trained: no evaluation comes at their end.
    few = Training(
        config.model_copy(update={"training": training}), dataset, seed=0, max_steps=10_000, device=device, lag_steps=0
    )
    steps = (record for record in few.records() if isinstance(record, StepRecord))
    timed = [record.time_s for record in itertools.islice(steps, 1 + _TIMED_STEPS)][1:]
    return float(np.median([seconds for seconds in timed if seconds is not None]))


def _check_learnable(dataset: Dataset, config: TrialConfig) -> None:
    l_const, _ = floors(output_lengths(config, dataset), dataset)
    if (reason := nothing_to_learn(dataset, l_const)) is not None:
        raise DataError(reason)
