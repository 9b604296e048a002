"""What all answers about a study rest on: its trials, what it searched, and the model of the boundary, made once."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from sweep.analysis.region.sides import MAX_PLACED, sides_by_neighbours
from sweep.analysis.trials.dimensions import Dimension, dimensions, learning_rate, panel_dimension
from sweep.analysis.trials.groups import SettingGroup, setting_groups
from sweep.analysis.trials.sides import own_sides
from sweep.analysis.trials.tried import inside, of_space, settings_of, telling
from sweep.boundary.encoding import Encoding, edge_path
from sweep.boundary.model import MIN_ROWS, MarginModel
from sweep.boundary.prior import NONE, Prior
from sweep.boundary.thinning import informative
from sweep.own.program import Score
from sweep.records import UNMEASURED_MARGIN, NotKnown, Side
from sweep.space import Settings, Space
from sweep.wording import plural

MIN_TRAININGS = 8
"""Fewer trainings make no map."""
MIN_SETTINGS = 6
"""Fewer settings make no map, however many seeds they have: with these, four fifths of them can still be fitted."""


@dataclass(frozen=True)
class _End:
    """What became of a training that tells."""

    setting: Settings
    margin: float
    broke: bool | None
    """None where nobody can tell."""
    near: Side
    """The edge that one which was only just stable is near by."""


def _far(end: _End, other: Side) -> float:
    """The margin of a training that did not fail on a side: no measure of it where the training failed, or nearly did,
    on the other one."""
    if end.margin >= 0:
        return -UNMEASURED_MARGIN
    return min(end.margin, -UNMEASURED_MARGIN) if end.near is other else end.margin


@dataclass(frozen=True, eq=False)
class Evidence:
    """The trials of a study and the space that they were drawn from; all else follows from these, when it is asked for.

    Make one for each report and for each end of a run, and hand it on: fitting the model takes seconds.
    """

    trials: pd.DataFrame
    """Rows of the finished trials, as the store holds them; also open ends and those at full size."""
    space: Space
    """What was searched, dotted path -> dimension."""
    prior: Prior = NONE
    """Trainings of other studies, from which the map learns as well."""

    score: Score | None = None
    """What trainings of the user's own are ranked by."""

    def nothing(self) -> "Evidence":
        """The same space before any trial: of a study whose answer is its claims, nothing is recommended."""
        return Evidence(self.trials.iloc[:0], self.space, score=self.score)

    @cached_property
    def dims(self) -> tuple[Dimension, ...]:
        """The searched settings, in the study's order."""
        return dimensions(self.space)

    @cached_property
    def names(self) -> dict[str, str]:
        """Dotted path of a searched setting -> short name."""
        return {dim.path: dim.name for dim in self.dims}

    @cached_property
    def panel(self) -> Dimension | None:
        """The category that panels are split by."""
        return panel_dimension(self.dims)

    @cached_property
    def lr(self) -> Dimension | None:
        """The searched learning rate."""
        return learning_rate(self.dims)

    @cached_property
    def tried(self) -> pd.DataFrame:
        """The judged trials of settings of the space, by number (`of_space`)."""
        return inside(of_space(self.trials), self.space)

    @cached_property
    def telling(self) -> pd.DataFrame:
        """Those of them that speak about the stability of their settings (`telling`)."""
        return telling(self.tried)

    @cached_property
    def settings(self) -> list[Settings]:
        """The settings of each row of `telling`."""
        return settings_of(self.telling, self.space)

    @cached_property
    def groups(self) -> tuple[SettingGroup, ...]:
        """The tried settings over their seeds."""
        return tuple(setting_groups(self.tried, self.dims)) if len(self.tried) else ()

    @cached_property
    def encoding(self) -> Encoding:
        """Of the space."""
        return Encoding(self.space)

    @cached_property
    def model(self) -> MarginModel | NotKnown:
        """The model of the boundary.

        Open ends, crashed, out-of-memory and infeasible-data trials teach nothing about the stability of settings and
        are left out, and so are trials at full size, which lie outside the space. Of more than
        `thinning.MAX_TRAININGS`, the most informative ones are taken. Equal trials give an equal model, whatever their
        order.
        """
        if edge_path(self.encoding) is None:
            return NotKnown("A map needs a numeric setting in the study's space; this study searches none.")
        known = self.telling
        num_settings = len(np.unique(self.encoding.encode(self.settings), axis=0))
        if len(known) < MIN_TRAININGS or num_settings < MIN_SETTINGS:
            return NotKnown(
                f"A map needs at least {MIN_TRAININGS} judged trainings of at least {MIN_SETTINGS} settings; there are "
                f"{len(known)} of {plural(num_settings, 'setting')}."
            )
        stable, num = known["stable"].astype(bool), plural(len(known), "judged training")
        if stable.all():
            return NotKnown(f"All {num} were stable, so there is no edge to map: widen the ranges.")
        if not stable.any():
            return NotKnown(f"None of {num} was stable, so there is no stable region to map.")
        return informative(self.space, self.settings, known["margin"].astype(float).tolist(), prior=self.prior)

    @cached_property
    def breaking(self) -> MarginModel | NotKnown:
        """The model of breaking alone: its P(stable) is the chance that a training does not break, learn it or not."""
        if isinstance(self.model, NotKnown) or self.breaking_rows[1] == [end.margin for end in self._ends]:
            # Every failure is one that broke.
            return self.model
        return informative(self.space, *self.breaking_rows)

    @cached_property
    def learning(self) -> MarginModel | NotKnown:
        """The model of learning within the budget: its P(stable) is the chance that a training which does not break
        learns."""
        if isinstance(self.model, NotKnown):
            return self.model
        if (num := len(self.learning_rows[0])) < MIN_ROWS:
            return NotKnown(f"Only {plural(num, 'training')} did not break: too few to tell what learns.")
        return informative(self.space, *self.learning_rows)

    @cached_property
    def breaking_rows(self) -> tuple[list[Settings], list[float]]:
        """Settings of the trainings, and their distances from breaking: negative = did not break.

        A failed training whose side nobody can tell is left out; where that is most of them, all count as broken. Of
        one that was merely too slow, or only memorised, the distance was not measured.
        """
        known = [end for end in self._ends if end.broke is not None]
        margins = [end.margin if end.broke else _far(end, Side.TOO_COLD) for end in known]
        return [end.setting for end in known], margins

    @cached_property
    def learning_rows(self) -> tuple[list[Settings], list[float]]:
        """Settings of the trainings that did not break, and their distances from learning: negative = learned."""
        unbroken = [end for end in self._ends if end.broke is False]
        margins = [end.margin if end.margin >= 0 else _far(end, Side.TOO_HOT) for end in unbroken]
        return [end.setting for end in unbroken], margins

    @cached_property
    def _ends(self) -> list[_End]:
        """Of each row of `telling`."""
        ids = self.telling["trial_id"].astype(str)
        margins: list[float] = self.telling["margin"].astype(float).tolist()
        sides = [self.sides.get(i) if margin >= 0 else None for i, margin in zip(ids, margins, strict=True)]
        untold, failed = sides.count(Side.UNTOLD), sum(margin >= 0 for margin in margins)
        broke: dict[Side | None, bool | None] = {Side.TOO_HOT: True, Side.UNTOLD: True if 2 * untold > failed else None}
        return [
            _End(setting, margin, broke.get(side, False), near)
            for setting, margin, side, near in zip(
                self.settings, margins, sides, self._near_sides(margins), strict=True
            )
        ]

    def _near_sides(self, margins: Sequence[float]) -> list[Side]:
        """Which edge each training that was only just stable is near by; untold for all others."""
        close = [row for row, margin in enumerate(margins) if -UNMEASURED_MARGIN < margin < 0]
        near = dict(zip(close, self._beside([self.settings[row] for row in close]), strict=True))
        return [near.get(row, Side.UNTOLD) for row in range(len(margins))]

    def _beside(self, settings: Sequence[Settings]) -> list[Side]:
        """On which side each setting lies by where training is stable (`sides_by_neighbours`).

        Untold without a map along a learning rate, where a setting has none, and beyond the first MAX_PLACED.
        """
        found = [Side.UNTOLD] * len(settings)
        if self.lr is None or isinstance(self.model, NotKnown) or self.model.encoding.axis(self.lr.path) is None:
            return found
        placed = [row for row, setting in enumerate(settings) if self.lr.path in setting][:MAX_PLACED]
        sides = sides_by_neighbours(self.model, self.lr.path, [settings[row] for row in placed])
        for row, side in zip(placed, sides, strict=True):
            found[row] = side
        return found

    @cached_property
    def sides(self) -> dict[str, Side]:
        """On which side of what works each failed trial lies, by its id.

        Where it does not tell by itself, stable trainings at larger or at smaller learning rates alone do.
        """
        own = own_sides(self.trials)
        found = {str(i): side for i, side in zip(self.trials["trial_id"], own, strict=True) if side is not None}
        ids = (str(i) for i in self.telling["trial_id"])
        open_ones = {i: s for i, s in zip(ids, self.settings, strict=True) if found.get(i) is Side.UNTOLD}
        return found | dict(zip(open_ones, self._beside(list(open_ones.values())), strict=True))
