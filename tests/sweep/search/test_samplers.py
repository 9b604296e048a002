"""What every search owes: the kit for samplers over the union."""

import importlib.util
from typing import get_args

import pytest

from sweep.search import (
    CmaEsSearch,
    GpSearch,
    GridSearch,
    Nsga2Search,
    RandomSearch,
    SearchConfig,
    StabilitySearch,
    TpeSearch,
)
from sweep.testing import SamplerKit

SEARCHES = [
    RandomSearch(seed=5),
    TpeSearch(seed=5, num_startup=3),
    GpSearch(seed=5, num_startup=3),
    Nsga2Search(seed=5, population_size=3),
    CmaEsSearch(seed=5, num_startup=3, population_size=4),
    StabilitySearch(seed=5, num_startup=4),
    StabilitySearch(seed=5, num_startup=4, mode="exploit"),
]
"""Each leaves its random start early."""


class TestSearches(SamplerKit):
    @pytest.fixture(params=SEARCHES, ids=lambda search: f"{search.kind}-{getattr(search, 'mode', 'plain')}")
    def search(self, request: pytest.FixtureRequest) -> SearchConfig:
        if request.param.kind == "cmaes" and importlib.util.find_spec("cmaes") is None:
            pytest.skip("the extra `cmaes` is not installed")
        return request.param


def test_no_search_is_left_out() -> None:
    """A grid draws nothing: it runs through its settings in order, as the bridge's tests say."""
    assert {type(search) for search in SEARCHES} | {GridSearch} == set(get_args(get_args(SearchConfig)[0]))
