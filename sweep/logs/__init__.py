"""Readers of training logs that other programs wrote: tables, JSON, Parquet, TensorBoard events, MLflow, plain text.

Each format's reader gives named columns (`RawLog`); which one a file needs is in `files.py`. `columns.py` tells what a
name may mean, by one table of spellings for all formats; `choice.py` chooses among the columns that there are, by their
names and by how much they hold, or as the user says; `table.py` reads the chosen ones as numbers; `counting.py` numbers
the steps; `trace.py` makes step records of them. `judging.py` shows these to the monitor, `answer.py` says what came of
it. Of a text, `bars.py` leaves the lines of progress bars that count, `lines.py` and `messages.py` understand a line,
`text.py` reads all lines that are alike at once, and `naming.py` tells what numbers are called where none is a loss.
"""
