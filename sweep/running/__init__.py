"""A study under way.

session.py        which training is next, who hears what came of it (no Ray); course.py: what follows the exploration
trial.py          one trial: training, monitor and store together (no Ray); job.py: what it is asked for, as plain data
runner.py         the only file that starts Ray; ray_scheduler.py keeps Ray's schedulers to what they may touch
preflight.py      what is found out before the first trial; plan.py: what a study will do, in lines for a person
continuing.py     whether a folder holds the same study; provenance.py: where its results come from
conclusion.py     what follows from the finished trials; past_trial.py explains one of them later
view.py           what a view of a run hears
"""
