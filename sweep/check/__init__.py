"""What is wrong or odd in a study's data, found before any training: `python -m sweep.check STUDY.yaml`."""

from sweep.check.reading import Problem
from sweep.check.report import Report, check

__all__ = ["Problem", "Report", "check"]
