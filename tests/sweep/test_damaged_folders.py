"""Every file of a results folder, damaged in every way, under every command that reads it: one line, no traceback."""

import json
import math
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

import sweep
from slr_models.errors import ResultsError
from sweep import compare, explain, replay, store
from sweep.records import (
    Cause,
    EvalRecord,
    Explanation,
    HealthMetric,
    HealthRecord,
    Learning,
    Outcome,
    Phase,
    StepRecord,
    TrialResult,
)
from sweep.report.__main__ import main as report
from sweep.run import main as run
from sweep.store import parquet
from sweep.store.ledger import Ledger
from sweep.store.ledger_lines import Ask
from sweep.study import load, stored
from sweep.watch.folder import Folder
from sweep.watch.worker import reply

LR = "training.optimizer.lr"
STUDY = f"""
name: damaged
model: {{kind: teacher, width: 0.125}}
data: {{kind: synthetic, vocabulary_size: 6, num_train: 8, num_valid: 4}}
training: {{precision: {{kind: fp16}}}}
space: {{{LR}: {{loguniform: [1e-4, 1]}}}}
budget: {{trials: 8, steps: 20}}
"""


def finished(number: int) -> TrialResult:
    """A made-up training: below a learning rate of 0.005 it is stable."""
    lr = 10 ** (-4 + number / 2)
    good = lr < 0.005
    return TrialResult(
        trial_id=f"{number:04d}", number=number, group=number, seed=0, phase=Phase.EXPLORE, settings={LR: lr},
        verdict=Outcome.STABLE if good else Outcome.DIVERGED_LOSS, reason="made up", num_steps=20, max_steps=20,
        learning=Learning.LEARNED if good else Learning.NOTHING, objective=0.2 if good else 2.5,
        margin=-0.3 if good else 0.4, wer=0.2 if good else 1.0, val_loss=1.0, l_const=2.0, l_unif=3.0, wall_s=2.0,
    )  # fmt: skip


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished study, with a file of each kind."""
    folder = tmp_path_factory.mktemp("whole") / "damaged"
    file = folder.parent / "study.yaml"
    file.write_text(STUDY)
    ledger = Ledger(folder)
    store.write_study(folder, {**stored(load(file).study), "provenance": {"l_const": 2.0}})
    results = [finished(number) for number in range(8)]
    for r in results:
        ledger.ask(Ask(r.trial_id, r.number, r.group, r.seed, r.phase, r.settings))
        store.write_steps(folder, r.trial_id, [StepRecord(s, 3.0, 1.0, 1024.0, time_s=0.1) for s in range(1, 21)])
        store.write_evals(folder, r.trial_id, [EvalRecord(20, 1.0, 1, 1, 0, 10, 0.5, 0.1, 0.1)])
        headroom = [HealthRecord(s, HealthMetric.HEADROOM_BITS, "encoder.0", 3.0) for s in (10, 20)]
        store.write_health(folder, r.trial_id, headroom)
        if not r.stable:
            store.write_explanation(folder, r.trial_id, Explanation(Cause.LR_TOO_HIGH, "learning rate too high"))
        ledger.tell(r, spent_s=2.0 * (r.number + 1))
    ledger.close()
    store.write_trials(folder, [r.row() for r in results])
    store.write_importance(folder, {"fanova": {LR: 1.0}})
    store.write_claims(folder, [])
    (folder / "recipe.yaml").write_text("name: [the, recipe]\n")
    (folder / "recipe.py").write_text("pass\n")
    return folder


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    shutil.copytree(whole, tmp_path / "damaged")
    (tmp_path / "study.yaml").write_text(STUDY)
    return tmp_path / "damaged"


def _as_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _changed(path: Path, change: Callable[[bytes], bytes]) -> None:
    path.write_bytes(change(path.read_bytes()))


def _half(content: bytes) -> bytes:
    """The first half, up to amid a line: what is cut off between two may read as a shorter whole."""
    half = content[: len(content) // 2]
    return half if half == half.rstrip() else content[: len(half) + 8]


DAMAGES: dict[str, Callable[[Path], object]] = {
    "empty": lambda path: path.write_bytes(b""),
    "cut": lambda path: _changed(path, _half),
    "zeroed": lambda path: _changed(path, lambda content: bytes(len(content))),
    "random": lambda path: path.write_bytes(random.Random(1).randbytes(500)),
    "not UTF-8": lambda path: path.write_bytes(b'{"a": "\xff\xfe"}\n'),
    "null": lambda path: path.write_text("null\n"),
    "a number": lambda path: path.write_text("5\n"),
    "a list": lambda path: path.write_text("[[1], null]\n"),
    "deep": lambda path: path.write_text("[" * 100_000),
    "five GiB": lambda path: os.truncate(path, 5 * 2**30),
    "a folder": _as_folder,
    "another table": lambda path: pd.DataFrame({"x": [1, 2]}).to_parquet(path),
}


def one_error(capsys: pytest.CaptureFixture[str], code: int, name: str) -> str:
    """What a command said that refused: one line that names the file, and nothing on standard output."""
    told = capsys.readouterr()
    assert code == 2, told.err
    (line,) = told.err.splitlines()
    assert line.startswith("error: ") and name in line and len(line) < 1000 and not told.out
    return line


def run_again(folder: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    """The exit code of the study's own command, its one error, and what it said before."""
    code = run([str(folder.parent / "study.yaml"), "--results", str(folder.parent)])
    told = capsys.readouterr()
    (line,) = told.err.splitlines()
    assert line.startswith("error: "), told.err
    return code, line, told.out


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", ["study.yaml", "trials.parquet"])
def test_what_everything_rests_on_is_refused(
    name: str, damage: str, folder: Path, whole: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    DAMAGES[damage](folder / name)
    one_error(capsys, report([str(folder)]), name)
    code, out, _ = run_again(folder, capsys)
    assert code == 2 and name in out
    one_error(capsys, compare.main([str(whole), str(folder)]), name)
    one_error(capsys, explain.main([str(folder), "0007"]), name)
    one_error(capsys, replay.main([str(folder / "steps" / "0001.parquet")]), name)
    with pytest.raises(ResultsError, match=name):
        sweep.load(folder)
    page, error = reply(folder)
    assert page is None and error is not None and name in error and "\n" not in error
    assert Folder(folder).standing().num_done == 8
    assert not (folder / "report.html").exists()


@pytest.mark.parametrize("first", range(0, len(DAMAGES), 4))
def test_the_report_does_without_the_files_of_single_trials_and_names_them(
    first: int, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damages = list(DAMAGES.values())[first : first + 4]
    for number, damage in enumerate(damages):
        names = [f"steps/000{number}.parquet", *(f"{kind}/000{number + 4}.parquet" for kind in ("evals", "health"))]
        for name in (*names, f"evidence/000{number + 4}/explanation.json"):
            damage(folder / name)
    damages[0](folder / "importance.json")
    damages[1](folder / "recipe.yaml")
    assert report([str(folder)]) == 0
    told = capsys.readouterr()
    page = (folder / "report.html").read_text(encoding="utf-8")
    lines = told.err.splitlines()
    assert all(line.startswith("warning: ") and len(line) < 1000 for line in lines), told.err
    damaged = [
        *(f"steps/000{number}.parquet" for number in range(4)),
        *(f"{kind}/000{number}.parquet" for kind in ("evals", "health") for number in range(4, 8)),
        *(f"evidence/000{number}/explanation.json" for number in range(4, 8)),
        "importance.json",
        "recipe.yaml",
    ]
    for name in damaged:
        assert sum(str(folder / name) in line for line in lines) == 1, (name, told.err)
    assert f"{len(damaged)} files of this folder cannot be read" in page and "... and 6 more" in page
    assert page.count("<tr data-id") == 8, "no trial is missing in the table"


def _as_link_to_itself(path: Path) -> None:
    path.symlink_to(path.name)


def _as_link_to_nothing(path: Path) -> None:
    path.symlink_to("nowhere")


IN_A_FOLDER_S_PLACE: dict[str, Callable[[Path], object]] = {
    "a file": lambda path: path.write_bytes(b"x"),
    "a link to itself": _as_link_to_itself,
    "a link to nothing": _as_link_to_nothing,
    "a pipe": os.mkfifo,
}


@pytest.mark.parametrize("damage", IN_A_FOLDER_S_PLACE)
@pytest.mark.parametrize("kind", ["steps", "evals", "health"])
def test_what_lies_in_place_of_a_folder_of_records_is_named_once_and_costs_these_records_alone(
    kind: str, damage: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(folder / kind)
    IN_A_FOLDER_S_PLACE[damage](folder / kind)
    assert report([str(folder)]) == 0
    (told,) = capsys.readouterr().err.splitlines()
    what = "a link to no folder" if "link" in damage else "no folder"
    assert told.startswith(f"warning: {folder / kind} is {what}: move it away")
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "1 file of this folder cannot be read" in page and page.count("<tr data-id") == 8
    code, refused, _ = run_again(folder, capsys)
    assert code == 2 and f"{folder / kind} is {what}: move it away" in refused, "nothing can be written there"


@pytest.mark.parametrize("damage", [_as_link_to_itself, _as_link_to_nothing])
def test_a_link_to_nothing_in_place_of_records_is_named(
    damage: Callable[[Path], None], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "steps" / "0003.parquet").unlink()
    damage(folder / "steps" / "0003.parquet")
    assert report([str(folder)]) == 0
    assert "steps/0003.parquet is no file: delete it" in capsys.readouterr().err


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_is_derived_from_the_trials_is_read_as_such_or_refused(damage: str, folder: Path) -> None:
    readers = {
        "importance.json": store.read_importance,
        "claims.json": store.read_claims,
        "recipe.yaml": store.read_recipe,
    }
    for name, read in readers.items():
        DAMAGES[damage](folder / name)
        with pytest.raises(ResultsError, match=f"{name}.*: delete it; the study's command writes it anew"):
            read(folder)


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_ledger_is_refused_by_a_run_and_done_without_by_readers(damage: str, folder: Path) -> None:
    DAMAGES[damage](folder / "ledger.jsonl")
    assert len(sweep.load(folder).trials) == 8
    before = None if damage in ("a folder", "five GiB") else (folder / "ledger.jsonl").read_bytes()
    with pytest.raises((ResultsError, IsADirectoryError)) as refused:
        Ledger(folder)
    assert "ledger.jsonl" in str(refused.value) and "\n" not in str(refused.value)
    assert before is None or (folder / "ledger.jsonl").read_bytes() == before
    try:
        standing = Folder(folder).standing()
    except ResultsError as error:
        assert "ledger.jsonl" in str(error) and "\n" not in str(error)
    else:
        # What was cut behind its last whole line may be a line that is being written.
        assert standing.num_done < 8


@pytest.mark.parametrize("damage", ["empty", "zeroed", "cut"])
def test_a_run_refuses_a_damaged_ledger_before_it_writes_anything(
    damage: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    DAMAGES[damage](folder / "ledger.jsonl")
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    code, line, _ = run_again(folder, capsys)
    assert code == 2 and "ledger.jsonl" in line and f"python -m sweep.recover {folder}" in line
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_findings_are_refused_where_they_are_compared(
    damage: str, folder: Path, whole: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    DAMAGES[damage](folder / "claims.json")
    one_error(capsys, compare.main([str(whole), str(folder)]), "claims.json")


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("kind", ["steps", "evals", "health"])
def test_records_are_loaded_as_such_or_refused(kind: str, damage: str, folder: Path) -> None:
    path = folder / kind / "0003.parquet"
    DAMAGES[damage](path)
    readers = {
        "steps": (store.load_steps, store.read_steps),
        "evals": (store.load_evals, store.read_evals),
        "health": (store.load_health, store.read_health),
    }
    for read in readers[kind]:
        with pytest.raises(ResultsError, match=rf"{kind}/0003.parquet .*: delete it"):
            read(folder, "0003")
    loaded = sweep.load(folder)
    with pytest.raises(ResultsError, match="0003.parquet"):
        getattr(loaded, kind)("0003")


@pytest.mark.parametrize("damage", [name for name in DAMAGES if name not in ("empty", "cut")])
@pytest.mark.parametrize("kind", ["steps", "evals"])
def test_records_of_a_training_under_way_are_loaded_as_such_or_refused(kind: str, damage: str, folder: Path) -> None:
    load = {"steps": store.load_steps, "evals": store.load_evals}[kind]
    store.record_stream(folder, kind, "0003").write(load(folder, "0003"))
    assert not (folder / kind / "0003.parquet").exists()
    DAMAGES[damage](folder / kind / "0003.jsonl")
    with pytest.raises(ResultsError, match=rf"{kind}/0003.jsonl .*: delete it"):
        load(folder, "0003")
    with pytest.raises(ResultsError, match="0003.jsonl"):
        getattr(sweep.load(folder), kind)("0003")


def with_column(name: str, values: list[object]) -> Callable[[pd.DataFrame], pd.DataFrame]:
    return lambda frame: frame.assign(**{name: values[: len(frame)]})


WRONG_TRIALS = {
    "an unknown verdict": (with_column("verdict", ["splendid"] * 8), "row 1, verdict: Input should be"),
    "no verdict": (with_column("verdict", ["stable", None] * 4), "row 2, verdict: Field required"),
    "an id that leads away": (with_column("trial_id", [f"../{n}" for n in range(8)]), "row 1, trial_id: Cannot name"),
    "an absolute id": (with_column("trial_id", [f"/tmp/{n}" for n in range(8)]), "row 1, trial_id: Cannot name"),
    "a NUL": (with_column("trial_id", [f"{n}\0" for n in range(8)]), "row 1, trial_id: Cannot name"),
    "an endless id": (with_column("trial_id", [f"{n}" * 65 for n in range(8)]), "row 1, trial_id: Cannot name"),
    "an id twice": (with_column("trial_id", ["0001"] * 8), "two of its rows have the trial_id 0001"),
    "a number twice": (with_column("number", [3] * 8), "two of its rows have the number 3"),
    "a number below 0": (with_column("number", list(range(-1, 7))), "row 1, number: Input should be greater"),
    "a number in words": (with_column("number", list("abcdefgh")), "string, not int64"),
    "half a number": (with_column("number", [0.5] * 8), "its column number holds double, not int64"),
    "a verdict in numbers": (with_column("verdict", [1.0] * 8), "its column verdict holds double, not string"),
    "a WER below 0": (with_column("wer", [-3.0] * 8), "row 1, wer: Input should be a valid number of at least 0"),
    "an infinite objective": (with_column("objective", [math.inf] * 8), "row 1, objective: Input should be a finite"),
    "a margin of 3": (with_column("margin", [3.0] * 8), "row 1, margin: Input should be a valid number in"),
    "steps below 0": (with_column("num_steps", [-1] * 8), "row 1, num_steps: Input should be greater"),
    "a flag in words": (with_column("audited", ["yes"] * 8), "string, not bool"),
    "an infinite setting": (with_column(LR, [math.inf] * 8), f"{LR} should be finite"),
    "a list as setting": (with_column(LR, [[1.0]] * 8), f"its column {LR} holds list"),
    "a lacking column": (lambda frame: frame.drop(columns="group"), "it has no column group"),
}


@pytest.mark.parametrize("case", WRONG_TRIALS)
def test_a_table_that_says_what_cannot_be_is_refused(
    case: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change, what = WRONG_TRIALS[case]
    path = folder / "trials.parquet"
    change(pd.read_parquet(path)).to_parquet(path)
    line = one_error(capsys, report([str(folder)]), "trials.parquet")
    assert what in line and "move it away, then run the study's command again" in line


def test_a_table_that_says_it_is_endless_is_not_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A table of 300,000,000 equal values has few bytes, and takes ten seconds to make.
    monkeypatch.setattr(parquet, "MAX_CELLS", 20 * 13 - 1)
    with pytest.raises(ResultsError, match="20 rows of 13 columns: too many"):
        store.read_steps(folder, "0003")
    monkeypatch.setattr(parquet, "MAX_CELLS", 20 * 13)
    assert len(store.read_steps(folder, "0003")) == 20


def test_a_bit_that_fell_over_in_a_table_is_found(folder: Path) -> None:
    path = folder / "steps" / "0003.parquet"
    content = bytearray(path.read_bytes())
    content[20] ^= 4
    path.write_bytes(content)
    with pytest.raises(ResultsError, match="0003.parquet cannot be read"):
        store.load_steps(folder, "0003")


@pytest.mark.parametrize(
    ("steps", "what"), [([3, 2, 1], "do not ascend"), ([-1, 2, 3], "below 0"), ([None], "missing")]
)
def test_steps_in_no_order_are_refused(steps: list[int | None], what: str, folder: Path) -> None:
    store.write_steps(folder, "0003", [StepRecord(step, 1.0) for step in steps])
    with pytest.raises(ResultsError, match=what):
        store.load_steps(folder, "0003")


@pytest.mark.parametrize("trial_id", ["../0003", "/etc/passwd", "a/b", "", ".", "..", "0003\0", "x" * 65, "a b", "\n"])
def test_an_id_leads_nowhere_but_into_its_folder(trial_id: str, folder: Path) -> None:
    for path in (store.records_path, store.evidence_path):
        arguments = (folder, "steps", trial_id) if path is store.records_path else (folder, trial_id, "x")
        with pytest.raises(ResultsError, match="cannot name a trial"):
            path(*arguments)
    with pytest.raises(ResultsError):
        sweep.load(folder).steps(trial_id)


@pytest.mark.parametrize(
    ("provenance", "what"),
    [
        (5, "provenance"),
        ([1], "provenance"),
        ({"num_lanes": "many"}, "provenance.num_lanes"),
        ({"data": 5}, "provenance.data"),
        ({"host": [1]}, "provenance.host"),
        ({"l_const": "much"}, "provenance.l_const"),
        ({"claims_withdrawn_after": {"a": "b"}}, "provenance.claims_withdrawn_after"),
    ],
)
def test_a_provenance_of_other_types_is_refused(
    provenance: object, what: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = store.read_study(folder)
    store.write_yaml(folder / "study.yaml", {**content, "provenance": provenance})
    assert what in one_error(capsys, report([str(folder)]), "study.yaml")


@pytest.mark.parametrize("provenance", [None, "absent"])
def test_a_study_without_provenance_has_a_report(
    provenance: object, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = {key: value for key, value in store.read_study(folder).items() if key != "provenance"}
    more = {} if provenance == "absent" else {"provenance": provenance}
    store.write_yaml(folder / "study.yaml", {**content, **more})
    assert report([str(folder)]) == 0
    assert not capsys.readouterr().err
    assert replay.main([str(folder / "steps" / "0001.parquet")]) == 0
    assert json.loads(capsys.readouterr().out)["verdict"]


def test_a_document_that_multiplies_when_it_is_read_is_refused(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    levels = "".join(f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 9)}]\n" for n in range(1, 12))
    whole = (folder / "study.yaml").read_text()
    (folder / "study.yaml").write_text(f"{whole.removesuffix('...' + chr(10))}l0: &l0 [lol]\n{levels}")
    assert "values" in one_error(capsys, report([str(folder)]), "study.yaml")


def test_a_damaged_file_of_the_trial_that_is_to_be_explained_is_refused(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("steps/0007.parquet", "evals/0007.parquet", "health/0007.parquet"):
        kept = (folder / name).read_bytes()
        (folder / name).write_bytes(b"garbage")
        one_error(capsys, explain.main([str(folder), "0007"]), name)
        (folder / name).write_bytes(kept)
