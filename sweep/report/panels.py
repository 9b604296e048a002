"""View -> the panels of the page's figures."""

from collections.abc import Mapping, Sequence

from sweep.report.figures.learning_rate import learning_rate_panels
from sweep.report.figures.panel import Panel
from sweep.report.figures.stability_map import stability_map_panels
from sweep.report.figures.together import together_panel
from sweep.report.figures.transfer import transfer_panel
from sweep.report.view import View


def figure_panels(view: View) -> Mapping[str, Sequence[Panel]]:
    """Name of a figure -> its panels: `lr` and `map`; `size`, which has none where no full size is asked for;
    `together`, which has none where no two settings can be told to act together."""
    transfer = view.stable_region.transfer
    together = view.stable_region.matters.together
    return {
        "lr": [Panel("", "", None, view.lr)] if isinstance(view.lr, str) else learning_rate_panels(view.lr),
        "map": stability_map_panels(view.stability, view.region, view.recommendation.setting),
        "size": [transfer_panel(transfer.fit, transfer.tested, transfer.name, transfer.along)] if transfer else [],
        "together": [together_panel(together, {dim.path: dim for dim in view.dims})] if together else [],
    }
