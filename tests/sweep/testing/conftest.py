"""Shared by the tests of the conformance kits."""

from collections.abc import Callable

import pytest


@pytest.fixture
def checks_of() -> Callable[[type], set[str]]:
    """The names of a kit's checks."""
    return lambda kit: {name for name in vars(kit) if name.startswith("test_")}
