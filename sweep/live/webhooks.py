"""Posts short messages to addresses that a user gave: a webhook that takes JSON, ntfy, or Slack and what is like it.

| address                                             | form                                                     |
|-----------------------------------------------------|----------------------------------------------------------|
| `ntfy://TOPIC`, https://ntfy.sh/..., `ntfy+https://` | the text as the body, headers `Title` and `Tags`         |
| https://hooks.slack.com/..., `slack+https://`       | `{"text": ...}`                                          |
| https://..., `json+https://`                        | all that is known as one JSON object                     |

`http` may stand for `https`; `env:NAME` for an address that an environment variable holds. An address is a secret:
whoever knows it can post there. No message of ours names it, or what a library says of it.
"""

import base64
import email.header
import http.client
import json
import os
import re
import ssl
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from slr_models.errors import SettingError
from sweep.redaction import without_password

TIMEOUT_S = 5.0
"""Of each wait for the server."""
Form = Literal["json", "ntfy", "slack"]
_FORMS: Mapping[str, Form] = {"json": "json", "ntfy": "ntfy", "slack": "slack"}
_HOSTS: Mapping[str, Form] = {"ntfy.sh": "ntfy", "hooks.slack.com": "slack"}
_ADDRESS = re.compile(r"(?:(json|ntfy|slack)\+)?(https?://.+)", re.IGNORECASE)
_TOPIC = re.compile(r"ntfy://([\w-]{1,64})/?", re.ASCII | re.IGNORECASE)
_ADVICE = "give https://..., ntfy://TOPIC, json+https://..., ntfy+https://..., slack+https://... or env:NAME"


@dataclass(frozen=True)
class Message:
    """What is posted."""

    title: str
    text: str
    tags: tuple[str, ...]
    """Of ntfy, which shows those that name an emoji as one."""
    content: Mapping[str, Any]
    """The JSON object."""


@dataclass(frozen=True)
class Address:
    """Where messages go."""

    name: str
    """For a person, without the address itself: `--notify`, or `--notify (2nd)`."""
    form: Form
    url: str = field(repr=False)
    """Without user and password."""
    authorization: str | None = field(default=None, repr=False)

    def post(self, message: Message) -> str | None:
        """Posts a message; returns why that failed, in a few words, or None."""
        body, headers = self._request(message)
        try:
            request = urllib.request.Request(self.url, body, headers, method="POST")
            with _OPENER.open(request, timeout=TIMEOUT_S):
                return None
        except Exception as error:
            return _problem(error)

    def _request(self, message: Message) -> tuple[bytes, dict[str, str]]:
        headers = {"User-Agent": "slr-sweep", "Content-Type": "application/json"}
        if self.authorization is not None:
            headers["Authorization"] = self.authorization
        match self.form:
            case "ntfy":
                title = email.header.Header(message.title, "utf-8", maxlinelen=10_000).encode()
                is_plain = message.title.isascii() and message.title.isprintable()
                headers |= {
                    "Content-Type": "text/plain; charset=utf-8",
                    "Title": message.title if is_plain else title,
                    "Tags": ",".join(message.tags),
                }
                return message.text.encode(), headers
            case "slack":
                return json.dumps({"text": _for_slack(f"{message.title}\n{message.text}")}).encode(), headers
            case _:
                return json.dumps(dict(message.content), allow_nan=False).encode(), headers


def addresses(options: Sequence[str]) -> list[Address]:
    """Those that `--notify` asks for, each once.

    Raises:
        SettingError: one is no address, or stands in a variable that is not set.
    """
    given = list(dict.fromkeys(options))
    names = ["--notify"] if len(given) == 1 else [f"--notify ({_ordinal(n)})" for n in range(1, len(given) + 1)]
    return [_address(name, option) for name, option in zip(names, given, strict=True)]


def _address(name: str, option: str) -> Address:
    text = option
    if option.startswith("env:"):
        variable = option.removeprefix("env:")
        text = os.environ.get(variable, "").strip()
        if not text:
            raise SettingError(f"{name}: the environment variable {variable} is not set: set it, or give the address")
    if (topic := _TOPIC.fullmatch(text)) is not None:
        return Address(name, "ntfy", f"https://ntfy.sh/{topic[1]}")
    if text.lower().startswith("ntfy://"):
        raise SettingError(f"{name}: ntfy:// takes a topic of ntfy.sh alone: write ntfy+https://HOST/TOPIC for others")
    found = _ADDRESS.fullmatch(text)
    if found is None or re.search(r"[^!-~]", text):
        raise SettingError(f"{name}: that is no address of http or https (without spaces or accents): {_ADVICE}")
    try:
        url, user, password = without_password(found[2])
        parts = urllib.parse.urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host = None
    if not host or "@" in parts.netloc:
        raise SettingError(f"{name}: the address has no valid host, port, or user:password: {_ADVICE}")
    form = _FORMS[found[1].lower()] if found[1] else _HOSTS.get(host, "json")
    basic = base64.b64encode(f"{user}:{password}".encode()).decode()
    return Address(name, form, url, f"Basic {basic}" if user else None)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A server may not send messages elsewhere."""

    def redirect_request(self, *_: Any) -> None:
        """Follows none."""


_OPENER = urllib.request.build_opener(_NoRedirect)


def _problem(error: Exception) -> str:
    """What went wrong, in words of our own: a library's may hold the address."""
    if isinstance(error, urllib.error.HTTPError):
        error.close()
        elsewhere = " (it sends elsewhere, and that is not followed)" if 300 <= error.code < 400 else ""
        return f"the server answers with HTTP {error.code}{elsewhere}"
    reason = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(reason, TimeoutError):
        return f"the server does not answer within {TIMEOUT_S:.0f} s"
    if isinstance(reason, ssl.SSLError):
        return "its certificate is not trusted, or it speaks no TLS"
    if isinstance(reason, http.client.HTTPException | ConnectionError):
        return "the server does not answer as one of HTTP, or refuses"
    if isinstance(reason, OSError):
        return f"the server is not reached ({reason.strerror or type(reason).__name__})"
    return f"it could not be sent ({type(error).__name__})"


def _for_slack(text: str) -> str:
    """A text in which Slack sees no mark-up."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _ordinal(number: int) -> str:
    return {1: "1st", 2: "2nd", 3: "3rd"}.get(number, f"{number}th")
