"""A study under way.

session.py        which training is next, who hears what came of it (no Ray); course.py: what follows the exploration
trial.py          one trial: training, monitor and store together (no Ray); job.py: what it is asked for, as plain data
cluster.py        the only file that starts Ray; private_ray.py: what it has to itself; ray_watch.py notices its death,
                  guard.py ends it where the run itself is killed
placement.py      how many trainings run at once, and what each takes, as their memory becomes known; placements.py:
                  where that depends on their settings, room.py: which of them may start then;
                  this_machine.py: what there is here; cores.py: how many cores, the only place that counts them;
                  features.py: what else a node has, and a study wants of it
nodes.py          the nodes of a cluster that was joined, which come and go, and whether a process died with its node
runner.py         trials on Ray Tune; trial_actor.py: the process that trains them, preloaded.py: what it imports early;
                  ray_scheduler.py keeps Ray's schedulers to what they may touch; ray_trials.py: what Ray says of an end
preflight.py      what is found out before the first trial; plan.py: what a study will do, in lines for a person
continuing.py     whether a folder holds the same study; provenance.py: where its results come from
signing.py        whose run left the code that a folder names, by the user's key (user_key.py)
conclusion.py     what follows from the finished trials; past_trial.py explains one of them later
view.py           what a view of a run hears
"""
