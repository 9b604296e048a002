"""The documents of a results folder: study.yaml, importance.json, claims.json, explanations."""

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter
from pydantic_core import from_json

from slr_models.errors import ResultsError, SettingError
from sweep import yaml_source
from sweep.records import Counterfactual, Explanation, Finite, FirstNonfinite
from sweep.store.files import (
    MAX_DOCUMENT_MIB,
    MAX_YAML_MIB,
    read_bytes,
    said,
    trial_name,
    without_nonfinite,
    write_text,
)

IMPORTANCE_FILE, CLAIMS_FILE = "importance.json", "claims.json"
STUDY_FILE, RECIPE_FILE = "study.yaml", "recipe.yaml"


def write_importance(results_dir: Path, shares: Mapping[str, Mapping[str, float]]) -> None:
    """Writes which searched settings matter: method -> dotted path -> share."""
    write_text(results_dir / IMPORTANCE_FILE, json.dumps(shares, indent=2, allow_nan=False) + "\n")


def read_importance(results_dir: Path) -> dict[str, dict[str, float]]:
    """Which searched settings matter: method -> dotted path -> share; empty where nobody has estimated it.

    Raises:
        ResultsError: the file is there, but is no such mapping.
    """
    found: dict[str, dict[str, float]] = _read_json(results_dir / IMPORTANCE_FILE, _IMPORTANCE, {}, _ANEW)
    return found


def write_claims(results_dir: Path, findings: Sequence[Mapping[str, Any]]) -> None:
    """Writes what became of a study's claims, in their order. JSON has no NaN and no infinity: both are null there."""
    text = json.dumps(without_nonfinite(list(findings)), indent=2, allow_nan=False)
    write_text(results_dir / CLAIMS_FILE, text + "\n")


def read_claims(results_dir: Path) -> list[dict[str, Any]]:
    """What became of a study's claims, as it was written; empty where nobody has judged them.

    Raises:
        ResultsError: the file is there, but is no list of findings.
    """
    found: list[dict[str, Any]] = _read_json(results_dir / CLAIMS_FILE, _CLAIMS, [], _ANEW)
    return found


_ANEW = "delete it; the study's command writes it anew"
_IMPORTANCE, _CLAIMS = TypeAdapter(dict[str, dict[str, Finite]]), TypeAdapter(list[dict[str, Any]])


def _read_json(path: Path, model: TypeAdapter[Any], otherwise: Any, remedy: str, problem: str = "is damaged") -> Any:
    """A JSON file of a model; `otherwise` where there is none."""
    if not path.exists():
        return otherwise
    content = read_bytes(path, MAX_DOCUMENT_MIB, remedy)
    try:
        return model.validate_python(_with_nan(from_json(content, allow_inf_nan=False)))
    except ValueError as error:
        raise ResultsError(f"{path} {problem} ({said(error)}): {remedy}") from error


def evidence_path(results_dir: Path, trial_id: str, name: str) -> Path:
    """Where a piece of evidence about a trial lies: explanation.json, traceback.txt or forensics_error.txt.

    Raises:
        ResultsError: the id cannot name a trial.
    """
    return results_dir / "evidence" / trial_name(trial_id) / name


def write_explanation(results_dir: Path, trial_id: str, explanation: Explanation) -> None:
    """Writes why a trial went bad. JSON has no NaN: an unknown number is null there."""
    text = json.dumps(without_nonfinite(dataclasses.asdict(explanation)), indent=2, allow_nan=False)
    write_text(evidence_path(results_dir, trial_id, "explanation.json"), text + "\n")


def read_explanation(results_dir: Path, trial_id: str) -> Explanation | None:
    """Why a trial went bad; None where nobody has explained it.

    Raises:
        ResultsError: the file is there, but is no explanation.
    """
    path = evidence_path(results_dir, trial_id, "explanation.json")
    remedy = f"delete it, or write it anew with python -m sweep.explain {results_dir} {trial_id}"
    found: Explanation | None = _read_json(path, _EXPLANATION, None, remedy, "is not an explanation")
    return found


_EXPLANATION = TypeAdapter(Explanation)
_FIELDS = (*dataclasses.fields(FirstNonfinite), *dataclasses.fields(Counterfactual))
_UNKNOWN_IS_NAN = {field.name for field in _FIELDS if field.type is float}


def _with_nan(content: Any) -> Any:
    """An explanation as JSON holds it, with its unknown numbers as NaN."""
    if isinstance(content, list):
        return [_with_nan(item) for item in content]
    if not isinstance(content, dict):
        return content
    unknown = {name: math.nan for name in _UNKNOWN_IS_NAN & content.keys() if content[name] is None}
    return {name: _with_nan(value) for name, value in content.items()} | unknown


def write_study(results_dir: Path, content: Mapping[str, Any]) -> None:
    """Writes study.yaml, so that `read_study` tells one that was cut off."""
    write_text(results_dir / STUDY_FILE, yaml_source.dump_whole(content))


def read_study(results_dir: Path) -> dict[str, Any]:
    """study.yaml: the study as validated, with the key `provenance`.

    Raises:
        ResultsError: the folder or the file is missing or not a mapping.
    """
    path = results_dir / STUDY_FILE
    if not results_dir.is_dir():
        raise ResultsError(f"{results_dir} is not a folder: give the results folder of a study, such as results/smoke")
    if not path.exists():
        raise ResultsError(f"{path} does not exist: {results_dir} is not the results folder of a study")
    _, content = _read_yaml(path, "delete it, then run the study's command again: it writes the file anew")
    return content


def read_recipe(results_dir: Path) -> tuple[str, dict[str, Any]] | None:
    """recipe.yaml as it stands there, and what it holds; None where nothing is recommended yet.

    Raises:
        ResultsError: it is no mapping.
    """
    path = results_dir / RECIPE_FILE
    return _read_yaml(path, _ANEW) if path.exists() else None


def _read_text(path: Path, remedy: str) -> str:
    try:
        return read_bytes(path, MAX_YAML_MIB, remedy).decode()
    except UnicodeDecodeError as error:
        raise ResultsError(f"{path} is not text in UTF-8 (byte {error.start}): {remedy}") from error


def _read_yaml(path: Path, remedy: str) -> tuple[str, dict[str, Any]]:
    text = _read_text(path, remedy)
    try:
        return text, yaml_source.parse(text, str(path)).content
    except SettingError as error:
        raise ResultsError(f"{error}: {remedy}") from error
