"""An object store: addresses, puts that fail where there is one, files both ways, and what is told of failures."""

import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

obstore = pytest.importorskip("obstore", reason="obstore is not installed: pip install -e '.[remote]'")


from slr_models.errors import MachineError, ResultsError, SettingError, UserError  # noqa: E402
from sweep.store.remote import objects as remote_objects  # noqa: E402
from sweep.store.remote.address import StoreAddress, as_address  # noqa: E402
from sweep.store.remote.mirror import Mirror  # noqa: E402
from sweep.store.remote.objects import ExistsError, ObjectStore  # noqa: E402
from sweep.store.remote.segments import SEGMENTS, LedgerSegments, read_segments  # noqa: E402
from sweep.store.remote.study import RemoteStudy, StudyCopy  # noqa: E402


def test_a_segment_that_is_missing_is_told_of(objects) -> None:
    ledger = LedgerSegments(objects)
    ledger.begin(b"")
    for line in (b"1\n", b"2\n", b"3\n"):
        ledger.add(line, lambda: b"")
    objects.delete(f"{SEGMENTS}/0000000003.jsonl")
    with pytest.raises(ResultsError, match=f"{SEGMENTS}/0000000003.jsonl is missing, a part of the ledger"):
        read_segments(objects)


def test_files_go_both_ways_and_those_removed_are_removed(objects, tmp_path) -> None:
    here, there = (tmp_path / name / "study" for name in ("here", "there"))
    names = ["a b%2F#?[x]+&=\u00fc.txt", "evidence/0000/explanation.json", "report.html"]
    for name in names:
        (here / name).parent.mkdir(parents=True, exist_ok=True)
        (here / name).write_text(name)
    (here / "ledger.lock").write_text("")
    (here / "ray").mkdir()
    (here / "ray" / "x").write_text("")
    (here / "link").symlink_to(here / "report.html")
    mirror = Mirror(objects, here)
    mirror.send()
    assert objects.listing() == [], "what may be changing yet waits"
    mirror.send()
    assert [one.key for one in objects.listing()] == sorted(names)
    Mirror(objects, there).bring()
    assert all((there / name).read_text() == name for name in names)
    (here / "report.html").unlink()
    (here / names[0]).write_text("other")
    mirror.send(everything=True)
    again = Mirror(objects, there)
    again.bring()
    assert not (there / "report.html").exists() and (there / names[0]).read_text() == "other"
    (there / names[1]).write_text("changed there")
    again.send(everything=True)
    mirror.bring()
    assert (here / names[1]).read_text() == "changed there"


def test_a_checkpoint_never_arrives_before_its_records(objects, tmp_path, monkeypatch) -> None:
    here = tmp_path / "study"
    for name in ("checkpoints/0000/last.pt", "steps/0000.jsonl"):
        (here / name).parent.mkdir(parents=True)
        (here / name).write_text("of step 1")
    put, sent = objects.put, []

    def put_while_it_trains_on(key: str, content: bytes) -> str:
        sent.append((key, bytes(content)))
        other = here / "checkpoints/0000/last.new"
        other.write_text("of step 2")
        other.replace(here / "checkpoints/0000/last.pt")
        return put(key, content)

    monkeypatch.setattr(objects, "put", put_while_it_trains_on)
    Mirror(objects, here).send(everything=True)
    assert sent == [("steps/0000.jsonl", b"of step 1"), ("checkpoints/0000/last.pt", b"of step 1")]
    assert sorted(one.name for one in (here / "checkpoints/0000").iterdir()) == ["last.pt"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("s3://", "names no bucket"),
        ("s3:///x", "names no bucket"),
        ("s3://bucket/a//b", "has a part that is empty"),
        ("gs://bucket/../b", "made of dots"),
        ("s3://bucket/a\n", "cannot be printed"),
        ("s3://KEY:very-secret@bucket/x", "leave them out"),
    ],
)
def test_an_address_that_is_none_is_told_without_secrets(text: str, told: str) -> None:
    with pytest.raises(SettingError, match=told) as error:
        as_address(text)
    assert "very-secret" not in str(error.value)


def test_addresses_have_folders_of_their_own(monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    at = [as_address(text) for text in ("s3://bucket/a b/", "S3://bucket/a b", "s3://bucket/a#b?", "gs://bucket/a b")]
    assert [str(one) for one in at] == ["s3://bucket/a b", "s3://bucket/a b", "s3://bucket/a#b?", "gs://bucket/a b"]
    folders = [(one / "x").folder(use) for one in at if one is not None for use in ("work", "read")]
    assert len(set(folders)) == 6 and all(one.name == "x" and one.is_relative_to(tmp_path) for one in folders)
    assert as_address("hdfs://node/x") is None and as_address("results") is None


def opened(bucket: str, prefix: str = "x") -> ObjectStore:
    objects = ObjectStore(StoreAddress("s3", bucket, prefix))
    objects.patience_s = 0.2
    return objects


def test_of_many_that_put_at_once_one_wins(objects) -> None:
    won: list[int] = []

    def put(number: int) -> None:
        with suppress(ExistsError):
            objects.create("a", str(number).encode())
            won.append(number)

    threads = [threading.Thread(target=put, args=(number,)) for number in range(8)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert len(won) == 1 and objects.get("a") == str(won[0]).encode()


def test_s3_puts_once(bucket: str, tmp_path: Path) -> None:
    objects = opened(bucket, "odd #?%2F[x]+&= \u00fc")
    objects.create("a b", b"first")
    with pytest.raises(ExistsError):
        objects.create("a b", b"second")
    assert objects.get("a b") == b"first" and objects.get("c") is None
    (tmp_path / "large").write_bytes(bytes(9 * 2**20))
    objects.put("large", tmp_path / "large")
    assert objects.download("large", tmp_path / "back") and (tmp_path / "back").read_bytes() == bytes(9 * 2**20)
    assert [(one.key, one.size) for one in objects.listing()] == [("a b", 5), ("large", 9 * 2**20)]
    assert [one.key for one in objects.listing(after="a b")] == ["large"]
    objects.delete("large")
    objects.delete("never there")
    assert [one.key for one in objects.listing()] == ["a b"]


class _Answers:
    """An `obstore` that fails so, one call after another, and then does as it should."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)

    def put(self, *given: Any, **named: Any) -> Any:
        if self.errors:
            raise self.errors.pop(0)
        return obstore.put(*given, **named)


def _status(number: str, code: str) -> str:
    return f"Server returned non-2xx status code: {number}: <Error><Code>{code}</Code>secret-of-tests</Error>"


def test_what_may_pass_is_tried_again_and_told_of_once(objects, monkeypatch) -> None:
    monkeypatch.setattr(remote_objects, "_FIRST_WAIT_S", 0.01)
    monkeypatch.setattr(remote_objects, "_TOLD_AFTER_S", 0.0)
    passing = [_status("503 Slow", "SlowDown"), "error sending request", _status("500", "InternalError")]
    monkeypatch.setattr(objects, "_api", _Answers(*map(obstore.exceptions.GenericError, passing)))
    said: list[str] = []
    objects.say, objects.patience_s = said.append, 60.0
    objects.create("a", b"x")
    assert said == ["s3://bucket/of/tests cannot be reached (it answered SlowDown): tried for 60 s at most"]
    monkeypatch.setattr(objects, "_api", _Answers(*map(obstore.exceptions.GenericError, passing * 9)))
    objects.patience_s = 0.1
    with pytest.raises(MachineError, match="cannot be reached .* repeat the command, which goes on"):
        objects.create("b", b"x")


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (obstore.exceptions.PermissionDeniedError(_status("403", "AccessDenied")), r"refused the credentials \(Access"),
        (obstore.exceptions.GenericError(_status("301", "PermanentRedirect")), "another region: set AWS_REGION"),
        (obstore.exceptions.GenericError(_status("501", "NotImplemented")), "knows no conditional puts"),
        (obstore.exceptions.GenericError(_status("400", "ExpiredToken")), r"refused this \(ExpiredToken\)"),
    ],
)
def test_what_does_not_pass_is_told_at_once(objects, monkeypatch, error: Exception, told: str) -> None:
    monkeypatch.setattr(objects, "_api", _Answers(error))
    with pytest.raises(MachineError, match=told) as raised:
        objects.create("a", b"x")
    assert "secret-of-tests" not in str(raised.value) and "\n" not in str(raised.value)


def _no_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    # As on a machine of no cloud.
    monkeypatch.setenv("AWS_METADATA_ENDPOINT", "http://127.0.0.1:9/169.254.169.254")


@pytest.mark.parametrize(
    ("bucket_name", "spoil", "kind", "told"),
    [
        ("no-such-bucket", lambda patch: None, UserError, "there is no bucket 'no-such-bucket': make it"),
        (None, _no_credentials, MachineError, "no credentials were found for it: set AWS_ACCESS_KEY_ID"),
        (
            None,
            lambda patch: patch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9"),
            MachineError,
            "cannot be reached",
        ),
    ],
)
def test_what_is_wrong_with_a_store_is_one_line(
    bucket: str,
    monkeypatch: pytest.MonkeyPatch,
    bucket_name: str | None,
    spoil: Callable[[pytest.MonkeyPatch], None],
    kind: type[Exception],
    told: str,
) -> None:
    spoil(monkeypatch)
    objects = opened(bucket_name or bucket)
    for act in (lambda: RemoteStudy(objects, print), lambda: StudyCopy(objects)):
        with pytest.raises(kind, match=told) as error:
            act()
        assert "\n" not in str(error.value) and "secret-of-tests" not in str(error.value)
