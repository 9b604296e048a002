"""View -> the panels of the page's figures."""

from collections.abc import Mapping, Sequence

from sweep.report.contents.view import View
from sweep.report.figures.half_precision import headroom_panel, scale_panels
from sweep.report.figures.learning_rate import learning_rate_panels
from sweep.report.figures.panel import Panel
from sweep.report.figures.stability_map import stability_map_panels
from sweep.report.figures.together import together_panel
from sweep.report.figures.transfer import transfer_panel


def figure_panels(view: View) -> Mapping[str, Sequence[Panel]]:
    """Name of a figure -> its panels: `lr`, `map` (over other settings `map1` and so on), and `size`, which has none
    where no full size is asked for; `headroom` and `scale` have none where no training in fp16 was recorded, `together`
    where no two settings can be told to act together."""
    transfer, together = view.stable_region.transfer, view.stable_region.matters.together
    split = view.region.panel.path if view.region and view.region.panel else None
    maps = {
        map_name(index): stability_map_panels(plane.info, plane.grids, split, view.recommendation.setting)
        for index, plane in enumerate(view.planes)
    }
    return {
        "lr": [Panel("", "", None, view.lr)]
        if isinstance(view.lr, str)
        else learning_rate_panels(view.lr, view.lr_sensitivity),
        **({map_name(0): [Panel("", "", None, view.stability)]} if isinstance(view.stability, str) else maps),
        "size": [transfer_panel(transfer.fit, transfer.tested, transfer.name, transfer.along)] if transfer else [],
        "together": [together_panel(together, {dim.path: dim for dim in view.dims})] if together else [],
        "headroom": [headroom_panel(view.failures.half.headroom)] if view.failures.half.headroom else [],
        "scale": scale_panels(view.failures.half.scales) if view.failures.half.scales else [],
    }


def map_name(index: int) -> str:
    """Of the figure of a plane: `map`, `map1` ..."""
    return f"map{index or ''}"
