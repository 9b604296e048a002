"""Judges a training from its records, live or from a log. Needs numpy and pydantic, nothing else.

monitor.py      records -> verdict, for anybody's loop; detectors/ holds one file a rule
end_verdict.py  how a training looks at its end: numbers, learning, and what both were judged with
quiet.py        passes over long stretches of a log in which nothing happens
ending.py       what became of a training that ran on after an alarm
foregone.py     when a training under way is as good as stable
objective.py    what a training is worth to a search: one finite number, and the margin
"""

from sweep.judging.detectors import RunContext
from sweep.judging.monitor import MonitorConfig, StabilityMonitor

__all__ = ["MonitorConfig", "RunContext", "StabilityMonitor"]
