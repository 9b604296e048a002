"""Data sources: a typed union of configurations, each with `build() -> Dataset`.

To add a source: one file with a Spec that has a `kind` and a `build`, and one entry of the union in `sources.py`.
"""

from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from slr_models.data.batch import BLANK_TOKEN, DataFacts, Dataset, FeatureGroup, Split
from slr_models.data.clips import ClipsConfig
from slr_models.data.compose import Augmentation
from slr_models.data.custom import CustomDataConfig
from slr_models.data.fingerspelling import FingerspellingConfig
from slr_models.data.landmarks import LandmarksConfig
from slr_models.data.memorize import MemorizeConfig
from slr_models.data.sources import SourceConfig
from slr_models.data.spoken_digits import SpokenDigitsConfig
from slr_models.data.synthetic import SyntheticConfig

if TYPE_CHECKING:
    from slr_models.data.batches import Batch, collate

DataConfig = Annotated[SourceConfig | MemorizeConfig, Field(discriminator="kind")]
"""Where the data of a study come from."""

__all__ = [
    "BLANK_TOKEN",
    "Augmentation",
    "Batch",
    "ClipsConfig",
    "CustomDataConfig",
    "DataConfig",
    "DataFacts",
    "Dataset",
    "FeatureGroup",
    "FingerspellingConfig",
    "LandmarksConfig",
    "MemorizeConfig",
    "Split",
    "SpokenDigitsConfig",
    "SyntheticConfig",
    "collate",
]


def __getattr__(name: str) -> Any:
    """`Batch` and `collate` bring torch, which nobody waits for who only reads settings."""
    if name in ("Batch", "collate"):
        from slr_models.data import batches

        return getattr(batches, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
