"""How many trainings run at once, and what each takes of a machine, as their memory becomes known; without Ray.

`resources` decides at first. With `gpus: auto` the first training has a GPU alone; then so many share one as its memory
holds, with head-room. Where the main memory would not hold as many as there are cores for, each asks for what it takes.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from sweep.running.features import Features, asked_of_ray
from sweep.study import Resources
from sweep.training.footprint import Footprint
from sweep.wording import listed, plural

HOST_HEAD_ROOM = 1.1
"""What is kept free for each training, as a factor of the most main memory that one has taken so far."""
CARD_HEAD_ROOM = 1.15
"""Of the most memory of a GPU: an allocator's pieces do not fit into each other without gaps."""
MOST_PER_GPU = 100
"""So many parts of one are told apart."""
_PARTS = 10_000
"""Ray counts a GPU in so many parts."""


@dataclass(frozen=True)
class Node:
    """A machine, as far as trainings may use it."""

    cpus: float
    gpus: float = 0.0
    memory_mib: float = math.inf
    """Main memory for all trainings on it."""
    name: str = ""
    """What it is called in a cluster: as `ray start --node-name` says, else its address."""
    node_id: str = ""
    """Ray's, of a cluster's."""
    features: Features = field(default=Features(), kw_only=True)
    """What it has besides."""


@dataclass(frozen=True)
class Slot:
    """What one training takes of a machine."""

    cpus: int
    gpus: float = 0.0
    memory_mib: float = 0.0
    """0: none is asked for."""

    @property
    def num_on_gpu(self) -> int:
        """How many such trainings a GPU holds."""
        return math.floor(1 / self.gpus + 1e-9) if 0 < self.gpus < 1 else 1

    def gpus_of(self, num: int) -> float:
        """GPUs that so many such trainings take, where others share none with them."""
        return math.ceil(num / self.num_on_gpu) if 0 < self.gpus < 1 else num * self.gpus

    def fitting(self, node: Node) -> int:
        """How many fit on a machine."""
        num = node.cpus // self.cpus
        if 0 < self.gpus < 1:
            # A training cannot have its fraction from two GPUs. Ten times 0.1 still fill one.
            num = min(num, node.gpus // 1 * self.num_on_gpu)
        elif self.gpus:
            num = min(num, node.gpus // self.gpus)
        if self.memory_mib:
            num = min(num, node.memory_mib // self.memory_mib)
        return int(num)


@dataclass(frozen=True)
class Limits:
    """What there is on one machine and what keeps a run from all of it, for a person; None where that is unknown."""

    cores: str | None = None
    """Such as `1 of 2 cores: CPU affinity`."""
    gpus: str | None = None
    """Such as `CUDA_VISIBLE_DEVICES=0`."""


class Placement:
    """How many trainings may run now, and what the next one takes."""

    def __init__(self, resources: Resources, nodes: Sequence[Node], limits: Limits | None = None) -> None:
        """Knows of no training's memory yet.

        Args:
            resources: what the study asks for.
            nodes: all machines.
            limits: why there is no more, where the only machine is this one.
        """
        self._resources = resources
        self._nodes = tuple(nodes)
        self._limits = limits or Limits()
        self._per_gpu: int | None = None
        """With `gpus: auto`: how many share a GPU; None as long as nobody has measured one."""
        self._host_mib = 0.0
        """The most main memory that a training took."""
        self._card_mib = self._card_room_mib = math.nan
        """The most memory of a GPU that a training took, and what the GPU had for the first one, which was alone."""
        most = math.inf if resources.max_parallel is None else float(resources.max_parallel)
        self.num_together = int(min(resources.stacked, most))
        """The most trainings that one process has side by side: they share its cores, and its part of a GPU."""
        self.most = most // self.num_together
        """Processes that may run, however many fit."""

    @property
    def usable(self) -> Sequence[Node]:
        """The machines that have what trainings want of theirs."""
        wanted = self._resources.node_with
        return [node for node in self._nodes if node.features.have(wanted)] if wanted else self._nodes

    @property
    def node_needs(self) -> tuple[dict[str, float], dict[str, str]]:
        """What brings a training to one of them, as Ray is asked for it: shares of resources, and labels."""
        return asked_of_ray(self._resources.node_with)

    @property
    def is_auto(self) -> bool:
        """Whether the part of a GPU follows from what was measured."""
        return self._resources.gpus == "auto"

    @property
    def is_measuring(self) -> bool:
        """Whether one training has to show first how much of a GPU it needs."""
        return self.is_auto and self._per_gpu is None

    @property
    def num_fitting(self) -> int:
        """How many would fit, however few are wanted at once; 0 where no machine has what one asks for."""
        share = self.share
        return sum(share.fitting(node) for node in self.usable)

    @property
    def num_on_each(self) -> list[int]:
        """How many would fit on each machine: none where it has not what trainings want of theirs."""
        share, wanted = self.share, self._resources.node_with
        return [share.fitting(node) if node.features.have(wanted) else 0 for node in self._nodes]

    @property
    def num_trials(self) -> int:
        """How many trainings run at once now, where there are enough."""
        return self.num_lanes * self.num_together

    @property
    def least_trials(self) -> int:
        """How many trainings will run at once at least, as far as GPUs and cores decide it."""
        return self.least_lanes * self.num_together

    @property
    def most_lanes(self) -> int:
        """The most processes that may ever run at once, whatever their memory turns out to be."""
        gpus = self._resources.gpus
        # With `auto` the cores alone limit what the GPUs may come to hold.
        return max(1, int(self._num_with(0.0 if gpus == "auto" else gpus)))

    @property
    def num_lanes(self) -> int:
        """How many processes run at once now, one at least."""
        return 1 if self.is_measuring else max(1, int(min(self.num_fitting, self.most)))

    @property
    def least_lanes(self) -> int:
        """How many processes will run at once at least, as far as GPUs and cores decide it."""
        return max(1, int(self._num_with(1.0))) if self.is_measuring else self.num_lanes

    @property
    def share(self) -> Slot:
        """What the process of the next training, or trainings, takes."""
        own = Slot(self._resources.cpus, self._gpus)
        need_mib = self._host_need_mib
        if all(min(own.fitting(node), self.most) * need_mib <= node.memory_mib for node in self.usable):
            # Asking for memory that there is enough of would only make Ray start new processes.
            return own
        return self.need

    @property
    def need(self) -> Slot:
        """What that process takes, with its memory as far as it is known, whether Ray has to count that or not."""
        own = Slot(self._resources.cpus, self._gpus)
        asking = Slot(own.cpus, own.gpus, self._host_need_mib)
        # One alone has run already, whatever it needs.
        return asking if any(asking.fitting(node) for node in self.usable) else own

    @property
    def whole(self) -> Slot:
        """What a training takes that is not to share a GPU."""
        return Slot(self._resources.cpus, 1.0, self.share.memory_mib)

    @property
    def _gpus(self) -> float:
        if self._resources.gpus != "auto":
            return self._resources.gpus
        parts = range(1, (self._per_gpu or 1) + 1)
        most = self._num_with(_part(parts[-1]))
        # Where the cores allow fewer than the GPUs would hold, all GPUs are used.
        return next(_part(num) for num in parts if self._num_with(_part(num)) == most)

    def _num_with(self, gpus: float) -> float:
        """How many may run, if each takes so much of a GPU."""
        share = Slot(self._resources.cpus, gpus)
        return min(sum(share.fitting(node) for node in self.usable), self.most)

    @property
    def _host_need_mib(self) -> float:
        """In steps of a fifth: each new need costs new processes."""
        if self._host_mib <= 0:
            return 0.0
        return math.pow(2.0, math.ceil(4 * math.log2(HOST_HEAD_ROOM * self._host_mib)) / 4)

    def nodes_changed(self, nodes: Sequence[Node]) -> None:
        """Takes the machines that there are from now on."""
        self._nodes = tuple(nodes)

    def measured(self, footprint: Footprint) -> str | None:
        """Takes what a training took; returns what changes by it, in a sentence for the user."""
        before = self._state
        self._host_mib = max(self._host_mib, footprint.host_mib)
        if self.is_auto and footprint.card_mib is not None and footprint.card_room_mib is not None:
            if self._per_gpu is None:
                self._card_mib, self._card_room_mib = footprint.card_mib, footprint.card_room_mib
            self._card_mib = max(self._card_mib, footprint.card_mib)
            fits = int(self._card_room_mib // (CARD_HEAD_ROOM * self._card_mib))
            self._per_gpu = max(1, min(fits, self._per_gpu or MOST_PER_GPU))
        return self._changed(before)

    def ran_out_on_card(self) -> str | None:
        """Takes note that a training found no memory on a GPU; returns what changes by it."""
        before = self._state
        self._per_gpu = max(1, (self._per_gpu or 1) - 1)
        return self._changed(before)

    def ran_out_on_host(self) -> str | None:
        """Takes note that a training was ended for lack of main memory; returns what changes by it."""
        before = self._state
        self.most = max(1, self.num_lanes // 2)
        return self._changed(before, "memory ran out: ")

    @property
    def _state(self) -> tuple[int, int | None]:
        return self.num_lanes, self._per_gpu

    def _changed(self, before: tuple[int, int | None], why: str = "") -> str | None:
        return None if self._state == before else f"{why}{self.line}"

    @property
    def line(self) -> str:
        """How many run at once and what limits them, for a person."""
        at_once = f"{plural(self.num_lanes, 'trial')} at a time"
        if self.num_together > 1:
            at_once = (
                f"{plural(self.num_lanes, 'process', 'processes')} at a time, each of up to {self.num_together} trials"
            )
        if self.is_measuring:
            return f"{at_once}: the first one shows how much memory of a GPU it needs (gpus: auto)"
        asked = self._resources.max_parallel
        fits = self.have
        if asked is not None and asked > self.num_fitting * self.num_together:
            return f"{at_once}, fewer than the {asked} allowed: {fits}"
        if self.num_lanes < self.num_fitting:
            return f"{at_once}, as limited; {self.num_fitting} would fit: {fits}"
        return f"{at_once}: {fits}"

    @property
    def have(self) -> str:
        """What there is, and how much of it a trial takes."""
        cpus, share, limits = self._resources.cpus, self.share, self._limits
        cores = limits.cores or plural(int(sum(node.cpus for node in self.usable)), "core")
        one, several = ("trial", "trials") if self.num_together == 1 else ("process", "processes")
        said = [f"{cores}, {cpus} a {one}" if cpus > 1 else cores]
        if share.gpus:
            gpus = plural(int(sum(node.gpus for node in self.usable)), "GPU")
            said.append(f"{gpus}{f' ({limits.gpus})' if limits.gpus else ''}, {self._part_words}")
        if share.memory_mib:
            room = sum(node.memory_mib for node in self.usable) / 1024
            took = self._host_mib / 1024
            said.append(f"{room:.3g} GiB of memory for {several}, which take up to {took:.2g} GiB each, and head-room")
        if (wanted := self._resources.node_with) and len(self._nodes) > 1:
            said.append(f"on the {len(self.usable)} of {len(self._nodes)} nodes with {listed(wanted)}")
        return "; ".join(said)

    @property
    def _part_words(self) -> str:
        if self._resources.gpus != "auto":
            return f"{self.share.gpus:g} a {'trial' if self.num_together == 1 else 'process'}"
        if math.isnan(self._card_mib):
            return f"{self.share.num_on_gpu} a GPU"
        room = f"a trial takes up to {self._card_mib / 1024:.2g} of its {self._card_room_mib / 1024:.3g} GiB"
        return f"{self.share.num_on_gpu} a GPU, whose memory holds {self._per_gpu} ({room}, and head-room)"


def _part(num: int) -> float:
    """The part of a GPU of which so many fit, as Ray counts it."""
    return _PARTS // num / _PARTS
