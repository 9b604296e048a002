"""What a node of a cluster has besides cores, GPUs and memory, and what trainings want of it; without Ray.

Ray knows two kinds of it: resources by name, such as `accelerator_type:H100` or those of `ray start --resources`, and
labels, such as `ray.io/accelerator-type: H100` or those of `ray start --labels`. A study names a resource as it is and
a label as `key=value` (`Resources.node_with`).
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sweep.wording import listed

SHARE = 0.001
"""What a training takes of a resource that its node has to have: a thousand of them find room in one."""
_COUNTED = ("CPU", "GPU", "memory", "object_store_memory")
_OF_ONE_NODE = ("node:", "ray.io/node-id")


@dataclass(frozen=True)
class Features:
    """Of one node."""

    resources: frozenset[str] = frozenset()
    """Names of those that are not counted elsewhere."""
    labels: Mapping[str, str] = field(default_factory=dict)

    def have(self, wanted: Iterable[str]) -> bool:
        """Whether all that a study wants is there."""
        return all(self._have(one) for one in wanted)

    def _have(self, one: str) -> bool:
        key, is_label, value = one.partition("=")
        return self.labels.get(key) == value if is_label else one in self.resources

    @property
    def names(self) -> tuple[str, ...]:
        """All of them, as a study names them."""
        return *sorted(self.resources), *(f"{key}={value}" for key, value in sorted(self.labels.items()))


def features_of(known: Mapping[str, Any]) -> Features:
    """Those of a node, of which Ray says so much (`ray.nodes()`)."""
    resources = (one for one in known["Resources"] if one not in _COUNTED and not one.startswith(_OF_ONE_NODE))
    labels = {key: value for key, value in known.get("Labels", {}).items() if key not in _OF_ONE_NODE}
    return Features(frozenset(resources), labels)


def asked_of_ray(wanted: Iterable[str]) -> tuple[dict[str, float], dict[str, str]]:
    """Shares of resources, and a selector of labels, that bring a training to a node that has what is wanted."""
    labels = dict(one.split("=", 1) for one in wanted if "=" in one)
    return {one: SHARE for one in wanted if "=" not in one}, labels


def lacking(wanted: Sequence[str], nodes: Sequence[Features]) -> str:
    """What to say where no node has all that is wanted: what they do have."""
    counts = Counter(name for node in nodes for name in node.names)
    of = len(nodes)
    have = [name if num == of else f"{name} ({num} of {of} nodes)" for name, num in sorted(counts.items())]
    return (
        f"resources.node_with asks for {listed(wanted)}, which no node has together; there is "
        f"{', '.join(have) or 'nothing of that kind'}: name what is there, or give a node that with ray start "
        f"--resources or --labels and join the cluster with --address"
    )
