"""What somebody asks of a study from another process: a file a wish, beside the ledger.

    queue/<time>-<process>.json   settings to train next
    stop/<trial>                  a training to end

Whoever writes one needs no lock; the run at work takes note of it and removes it.
"""

import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter

from slr_models.errors import ResultsError
from sweep.records import SettingValues
from sweep.space import Scalar, Settings
from sweep.store.files import read_bytes, said, trial_name, write_text

QUEUE_FOLDER, STOP_FOLDER = "queue", "stop"
_MAX_MIB = 1
_SETTINGS = TypeAdapter[Settings](SettingValues)


@dataclass(frozen=True)
class Wish:
    """Settings that somebody wants to be trained next."""

    path: Path
    settings: Settings
    """Those that are given; the search draws the others."""


def enqueue(results_dir: Path, settings: Mapping[str, Scalar]) -> None:
    """Asks for a training of these settings."""
    name = f"{time.time_ns():020d}-{os.getpid()}.json"
    write_text(results_dir / QUEUE_FOLDER / name, json.dumps(dict(settings)) + "\n")


def waiting(results_dir: Path) -> list[Wish | ResultsError]:
    """The wishes that nobody has taken, the oldest first; in the place of one that cannot be read, why."""
    found: list[Wish | ResultsError] = []
    for path in sorted((results_dir / QUEUE_FOLDER).glob("[!.]*.json")):
        try:
            content = read_bytes(path, _MAX_MIB, "delete it")
            found.append(Wish(path, _SETTINGS.validate_json(content)))
        except FileNotFoundError:
            # Another has just been taken.
            continue
        except ResultsError as error:
            found.append(error)
        except (OSError, ValueError) as error:
            found.append(ResultsError(f"{path} holds no settings ({said(error)}): delete it"))
    return found


def call_off(results_dir: Path, trial_id: str) -> None:
    """Asks for the end of a training."""
    write_text(_stop_path(results_dir, trial_id), "")


def is_called_off(results_dir: Path, trial_id: str) -> bool:
    """Whether somebody has asked for the end of a training."""
    return _stop_path(results_dir, trial_id).exists()


def forget_call(results_dir: Path, trial_id: str) -> None:
    """The training has ended."""
    _stop_path(results_dir, trial_id).unlink(missing_ok=True)


def _stop_path(results_dir: Path, trial_id: str) -> Path:
    return results_dir / STOP_FOLDER / trial_name(trial_id)
