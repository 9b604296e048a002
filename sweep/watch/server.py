"""HTTP for one results folder: the page around the report, the report, and its state. On loopback alone."""

import gzip
import json
import re
import sys
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit

from slr_models.errors import SettingError
from sweep.watch import FIRST_PORT
from sweep.watch.builder import Builder
from sweep.watch.folder import Folder
from sweep.watch.state import state

HOST, NUM_PORTS = "127.0.0.1", 20

_OWN_FILES = {
    "/": ("watch.html", "text/html; charset=utf-8"),
    "/watch.css": ("watch.css", "text/css; charset=utf-8"),
    "/watch.js": ("watch.js", "text/javascript; charset=utf-8"),
}
# Any port: a tunnel may end at another one. Names are what a page of another site could not have.
_LOOPBACK = re.compile(r"(127\.0\.0\.1|localhost|\[::1\])(:\d+)?", re.IGNORECASE)
_OWN_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; frame-src 'self'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
# The report states the rest itself, in its own head.
_REPORT_POLICY = "frame-ancestors 'self'"


class Server(ThreadingHTTPServer):
    """Listens; `serve_forever` answers."""

    # Beyond these, a client is kept waiting for seconds; the usual five are few for a browser and who else asks.
    request_queue_size = 128

    def __init__(self, folder: Folder, builder: Builder, port: int | None) -> None:
        """Takes a port.

        Args:
            folder: what is served.
            builder: of the folder.
            port: 0 for any free one; None for the first free one of a few.

        Raises:
            SettingError: the port is taken, or may not be had.
        """
        self.folder, self.builder = folder, builder
        ports = [*range(FIRST_PORT, FIRST_PORT + NUM_PORTS), 0] if port is None else [port]
        for one in ports:
            try:
                super().__init__((HOST, one), _Handler)
                return
            except (OSError, OverflowError) as error:
                problem = error.strerror if isinstance(error, OSError) else "there is no such port"
        raise SettingError(f"--port {port}: {problem}: give another one, or leave it out")

    @property
    def url(self) -> str:
        """Where a browser finds it."""
        return f"http://{HOST}:{self.server_port}/"

    def handle_error(self, request: object, client_address: object) -> None:
        """A browser that went away is no error; anything else is."""
        if not isinstance(sys.exception(), ConnectionError | TimeoutError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 60
    server_version, sys_version = "sweep.watch", ""

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def _answer(self) -> None:
        server = cast(Server, self.server)
        host = self.headers.get("Host", "")
        if not _LOOPBACK.fullmatch(host):
            # Else a page of another site, whose name was made to lead here, could read the report.
            self._send(HTTPStatus.FORBIDDEN, b"open it as http://127.0.0.1 or http://localhost\n")
            return
        address = urlsplit(self.path)
        if address.path == "/state":
            if address.query != "idle":
                server.builder.wanted()
            content = json.dumps(state(server.folder, server.builder)).encode()
            self._send(HTTPStatus.OK, content, "application/json")
        elif address.path == "/report":
            server.builder.wanted()
            self._send_report(server.builder)
        elif address.path in _OWN_FILES:
            name, kind = _OWN_FILES[address.path]
            content = (Path(__file__).parent / name).read_bytes()
            self._send(HTTPStatus.OK, content, kind, {"Content-Security-Policy": _OWN_POLICY})
        else:
            self._send(HTTPStatus.NOT_FOUND, b"there is no such page\n")

    def _send_report(self, builder: Builder) -> None:
        page = builder.page
        if page is None:
            waiting = builder.error or "the report is being built: try again in a few seconds"
            self._send(HTTPStatus.SERVICE_UNAVAILABLE, f"{waiting}\n".encode(), headers={"Retry-After": "5"})
            return
        headers = {
            "ETag": f'"{page.version}"',
            "Vary": "Accept-Encoding",
            "Content-Security-Policy": _REPORT_POLICY,
        }
        if self.headers.get("If-None-Match") == headers["ETag"]:
            self._send(HTTPStatus.NOT_MODIFIED, b"", headers=headers)
            return
        html = page.html
        if _takes_gzip(self.headers.get("Accept-Encoding", "")):
            headers["Content-Encoding"] = "gzip"
        else:
            html = gzip.decompress(html)
        self._send(HTTPStatus.OK, html, "text/html; charset=utf-8", headers)

    def _send(
        self,
        status: HTTPStatus,
        content: bytes,
        kind: str = "text/plain; charset=utf-8",
        headers: dict[str, str] | None = None,
    ) -> None:
        self.send_response(status)
        always = {
            "Content-Type": kind,
            "Content-Length": str(len(content)),
            # Kept, and asked for again each time.
            "Cache-Control": "no-cache",
            "X-Content-Type-Options": "nosniff",
            "Cross-Origin-Resource-Policy": "same-origin",
            "Referrer-Policy": "no-referrer",
        }
        for name, value in (always | (headers or {})).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing: a browser asks every two seconds."""


def _takes_gzip(accepted: str) -> bool:
    """Whether a client takes gzip, by its Accept-Encoding."""
    for part in accepted.lower().split(","):
        coding, _, weight = part.partition(";")
        if coding.strip() in ("gzip", "*"):
            return not re.fullmatch(r"\s*q=0(\.0*)?\s*", weight)
    return False
