"""Which setting of a study is trained longer: the recommended one, or that of a trial."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import torch

from slr_models.data.batch import Dataset
from slr_models.errors import ResultsError, UserError
from sweep import store
from sweep.running.past_trial import check_unchanged, past_trial
from sweep.running.signing import check_trusted
from sweep.study import LoadedStudy, Resources, load_stored, read_study
from sweep.study.code import named_by, named_in
from sweep.training.config import TrialConfig

USUAL_FACTOR = 4
"""Times the steps of the study, where no number is given."""


@dataclass(frozen=True)
class ChosenSetting:
    """What is trained."""

    name: str
    """`recommended`, or a trial's."""
    loaded: LoadedStudy
    resources: Resources
    """What its trials could use."""
    config: TrialConfig
    dataset: Dataset
    seed: int
    steps: int

    @property
    def device(self) -> torch.device:
        """A GPU where the study asks for one and this machine has it."""
        return torch.device("cuda" if self.resources.gpus and torch.cuda.is_available() else "cpu")

    @property
    def identity(self) -> str:
        """Tells the checkpoint of this training from that of another one."""
        text = f"{self.config.model_dump_json()} seed {self.seed} steps {self.steps} on {len(self.dataset.train)}"
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def chosen(results_dir: Path, trial: str | None, steps: int | None, *, trust: bool) -> ChosenSetting:
    """Reads the setting, and the data of the study.

    Args:
        results_dir: of the study.
        trial: its name; None for what the study recommends.
        steps: updates; None for four times as many as in the study.
        trust: run the code that the study names, whoever named it.

    Raises:
        UserError: there is no such trial, or nothing is recommended; the study trains programs of the user's own; or it
            names code that no run of this user has signed.
    """
    if steps is not None and steps < 1:
        raise UserError(f"--steps {steps}: give at least 1")
    study = read_study(results_dir).study
    if study.is_own:
        raise ResultsError(
            f"{results_dir}: its trainings are programs of your own, which only you can train longer: the settings "
            f"that it recommends stand in {results_dir / 'recipe.yaml'}"
        )
    if trial is not None:
        past = past_trial(results_dir, trial, trust=trust)
        usual = USUAL_FACTOR * int(past.row["max_steps"])
        return ChosenSetting(
            past.trial_id,
            past.loaded,
            past.resources,
            past.config,
            past.dataset,
            int(past.row["seed"]),
            steps or usual,
        )
    return _recommended(results_dir, steps, trust=trust)


def _recommended(results_dir: Path, steps: int | None, *, trust: bool) -> ChosenSetting:
    path = results_dir / "recipe.yaml"
    if store.read_recipe(results_dir) is None:
        raise ResultsError(
            f"{results_dir} recommends no setting (yet): name a trial of it, such as slr-sweep train {results_dir} 0003"
        )
    loaded, begun = load_stored(path), load_stored(results_dir / "study.yaml")
    config = loaded.trial_config({})
    needed = named_in(config.data, config.model)
    if not trust:
        if foreign := sorted(set(needed) - set(named_by(begun.study))):
            raise ResultsError(f"{path} names code that its study does not, {foreign[0]}: read it, and give --trust")
        check_trusted(results_dir, begun, needed)
    dataset = config.data.build()
    check_unchanged(results_dir, read_study(results_dir).made, dataset)
    usual = USUAL_FACTOR * loaded.max_steps(config, len(dataset.train))
    resources, seed = loaded.study.resources, loaded.study.seed
    return ChosenSetting("recommended", loaded, resources, config, dataset, seed, steps or usual)
