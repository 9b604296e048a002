"""What the server answers, and to whom; the words of the bar."""

import gzip
import http.client
import json
import socket
import threading
import time
from collections.abc import Iterator
from http.client import HTTPResponse
from pathlib import Path

import pytest

from slr_models.errors import SettingError
from sweep.store.ledger import Ledger
from sweep.store.ledger_lines import Ask
from sweep.watch.builder import Builder
from sweep.watch.folder import Folder, Standing
from sweep.watch.page import Page
from sweep.watch.server import Server
from sweep.watch.state import said

PAGE = Page(gzip.compress(b"<p>the report</p>"), "v1", "my study", 3, 40, 12.0)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    folder = Folder(tmp_path / "study")
    with Server(folder, Builder(folder), 0) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def ask(server: Server, path: str, method: str = "GET", **headers: str) -> tuple[HTTPResponse, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=10)
    connection.request(method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer, content


def test_it_listens_on_loopback_alone(server: Server) -> None:
    assert server.server_address[0] == "127.0.0.1"
    assert server.url == f"http://127.0.0.1:{server.server_port}/"


def test_the_report_comes_compressed_to_whom_takes_it(server: Server) -> None:
    assert ask(server, "/report")[0].status == 503
    server.builder.page = PAGE
    plain, content = ask(server, "/report?v=v1")
    assert (plain.status, content) == (200, b"<p>the report</p>")
    assert plain.headers["Content-Encoding"] is None and plain.headers["Vary"] == "Accept-Encoding"
    packed, content = ask(server, "/report", Accept_Encoding="br, gzip;q=0.8")
    assert packed.headers["Content-Encoding"] == "gzip" and gzip.decompress(content) == b"<p>the report</p>"
    assert ask(server, "/report", Accept_Encoding="gzip;q=0")[0].headers["Content-Encoding"] is None
    assert ask(server, "/report", If_None_Match='"v1"')[0].status == 304
    head, content = ask(server, "/report", method="HEAD")
    assert (head.status, content, head.headers["Content-Length"]) == (200, b"", str(len(b"<p>the report</p>")))


@pytest.mark.parametrize("path", ["/", "/watch.js", "/watch.css"])
def test_its_own_files_come_with_a_strict_policy(server: Server, path: str) -> None:
    answer, content = ask(server, path)
    assert answer.status == 200 and content
    policy = answer.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'") and "unsafe" not in policy


@pytest.mark.parametrize(
    "path",
    ["/study.yaml", "/server.py", "/watch.html", "/../study.yaml", "/%2e%2e/study.yaml", "//etc/passwd", "/report/"],
)
def test_nothing_else_is_served(server: Server, path: str) -> None:
    (server.folder.path).mkdir()
    (server.folder.path / "study.yaml").write_text("name: x")
    assert ask(server, path)[0].status == 404


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:8266", 200),
        ("localhost:9000", 200),
        ("LOCALHOST", 200),
        ("[::1]:8266", 200),
        ("evil.example:8266", 403),
        ("localhost.evil.example:8266", 403),
        ("127.0.0.1.evil.example", 403),
        ("", 403),
    ],
)
def test_a_page_of_another_site_cannot_read_it(server: Server, host: str, status: int) -> None:
    assert ask(server, "/state", Host=host)[0].status == status


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "EVIL"])
def test_it_takes_nothing(server: Server, method: str) -> None:
    answer, content = ask(server, "/report", method=method)
    assert answer.status == 501 and b"the report" not in content
    assert "Access-Control-Allow-Origin" not in answer.headers


def test_many_that_never_finish_asking_keep_nobody_waiting(server: Server) -> None:
    stuck = [socket.create_connection(("127.0.0.1", server.server_port)) for _ in range(200)]
    try:
        for number, one in enumerate(stuck):
            one.sendall(b"GET /state HTTP/1.1\r\nHost: localhost\r\n" if number % 2 else b"")
        started = time.monotonic()
        assert ask(server, "/state")[0].status == 200
        assert time.monotonic() - started < 5
    finally:
        for one in stuck:
            one.close()


@pytest.mark.parametrize("path", ["/", "/watch.js", "/state", "/report", "/none"])
def test_every_answer_stays_with_its_own_site(server: Server, path: str) -> None:
    server.builder.page = PAGE
    headers = ask(server, path)[0].headers
    assert headers["X-Content-Type-Options"] == "nosniff" and headers["Referrer-Policy"] == "no-referrer"
    assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert headers["Server"].strip() == "sweep.watch", "which Python it is, is nobody's business"


def test_the_state_says_how_far_the_study_is(server: Server) -> None:
    state = json.loads(ask(server, "/state")[1])
    assert state["status"] == "absent" and state["version"] is None and "There is no study in" in state["hint"]
    ledger = Ledger(server.folder.path)
    for number, kind in enumerate(("fp16", "fp32")):
        ledger.ask(Ask(f"000{number}", number, number, 0, "explore", {"training.precision.kind": kind, "x.lr": 1e-5}))
        (server.folder.path / "ray" / f"000{number}").mkdir(parents=True)
    server.builder.page = PAGE
    state = json.loads(ask(server, "/state")[1])
    ledger.close()
    assert (state["name"], state["version"], state["built_at"]) == ("my study", "v1", 12.0)
    assert (state["status"], state["text"], state["count"]) == ("running", "exploring: 0 of 40 done", "0 of 40")
    assert state["running"] == ["0000: precision fp16, lr 1e-5", "0001: precision fp32, lr 1e-5"]


def test_only_a_page_that_is_seen_is_built(server: Server) -> None:
    before = server.builder._asked_at
    ask(server, "/state?idle")
    assert server.builder._asked_at == before
    ask(server, "/state")
    assert server.builder._asked_at > before


def test_a_damaged_ledger_is_told_in_the_state(server: Server) -> None:
    server.folder.path.mkdir()
    (server.folder.path / "ledger.jsonl").write_text("x\n")
    state = json.loads(ask(server, "/state")[1])
    assert state["status"] == "unknown" and "line is damaged" in state["error"]


def test_a_taken_port_is_a_users_mistake_and_otherwise_the_next_one_serves(server: Server) -> None:
    with pytest.raises(SettingError, match="in use: give another one"):
        Server(server.folder, server.builder, server.server_port)
    with pytest.raises(SettingError, match="--port 70000: there is no such port"):
        Server(server.folder, server.builder, 70000)
    with (
        Server(server.folder, server.builder, None) as one,
        Server(server.folder, server.builder, None) as other,
    ):
        assert one.server_port != other.server_port


def test_the_words_of_every_phase(tmp_path: Path) -> None:
    confirming = Ask("0041", 41, 3, 101, "confirm", {"training.precision.kind": "fp16"})
    paired = Ask("0002", 2, 0, 7, "explore", {"training.precision.kind": "fp16"}, block=1, cell="precision=fp16")
    now = said(Standing("running", 41, 43, "confirm", (confirming,), 1), PAGE, tmp_path)
    assert now["text"] == "confirming with fresh seeds: 41 of 43 done, 1 waiting"
    assert now["running"] == ["0041: precision fp16, seed 101"]
    assert said(Standing("running", 2, 3, "explore", (paired,), 0), PAGE, tmp_path)["running"] == [
        "0002: block 1, precision=fp16"
    ]
    assert said(Standing("running", 0, 0, None, (), 0), None, tmp_path)["text"] == "starting"
    assert said(Standing("running", 2, 3, "explore", (), 0), None, tmp_path)["text"] == "exploring: 2 done"
    assert said(Standing("ended", 43, 43, "confirm", (), 0), PAGE, tmp_path)["text"] == "finished: 43 trials"
    assert said(Standing("ended", 40, 43, "confirm", (), 3), PAGE, tmp_path)["text"] == (
        "no run at work: 40 trials done, 3 begun or waiting"
    )
    assert said(Standing("ended", 0, 0, None, (), 0), PAGE, tmp_path)["text"] == "finished: 3 trials"
