"""Control groups, and the memory that they leave."""

import pytest

from slr_models.cgroups import groups
from slr_models.memory import memory_bytes


def test_a_process_is_in_its_group_and_in_all_above(control_groups) -> None:
    root = control_groups("0::/user.slice/job\n", {"user.slice/job/cpu.max": "max 100000\n"})
    mounted = root / "sys/fs/cgroup"
    assert list(groups("cpu", root)) == [mounted / "user.slice/job", mounted / "user.slice", mounted]


def test_the_groups_of_other_controllers_are_left_out(control_groups) -> None:
    own = "9:name=systemd:/s\n4:memory:/m\n1:cpu,cpuacct:/c\n"
    root = control_groups(own, {"memory/m/x": "", "cpu/c/x": "", "systemd/s/x": ""})
    assert [path.name for path in groups("memory", root)] == ["m", "memory"]
    assert [path.name for path in groups("cpu", root)] == ["c", "cpu"]


@pytest.mark.parametrize("own", ["", "nonsense\n0::\n", "0::/../../outside\n", "5:memory:/not-mounted\n"])
def test_groups_that_are_not_there_are_no_harm(control_groups, tmp_path, own: str) -> None:
    found = list(groups("memory", control_groups(own, {})))
    assert all(path.is_relative_to(tmp_path) for path in found)
    assert list(groups("memory", tmp_path / "elsewhere")) == []


def test_the_tightest_limit_of_memory_holds_wherever_it_is_set(control_groups) -> None:
    own = "4:memory:/m/inner\n0::/job/inner\n"
    unlimited = {"job/inner/memory.max": "max\n", "memory/m/inner/memory.limit_in_bytes": "9223372036854771712\n"}
    whole = memory_bytes(control_groups(own, unlimited))
    assert whole is not None and whole > 2**28
    assert memory_bytes(control_groups(own, {**unlimited, "memory/m/memory.limit_in_bytes": "4096\n"})) == 4096
    assert memory_bytes(control_groups(own, {"job/memory.max": "2048\n"})) == 2048
