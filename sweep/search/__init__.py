"""Searches: which settings to try next.

samplers.py    their settings, read without Optuna
stability.py   `StabilitySampler`, which maps the boundary in plain Optuna as well (parameters.py: Optuna's parameters
               as a space, and back)
bridge.py      tells Optuna the truth about every setting (journal.py: where it lies, distributions.py: from what it is
               drawn; database.py shows it in a database); importance.py: what mattered
foreign.py     trials of other tools as a table, for `slr-sweep import`
"""

from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from sweep.search.samplers import (
    CmaEsSearch,
    GpSearch,
    GridSearch,
    Nsga2Search,
    RandomSearch,
    StabilitySearch,
    TpeSearch,
)

if TYPE_CHECKING:
    from sweep.search.stability import StabilitySampler

SearchConfig = Annotated[
    RandomSearch | GridSearch | StabilitySearch | TpeSearch | GpSearch | CmaEsSearch | Nsga2Search,
    Field(discriminator="kind"),
]

__all__ = [
    "CmaEsSearch",
    "GpSearch",
    "GridSearch",
    "Nsga2Search",
    "RandomSearch",
    "SearchConfig",
    "StabilitySampler",
    "StabilitySearch",
    "TpeSearch",
]


def __getattr__(name: str) -> Any:
    """`StabilitySampler` brings Optuna, which nobody waits for who only reads settings."""
    if name == "StabilitySampler":
        from sweep.search.stability import StabilitySampler

        return StabilitySampler
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
