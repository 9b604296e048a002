"""The kits as a package: who imports them, and that a kit runs without pytest."""

import subprocess
import sys

import pytest

from slr_models.data import SyntheticConfig
from sweep.testing import DataSourceKit

SOURCE = """
import sys
import sweep, sweep.report
assert not [name for name in sys.modules if name.startswith("sweep.testing")]
import sweep.testing
assert "pytest" not in sys.modules and "ray" not in sys.modules
"""


@pytest.mark.slow
def test_the_product_does_not_import_its_kits_and_they_do_not_import_pytest() -> None:
    subprocess.run([sys.executable, "-c", SOURCE], check=True)


def test_a_check_is_a_plain_method() -> None:
    DataSourceKit().test_building_twice_gives_the_same(SyntheticConfig(num_train=3, num_valid=2))
