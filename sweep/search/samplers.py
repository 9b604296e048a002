"""The searches on offer, each a setting that builds an Optuna sampler.

A sampler is built anew for every setting asked for, seeded by the search's seed and the setting's number.
So a resumed study draws what an uninterrupted one would have drawn, and never repeats its first points.
"""

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import Field, model_validator

from slr_models.spec import Spec
from sweep.judging.foregone import ForegoneConfig
from sweep.records import Cost, SearchMode
from sweep.space import Scalar, Space
from sweep.wording import number, percent

if TYPE_CHECKING:
    import optuna

    from sweep.boundary.prior import Prior
    from sweep.search.stability import StabilitySampler


class SearchSpec(Spec):
    """What every search of a study file has."""

    seed: int = Field(0, ge=0)
    """Seed of everything random in the search (not of the trainings)."""
    try_first: tuple[dict[str, Scalar], ...] = ()
    """Known settings to run before the search begins, by dotted path; what is left out is drawn."""


def _seed(seed: int, number: int) -> int:
    return int(np.random.SeedSequence([seed, number]).generate_state(1)[0])


class RandomSearch(SearchSpec):
    """Independent random settings: the plainest map of a space."""

    kind: Literal["random"] = "random"

    def sampler(self, number: int, space: Space) -> "optuna.samplers.BaseSampler":
        """The sampler that draws setting `number`."""
        import optuna

        return optuna.samplers.RandomSampler(seed=_seed(self.seed, number))


class GridSearch(SearchSpec):
    """Every combination, in order. The space may only hold choices, grids and integers."""

    kind: Literal["grid"] = "grid"

    def sampler(self, number: int, space: Space) -> "optuna.samplers.BaseSampler":
        """A sampler that is never consulted: a grid fixes each setting."""
        import optuna

        return optuna.samplers.RandomSampler(seed=_seed(self.seed, number))


class TpeSearch(SearchSpec):
    """Tree-structured Parzen estimator: random at first, then near the good settings."""

    kind: Literal["tpe"] = "tpe"
    num_startup: int = Field(16, ge=1, le=100_000)
    """Random settings before the estimator takes over."""

    def sampler(self, number: int, space: Space) -> "optuna.samplers.BaseSampler":
        """The sampler that draws setting `number`."""
        import optuna

        return optuna.samplers.TPESampler(
            seed=_seed(self.seed, number), n_startup_trials=self.num_startup, constant_liar=True
        )


class GpSearch(SearchSpec):
    """Gaussian process with expected improvement: few settings, each thought over; conditional ones at random."""

    kind: Literal["gp"] = "gp"
    num_startup: int = Field(12, ge=1, le=100_000)
    """Random settings before the process takes over."""

    def sampler(self, number: int, space: Space) -> "optuna.samplers.BaseSampler":
        """The sampler that draws setting `number`."""
        import optuna

        # A conditional dimension is drawn at random, as documented; Optuna would say so for every setting.
        return optuna.samplers.GPSampler(
            seed=_seed(self.seed, number), n_startup_trials=self.num_startup, warn_independent_sampling=False
        )


class StabilitySearch(SearchSpec):
    """Maps where training is stable, looks for the best result inside, and ends when the map is known."""

    kind: Literal["stability"] = "stability"
    mode: SearchMode = "balanced"
    """`map`: the boundary alone; `exploit`: the best result where training is stable, so that at most a quarter of
    the trials should diverge; `balanced`: two thirds and one third."""
    num_startup: int = Field(14, ge=4, le=100_000)
    """Evenly spread settings before the model takes over."""
    stop_accuracy: float = Field(0.92, ge=0.5, le=1)
    """The search does not end before the map expects to tell so many settings right (balanced accuracy, by its own
    chances). Besides, settings left out have to be foretold, and each edge tried (`sweep.boundary.known`). 1: never."""
    stop_width: float | None = Field(None, ge=0)
    """Nor before the mean width of an edge, from P(stable) = 0.9 to 0.1, falls below this, where something stable was
    found: decades of the learning rate, or units of the first numeric dimension where there is none. 0: never; null:
    however wide."""
    foregone: ForegoneConfig | None = None
    """Ends trainings that are to tell where the boundary lies as soon as they are as good as stable; a share of them,
    `audit.rate`, runs on. What such a one would have come to nobody knows: it is recommended only if its setting is
    trained to the end. Null: all run to their end."""
    warm_start: tuple[str, ...] = ()
    """Results folders of other studies, and tables of trials (`slr-sweep import`), that the map and the search learn
    from as well, as far as they agree with the study's own trainings. A third of `num_startup` is then enough."""

    @model_validator(mode="before")
    @classmethod
    def _of_earlier_versions(cls, content: Any) -> Any:
        """Studies that an earlier version wrote have the setting `randomised`, of a rule that is no more."""
        if isinstance(content, dict) and content.get("randomised") is True:
            return {key: value for key, value in content.items() if key != "randomised"}
        return content

    def sampler(self, number: int, space: Space, prior: "Prior | None" = None) -> "StabilitySampler":
        """The sampler that draws setting `number`.

        Args:
            number: of the setting.
            space: what may vary.
            prior: what `warm_start` names, in this space.
        """
        from sweep.boundary.prior import NONE
        from sweep.search.stability import StabilitySampler

        return StabilitySampler(
            space,
            self.seed,
            mode=self.mode,
            num_startup=self.num_startup,
            stop_accuracy=self.stop_accuracy,
            stop_width=self.stop_width,
            prior=prior or NONE,
        )

    def stop_reason(self, study: "optuna.Study", sampler: "StabilitySampler") -> str | None:
        """Why no further setting is needed; None while one is."""
        if sampler.is_used_up(study):
            return "every setting of the space was tried"
        if not sampler.is_mapped(study):
            return None
        width = f", an edge is {number(sampler.open_width(study), 2)} wide" if self.stop_width is not None else ""
        return (
            f"the map is known: it expects to tell {percent(sampler.expected_accuracy(study))} of all settings right "
            f"(balanced; search.stop_accuracy asks for {percent(self.stop_accuracy)}){width}, each edge was tried, and "
            "settings left out are foretold"
        )


class CmaEsSearch(SearchSpec):
    """Covariance matrix adaptation: a population of settings that moves towards the good ones. Needs the extra `cmaes`.

    Only numeric dimensions without `when` move together, and there must be two of them. Choices, grids and
    conditional dimensions are drawn at random, each by itself. An open setting teaches it nothing.
    """

    kind: Literal["cmaes"] = "cmaes"
    num_startup: int = Field(8, ge=1, le=100_000)
    """Random settings before the first population."""
    population_size: int | None = Field(None, ge=4, le=100_000)
    """Settings of a generation; null: 4 + 3 ln(dimensions), rounded down."""

    def sampler(self, number: int, space: Space) -> "optuna.samplers.BaseSampler":
        """The sampler that draws setting `number`. Its state lies in the study's trials."""
        import optuna

        return optuna.samplers.CmaEsSampler(
            seed=_seed(self.seed, number),
            n_startup_trials=self.num_startup,
            popsize=self.population_size,
            # Such dimensions are drawn by themselves, as documented; Optuna would say so for every setting.
            warn_independent_sampling=False,
        )


class Nsga2Search(SearchSpec):
    """NSGA-II: trades the study's objective against a cost. A generation keeps the settings that none beats in both.

    An unstable setting is infeasible: every stable one dominates it, however fast it diverged.
    """

    kind: Literal["nsga2"] = "nsga2"
    cost: Cost = "step_time_s"
    """The second objective: seconds of a training step, or MiB of peak memory; the mean over a setting's seeds."""
    population_size: int = Field(12, ge=2, le=100_000)
    """Settings of a generation. The first is random."""

    def sampler(self, number: int, space: Space) -> "optuna.samplers.BaseSampler":
        """The sampler that draws setting `number`. Its generations lie in the study's trials."""
        import optuna

        return optuna.samplers.NSGAIISampler(seed=_seed(self.seed, number), population_size=self.population_size)
