"""How many trainings run at once, by what there is and what they take."""

import math
import time

import pytest

from sweep.running.features import Features
from sweep.running.placement import Limits, Node, Placement, Slot
from sweep.study import Resources
from sweep.training.footprint import Footprint


@pytest.mark.parametrize(
    ("share", "node", "num"),
    [
        (Slot(1), Node(4), 4),
        (Slot(3), Node(8), 2),
        (Slot(5), Node(4), 0),
        (Slot(1, 0.5), Node(8, 2), 4),
        (Slot(1, 0.1), Node(16, 1), 10),
        (Slot(1, 0.3), Node(16, 1), 3),
        (Slot(1, 0.4), Node(16, 2), 4),
        (Slot(2, 0.5), Node(4, 2), 2),
        (Slot(1, 2), Node(8, 5), 2),
        (Slot(1, 1), Node(8, 0), 0),
        (Slot(1, 0.0, 1000), Node(8, 0, 3500), 3),
    ],
)
def test_as_many_fit_as_every_resource_allows(share: Slot, node: Node, num: int) -> None:
    assert share.fitting(node) == num


def test_a_share_of_a_gpu_counts_how_many_it_holds_also_as_ray_rounds_it() -> None:
    for num in range(1, 101):
        placement = Placement(Resources(gpus="auto"), [Node(1000, 1)])
        placement.measured(Footprint(0.0, 1000.0, 1150.0 * num + 1))
        assert placement.share.num_on_gpu == num and num * placement.share.gpus <= 1


def test_all_machines_count() -> None:
    assert Placement(Resources(cpus=2), [Node(4), Node(3), Node(1)]).num_lanes == 3


@pytest.mark.parametrize(
    ("most", "num", "line"),
    [
        (None, 4, "4 trials at a time: 4 cores"),
        (1, 1, "1 trial at a time, as limited; 4 would fit: 4 cores"),
        (4, 4, "4 trials at a time: 4 cores"),
        (9, 4, "4 trials at a time, fewer than the 9 allowed: 4 cores"),
    ],
)
def test_what_is_wanted_limits_what_fits(most: int | None, num: int, line: str) -> None:
    placement = Placement(Resources(max_parallel=most), [Node(4)])
    assert (placement.num_lanes, placement.most_lanes, placement.line) == (num, num, line)


@pytest.mark.parametrize(
    ("most", "lanes", "together", "line"),
    [
        (None, 4, 8, "4 processes at a time, each of up to 8 trials: 4 cores"),
        (16, 2, 8, "2 processes at a time, each of up to 8 trials, as limited; 4 would fit: 4 cores"),
        (15, 1, 8, "1 process at a time, each of up to 8 trials, as limited; 4 would fit: 4 cores"),
        (3, 1, 3, "1 process at a time, each of up to 3 trials, as limited; 4 would fit: 4 cores"),
        (99, 4, 8, "4 processes at a time, each of up to 8 trials, fewer than the 99 allowed: 4 cores"),
    ],
)
def test_the_most_trials_at_a_time_are_those_of_all_processes(most, lanes, together, line) -> None:
    placement = Placement(Resources(max_parallel=most, stacked=8), [Node(4)])
    assert (placement.num_lanes, placement.num_together, placement.line) == (lanes, together, line)
    assert placement.num_trials == placement.least_trials == lanes * together <= (most or 32)


def test_what_limits_the_cores_is_told() -> None:
    placement = Placement(Resources(cpus=2), [Node(4)], Limits("4 of 8 cores: CPU affinity"))
    assert placement.line == "2 trials at a time: 4 of 8 cores: CPU affinity, 2 a trial"
    placement = Placement(Resources(gpus=0.5), [Node(4, 1)])
    assert placement.line == "2 trials at a time: 4 cores; 1 GPU, 0.5 a trial"
    placement = Placement(Resources(gpus=0.5), [Node(4, 1)], Limits("4 cores", "CUDA_VISIBLE_DEVICES=3"))
    assert placement.line == "2 trials at a time: 4 cores; 1 GPU (CUDA_VISIBLE_DEVICES=3), 0.5 a trial"


def test_memory_is_asked_for_only_where_it_would_not_do_for_all() -> None:
    placement = Placement(Resources(), [Node(4, memory_mib=4000)])
    assert placement.measured(Footprint(500.0)) is None
    assert placement.share == Slot(1) and placement.num_lanes == 4
    line = placement.measured(Footprint(1500.0))
    assert (
        line
        == "2 trials at a time: 4 cores; 3.91 GiB of memory for trials, which take up to 1.5 GiB each, and head-room"
    )
    assert 1650 <= placement.share.memory_mib < 1650 * 2**0.25 and placement.num_lanes == 2
    share = placement.share
    assert placement.measured(Footprint(1520.0)) is None and placement.share == share, "no new processes for so little"
    assert placement.measured(Footprint(700.0)) is None and placement.num_lanes == 2, "the largest counts"
    placement.measured(Footprint(9000.0))
    assert placement.num_lanes >= 1 and placement.share.memory_mib == 0, "one alone ran, so one alone runs on"


def test_one_lane_needs_no_more_memory_than_one_training() -> None:
    placement = Placement(Resources(max_parallel=1), [Node(4, memory_mib=4000)])
    assert placement.measured(Footprint(1500.0)) is None and placement.share == Slot(1)


def test_where_memory_runs_out_half_as_many_run_on() -> None:
    placement = Placement(Resources(), [Node(5)])
    assert placement.ran_out_on_host() == "memory ran out: 2 trials at a time, as limited; 5 would fit: 5 cores"
    assert placement.ran_out_on_host() is not None and placement.num_lanes == 1
    assert placement.ran_out_on_host() is None and placement.num_lanes == 1


def auto(*nodes: Node, most: int | None = None) -> Placement:
    return Placement(Resources(gpus="auto", max_parallel=most), nodes)


def test_the_first_has_a_gpu_alone() -> None:
    placement = auto(Node(16, 2))
    assert placement.num_lanes == 1 and placement.share.gpus == 1 and placement.most_lanes == 16
    assert placement.line.startswith("1 trial at a time: the first one shows")
    assert placement.measured(Footprint(100.0)) is None, "of a GPU it said nothing"
    assert placement.is_measuring


@pytest.mark.parametrize(
    ("nodes", "most", "card_mib", "per_gpu", "num"),
    [
        ((Node(64, 1),), None, 10_000.0, 6, 6),
        ((Node(64, 2),), None, 10_000.0, 6, 12),
        ((Node(4, 1),), None, 10_000.0, 4, 4),
        ((Node(4, 2),), None, 10_000.0, 2, 4),
        ((Node(64, 2),), 3, 10_000.0, 2, 3),
        ((Node(64, 1),), None, 50_000.0, 1, 1),
        ((Node(64, 1),), None, 90_000.0, 1, 1),
        ((Node(64, 1), Node(64, 3)), None, 30_000.0, 2, 8),
    ],
)
def test_then_as_many_share_a_gpu_as_it_holds_and_no_gpu_is_left_idle(nodes, most, card_mib, per_gpu, num) -> None:
    placement = auto(*nodes, most=most)
    placement.measured(Footprint(0.0, card_mib, 80_000.0))
    assert (placement.share.num_on_gpu, placement.num_lanes) == (per_gpu, num)


def test_one_that_takes_more_leaves_room_for_fewer_and_one_that_takes_less_changes_nothing() -> None:
    placement = auto(Node(64, 1))
    said = placement.measured(Footprint(0.0, 10_000.0, 80_000.0))
    assert said == (
        "6 trials at a time: 64 cores; 1 GPU, 6 a GPU, whose memory holds 6 (a trial takes up to 9.8 of its 78.1 GiB, "
        "and head-room)"
    )
    # What others take is no room that the GPU lacks.
    assert placement.measured(Footprint(0.0, 5_000.0, 15_000.0)) is None and placement.num_lanes == 6
    assert placement.measured(Footprint(0.0, 20_000.0, 25_000.0)) is not None and placement.num_lanes == 3
    assert placement.ran_out_on_card() is not None and placement.num_lanes == 2
    assert placement.measured(Footprint(0.0, 5_000.0, 80_000.0)) is None and placement.num_lanes == 2
    assert placement.whole == Slot(1, 1.0)


def test_a_gpu_and_the_main_memory_limit_together() -> None:
    placement = auto(Node(64, 1, memory_mib=6000))
    placement.measured(Footprint(2000.0, 10_000.0, 80_000.0))
    assert placement.num_lanes == 2 and placement.share.memory_mib > 2200
    assert math.isclose(placement.whole.memory_mib, placement.share.memory_mib)


def test_only_machines_that_have_what_is_wanted_count() -> None:
    fast = Features(frozenset({"accelerator_type:H100"}), {"zone": "a"})
    nodes = [Node(8, 4, features=fast), Node(4, 1, features=fast), Node(64, 8)]
    placement = Placement(Resources(gpus=1, node_with=("accelerator_type:H100", "zone=a")), nodes)
    assert (placement.num_lanes, placement.most_lanes) == (5, 5)
    assert placement.line == (
        "5 trials at a time: 12 cores; 5 GPUs, 1 a trial; on the 2 of 3 nodes with accelerator_type:H100; zone=a"
    )
    assert Placement(Resources(node_with=("zone=b",)), nodes).num_fitting == 0


def test_thousands_of_machines_are_counted_in_no_time() -> None:
    placement = Placement(Resources(), [Node(cpus=8)] * 2000)
    begun = time.process_time()
    for _ in range(20):
        assert placement.num_lanes == 16_000
    assert time.process_time() - begun < 2, "each asks once what a training takes"
