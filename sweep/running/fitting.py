"""Whether what is found in a results folder are settings of its study: others are not brought back."""

import dataclasses
import math
from collections.abc import Mapping

from sweep.analysis.trials.tried import as_searched
from sweep.records import Phase, TrialResult
from sweep.space import Choice, Dimension, Grid, Integer, Scalar, Settings, Space, contains, is_active
from sweep.store.ledger_lines import Ask, Tell
from sweep.store.recovery import LeftOut, Salvaged, SalvagedTable
from sweep.study import Study
from sweep.study.design import cells

_ROUNDING = 1e-9
"""As a share of a bound: so far beyond it a value that was drawn may lie."""


def lacking(space: Space, settings: Mapping[str, Scalar]) -> list[str]:
    """Dimensions that exist under the settings, which have no value of them."""
    return [path for path, dimension in space.items() if path not in settings and is_active(dimension, settings)]


class Fitting:
    """Holds settings against the space of a study."""

    def __init__(self, study: Study) -> None:
        self._study, self._searched = study, study.searched
        self._cells = {} if study.design is None else {cell.name: cell.settings for cell in cells(study.design)}

    def of_ledger(self, salvaged: Salvaged) -> list[LeftOut]:
        """Takes the lines out whose settings have not the paths of the study's; their values are believed."""
        kept, left_out = [], []
        for line in salvaged.lines:
            one = line.result if isinstance(line, Tell) else line
            try:
                if isinstance(one, Ask | TrialResult):
                    self._check_paths(one, one.settings)
                kept.append(line)
            except ValueError as error:
                left_out.append(LeftOut(line.trial_id if isinstance(line, Ask | Tell) else "", str(error)))
        salvaged.lines = kept
        return list(dict.fromkeys(left_out))

    def of_table(self, found: SalvagedTable) -> list[TrialResult]:
        """The results with settings in the types that they were searched in; others are noted as left out."""
        fitting = []
        for result in found.results:
            try:
                fitting.append(dataclasses.replace(result, settings=self._settings(result)))
            except ValueError as error:
                found.left_out.append(LeftOut(result.trial_id, str(error)))
        return fitting

    def _settings(self, result: TrialResult) -> Settings:
        self._check_known(result.settings)
        # A confirmed setting is chosen by a model, a test at full size lies outside, and a scheduler changes settings.
        drawn = result.phase == Phase.EXPLORE and result.settings_changed_at_step is None
        settings = {path: _value(path, value, self._searched[path], drawn) for path, value in result.settings.items()}
        self._check_paths(result, settings)
        if drawn and any(settings[path] != value for path, value in self._cells.get(result.cell or "", {}).items()):
            raise ValueError(f"its settings are not those of its cell {result.cell}")
        return settings

    def _check_known(self, settings: Settings) -> None:
        if unknown := settings.keys() - self._searched.keys():
            raise ValueError(f"it has {min(unknown)}, which this study does not search")

    def _check_paths(self, one: Ask | TrialResult, settings: Settings) -> None:
        """Raises ValueError for settings with other paths than those of the study."""
        self._check_known(settings)
        changed = isinstance(one, TrialResult) and one.settings_changed_at_step is not None
        # Where a value may be another than the one that was drawn, so may be what exists because of it.
        free = changed or one.phase == Phase.FULL_SIZE
        space = {path: dim for path, dim in self._study.space.items() if not (free and dim.when)}
        if lacks := lacking(space, settings):
            raise ValueError(f"it lacks {lacks[0]}, which this study searches")
        if more := [path for path, dim in space.items() if path in settings and not is_active(dim, settings)]:
            raise ValueError(f"it has {more[0]}, which does not exist beside its other settings")
        if self._study.design is None or one.phase != Phase.EXPLORE:
            return
        if one.cell not in self._cells:
            raise ValueError(f"the study's design has no cell {one.cell!r}")
        if others := self._cells[one.cell].keys() ^ (settings.keys() - self._study.space.keys()):
            raise ValueError(f"it and its cell {one.cell} differ in {min(others)}")


def _value(path: str, value: Scalar, dimension: Dimension, drawn: bool) -> Scalar:
    """The value in the type that was searched.

    Raises:
        ValueError: it is none that the dimension can take; where it need not be drawn from it, one of another type.
    """
    wrong = ValueError(f"its {path} is {value!r}, which the space of this study has not")
    if isinstance(dimension, Choice | Grid):
        found = as_searched(value, dimension)
        is_free = not drawn and isinstance(found, int | float) and not isinstance(found, bool)
        if found is None or not (contains(dimension, found) or is_free):
            raise wrong
        return found
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except ValueError:
        raise wrong from None
    if not math.isfinite(number) or (isinstance(dimension, Integer) and drawn and not number.is_integer()):
        raise wrong
    low, high = (float(end) for end in dimension.ends)
    if drawn and not low - _ROUNDING * abs(low) <= number <= high + _ROUNDING * abs(high):
        raise wrong
    if isinstance(dimension, Integer) and number.is_integer():
        return round(number)
    return number
