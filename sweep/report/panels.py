"""View -> the panels of the page's figures."""

from collections.abc import Mapping, Sequence

from sweep.records import NotKnown
from sweep.report.contents.failures import HalfPrecision
from sweep.report.contents.transfer import Transfer
from sweep.report.contents.view import View
from sweep.report.figures.half_precision import headroom_panel, scale_panels
from sweep.report.figures.learning_rate import learning_rate_panels
from sweep.report.figures.panel import Panel
from sweep.report.figures.stability_map import stability_map_panels
from sweep.report.figures.together import together_panel
from sweep.report.figures.transfer import transfer_panel


def lr_panels(view: View) -> Sequence[Panel]:
    """Results against the learning rate."""
    if isinstance(view.lr, NotKnown):
        return [Panel("", "", None, view.lr.reason)]
    return learning_rate_panels(view.lr, view.lr_sensitivity)


def map_panels(view: View) -> Mapping[str, Sequence[Panel]]:
    """The map: `map`, over other settings `map1` and so on."""
    if isinstance(view.stability, NotKnown):
        return {map_name(0): [Panel("", "", None, view.stability.reason)]}
    split = None if isinstance(view.region, NotKnown) or view.region.panel is None else view.region.panel.path
    return {
        map_name(index): stability_map_panels(plane.info, plane.grids, split, view.recommendation.setting)
        for index, plane in enumerate(view.planes)
    }


def map_name(index: int) -> str:
    """Of the figure of a plane: `map`, `map1` ..."""
    return f"map{index or ''}"


def size_panels(found: Transfer) -> Sequence[Panel]:
    """How the edge moves with the model's size."""
    return [transfer_panel(found.fit, found.tested, found.name, found.along)]


def together_panels(view: View) -> Sequence[Panel]:
    """The pair of settings that acts together most; none where none can be told to."""
    together = view.matters.together
    return [together_panel(together, {dim.path: dim for dim in view.dims})] if together else []


def headroom_panels(half: HalfPrecision) -> Sequence[Panel]:
    """How near fp16 came to overflow; none where no training in fp16 was sampled."""
    return [headroom_panel(half.headroom)] if half.headroom else []


def loss_scale_panels(half: HalfPrecision) -> Sequence[Panel]:
    """How the loss scale went; none where no training had one."""
    return scale_panels(half.scales) if half.scales else []
