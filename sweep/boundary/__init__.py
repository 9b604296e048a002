"""The boundary between stable and unstable settings, as a model learns it from trials.

encoding.py   settings as points
model.py      margins -> P(stable); process.py is its Gaussian process, result.py what a stable training comes to
calibration.py scores -> chances, learned from settings left out; lessons.py: what one more training would teach
growing.py    the model of a study that grows, in milliseconds; thinning.py: which of many trainings tell most
prior.py      what a model learns from trainings of other studies
edges.py      where along one setting training stops being stable; known.py: whether that is known well enough to end
threads.py    one thread for all of it
"""
