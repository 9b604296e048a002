"""Conformance kits: what a detector, a search, a model or a data source owes, as checks that pytest runs over yours.

Subclass a kit in a test file, give its fixture, and every check runs:

    import pytest

    from sweep.testing import DataSourceKit

    class TestMySource(DataSourceKit):
        @pytest.fixture
        def config(self):
            return MySourceConfig(path="recordings")

| kit             | fixture                  | for                                                                   |
|-----------------|--------------------------|-----------------------------------------------------------------------|
| `DetectorKit`   | `case`: a `DetectorCase` | a rule of the monitor: silent where all is well, not blinded by a NaN |
| `SamplerKit`    | `search`                 | a search: stays in the space, can be resumed, survives what trials do |
| `ModelKit`      | `case`: a `ModelCase`    | a CTC model: sizes, padding, gradients, seeds                         |
| `DataSourceKit` | `config`                 | a data source: a sound dataset, the same each time                    |

The checks are plain methods with plain asserts: `DataSourceKit().test_building_twice_gives_the_same(config)` runs one
without pytest. A check that does not fit is overridden, with its reason beside it. The built-in plug-ins pass the same
kits.
"""

from sweep.judging.detectors import DetectorSpec
from sweep.testing.data_sources import DataSource, DataSourceKit
from sweep.testing.detectors import DetectorCase, DetectorKit
from sweep.testing.models import ModelCase, ModelKit, ModelSpec
from sweep.testing.samplers import SamplerKit

__all__ = [
    "DataSource",
    "DataSourceKit",
    "DetectorCase",
    "DetectorKit",
    "DetectorSpec",
    "ModelCase",
    "ModelKit",
    "ModelSpec",
    "SamplerKit",
]
