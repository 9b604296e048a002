"""The searches on offer, each a setting that builds an Optuna sampler.

A sampler is built anew for every setting asked for, seeded by the search's seed and the setting's number.
So a resumed study draws what an uninterrupted one would have drawn, and never repeats its first points.
"""

from typing import Literal

import numpy as np
import optuna
from pydantic import Field

from slr_models.spec import Spec
from sweep.space import Scalar


class _Search(Spec):
    seed: int = Field(0, ge=0)
    """Seed of everything random in the search (not of the trainings)."""
    try_first: tuple[dict[str, Scalar], ...] = ()
    """Known settings to run before the search begins, by dotted path; what is left out is drawn."""


def _seed(seed: int, number: int) -> int:
    return int(np.random.SeedSequence([seed, number]).generate_state(1)[0])


class RandomSearch(_Search):
    """Independent random settings: the plainest map of a space."""

    kind: Literal["random"] = "random"

    def sampler(self, number: int) -> optuna.samplers.BaseSampler:
        """The sampler that draws setting `number`."""
        return optuna.samplers.RandomSampler(seed=_seed(self.seed, number))


class GridSearch(_Search):
    """Every combination, in order. The space may only hold choices, grids and integers."""

    kind: Literal["grid"] = "grid"

    def sampler(self, number: int) -> optuna.samplers.BaseSampler:
        """A sampler that is never consulted: a grid fixes each setting."""
        return optuna.samplers.RandomSampler(seed=_seed(self.seed, number))


class TpeSearch(_Search):
    """Tree-structured Parzen estimator: random at first, then near the good settings."""

    kind: Literal["tpe"] = "tpe"
    num_startup: int = Field(16, ge=1)
    """Random settings before the estimator takes over."""

    def sampler(self, number: int) -> optuna.samplers.BaseSampler:
        """The sampler that draws setting `number`."""
        return optuna.samplers.TPESampler(
            seed=_seed(self.seed, number), n_startup_trials=self.num_startup, constant_liar=True
        )


class GpSearch(_Search):
    """Gaussian process with expected improvement: few settings, each thought over; conditional ones at random."""

    kind: Literal["gp"] = "gp"
    num_startup: int = Field(12, ge=1)
    """Random settings before the process takes over."""

    def sampler(self, number: int) -> optuna.samplers.BaseSampler:
        """The sampler that draws setting `number`."""
        # A conditional dimension is drawn at random, as documented; Optuna would say so for every setting.
        return optuna.samplers.GPSampler(
            seed=_seed(self.seed, number), n_startup_trials=self.num_startup, warn_independent_sampling=False
        )
