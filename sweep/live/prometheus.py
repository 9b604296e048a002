"""Where Prometheus finds the metrics of a run, in the form of its file-based service discovery."""

import contextlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from sweep.store.files import write_text

TARGETS_FILE = "prometheus.json"


@contextlib.contextmanager
def listed(results_dir: Path, addresses: Sequence[str]) -> Iterator[None]:
    """Lists the addresses in a file of the results folder; takes it away at the end.

    Ray has a list of its own, but in a folder that nobody else may enter.
    """
    path = results_dir / TARGETS_FILE
    write_text(path, json.dumps([{"labels": {"job": "ray"}, "targets": list(addresses)}]) + "\n")
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
