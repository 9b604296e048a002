"""A study on an object store: what is acknowledged is never lost, and one run at a time writes there."""

import json
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

obstore = pytest.importorskip("obstore", reason="obstore is not installed: pip install -e '.[remote]'")


from slr_models.errors import MachineError, ResultsError  # noqa: E402
from sweep.forensics import allowance  # noqa: E402
from sweep.records import Outcome, Phase  # noqa: E402
from sweep.running.job import Job, RunOptions  # noqa: E402
from sweep.running.judged import crashed_result  # noqa: E402
from sweep.store.ledger import Ledger  # noqa: E402
from sweep.store.ledger_lines import LEDGER_FILE, Ask  # noqa: E402
from sweep.store.remote import lease, lines, segments  # noqa: E402
from sweep.store.remote.address import StoreAddress, as_address  # noqa: E402
from sweep.store.remote.lease import LEASES, Lease  # noqa: E402
from sweep.store.remote.lines import STORED_AT_FILE  # noqa: E402
from sweep.store.remote.objects import ExistsError, ObjectStore  # noqa: E402
from sweep.store.remote.process import TrainingFiles  # noqa: E402
from sweep.store.remote.segments import WHOLE, LedgerSegments, read_segments  # noqa: E402
from sweep.store.remote.study import RemoteStudy, StudyCopy, remote_study  # noqa: E402
from sweep.store.tables import remove_trial  # noqa: E402

AT = StoreAddress("s3", "bucket", "of/tests")

TRAINING = """
import sys
from pathlib import Path
from sweep.running.job import Job, RunOptions
from sweep.running.judged import crashed_result
from sweep.store.ledger import Ledger
from sweep.store.ledger_lines import Ask
from sweep.store.remote.address import as_address
from sweep.store.remote.study import remote_study

with remote_study(as_address(sys.argv[1]), print) as study:
    ledger = Ledger(study.folder, keep=study.add_line)
    number = len(ledger.asks)
    while True:
        trial = f"{number:04d}"
        ledger.ask(Ask(trial, number, number, 0, "explore", {"lr": 0.1}))
        (study.folder / "steps").mkdir(exist_ok=True)
        (study.folder / "steps" / f"{trial}.parquet").write_bytes(trial.encode())
        job = Job(trial, number, number, 0, "explore", {"lr": 0.1}, None, 10)
        ledger.tell(crashed_result(job, RunOptions(Path("."), "wer", None, True, "none"), "boom"), spent_s=1.0)
        print("told", trial, flush=True)
        number += 1
"""
"""A run whose trainings take no time; it says of each when its result is acknowledged."""


def ask(number: int) -> Ask:
    return Ask(f"{number:04d}", number, number, 0, Phase.EXPLORE, {"lr": 0.1})


def result(number: int) -> Any:
    job = Job(f"{number:04d}", number, number, 0, Phase.EXPLORE, {"lr": 0.1}, None, 10)
    return crashed_result(job, RunOptions(Path("."), "wer", None, True, "none"), "boom")


def elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str) -> None:
    """From now on as on another machine, which has nothing of the study."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / name))


def test_a_study_goes_on_on_another_machine_with_all_that_was_told(objects, tmp_path, monkeypatch) -> None:
    study = RemoteStudy(objects, print)
    ledger = Ledger(study.folder, keep=study.add_line)
    ledger.ask(ask(0))
    (study.folder / "steps").mkdir()
    (study.folder / "steps" / "0000.parquet").write_bytes(b"steps of 0000")
    ledger.tell(result(0), spent_s=3.0)
    ledger.close()
    # Nothing was sent at an end: the run died here.
    study._sending.end()
    study._lease._ended.set()
    elsewhere(monkeypatch, tmp_path, "another")
    again = RemoteStudy(objects, print)
    assert again.folder != study.folder
    ledger = Ledger(again.folder, keep=again.add_line)
    assert list(ledger.results) == ["0000"] and ledger.spent_s == 3.0
    assert (again.folder / "steps" / "0000.parquet").read_bytes() == b"steps of 0000", "sent before the result"
    ledger.close()
    again.end(failed=False)
    copy = StudyCopy(objects)
    assert (copy.folder / LEDGER_FILE).read_bytes() == (again.folder / LEDGER_FILE).read_bytes()


def test_of_a_training_that_runs_again_nothing_is_left(objects) -> None:
    study = RemoteStudy(objects, print, sent_by_trainings=True)
    for trial in ("0000", "0001"):
        for name in (f"checkpoints/{trial}/last.pt", f"steps/{trial}.parquet", f"files/{trial}/a/b.txt"):
            objects.put(name, b"x")
    with closing(Ledger(study.folder, keep=study.add_line)) as ledger:
        for number in range(2):
            ledger.ask(ask(number))
            ledger.tell(result(number), spent_s=1.0)
        ledger.retry("0000")
        remove_trial(study.folder, "0000")
    study.end(failed=False)
    left = {one.key for one in objects.listing() if one.key.partition("/")[0] in ("checkpoints", "steps", "files")}
    assert left == {"checkpoints/0001/last.pt", "steps/0001.parquet", "files/0001/a/b.txt"}


def test_a_run_that_was_taken_over_writes_nothing_more(objects, tmp_path, monkeypatch) -> None:
    first = RemoteStudy(objects, print)
    ledger = Ledger(first.folder, keep=first.add_line)
    ledger.ask(ask(0))
    elsewhere(monkeypatch, tmp_path, "another")
    second = RemoteStudy(objects, print)
    before = read_segments(objects)
    (first.folder / "report.html").write_text("of the first")
    with pytest.raises(MachineError, match="another run has taken this study over, and writes there now"):
        ledger.ask(ask(1))
    ledger.close()
    first.end(failed=True)
    assert read_segments(objects) == before and objects.get("report.html") is None
    second.end(failed=False)


def test_of_two_that_begin_at_once_one_writes(objects) -> None:
    both = [LedgerSegments(objects), LedgerSegments(objects)]
    both[0].begin(b"")
    with pytest.raises(MachineError, match="another run has taken this study over"):
        both[1].begin(b"")


@pytest.mark.parametrize("is_alive", [True, False])
def test_a_run_on_another_machine_is_watched(objects, monkeypatch, is_alive: bool) -> None:
    monkeypatch.setattr(lease, "RENEW_S", 0.05)
    monkeypatch.setattr(lease, "_LOOK_S", 0.1)
    monkeypatch.setattr(lease, "DEAD_AFTER_S", 0.5)
    monkeypatch.setattr(lease, "_machine", lambda: "of the first")
    first, said = Lease(objects, print), list[str]()
    if not is_alive:
        first._ended.set()
        first._thread.join()
    monkeypatch.setattr(lease, "_machine", lambda: "of the second")
    if is_alive:
        with pytest.raises(ResultsError, match="is in use by another run, process .* wait for it, stop it, or give"):
            Lease(objects, said.append)
        first.check()
        first.end()
        Lease(objects, said.append).end()
    else:
        Lease(objects, said.append).end()
        with pytest.raises(MachineError, match="another run has taken"):
            first.check()
    assert len(said) == 1 and "did not say that it ended" in said[0]


def test_a_store_that_overwrites_is_refused(objects, monkeypatch) -> None:
    monkeypatch.setattr(objects, "create", objects.put)
    with pytest.raises(MachineError, match="overwrites where it is asked not to"):
        RemoteStudy(objects, print)


def test_what_could_not_be_sent_is_sent_by_the_next_run_of_this_machine(objects, store, monkeypatch) -> None:
    study = RemoteStudy(objects, print)
    ledger = Ledger(study.folder, keep=study.add_line)
    ledger.ask(ask(0))
    monkeypatch.setattr(objects, "create", fails := _Failing())
    objects.patience_s = 0.0
    with pytest.raises(MachineError, match="cannot be reached"):
        ledger.tell(result(0), spent_s=1.0)
    ledger.close()
    study.end(failed=True)
    assert fails.num == 1
    next_objects = ObjectStore(AT, store)
    again = RemoteStudy(next_objects, print)
    with closing(Ledger(again.folder, keep=again.add_line)) as ledger:
        assert list(ledger.results) == ["0000"]
    again.end(failed=False)
    assert b'"tell"' in (read_segments(next_objects) or b"")


class _Failing:
    def __init__(self) -> None:
        self.num = 0

    def __call__(self, key: str, content: bytes) -> None:
        self.num += 1
        raise MachineError("it cannot be reached")


def test_lines_that_another_machine_did_not_wait_for_are_set_aside(objects, tmp_path, monkeypatch) -> None:
    first = RemoteStudy(objects, print)
    here = first.folder
    first.end(failed=False)
    ledger = Ledger(here)
    ledger.ask(ask(0))
    ledger.close()
    own = (here / LEDGER_FILE).read_bytes()
    elsewhere(monkeypatch, tmp_path, "another")
    with_other = RemoteStudy(objects, print)
    ledger = Ledger(with_other.folder, keep=with_other.add_line)
    ledger.ask(Ask("0000", 0, 0, 7, Phase.EXPLORE, {"lr": 0.3}))
    ledger.close()
    with_other.end(failed=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    said: list[str] = []
    again = RemoteStudy(objects, said.append)
    with closing(Ledger(again.folder)) as ledger:
        assert [a.seed for a in ledger.asks] == [7]
    assert len(said) == 1 and "another machine went on with the study" in said[0]
    assert (here.with_name(f"{here.name}.1") / LEDGER_FILE).read_bytes() == own
    again.end(failed=False)


def test_a_study_that_was_removed_there_begins_anew(objects, store) -> None:
    study = RemoteStudy(objects, print)
    ledger = Ledger(study.folder, keep=study.add_line)
    ledger.ask(ask(0))
    ledger.close()
    study.end(failed=False)
    for one in objects.listing():
        objects.delete(one.key)
    said: list[str] = []
    again = RemoteStudy(objects, said.append)
    with closing(Ledger(again.folder)) as ledger:
        assert ledger.asks == [] and len(said) == 1 and "it begins anew" in said[0]
    again.end(failed=False)


def test_an_answer_that_was_lost_is_not_taken_for_another_run(objects, monkeypatch) -> None:
    ledger = LedgerSegments(objects)
    ledger.begin(b"")
    create = objects.create

    def lost(key: str, content: bytes) -> None:
        create(key, content)
        raise ExistsError(key)

    monkeypatch.setattr(objects, "create", lost)
    ledger.add(b"one\n", lambda: b"")
    monkeypatch.setattr(objects, "create", create)
    ledger.add(b"two\n", lambda: b"")
    assert read_segments(objects) == b"one\ntwo\n"


def test_many_segments_are_read_by_few_objects(objects, monkeypatch) -> None:
    monkeypatch.setattr(segments, "_WHOLE_EVERY", 10)
    ledger, lines = LedgerSegments(objects), b""
    ledger.begin(b"")
    for line in (f"{number}\n".encode() for number in range(35)):
        lines += line
        ledger.add(line, lambda now=lines: now)
    asked: list[str] = []
    get = objects.get
    monkeypatch.setattr(objects, "get", lambda key: asked.append(key) or get(key))
    assert read_segments(objects) == lines
    assert len(asked) <= 11 and asked[0].startswith(WHOLE)
    LedgerSegments(objects).begin(lines)
    assert read_segments(objects) == lines


def test_a_training_goes_on_in_a_process_of_another_machine(bucket: str) -> None:
    at, objects = f"s3://{bucket}/x/tiny", ObjectStore(StoreAddress("s3", bucket, "x/tiny"))
    first = TrainingFiles(at)
    first.bring(["0000"])
    names = ["checkpoints/0000/last.pt", "steps/0000.jsonl", "files/0000/output.txt"]
    for name in names:
        (first.folder / name).parent.mkdir(parents=True, exist_ok=True)
        (first.folder / name).write_text(name)
    first.settle()
    second = TrainingFiles(at)
    second.bring(["0001"])
    assert [one.name for one in second.folder.iterdir()] == [STORED_AT_FILE], "nobody else's"
    second.bring(["0000"])
    assert all((second.folder / name).read_text() == name for name in names)
    first.bring(["0002"])
    assert not any((first.folder / name).exists() for name in names)
    assert {one.key for one in objects.listing()} == set(names), "there they stay"
    first.end()
    second.end()
    assert not first.folder.exists() and {one.key for one in objects.listing()} == set(names)


def test_what_is_shared_out_is_shared_out_once(objects, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(lines, "_opened", lambda text: objects)
    folders = [tmp_path / str(number) for number in range(4)]
    for folder in folders:
        folder.mkdir()
        (folder / STORED_AT_FILE).write_text(str(AT))
    took = [
        allowance.take(folder, f"000{n}", Outcome.STALLED, num_trials=3, per_outcome=2)
        for n, folder in enumerate(folders)
    ]
    assert took == [True, True, False, False]
    assert allowance.take(folders[3], "0000", Outcome.STALLED, num_trials=3, per_outcome=2), "it has it"
    assert allowance.take(folders[3], "0003", Outcome.CRASHED, num_trials=3, per_outcome=2)
    assert allowance.taken_by(folders[0]) == ["0000", "0001", "0003"] and not allowance.is_left(folders[0], 3)
    study = RemoteStudy(objects, print, sent_by_trainings=True)
    assert allowance.taken_by(study.folder) == ["0000", "0001", "0003"]
    study.end(failed=False)


@pytest.mark.slow
def test_a_killed_run_loses_nothing_that_it_was_told_is_kept(bucket: str, tmp_path: Path, monkeypatch) -> None:
    told: list[str] = []
    at = f"s3://{bucket}/a #prefix/tiny"
    for number in range(2):
        elsewhere(monkeypatch, tmp_path, f"machine-{number}")
        with subprocess.Popen([sys.executable, "-c", TRAINING, at], stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            lines = (line.split() for line in process.stdout)
            for _, (_, trial) in zip(range(4), (line for line in lines if line[0] == "told"), strict=False):
                told.append(trial)
            time.sleep(0.05 * number)
            process.kill()
            told += [line.split()[1] for line in process.stdout.read().splitlines() if line.startswith("told ")]
    assert len(told) >= 8 and len(set(told)) == len(told)
    elsewhere(monkeypatch, tmp_path, "third")
    address = as_address(at)
    assert address is not None
    with remote_study(address, print) as study:
        events = [json.loads(line) for line in (study.folder / LEDGER_FILE).read_bytes().splitlines()]
        kept = [event["trial_id"] for event in events if event["event"] == "tell"]
        assert set(told) <= set(kept) and len(set(kept)) == len(kept)
        assert all((study.folder / "steps" / f"{trial}.parquet").read_bytes() == trial.encode() for trial in kept)
        Ledger(study.folder).close()
        second = subprocess.run([sys.executable, "-c", TRAINING, at], capture_output=True, text=True, check=False)
    assert "is in use by another run, process" in second.stderr.splitlines()[-1]
    assert [one.key for one in ObjectStore(address).listing(LEASES)][-1] == f"{LEASES}/000003.json"
