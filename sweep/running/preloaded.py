"""What Ray's workers import as they start, so that a training need not wait for it."""

import gc

# Half a second less: everything that an import makes stays.
gc.disable()
try:
    import sweep.running.trial_actor  # noqa: F401
finally:
    gc.enable()
    gc.freeze()
