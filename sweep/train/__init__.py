"""Trains a setting of a finished study longer, and keeps its weights: `slr-sweep train RESULTS [TRIAL]`.

command.py   its command line
chosen.py    which setting: the recommended one, or that of a trial
longer.py    the training: a line an evaluation, its checkpoint, its best weights
"""

from sweep.train.command import main

__all__ = ["main"]
