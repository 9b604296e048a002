"""A space of settings whose truth is known everywhere: a dense grid of real trainings, read between its points.

A search is free to ask for any value between the ends of a numeric setting, on a logarithmic axis. What a training
there comes to is read from the 2^D grid points around it (D numeric settings; settings without an order must agree),
each with the usual weight of multilinear interpolation on logarithmic axes:

- it is stable if the stable neighbours have more than half of the weight: between two neighbours along a line the edge
  lies halfway, the least presumptuous place. Margins themselves are not interpolated across the edge: they jump there
  (a training that ends at -0.05 has neighbours at 0.7), so that every edge would move to its stable neighbour;
- its margin, objective and steps are the weighted means over the neighbours of the same outcome.

Every seed has its own surface. There are two kinds of them: `true`, what became of trainings that all ran to their
end; and `told`, what a search hears whose trainings the monitor stops: a training with an alarm ends there as unstable,
also the few that would have been stable after all.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
from pydantic import TypeAdapter

from sweep.boundary.encoding import Encoding, edge_path
from sweep.judging.objective import margin, objective
from sweep.space import Scalar, Settings, Space

TRUTH_DIR = Path(__file__).resolve().parent / "truth"

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
Kind = Literal["true", "told"]


@dataclass(frozen=True)
class Told:
    """What a search hears of one training."""

    stable: bool
    margin: float
    objective: float
    """Finite: the validation loss relative to the zero-information loss, or a bad value."""
    num_steps: int
    """Steps spent."""
    raw_loss: float
    """Validation loss after all steps, relative to the zero-information loss; NaN where it is not finite."""
    full_steps: int
    """Steps of a training that nothing stops."""


class Problem:
    """One study of the ground truth."""

    def __init__(self, name: str, table: pd.DataFrame) -> None:
        """From the study's rows of the stored table: one a setting and seed, a full grid.

        A column of settings that holds one value, or none, is no dimension.
        """
        self.name = name
        # Sorted, so that searches with a seed draw the same whatever the order of the stored columns.
        paths = sorted(str(column) for column in table if "." in str(column) and table[column].nunique() > 1)
        ordered = table.sort_values([*paths, "seed"], ignore_index=True)
        self.seeds: list[int] = sorted(ordered["seed"].unique().tolist())
        first = ordered[ordered["seed"] == self.seeds[0]]
        self.settings = _records(first[paths])
        """Settings of the grid, S of them."""
        self.space = _continuous(first[paths])
        self.encoding = Encoding(self.space)
        along = edge_path(self.encoding)
        assert along is not None, "the grid varies a learning rate"
        self.along = along
        """The dimension along which edges lie."""
        self.max_steps = int(ordered["max_steps"].iloc[0])
        shape = (len(self.settings), len(self.seeds))
        self._raw = (ordered["val_loss"] / ordered["l_const"]).to_numpy().reshape(shape)
        self._fields = {
            "true": {key: values.reshape(shape) for key, values in _outcomes(ordered, "true").items()},
            "told": {key: values.reshape(shape) for key, values in _outcomes(ordered, "told").items()},
        }
        self._grid = _Grid(first[paths], self.encoding)

    @property
    def stable(self) -> Flags:
        """What became of each training of the grid, [S, seeds]."""
        return self._fields["true"]["stable"] > 0.5

    @property
    def num_false_alarms(self) -> int:
        """Trainings that are stable, and would have been stopped."""
        return int((self._fields["true"]["stable"] > self._fields["told"]["stable"]).sum())

    def is_stable(self, settings: Sequence[Settings]) -> Flags:
        """Whether trainings of N settings are truly stable, [N, seeds]."""
        index, weight = self._grid.neighbours(settings)
        stable: Flags = np.einsum("nk,nks->ns", weight, self._fields["true"]["stable"][index]) > 0.5
        return stable

    def true_objective(self, setting: Settings) -> float:
        """What a setting is truly worth: the mean over all seeds."""
        values = [self._at("true", setting, seed)["objective"] for seed in range(len(self.seeds))]
        return float(np.mean(values))

    def train(self, setting: Settings, seed: int) -> Told:
        """What a search hears of a training with the seed of this place in `seeds`."""
        told = self._at("told", setting, seed)
        return Told(
            stable=told["stable"] > 0.5,
            margin=told["margin"],
            objective=told["objective"],
            num_steps=round(told["num_steps"]),
            raw_loss=told["raw_loss"],
            full_steps=self.max_steps,
        )

    def _at(self, kind: Kind, setting: Settings, seed: int) -> dict[str, float]:
        index, weight = (part[0] for part in self._grid.neighbours([setting]))
        fields = {key: values[index, seed] for key, values in self._fields[kind].items()}
        is_stable = float(weight @ fields["stable"]) > 0.5
        own = np.where((fields["stable"] > 0.5) == is_stable, weight, 0.0)
        means = {key: float(own @ values / own.sum()) for key, values in fields.items() if key != "stable"}
        # A loss that may be NaN has no mean: that of the nearest neighbour stands for it.
        return {**means, "stable": float(is_stable), "raw_loss": float(self._raw[index[np.argmax(own)], seed])}


def load_problems(folder: Path = TRUTH_DIR) -> list[Problem]:
    """The stored studies."""
    table = pd.read_parquet(folder / "trials.parquet")
    return [Problem(str(name), part) for name, part in table.groupby("study", observed=True)]


class _Grid:
    """Places among the points of a grid."""

    def __init__(self, settings: pd.DataFrame, encoding: Encoding) -> None:
        self._numeric = [path for path in encoding.paths if encoding.axis(path) is not None]
        self._others = [path for path in encoding.paths if encoding.axis(path) is None]
        self._ticks = [np.log(np.sort(settings[path].unique())) for path in self._numeric]
        keys = [self._key(row) for row in _records(settings)]
        self._row = {key: number for number, key in enumerate(keys)}

    def _key(self, setting: Settings) -> tuple[int | Scalar, ...]:
        ticks = zip(self._numeric, self._ticks, strict=True)
        places = [int(np.abs(tick - np.log(float(setting[path]))).argmin()) for path, tick in ticks]
        return (*places, *(setting[path] for path in self._others))

    def neighbours(self, settings: Sequence[Settings]) -> tuple[npt.NDArray[np.int64], Floats]:
        """The rows of the K = 2^D grid points around N settings and their weights, [N, K] each; weights sum to 1."""
        index = np.zeros((len(settings), 2 ** len(self._numeric)), dtype=np.int64)
        weight = np.ones(index.shape)
        for n, setting in enumerate(settings):
            low, share = [], []
            for path, ticks in zip(self._numeric, self._ticks, strict=True):
                place = float(np.interp(np.log(float(setting[path])), ticks, np.arange(len(ticks))))
                low.append(min(int(place), len(ticks) - 2))
                share.append(place - low[-1])
            others = tuple(setting[path] for path in self._others)
            for k in range(index.shape[1]):
                bits = [(k >> d) & 1 for d in range(len(low))]
                index[n, k] = self._row[(*(i + b for i, b in zip(low, bits, strict=True)), *others)]
                weight[n, k] = np.prod([s if b else 1 - s for s, b in zip(share, bits, strict=True)])
        return index, weight


def _records(table: pd.DataFrame) -> list[Settings]:
    return [{str(path): value for path, value in row.items()} for row in table.to_dict("records")]


def _continuous(settings: pd.DataFrame) -> Space:
    """The space of a grid, with the ranges of its numbers open to everything in between."""
    content = {
        path: {"loguniform": [float(values.min()), float(values.max())]}
        if pd.api.types.is_numeric_dtype(values)
        else {"choice": sorted(values.unique().tolist())}
        for path, values in settings.items()
    }
    return TypeAdapter(Space).validate_python(content)


def _outcomes(table: pd.DataFrame, kind: Kind) -> dict[str, Floats]:
    """Outcome, margin, objective and steps of each row."""
    has_alarm = table["alarm"].notna().to_numpy() & (kind == "told")
    stable = table["stable"].to_numpy(dtype=bool) & ~has_alarm
    last = table["max_steps"].astype(float)
    steps = np.where(has_alarm, table["stop_step"].astype("Float64").fillna(last), last).astype(float)
    survived = table["stop_step"].astype("Float64").fillna(last).to_numpy(dtype=float) / last.to_numpy()
    # A stable training that would have been stopped is told as one that was.
    was_stopped = has_alarm & table["stable"].to_numpy(dtype=bool)
    rows = zip(stable, survived, table["wer"], table["val_loss"], table["l_const"], strict=True)
    worth = [
        objective("val_loss", stable=bool(s), wer=w, val_loss=v, l_const=c, survived_rate=t) for s, t, w, v, c in rows
    ]
    margins = [
        margin(stable=False, stopped=True, end_loss=np.nan, l_const=np.nan, survived_rate=t) if was else m
        for was, t, m in zip(was_stopped, survived, table["margin"], strict=True)
    ]
    return {
        "stable": stable.astype(float),
        "margin": np.array(margins),
        "objective": np.array(worth),
        "num_steps": steps,
    }
