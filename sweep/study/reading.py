"""study.yaml of a results folder, read back: what was asked for, and where the results come from."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from slr_models.errors import ResultsError
from sweep import store
from sweep.study.loading import complete
from sweep.study.messages import explained
from sweep.study.settings import Study


class _Facts(BaseModel):
    """Facts that a run wrote: those of other versions are no matter, what is missing is not known."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class DataFacts(_Facts):
    """What is known of the data."""

    valid_measures: str = ""
    """What the validation split measures, in a sentence."""
    num_valid: int | None = None
    """Utterances of the validation split."""


class Provenance(_Facts):
    """Where results come from, as far as anything is concluded from it; `StoredStudy.made` has all of it."""

    num_lanes: int | None = None
    """Trainings that could run at once."""
    exploration_ended: str | None = None
    """Why the exploration ended before its budget did; None where it did not."""
    claims_withdrawn_after: dict[str, int] = {}
    """Name of a claim that was removed or changed -> trainings that had finished by then."""
    data: DataFacts = DataFacts()
    model: dict[str, Any] | None = None
    """Size of the model."""
    host: dict[str, Any] | None = None
    """The machine."""
    versions: dict[str, Any] | None = None
    """Of this program and the libraries that it stands on."""
    l_const: float | None = None
    """Loss of a model that ignores its input, nats a label."""
    l_unif: float | None = None
    """Loss of a uniform output, nats a label."""


@dataclass(frozen=True, eq=False)
class StoredStudy:
    """The study of a results folder."""

    study: Study
    """With what follows from its design, as `complete` has it. What a version before did not know has its default."""
    provenance: Provenance
    content: Mapping[str, Any]
    """study.yaml as it is, for those who list or compare all of it, whatever it is."""

    @property
    def made(self) -> Mapping[str, Any]:
        """All of `provenance`."""
        return self.content.get("provenance") or {}

    def says(self, section: str) -> bool:
        """Whether the file has a section: that of a version before may not."""
        return self.content.get(section) is not None


def read_study(results_dir: Path) -> StoredStudy:
    """Reads the study of a results folder, also one of a version before: what only that one knew is passed over.

    Raises:
        ResultsError: the folder or the file is missing or damaged, or this version cannot read a setting in it.
    """
    return of_content(store.read_study(results_dir), str(results_dir / "study.yaml"))


def of_content(content: Mapping[str, Any], name: str = "study.yaml") -> StoredStudy:
    """The study from the parsed file.

    Args:
        content: of the file.
        name: of the file, for messages.

    Raises:
        ResultsError: this version cannot read a setting in it.
    """
    known: dict[str, Any] = copy.deepcopy(dict(content))
    made = known.pop("provenance", None) or {}
    try:
        study = _validated(known)
    except ValidationError as error:
        first, *others = explained(error, Study, known)
        raise _unreadable(name, first.sentence, len(others)) from error
    if not study.is_own and None in (study.model, study.data):
        lacking = "model" if study.model is None else "data"
        raise _unreadable(name, f"{lacking} is missing: it has no default", 0)
    try:
        provenance = Provenance.model_validate(made)
    except ValidationError as error:
        first_error, *more = error.errors()
        place = ".".join(str(key) for key in ("provenance", *first_error["loc"]))
        raise _unreadable(name, f"{place}: {first_error['msg']}", len(more)) from error
    return StoredStudy(complete(study), provenance, content)


def _unreadable(name: str, problem: str, num_more: int) -> ResultsError:
    more = f" (and {num_more} more)" if num_more else ""
    return ResultsError(
        f"{name}: {problem}{more}: this version cannot read that; bring the file back as it was written, or take the "
        f"version that wrote it"
    )


def _validated(content: dict[str, Any]) -> Study:
    """The study without the settings that this version does not have, which are taken out of `content`."""
    try:
        return Study.model_validate(content)
    except ValidationError as error:
        unknown = [item["loc"] for item in error.errors() if item["type"] == "extra_forbidden"]
        if not all(_removed(content, place) for place in unknown) or not unknown:
            raise
    return Study.model_validate(content)


def _removed(here: Any, place: tuple[str | int, ...]) -> bool:
    """Whether a key was found at pydantic's place for it, which has tags of unions in between, and taken out."""
    key, *rest = place
    is_here = key in here if isinstance(here, dict) else isinstance(here, list) and key in range(len(here))
    if not rest:
        if is_here:
            del here[key]
        return is_here
    return (is_here and _removed(here[key], tuple(rest))) or _removed(here, tuple(rest))
