"""Which trainings may start now, where some ask for more than others, or for other machines; without Ray.

Ray itself gives free room to whatever fits, so that a training that needs much of it would wait for as long as there
are small ones. Here none that could take the room of one that waits is given out before it.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from sweep.running.placement import Node, Placement, Slot
from sweep.space import Settings


@dataclass(frozen=True)
class UnderWay:
    """A process that trains, or is to as soon as Ray has started it."""

    kind: Placement
    """What its training asks for."""
    node_id: str | None
    """Where it runs; None where that is not known, or it has not begun."""
    is_late: bool
    """Whether it has not begun for so long that there must be no room for it, whatever was counted."""


class Room:
    """What is left of the machines at one moment, for trainings in the order in which the study asks for them."""

    def __init__(
        self,
        kinds: Sequence[Placement],
        of: Callable[[Settings], Placement],
        nodes: Sequence[Node],
        under_way: Iterable[UnderWay],
        *,
        most: float,
        num_ahead: int,
    ) -> None:
        """Counts what is taken.

        Args:
            kinds: what trainings may ask for.
            of: what one with these settings asks for.
            nodes: all machines.
            under_way: processes that take a part of them.
            most: processes that may be under way, however many fit.
            num_ahead: trainings that may wait before others are no longer looked for.
        """
        self.num_ahead = num_ahead
        self._most = most
        self._of, self._nodes = of, nodes
        self._slots = {kind: kind.need for kind in kinds}
        on = {kind: [i for i, num in enumerate(kind.num_on_each) if num] for kind in kinds}
        wanted = Counter(index for indices in on.values() for index in indices)
        # First the machines that others can use less.
        self._on = {kind: sorted(indices, key=lambda index: wanted[index]) for kind, indices in on.items()}
        self._mixes: list[Counter[Slot]] = [Counter() for _ in nodes]
        processes = list(under_way)
        self._num = Counter(one.kind for one in processes)
        self._waiting = {one.kind for one in processes if one.is_late}
        """What those ask for that wait; nobody may take the room that one of them could have."""
        places = {node.node_id: index for index, node in enumerate(nodes)}
        unplaced: list[Placement] = []
        for one in processes:
            if len(nodes) == 1 and self._on[one.kind]:
                self._mixes[0][self._slots[one.kind]] += 1
            elif one.node_id is None:
                unplaced.append(one.kind)
            elif one.node_id in places:
                # That of a lost node ends.
                self._mixes[places[one.node_id]][self._slots[one.kind]] += 1
        for kind in sorted(unplaced, key=lambda kind: len(self._on[kind])):
            if free := self._free(kind):
                self._mixes[free[0]][self._slots[kind]] += 1
            else:
                self._waiting.add(kind)

    def admits(self, settings: Settings) -> bool:
        """Whether a training may start now; those asked about later may not take the room of one that may not."""
        kind = self._of(settings)
        may_start = self._may_start(kind)
        if not may_start:
            self._waiting.add(kind)
        return may_start

    @property
    def is_open(self) -> bool:
        """Whether any training might start now, whatever it asks for."""
        return any(self._may_start(kind) for kind in self._slots)

    def _may_start(self, kind: Placement) -> bool:
        if kind in self._waiting or self._num.total() >= self._most or self._num[kind] >= kind.most:
            return False
        if not self._on[kind]:
            # One asks for its place, so that a cluster that scales itself sees that a machine is wanted.
            return not self._num[kind]
        free = self._free(kind)
        taken = {index for one in self._waiting for index in self._on[one]}
        return bool(free) and taken.isdisjoint(free)

    def _free(self, kind: Placement) -> list[int]:
        """The machines that have room for one more such process."""
        slot = self._slots[kind]
        return [i for i in self._on[kind] if _holds(self._nodes[i], self._mixes[i] + Counter({slot: 1}))]


def _holds(node: Node, mix: Mapping[Slot, int]) -> bool:
    """Whether a machine has what so many processes of each kind take together."""
    return (
        sum(slot.cpus * num for slot, num in mix.items()) <= node.cpus
        and sum(slot.gpus_of(num) for slot, num in mix.items()) <= node.gpus
        and sum(slot.memory_mib * num for slot, num in mix.items()) <= node.memory_mib
    )
