"""Readers of training logs that other programs wrote: CSV, Parquet, JSON lines, TensorBoard events, plain text.

Each format's reader gives named columns (`RawLog`); `columns.py` tells which of them is the loss, the gradient norm
and so on, by one table of spellings for all formats; `trace.py` makes step records of them, `judging.py`
shows them to the monitor, `answer.py` says what came of it.
"""
