"""How many cores may be used, and why not all."""

import os

import pytest

from sweep.running.cores import Cores, cores


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """One of eight cores, all of which may be used."""
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)))


def test_all_cores_are_used_where_nothing_limits_them(tmp_path, monkeypatch) -> None:
    assert cores({}, tmp_path) == Cores(8, 8, None) and str(Cores(8, 8, None)) == "8 cores"
    monkeypatch.delattr(os, "sched_getaffinity")  # macOS, Windows
    assert cores({}, tmp_path).usable == 8
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert str(cores({}, tmp_path)) == "1 core"


def test_the_affinity_limits_them(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {3})
    assert str(cores({}, tmp_path)) == "1 of 8 cores: CPU affinity"


@pytest.mark.parametrize(
    ("own", "name"), [("0::/box\n", "box/cpuset.cpus.effective"), ("3:cpuset:/\n", "cpuset/cpuset.effective_cpus")]
)
def test_a_cpuset_is_told_from_an_affinity_of_its_own(control_groups, monkeypatch, own: str, name: str) -> None:
    root = control_groups(own, {name: "0-1,5\n"})
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1, 5})
    assert cores({}, root) == Cores(3, 8, "cpuset of the control group")
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {5})
    assert cores({}, root) == Cores(1, 8, "CPU affinity")


@pytest.mark.parametrize(
    ("own", "files", "usable"),
    [
        ("0::/\n", {"cpu.max": "250000 100000\n"}, 2),
        ("0::/a/b\n", {"a/b/cpu.max": "max 100000\n", "a/cpu.max": "300000 100000\n"}, 3),
        ("0::/\n", {"cpu.max": "50000 100000\n"}, 1),
        ("1:cpu,cpuacct:/x\n", {"cpu/x/cpu.cfs_quota_us": "400000\n", "cpu/x/cpu.cfs_period_us": "100000\n"}, 4),
        ("1:cpu:/x\n", {"cpu/x/cpu.cfs_quota_us": "-1\n", "cpu/x/cpu.cfs_period_us": "100000\n"}, 8),
        ("1:cpu:/x\n", {"cpu/cpu.cfs_quota_us": "600000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 6),
        ("0::/\n", {"cpu.max": "max 100000\n"}, 8),
        ("0::/\n", {"cpu.max": "1600000 100000\n"}, 8),
        ("0::/\n", {"cpu.max": "many few\n"}, 8),
        ("0::/\n", {"cpu.max": "100000 0\n"}, 8),
        ("0::/\n", {"cpu.max": "\xff\n"}, 8),
    ],
)
def test_quotas_of_both_versions_limit_them(control_groups, own: str, files: dict[str, str], usable: int) -> None:
    found = cores({}, control_groups(own, files))
    assert found.usable == usable
    assert (found.limit is None) == (usable == 8) and (usable == 8 or "control group's quota of" in str(found.limit))


@pytest.mark.parametrize(
    ("environ", "usable", "limit"),
    [
        ({"SLURM_CPUS_PER_TASK": "2", "SLURM_CPUS_ON_NODE": "6"}, 2, "SLURM_CPUS_PER_TASK=2"),
        ({"SLURM_CPUS_ON_NODE": "6", "SLURM_JOB_CPUS_PER_NODE": "4"}, 6, "SLURM_CPUS_ON_NODE=6"),
        ({"SLURM_JOB_CPUS_PER_NODE": "6(x2),4"}, 4, "SLURM_JOB_CPUS_PER_NODE=6(x2),4"),
        ({"SLURM_CPUS_PER_TASK": "none", "SLURM_CPUS_ON_NODE": "0"}, 8, None),
        ({"SLURM_CPUS_PER_TASK": "64"}, 8, None),
    ],
)
def test_what_slurm_gave_limits_them_within_a_job_alone(tmp_path, environ, usable: int, limit: str | None) -> None:
    assert cores({"SLURM_JOB_ID": "7", **environ}, tmp_path) == Cores(usable, 8, limit)
    assert cores(environ, tmp_path) == Cores(8, 8, None)


def test_the_tightest_limit_is_the_one_that_is_told(control_groups, monkeypatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(4)))
    root = control_groups("0::/\n", {"cpu.max": "300000 100000\n"})
    assert cores({"SLURM_JOB_ID": "7", "SLURM_CPUS_PER_TASK": "2"}, root).limit == "SLURM_CPUS_PER_TASK=2"
    assert cores({}, root) == Cores(3, 8, "the control group's quota of 3")
