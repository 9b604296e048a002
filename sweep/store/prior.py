"""Trainings of other studies that a study begins with, as its folder keeps them: what they are read from may go."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, TypeAdapter

from slr_models.errors import ResultsError
from sweep.records import STRICT, Count, SettingValues
from sweep.store.files import MAX_DOCUMENT_MIB, read_bytes, said, write_text

PRIOR_FILE = "prior.json"
MARGIN, STABLE = "margin", "stable"
"""Columns of a table of trials: a number in [-1, 1], negative for a stable training; or only whether it was one."""
_REMEDY = "restore it from a backup, or delete it, and the study's command reads search.warm_start again"


@dataclass(frozen=True)
class Carried:
    """A training of another study."""

    __pydantic_config__ = STRICT

    source: Count
    """Which entry of `CarriedOver.sources` it is of, from 0 on."""
    settings: SettingValues
    margin: Annotated[float, Field(ge=-1, le=1)]


@dataclass(frozen=True)
class CarriedOver:
    """What a study begins with."""

    __pydantic_config__ = STRICT

    sources: Sequence[str]
    """As `search.warm_start` names them."""
    trials: Sequence[Carried]
    space: dict[str, Any]
    """That they lie in, as study.yaml holds it."""


_ADAPTER = TypeAdapter(CarriedOver)
NOTHING = CarriedOver((), (), {})


def write_prior(results_dir: Path, carried: CarriedOver) -> None:
    """Writes what a study begins with."""
    write_text(results_dir / PRIOR_FILE, json.dumps(_ADAPTER.dump_python(carried, mode="json"), indent=1) + "\n")


def read_prior(results_dir: Path) -> CarriedOver:
    """What a study begins with; nothing where no file says so.

    Raises:
        ResultsError: the file is damaged.
    """
    path = results_dir / PRIOR_FILE
    if not path.exists():
        return NOTHING
    try:
        carried = _ADAPTER.validate_json(read_bytes(path, MAX_DOCUMENT_MIB, _REMEDY))
    except ValueError as error:
        raise ResultsError(f"{path} is damaged ({said(error)}): {_REMEDY}") from error
    if any(one.source >= len(carried.sources) for one in carried.trials):
        raise ResultsError(f"{path} is damaged (a trial of a source that it does not name): {_REMEDY}")
    return carried
