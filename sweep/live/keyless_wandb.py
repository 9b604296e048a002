"""Ray's logger to Weights & Biases, without its key in Ray's own logs.

Ray's callback gives the key to the process that logs as a runtime environment, and Ray writes these down: into its
logs and its list of jobs, where others may read it. Here the key goes along with the arguments of the process.
"""

import os
from collections.abc import Mapping
from typing import Any

import ray
from ray.air.integrations.wandb import WandbLoggerCallback, _WandbLoggingActor
from ray.air.util.node import _force_on_current_node


class _Actor(_WandbLoggingActor):
    def __init__(self, *args: Any, environment: Mapping[str, str], **kwargs: Any) -> None:
        os.environ.update(environment)
        super().__init__(*args, **kwargs)


class KeylessWandb(WandbLoggerCallback):
    """`WandbLoggerCallback`; the process that logs has the `WANDB_` variables of this one."""

    def log_trial_start(self, trial: Any) -> None:
        """A trial starts; the first one needs a running Ray."""
        # Ray's annotations know nothing of what its own code puts there.
        own: Any = self
        if own._remote_logger_class is None:
            own.kwargs["environment"] = {name: v for name, v in os.environ.items() if name.startswith("WANDB_")}
            here: Any = _force_on_current_node()
            own._remote_logger_class = ray.remote(_Actor).options(
                num_cpus=0, max_restarts=-1, max_task_retries=-1, **here
            )
        super().log_trial_start(trial)
