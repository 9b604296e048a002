"""How many trainings run at once where what each takes depends on its settings (`resources.where`); without Ray."""

import math
from collections.abc import Iterable, Sequence

from sweep.running.placement import Limits, Node, Placement
from sweep.running.room import Room, UnderWay
from sweep.space import Settings
from sweep.study import Resources
from sweep.training.footprint import Footprint


class Placements:
    """One `Placement` for all that ask for the same; a single one where the study has no `resources.where`."""

    def __init__(self, resources: Resources, nodes: Sequence[Node], limits: Limits | None = None) -> None:
        """Knows of no training's memory yet.

        Args:
            resources: what the study asks for.
            nodes: all machines.
            limits: why there is no more, where the only machine is this one.
        """
        self._resources, self._nodes = resources, tuple(nodes)
        self._most = resources.max_parallel
        self._kinds = {one: Placement(one, nodes, limits) for one in resources.by_settings.values()}

    def of(self, settings: Settings) -> Placement:
        """What a training with these settings takes."""
        return self._kinds[self._resources.of(settings)]

    @property
    def by_settings(self) -> dict[str, Placement]:
        """As `Resources.by_settings`."""
        return {words: self._kinds[one] for words, one in self._resources.by_settings.items()}

    @property
    def is_mixed(self) -> bool:
        """Whether some trainings ask for something else than others."""
        return len(self._kinds) > 1

    @property
    def usual(self) -> Placement:
        """What trainings take for which no entry of `resources.where` holds: all of them, where they are not mixed."""
        return next(iter(self._kinds.values()))

    @property
    def num_fitting(self) -> int:
        """How many would fit of those of which most do; 0 where no machine has what any asks for."""
        return max(kind.num_fitting for kind in self._kinds.values())

    def num_fitting_of(self, under_way: Iterable[Placement]) -> int:
        """The same of those that processes under way ask for, where there are any."""
        asked = set(under_way) if self.is_mixed else None
        return max(kind.num_fitting for kind in asked) if asked else self.num_fitting

    @property
    def num_lanes(self) -> int:
        """How many processes run at once now, at most."""
        if not self.is_mixed:
            return self.usual.num_lanes
        kinds = self._kinds.values()
        fitting: int = sum(max(on_one) for on_one in zip(*(kind.num_on_each for kind in kinds), strict=True))
        return max(1, min(fitting, sum(kind.num_lanes for kind in kinds), self._most or fitting))

    @property
    def most_lanes(self) -> int:
        """The most processes that may ever run at once, whatever their memory turns out to be."""
        return sum(kind.most_lanes for kind in self._kinds.values())

    @property
    def least_lanes(self) -> int:
        """How many processes will run at once at least, even if all ask for what the fewest can have."""
        return min(kind.least_lanes for kind in self._kinds.values())

    @property
    def num_together(self) -> int:
        """The most trainings that one process has side by side."""
        return self.usual.num_together

    @property
    def num_trials(self) -> int:
        """How many trainings run at once now, where there are enough, at most."""
        return self.num_lanes * self.num_together

    @property
    def least_trials(self) -> int:
        """How many trainings will run at once at least, as far as GPUs and cores decide it."""
        return self.least_lanes * self.num_together

    def room(self, under_way: Iterable[UnderWay]) -> Room | None:
        """What is left beside the processes under way; None where any that is counted as a lane may start."""
        if not self.is_mixed:
            return None
        kinds, most = tuple(self._kinds.values()), self._most or math.inf
        return Room(kinds, self.of, self._nodes, under_way, most=most, num_ahead=self.num_lanes)

    def nodes_changed(self, nodes: Sequence[Node]) -> None:
        """Takes the machines that there are from now on."""
        self._nodes = tuple(nodes)
        for kind in self._kinds.values():
            kind.nodes_changed(nodes)

    def measured(self, kind: Placement, footprint: Footprint) -> str | None:
        """Takes what a training took, given what it asked for; returns what changes by it, in a sentence."""
        return self._told(kind.measured(footprint))

    def ran_out_on_card(self, kind: Placement) -> str | None:
        """Takes note that a training found no memory on a GPU; returns what changes by it."""
        return self._told(kind.ran_out_on_card())

    def ran_out_on_host(self, kind: Placement) -> str | None:
        """Takes note that a training was ended for lack of main memory; returns what changes by it."""
        return self._told(kind.ran_out_on_host())

    def _told(self, changed: str | None) -> str | None:
        return self.line if changed is not None and self.is_mixed else changed

    @property
    def foreseen(self) -> tuple[int, int]:
        """The fewest and the most processes at once, by what the trainings of then ask for."""
        return self.least_lanes, max(self.least_lanes, self.num_lanes)

    @property
    def at_once(self) -> str:
        """How many processes run at once, for a person: `1 to 2`, or `2`."""
        return " to ".join(map(str, sorted(set(self.foreseen))))

    @property
    def line(self) -> str:
        """How many run at once and what limits them, for a person."""
        if not self.is_mixed:
            return self.usual.line
        said = [
            f"{f'where {words}, ' if words else ''}{kind.num_lanes} with {kind.have}"
            for words, kind in self.by_settings.items()
        ]
        trials = "trial" if self.at_once == "1" else "trials"
        return f"{self.at_once} {trials} at a time: {'; '.join(said)}"
