"""The command line as lists of processes show it, and as Ray writes it into its own, without what is secret in it."""

import contextlib
import shlex
import sys
from collections.abc import Sequence

from sweep.redaction import HIDDEN, redacted


def hide_secrets(notified: Sequence[str]) -> None:
    """Takes passwords out of the command line, and the addresses of `--notify`, which are secrets as a whole."""
    shown = without_secrets(sys.orig_argv, notified)
    if shown == sys.orig_argv:
        return
    # No public part of Ray.
    with contextlib.suppress(ImportError):
        from ray._raylet import setproctitle  # type: ignore[attr-defined]

        setproctitle(shlex.join(shown))


def without_secrets(arguments: Sequence[str], notified: Sequence[str]) -> list[str]:
    """Arguments without what is secret in them; a variable that holds an address may be named."""
    shown = list(arguments)
    for secret in notified:
        if not secret.startswith("env:"):
            shown = [argument.replace(secret, HIDDEN) for argument in shown]
    return [redacted(argument) for argument in shown]
