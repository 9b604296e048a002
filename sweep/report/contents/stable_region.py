"""What the report tells about the stable region: the map, its edges, what decides, and how it moves with width."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from sweep.analysis.region.matters import Matters, matters
from sweep.analysis.region.region import Region, fit_margin, region
from sweep.analysis.region.transfer_fit import WidthFit, width_fit
from sweep.analysis.trials.dimensions import Dimension
from sweep.boundary.edges import edge_path
from sweep.boundary.model import MarginModel
from sweep.report.contents.full_size import FullSizeTraining, full_size_trainings
from sweep.wording import short_names


@dataclass(frozen=True)
class Transfer:
    """How the upper edge moves with the width of the model, where a study asks."""

    name: str
    """Short name of the width."""
    along: str
    """Short name of the edge dimension."""
    fit: WidthFit | str
    """Or why there is none."""
    tested: tuple[FullSizeTraining, ...]


@dataclass(frozen=True)
class StableRegion:
    """Everything that the model of the boundary says."""

    region: Region | str
    """Or why there is no model."""
    transfer: Transfer | None
    """None where the study does not ask for a full size."""
    matters: Matters


def stable_region(
    trials: pd.DataFrame,
    study: Mapping[str, Any],
    dims: Sequence[Dimension],
    panel: Dimension | None,
    recommended: Mapping[str, Any],
) -> StableRegion:
    """Fits the model of the boundary and asks it.

    Args:
        trials: rows of all finished trials.
        study: study.yaml.
        dims: the searched settings.
        panel: the category that panels are split by.
        recommended: dotted path -> value; empty without a recommendation.
    """
    space = dict(study.get("space") or {})
    model = fit_margin(trials, space)
    full_size = study.get("full_size")
    if isinstance(model, str):
        return StableRegion(model, _untold(model, full_size, space), matters(trials, space, None, None))
    found = region(model, trials, dims, panel)
    transfer = _transfer(model, found, trials, space, full_size, recommended) if full_size else None
    return StableRegion(found, transfer, matters(trials, space, model, found))


def _untold(reason: str, full_size: Any, space: Mapping[str, Any]) -> Transfer | None:
    if not full_size:
        return None
    return Transfer(short_names(space).get(full_size["path"], full_size["path"]), "", reason, ())


def _transfer(
    model: MarginModel,
    found: Region,
    trials: pd.DataFrame,
    space: Mapping[str, Any],
    full_size: Mapping[str, Any],
    recommended: Mapping[str, Any],
) -> Transfer:
    path, target = str(full_size["path"]), float(full_size["target"])
    # Without a recommendation the first slice of the table stands for the others.
    at = recommended or next((row.at for row in found.edges), {})
    others = {p: v for p, v in at.items() if p not in (path, edge_path(model.encoding)) and v is not None}
    return Transfer(
        name=short_names(space)[path],
        along=found.along.name,
        fit=width_fit(model, space, path, target, others),
        tested=full_size_trainings(trials, found.along, path, target),
    )
