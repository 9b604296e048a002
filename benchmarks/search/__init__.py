"""Searches for the stable region: against a dense truth of real trainings, on made surfaces, live, as shipped."""
