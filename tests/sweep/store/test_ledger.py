"""The ledger survives what a killed driver leaves."""

import contextlib
import dataclasses
import json
import math
import os
import re
import resource
import signal
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slr_models.errors import MachineError, ResultsError
from sweep.records import Outcome, Phase
from sweep.running.job import Job, RunOptions
from sweep.running.judged import crashed_result
from sweep.store.ledger import Ledger
from sweep.store.ledger_lines import Ask, Explored, LedgerTail, elapsed_s

ASK = Ask("0000", 0, 0, 3, "explore", {"training.optimizer.lr": 0.1, "training.precision.kind": "fp16", "flag": True})


def result(tmp_path):
    options = RunOptions(tmp_path, "wer", None, True, "none")
    job = Job("0000", 0, 0, 3, "explore", ASK.settings, None, 10)
    return crashed_result(job, options, "boom")


def test_what_is_written_comes_back(tmp_path) -> None:
    ledger = Ledger(tmp_path)
    ledger.ask(ASK)
    ledger.tell(result(tmp_path), spent_s=12.5)
    ledger.close()
    again = Ledger(tmp_path)
    assert again.asks == [ASK]
    back = again.results["0000"]
    assert (
        math.isnan(back.wer) and back.verdict == "crashed" and back.reason == "boom" and back.settings == ASK.settings
    )
    assert again.spent_s == 12.5
    assert back.num_steps == 0 and back.stop_step == 0
    again.close()


def test_a_cause_found_later_is_kept_with_the_result(tmp_path) -> None:
    ledger = Ledger(tmp_path)
    ledger.ask(ASK)
    told = dataclasses.replace(result(tmp_path), audited=True, alarm=Outcome.STALLED)
    ledger.tell(told, spent_s=12.5)
    ledger.note_cause(dataclasses.replace(told, cause="learning rate too high", forensics_s=3.5), spent_s=16.5)
    ledger.close()
    again = Ledger(tmp_path)
    back = again.results["0000"]
    assert (back.cause, back.forensics_s) == ("learning rate too high", 3.5)
    assert back.audited and back.alarm is Outcome.STALLED and back.reason == "boom"
    assert again.spent_s == 16.5 and list(again.explained_s.values()) == [3.5]
    again.close()


def test_a_ledger_of_an_earlier_version_loads(tmp_path) -> None:
    ledger = Ledger(tmp_path)
    ledger.ask(ASK)
    ledger.tell(result(tmp_path), spent_s=12.5)
    ledger.close()
    path = tmp_path / "ledger.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    for name in ("audited", "alarm", "forensics_s"):
        del lines[1]["result"][name]
    for line in lines:
        del line["sum"]
    lines.append({"event": "cause", "trial_id": "0000", "cause": "too hot", "forensics_s": 2.0})
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    ledger = Ledger(tmp_path)
    back = ledger.results["0000"]
    assert not back.audited and back.alarm is None and back.forensics_s == 2.0 and ledger.spent_s == 12.5
    ledger.close()


def test_a_line_cut_by_a_kill_is_dropped_and_the_file_goes_on(tmp_path) -> None:
    ledger = Ledger(tmp_path)
    ledger.ask(ASK)
    ledger.close()
    path = tmp_path / "ledger.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"event": "tell", "trial')
    ledger = Ledger(tmp_path)
    assert ledger.asks == [ASK] and not ledger.results
    ledger.tell(result(tmp_path), spent_s=12.5)
    ledger.close()
    ledger = Ledger(tmp_path)
    assert list(ledger.results) == ["0000"]
    ledger.close()


def test_a_damaged_line_is_named(tmp_path) -> None:
    (tmp_path / "ledger.jsonl").write_text('{"event": "ask"}\nnonsense\n')
    with pytest.raises(ResultsError, match=r"ledger\.jsonl:1: this line is damaged"):
        Ledger(tmp_path)


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ({"event": "later"}, "unknown event 'later'"),
        ({"event": ["ask"]}, r"unknown event \['ask'\]"),
        ({}, "unknown event None"),
        ([1], "it holds no event"),
        ({"event": "ask", "trial_id": "0001"}, "number: Field required"),
        ({"event": "cause", "trial_id": "0009", "cause": "too hot", "forensics_s": 2.0}, "the cause is of trial 0009"),
        ({"event": "explored", "reason": "enough", "terms": 3}, "terms: Input should be a valid dictionary"),
    ],
)
def test_a_line_that_says_something_else_is_named_in_one_line(tmp_path, line, what: str) -> None:
    ledger = Ledger(tmp_path)
    ledger.ask(ASK)
    ledger.close()
    with (tmp_path / "ledger.jsonl").open("a") as file:
        file.write(json.dumps(line) + "\n")
    with pytest.raises(ResultsError, match=rf"ledger\.jsonl:2: this line is damaged \({what}") as told:
        Ledger(tmp_path)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("field", "value", "what"),
    [
        ("wer", "a lot", "result.wer: Input should be a valid number"),
        ("verdict", "splendid", "result.verdict: Input should be "),
        ("phase", "later", "result.phase: Input should be 'explore', 'confirm' or 'full_size'"),
        ("shiny", 3, "this version knows no field result.shiny"),
    ],
)
def test_a_result_with_a_field_that_cannot_be_is_named(tmp_path, field: str, value: object, what: str) -> None:
    ledger = Ledger(tmp_path)
    ledger.ask(ASK)
    ledger.tell(result(tmp_path), spent_s=1.0)
    ledger.close()
    path = tmp_path / "ledger.jsonl"
    ask, tell = path.read_text().splitlines()
    line = json.loads(tell)
    line["result"][field] = value
    path.write_text(f"{ask}\n{json.dumps(line)}\n")
    with pytest.raises(ResultsError) as told:
        Ledger(tmp_path)
    assert f"ledger.jsonl:2: this line is damaged ({what}" in str(told.value)


def test_settings_keep_their_types_and_numbers_that_json_lacks_come_back(tmp_path) -> None:
    settings = {"a": True, "b": 1, "c": 1.0, "d": "1e-3", "e": "nan", "f": False, "g": 0}
    told = dataclasses.replace(
        result(tmp_path), settings=settings, wer=math.inf, val_loss=-math.inf, margin=math.nan, l_const=3.0
    )
    ledger = Ledger(tmp_path)
    ledger.ask(dataclasses.replace(ASK, settings=settings))
    ledger.tell(told, spent_s=1.0)
    ledger.close()
    again = Ledger(tmp_path)
    again.close()
    back = again.results["0000"]
    for known in (back.settings, again.asks[0].settings):
        assert [(name, type(value), value) for name, value in known.items()] == [
            (name, type(value), value) for name, value in settings.items()
        ]
    assert (back.wer, back.val_loss, back.l_const) == (math.inf, -math.inf, 3.0)
    assert all(math.isnan(value) for value in (back.margin, back.best_wer, back.wall_s))
    assert type(back.verdict) is Outcome and type(back.phase) is Phase
    names = [field.name for field in dataclasses.fields(back)]
    assert {name: repr(getattr(back, name)) for name in names} == {
        name: repr(getattr(told, name)) for name in names if name != "phase"
    } | {"phase": repr(Phase.EXPLORE)}


EARLIER = """\
{"event": "ask", "trial_id": "0000", "number": 0, "group": 0, "seed": 3, "phase": "explore", "settings": {"training.optimizer.lr": 0.1}, "recommended": false, "block": null, "cell": null}
{"event": "tell", "trial_id": "0000", "spent_s": 3.5, "result": {"trial_id": "0000", "number": 0, "group": 0, "seed": 3, "phase": "explore", "settings": {"training.optimizer.lr": 0.1}, "verdict": "stable", "reason": "the loss ended at 0.1", "stop_step": null, "num_steps": 40, "max_steps": 40, "objective": 0.25, "margin": -0.5, "final_train_loss": 0.1, "val_loss": 0.3, "best_val_loss": "nan", "wer": 0.25, "best_wer": 0.25, "l_const": 3.1, "l_unif": 9.4, "applied_update_rate": 1.0, "skipped_calibration": 0, "skipped_nonfinite": 0, "skipped_threshold": 0, "skipped_infeasible": 0, "wall_s": 2.5, "cpu_s": 2.0, "peak_memory_mib": 300.0, "precision_implementation": "fp32", "cause": null, "audited": false, "alarm": null, "forensics_s": 0.0, "step_time_s": 0.02, "settings_changed_at_step": null, "block": null, "cell": null}}
{"event": "explored", "reason": "the map is known", "terms": {"search": {"kind": "stability"}}}
"""  # noqa: E501
"""What the version before wrote."""


def test_a_ledger_of_the_version_before_goes_on(tmp_path) -> None:
    (tmp_path / "ledger.jsonl").write_text(EARLIER)
    ledger = Ledger(tmp_path)
    back = ledger.results["0000"]
    assert back.stable and back.wer == 0.25 and math.isnan(back.best_val_loss) and back.step_time_s == 0.02
    assert ledger.explored is not None and ledger.explored.terms == {"search": {"kind": "stability"}}
    assert ledger.spent_s == 3.5 and ledger.asks_by_phase["explore"] == ledger.asks
    ledger.close()
    assert (tmp_path / "ledger.jsonl").read_text() == EARLIER


def test_the_elapsed_time_is_read_while_another_run_holds_the_ledger(tmp_path) -> None:
    assert math.isnan(elapsed_s(tmp_path))
    ledger = Ledger(tmp_path)
    ledger.ask(ASK)
    assert math.isnan(elapsed_s(tmp_path)), "nothing has been told"
    ledger.tell(dataclasses.replace(result(tmp_path), reason='it said "spent_s": 3'), spent_s=12.5)
    assert elapsed_s(tmp_path) == 12.5
    ledger.note_cause(result(tmp_path), spent_s=20.25)
    with (tmp_path / "ledger.jsonl").open("a") as file:
        file.write('{"event": "tell", "spent_s": 99')
    assert elapsed_s(tmp_path) == 20.25, "a line that was not finished does not count"
    ledger.close()


@pytest.mark.parametrize("replaced", [False, True])
def test_a_ledger_that_was_taken_away_takes_nothing_more(tmp_path, replaced) -> None:
    """Its open file would: what is written there, nobody finds again."""
    folder = tmp_path / "r"
    ledger = Ledger(folder)
    ledger.ask(ASK)
    folder.rename(tmp_path / "moved")
    if replaced:
        folder.mkdir()
        (folder / "ledger.jsonl").write_bytes((tmp_path / "moved" / "ledger.jsonl").read_bytes())
    with pytest.raises(MachineError, match="removed or replaced while the run was at work") as told:
        ledger.tell(result(tmp_path), spent_s=1.0)
    assert str(told.value).startswith(f"{folder / 'ledger.jsonl'} was removed") and not ledger.results
    ledger.close()


SETTINGS = ASK.settings


def ask_line(**fields: object) -> dict[str, object]:
    known = {"trial_id": "0001", "number": 1, "group": 1, "seed": 3, "phase": "explore", "settings": SETTINGS}
    return {"event": "ask", **known, **fields}


def tell_line(trial_id: str = "0000", spent_s: object = 1.0, **fields: object) -> dict[str, object]:
    known = {
        "trial_id": trial_id, "number": 0, "group": 0, "seed": 3, "phase": "explore", "settings": SETTINGS,
        "verdict": "stable", "reason": "it fell", "num_steps": 10, "max_steps": 10, "objective": 0.5, "margin": -0.5,
    }  # fmt: skip
    return {"event": "tell", "trial_id": trial_id, "spent_s": spent_s, "result": {**known, **fields}}


@pytest.fixture
def asked(tmp_path: Path) -> Path:
    """A ledger in which training 0000 is asked for."""
    ledger = Ledger(tmp_path)
    ledger.ask(ASK)
    ledger.close()
    return tmp_path / "ledger.jsonl"


IDS = ["../0001", "/etc/passwd", "a/b", "..", "", "x" * 65, "0001\u0000", "0001\n", "a b", "\u00e9", 5, None, "0000"]


@pytest.mark.parametrize("trial_id", IDS)
def test_an_id_that_cannot_name_a_trial_or_names_two_is_refused(asked: Path, trial_id: object) -> None:
    append(asked, ask_line(trial_id=trial_id))
    what = "trial 0000 is asked for a second time" if trial_id == "0000" else "trial_id: "
    refused(asked, what)


WRONG = [
    (None, "it holds no event"),
    (5, "it holds no event"),
    (ask_line(seed="s"), "seed: Input should be a valid integer"),
    (ask_line(seed=2**63), "seed: Input should be less than"),
    (ask_line(seed=True), "seed: Input should be a valid integer"),
    (ask_line(seed=1.0), "seed: Input should be a valid integer"),
    (ask_line(number=-1), "number: Input should be greater than or equal to 0"),
    (ask_line(number=0), "number 0 comes after 0"),
    (ask_line(group=-1), "group: Input should be greater than or equal to 0"),
    (ask_line(block=-1), "block: Input should be greater than or equal to 0"),
    (ask_line(phase="later"), "phase: Input should be"),
    (ask_line(recommended="yes"), "recommended: Input should be a valid boolean"),
    (ask_line(settings=[1]), "settings: Input should be a valid dictionary"),
    (ask_line(settings={"a": [1]}), "settings.a"),
    (ask_line(settings={"a": None}), "settings.a"),
    (ask_line(settings={"": 1}), "settings: '' cannot name a setting"),
    (ask_line(settings={"verdict": 1}), "settings: 'verdict' cannot name a setting"),
    (tell_line(wer=-3.0), "result.wer: Input should be a valid number of at least 0"),
    (tell_line(wer="0.5"), "result.wer: Input should be a valid number of at least 0"),
    (tell_line(wer=None), "result.wer: Input should be a valid number of at least 0"),
    (tell_line(wer=True), "result.wer: Input should be a valid number of at least 0"),
    (tell_line(wer="-inf"), "result.wer: Input should be a valid number of at least 0"),
    (tell_line(objective="nan"), "result.objective: Input should be a valid number"),
    (tell_line(margin=1.5), "result.margin: Input should be a valid number in"),
    (tell_line(applied_update_rate=1.5), "result.applied_update_rate: Input should be a valid number in"),
    (tell_line(num_steps=-1), "result.num_steps: Input should be greater"),
    (tell_line(stop_step=2.5), "result.stop_step: Input should be a valid integer"),
    (tell_line(audited="yes"), "result.audited: Input should be a valid boolean"),
    (tell_line(spent_s="nan"), "spent_s: Input should be a valid number"),
    (tell_line(seed=4), "result.seed is 4, but 3 was asked for"),
    (tell_line(number=1), "result.number is 1, but 0 was asked for"),
    (tell_line("0009"), "the result is of trial 0009, which nobody asked for"),
    ({**tell_line(), "trial_id": "0001"}, "the result is of trial 0001, which nobody asked for"),
    ({"event": "retry", "trial_id": "0000"}, "trial 0000 is to run again, but its result is not told"),
    ({"event": "cause", "trial_id": "0000", "cause": "x", "forensics_s": 1.0}, "whose result is not told"),
]


@pytest.mark.parametrize(("line", "what"), WRONG)
def test_a_line_that_says_what_cannot_be_is_refused(asked: Path, line: object, what: str) -> None:
    append(asked, line)
    refused(asked, what)


@pytest.mark.parametrize(
    "value", ["1e400", "-1e400", "NaN", "Infinity", "1" * 5000, '"\\ud800"', "[" * 300 + "]" * 300, '"\\x"']
)
def test_numbers_without_end_and_halves_of_characters_are_refused(asked: Path, value: str) -> None:
    line = json.dumps(ask_line(settings={"training.optimizer.lr": "HERE"})).replace('"HERE"', value)
    append(asked, line)
    refused(asked, "")


def test_a_result_that_is_told_twice_is_refused(asked: Path) -> None:
    append(asked, tell_line())
    append(asked, tell_line())
    refused(asked, "the result of trial 0000 is told a second time", number=3)


def test_a_training_that_is_to_run_again_may_be_told_again(asked: Path) -> None:
    append(asked, tell_line(wer=0.5))
    append(asked, {"event": "retry", "trial_id": "0000"})
    append(asked, tell_line(wer=0.25))
    ledger = Ledger(asked.parent)
    ledger.close()
    assert ledger.results["0000"].wer == 0.25


def append(path: Path, line: object) -> None:
    with path.open("a") as file:
        file.write((line if isinstance(line, str) else json.dumps(line)) + "\n")


def refused(path: Path, what: str, number: int = 2) -> None:
    """A run refuses the ledger, whoever follows it does too, and neither changes it or names more than one line."""
    before = path.read_bytes()
    with pytest.raises(ResultsError) as told:
        Ledger(path.parent)
    assert str(told.value).startswith(f"{path}:{number}: this line is damaged (") and what in str(told.value)
    assert "\n" not in str(told.value) and f"python -m sweep.recover {path.parent}" in str(told.value)
    # The lock's file stays or goes with the version of its library.
    assert path.read_bytes() == before and {one.name for one in path.parent.iterdir()} - {"ledger.lock"} == {path.name}


def grown(folder: Path, num_trials: int = 4) -> Path:
    """A ledger with results, a cause and the end of the exploration."""
    ledger = Ledger(folder)
    for number in range(num_trials):
        ledger.ask(dataclasses.replace(ASK, trial_id=f"{number:04d}", number=number, group=number))
    for number in range(num_trials - 1):
        told = dataclasses.replace(result(folder), trial_id=f"{number:04d}", number=number, group=number)
        ledger.tell(dataclasses.replace(told, wer=0.125 * number), spent_s=1.0 + number)
    ledger.note_cause(dataclasses.replace(told, cause="too hot", forensics_s=2.0), spent_s=9.0)
    ledger.end_exploration(Explored("the map is known", {"search": {"kind": "stability"}}))
    ledger.close()
    return folder / "ledger.jsonl"


def test_each_line_has_a_checksum_that_tells_its_content_and_its_place(tmp_path: Path) -> None:
    path = grown(tmp_path)
    for number, line in enumerate(path.read_bytes().splitlines(), start=1):
        head, _, total = line.rpartition(b', "sum": "')
        assert total == b'%08x"}' % zlib.crc32(head, number)
        assert list(json.loads(line))[-1] == "sum"


def test_any_changed_number_is_found(tmp_path: Path) -> None:
    path = grown(tmp_path)
    path.write_bytes(path.read_bytes().replace(b'"wer": 0.125', b'"wer": 0.124'))
    with pytest.raises(ResultsError, match=r"ledger.jsonl:6: this line is damaged \(its checksum does not fit"):
        Ledger(tmp_path)
    with pytest.raises(ResultsError, match=r"ledger.jsonl:6: this line is damaged \(its checksum does not fit"):
        LedgerTail(tmp_path).update()
    assert elapsed_s(tmp_path) == 9.0, "that line is sound"
    path.write_bytes(path.read_bytes().replace(b'"spent_s": 9.0', b'"spent_s": 8.0'))
    with pytest.raises(ResultsError, match=r"ledger.jsonl:8: this line is damaged \(its checksum"):
        elapsed_s(tmp_path)


def test_lines_with_and_without_checksums_are_read_side_by_side(tmp_path: Path) -> None:
    (tmp_path / "ledger.jsonl").write_text(EARLIER)
    ledger = Ledger(tmp_path)
    ledger.ask(dataclasses.replace(ASK, trial_id="0001", number=1, group=1))
    ledger.close()
    path = tmp_path / "ledger.jsonl"
    assert path.read_text().startswith(EARLIER) and path.read_text().count('"sum"') == 1
    again = Ledger(tmp_path)
    again.close()
    assert len(again.asks) == 2 and list(again.results) == ["0000"]
    tail = LedgerTail(tmp_path)
    tail.update()
    assert list(tail.asks) == ["0000", "0001"] and tail.told == {"0000"}
    assert elapsed_s(tmp_path) == 3.5


def test_line_ends_of_another_system_change_nothing(tmp_path: Path) -> None:
    path = grown(tmp_path)
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    ledger = Ledger(tmp_path)
    ledger.close()
    assert len(ledger.results) == 3 and ledger.explored is not None


def test_a_whole_last_line_without_its_end_counts(tmp_path: Path) -> None:
    path = grown(tmp_path)
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    ledger = Ledger(tmp_path)
    assert ledger.explored is not None and "had no end" in ledger.notes[0]
    ledger.ask(dataclasses.replace(ASK, trial_id="0004", number=4, group=4))
    ledger.close()
    assert path.read_bytes().startswith(whole)
    again = Ledger(tmp_path)
    again.close()
    assert len(again.asks) == 5 and not again.notes
    assert not path.with_name("ledger.jsonl.1").exists(), "nothing was cut off"


@pytest.mark.parametrize("rest", [b'{"event": "tell", "trial', b"\0\0\0\0", b"\xff\xfe", b"{"])
def test_what_is_cut_off_is_kept_and_told(tmp_path: Path, rest: bytes) -> None:
    path = grown(tmp_path)
    whole = path.read_bytes()
    for number in (1, 2):
        path.write_bytes(whole + rest)
        ledger = Ledger(tmp_path)
        ledger.close()
        assert path.read_bytes() == whole and len(ledger.results) == 3
        assert path.with_name(f"ledger.jsonl.{number}").read_bytes() == whole + rest
        (note,) = ledger.notes
        assert f"({len(rest)} bytes; the file as it was is kept as ledger.jsonl.{number})" in note


def test_a_whole_last_line_that_cannot_be_is_not_dropped_as_if_it_were_cut(asked: Path) -> None:
    with asked.open("a") as file:
        file.write(json.dumps(tell_line(wer=-3.0)))
    refused(asked, "result.wer")


def test_a_reason_that_is_no_text_is_written_as_text(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    ledger.ask(ASK)
    ledger.tell(dataclasses.replace(result(tmp_path), reason="no such file: a\udcff.csv \U0001f642"), spent_s=1.0)
    ledger.close()
    again = Ledger(tmp_path)
    again.close()
    assert again.results["0000"].reason == ledger.results["0000"].reason == "no such file: a?.csv \U0001f642"


def test_a_line_that_could_not_be_read_back_is_not_written(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    ledger.ask(ASK)
    before = (tmp_path / "ledger.jsonl").read_bytes()
    for wrong in ({"objective": math.nan}, {"trial_id": "../0000"}, {"seed": 4}):
        with pytest.raises(ValueError):
            ledger.tell(dataclasses.replace(result(tmp_path), **wrong), spent_s=1.0)
    assert (tmp_path / "ledger.jsonl").read_bytes() == before and not ledger.results
    ledger.close()


def test_a_write_that_fails_leaves_no_half_line(tmp_path: Path) -> None:
    """A limit on the size of files stops a line in its middle, as a full disk does."""
    ledger = Ledger(tmp_path)
    ledger.ask(ASK)
    size = (tmp_path / "ledger.jsonl").stat().st_size
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 100, before[1]))
    try:
        with pytest.raises(OSError):
            ledger.tell(result(tmp_path), spent_s=1.0)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)
    assert (tmp_path / "ledger.jsonl").stat().st_size == size and not ledger.results
    ledger.tell(result(tmp_path), spent_s=1.0)
    ledger.close()
    again = Ledger(tmp_path)
    again.close()
    assert list(again.results) == ["0000"]


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bytes, dict[str, str]]:
    """A folder, its sound ledger, and what that says."""
    folder = tmp_path_factory.mktemp("fuzzed")
    content = grown(folder, 6).read_bytes()
    return folder, content, said_by(folder)


def said_by(folder: Path) -> dict[str, str]:
    ledger = Ledger(folder)
    ledger.close()
    return {"asks": repr(ledger.asks), "results": repr(ledger.results), "end": repr((ledger.explored, ledger.spent_s))}


@st.composite
def mutations(draw: st.DrawFn) -> Callable[[bytes], bytes]:
    """A change of bytes: overwritten, taken out, put in, doubled, or moved."""
    at, length = draw(st.integers(0, 10**6)), draw(st.integers(1, 400))
    kind = draw(st.sampled_from(["overwritten", "out", "in", "doubled", "line out", "lines swapped", "a bit"]))
    fresh = draw(st.binary(min_size=1, max_size=8))

    def change(content: bytes) -> bytes:
        place = at % len(content)
        lines = content.splitlines(keepends=True)
        line = at % (len(lines) - 1)
        match kind:
            case "overwritten":
                return content[:place] + fresh + content[place + len(fresh) :]
            case "out":
                return content[:place] + content[place + length :]
            case "in":
                return content[:place] + fresh + content[place:]
            case "doubled":
                return content[: place + length] + content[place:]
            case "line out":
                return b"".join(lines[:line] + lines[line + 1 :])
            case "lines swapped":
                lines[line], lines[line + 1] = lines[line + 1], lines[line]
                return b"".join(lines)
            case _:
                return content[:place] + bytes([content[place] ^ 1 << at % 8]) + content[place + 1 :]

    return change


@settings(max_examples=400)
@given(change=mutations())
def test_a_damaged_ledger_reads_as_before_or_not_at_all(
    fuzzed: tuple[Path, bytes, dict[str, str]], change: Callable[[bytes], bytes]
) -> None:
    folder, content, before = fuzzed
    changed = change(content)
    (folder / "ledger.jsonl").write_bytes(changed)
    try:
        now = said_by(folder)
    except ResultsError as error:
        assert "ledger.jsonl" in str(error) and "\n" not in str(error)
        assert (folder / "ledger.jsonl").read_bytes() == changed
        return
    finally:
        for copy in folder.glob("ledger.jsonl.*"):
            copy.unlink()
    # Only what stands at the very end may be gone: a line that was being written looks the same.
    lines, left = content.splitlines(), changed[: changed.rfind(b"\n") + 1].splitlines()
    assert now == before or left == lines[: len(left)]


@settings(max_examples=200)
@given(change=mutations())
def test_a_damaged_ledger_of_an_earlier_version_ends_in_nothing_but_a_message(
    fuzzed: tuple[Path, bytes, dict[str, str]], change: Callable[[bytes], bytes]
) -> None:
    folder, content, _ = fuzzed
    earlier = re.sub(rb', "sum": "[0-9a-f]{8}"', b"", content)
    (folder / "ledger.jsonl").write_bytes(change(earlier))
    for read in (said_by, elapsed_s, lambda folder: LedgerTail(folder).update()):
        with contextlib.suppress(ResultsError):
            read(folder)
    for copy in folder.glob("ledger.jsonl.*"):
        copy.unlink()


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to("/dev/zero"), Path.mkdir])
def test_who_follows_a_ledger_waits_for_no_pipe_and_reads_no_device(
    tmp_path: Path, make: Callable[[Path], None]
) -> None:
    make(tmp_path / "ledger.jsonl")
    with pytest.raises(ResultsError, match=r"ledger.jsonl is (no file|a folder, not a file)"):
        LedgerTail(tmp_path).update()
