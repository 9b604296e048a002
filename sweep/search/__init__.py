"""Searches: which settings to try next."""

from typing import Annotated

from pydantic import Field

from sweep.search.samplers import GpSearch, GridSearch, RandomSearch, TpeSearch

SearchConfig = Annotated[RandomSearch | GridSearch | TpeSearch | GpSearch, Field(discriminator="kind")]

__all__ = ["GpSearch", "GridSearch", "RandomSearch", "SearchConfig", "TpeSearch"]
