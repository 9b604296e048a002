"""Rows of a results folder -> answers. Plain pandas and scipy; nothing here draws, trains or searches.

trials/       the table of trials: columns, dimensions, groups, outcomes
region/       where training is stable: the evidence, with the one model that all answers share, and what it says
answer/       what to use and what to avoid
failures/     why trainings failed
figures/      the rows behind the figures
cost/         what it cost, and what stopping early saved
claims/       what became of the claims of a design
comparison/   what changed between two studies
"""
