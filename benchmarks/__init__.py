"""Measurements of the tool, run as `python -m benchmarks.<room>.<name>`; none is installed with it."""
