"""A study: YAML -> validated settings. What a user writes is validated here, before any trial starts.

loading.py       a file, or parsed YAML, to a validated study; stored() is the way back
reading.py       study.yaml of a results folder to what it says
settings.py      the typed study; claim.py, design.py, full_size.py, resources.py and scheduler.py are parts of it
loaded.py        a study with its source: the configuration of any of its trials
checks.py        what types cannot say; search_checks.py, resource_checks.py and corners.py are parts of it
code.py          which code of the user's a study names
schema.py        the JSON schema of a study file, for editors
sparse.py        a study without its defaults
messages.py      what pydantic found wrong, in words; fields.py knows the settings that a path names
"""

from sweep.study.checks import budget_problems
from sweep.study.loaded import LoadedStudy, apply_settings
from sweep.study.loading import complete, load, load_stored, stored, validate
from sweep.study.reading import StoredStudy, of_content, read_study
from sweep.study.resources import Resources
from sweep.study.settings import Study, num_confirmations, num_leaders, num_settings

__all__ = [
    "LoadedStudy",
    "Resources",
    "StoredStudy",
    "Study",
    "apply_settings",
    "budget_problems",
    "complete",
    "load",
    "load_stored",
    "num_confirmations",
    "num_leaders",
    "num_settings",
    "of_content",
    "read_study",
    "stored",
    "validate",
]
