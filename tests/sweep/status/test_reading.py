"""What is said of a folder in each state that a study can be in."""

import dataclasses
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from slr_models.errors import ResultsError
from sweep import store
from sweep.forensics import allowance
from sweep.records import EvalRecord, Outcome, Phase, StepRecord, TrialResult
from sweep.status import reading
from sweep.status.answer import SILENT_AFTER_S, State, Status
from sweep.status.reading import Reader
from sweep.status.words import headline, lines
from sweep.store import latest_run
from sweep.store.latest_run import RunEnd, note_end
from sweep.store.ledger import Ledger
from sweep.store.ledger_lines import LEDGER_FILE, Ask, Explored

LR, PRECISION = "training.optimizer.lr", "training.precision.kind"
STUDY: dict[str, Any] = {
    "name": "made",
    "training": {},
    "budget": {"trials": 4, "steps": 100},
    "safety": {"lr_factor": 3.0, "p_stable": 0.95, "credibility": 0.9},
    "objective": "wer",
}
DOCUMENT = Path(__file__).parents[3] / "docs" / "status.md"


def asked(number: int, phase: Phase = Phase.EXPLORE, **more: Any) -> Ask:
    return Ask(f"{number:04d}", number, number, 0, phase, {LR: 0.00123, PRECISION: "fp16"}, **more)


def result(ask: Ask, verdict: Outcome = Outcome.STABLE, **more: Any) -> TrialResult:
    return TrialResult(
        trial_id=ask.trial_id, number=ask.number, group=ask.group, seed=ask.seed, phase=ask.phase,
        settings=ask.settings, verdict=verdict, reason="the loss rose to 9.8", num_steps=60, max_steps=100,
        margin=0.0, l_const=2.0, objective=more.pop("objective", 0.5), **more,
    )  # fmt: skip


def write_study(folder: Path, begun: dict[str, Any] | None = None, **changes: Any) -> None:
    made = {} if begun is None else {latest_run.KEY: begun}
    store.write_study(folder, {**STUDY, **changes, "provenance": made})


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    """A run at work, which has just begun."""
    ledger = Ledger(tmp_path)
    write_study(tmp_path, latest_run.begun(100.0, 4, 3))
    yield ledger
    ledger.close()


def read(folder: Path) -> Status:
    return Reader(folder).read()


def all_written(folder: Path, seconds_ago: float) -> None:
    for path in [*folder.rglob("*"), folder]:
        os.utime(path, (time.time() - seconds_ago,) * 2)


def test_a_study_that_runs_tells_all_of_it(tmp_path: Path, ledger: Ledger) -> None:
    asks = [asked(number) for number in range(4)]
    for ask in asks:
        ledger.ask(ask)
    ledger.tell(result(asks[0], wer=0.25, val_loss=0.61, objective=0.25), spent_s=110)
    cause = "learning rate too high"
    ledger.tell(result(asks[1], Outcome.DIVERGED_LOSS, stop_step=40, objective=2.5, cause=cause), spent_s=120)
    store.record_stream(tmp_path, "steps", "0002").write([StepRecord(step=s, loss=1.5 + s) for s in (1, 2, 3)])
    store.record_stream(tmp_path, "evals", "0002").write([EvalRecord(step=3, val_loss=float("nan"))])
    status = read(tmp_path)
    assert (status.state, status.activity, status.writer_alive) == (State.RUNNING, "explore", True)
    assert (status.done, status.planned, status.waiting) == (2, 7, 1)
    assert status.kinds == {"stable": 1, "diverged": 1, "failed": 0, "open": 0}
    (now,) = status.running
    assert (now.trial, now.step, now.steps, now.train_loss) == ("0002", 3, 100, 4.5)
    assert status.as_json()["running"][0]["val_loss"] is None
    assert status.elapsed_s == pytest.approx(100, abs=5) and status.rest_s == pytest.approx(250, abs=15)
    told = [headline(status), *(f"{what}: {text}" for what, text in lines(status))]
    title = "lr=0.00123 precision=fp16"
    assert told == [
        "made: running, exploring, 2 of 7 trainings done (1 stable, 1 diverged-loss)",
        f"now: 0002 {title}: step 3 of 100, train loss 4.5, val. loss n/a",
        "waiting: 1 training",
        told[3],
        f"best: 0000 {title}: WER 0.25, val. loss 0.61",
        "safety: asked of what is recommended: P(breaking) at most 0.05 with a credibility of 90 %, and the learning "
        "rate at least 3 times below its hot edge",
        f"last problem: 0001 {title}: diverged-loss at step 40 of 100: the loss rose to 9.8; cause: {cause}",
        f"report: none yet: slr-sweep report {tmp_path} writes one, watch shows it",
    ]
    assert re.fullmatch(r"time: 1\.\d min so far, about 4\.\d min to go", told[3])


def test_the_phases_follow_each_other(tmp_path: Path, ledger: Ledger) -> None:
    reader = Reader(tmp_path)
    assert reader.read().activity == "starting"
    ledger.ask(asked(0))
    assert reader.read().activity == "explore"
    allowance.take(tmp_path, "0000", Outcome.DIVERGED_LOSS, num_trials=3, per_outcome=1)
    bad = result(asked(0), Outcome.DIVERGED_LOSS)
    ledger.tell(bad, spent_s=1)
    explaining = reader.read()
    assert explaining.activity == "explaining" and explaining.running[0].activity == "explaining"
    ledger.note_cause(dataclasses.replace(bad, cause="one batch sets it off", forensics_s=2.0), spent_s=3)
    explained = reader.read()
    assert explained.running == () and explained.last_problem is not None
    assert explained.last_problem.cause == "one batch sets it off"
    assert explained.planned == 7
    ledger.end_exploration(Explored("map known", {}))
    assert reader.read().planned == 4, "one explored, three to confirm at most"
    for number in (1, 2, 3):
        ledger.ask(asked(number, Phase.CONFIRM, recommended=True))
        status = reader.read()
        assert status.activity == "confirm" and status.recommended is not None
        assert status.recommended.status == "being confirmed"
        ledger.tell(result(asked(number, Phase.CONFIRM)), spent_s=4)
    assert reader.read().activity == "concluding"


@pytest.mark.parametrize(
    ("ended", "why", "state", "code"),
    [
        (RunEnd.FINISHED, "", State.FINISHED, 0),
        (RunEnd.INTERRUPTED, "", State.ENDED_EARLY, 5),
        (RunEnd.OUT_OF_TIME, "", State.ENDED_EARLY, 5),
        (RunEnd.FAILED, "No space left on device", State.ENDED_EARLY, 5),
        (None, "", State.SILENT, 6),
    ],
)
def test_the_end_of_a_run_is_what_it_said(
    tmp_path: Path, ledger: Ledger, ended: RunEnd | None, why: str, state: State, code: int
) -> None:
    ledger.ask(asked(0))
    ledger.tell(result(asked(0)), spent_s=17.0)
    assert read(tmp_path).state.exit_code == 75
    if ended is not None:
        note_end(tmp_path, ended, why)
    assert read(tmp_path).state is State.RUNNING, "the run that has the lock has not left yet"
    ledger.close()
    status = read(tmp_path)
    assert (status.state, status.state.exit_code, status.has_ended) == (state, code, True)
    assert status.planned == (1 if state is State.FINISHED else 7) and status.rest_s is None
    assert status.elapsed_s == 17.0 and status.writer_alive is False
    if why:
        assert status.why == f"failed: {why}"
    again = Ledger(tmp_path)
    assert read(tmp_path).state is State.RUNNING
    again.close()


def test_a_run_at_work_that_writes_nothing_has_gone_silent_but_has_not_ended(tmp_path: Path, ledger: Ledger) -> None:
    ledger.ask(asked(0))
    all_written(tmp_path, SILENT_AFTER_S - 30)
    assert read(tmp_path).state is State.RUNNING
    all_written(tmp_path, SILENT_AFTER_S + 60)
    status = read(tmp_path)
    assert (status.state, status.writer_alive, status.has_ended) == (State.SILENT, True, False)
    assert headline(status).startswith("made: gone silent 16.0 min ago, exploring")
    store.record_stream(tmp_path, "steps", "0000").write([StepRecord(step=1, loss=1.0)])
    assert read(tmp_path).state is State.RUNNING


def test_of_a_run_whose_lock_is_not_seen_from_here_its_writing_tells(tmp_path: Path, ledger: Ledger) -> None:
    ledger.ask(asked(0))
    ledger.close()
    write_study(tmp_path, {**latest_run.begun(0.0, 4, 0), "machine": "another"})
    status = read(tmp_path)
    assert (status.state, status.writer_alive) == (State.RUNNING, None)
    all_written(tmp_path, SILENT_AFTER_S + 60)
    status = read(tmp_path)
    assert (status.state, status.writer_alive, status.has_ended) == (State.SILENT, None, True)


def test_a_folder_of_a_version_that_said_no_end_is_judged_by_its_counts(tmp_path: Path, ledger: Ledger) -> None:
    write_study(tmp_path)
    for number in range(4):
        ledger.ask(asked(number))
    for number in range(3):
        ledger.tell(result(asked(number)), spent_s=1.0)
    ledger.close()
    assert (read(tmp_path).state, read(tmp_path).planned) == (State.ENDED_EARLY, None)
    with_last = Ledger(tmp_path)
    with_last.tell(result(asked(3)), spent_s=1.0)
    with_last.close()
    assert (read(tmp_path).state, read(tmp_path).planned) == (State.FINISHED, 4)


def test_what_a_finished_study_recommends_stands_there_with_its_safety(tmp_path: Path, ledger: Ledger) -> None:
    ledger.ask(asked(0))
    ledger.tell(result(asked(0)), spent_s=1.0)
    evidence = {"status": "confirmed", "result": "WER 3 %", "trials": ["0000"], "safety": {"why": "Safety rule met."}}
    store.write_yaml(tmp_path / "recipe.yaml", {"name": "made-recipe", "provenance": {"evidence": evidence}})
    (tmp_path / "report.html").touch()
    note_end(tmp_path, RunEnd.FINISHED)
    ledger.close()
    told = dict(lines(read(tmp_path)))
    assert told["recommended"] == "lr=0.00123 precision=fp16 (confirmed): WER 3 %"
    assert told["safety"] == "Safety rule met." and told["report"] == str(tmp_path / "report.html")
    private = tmp_path / "report-private.html"
    private.touch()
    os.utime(private, (time.time() + 60, time.time() + 60))
    assert read(tmp_path).report == str(private), "the one that was written last"


def test_a_score_of_the_users_own_is_told_as_it_was_reported(tmp_path: Path, ledger: Ledger) -> None:
    content = {key: value for key, value in STUDY.items() if key != "training"}
    store.write_study(tmp_path, {**content, "objective": {"maximize": "accuracy"}, "provenance": {}})
    ledger.ask(asked(0, block=2, cell="model=teacher"))
    ledger.tell(result(asked(0), score=-0.875, block=2, cell="model=teacher"), spent_s=1.0)
    best = read(tmp_path).best
    assert best is not None and (best.title, best.result) == ("0000 block 2: model=teacher", "accuracy 0.875")


def test_half_written_lines_are_waited_for(tmp_path: Path, ledger: Ledger) -> None:
    ledger.ask(asked(0))
    store.record_stream(tmp_path, "steps", "0000").write([StepRecord(step=1, loss=2.5)])
    with (tmp_path / "steps" / "0000.jsonl").open("ab") as file:
        file.write(b'{"step": 2, "lo')
    with (tmp_path / LEDGER_FILE).open("ab") as file:
        file.write(b'{"event": "ask", "tri')
    reader = Reader(tmp_path)
    status = reader.read()
    assert status.state is State.RUNNING and status.running[0].step == 1
    (tmp_path / "steps" / "0000.jsonl").unlink()
    (tmp_path / "steps" / "0000.parquet").write_bytes(b"PAR1, half of it")
    assert reader.read().state is State.RUNNING


@pytest.mark.parametrize("name", [LEDGER_FILE, "study.yaml", "recipe.yaml"])
def test_what_stays_damaged_is_one_error(
    tmp_path: Path, ledger: Ledger, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "_SECOND_LOOK_S", 0.0)
    (tmp_path / name).write_text("safety: 3\nprovenance: []\n")
    with pytest.raises(ResultsError, match=re.escape(f"{tmp_path / name}")):
        read(tmp_path)


def test_nothing_is_written_and_a_run_may_begin_at_any_moment(tmp_path: Path) -> None:
    folder = tmp_path / "later"
    reader = Reader(folder)
    assert reader.read().state is State.WAITING and not folder.exists()
    ledger = Ledger(folder)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    for path in [*folder.iterdir(), folder]:
        path.chmod(path.stat().st_mode & ~0o222)
    assert reader.read().state is State.RUNNING
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before
    ledger.close()


def test_the_keys_of_the_json_object_stand_in_the_documentation(tmp_path: Path, ledger: Ledger) -> None:
    ledger.ask(asked(0))
    told = set(re.findall(r"^\| `(\w+)` \|", DOCUMENT.read_text(encoding="utf-8"), re.MULTILINE))
    assert told == set(read(tmp_path).as_json())
