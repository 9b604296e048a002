"""When a page is built, and what becomes of a build that fails."""

import gzip
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sweep import store
from sweep.watch import builder as module
from sweep.watch.builder import MIN_REST_S, REST, Builder, Pace
from sweep.watch.folder import Fingerprint, Folder

LEAST = {"model": {"kind": "teacher"}, "data": {"kind": "synthetic"}, "budget": {"steps": 100}}
"""Of a study, what has no default besides its name."""
ONE: Fingerprint = (("study.yaml", 1, 1),)
TWO: Fingerprint = (("study.yaml", 2, 1),)


def test_a_page_is_built_after_a_change_alone() -> None:
    pace = Pace()
    assert not pace.due(0.0, None)
    assert pace.due(0.0, ONE)
    pace.built(1.0, ONE, cpu_s=0.1, succeeded=True)
    assert not pace.due(1000.0, ONE)
    assert pace.due(1000.0, TWO)


def test_building_takes_a_quarter_of_one_core_at_most() -> None:
    pace = Pace()
    now, cpu_s, worked_s = 0.0, 4.0, 0.0
    for change in range(100_000):
        now += 0.01
        if pace.due(now, (("trials.parquet", change, 1),)):
            now += cpu_s
            worked_s += cpu_s
            pace.built(now, ONE, cpu_s=cpu_s, succeeded=True)
    assert 0.2 < worked_s / now <= 1 / (1 + REST) + 0.01


def test_quick_builds_rest_too() -> None:
    pace = Pace()
    pace.built(10.0, ONE, cpu_s=0.01, succeeded=True)
    assert not pace.due(10.0 + 0.9 * MIN_REST_S, TWO)
    assert pace.due(10.0 + 1.1 * MIN_REST_S, TWO)


def test_a_failure_is_tried_once_more_before_it_is_told() -> None:
    pace = Pace()
    pace.built(0.0, ONE, cpu_s=0.1, succeeded=False)
    assert not pace.has_failed and pace.due(10.0, ONE)
    pace.built(10.0, ONE, cpu_s=0.1, succeeded=False)
    assert pace.has_failed and not pace.due(20.0, ONE) and pace.due(20.0, TWO)
    pace.built(20.0, TWO, cpu_s=0.1, succeeded=True)
    assert not pace.has_failed and not pace.due(30.0, TWO)


@pytest.fixture
def building(tmp_path: Path) -> Iterator[Builder]:
    store.write_yaml(tmp_path / "study.yaml", {**LEAST, "name": "tiny"})
    builder = Builder(Folder(tmp_path))
    builder.start()
    yield builder
    builder.stop()


def until(true: Callable[[], object]) -> None:
    end = time.monotonic() + 60
    while not true():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.05)


@pytest.mark.slow
def test_a_page_is_built_for_whom_wants_it_and_the_last_good_one_stays(
    tmp_path: Path, building: Builder, capfd: pytest.CaptureFixture[str]
) -> None:
    time.sleep(3 * module.TICK_S)
    assert building.page is None, "nobody asked"
    building.wanted()
    until(lambda: building.page)
    first = building.page
    assert first is not None and first.name == "tiny" and first.num_trials == 0
    assert b"<title>tiny: stability sweep</title>" in gzip.decompress(first.html)
    assert building.error is None

    (tmp_path / "study.yaml").write_text("{")
    until(lambda: building.error)
    assert building.page is first and "not valid YAML" in str(building.error)
    told = capfd.readouterr().err
    assert told.startswith("error: ") and told.count("\n") == 1

    store.write_yaml(tmp_path / "study.yaml", {**LEAST, "name": "mended"})
    until(lambda: building.error is None)
    assert building.page is not None and building.page.name == "mended"
    assert building.page.version != first.version
    assert os.listdir(tmp_path) == ["study.yaml"]


@pytest.mark.slow
def test_a_page_comes_also_after_its_process_was_killed(building: Builder, tmp_path: Path) -> None:
    building.wanted()
    until(lambda: building.page)
    assert building._worker is not None
    building._worker.end()
    store.write_yaml(tmp_path / "study.yaml", {**LEAST, "name": "again"})
    until(lambda: building.page and building.page.name == "again")
    assert building.error is None
