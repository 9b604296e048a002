"""Takes passwords out of what is said: whatever a user wrote into an address, or a library puts into its errors."""

import json
import os
import re
import urllib.parse
from collections.abc import Iterator

HIDDEN = "***"
_SHORTEST, _SHORTEST_OF_ENVIRONMENT = 4, 6
"""A password of fewer characters may be any word; it is hidden where it stands in a URL."""
# Whoever leaves an @ or a / in a password as it is shall not have it printed for that: all up to the last @ goes.
_USER = re.compile(r"([a-z][a-z0-9+.-]+:/{1,2})[^\s'\"<>]*@", re.IGNORECASE)
# One with spaces or quotes needs a user before it, and what follows the colon must be no port.
_SPACED_USER = re.compile(
    r"([a-z][a-z0-9+.-]+:/{1,2})[^\s'\"<>/@:\[]*:(?!\d+(?:[/\s'\",;]|$))\S(?:(?!:/)[^\n])*?@(?=[\w\[])", re.IGNORECASE
)
_SECRET_WORD = r"(?:pass|pwd|secret|token|credential|api_?key|access_?key|auth(?!_mode)|signature)"
_VALUE = r"(?:\"[^\"\n]+\"|'[^'\n]+'|[^\s&;'\"<>]+)"
_PARAMETER = re.compile(rf"(?<![^?&;\s'\"])([\w.-]*{_SECRET_WORD}[\w.-]*=){_VALUE}", re.IGNORECASE)
# Whoever knows the address of a webhook can post there.
_WEBHOOK = re.compile(r"(https?://(?:hooks\.slack\.com|discord(?:app)?\.com/api/webhooks)/)[^\s'\"<>]+", re.IGNORECASE)
_HEADER = re.compile(
    r"(\b(?:authorization['\"]?\s*[:=]\s*['\"]?(?:(?:basic|bearer|digest|negotiate|token)\s+)?|bearer\s+(?=\S{8})))"
    r"[^\s'\",;]+",
    re.IGNORECASE,
)
_SECRET_VARIABLE = re.compile(
    r"(?:PASSWORD|PASSWD|PASSPHRASE|(?:^|_)PASS|_PWD|_TOKEN|_SECRET|_(?:API|ACCESS|SECRET|PRIVATE)_KEY)$", re.IGNORECASE
)
_URL_VARIABLE = re.compile(r"(?:_URI|_URL|_PROXY|_DSN)$", re.IGNORECASE)


def redacted(text: str, *addresses: str | None) -> str:
    """The text without the passwords of URLs in it, and without what the environment holds as secret.

    Args:
        text: anything.
        addresses: URLs whose passwords shall not stand in it either, not even apart from their URL.
    """
    known = {secret for address in addresses for secret in _passwords(address or "") if len(secret) >= _SHORTEST}
    known.update(secret for secret in _of_environment() if len(secret) >= _SHORTEST_OF_ENVIRONMENT)
    # The longest first: one may hold another.
    for form in sorted({form for secret in known for form in _forms(secret)}, key=len, reverse=True):
        text = text.replace(form, HIDDEN)
    for pattern, instead in (
        (_SPACED_USER, f"{HIDDEN}@"),
        (_USER, f"{HIDDEN}@"),
        (_HEADER, HIDDEN),
        (_PARAMETER, HIDDEN),
        (_WEBHOOK, HIDDEN),
    ):
        text = pattern.sub(rf"\g<1>{instead}", text)
    return text


def without_password(address: str) -> tuple[str, str, str]:
    """An address without user and password, and these as they are meant; both empty unless both stand in it."""
    parts = urllib.parse.urlsplit(address)
    user, at_found, host = parts.netloc.rpartition("@")
    name, _, password = (urllib.parse.unquote(part) for part in user.partition(":"))
    if not (at_found and name and password):
        return address, "", ""
    return urllib.parse.urlunsplit(parts._replace(netloc=host)), name, password


def _of_environment() -> Iterator[str]:
    for name, value in os.environ.items():
        if _SECRET_VARIABLE.search(name):
            yield value
        elif _URL_VARIABLE.search(name):
            yield from _passwords(value)


def _passwords(address: str) -> Iterator[str]:
    """The password of a URL as it stands there, and as it is meant."""
    user, _, _ = address.rpartition("@")
    password = user.partition("://")[2].partition(":")[2]
    yield from (password, urllib.parse.unquote(password))


def _forms(secret: str) -> Iterator[str]:
    """A secret as it is, and as addresses and quotations write one with spaces, quotes or other such letters."""
    yield secret
    yield from (urllib.parse.quote(secret), urllib.parse.quote(secret, safe=""), urllib.parse.quote_plus(secret))
    yield from (repr(secret)[1:-1], json.dumps(secret)[1:-1], secret.replace("\\", r"\\").replace("'", r"\'"))
