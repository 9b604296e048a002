"""Why a training went bad: facts of its records and data, a watched step, and counterfactual replays.

explaining.py        from a bad training to its cause: begin here; diagnosis.py does it for a trial, within allowance.py
trouble.py           when it began, and what counts as rescued
causes.py            what records and data tell alone, with batches.py, adam_state.py, flushing.py, health_alerts.py
trace_ops.py         the first non-finite value of one step, operation by operation; nonfinite.py looks into tensors
counterfactuals.py   the same steps with one thing changed; changes.py lists what
own_steps.py         the same of trainings that are the user's own, in the steps that they kept
sentences.py         the words of it; settings.py: how much a study spends on it
"""
