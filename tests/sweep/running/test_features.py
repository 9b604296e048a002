"""What nodes have besides cores, GPUs and memory, and what a study wants of it."""

import pytest
from pydantic import ValidationError

from sweep.running.features import Features, asked_of_ray, features_of, lacking
from sweep.running.plan import resource_lines
from sweep.study import Resources

KNOWN = {
    "Resources": {
        "CPU": 8.0,
        "GPU": 1.0,
        "memory": 1e9,
        "object_store_memory": 1e9,
        "node:10.0.0.1": 1.0,
        "node:__internal_head__": 1.0,
        "accelerator_type:H100": 1.0,
        "fast_disk": 2.0,
    },
    "Labels": {"ray.io/node-id": "abc", "ray.io/accelerator-type": "H100", "zone": "a"},
}
"""A node, as Ray tells of one."""


def test_a_node_has_what_ray_says_but_what_every_node_has() -> None:
    assert features_of(KNOWN).names == (
        "accelerator_type:H100",
        "fast_disk",
        "ray.io/accelerator-type=H100",
        "zone=a",
    )


@pytest.mark.parametrize(
    ("wanted", "holds"),
    [
        ((), True),
        (("fast_disk",), True),
        (("fast_disk", "zone=a"), True),
        (("fast_disk", "zone=b"), False),
        (("region=a",), False),
        (("zone",), False),
        (("accelerator_type:H100", "ray.io/accelerator-type=H100"), True),
        (("accelerator_type:A100",), False),
    ],
)
def test_all_that_is_wanted_has_to_be_there(wanted, holds) -> None:
    assert features_of(KNOWN).have(wanted) is holds


def test_ray_is_asked_for_a_share_of_a_resource_and_for_labels() -> None:
    assert asked_of_ray(("fast_disk", "zone=a")) == ({"fast_disk": 0.001}, {"zone": "a"})


def test_where_no_node_has_it_the_message_says_what_they_have() -> None:
    nodes = [features_of(KNOWN), Features(labels={"zone": "a"})]
    assert lacking(["accelerator_type:A100"], nodes).startswith(
        "resources.node_with asks for accelerator_type:A100, which no node has together; there is "
        "accelerator_type:H100 (1 of 2 nodes), fast_disk (1 of 2 nodes), ray.io/accelerator-type=H100 (1 of 2 nodes), "
        "zone=a: "
    )
    assert "there is nothing of that kind: " in lacking(["x"], [Features()])


@pytest.mark.parametrize("wrong", ["CPU", "GPU", "", "=a", "zone=", " fast"])
def test_what_names_nothing_is_refused(wrong) -> None:
    with pytest.raises(ValidationError, match="resources.cpus and gpus|a name such as"):
        Resources(node_with=(wrong,))


def test_the_plan_says_where_trainings_may_run() -> None:
    assert list(resource_lines(Resources())) == []
    (line,) = resource_lines(Resources(node_with=("fast_disk",)))
    assert line == "nodes: trainings run only on those with fast_disk (resources.node_with)"
