"""study.yaml of a results folder: the study as validated, and where its results come from; its schema beside it."""

import datetime
import importlib.metadata
import math
import platform
import sys
import uuid
from pathlib import Path

import torch

from slr_models.data.batch import Dataset
from sweep import store
from sweep.analysis.claims.stated import WITHDRAWN_KEY
from sweep.records import NAN
from sweep.redaction import redacted
from sweep.running.cores import cores
from sweep.running.preflight import Checked
from sweep.running.session import StudySession
from sweep.store import latest_run
from sweep.study import read_study, stored
from sweep.study.schema import study_schema_text
from sweep.yaml_source import SCHEMA_FILE

RESULTS_ID_KEY = "results_id"


def results_id(results_dir: Path) -> str:
    """By which a database knows a folder: as study.yaml has it, or a new one."""
    previous = read_study(results_dir).made if (results_dir / "study.yaml").exists() else {}
    return str(previous.get(RESULTS_ID_KEY) or uuid.uuid4().hex)


def write_study(
    session: StudySession,
    dataset: Dataset | None,
    checked: Checked | None,
    trains: str | None = None,
    results_id: str | None = None,
) -> None:
    """Writes it.

    Args:
        session: the study under way.
        dataset: all trainings'; None where programs of the user's own train, as are the facts found of it.
        checked: what was found out before the first trial, likewise.
        trains: what trains where that is a program of the user's, in a few words.
        results_id: by which a database knows this folder, where the search is shown in one.
    """
    results_dir = session.results_dir
    content = stored(session.study)
    previous = read_study(results_dir).made if (results_dir / "study.yaml").exists() else {}
    content["provenance"] = {
        "num_lanes": previous.get("num_lanes"),
        "started_at": previous.get("started_at") or datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        latest_run.KEY: latest_run.begun(session.spent_s, session.num_exploring, session.num_following),
        "versions": {
            "python": platform.python_version(),
            **{
                name: importlib.metadata.version(name)
                for name in ("slr-stability-sweep", "torch", "ray", "optuna", "numpy", "pandas", "plotly")
            },
        },
        "host": {
            "platform": platform.platform(),
            "cpu": _cpu_name(),
            **_cores(),
            "gpu": torch.cuda.get_device_name(0) if torch.cuda.is_available() else None,
        },
        **(_own_facts(session, trains) if dataset is None or checked is None else _facts(dataset, checked)),
    }
    if results_id := results_id or previous.get(RESULTS_ID_KEY):
        content["provenance"][RESULTS_ID_KEY] = results_id
    if session.claims_withdrawn_after:
        content["provenance"][WITHDRAWN_KEY] = session.claims_withdrawn_after
    store.write_text(results_dir / SCHEMA_FILE, study_schema_text())
    store.write_study(results_dir, content)


def _own_facts(session: StudySession, trains: str | None) -> dict[str, object]:
    """What is known of a program of the user's."""
    own = session.study.own
    l_const, l_unif = (NAN, NAN) if own is None else own.references.losses
    known = {"l_const": l_const, "l_unif": l_unif}
    return {"trains": trains, **{name: value for name, value in known.items() if math.isfinite(value)}}


def _facts(dataset: Dataset, checked: Checked) -> dict[str, object]:
    """What is known of data and model."""
    facts = dataset.facts
    return {
        "data": {
            "source": redacted(facts.source),
            "valid_measures": facts.valid_measures,
            "frame_rate_hz": facts.frame_rate_hz,
            "exclusions": dict(facts.exclusions),
            "notes": [redacted(note) for note in (*facts.notes, *checked.warnings)],
            "num_train": len(dataset.train),
            "num_valid": len(dataset.valid),
            "vocabulary_size": len(dataset.vocabulary),
            "num_features": dataset.num_features,
        },
        "model": {
            "num_parameters": checked.num_parameters,
            "num_layers": checked.num_layers,
            "total_layers": checked.total_layers,
        },
        "l_const": checked.l_const,
        "l_unif": checked.l_unif,
    }


def note_lanes(results_dir: Path, num_lanes: int) -> None:
    """How many trainings can run at once is known only where Ray runs."""
    content = store.read_study(results_dir)
    content["provenance"]["num_lanes"] = num_lanes
    store.write_study(results_dir, content)


def _cores() -> dict[str, int | str]:
    found = cores()
    limited = {} if found.limit is None else {"cores_limited": str(found)}
    return {"cores": found.usable, **limited}


def _cpu_name() -> str:
    if sys.platform == "linux":
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
