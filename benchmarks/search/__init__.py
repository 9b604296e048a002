"""Searches for the stable region, against a dense truth of real trainings and live."""
