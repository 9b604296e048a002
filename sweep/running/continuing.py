"""Going on with a study: whether a folder holds the same one, and to how many trials it was extended."""

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from slr_models.errors import ResultsError, SettingError
from sweep import store
from sweep.analysis.claims.stated import record
from sweep.records import Phase
from sweep.store.ledger_lines import LEDGER_FILE, RECOVER
from sweep.study import LoadedStudy, Study, budget_problems, complete, of_content
from sweep.study.changed_defaults import with_defaults_of
from sweep.wording import clipped

# A study may change in these without becoming another one.
_FREE_KEYS = (
    "description",
    "claims",
    "confirm",
    "safety",
    "full_size",
    "checkpoints",
    "audit",
    "forensics",
    "provenance",
)
_FREE_BUDGET_KEYS = ("trials", "wall_time_s")
_FREE_TRIAL_KEYS = ("silence_s", "timeout_s", "grace_s")
_FREE_SEARCH_KEYS = ("foregone", "stop_accuracy", "stop_width", "warm_start")


def as_begun(loaded: LoadedStudy, results_dir: Path) -> LoadedStudy:
    """The study with the defaults that it had when it was begun, where that was done with an earlier version.

    Raises:
        ResultsError: what the folder holds of it is damaged.
    """
    if not (results_dir / "study.yaml").exists():
        return loaded
    return with_defaults_of(loaded, store.read_study(results_dir))


def check_same_study(results_dir: Path, study: Study) -> dict[str, Any] | None:
    """The study as an earlier run left it in the folder; None where there was none.

    Raises:
        ResultsError: the folder is damaged, or holds results that cannot be gone on with.
    """
    if not (results_dir / "study.yaml").exists():
        if results_dir.is_dir() and any(results_dir.iterdir()) and not (results_dir / LEDGER_FILE).is_file():
            raise ResultsError(
                f"{results_dir} exists but holds no study: move it away, or give --results another folder"
            )
        return None
    if (results_dir / "trials.parquet").exists() and not (results_dir / LEDGER_FILE).is_file():
        raise ResultsError(
            f"{results_dir / LEDGER_FILE} is missing, which a study goes on from, but {results_dir} holds its results: "
            f"restore the file from a backup, or bring back what can be with {RECOVER} {results_dir}"
        )
    now = study.model_dump(mode="json", by_alias=True)
    before = _with_defaults(store.read_study(results_dir))
    changed = [key for key in now if key not in _FREE_KEYS and essence(key, before) != essence(key, now)]
    if changed == ["trial"] and study.is_own and not _has_steps(results_dir):
        # A program that never came to a step has shown nothing that another one could not be held to.
        changed = []
    if changed:
        raise ResultsError(
            f"{results_dir} holds results of another version of this study (changed: {', '.join(changed)}): "
            f"give the study another name, or --results another folder, or move the old results away"
        )
    return before


def _has_steps(results_dir: Path) -> bool:
    """Whether any training of a results folder came to a step."""
    if not (results_dir / "trials.parquet").exists():
        return False
    return bool((store.read_trials(results_dir)["num_steps"] > 0).any())


def with_record(study: Study, before: Mapping[str, Any] | None, num_finished: int) -> tuple[Study, dict[str, int]]:
    """The study with `stated_after` of its claims as it is, whatever its file says, and the claims withdrawn."""
    earlier = None if before is None else of_content(before)
    stated = () if earlier is None else earlier.study.claims
    withdrawn = {} if earlier is None else earlier.provenance.claims_withdrawn_after
    found = record(stated, withdrawn, study.claims, num_finished)
    claims = [claim.model_copy(update={"stated_after": found.stated_after[claim.name]}) for claim in study.claims]
    return study.model_copy(update={"claims": tuple(claims)}), dict(found.withdrawn_after)


def _with_defaults(content: dict[str, Any]) -> dict[str, Any]:
    """A stored study with the defaults of settings that an earlier version of the tool did not have."""
    try:
        return complete(Study.model_validate(content)).model_dump(mode="json", by_alias=True)
    except ValidationError:
        return content


def essence(key: str, content: Mapping[str, Any]) -> Any:
    """The part of a section that makes results comparable."""
    value = content.get(key)
    if key == "trial" and isinstance(value, Mapping):
        return {k: v for k, v in value.items() if k not in _FREE_TRIAL_KEYS}
    if key == "objective":
        return value or "wer"
    if key == "budget" and isinstance(value, Mapping):
        return {k: v for k, v in value.items() if k not in _FREE_BUDGET_KEYS}
    if key == "search" and isinstance(value, Mapping):
        return {k: v for k, v in value.items() if k not in _FREE_SEARCH_KEYS}
    if key == "space" and not content.get("design") and isinstance(value, Mapping):
        # Trials whose settings lie in the ranges of now count, however wide these were.
        return {path: one.get("when") if isinstance(one, Mapping) else one for path, one in value.items()}
    if key == "design":
        # The order of factors and levels matters: references come first, and cells are shuffled from it.
        return json.dumps(value)
    if key == "resources" and isinstance(value, Mapping):
        return bool(value.get("gpus"))
    return value


def with_trials(study: Study, option: str | None, results_dir: Path) -> Study:
    """The study with its number of trials as the command line and an earlier run have it.

    Without an option a study goes on to the number that it was extended to. `N` sets the number. `+N` extends a
    study that is done; one that is not goes on to its present number first, so the same command can be repeated.

    Raises:
        SettingError: the option is neither, or leaves too few trials, or the study has a design.
    """
    if study.design is not None:
        if option is not None:
            raise SettingError(
                f"--trials {option}: the looks of this study's design are planned for its {study.design.blocks} "
                f"blocks, and claims are judged by them: for another number, change design.blocks and give the study "
                f"another `name`, another `seed` and another `design.seed`, so that its blocks are new"
            )
        return study
    stored, explored = _stored_trials(study, results_dir)
    trials = max(study.budget.trials, stored)
    if option is not None:
        number = trials_given(option)
        if not option.startswith("+"):
            trials = number
        elif explored >= trials:
            trials = explored + number
    changed = study.model_copy(update={"budget": study.budget.model_copy(update={"trials": trials})})
    place = "--trials" if option is not None else str(results_dir)
    if wrong := [replace(problem, where=place) for problem in budget_problems(changed)]:
        raise SettingError(*wrong)
    return changed


def trials_given(option: str) -> int:
    """The number of `--trials 40` or `--trials +20`.

    Raises:
        SettingError: it is none.
    """
    if re.fullmatch(r"\+?0*[1-9][0-9]{0,8}", option) is None:
        raise SettingError(f"--trials {clipped(option)}: give a number of trials such as 40, or +20 for twenty more")
    return int(option)


def _stored_trials(study: Study, results_dir: Path) -> tuple[int, int]:
    """What an earlier run planned and what it finished, in trials of the exploration that lie in the study's ranges."""
    if not (results_dir / "study.yaml").exists() or not (results_dir / "trials.parquet").exists():
        return 0, 0
    # It takes half a second to import, and no new study needs it.
    from sweep.analysis.trials.tried import inside

    trials = store.read_trials(results_dir)
    budget = store.read_study(results_dir).get("budget")
    planned = budget.get("trials") if isinstance(budget, Mapping) else None
    explored = inside(trials[trials["phase"] == Phase.EXPLORE], study.searched)
    return planned if isinstance(planned, int) else 0, len(explored)
