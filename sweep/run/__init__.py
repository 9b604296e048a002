"""Runs a study, or goes on with it, and writes its report: `python -m sweep.run STUDY.yaml`.

command.py      its command line; driver.py does the work, trainings.py its part on Ray
place.py        where the results go, and whether they can
kept.py         the folder that a run works in, and what keeps it on an object store
lanes.py        reads --jobs, and tells whether a trial fits on this machine
outlook.py      its first line and its last one
time_limit.py   reads --time
process_title.py  what lists of processes show of the command line
"""

from sweep.run.command import main

__all__ = ["main"]
