"""What runs next: exploration, seeds of a setting, confirmation, resuming, extending, and running out of time."""

import dataclasses
import itertools
import math
from pathlib import Path

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from slr_models.errors import ResultsError, SettingError
from sweep import store, yaml_source
from sweep.analysis.answer.recommend import recommend
from sweep.analysis.region.evidence import Evidence
from sweep.analysis.trials.tried import space_of
from sweep.boundary.edges import edges
from sweep.forensics import allowance
from sweep.records import EvalRecord, Outcome, StepRecord, TrialResult
from sweep.running.continuing import with_trials
from sweep.running.course import FRESH_SEED_OFFSET
from sweep.running.job import Job, RunOptions
from sweep.running.judged import crashed_result
from sweep.running.session import StudySession
from sweep.store import wishes
from sweep.store.prior import Carried, CarriedOver, read_prior
from sweep.study import LoadedStudy, validate

TEXT = """
name: s
model: {kind: baseline, width: 0.0625}
data: {kind: synthetic}
space: {training.optimizer.lr: {loguniform: [1e-4, 1]}}
search: {kind: random, seed: 3}
budget: {trials: 6, steps: 10}
confirm: {settings: 1, seeds: 3, recommended: false}
"""

EDGE = TEXT.replace("trials: 6", "trials: 12").replace(", recommended: false", "")
SAFE = EDGE + "safety: {p_stable: 0.9}\n"
"""A study whose exploration shows an edge, at a learning rate of 0.05, so that a safe setting can be told.

Twelve trainings cannot justify more than 13/14.
"""

SIZES = EDGE.replace("space: {", "space: {model.width: {grid: [0.0625, 0.125, 0.25]}, ").replace(
    "trials: 12", "trials: 24"
)


def load(text: str = TEXT) -> LoadedStudy:
    return validate(yaml_source.parse(text, "s.yaml"))


def begin(tmp_path, text: str = TEXT, **more) -> StudySession:
    loaded = load(text)
    session = StudySession(loaded, tmp_path, 64, **more)
    content = loaded.study.model_dump(mode="json", by_alias=True)
    store.write_yaml(tmp_path / "study.yaml", {**content, "provenance": {}})
    return session


def outcome(job: Job, tmp_path, *, stable: bool | None = None, wall_s: float = 1.0) -> TrialResult:
    """What a training with this setting comes to: stable below a learning rate of 0.05."""
    lr = float(job.settings["training.optimizer.lr"])
    stable = lr < 0.05 if stable is None else stable
    # Margins grow with the distance to the edge, and the result gets better up to it, as they do.
    margin = min(abs(math.log10(lr / 0.05)) / 3, 1.0) + 0.01
    wer = min(0.2 + 0.1 * abs(math.log10(lr / 0.04)), 0.9)
    blank = crashed_result(job, RunOptions(tmp_path, "wer", None, True, "none"), "")
    return dataclasses.replace(
        blank,
        verdict=Outcome.STABLE if stable else Outcome.DIVERGED_LOSS,
        reason="made up",
        objective=wer if stable else 2.5,
        margin=-margin if stable else margin,
        stop_step=None if stable else 5,
        num_steps=10 if stable else 5,
        wer=wer,
        val_loss=1.0,
        l_const=2.0,
        wall_s=wall_s,
    )


def run_all(session: StudySession, tmp_path, limit: int = 100) -> list[Job]:
    jobs = []
    while (job := session.next_job()) is not None and len(jobs) < limit:
        jobs.append(job)
        session.tell(outcome(job, tmp_path))
    return jobs


def test_it_explores_then_confirms_the_best_with_fresh_seeds_then_is_done(tmp_path) -> None:
    session = begin(tmp_path)
    assert session.num_planned == 9 and not session.done
    jobs = run_all(session, tmp_path)
    assert [j.phase for j in jobs] == ["explore"] * 6 + ["confirm"] * 3
    assert [j.trial_id for j in jobs] == [f"{n:04d}" for n in range(9)]
    confirm = jobs[6:]
    assert [j.seed for j in confirm] == [FRESH_SEED_OFFSET + k for k in range(3)]
    assert len({j.group for j in confirm}) == 1
    assert confirm[0].settings == jobs[confirm[0].group].settings
    assert confirm[0].config.training.optimizer.lr == confirm[0].settings["training.optimizer.lr"] < 0.05
    assert session.done and session.next_job() is None
    session.close()
    assert len(store.read_trials(tmp_path)) == 9


def test_all_seeds_of_a_setting_make_one_result_and_one_bad_seed_makes_it_unstable(tmp_path) -> None:
    session = begin(tmp_path, TEXT + "repeats: 2\n")
    first, second = session.next_job(), session.next_job()
    assert first.settings == second.settings and (first.seed, second.seed) == (0, 1) and first.group == second.group
    session.tell(outcome(first, tmp_path, stable=True))
    session.tell(outcome(second, tmp_path, stable=False))
    storage = JournalStorage(JournalFileBackend(str(tmp_path / "optuna.journal")))
    trial = optuna.load_study(study_name="s", storage=storage).trials[0]
    assert trial.user_attrs["stable"] is False and trial.value == 2.5
    assert trial.user_attrs["trials"] == "0000, 0001"
    jobs = run_all(session, tmp_path)
    assert sum(j.phase == "explore" for j in jobs) == 4
    assert all(j.group != 0 for j in jobs if j.phase == "confirm"), "it is never confirmed as the best"
    session.close()


def test_a_training_that_got_other_settings_on_the_way_tells_the_search_nothing_of_those_it_drew(tmp_path) -> None:
    session = begin(tmp_path, TEXT + "scheduler: {kind: pbt}\n")
    first, second = session.next_job(), session.next_job()
    moved = {"training.optimizer.lr": 0.01}
    result = outcome(first, tmp_path, stable=True)
    store.write_evals(tmp_path, first.trial_id, [EvalRecord(4, 2.0, 7, 0, 0, 10, 0.5, 0.5, 1.0)])
    session.tell(dataclasses.replace(result, settings=moved, settings_changed_at_step=4))
    session.tell(outcome(second, tmp_path))
    storage = JournalStorage(JournalFileBackend(str(tmp_path / "optuna.journal")))
    changed, kept = optuna.load_study(study_name="s", storage=storage).trials[:2]
    assert changed.state.name == "PRUNED" and changed.value == 0.7 and "stable" not in changed.user_attrs
    assert kept.state.name == "COMPLETE" and "stable" in kept.user_attrs
    session.close()


def test_the_records_of_a_training_that_was_ended_from_without_become_tables(tmp_path) -> None:
    session = begin(tmp_path)
    job = session.next_job()
    store.record_stream(tmp_path, "steps", job.trial_id).write([StepRecord(1, 2.0), StepRecord(2, 1.0)])
    session.tell(outcome(job, tmp_path))
    assert [path.name for path in (tmp_path / "steps").iterdir()] == [f"{job.trial_id}.parquet"]
    assert [r.loss for r in store.load_steps(tmp_path, job.trial_id)] == [2.0, 1.0]
    session.close()


@pytest.mark.parametrize("verdict", [Outcome.TOO_SHORT, Outcome.UNJUDGED, Outcome.CALIBRATING])
def test_an_open_end_tells_the_search_neither_that_it_was_stable_nor_that_it_failed(tmp_path, verdict) -> None:
    session = begin(tmp_path, TEXT + "repeats: 2\n")
    jobs = [session.next_job() for _ in range(4)]
    for job, ends in zip(jobs, (verdict, Outcome.STABLE, verdict, Outcome.DIVERGED_LOSS), strict=True):
        result = outcome(job, tmp_path, stable=ends is Outcome.STABLE)
        if ends is verdict:
            store.write_evals(tmp_path, job.trial_id, [EvalRecord(4, 2.0, 7, 0, 0, 10, 0.5, 0.5, 1.0)])
            result = dataclasses.replace(result, verdict=verdict, objective=0.7, margin=math.nan, stop_step=None)
        session.tell(result)
    storage = JournalStorage(JournalFileBackend(str(tmp_path / "optuna.journal")))
    left_open, failed = optuna.load_study(study_name="s", storage=storage).trials[:2]
    assert left_open.state.name == "PRUNED" and left_open.value == 0.7 and "stable" not in left_open.user_attrs
    assert failed.user_attrs["stable"] is False and failed.value == 2.5, "one failed seed is enough"
    session.close()


def test_a_fresh_seed_of_which_nobody_can_tell_rules_no_setting_out(tmp_path) -> None:
    session = begin(tmp_path)
    seen = []
    while (job := session.next_job()) is not None and len(seen) < 20:
        seen.append(job)
        result = outcome(job, tmp_path)
        if job.phase == "confirm":
            result = dataclasses.replace(result, verdict=Outcome.TOO_SHORT, margin=math.nan)
        session.tell(result)
    assert [job.phase for job in seen] == ["explore"] * 6 + ["confirm"] * 3
    assert len({job.group for job in seen[6:]}) == 1, "no other setting takes its place"
    session.close()


def test_a_setting_that_fails_its_confirmation_gives_way_to_the_next_best(tmp_path) -> None:
    session = begin(tmp_path)
    for _ in range(6):
        job = session.next_job()
        session.tell(outcome(job, tmp_path))
    first = [session.next_job() for _ in range(3)]
    for job in first:
        session.tell(outcome(job, tmp_path, stable=False))
    second = session.next_job()
    assert second.phase == "confirm" and second.group != first[0].group
    session.tell(outcome(second, tmp_path))
    run_all(session, tmp_path)
    assert session.done
    assert sum(r.phase == "confirm" for r in session.results) == 6
    session.close()


RACE = TEXT.replace("settings: 1, seeds: 3", "settings: 2, seeds: 2, max_trainings: 20")
"""The two best settings race, for ten seeds each at most."""


def raced(session: StudySession, job: Job, tmp_path, gap: float) -> TrialResult:
    """Fresh seeds differ by one point, those of the group with the higher learning rate are better by the gap."""
    result = outcome(job, tmp_path)
    if job.phase == "confirm":
        rates = sorted(a.settings["training.optimizer.lr"] for a in session._ledger.asks if a.phase == "confirm")
        is_hotter = job.settings["training.optimizer.lr"] == rates[-1]
        luck = (0.0, 0.011, 0.004, 0.009, 0.002)[(job.seed + 3 * is_hotter) % 5]
        result = dataclasses.replace(result, wer=0.3 + luck - gap * is_hotter)
    return result


def race(session: StudySession, tmp_path, gap: float, lanes: int = 1) -> list[Job]:
    """Runs the study with so many lanes, which end one after another."""
    seen, running = [], []
    while True:
        while len(running) < lanes and (job := session.next_job()) is not None:
            seen.append(job)
            running.append(job)
        if not running:
            return seen
        job = running.pop(0)
        session.tell(raced(session, job, tmp_path, gap))


@pytest.mark.parametrize(("gap", "num"), [(0.1, 6), (0.005, 20)])
def test_the_leaders_race_until_one_is_better_beyond_chance_or_the_budget_is_spent(tmp_path, gap, num) -> None:
    session = begin(tmp_path, RACE)
    assert session.num_planned == 6 + 20
    confirming = [job for job in race(session, tmp_path, gap) if job.phase == "confirm"]
    assert len(confirming) == num and session.num_planned == 6 + num
    assert [j.seed for j in confirming] == [FRESH_SEED_OFFSET + k // 2 for k in range(num)], "both over each seed"
    assert len({j.group for j in confirming[::2]}) == 1 == len({j.group for j in confirming[1::2]})
    session.close()
    again = begin(tmp_path, RACE)
    assert again.done
    again.close()


def test_leaders_are_not_the_same_place_twice(tmp_path) -> None:
    rates = "search: {kind: random, try_first: [{lr: 1e-3}, {lr: 1.1e-3}, {lr: 1.2e-3}, {lr: 3e-2}]}"
    session = begin(
        tmp_path, RACE.replace("search: {kind: random, seed: 3}", rates.replace("lr:", "training.optimizer.lr:"))
    )
    leaders = set()
    while (job := session.next_job()) is not None:
        lr = job.settings["training.optimizer.lr"]
        if job.phase == "confirm":
            leaders.add(lr)
        session.tell(dataclasses.replace(outcome(job, tmp_path), wer=0.3 + abs(math.log10(lr / 1e-3))))
    assert min(leaders) == 1e-3 and max(leaders) > 2e-3, "one of the next place, although 1.1e-3 is better"
    session.close()


def test_equal_leaders_end_the_race(tmp_path) -> None:
    session = begin(tmp_path, RACE)
    confirming = 0
    while (job := session.next_job()) is not None:
        confirming += job.phase == "confirm"
        session.tell(dataclasses.replace(outcome(job, tmp_path), wer=0.3))
    assert 4 <= confirming < 20
    session.close()


@pytest.mark.parametrize("num_told", [7, 9, 10, 11])
def test_a_race_that_a_kill_cut_short_goes_on_from_what_was_told(tmp_path, num_told) -> None:
    whole = begin(tmp_path / "whole", RACE)
    wanted = [(j.group, j.seed, j.phase) for j in race(whole, tmp_path, 0.1)]
    whole.close()
    session = begin(tmp_path / "killed", RACE)
    for _ in range(num_told):
        job = session.next_job()
        session.tell(raced(session, job, tmp_path, 0.1))
    session.next_job()
    session.close()
    again = begin(tmp_path / "killed", RACE)
    race(again, tmp_path, 0.1)
    assert sorted((r.group, r.seed, r.phase) for r in again.results) == sorted(wanted)
    again.close()


def test_no_lane_is_idle_while_a_round_ends(tmp_path) -> None:
    session = begin(tmp_path, RACE)
    while session.num_waiting and (job := session.next_job()).phase == "explore":
        session.tell(raced(session, job, tmp_path, 0.005))
    jobs = [job, *(session.next_job() for _ in range(3))]
    assert [j.seed - FRESH_SEED_OFFSET for j in jobs] == [0, 0, 1, 1] and session.next_job() is None
    for told in (jobs[0], jobs[1]):
        session.tell(raced(session, told, tmp_path, 0.005))
    assert session.num_waiting == 2, "the third round may start while the second one is under way"
    third = [session.next_job(), session.next_job()]
    assert [j.seed - FRESH_SEED_OFFSET for j in third] == [2, 2] and session.next_job() is None
    session.tell(raced(session, jobs[2], tmp_path, 0.005))
    assert session.next_job() is None, "no more than a round ahead"
    session.close()


def test_lanes_spend_no_more_than_the_budget_of_a_race(tmp_path) -> None:
    session = begin(tmp_path, RACE)
    jobs = race(session, tmp_path, 0.005, lanes=7)
    assert sum(j.phase == "confirm" for j in jobs) == 20
    session.close()


def test_a_leader_that_fails_gives_way_at_once(tmp_path) -> None:
    session = begin(tmp_path, RACE.replace("seeds: 2, max_trainings: 20", "seeds: 3"))
    explored_first(session, tmp_path, 6)
    first, second = session.next_job(), session.next_job()
    session.tell(outcome(first, tmp_path, stable=False))
    spare = session.next_job()
    assert spare.group not in (first.group, second.group) and spare.seed == FRESH_SEED_OFFSET
    for job in (second, spare):
        session.tell(outcome(job, tmp_path))
    jobs = run_all(session, tmp_path)
    assert {j.group for j in jobs} == {second.group, spare.group} and len(jobs) == 4, "its other seeds are not trained"
    session.close()


def test_a_longer_race_goes_on_where_the_shorter_one_ended(tmp_path) -> None:
    short = begin(tmp_path, RACE.replace("max_trainings: 20", "max_trainings: 4"))
    assert sum(j.phase == "confirm" for j in race(short, tmp_path, 0.005)) == 4
    short.close()
    longer = begin(tmp_path, RACE)
    assert [j.seed for j in race(longer, tmp_path, 0.005)][:2] == [FRESH_SEED_OFFSET + 2] * 2
    longer.close()


def test_a_race_has_room_for_the_seeds_of_all(tmp_path) -> None:
    with pytest.raises(SettingError, match=r"confirm.max_trainings is 5, but 3 fresh seeds of 2 settings take 6"):
        load(TEXT.replace("seeds: 3, recommended: false", "seeds: 3, max_trainings: 5"))


def edge_of(results_dir: Path) -> float:
    trials = store.read_trials(results_dir)
    model = Evidence(trials, space_of({"training.optimizer.lr": {"loguniform": [1e-4, 1]}})).model
    (edge,) = edges(model, "training.optimizer.lr", {})
    return edge.value


def explored_first(session: StudySession, tmp_path, num: int = 12) -> list[Job]:
    jobs = [session.next_job() for _ in range(num)]
    for job in jobs:
        assert job.phase == "explore"
        session.tell(outcome(job, tmp_path))
    return jobs


def test_the_recommended_setting_is_confirmed_too_although_the_search_never_tried_it(tmp_path) -> None:
    session = begin(tmp_path, SAFE)
    assert session.num_planned == 18
    explored = explored_first(session, tmp_path)
    session.write_trials()
    edge = edge_of(tmp_path)
    confirming = run_all(session, tmp_path)
    assert [j.phase for j in confirming] == ["confirm"] * 6
    assert sorted(j.seed for j in confirming) == sorted([FRESH_SEED_OFFSET + k for k in range(3)] * 2)
    safe, best = confirming[0], confirming[3]
    assert len({j.group for j in confirming}) == 2 and best.group < 12 and safe.group == 12, "a group of its own"
    lr = safe.settings["training.optimizer.lr"]
    assert lr not in [j.settings["training.optimizer.lr"] for j in explored]
    assert edge / 100 < lr <= edge / 3
    assert safe.config.training.optimizer.lr == lr and session.settings(12) == safe.settings
    assert session.num_planned == 18 == len(session.results) and session.done
    optuna_study = optuna.load_study(
        study_name="s", storage=JournalStorage(JournalFileBackend(str(tmp_path / "optuna.journal")))
    )
    assert len(optuna_study.trials) == 12, "the search hears of its own settings alone"
    session.close()


@pytest.mark.parametrize("num_told", [0, 2, 5])
def test_a_study_killed_while_it_confirms_goes_on_with_the_same_recommended_setting(tmp_path, num_told) -> None:
    whole = begin(tmp_path / "whole", SAFE)
    wanted = [(j.trial_id, j.group, j.seed, j.phase, j.settings) for j in run_all(whole, tmp_path)]
    whole.close()
    session = begin(tmp_path / "killed", SAFE)
    explored_first(session, tmp_path)
    under_way = [session.next_job() for _ in range(3)] if num_told < 4 else []
    for job in under_way[:num_told]:
        session.tell(outcome(job, tmp_path))
    while not under_way and len(session.results) < 12 + num_told:
        session.tell(outcome(session.next_job(), tmp_path))
    session.close()
    again = begin(tmp_path / "killed", SAFE)
    run_all(again, tmp_path)
    got = sorted((r.trial_id, r.group, r.seed, r.phase, r.settings) for r in again.results)
    assert got == sorted(wanted)
    assert again.done and again.num_planned == 18
    again.close()


@pytest.mark.parametrize("num_asks", [13, 15, 16])
def test_confirmations_that_a_kill_cut_short_are_asked_for(tmp_path, num_asks) -> None:
    session = begin(tmp_path, SAFE)
    explored_first(session, tmp_path)
    while session.next_job() is not None:
        pass
    wanted = {(a.group, a.seed) for a in session._ledger.asks[12:]}
    assert len(wanted) == 6
    session.close()
    ledger = tmp_path / "ledger.jsonl"
    lines = ledger.read_bytes().splitlines(keepends=True)
    ledger.write_bytes(b"".join(lines[: 12 + num_asks]))  # twelve results among them
    again = begin(tmp_path, SAFE)
    run_all(again, tmp_path)
    assert {(r.group, r.seed) for r in again.results if r.phase == "confirm"} == wanted
    assert len(again.results) == 18
    again.close()


def test_an_unsafe_fresh_seed_sends_for_the_next_safe_setting_and_not_for_ever(tmp_path) -> None:
    session = begin(tmp_path, SAFE)
    explored_first(session, tmp_path)
    tried: dict[int, float] = {}
    while (job := session.next_job()) is not None:
        recommended = next(a.recommended for a in session._ledger.asks if a.trial_id == job.trial_id)
        if recommended:
            tried[job.group] = float(job.settings["training.optimizer.lr"])
        # Each recommended setting fails in one seed of three; the best one holds.
        fails = recommended and job.seed == FRESH_SEED_OFFSET + 1
        session.tell(outcome(job, tmp_path, stable=not fails))
    # A tried setting that was confirmed already may be next in line: then nothing is left to train.
    assert 1 <= len(tried) <= 3 and len(set(tried.values())) == len(tried)
    assert session.done
    session.close()
    again = begin(tmp_path, SAFE)
    assert again.done and again.next_job() is None
    again.close()


def test_a_recommended_setting_that_crashes_is_not_tried_for_ever(tmp_path) -> None:
    session = begin(tmp_path, SAFE)
    explored_first(session, tmp_path)
    count = 0
    while (job := session.next_job()) is not None:
        count += 1
        assert count <= 18
        session.tell(crashed_result(job, RunOptions(tmp_path, "wer", None, True, "none"), "out of memory"))
    groups = {r.group for r in session.results if r.phase == "confirm"}
    assert len(groups) <= 6 and count <= 18, "each of the two with its two spares"
    session.close()


def test_an_extended_study_counts_the_settings_of_the_search_past_a_recommended_one(tmp_path) -> None:
    session = begin(tmp_path, SAFE)
    run_all(session, tmp_path)
    session.close()
    _, again = extend(tmp_path, "+3", SAFE)
    jobs = [again.next_job() for _ in range(3)]
    assert [(j.phase, j.group) for j in jobs] == [("explore", n) for n in (13, 14, 15)]
    again.tell(outcome(jobs[1], tmp_path))
    again.close()  # killed on the way, with results out of order
    _, again = extend(tmp_path, None, SAFE)
    run_all(again, tmp_path)
    fresh = begin(tmp_path / "whole", SAFE.replace("trials: 12", "trials: 15"))
    whole = [r.settings for r in explored_results(fresh, tmp_path)]
    assert [r.settings for r in sorted(again.results, key=lambda r: r.number) if r.phase == "explore"] == whole
    storage = JournalStorage(JournalFileBackend(str(tmp_path / "optuna.journal")))
    told = optuna.load_study(study_name="s", storage=storage).trials
    assert [t.params for t in told] == [{"lr": one["training.optimizer.lr"]} for one in whole]
    by_settings = {str({"lr": r.settings["training.optimizer.lr"]}): r for r in again.results if r.phase == "explore"}
    assert all(t.value == by_settings[str(t.params)].objective for t in told), "each result reached its own setting"
    assert again.done
    again.close()
    fresh.close()


def explored_results(session: StudySession, tmp_path) -> list[TrialResult]:
    run_all(session, tmp_path)
    return sorted((r for r in session.results if r.phase == "explore"), key=lambda r: r.number)


def test_a_setting_with_one_bad_seed_of_two_is_neither_best_nor_safe(tmp_path) -> None:
    text = SAFE.replace("trials: 12", "trials: 24") + "repeats: 2\n"
    session = begin(tmp_path, text)
    doubtful = set()
    while (job := session.next_job()) is not None:
        # In the middle of the stable range every setting fails in one of its seeds.
        lr = float(job.settings["training.optimizer.lr"])
        fails = job.phase == "explore" and job.seed == 1 and 1e-3 < lr < 1e-2
        if fails:
            doubtful.add(job.group)
        session.tell(outcome(job, tmp_path, stable=False if fails else None))
    assert doubtful
    assert not doubtful & {r.group for r in session.results if r.phase == "confirm"}
    session.close()


def test_the_end_that_a_search_finds_holds_until_the_study_changes(tmp_path) -> None:
    search = "search: {kind: stability, mode: map, num_startup: 10, stop_accuracy: 0.8}"
    text = SAFE.replace("search: {kind: random, seed: 3}", search).replace("trials: 12", "trials: 30")
    session = begin(tmp_path, text)
    jobs = run_all(session, tmp_path)
    explored = sum(j.phase == "explore" for j in jobs)
    assert 10 <= explored < 30 and [j.phase for j in jobs[explored:]] == ["confirm"] * (len(jobs) - explored)
    assert "the map is known" in session.stop_reason and session.done
    session.close()
    again = begin(tmp_path, text)
    assert again.done and "the map is known" in again.stop_reason and again.num_planned == len(jobs)
    again.close()
    _, again = extend(tmp_path, "40", text)
    assert again.done and len(again.results) == len(jobs), "a longer budget alone does not make the map less known"
    again.close()
    again = begin(tmp_path, text.replace("stop_accuracy: 0.8", "stop_accuracy: 1"))
    assert again.stop_reason is None and again.next_job().phase == "explore", "a finer map is another matter"
    again.close()


def test_full_size_is_tested_below_and_above_the_predicted_edge_once_all_is_confirmed(tmp_path) -> None:
    text = SIZES + "full_size: {path: model.width, target: 1.0, trainings: 3}\nsafety: {lr_factor: 4}\n"
    session = begin(tmp_path, text)
    assert session.num_planned == 24 + 6 + 3
    jobs = run_all(session, tmp_path)
    assert [j.phase for j in jobs[-4:]] == ["confirm"] + ["full_size"] * 3
    safe, beyond, more = jobs[-3:]
    assert all(j.settings["model.width"] == 1.0 == j.config.model.width for j in (safe, beyond, more))
    assert safe.group == more.group != beyond.group and safe.seed == beyond.seed == more.seed - 1
    low, high = (j.settings["training.optimizer.lr"] for j in (safe, beyond))
    assert high / low == pytest.approx(12, rel=0.02), "edge / 4 and 3 x edge"
    assert low < 0.05 < high, "the made-up edge does not move with the width"
    assert session.done and session.full_size_problem is None
    session.close()
    again = begin(tmp_path, text)
    assert again.done, "it is tested once"
    again.close()
    more_of_it = begin(tmp_path, text.replace("trainings: 3", "trainings: 5"))
    later = run_all(more_of_it, tmp_path)
    assert [(j.group, j.seed - FRESH_SEED_OFFSET) for j in later] == [(safe.group, 2), (safe.group, 3)]
    more_of_it.close()


def test_another_full_size_is_tested_anew(tmp_path) -> None:
    text = SIZES + "full_size: {path: model.width, target: 1.0, trainings: 2}\n"
    session = begin(tmp_path, text)
    first = run_all(session, tmp_path)
    session.close()
    again = begin(tmp_path, text.replace("target: 1.0", "target: 0.5"))
    assert not again.done and again.num_planned == len(first) + 2
    jobs = run_all(again, tmp_path)
    assert [(j.phase, j.settings["model.width"]) for j in jobs] == [("full_size", 0.5)] * 2
    assert again.num_planned == len(again.results) == len(first) + 2
    again.close()
    back = begin(tmp_path, text)
    assert back.done, "those at the first size are still there"
    back.close()


def test_the_test_above_the_edge_keeps_to_the_predicted_edge_whatever_the_safety_rule(tmp_path) -> None:
    text = SIZES + "full_size: {path: model.width, target: 1.0, trainings: 1}\n"
    session = begin(tmp_path, text)
    safe = run_all(session, tmp_path)[-1].settings
    session.close()
    again = begin(tmp_path, text.replace("trainings: 1", "trainings: 2") + "safety: {lr_factor: 10}\n")
    beyond = next(j.settings for j in run_all(again, tmp_path) if j.phase == "full_size")
    # The first lies 3 (the default then) below the edge and the second 3 above; the edge may be known better by now.
    assert beyond["training.optimizer.lr"] / safe["training.optimizer.lr"] == pytest.approx(9, rel=0.3)
    assert beyond == {**safe, "training.optimizer.lr": beyond["training.optimizer.lr"]}
    again.close()


def test_a_kill_between_the_tests_at_full_size_changes_none_of_them(tmp_path) -> None:
    text = SIZES + "full_size: {path: model.width, target: 1.0, trainings: 3}\n"
    session = begin(tmp_path, text)
    jobs = run_all(session, tmp_path)
    session.close()
    ledger = tmp_path / "ledger.jsonl"
    lines = ledger.read_bytes().splitlines(keepends=True)
    first = next(i for i, line in enumerate(lines) if b"full_size" in line)
    ledger.write_bytes(b"".join(lines[: first + 1]))
    (tmp_path / "trials.parquet").unlink()  # As the killed run would have left it: none of the later results is in it.
    again = begin(tmp_path, text)
    later = run_all(again, tmp_path)
    assert [(j.trial_id, j.group, j.seed, j.settings) for j in later] == [
        (j.trial_id, j.group, j.seed, j.settings) for j in jobs[-3:]
    ]
    again.close()


def test_an_edge_that_cannot_be_predicted_is_said_and_ends_the_study(tmp_path) -> None:
    text = SIZES + "full_size: {path: model.width, target: 1.0, trainings: 2}\n"
    session = begin(tmp_path, text)
    while (job := session.next_job()) is not None:
        session.tell(outcome(job, tmp_path, stable=True))
    assert session.done and not any(r.phase == "full_size" for r in session.results)
    assert "no edge to map" in session.full_size_problem
    session.close()


def test_full_size_waits_for_no_time_that_is_not_left(tmp_path) -> None:
    now = [0.0]
    text = SIZES + "full_size: {path: model.width, target: 1.0, trainings: 2}\n"
    text = text.replace("steps: 10", "steps: 10, wall_time_s: 1000")
    session = begin(tmp_path, text, clock=lambda: now[0])
    phases = []
    while (job := session.next_job()) is not None:
        phases.append(job.phase)
        session.tell(outcome(job, tmp_path, wall_s=1))
        now[0] = 1001.0 if phases.count("full_size") == 1 else now[0] + 1
    assert phases.count("full_size") == 1 and session.done
    session.close()


def test_confirmation_waits_for_the_trials_that_still_run(tmp_path) -> None:
    session = begin(tmp_path)
    jobs = [session.next_job() for _ in range(6)]
    assert session.next_job() is None and not session.done
    for job in jobs[:5]:
        session.tell(outcome(job, tmp_path))
        assert session.next_job() is None
    session.tell(outcome(jobs[5], tmp_path))
    assert session.next_job().phase == "confirm"
    session.close()


def test_a_killed_run_loses_nothing_and_repeats_nothing(tmp_path) -> None:
    session = begin(tmp_path)
    done, under_way = session.next_job(), session.next_job()
    session.tell(outcome(done, tmp_path))
    session.close()  # what the kernel does to the lock of a killed process
    again = begin(tmp_path)
    jobs = run_all(again, tmp_path)
    assert jobs[0].trial_id == under_way.trial_id and jobs[0].settings == under_way.settings
    assert done.trial_id not in [j.trial_id for j in jobs]
    again.write_trials()
    assert len(jobs) == 8 and len(store.read_trials(tmp_path)) == 9
    uninterrupted = begin(tmp_path / "other")
    same = run_all(uninterrupted, tmp_path)
    assert [j.settings for j in same][:6] == [r.settings for r in sorted(again.results, key=lambda r: r.number)][:6]
    again.close()
    uninterrupted.close()


def extend(tmp_path, option: str | None, text: str = TEXT) -> tuple[int, StudySession]:
    loaded = load(text)
    longer = LoadedStudy(with_trials(loaded.study, option, tmp_path), loaded.source)
    session = StudySession(longer, tmp_path, 64)
    content = longer.study.model_dump(mode="json", by_alias=True)
    store.write_yaml(tmp_path / "study.yaml", {**content, "provenance": {}})
    return longer.study.budget.trials, session


def test_a_finished_study_can_be_extended_and_the_same_command_goes_on(tmp_path) -> None:
    session = begin(tmp_path)
    run_all(session, tmp_path)
    session.close()
    target, again = extend(tmp_path, "+4")
    assert target == 10
    session_jobs = [again.next_job() for _ in range(2)]
    again.tell(outcome(session_jobs[0], tmp_path))
    again.close()  # killed on the way
    for option in ("+4", None, "10"):
        target, again = extend(tmp_path, option)
        assert target == 10, "an unfinished study goes on to its present number"
        again.close()
    _, again = extend(tmp_path, "+4")
    run_all(again, tmp_path)
    assert len({str(r.settings) for r in again.results if r.phase == "explore"}) == 10
    again.close()
    target, again = extend(tmp_path, "12")
    assert target == 12
    again.close()


def test_wrong_numbers_of_trials_are_told(tmp_path) -> None:
    study = load().study
    for wrong in ("", "+", "0", "-3", "many", "1.5", "\u00b2", "9" * 5001, "+" + "9" * 400, "1" + "0" * 10):
        with pytest.raises(SettingError, match="give a number of trials"):
            with_trials(study, wrong, tmp_path)
    with pytest.raises(SettingError, match="200000 trials are more than a study can have"):
        with_trials(study, "200000", tmp_path)
    with pytest.raises(SettingError, match="too few for one setting with repeats: 3"):
        with_trials(load(TEXT + "repeats: 3\n").study, "2", tmp_path)


def test_an_extended_study_confirms_its_new_best(tmp_path) -> None:
    session = begin(tmp_path, TEXT.replace("settings: 1", "settings: 1"))
    jobs = run_all(session, tmp_path)
    first = jobs[-1].group
    session.close()
    _, again = extend(tmp_path, "+3")
    confirmed = set()
    while (job := again.next_job()) is not None:
        result = outcome(job, tmp_path, stable=True)
        if job.phase == "explore":
            result = dataclasses.replace(result, wer=0.01, objective=0.01)
        else:
            confirmed.add(job.group)
        again.tell(result)
    assert confirmed and first not in confirmed
    again.close()


def test_the_seeds_of_a_setting_that_a_kill_cut_short_are_asked_for(tmp_path) -> None:
    session = begin(tmp_path, TEXT + "repeats: 3\n")
    session.next_job()
    session.close()
    ledger = tmp_path / "ledger.jsonl"
    ledger.write_bytes(ledger.read_bytes().splitlines(keepends=True)[0])
    again = begin(tmp_path, TEXT + "repeats: 3\n")
    jobs = run_all(again, tmp_path)
    assert sorted(j.seed for j in jobs if j.group == 0 and j.phase == "explore") == [0, 1, 2]
    assert again.done
    again.close()


def test_steps_of_a_budget_in_epochs_follow_each_trials_batch_size(tmp_path) -> None:
    text = TEXT.replace("steps: 10", "epochs: 2").replace(
        "space: {", "space: {training.batch_size: {choice: [4, 16]}, "
    )
    session = begin(tmp_path, text)
    steps = {job.config.training.batch_size: job.max_steps for job in (session.next_job() for _ in range(6))}
    assert steps == {4: 32, 16: 8}
    session.close()


def test_a_study_goes_on_with_other_ranges(tmp_path) -> None:
    narrow = EDGE.replace("[1e-4, 1]", "[1e-3, 1]").replace("random", "stability")
    wide = narrow.replace("[1e-3, 1]", "[1e-4, 0.2]")
    with begin(tmp_path, narrow) as session:
        first = [j for j in run_all(session, tmp_path) if j.phase == "explore"]
    lr = "training.optimizer.lr"
    held = [j for j in first if j.settings[lr] <= 0.2]
    assert 0 < len(held) < len(first) == 12
    with begin(tmp_path, wide) as session:
        assert f"{len(held)} of 12 explored trials lie in them, and count" in " ".join(session.notes)
        assert session.num_planned >= 24 - len(held)
        later = [j for j in run_all(session, tmp_path) if j.phase == "explore"]
        assert len(later) == 12 - len(held), "those outside do not count"
        assert all(1e-4 <= j.settings[lr] <= 0.2 for j in later)
        heard = session._bridge.study.trials  # type: ignore[union-attr]  # a study with a search
        assert [t.params["lr"] for t in heard] == [j.settings[lr] for j in [*held, *later]]
        # And back again: all of the first count, of the later ones those that lie within.
    with begin(tmp_path, narrow) as session:
        assert session.done or all(j.phase != "explore" for j in run_all(session, tmp_path))
    table = store.read_trials(tmp_path)
    evidence = Evidence(table, space_of({lr: {"loguniform": [1e-4, 0.2]}}))
    outside = table[table[lr] > 0.2]
    assert len(evidence.tried) == len(table) - len(outside) and len(outside) > 0


def test_a_training_under_way_outside_of_the_new_ranges_is_left(tmp_path) -> None:
    with begin(tmp_path) as session:
        jobs = [session.next_job() for _ in range(3)]
        session.tell(outcome(jobs[0], tmp_path))  # type: ignore[arg-type]  # there is one
    lr = "training.optimizer.lr"
    high = max(float(j.settings[lr]) for j in jobs if j is not None)
    changed = TEXT.replace("[1e-4, 1]", f"[1e-4, {0.99 * high}]")
    with begin(tmp_path, changed) as session:
        later = [j for j in run_all(session, tmp_path) if j.phase == "explore"]
    assert all(float(j.settings[lr]) < high for j in later)


def test_another_study_is_not_mixed_in(tmp_path) -> None:
    begin(tmp_path).close()
    with pytest.raises(ResultsError, match=r"another version of this study \(changed: space\)"):
        begin(tmp_path, TEXT.replace("space: {", "space: {training.clip.max_norm: {loguniform: [0.1, 10]}, "))
    with pytest.raises(ResultsError, match=r"\(changed: budget\)"):
        begin(tmp_path, TEXT.replace("steps: 10", "steps: 20"))
    with pytest.raises(ResultsError, match=r"\(changed: resources\)"):
        begin(tmp_path, TEXT + "resources: {gpus: 0.5}\n")
    begin(tmp_path, TEXT.replace("trials: 6", "trials: 8") + "resources: {cpus: 2}\n").close()
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "mine.txt").write_text("do not touch")
    with pytest.raises(ResultsError, match="holds no study"):
        begin(tmp_path / "notes")
    assert [p.name for p in (tmp_path / "notes").iterdir()] == ["mine.txt"]


def test_results_without_their_ledger_are_not_started_anew(tmp_path) -> None:
    session = begin(tmp_path)
    run_all(session, tmp_path)
    session.close()
    (tmp_path / "ledger.jsonl").rename(tmp_path.parent / "kept")
    before = (tmp_path / "trials.parquet").read_bytes()
    with pytest.raises(ResultsError, match=r"ledger.jsonl is missing.*restore the file"):
        begin(tmp_path)
    assert (tmp_path / "trials.parquet").read_bytes() == before and not (tmp_path / "ledger.jsonl").exists()


def test_a_training_whose_process_dies_is_tried_once_more(tmp_path) -> None:
    session = begin(tmp_path)
    job = session.next_job()
    assert session.lost(job) is True
    again = session.next_job()
    assert again == job
    assert session.lost(again) is False
    session.close()


def test_time_runs_out_with_the_confirmation_kept_free(tmp_path) -> None:
    now = [0.0]
    text = TEXT.replace("trials: 6", "trials: 100").replace("steps: 10", "steps: 10, wall_time_s: 100")
    session = begin(tmp_path, text, clock=lambda: now[0])
    jobs = []
    while (job := session.next_job()) is not None:
        jobs.append(job)
        now[0] += 10
        session.tell(outcome(job, tmp_path, stable=True, wall_s=10))
    assert [j.phase for j in jobs] == ["explore"] * 6 + ["confirm"] * 3
    assert now[0] <= 100 and session.done
    session.close()
    again = begin(tmp_path, text, clock=lambda: now[0])
    assert again.done and again.next_job() is None, "the limit holds over all runs of a study"
    again.close()


def test_the_time_kept_free_counts_the_recommended_setting(tmp_path) -> None:
    now = [0.0]
    text = SAFE.replace("trials: 12", "trials: 100").replace("steps: 10", "steps: 10, wall_time_s: 200")
    session = begin(tmp_path, text, clock=lambda: now[0])
    jobs = []
    while (job := session.next_job()) is not None:
        jobs.append(job)
        now[0] += 10
        session.tell(outcome(job, tmp_path, wall_s=10))
    assert [j.phase for j in jobs] == ["explore"] * 13 + ["confirm"] * 6
    assert now[0] <= 200 and "wall_time_s" in session.stop_reason
    session.close()


def test_the_time_kept_free_counts_all_lanes_and_the_present_speed(tmp_path) -> None:
    now = [0.0]
    text = TEXT.replace("trials: 6", "trials: 100").replace("steps: 10", "steps: 10, wall_time_s: 200")
    session = begin(tmp_path, text, clock=lambda: now[0])
    phases = []
    # Two lanes in lockstep, on a machine that is busy at first.
    while pair := [job for job in (session.next_job(), session.next_job()) if job is not None]:
        wall_s = 10 if phases else 40
        now[0] += wall_s
        for job in pair:
            phases.append(job.phase)
            session.tell(outcome(job, tmp_path, stable=True, wall_s=wall_s))
    assert phases.count("confirm") == 3
    assert phases.count("explore") >= 20
    session.close()


def test_the_time_kept_free_counts_the_lanes_that_there_are_now(tmp_path) -> None:
    def explored(folder: str, num_lanes: int | None) -> int:
        now = [0.0]
        text = TEXT.replace("trials: 6", "trials: 100").replace("steps: 10", "steps: 10, wall_time_s: 200")
        session = begin(tmp_path / folder, text, clock=lambda: now[0])
        jobs = []
        while (job := session.next_job()) is not None:
            jobs.append(job)
            now[0] += 10
            session.tell(outcome(job, tmp_path, wall_s=10))
            if len(jobs) == 1 and num_lanes is not None:
                session.lanes_changed(num_lanes)
        session.close()
        return sum(job.phase == "explore" for job in jobs)

    one, six = explored("as they ran", None), explored("six", 6)
    assert six > one, "six at a time confirm in one round"


def test_the_time_kept_free_counts_an_explanation_while_more_may_come(tmp_path) -> None:
    def explored(folder: str, forensics: str) -> int:
        now = [0.0]
        text = TEXT.replace("trials: 6", "trials: 100").replace("steps: 10", "steps: 10, wall_time_s: 100")
        session = begin(tmp_path / folder, text + f"forensics: {forensics}\n", clock=lambda: now[0])
        jobs = []
        while (job := session.next_job()) is not None:
            jobs.append(job)
            now[0] += 10
            told = outcome(job, tmp_path, stable=len(jobs) > 1, wall_s=10)
            session.tell(told)
            if len(jobs) == 1:
                now[0] += 10
                session.note_cause(dataclasses.replace(told, cause="too hot", forensics_s=10.0))
        assert [j.phase for j in jobs][-3:] == ["confirm"] * 3 and session.left_s == 100 - now[0] >= 0
        session.close()
        return len(jobs) - 3

    # 100 s hold an explanation, ten seconds a training, three confirmations and one round of reserve.
    assert explored("used-up", "{trials: 1}") == 5
    assert explored("more", "{trials: 2}") == 4


def test_no_trial_starts_after_the_time_is_up_even_if_it_was_asked_for(tmp_path) -> None:
    now = [0.0]
    text = TEXT.replace("steps: 10", "steps: 10, wall_time_s: 100")
    session = begin(tmp_path, text, clock=lambda: now[0])
    for _ in range(6):
        job = session.next_job()
        session.tell(outcome(job, tmp_path, wall_s=1))
    assert session.next_job().phase == "confirm"
    now[0] = 101.0
    assert session.next_job() is None
    session.close()


def test_a_fixed_setting_is_one_trial_with_its_confirmation(tmp_path) -> None:
    text = TEXT.replace("space: {training.optimizer.lr: {loguniform: [1e-4, 1]}}\n", "")
    session = begin(tmp_path, text)
    job = session.next_job()
    assert job.settings == {} and session.next_job() is None
    assert session.num_planned == 4
    session.close()


def test_the_audit_of_a_trial_is_decided_when_it_is_asked_for(tmp_path) -> None:
    text = TEXT + "audit: {rate: 0.5}\n"
    session = begin(tmp_path, text)
    jobs = run_all(session, tmp_path)
    session.close()
    again = begin(tmp_path / "other", text)
    assert [j.audit for j in run_all(again, tmp_path)] == [j.audit for j in jobs]
    assert {j.audit for j in jobs} == {False, True}
    again.close()
    off = begin(tmp_path / "off", TEXT + "audit: {rate: 0}\n")
    assert not any(j.audit for j in run_all(off, tmp_path))
    off.close()


def test_a_cause_found_later_stands_in_the_table_and_the_search_hears_nothing_twice(tmp_path) -> None:
    session = begin(tmp_path)
    job = session.next_job()
    assert session.result(job) is None
    told = outcome(job, tmp_path, stable=False)
    session.tell(told)
    assert session.result(job) == told
    session.note_cause(dataclasses.replace(told, cause="learning rate too high", forensics_s=2.0))
    known = stored_search(tmp_path)
    assert known.user_attrs[f"cause of trial {job.trial_id}"] == "learning rate too high"
    assert "cause" not in known.trials[0].user_attrs, "Optuna changes no trial that it was told of"
    session.close()
    assert store.read_trials(tmp_path)["cause"].tolist() == ["learning rate too high"]
    again = begin(tmp_path)
    assert again.result(job).cause == "learning rate too high"
    assert stored_search(tmp_path).trials[0].user_attrs["cause"] == "learning rate too high"
    again.close()


def stored_search(results_dir: Path) -> optuna.Study:
    storage = JournalStorage(JournalFileBackend(str(results_dir / "optuna.journal")))
    return optuna.load_study(study_name="s", storage=storage)


def test_the_dashboard_gets_short_names_and_the_verdict_of_every_setting(tmp_path) -> None:
    session = begin(tmp_path)
    job = session.next_job()
    session.tell(outcome(job, tmp_path, stable=False))
    known = stored_search(tmp_path)
    assert known.metric_names == ["wer"] and known.user_attrs["settings"] == {"lr": "training.optimizer.lr"}
    (trial,) = known.get_trials(states=(optuna.trial.TrialState.COMPLETE,))
    assert trial.params == {"lr": job.settings["training.optimizer.lr"]}
    attributes = trial.user_attrs
    assert attributes["verdict"].startswith("diverged") and attributes["stable"] is False and attributes["reason"]
    assert {"stop_step", "num_steps", "margin"} <= attributes.keys() and None not in attributes.values()
    session.close()


def test_the_table_of_trials_is_not_written_for_every_trial_and_is_complete_at_the_end(tmp_path) -> None:
    ticks = itertools.count()
    # Each look at the clock takes a second, so the table's first writing seems to take one.
    session = StudySession(load(), tmp_path, 16, clock=lambda: float(next(ticks)))
    for _ in range(5):
        session.tell(outcome(session.next_job(), tmp_path))
    assert len(store.read_trials(tmp_path)) == 0, "the next writing is due after 500 seconds"
    for _ in range(500):
        next(ticks)
    session.tell(outcome(session.next_job(), tmp_path))
    assert len(store.read_trials(tmp_path)) == 6
    session.tell(outcome(session.next_job(), tmp_path))
    assert len(store.read_trials(tmp_path)) == 6
    session.close()
    assert len(store.read_trials(tmp_path)) == 7


def test_a_study_may_change_how_much_it_audits_and_explains(tmp_path) -> None:
    begin(tmp_path).close()
    begin(tmp_path, TEXT + "audit: {rate: 0.5}\nforensics: {trials: 0}\n").close()


def test_a_study_may_change_its_safety_rule_and_when_its_search_stops(tmp_path) -> None:
    begin(tmp_path).close()
    begin(tmp_path, TEXT + "safety: {lr_factor: 10}\n").close()


def test_results_of_a_version_without_a_setting_go_on_with_its_default(tmp_path) -> None:
    begin(tmp_path).close()
    content = store.read_study(tmp_path)
    del content["audit"], content["forensics"], content["training"]["telemetry_every_steps"]
    store.write_yaml(tmp_path / "study.yaml", content)
    begin(tmp_path).close()
    with pytest.raises(ResultsError, match=r"\(changed: training\)"):
        begin(tmp_path, TEXT + "training: {telemetry_every_steps: 2}\n")


def test_trainings_that_crashed_are_forgotten_and_run_again(tmp_path) -> None:
    session = begin(tmp_path)
    first, second = session.next_job(), session.next_job()
    session.tell(crashed_result(first, RunOptions(tmp_path, "wer", None, True, "none"), "it crashed"))
    session.tell(outcome(second, tmp_path))
    evidence = store.evidence_path(tmp_path, first.trial_id, "traceback.txt")
    store.write_text(evidence, "Traceback")
    session.close()
    assert len(begin_and_close(tmp_path).results) == 2, "only where it is asked for"
    again = begin(tmp_path, retry=(Outcome.CRASHED,))
    assert again.num_retried == 1 and [r.trial_id for r in again.results] == [second.trial_id]
    assert not evidence.exists()
    assert again.next_job() == first
    again.tell(outcome(first, tmp_path))
    again.close()
    assert begin_and_close(tmp_path, retry=(Outcome.CRASHED,)).num_retried == 0
    trials = store.read_trials(tmp_path)
    assert trials["trial_id"].tolist() == ["0000", "0001"] and "crashed" not in trials["verdict"].tolist()
    assert [trial.state.name for trial in stored_search(tmp_path).trials] == ["COMPLETE", "COMPLETE"]


def begin_and_close(tmp_path, text: str = TEXT, **more) -> StudySession:
    session = begin(tmp_path, text, **more)
    session.close()
    return session


def test_a_cause_that_a_killed_run_was_about_to_look_for_is_looked_for_first(tmp_path) -> None:
    text = TEXT + "forensics: {trials: 2}\n"
    session = begin(tmp_path, text)
    jobs = [session.next_job() for _ in range(3)]
    told = [outcome(job, tmp_path, stable=False) for job in jobs]
    for result in told:
        allowance.take(tmp_path, result.trial_id, result.verdict, num_trials=3, per_outcome=3)
        session.tell(result)
    session.note_cause(dataclasses.replace(told[0], cause="learning rate too high"))
    session.close()

    again = begin(tmp_path, text)
    assert not again.done
    explained = again.next_job()
    assert dataclasses.replace(explained, told=None) == jobs[1]
    assert explained.told is not None and explained.told.reason == "made up"
    assert again.next_job().told is None, "the third has no part of an allowance of two"
    again.note_cause(told[1])
    again.close()
    assert begin_and_close(tmp_path, text).result(jobs[1]).cause is None
    last = begin(tmp_path, text)
    assert last.next_job().told is None, "a search that failed is not made again"
    last.close()


def test_a_queued_setting_is_trained_next_and_the_search_learns_from_it(tmp_path) -> None:
    with begin(tmp_path, TEXT.replace("random, seed: 3", "stability, seed: 3, num_startup: 4")) as session:
        first = session.next_job()
        wishes.enqueue(tmp_path, {"training.optimizer.lr": 0.0123})
        wishes.enqueue(tmp_path, {"training.optimizer.lr": 0.0456})
        second, third = session.next_job(), session.next_job()
        assert first is not None and second is not None and third is not None
        assert first.settings["training.optimizer.lr"] not in (0.0123, 0.0456)
        assert [j.settings["training.optimizer.lr"] for j in (second, third)] == [0.0123, 0.0456]
        assert wishes.waiting(tmp_path) == []
        for job in (first, second, third):
            session.tell(outcome(job, tmp_path))
        told = session._bridge.study.trials  # type: ignore[union-attr]  # a study with a search
        assert told[1].params == {"lr": 0.0123} and told[1].user_attrs["stable"]
        while (job := session.next_job()) is not None:
            session.tell(outcome(job, tmp_path))
        assert sum(r.phase == "explore" for r in session.results) == 6, "it counts as one of the budget's"


def test_a_queued_setting_waits_for_those_to_try_first_and_for_the_next_run(tmp_path) -> None:
    text = TEXT.replace("seed: 3}", "seed: 3, try_first: [{training.optimizer.lr: 0.002}]}")
    begin(tmp_path, text).close()
    wishes.enqueue(tmp_path, {"training.optimizer.lr": 0.0123})
    with begin(tmp_path, text) as session:
        jobs = [session.next_job() for _ in range(2)]
    assert [j.settings["training.optimizer.lr"] for j in jobs if j] == [0.002, 0.0123]
    with begin(tmp_path, text) as session:
        again = [session.next_job() for _ in range(3)]
    assert [j.settings["training.optimizer.lr"] for j in again if j][:2] == [0.002, 0.0123], "and once alone"
    assert again[2] is not None and again[2].settings["training.optimizer.lr"] not in (0.002, 0.0123)


@pytest.mark.parametrize("content", ["{", "[1]", '{"training.optimizer.lr": [1]}', '{"other.path": 1}', "\x00"])
def test_a_wish_that_is_none_is_left_alone_and_told(tmp_path, content) -> None:
    begin(tmp_path).close()
    (tmp_path / "queue").mkdir()
    (tmp_path / "queue" / "1.json").write_text(content)
    with begin(tmp_path) as session:
        job = session.next_job()
        assert job is not None
        told = [note for note in session.notes if "1.json" in note]
        assert len(told) == (0 if "other.path" in content else 1) and all("delete it" in note for note in told)
    assert (tmp_path / "queue" / "1.json").exists()


def test_a_study_begins_with_what_others_have_trained(tmp_path) -> None:
    text = TEXT.replace("{kind: random, seed: 3}", "{kind: stability, seed: 3, warm_start: [old.csv]}")
    settings = [{"training.optimizer.lr": 10 ** (-4 + k / 5)} for k in range(20)]
    trials = [Carried(0, one, -0.5 if one["training.optimizer.lr"] < 0.05 else 0.5) for one in settings]
    carried = CarriedOver(("old.csv",), trials, {})
    with begin(tmp_path, text, carried=carried) as session:
        assert read_prior(tmp_path) == CarriedOver(["old.csv"], trials, {})
        jobs = [j for j in run_all(session, tmp_path) if j.phase == "explore"]
    assert len(jobs) == 6
    # After two evenly spread ones it asks at the edge, of which it knows from the others.
    assert min(abs(math.log10(float(j.settings["training.optimizer.lr"]) / 0.05)) for j in jobs[2:]) < 0.4


def test_what_was_as_good_as_stable_is_neither_ranked_nor_raced_until_it_ran_to_its_end(tmp_path) -> None:
    search = "search: {kind: stability, num_startup: 6, foregone: {}}"
    text = SAFE.replace("search: {kind: random, seed: 3}", search) + "audit: {rate: 0.0}\n"
    session = begin(tmp_path, text)
    ended, finished = set(), set()
    while (job := session.next_job()) is not None:
        result = outcome(job, tmp_path)
        if result.stable and job.maps:
            ended.add(job.group)
            unknown = {"wer": math.nan, "val_loss": math.nan}
            result = dataclasses.replace(result, verdict=Outcome.FOREGONE, foregone_step=3, **unknown)
        elif result.stable:
            finished.add(job.group)
        if job.phase == "confirm":
            assert not job.maps
        session.tell(result)
    session.close()
    assert ended and finished
    trials = store.read_trials(tmp_path)
    answer = recommend(Evidence(trials, load(text).study.searched), "wer")
    assert answer.chosen is not None
    assert all(c.group.group in finished for c in (answer.chosen, *answer.alternatives))
