"""Trainings that are the user's own: a Python function, or any command. Knows neither Ray nor the study.

program.py     what a study says of it
handle.py      what a training reports through, and is stopped by
output.py      what a function prints, kept within bounds
kept_steps.py  its latest steps, to be trained again
replays.py     why one went bad: it runs again with one setting changed
command.py     runs a command, and reads its log as it grows
minder.py      the small program that ends a command with whoever started it
"""
