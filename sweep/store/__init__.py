"""The results folder: schemas, atomic writes, readers. Only here are results read and written.

    <results>/<study>/
      study.yaml              the study as validated, with `provenance` (versions, host, data facts)
      study.schema.json       what it, and recipe.yaml, may hold: for an editor
      ledger.jsonl            append-only truth: what was asked and what came of it; each line has a checksum
      ledger.jsonl.1, ...     as it was before something was cut off from it, or it was rebuilt
      set-aside.1, ...        records of trainings that a rebuilt ledger does not know
      ledger.lock             held by the run that writes here; empty. ledger.held where the disk knows no such locks
      prometheus.json         while a run is at work: where its metrics are
      prior.json              trainings of other studies that the search and the map learn from, where it names any
      queue/, stop/           what somebody asks of the run at work: settings to train next, trainings to end
      trials.parquet          one row a finished trial
      steps/<trial>.parquet   one row a training step
      evals/<trial>.parquet   one row an evaluation on the validation split
      steps/<trial>.jsonl     while the training is under way: a line a step, appended; evals/ likewise
      health/<trial>.parquet  one row a sampled number of the model: headroom, update ratio and the like
      evidence/<trial>/       explanation.json: why a bad trial went bad; traceback.txt of a crash;
                              forensics_error.txt where explaining it failed
      stability_map.parquet   P(stable) on a grid: one row a point; absent where the trials show no edge
      edges.parquet           where training stops being stable: one row an edge, or a slice without one
      importance.json         which searched settings matter, by method and dotted path
      claims.json             what became of the claims of a design: verdicts, effects, intervals
      recipe.yaml             the recommended settings as a study that trains once, with their evidence
      recipe.py               the same as plain PyTorch, to copy

Every file but the ledger and the records of trainings under way, which grow by whole lines, is written beside its place
and then renamed over it: a reader never sees half a file. And every file is checked before it is believed: sizes,
checksums, columns, types, ids of trials. What is none of what was written here is a ResultsError that names it, never
another exception.

`remote/` keeps such a folder on an object store.
"""

from sweep.store.completeness import JOURNAL_FILE
from sweep.store.documents import (
    evidence_path,
    read_claims,
    read_explanation,
    read_importance,
    read_recipe,
    read_study,
    write_claims,
    write_explanation,
    write_importance,
    write_study,
)
from sweep.store.files import atomic_path, without_nonfinite, write_text, write_yaml
from sweep.store.schemas import (
    EDGE_SCHEMA,
    EVAL_SCHEMA,
    HEALTH_SCHEMA,
    MAP_SCHEMA,
    SCHEMA_VERSION,
    STEP_SCHEMA,
    TRIAL_SCHEMA,
)
from sweep.store.tables import (
    STREAM_SUFFIX,
    TRIALS_FILE,
    RecordKind,
    has_records,
    load_evals,
    load_health,
    load_steps,
    read_columns,
    read_evals,
    read_health,
    read_results,
    read_steps,
    read_trials,
    record_stream,
    records_path,
    remove_map,
    remove_trial,
    settle_records,
    stream_path,
    write_evals,
    write_health,
    write_map,
    write_steps,
    write_trials,
)

__all__ = [
    "EDGE_SCHEMA",
    "EVAL_SCHEMA",
    "HEALTH_SCHEMA",
    "JOURNAL_FILE",
    "MAP_SCHEMA",
    "RecordKind",
    "SCHEMA_VERSION",
    "STEP_SCHEMA",
    "STREAM_SUFFIX",
    "TRIALS_FILE",
    "TRIAL_SCHEMA",
    "atomic_path",
    "evidence_path",
    "has_records",
    "load_evals",
    "load_health",
    "load_steps",
    "read_claims",
    "read_columns",
    "read_evals",
    "read_explanation",
    "read_health",
    "read_importance",
    "read_recipe",
    "read_results",
    "read_steps",
    "read_study",
    "read_trials",
    "record_stream",
    "records_path",
    "remove_map",
    "remove_trial",
    "settle_records",
    "stream_path",
    "without_nonfinite",
    "write_claims",
    "write_evals",
    "write_explanation",
    "write_health",
    "write_importance",
    "write_map",
    "write_steps",
    "write_study",
    "write_text",
    "write_trials",
    "write_yaml",
]
