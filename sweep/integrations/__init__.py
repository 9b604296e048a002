"""Callbacks that judge the trainings of other libraries, and stop those that are lost.

    from sweep.integrations.huggingface import StabilityCallback    Trainer(..., callbacks=[StabilityCallback()])
    from sweep.integrations.lightning import StabilityCallback      Trainer(..., callbacks=[StabilityCallback()])
    from sweep.integrations.keras import StabilityCallback          model.fit(..., callbacks=[StabilityCallback()])

Each module imports its library; this one imports none. A callback hands every optimizer step to a
`sweep.StabilityMonitor`, stops the training at an alarm, says why, and leaves the verdict in `callback.verdict` and in
the library's own log.

watch.py     what the three share: numbers of a step, from every process -> a record, a decision, a verdict
missing.py   what is said where a library is not installed
tensors.py   what is read of torch's gradients and weights
"""
