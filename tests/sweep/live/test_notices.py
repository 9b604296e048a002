"""Messages to people elsewhere, to a real server on loopback: what is posted, what is not, and what it costs."""

import http.server
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from slr_models.errors import MachineError, SettingError, UserError
from sweep import store
from sweep.live import notices as module
from sweep.live import webhooks
from sweep.live.notices import FirstDivergence, Notices
from sweep.live.webhooks import addresses
from sweep.records import Outcome, Phase, TrialResult
from sweep.run import main
from sweep.run.process_title import without_secrets
from sweep.store import latest_run
from sweep.store.latest_run import RunEnd

SECRET = "T0PS3CR3T-p4th"


@dataclass
class Server:
    """Takes messages; `answer` is what it says, and where it sends on to."""

    port: int
    answer: int = 200
    location: str | None = None
    delay_s: float = 0.0
    taken: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)

    def url(self, scheme: str = "http") -> str:
        return f"{scheme}://127.0.0.1:{self.port}/{SECRET}"


@pytest.fixture
def server() -> Iterator[Server]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            state.taken.append((self.path, dict(self.headers), body))
            time.sleep(state.delay_s)
            self.send_response(state.answer)
            if state.location is not None:
                self.send_header("Location", state.location)
            self.end_headers()

        do_GET = do_POST

        def log_message(self, format: str, *args: object) -> None:
            """Says nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        listening.block_on_close = False
        state = Server(listening.server_port)
        threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield state
        listening.shutdown()


def result(verdict: Outcome = Outcome.DIVERGED_LOSS, number: int = 12, **more: Any) -> TrialResult:
    return TrialResult(
        trial_id=f"{number:04d}", number=number, group=number, seed=0, phase=Phase.EXPLORE,
        settings={"training.optimizer.lr": 0.3, "config.weights": "/home/alice/models/big.pt"}, verdict=verdict,
        reason="the loss rose to 9.8", num_steps=60, max_steps=100, objective=2.5, margin=0.5, stop_step=40, **more,
    )  # fmt: skip


def told(*options: str, study: str = "smoke", done: list[TrialResult] | None = None) -> list[str]:
    """All that is told of a study, to these addresses; returns the lines that were printed."""
    said: list[str] = []
    with Notices(addresses(options), study, said.append) as notices:
        view = FirstDivergence(notices, done or [])
        view.finished(result(Outcome.STABLE, 11))
        view.finished(result(cause="learning rate too high (in /home/alice/x): LR / 10 keeps it down"))
        view.finished(result(number=13))
        results = [result(Outcome.STABLE, 11), result(), result(number=13)]
        notices.ended(RunEnd.FINISHED, results, "Use learning rate 0.001 & weights /home/alice/models/big.pt.", 75.0)
    return said


def test_a_webhook_gets_json(server: Server) -> None:
    assert told(server.url("json+http"), server.url("json+http")) == []
    (path, headers, first), (_, _, end) = server.taken
    assert path == f"/{SECRET}" and headers["Content-Type"] == "application/json"
    content = json.loads(first)
    assert content.pop("at").endswith("+00:00")
    text = (
        "0012 lr=0.3 weights=.../big.pt: diverged-loss at step 40 of 100: the loss rose to 9.8; cause: learning rate "
        "too high"
    )
    assert content == {
        "version": 1,
        "event": "first_divergence",
        "study": "smoke",
        "title": "smoke: a training diverged for the first time",
        "text": text,
        "trial": "0012",
        "outcome": "diverged-loss",
        "step": 40,
    }
    last = json.loads(end)
    assert (last["event"], last["state"], last["done"], last["elapsed_s"]) == ("end", "finished", 3, 75.0)
    assert last["outcomes"] == {"stable": 1, "diverged-loss": 2}
    assert last["text"] == (
        "Use learning rate 0.001 & weights .../big.pt.\n3 trainings in 75 s: 2 diverged-loss, 1 stable"
    )


def test_ntfy_gets_a_text_with_a_title_and_tags(server: Server) -> None:
    assert told(server.url("ntfy+http"), study="Gebärden\n1") == []
    _, headers, body = server.taken[1]
    assert headers["Title"] == "=?utf-8?q?Geb=C3=A4rden_1=3A_finished?=" and headers["Tags"] == "bell"
    assert body.decode().startswith("Use learning rate 0.001 & weights")
    server.taken.clear()
    told(server.url("ntfy+http"))
    assert server.taken[0][1]["Title"] == "smoke: a training diverged for the first time"


def test_slack_gets_a_text_without_mark_up(server: Server) -> None:
    assert told(server.url("slack+http"), study="a <b>") == []
    content = json.loads(server.taken[1][2])
    assert content["text"].startswith("a &lt;b&gt;: finished\nUse learning rate 0.001 &amp; weights .../big.pt.")
    assert list(content) == ["text"]


def test_a_study_that_goes_on_does_not_tell_of_its_first_divergence_again(server: Server) -> None:
    told(server.url(), done=[result(Outcome.STABLE, 3), result(number=4)])
    assert [json.loads(body)["event"] for _, _, body in server.taken] == ["end"]


def test_a_run_whose_time_is_over_tells_nobody_and_an_interrupted_one_does(server: Server) -> None:
    with Notices(addresses([server.url()]), "smoke", print) as notices:
        notices.ended(RunEnd.OUT_OF_TIME, [], "No setting was stable.", 5.0)
        notices.ended(RunEnd.INTERRUPTED, [], "No setting was stable.", 5.0)
    ((_, _, body),) = server.taken
    assert json.loads(body)["state"] == "interrupted" and "The same command goes on." in json.loads(body)["text"]


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (OSError(28, "No space left on device", "/home/alice/x"), "No space left on device."),
        (MachineError("/home/alice/x is full"), "the machine failed."),
        (UserError("/home/alice/x is damaged"), "something that was given is wrong, or damaged."),
        (KeyError("/home/alice"), "an unexpected error (KeyError)."),
    ],
)
def test_a_failure_is_told_without_what_it_says_and_written_down(
    server: Server, tmp_path: Path, error: Exception, kind: str
) -> None:
    store.write_study(tmp_path, {"provenance": {latest_run.KEY: latest_run.begun(0.0, 1, 0)}})
    with pytest.raises(type(error)), Notices(addresses([server.url()]), "smoke", print) as notices:
        with notices.failures_of(tmp_path):
            raise error
    ((_, _, body),) = server.taken
    assert json.loads(body)["event"] == "failure" and json.loads(body)["text"].startswith(kind)
    assert b"alice" not in body
    run = latest_run.latest_run(store.read_study(tmp_path)["provenance"])
    assert run is not None and run.ended is RunEnd.FAILED and run.why


def test_a_slow_server_holds_up_nothing_and_costs_one_line(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhooks, "TIMEOUT_S", 0.3)
    monkeypatch.setattr(module, "CLOSE_S", 2.0)
    server.delay_s = 1.0
    said: list[str] = []
    with Notices(addresses([server.url()]), "smoke", said.append) as notices:
        started = time.monotonic()
        notices.diverged(result())
        notices.ended(RunEnd.FINISHED, [], "", 1.0)
        assert time.monotonic() - started < 0.2
    assert time.monotonic() - started < 1.5
    assert said == ["  note: --notify: a message was not delivered: the server does not answer within 0 s"]


def test_the_end_waits_for_a_server_that_drips_no_longer_than_a_few_seconds(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CLOSE_S", 0.3)
    server.delay_s = 1.5
    started = time.monotonic()
    said = told(server.url("json+http"), f"{server.url('json+http')}/2")
    assert time.monotonic() - started < 1.2
    assert said == [f"  note: --notify ({which}): not all was sent within 0 s" for which in ("1st", "2nd")]


def test_a_server_that_is_gone_costs_one_line(server: Server) -> None:
    with http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler) as taken:
        gone = f"http://127.0.0.1:{taken.server_port}/{SECRET}"
    (line,) = told(gone, server.url())
    assert line.startswith("  note: --notify (1st): a message was not delivered: ") and SECRET not in line
    assert len(server.taken) == 2, "the others hear all"


@pytest.mark.parametrize("answer", [301, 302, 303, 307, 308])
def test_messages_do_not_go_where_a_server_sends_them(server: Server, answer: int) -> None:
    server.answer, server.location = answer, f"http://localhost:{server.port}/elsewhere"
    (line,) = told(server.url())
    assert f"HTTP {answer} (it sends elsewhere, and that is not followed)" in line and SECRET not in line
    assert {path for path, _, _ in server.taken} == {f"/{SECRET}"}


def test_an_answer_of_refusal_is_told(server: Server) -> None:
    server.answer = 404
    (line,) = told(server.url())
    assert line == "  note: --notify: a message was not delivered: the server answers with HTTP 404"


def test_the_form_follows_from_the_address() -> None:
    given = [
        "ntfy://my-topic",
        f"https://ntfy.sh/{SECRET}",
        f"https://hooks.slack.com/services/{SECRET}",
        f"https://example.org/{SECRET}",
        f"slack+https://chat.example.org/{SECRET}",
        f"json+https://ntfy.sh/{SECRET}",
        f"ntfy+https://me:p%40ss@push.example.org/{SECRET}",
    ]
    found = addresses(given)
    assert [one.form for one in found] == ["ntfy", "ntfy", "slack", "json", "slack", "json", "ntfy"]
    assert found[0].url == "https://ntfy.sh/my-topic"
    assert found[-1].url == f"https://push.example.org/{SECRET}"
    assert found[-1].authorization == "Basic bWU6cEBzcw=="
    assert SECRET not in repr(found) and "bWU6" not in repr(found)


@pytest.mark.parametrize(
    ("option", "said"),
    [
        (f"ftp://host/{SECRET}", "no address of http or https"),
        (f"file:///{SECRET}", "no address of http or https"),
        (f"slack+ftp://host/{SECRET}", "no address of http or https"),
        (f"https://host/{SECRET} x", "without spaces"),
        (f"https://hést/{SECRET}", "without spaces or accents"),
        (f"ntfy://host/{SECRET}", "takes a topic of ntfy.sh alone"),
        (f"https://host:99999/{SECRET}", "no valid host, port"),
        (f"https:///{SECRET}", "no valid host, port"),
        (f"https://me@host/{SECRET}", "user:password"),
        (SECRET, "no address of http or https"),
        ("", "no address of http or https"),
        ("env:NO_SUCH_NAME", "the environment variable NO_SUCH_NAME is not set"),
    ],
)
def test_what_is_no_address_is_refused_without_being_named(
    option: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SettingError, match=said) as refused:
        addresses([option])
    assert SECRET not in str(refused.value)
    (tmp_path / "x.yaml").write_text("name: x\n")
    assert main([str(tmp_path / "x.yaml"), "--notify", option]) == 2
    told = capsys.readouterr()
    assert said in told.err and told.err.count("\n") == 1 and SECRET not in told.err + told.out


def test_an_address_may_come_from_the_environment(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_HOOK", server.url("slack+http"))
    assert told("env:MY_HOOK") == []
    assert [list(json.loads(body)) for _, _, body in server.taken] == [["text"], ["text"]]


def test_lists_of_processes_do_not_show_addresses() -> None:
    url = f"https://me:pass=w@host/{SECRET}?token=abc"
    shown = without_secrets(["run", "--notify", url, f"--notif={url}", "--notify=env:HOOK"], [url, url, "env:HOOK"])
    assert shown == ["run", "--notify", "***", "--notif=***", "--notify=env:HOOK"]
