"""The table of trials: its columns, dimensions, groups and outcomes."""
