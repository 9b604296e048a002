"""Runs a study, or goes on with it, and writes its report: `python -m sweep.run STUDY.yaml`.

command.py   its command line; driver.py does the work
"""

from sweep.run.command import main

__all__ = ["main"]
