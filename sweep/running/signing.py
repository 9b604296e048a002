"""Whose study a results folder holds: a run signs the code that its study names, with a key that only this user has.

`explain` builds a folder's data and models again, which runs that code. A folder may have come from anywhere, so that
is done only for what this user has run, or trusts. A signature covers the sections of study.yaml that say what is
built, and the files that run when the code is imported, of its packages too: where they lie, and what they hold. So
neither another study under the same signature nor another file of the same name is run.
"""

import hashlib
import hmac
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from slr_models import user_code
from slr_models.errors import ResultsError
from sweep import store, yaml_source
from sweep.records import NotKnown
from sweep.running.user_key import user_key
from sweep.study import LoadedStudy
from sweep.study.code import named_by, told

_RECORD = "code"
"""In `provenance`: the code that the study names, and the signature."""
_SIGNED_SECTIONS = ("model", "data", "space", "design", "full_size")
"""What decides which code is called with which arguments."""


def sign(results_dir: Path, study_code: Sequence[str]) -> str | None:
    """Signs study.yaml of a results folder, where the study names code.

    Returns:
        Why there is no signature, in a sentence; None where there is one, or nothing to sign.
    """
    if not study_code:
        return None
    key = user_key(make=True)
    path = results_dir / "study.yaml"
    signature = key if isinstance(key, NotKnown) else _signature(key, yaml_source.load(path).content, study_code)
    content = store.read_study(results_dir)
    content["provenance"][_RECORD] = {"names": list(study_code)}
    if isinstance(signature, str):
        content["provenance"][_RECORD]["signature"] = signature
    store.write_study(results_dir, content)
    return signature.reason if isinstance(signature, NotKnown) else None


def check_trusted(results_dir: Path, loaded: LoadedStudy, needed: Sequence[str]) -> None:
    """Makes sure that this user's own run left code in a results folder before it is run.

    Args:
        results_dir: the folder.
        loaded: its study.yaml.
        needed: the code that is going to be run, of all that the study names.

    Raises:
        ResultsError: nobody knows whose code it is.
    """
    if not needed:
        return
    if (problem := _distrust(loaded)) is not None:
        raise ResultsError(
            f"{results_dir} names code that would run now: {told(needed)}, and {problem}: read that code, and if you "
            f"trust it, repeat the command with --trust"
        )


def _distrust(loaded: LoadedStudy) -> str | None:
    """Why a study is not known to be of this user; None where it is."""
    content = loaded.source.content
    record = (content.get("provenance") or {}).get(_RECORD)
    given = record.get("signature") if isinstance(record, Mapping) else None
    if not isinstance(given, str):
        return "no run of yours has signed it"
    key = user_key(make=False)
    if isinstance(key, NotKnown):
        return f"whether a run of yours has signed it cannot be told: {key.reason}"
    expected = _signature(key, content, tuple(named_by(loaded.study)))
    if isinstance(expected, NotKnown):
        return expected.reason
    if not hmac.compare_digest(given.encode(), expected.encode()):
        return "its signature is not yours, or study.yaml or a file of that code has changed since your run"
    return None


def _signature(key: bytes, content: Mapping[str, Any], names: Sequence[str]) -> str | NotKnown:
    files = {name: user_code.files_of(name) for name in names}
    if lost := [name for name, found in files.items() if not found]:
        return NotKnown(f"{', '.join(lost)} is in no file that is found here")
    try:
        digests = {
            name: [(str(path), hashlib.sha256(path.read_bytes()).hexdigest()) for path in files[name]]
            for name in sorted(files)
        }
    except OSError as error:
        return NotKnown(f"{error.filename} cannot be read ({error.strerror})")
    sections = {section: content.get(section) for section in _SIGNED_SECTIONS}
    signed = {"signs": "the code of a study, version 1", "study": sections, "files": digests}
    return hmac.new(key, json.dumps(signed, default=str).encode(), hashlib.sha256).hexdigest()
