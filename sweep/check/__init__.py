"""What is wrong or odd in a study's data, found before any training: `python -m sweep.check STUDY.yaml`.

command.py       its command line
report.py        reads the data, inspects them, and looks at the first steps of a model on them
reading.py       every file that a source cannot read, rather than the first one
problems.py      what is wrong or odd, with its places; lines.py tells it to a person
labels.py        what of it concerns labels
calibration.py   the first steps of fp16
"""
