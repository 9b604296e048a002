"""Ray's own objects of trainings: what their processes died of, and where they are."""

from pathlib import Path
from typing import Any

from ray.tune import Callback
from ray.tune.experiment import Trial as RayTrial

from sweep.running.nodes import answered


class RayTrials(Callback):
    """Ray's own objects of trainings: what their processes died of, and where they are; what is not needed any more is
    let go of."""

    def __init__(self, *, asks_where: bool = False) -> None:
        """Of whether each process is asked on which node it is."""
        self._trials: list[RayTrial] = []
        self._num_emptied = 0
        self._asks_where = asks_where
        self._where: dict[str, Any] = {}
        """Ray's id of a training -> the answer, as Ray has it until it is there."""
        self._begun: set[str] = set()

    def on_trial_start(self, iteration: int, trials: list[RayTrial], trial: RayTrial, **info: Any) -> None:
        self._begun.add(trial.trial_id)
        actor = trial.temporary_state.ray_actor
        if self._asks_where and actor is not None:
            # Before it begins to train, so that it answers at once.
            self._where[trial.trial_id] = actor.node_id.remote()

    def on_step_begin(self, iteration: int, trials: list[RayTrial], **info: Any) -> None:
        self._trials = trials

    def on_step_end(self, iteration: int, trials: list[RayTrial], **info: Any) -> None:
        # Ray keeps all trials to the end, each with its settings and its results in several forms: 56 KiB of them.
        while self._num_emptied < len(trials) and trials[self._num_emptied].is_finished():
            trial = trials[self._num_emptied]
            trial.config, trial.evaluated_params, trial.placement_group_factory = {}, {}, None
            known = trial.run_metadata
            known.last_result, known.metric_analysis, known.metric_n_steps = {}, {}, {}
            # No public parts of Ray: the settings once more, and a call of the actor whose answer nobody has fetched,
            # with all that Ray keeps to repeat it.
            vars(trial)["_Trial__unresolved_config"] = {}
            trial._default_result_or_future = None
            self._where.pop(trial.trial_id, None)
            self._begun.discard(trial.trial_id)
            self._num_emptied += 1

    def has_begun(self, trial_id: str) -> bool:
        """Whether a trial has a process, of those that are not over."""
        return trial_id in self._begun

    def node_id(self, trial_id: str) -> str | None:
        """Of the node that a trial's process is on; None where it has not begun."""
        answer = self._where.get(trial_id)
        if isinstance(answer, str):
            return answer
        found = answered(answer)
        if found is not None:
            self._where[trial_id] = found
        return found

    def text(self, trial_id: str) -> str:
        """What Ray says of the end of a trial's process; empty where it says nothing."""
        trial = next((trial for trial in self._trials if trial.trial_id == trial_id), None)
        path = None if trial is None else trial.error_file
        return Path(path).read_text(encoding="utf-8") if path is not None and Path(path).is_file() else ""

    def __getstate__(self) -> dict[str, Any]:
        return {}
