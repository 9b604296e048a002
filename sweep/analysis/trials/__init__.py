"""The table of trials: its columns, dimensions, groups, outcomes and speed."""
