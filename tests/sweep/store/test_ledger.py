"""The ledger survives what a killed driver leaves."""

import dataclasses
import json
import math

import pytest

from slr_models.errors import ResultsError
from sweep.records import Outcome
from sweep.running.job import Job, RunOptions
from sweep.running.trial import crashed_result
from sweep.store.ledger import Ledger
from sweep.store.ledger_lines import Ask, elapsed_s

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
    assert again.spent_s == 16.5 and again.explained_s == [3.5]
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
