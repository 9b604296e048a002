"""The sources that read or make utterances: everything in `DataConfig` that does not take another source apart."""

from slr_models.data.clips import ClipsConfig
from slr_models.data.custom import CustomDataConfig
from slr_models.data.fingerspelling import FingerspellingConfig
from slr_models.data.landmarks import LandmarksConfig
from slr_models.data.spoken_digits import SpokenDigitsConfig
from slr_models.data.synthetic import SyntheticConfig

SourceConfig = (
    FingerspellingConfig | LandmarksConfig | ClipsConfig | SyntheticConfig | SpokenDigitsConfig | CustomDataConfig
)
"""Any of them; `kind` says which."""
