"""What study.yaml says of the latest run of a study: when it began, what was left to do then, and how it ended.

It stands in `provenance` under `run`; each run writes it anew when it begins. A run that was killed leaves no end.
"""

import dataclasses
import datetime
import hashlib
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from pydantic import AwareDatetime, TypeAdapter, ValidationError

from sweep.records import Amount, Count
from sweep.store.documents import read_study, write_study

KEY = "run"


class RunEnd(StrEnum):
    """How a run ended."""

    FINISHED = "finished"
    """Nothing was left to do."""
    OUT_OF_TIME = "out of time"
    """`--time` was over."""
    INTERRUPTED = "interrupted"
    """By Ctrl-C or SIGTERM."""
    FAILED = "failed"
    """By an error."""


@dataclass(frozen=True)
class LatestRun:
    """One run of a study."""

    began_at: AwareDatetime
    spent_before_s: Amount
    """Wall time of the study when it began, over all runs before."""
    num_exploring: Count
    """Trainings that the exploration was to have, if nothing ended it early."""
    num_following: Count
    """Trainings that were to follow it, at most."""
    machine: str
    """Tells machines apart, and names none."""
    ended: RunEnd | None = None
    """None while it is at work, and where it was killed."""
    why: str = ""
    """Of one that failed: the reason, in a line."""


def this_machine() -> str:
    """A machine as `LatestRun.machine` has it."""
    return hashlib.sha256(socket.gethostname().encode()).hexdigest()[:12]


def begun(spent_before_s: float, num_exploring: int, num_following: int) -> dict[str, Any]:
    """What is written of a run that begins now, on this machine."""
    now = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
    run = LatestRun(now, round(spent_before_s, 3), num_exploring, num_following, this_machine())
    return {**dataclasses.asdict(run), "began_at": now.isoformat()}


def note_end(results_dir: Path, ended: RunEnd, why: str = "") -> None:
    """Writes down how the latest run ended."""
    content = read_study(results_dir)
    content["provenance"][KEY] |= {"ended": ended.value, "why": why}
    write_study(results_dir, content)


def latest_run(provenance: Mapping[str, Any]) -> LatestRun | None:
    """The latest run, from the section `provenance`; None in one of a version that did not say."""
    run = provenance.get(KEY)
    try:
        return None if run is None else _RUN.validate_python(run)
    except ValidationError:
        # Of another version: not known here.
        return None


_RUN = TypeAdapter(LatestRun)
