"""How many trainings run at once, and which may start, where some ask for more than others."""

import dataclasses
from pathlib import Path

from sweep import yaml_source
from sweep.running import runner
from sweep.running.features import Features
from sweep.running.job import Job, RunOptions, TrialReport
from sweep.running.judged import crashed_result
from sweep.running.placement import Node
from sweep.running.placements import Placements
from sweep.running.plan import resource_lines
from sweep.running.room import Room, UnderWay
from sweep.running.session import StudySession
from sweep.running.trial_actor import JOBS_KEY, REPORTS_KEY
from sweep.study import Resources, validate
from sweep.training.footprint import Footprint

FAST = Features(frozenset({"fast"}))
SMALL, LARGE = {"width": 1}, {"width": 2}


def resources(*, most: int | None = None, **large: object) -> Resources:
    where = [{"when": {"width": 2}, **large}]
    return Resources.model_validate({"cpus": 1, "where": where, "max_parallel": most})


def room(placements: Placements, *under_way: tuple[dict, str | None], late: bool = False) -> Room:
    found = placements.room(UnderWay(placements.of(one), node, late) for one, node in under_way)
    assert found is not None
    return found


def test_the_plan_is_of_as_many_as_those_that_ask_for_most_to_those_that_ask_for_least() -> None:
    placements = Placements(resources(cpus=2), [Node(4)])
    assert (placements.foreseen, placements.at_once, placements.num_trials) == ((2, 4), "2 to 4", 4)
    assert placements.line == "2 to 4 trials at a time: 4 with 4 cores; where width is 2, 2 with 4 cores, 2 a trial"
    limited = Placements(resources(most=1, cpus=2), [Node(4)])
    assert limited.line.startswith("1 trial at a time: 1 with 4 cores")
    apart = Placements(resources(node_with=["fast"]), [Node(4), Node(2, features=FAST)])
    assert apart.line == (
        "2 to 6 trials at a time: 6 with 6 cores; where width is 2, 2 with 2 cores; on the 1 of 2 nodes with fast"
    )
    assert list(resource_lines(resources(cpus=2, node_with=["fast"]))) == [
        "resources of a trial: 1 core",
        "resources where width is 2: 2 cores, on nodes with fast",
    ]


def test_where_all_ask_for_the_same_nothing_is_counted_anew() -> None:
    assert Placements(Resources(), [Node(4)]).room([]) is None
    assert Placements(resources(cpus=1), [Node(4)]).room([]) is None


def test_a_large_one_waits_for_room_and_no_small_one_takes_it_meanwhile() -> None:
    placements = Placements(resources(cpus=2), [Node(2)])
    assert room(placements).admits(LARGE) and room(placements, (SMALL, None)).admits(SMALL)
    beside = room(placements, (SMALL, None))
    assert not beside.admits(LARGE) and not beside.is_open and not beside.admits(SMALL)
    assert not room(placements, (LARGE, None)).admits(SMALL)


def test_those_for_other_nodes_do_not_wait_for_it() -> None:
    placements = Placements(resources(node_with=["fast"]), [Node(2, node_id="a"), Node(1, node_id="b", features=FAST)])
    full = room(placements, (LARGE, "b"), (SMALL, "a"))
    assert not full.admits(LARGE) and full.is_open and full.admits(SMALL)
    taken = room(placements, (SMALL, "b"))
    assert not taken.admits(LARGE) and taken.admits(SMALL), "what takes its place stays there, wherever others go"


def test_what_has_not_begun_is_put_where_it_leaves_room_for_others() -> None:
    placements = Placements(resources(node_with=["fast"]), [Node(1, node_id="b", features=FAST), Node(1, node_id="a")])
    assert room(placements, (SMALL, None)).admits(LARGE)
    unlucky = room(placements, (SMALL, "b"), (LARGE, None))
    assert unlucky.admits(SMALL), "the one that has not begun waits for b, and a is free"
    freed = room(placements, (LARGE, None))
    assert freed.admits(SMALL)


def test_one_that_does_not_begin_for_long_is_waited_for() -> None:
    placements = Placements(resources(cpus=2), [Node(4)])
    assert room(placements, (LARGE, None)).admits(SMALL)
    assert not room(placements, (LARGE, None), late=True).admits(SMALL)


def test_one_asks_for_a_node_that_is_lost_and_the_others_go_on() -> None:
    placements = Placements(resources(node_with=["fast"]), [Node(1, node_id="b", features=FAST), Node(1, node_id="a")])
    placements.nodes_changed([Node(1, node_id="a")])
    assert room(placements).admits(LARGE)
    asking = room(placements, (LARGE, None))
    assert not asking.admits(LARGE) and asking.admits(SMALL)
    assert placements.num_fitting_of([placements.of(LARGE)]) == 0
    assert placements.num_fitting_of([placements.of(LARGE), placements.of(SMALL)]) == 1
    assert placements.num_fitting_of([]) == 1


def test_gpus_that_are_shared_hold_parts_of_one_size() -> None:
    half = Resources.model_validate({"gpus": 0.5, "where": [{"when": {"width": 2}, "gpus": 2}]})
    placements = Placements(half, [Node(16, 4)])
    assert placements.foreseen == (2, 8)
    assert room(placements, *4 * [(SMALL, None)]).admits(LARGE)
    assert not room(placements, *5 * [(SMALL, None)]).admits(LARGE)
    assert room(placements, (LARGE, None), *3 * [(SMALL, None)]).admits(SMALL)
    assert not room(placements, (LARGE, None), *4 * [(SMALL, None)]).admits(SMALL)


def test_memory_is_that_of_those_that_ask_for_the_same() -> None:
    placements = Placements(resources(cpus=2), [Node(4, memory_mib=4000)])
    line = placements.measured(placements.of(LARGE), Footprint(2500.0))
    assert line is not None and line.startswith("1 to 4 trials at a time: 4 with 4 cores; where width is 2, 1 with")
    assert placements.measured(placements.of(SMALL), Footprint(500.0)) is None
    assert room(placements, (SMALL, None)).admits(LARGE) and not room(placements, (LARGE, None)).admits(LARGE)
    assert not room(placements, *3 * [(SMALL, None)]).admits(LARGE), "main memory is counted for all of them"


STUDY = """
name: s
trial: {kind: command, run: "true {lr} {width}"}
space: {lr: {grid: [1, 2, 3]}, width: {grid: [1, 2]}}
search: {kind: grid}
budget: {trials: 6, steps: 10}
confirm: {settings: 0, recommended: false}
resources: {where: [{when: {width: 2}, WIDE}]}
"""


class Ended(runner.RayTrials):
    """Trainings are where they were put."""

    def __init__(self, where: dict[str, str]) -> None:
        super().__init__()
        self.where = where

    def node_id(self, trial_id: str) -> str | None:
        return self.where.get(trial_id)


class Watching:
    """A view that sees nothing."""

    def started(self, job: Job) -> None:
        """As views do."""

    def finished(self, result: object) -> None:
        """As views do."""


class Run:
    """A study of which no training really runs."""

    def __init__(self, folder: Path, wide: str, nodes: list[Node], where: dict[str, str]) -> None:
        loaded = validate(yaml_source.parse(STUDY.replace("WIDE", wide), "s.yaml"))
        self.session = StudySession(loaded, folder, 16)
        options = RunOptions(folder, "score", loaded.study.monitor, True, "none", own=loaded.study.own)
        placements = Placements(loaded.study.resources, nodes)
        self.searcher = runner._LedgerSearcher(self.session, options, placements, Watching(), None, Ended(where))

    def start(self, trial_id: str) -> dict | str | None:
        return self.searcher.suggest(trial_id)

    def end(self, trial_id: str) -> None:
        (job,) = self.searcher._jobs[trial_id].values()
        row = dataclasses.replace(crashed_result(job, self.searcher._options, ""), num_steps=1)
        report = {REPORTS_KEY: [TrialReport(job.trial_id, result=row, is_last=True)]}
        self.searcher.on_trial_complete(trial_id, report)


def names(suggested: dict | str | None) -> list[tuple[str, int, float]]:
    """Name and threads of a training, and what Ray is asked for."""
    assert isinstance(suggested, dict), suggested
    return [(job.trial_id, job.num_threads, suggested[runner.SHARE_KEY]["CPU"]) for job in suggested[JOBS_KEY]]


def test_a_study_goes_on_in_its_order_and_never_stops(tmp_path) -> None:
    run = Run(tmp_path, "cpus: 2", [Node(2)], {})
    with run.session:
        assert names(run.start("a")) == [("0000", 1, 1)]
        assert run.start("b") is None, "the large one waits, and nothing is asked for ahead"
        assert len(run.session._ledger.asks) == 2
        run.end("a")
        assert names(run.start("b")) == [("0001", 2, 2)] and run.start("c") is None
        run.end("b")
        for number in range(2, 6):
            (told,) = names(run.start(str(number)))
            assert told == (f"{number:04d}", number % 2 + 1, number % 2 + 1)
            run.end(str(number))
        assert run.start("d") == runner.Searcher.FINISHED and run.session.done


def test_more_is_asked_for_where_another_node_is_free_and_a_run_takes_up_what_waited(tmp_path) -> None:
    nodes = [Node(2, node_id="a"), Node(1, node_id="b", features=FAST)]
    run = Run(tmp_path, "node_with: [fast]", nodes, {"0": "a", "1": "b", "2": "a"})
    with run.session:
        assert names(run.start("0"))[0][0] == "0000" and names(run.start("1"))[0][0] == "0001"
        assert names(run.start("2"))[0][0] == "0002"
        assert run.start("3") is None and len(run.session._ledger.asks) == 3, "all are full"
        run.end("0")
        assert names(run.start("4"))[0][0] == "0004", "it goes past 0003, which waits for b"
        run.end("1")
        assert names(run.start("5"))[0][0] == "0003"
    again = Run(tmp_path, "node_with: [fast]", nodes, {})
    with again.session:
        begun = [names(again.start(str(number)))[0][0] for number in range(2)]
        assert begun == ["0002", "0003"] and again.start("2") is not None


def test_labels_and_resources_go_by_the_settings() -> None:
    placements = Placements(resources(node_with=["fast", "zone=a"]), [Node(2)])
    assert placements.of(SMALL).node_needs == ({}, {})
    assert placements.of(LARGE).node_needs == ({"fast": 0.001}, {"zone": "a"})
