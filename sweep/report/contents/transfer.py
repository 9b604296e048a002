"""What the report tells about the stable region: the map, its edges, what decides, and how it moves with width."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sweep.analysis.region.evidence import Evidence
from sweep.analysis.region.region import Region
from sweep.analysis.region.transfer_fit import WidthFit, width_fit
from sweep.boundary.encoding import edge_path
from sweep.records import NotKnown
from sweep.report.contents.full_size import FullSizeTraining, full_size_trainings
from sweep.study.full_size import FullSize
from sweep.wording import short_names


@dataclass(frozen=True)
class Transfer:
    """How the upper edge moves with the width of the model, where a study asks."""

    name: str
    """Short name of the width."""
    along: str
    """Short name of the edge dimension; empty without a model of the boundary."""
    fit: WidthFit | NotKnown
    tested: tuple[FullSizeTraining, ...]


def transfer(
    evidence: Evidence, found: Region | NotKnown, full_size: FullSize, recommended: Mapping[str, Any]
) -> Transfer:
    """How the edge moves with the size that a study names.

    Args:
        evidence: of the study.
        found: the region of this evidence.
        full_size: the study's `full_size`.
        recommended: dotted path -> value; empty without a recommendation.
    """
    path, target, model = full_size.path, full_size.target, evidence.model
    name = short_names(evidence.space).get(path, path)
    if isinstance(found, NotKnown):
        return Transfer(name, "", found, ())
    assert not isinstance(model, NotKnown), "a region comes of a model"
    # Without a recommendation the first slice of the table stands for the others.
    at = recommended or next((row.at for row in found.edges), {})
    others = {p: v for p, v in at.items() if p not in (path, edge_path(model.encoding)) and v is not None}
    return Transfer(
        name=name,
        along=found.along.name,
        fit=width_fit(model, path, target, others),
        tested=full_size_trainings(evidence.trials, found.along, path, target),
    )
