"""Studies of trainings that are the user's own: what reporting costs, and whether their maps are right.

overhead.py     what `run.step` takes beyond the judge
examples.py     the maps of the examples against dense grids
"""
