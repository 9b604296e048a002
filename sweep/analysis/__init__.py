"""Rows of a results folder -> answers: which settings are stable, how sure that is, and what to avoid.

Plain pandas and scipy; nothing here draws, trains or searches.
"""
