"""The documents of a results folder: study.yaml, importance.json, claims.json, explanations."""

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import TypeAdapter

from slr_models.errors import ResultsError
from sweep.records import Counterfactual, Explanation, FirstNonfinite
from sweep.store.files import said, without_nonfinite, write_text

IMPORTANCE_FILE, CLAIMS_FILE = "importance.json", "claims.json"


def write_importance(results_dir: Path, shares: Mapping[str, Mapping[str, float]]) -> None:
    """Writes which searched settings matter: method -> dotted path -> share."""
    write_text(results_dir / IMPORTANCE_FILE, json.dumps(shares, indent=2, allow_nan=False) + "\n")


def read_importance(results_dir: Path) -> dict[str, dict[str, float]]:
    """Which searched settings matter: method -> dotted path -> share; empty where nobody has estimated it.

    Raises:
        ResultsError: the file is there, but is no such mapping.
    """
    path = results_dir / IMPORTANCE_FILE
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return {method: {p: float(share) for p, share in shares.items()} for method, shares in content.items()}
    except (ValueError, TypeError, AttributeError) as error:
        raise ResultsError(f"{path} is damaged ({error}): delete it; the study's command writes it anew") from error


def write_claims(results_dir: Path, findings: Sequence[Mapping[str, Any]]) -> None:
    """Writes what became of a study's claims, in their order. JSON has no NaN and no infinity: both are null there."""
    text = json.dumps(without_nonfinite(list(findings)), indent=2, allow_nan=False)
    write_text(results_dir / CLAIMS_FILE, text + "\n")


def read_claims(results_dir: Path) -> list[dict[str, Any]]:
    """What became of a study's claims, as it was written; empty where nobody has judged them.

    Raises:
        ResultsError: the file is there, but is no list of findings.
    """
    path = results_dir / CLAIMS_FILE
    if not path.is_file():
        return []
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return [dict(finding) for finding in content]
    except (ValueError, TypeError) as error:
        raise ResultsError(f"{path} is damaged ({error}): delete it; the study's command writes it anew") from error


def evidence_path(results_dir: Path, trial_id: str, name: str) -> Path:
    """Where a piece of evidence about a trial lies: explanation.json, traceback.txt or forensics_error.txt."""
    return results_dir / "evidence" / trial_id / name


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
    if not path.is_file():
        return None
    try:
        return _EXPLANATION.validate_python(_with_nan(json.loads(path.read_text(encoding="utf-8"))))
    except ValueError as error:
        raise ResultsError(
            f"{path} is not an explanation ({said(error)}): delete it, or write it anew with "
            f"python -m sweep.explain {results_dir} {trial_id}"
        ) from error


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


def read_study(results_dir: Path) -> dict[str, Any]:
    """study.yaml: the study as validated, with the key `provenance`.

    Raises:
        ResultsError: the folder or the file is missing or not a mapping.
    """
    path = results_dir / "study.yaml"
    if not results_dir.is_dir():
        raise ResultsError(f"{results_dir} is not a folder: give the results folder of a study, such as results/smoke")
    if not path.is_file():
        raise ResultsError(f"{path} does not exist: {results_dir} is not the results folder of a study")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{path}:{mark.line + 1}" if mark else str(path)
        what = getattr(error, "problem", None) or "it cannot be read"
        raise ResultsError(
            f"{where}: not valid YAML: {what}: delete it, then run the study's command again: it writes the file anew"
        ) from error
    if not isinstance(content, dict):
        raise ResultsError(f"{path} does not hold a mapping")
    return content
