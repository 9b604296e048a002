"""The ledger survives what a killed driver leaves."""

import dataclasses
import json
import math

import pytest

from slr_models.errors import ResultsError
from sweep.records import Outcome, Phase
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


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ({"event": "later"}, "unknown event 'later'"),
        ({"event": ["ask"]}, r"unknown event \['ask'\]"),
        ({}, "unknown event None"),
        ([1], "it holds no event"),
        ({"event": "ask", "trial_id": "0001"}, "number: Field required"),
        ({"event": "cause", "trial_id": "0009", "cause": "too hot", "forensics_s": 2.0}, "'0009'"),
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
    ledger.tell(result(tmp_path), spent_s=1.0)
    ledger.close()
    path = tmp_path / "ledger.jsonl"
    line = json.loads(path.read_text())
    line["result"][field] = value
    path.write_text(json.dumps(line) + "\n")
    with pytest.raises(ResultsError) as told:
        Ledger(tmp_path)
    assert f"ledger.jsonl:1: this line is damaged ({what}" in str(told.value)


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
