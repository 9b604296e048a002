"""The nodes of a cluster that was joined, as they come and go, and whether a training's process died with its own."""

import contextlib
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from slr_models.errors import MachineError
from sweep.running.job import Job
from sweep.running.placement import Node
from sweep.wording import plural

WAIT_S = 600.0
"""How long a run waits for a node to join where none is left that can hold a training."""
_WAIT = plural(round(WAIT_S / 60), "minute")
NONE_LEFT = f"no node is left that can hold a trial: waiting for one, up to {_WAIT}"
_LOOK_S = 1.0
_ANSWER_S = 120.0
"""So long a node may be silent that Ray takes for alive; Ray itself gives one up within a minute or so."""
_OF_NODE = ("node has died", "is unavailable")
"""Of what Ray says where a process cannot be reached any more, or is known to have died with its node."""


@dataclass(frozen=True)
class Death:
    """A process that has ended by itself, as long as nobody knows whether its node has gone with it."""

    jobs: tuple[Job, ...]
    """Its trainings."""
    said: str
    """What Ray says of it."""
    node_id: str | None
    """Where it ran; None where it had not begun."""
    at: float
    """When it was heard of, on the clock."""
    answer: Any
    """What its node is asked since, which one that has died never answers."""


class Nodes:
    """Which nodes there are, looked at once a second at most.

    Of a node that is killed Ray says at first that the processes on it cannot be reached, and some ten seconds later
    that it has died; of a process that crashes, that it has died. What a process says of its end on a machine that is
    just being taken away may be either. So a node is asked: one that answers after a death had no part in it.
    """

    def __init__(
        self,
        living: Callable[[], Mapping[str, Node]],
        ask: Callable[[str], Any] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Knows those of now.

        Args:
            living: the nodes that Ray takes for alive, by their ids.
            ask: asks a node for a sign of life, by its id; None: by a task of Ray's.
            clock: seconds.
        """
        self._living, self._ask, self._clock = living, ask or _asked, clock
        self._alive = dict(living())
        self._known = dict(self._alive)
        self._looked_at = clock()
        self._none_since: float | None = None
        self._deaths: list[Death] = []

    @property
    def alive(self) -> tuple[Node, ...]:
        """All that there are."""
        return tuple(self._alive.values())

    def name(self, node_id: str | None) -> str | None:
        """What a node is called, of those that are lost too; None where that is unknown."""
        return self._known[node_id].name if node_id in self._known else None

    def changed(self) -> str | None:
        """Looks who is there; returns who has come or gone since the last look, for the user."""
        if self._clock() - self._looked_at < _LOOK_S:
            return None
        self._looked_at = self._clock()
        before, self._alive = self._alive, dict(self._living())
        self._known |= self._alive
        lost, joined = before.keys() - self._alive.keys(), self._alive.keys() - before.keys()
        said = []
        if lost:
            it = "it" if len(lost) == 1 else "they"
            said.append(f"{self._called(lost)} lost: what {it} trained goes on elsewhere")
        if joined:
            said.append(f"{self._called(joined)} there now")
        return "; ".join(said) or None

    def _called(self, ids: Iterable[str]) -> str:
        names = sorted(self._known[one].name for one in ids)
        return f"node {names[0]} is" if len(names) == 1 else f"nodes {', '.join(names)} are"

    def check_wait(self, num_fitting: int) -> None:
        """Waits on where no node can hold a training.

        Raises:
            MachineError: none could for too long.
        """
        if num_fitting:
            self._none_since = None
        elif self._none_since is None:
            self._none_since = self._clock()
        elif self._clock() - self._none_since > WAIT_S:
            raise MachineError(
                f"no node of the cluster can hold a trial, and none that can has joined for {_WAIT}: start Ray on "
                f"another machine with ray start --address=...; the same command goes on"
            )

    def died(self, jobs: Iterable[Job], said: str, node_id: str | None) -> None:
        """Takes note of a process that has ended by itself: its trainings, what Ray says of it, and where it ran."""
        answer = None if node_id is None or node_id not in self._alive else self._ask(node_id)
        self._deaths.append(Death(tuple(jobs), said, node_id, self._clock(), answer))

    def understood(self) -> list[tuple[Death, bool]]:
        """The deaths of which it is known by now whether they were of the node; each is given once."""
        known = [(death, with_node) for death in self._deaths if (with_node := self._with_node(death)) is not None]
        self._deaths = [death for death in self._deaths if all(death is not one for one, _ in known)]
        return known

    def _with_node(self, death: Death) -> bool | None:
        if death.node_id is None:
            return any(words in death.said for words in _OF_NODE)
        if death.node_id not in self._alive:
            return True
        if answered(death.answer) is not None or self._clock() - death.at > _ANSWER_S:
            return False
        return None


def _asked(node_id: str) -> Any:
    on_it = NodeAffinitySchedulingStrategy(node_id, soft=False)
    # Where its first worker dies with what else went wrong there, the next one answers.
    return ray.remote(num_cpus=0, max_retries=-1)(_sign_of_life).options(scheduling_strategy=on_it).remote()


def _sign_of_life() -> str:
    return "alive"


def answered(answer: Any) -> str | None:
    """What a process has answered; None where it has not, or was not asked, or died before."""
    if answer is None:
        return None
    with contextlib.suppress(GetTimeoutError, RayError):
        return str(ray.get(answer, timeout=0))
    return None
