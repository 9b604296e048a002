"""A ledger that was damaged or lost is refused, brought back from what is left, and gone on with."""

import dataclasses
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from slr_models.errors import ResultsError
from sweep import store
from sweep.records import EvalRecord, Outcome, StepRecord, TrialResult
from sweep.recover import main
from sweep.running.job import Job, RunOptions
from sweep.running.judged import crashed_result
from sweep.running.session import StudySession
from sweep.store.ledger import Ledger
from sweep.store.ledger_lines import Ask, Tell, event_of, parsed, written
from sweep.store.lock import FolderLock
from sweep.study import load, stored

TEXT = """
name: wiped
model: {kind: teacher, width: 0.125}
data: {kind: synthetic, vocabulary_size: 6, num_train: 8, num_valid: 4}
space:
  training.optimizer.lr: {loguniform: [1e-4, 1]}
  training.batch_size: {int: [2, 8]}
  training.precision.kind: {choice: [fp32, fp16]}
search: {kind: random, seed: 1}
budget: {trials: 8, steps: 10}
confirm: {settings: 1, seeds: 2, recommended: false}
"""
GRID = """
name: wiped
model: {kind: teacher, width: 0.125}
data: {kind: synthetic, vocabulary_size: 6, num_train: 8, num_valid: 4}
space: {training.optimizer.lr: {grid: [0.001, 0.01, 0.1, 1.0]}}
search: {kind: grid}
budget: {trials: 4, steps: 10}
confirm: {settings: 0}
"""


@pytest.fixture
def begin(tmp_path: Path) -> Callable[..., StudySession]:
    """Begins, or goes on with, the study: `begin()`."""

    def begin_(text: str = TEXT) -> StudySession:
        (tmp_path / "study.yaml").write_text(text)
        loaded = load(tmp_path / "study.yaml")
        session = StudySession(loaded, tmp_path / "results", 8)
        if not (tmp_path / "results" / "study.yaml").is_file():
            store.write_yaml(tmp_path / "results" / "study.yaml", {**stored(session.study), "provenance": {}})
        return session

    return begin_


def trained(job: Job, folder: Path) -> TrialResult:
    """What came of a training, with its records."""
    store.write_steps(folder, job.trial_id, [StepRecord(step, 3.0) for step in range(1, 11)])
    store.write_evals(folder, job.trial_id, [EvalRecord(10, 1.0, 1, 1, 0, 10, 0.5, 0.1, 0.1)])
    stable = job.settings["training.optimizer.lr"] < 0.05
    numbers = {"num_steps": 10, "wall_s": 2.0, "wer": 0.2, "val_loss": 1.0, "l_const": 2.0}
    good = {"verdict": Outcome.STABLE, "objective": 0.2, "margin": -0.5, "stop_step": None}
    blank = crashed_result(job, RunOptions(folder, "wer", None, True, "none"), "made up")
    return dataclasses.replace(blank, **numbers, **(good if stable else {"verdict": Outcome.DIVERGED_LOSS}))


def go_on(session: StudySession, limit: int = 100) -> None:
    while limit and (job := session.next_job()) is not None:
        session.tell(trained(job, session.results_dir))
        limit -= 1


def told(session: StudySession) -> dict[str, object]:
    return {
        r.trial_id: (r.number, r.group, r.seed, r.phase, r.settings, r.verdict, r.wer)
        for r in sorted(session.results, key=lambda r: r.number)
    }


def emptied(content: bytes) -> bytes:
    return b""


def zeroed(content: bytes) -> bytes:
    return bytes(len(content))


def half_zeroed(content: bytes) -> bytes:
    return content[: len(content) // 2] + bytes(len(content) - len(content) // 2)


def without_its_end(content: bytes) -> bytes:
    return b"".join(content.splitlines(keepends=True)[:5])


def without_its_beginning(content: bytes) -> bytes:
    return b"".join(content.splitlines(keepends=True)[5:])


def without_a_middle(content: bytes) -> bytes:
    lines = content.splitlines(keepends=True)
    return b"".join(lines[:4] + lines[7:])


def with_changed_numbers(content: bytes) -> bytes:
    return content.replace(b'"wer": 0.2', b'"wer": 0.1', 2)


def twice(content: bytes) -> bytes:
    return content + content


DAMAGES = [
    emptied,
    zeroed,
    half_zeroed,
    without_its_end,
    without_its_beginning,
    without_a_middle,
    with_changed_numbers,
    twice,
]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_ledger_is_refused_then_brought_back_whole_from_the_table(
    damage: Callable[[bytes], bytes], begin: Callable[..., StudySession], capsys: pytest.CaptureFixture[str]
) -> None:
    session = begin()
    go_on(session, 6)
    before = told(session)
    session.close()
    folder = session.results_dir
    ledger = folder / "ledger.jsonl"
    damaged = damage(ledger.read_bytes())
    ledger.write_bytes(damaged)
    table = (folder / "trials.parquet").read_bytes()
    with pytest.raises(ResultsError, match=r"ledger.jsonl.*python -m sweep.recover") as refused:
        begin()
    assert "\n" not in str(refused.value)
    assert ledger.read_bytes() == damaged and (folder / "trials.parquet").read_bytes() == table
    assert main([str(folder)]) == 0
    said = capsys.readouterr()
    assert "6 results" in said.out and "ledger.jsonl.1" in said.out and not said.err
    assert (folder / "ledger.jsonl.1").read_bytes() == damaged
    again = begin()
    assert told(again) == before
    go_on(again)
    assert again.done and len(again.results) == 10
    again.close()


def test_a_lost_ledger_comes_back_with_the_types_that_were_searched(begin: Callable[..., StudySession]) -> None:
    session = begin()
    go_on(session)
    session.close()
    folder = session.results_dir
    (folder / "ledger.jsonl").unlink()
    with pytest.raises(ResultsError, match="is missing.*sweep.recover"):
        begin()
    assert main([str(folder)]) == 0 and not (folder / "ledger.jsonl.1").exists()
    again = begin()
    assert again.done and again.next_job() is None
    assert {type(r.settings["training.batch_size"]) for r in again.results} == {int}
    ledger = again._ledger
    assert ledger.spent_s == pytest.approx(20.0), "ten trainings of two seconds, one at a time"
    assert all(ask.settings == ledger.results[ask.trial_id].settings for ask in ledger.asks)
    again.close()


def test_what_an_unknown_training_left_is_set_aside_and_kept(
    begin: Callable[..., StudySession], capsys: pytest.CaptureFixture[str]
) -> None:
    session = begin()
    go_on(session, 3)
    job = session.next_job()
    trained(job, session.results_dir)
    session.close()
    folder = session.results_dir
    lines = (folder / "ledger.jsonl").read_bytes().splitlines(keepends=True)
    (folder / "ledger.jsonl").write_bytes(b"".join(lines[:-1]))
    with pytest.raises(ResultsError, match=r"lacks trial 0003, of which steps/ has records"):
        begin()
    steps = (folder / "steps" / "0003.parquet").read_bytes()
    capsys.readouterr()
    assert main([str(folder), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["results"], said["lost"], said["damaged_lines"]) == (3, ["0003"], 0)
    assert (folder / "set-aside.1" / "steps" / "0003.parquet").read_bytes() == steps
    again = begin()
    assert again.next_job().trial_id == "0003", "its number is given anew, and nothing of the old one is in the way"
    again.close()


def test_a_training_under_way_whose_line_is_left_goes_on(begin: Callable[..., StudySession]) -> None:
    session = begin()
    go_on(session, 3)
    job = session.next_job()
    session.close()
    ledger = session.results_dir / "ledger.jsonl"
    content = ledger.read_bytes()
    ledger.write_bytes(content.replace(b'"event": "tell"', b'"event": "tall"', 1))
    assert main([str(session.results_dir)]) == 0
    again = begin()
    assert again.next_job() == job and len(again.results) == 3
    again.close()


def test_a_point_of_a_grid_that_was_lost_under_way_is_not_left_out(begin: Callable[..., StudySession]) -> None:
    session = begin(GRID)
    jobs = [session.next_job() for _ in range(3)]
    session.tell(trained(jobs[2], session.results_dir))
    session.close()
    ledger = session.results_dir / "ledger.jsonl"
    lines = ledger.read_bytes().splitlines(keepends=True)
    ledger.write_bytes(b"".join([lines[0], *lines[2:]]))
    assert main([str(session.results_dir)]) == 0
    again = begin(GRID)
    go_on(again)
    assert sorted(r.settings["training.optimizer.lr"] for r in again.results) == [0.001, 0.01, 0.1, 1.0]
    again.close()


def test_a_journal_that_knows_more_settings_than_the_ledger_refuses_an_emptied_one(
    begin: Callable[..., StudySession],
) -> None:
    session = begin()
    jobs = [session.next_job() for _ in range(3)]
    assert len(jobs) == 3
    session.close()
    (session.results_dir / "ledger.jsonl").write_bytes(b"")
    with pytest.raises(ResultsError, match="lacks 3 settings that optuna.journal knows"):
        begin()


def test_a_setting_that_the_search_drew_just_before_a_kill_is_no_damage(begin: Callable[..., StudySession]) -> None:
    session = begin()
    go_on(session, 2)
    session._bridge.ask()
    session._ledger.close()
    again = begin()
    assert len(again.results) == 2
    again.close()


def test_files_of_the_user_beside_the_records_are_no_damage(begin: Callable[..., StudySession]) -> None:
    session = begin()
    go_on(session, 1)
    session.close()
    (session.results_dir / "steps" / "copy of 0000.parquet").write_bytes(b"mine")
    begin().close()


def test_a_folder_in_use_or_of_something_else_is_left_alone(
    begin: Callable[..., StudySession], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    session = begin()
    go_on(session, 1)
    before = (session.results_dir / "ledger.jsonl").read_bytes()
    assert main([str(session.results_dir)]) == 2
    assert "in use by another run" in capsys.readouterr().err
    session.close()
    assert (session.results_dir / "ledger.jsonl").read_bytes() == before
    for other in (tmp_path, tmp_path / "none"):
        assert main([str(other)]) == 2
        assert capsys.readouterr().err.startswith("error: ")
    assert not (tmp_path / "ledger.jsonl").exists()


def test_recovering_releases_the_folder_and_may_be_repeated(begin: Callable[..., StudySession]) -> None:
    session = begin()
    go_on(session, 4)
    session.close()
    folder = session.results_dir
    first = (folder / "ledger.jsonl").read_bytes()
    for number in (1, 2):
        assert main([str(folder)]) == 0
        assert (folder / f"ledger.jsonl.{number}").is_file()
        FolderLock(folder).release()
    again = Ledger(folder)
    assert len(again.results) == 4 and not math.isnan(again.spent_s)
    again.close()
    assert (folder / "ledger.jsonl.1").read_bytes() == first


CONDITIONAL = TEXT.replace(
    "search:",
    "  training.precision.initial_scale: {grid: [256, 65536], when: {training.precision.kind: [fp16]}}\nsearch:",
)
DESIGN = """
name: wiped
model: {kind: teacher, width: 0.125}
data: {kind: synthetic, vocabulary_size: 6, num_train: 8, num_valid: 4}
space: {training.optimizer.lr: {loguniform: [1e-4, 1]}}
design:
  kind: paired
  factors: {precision: {fp32: {training.precision.kind: fp32}, fp16: {training.precision.kind: fp16}}}
  blocks: 3
  looks: 1
budget: {steps: 10}
"""


def ended(begin: Callable[..., StudySession], text: str, limit: int = 6) -> tuple[Path, dict[str, object]]:
    """A folder with so many results, and what they are."""
    session = begin(text)
    go_on(session, limit)
    before = told(session)
    session.close()
    return session.results_dir, before


def change_row(folder: Path, row: int, **cells: Any) -> None:
    """Puts cells into a row of the table of trials, a column taking whatever type holds them all."""
    path = folder / "trials.parquet"
    table = pq.read_table(path)
    for name, value in cells.items():
        values = table.column(name).to_pylist()
        values[row] = value
        if isinstance(value, str):
            values = [None if one is None else str(one) for one in values]
        table = table.set_column(table.column_names.index(name), name, pa.array(values))
    pq.write_table(table, path)


def goes_on(begin: Callable[..., StudySession], text: str, before: dict[str, object], without: set[str]) -> None:
    """The study has all of `before` but some, and goes on to its end."""
    again = begin(text)
    assert told(again) == {trial_id: one for trial_id, one in before.items() if trial_id not in without}
    go_on(again)
    assert again.done and all(ask.settings for ask in again._ledger.asks)
    again.close()
    begin(text).close()


@pytest.mark.parametrize("text", [TEXT, CONDITIONAL, GRID, DESIGN], ids=["plain", "conditional", "grid", "design"])
def test_sound_rows_of_every_kind_of_study_come_back(text: str, begin: Callable[..., StudySession]) -> None:
    folder, before = ended(begin, text, 100)
    (folder / "ledger.jsonl").unlink()
    assert main([str(folder)]) == 0
    assert (folder / "trials.parquet").is_file()
    goes_on(begin, text, before, set())


BAD_CELLS: list[dict[str, Any]] = [
    {"wer": -3.0},
    {"wer": "much"},
    {"verdict": "fine"},
    {"seed": None},
    {"seed": 1.5},
    {"trial_id": "../../x"},
    {"number": 77},
    {"training.optimizer.lr": None},
    {"training.optimizer.lr": math.nan},
    {"training.optimizer.lr": 5.0},
    {"training.optimizer.lr": "high"},
    {"training.batch_size": 2.5},
    {"training.batch_size": None},
    {"training.precision.kind": "fp8"},
]


@pytest.mark.parametrize("cells", BAD_CELLS, ids=str)
def test_a_bad_row_costs_itself_alone_and_is_named(
    cells: dict[str, Any], begin: Callable[..., StudySession], capsys: pytest.CaptureFixture[str]
) -> None:
    folder, before = ended(begin, TEXT)
    change_row(folder, 2, **cells)
    table = (folder / "trials.parquet").read_bytes()
    (folder / "ledger.jsonl").unlink()
    assert main([str(folder)]) == 0
    said = capsys.readouterr().out
    assert "5 results" in said and ("left out: 0002 (" in said or "left out: row 3 (" in said)
    assert (folder / "trials.parquet.1").read_bytes() == table
    goes_on(begin, TEXT, before, {"0002"})


def test_settings_that_are_none_of_the_study_are_not_brought_back(
    begin: Callable[..., StudySession], capsys: pytest.CaptureFixture[str]
) -> None:
    folder, _ = ended(begin, TEXT)
    path = folder / "trials.parquet"
    whole = pq.read_table(path)
    foreign = whole.append_column("training.evil", pa.array([1.0] * 6))
    for table, why in ((whole.drop_columns(["training.optimizer.lr"]), "lacks"), (foreign, "does not search")):
        (folder / "ledger.jsonl").unlink()
        pq.write_table(table, path)
        assert main([str(folder)]) == 0
        said = capsys.readouterr().out
        assert why in said and "nothing could be brought back" in said and "goes on from here" not in said
        assert not path.exists() and (folder / "set-aside.1" / "steps" / "0000.parquet").is_file()
    again = begin()
    assert not again.results
    go_on(again)
    assert again.done and all(len(ask.settings) == 3 for ask in again._ledger.asks)
    again.close()


@pytest.mark.parametrize("cell", [None, 256.0])
def test_a_dimension_is_held_against_its_condition(cell: float | None, begin: Callable[..., StudySession]) -> None:
    folder, before = ended(begin, CONDITIONAL)
    name = "training.precision.initial_scale"
    column = pq.read_table(folder / "trials.parquet").column(name).to_pylist()
    row = next(i for i, value in enumerate(column) if (value is None) == (cell is not None))
    change_row(folder, row, **{name: cell})
    (folder / "ledger.jsonl").unlink()
    assert main([str(folder)]) == 0
    goes_on(begin, CONDITIONAL, before, {f"{row:04d}"})


def test_a_row_of_a_design_must_have_the_settings_of_its_cell(begin: Callable[..., StudySession]) -> None:
    folder, before = ended(begin, DESIGN, 4)
    cell = pq.read_table(folder / "trials.parquet").column("training.precision.kind").to_pylist()[1]
    change_row(folder, 1, **{"training.precision.kind": "fp32" if cell == "fp16" else "fp16"})
    (folder / "ledger.jsonl").unlink()
    assert main([str(folder)]) == 0
    again = begin(DESIGN)
    assert told(again).keys() == before.keys() - {"0001"}
    go_on(again)
    assert again.done and len(again.results) == 6
    again.close()


@pytest.mark.parametrize("settings", [{"evil": 1}, {"training.evil": 1}])
def test_a_ledger_with_settings_that_the_study_does_not_search_is_refused_and_recovered(
    settings: dict[str, Any], begin: Callable[..., StudySession]
) -> None:
    folder, before = ended(begin, TEXT)
    path = folder / "ledger.jsonl"
    lines = [parsed(line, n) for n, line in enumerate(path.read_bytes().splitlines(), 1)]
    mine = [dataclasses.replace(x, settings=settings) if isinstance(x, Ask) and x.number == 5 else x for x in lines]
    with_ask = [x for x in mine if not (isinstance(x, Tell) and x.trial_id == "0005")]
    for content, why in ((mine, "differ in"), (with_ask, "which this study does not search")):
        path.write_bytes(b"".join(written(event_of(x), n) for n, x in enumerate(content, 1)))
        for name in ("trials.parquet", "optuna.journal"):
            (folder / name).unlink(missing_ok=True)
        with pytest.raises(ResultsError, match=f"{why}.*sweep.recover") as refused:
            begin()
        assert "\n" not in str(refused.value)
    assert main([str(folder)]) == 0
    goes_on(begin, TEXT, before, {"0005"})


@pytest.mark.parametrize("ledger", ["gone", "empty"])
def test_a_journal_that_knows_more_is_set_aside(
    ledger: str, begin: Callable[..., StudySession], capsys: pytest.CaptureFixture[str]
) -> None:
    folder, _ = ended(begin, TEXT)
    journal = (folder / "optuna.journal").read_bytes()
    (folder / "ledger.jsonl").write_bytes(b"")
    if ledger == "gone":
        (folder / "ledger.jsonl").unlink()
        (folder / "trials.parquet").write_bytes(b"PAR1 of no use PAR1")
    else:
        (folder / "trials.parquet").unlink()
    assert main([str(folder)]) == 0
    said = capsys.readouterr().out
    assert "nothing could be brought back" in said and "delete" not in said
    assert (folder / "optuna.journal.1").read_bytes() == journal
    again = begin()
    go_on(again)
    assert again.done and len(again.results) == 10
    again.close()


@pytest.mark.parametrize("has_results", [True, False])
def test_a_damaged_table_is_never_to_be_deleted(has_results: bool, begin: Callable[..., StudySession]) -> None:
    folder, _ = ended(begin, TEXT)
    (folder / "trials.parquet").write_bytes(b"PAR1 of no use PAR1")
    if not has_results:
        (folder / "ledger.jsonl").write_bytes(b"")
    with pytest.raises(ResultsError) as refused:
        store.read_trials(folder)
    told_ = str(refused.value)
    assert ("move it away, then run" in told_) == has_results
    assert ("sweep.recover" in told_ and "backup" in told_) != has_results


def test_a_row_that_is_not_of_what_was_asked_for_is_left_out(begin: Callable[..., StudySession]) -> None:
    folder, before = ended(begin, TEXT)
    change_row(folder, 5, seed=99)
    path = folder / "ledger.jsonl"
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-1]))
    assert main([str(folder)]) == 0
    goes_on(begin, TEXT, before, {"0005"})
