"""Searches: which settings to try next."""

from typing import Annotated

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
