"""Detectors: one file a rule, read step by step; the union of their configurations is `DetectorConfig`."""

from typing import Annotated

from pydantic import Field

from sweep.judging.detectors.base import JSON, Detector, DetectorSpec, LoneDetector, RunContext, RunStatistics
from sweep.judging.detectors.blank_collapse import BlankCollapseConfig
from sweep.judging.detectors.diverged_loss import DivergedLossConfig
from sweep.judging.detectors.nonfinite import NonfiniteConfig
from sweep.judging.detectors.scaler_collapse import ScalerCollapseConfig
from sweep.judging.detectors.skip_starved import SkipStarvedConfig
from sweep.judging.detectors.stalled import StalledConfig

DetectorConfig = Annotated[
    NonfiniteConfig
    | ScalerCollapseConfig
    | DivergedLossConfig
    | SkipStarvedConfig
    | BlankCollapseConfig
    | StalledConfig,
    Field(discriminator="kind"),
]

__all__ = [
    "JSON",
    "BlankCollapseConfig",
    "Detector",
    "DetectorConfig",
    "DetectorSpec",
    "DivergedLossConfig",
    "LoneDetector",
    "NonfiniteConfig",
    "RunContext",
    "RunStatistics",
    "ScalerCollapseConfig",
    "SkipStarvedConfig",
    "StalledConfig",
]
