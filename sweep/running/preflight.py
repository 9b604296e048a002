"""What is found out before the first trial: mistakes that only building shows, warnings, and the expected time."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch

from slr_models.ctc import beam_decode
from slr_models.data.batch import Dataset
from slr_models.errors import SettingError, UserError
from slr_models.models.configs import CustomModelConfig
from slr_models.models.custom import raised_text
from sweep.running.job import RunOptions
from sweep.running.trial import TrialRunner
from sweep.search import CmaEsSearch, GridSearch, Nsga2Search
from sweep.space import Choice, Grid, grid_settings
from sweep.study import LoadedStudy, Study, num_settings
from sweep.study.full_size import at_full_size
from sweep.training.config import Beam, TrainingConfig, TrialConfig, eval_every_steps
from sweep.training.train import infeasible_targets


@dataclass(frozen=True)
class Checked:
    """What was found out before the first trial."""

    num_parameters: int
    num_layers: int
    l_const: float
    l_unif: float
    warnings: tuple[str, ...]


def preflight(loaded: LoadedStudy, dataset: Dataset, options: RunOptions) -> Checked:
    """Builds everything at the ends of the space and trains nothing, so that mistakes show before any trial."""
    config = loaded.trial_config(loaded.first_settings())
    model = config.model.build(dataset.num_features, dataset.groups, len(dataset.vocabulary), 0)
    _check_forward(model, config, dataset)
    _check_corners(loaded, dataset, options)
    _check_scheduler(loaded, len(dataset.train))
    l_const, l_unif = TrialRunner(dataset, options).floors(config)
    if not (math.isfinite(l_const) and l_const > 0):
        raise UserError(
            f"data: the loss of learning nothing is {l_const} for these training targets: they need at least one "
            f"target that CTC can align, and more than one label"
        )
    return Checked(
        num_parameters=sum(p.numel() for p in model.parameters()),
        num_layers=model.num_layers,
        l_const=l_const,
        l_unif=l_unif,
        warnings=tuple(_warnings(loaded, config, dataset)),
    )


def _check_corners(loaded: LoadedStudy, dataset: Dataset, options: RunOptions) -> None:
    """Raises a UserError for settings that only show when they are built for this data and machine."""
    device = torch.device(options.device if torch.cuda.is_available() else "cpu")
    first = loaded.first_settings()
    # The model of the first settings has been built by the caller.
    built = {loaded.trial_config(first).model.model_dump_json()}
    corners = [first, *(settings for _, settings in loaded.corners())]
    if loaded.study.full_size is not None:
        corners.append(at_full_size(loaded.study.full_size, loaded.study.space, first))
    for settings in corners:
        config = loaded.trial_config(settings)
        training = config.training
        shown = ", ".join(f"{path} = {value}" for path, value in settings.items())
        try:
            _build_schedule(training, loaded.max_steps(config, len(dataset.train)))
            if options.device == "cpu" or device.type == "cuda":
                training.precision.build(device)
            if isinstance(training.decoder, Beam):
                beam_decode(torch.zeros(1, 1, 2), torch.tensor([1]), training.decoder.width)
            key = config.model.model_dump_json()
            if key not in built:
                built.add(key)
                config.model.build(dataset.num_features, dataset.groups, len(dataset.vocabulary), 0)
        except UserError as error:
            raise UserError(f"{error} (with {shown})" if shown else str(error)) from error


def _check_scheduler(loaded: LoadedStudy, num_train: int) -> None:
    """Raises a SettingError where evaluations come too rarely for the scheduler to act on."""
    scheduler = loaded.study.scheduler
    if scheduler is None:
        return
    for settings in [loaded.first_settings(), *(settings for _, settings in loaded.corners())]:
        config = loaded.trial_config(settings)
        max_steps = loaded.max_steps(config, num_train)
        every = eval_every_steps(config.training, num_train)
        if scheduler.first_action_step(max_steps, every) >= max_steps:
            raise SettingError(
                f"scheduler.kind: {scheduler.kind} acts on evaluations, and none comes when it could act: trainings "
                f"take {max_steps} steps and are evaluated every {every}: set training.eval_every_steps to less, "
                f"such as {max(1, max_steps // 10)}"
            )


def _build_schedule(training: TrainingConfig, max_steps: int) -> None:
    try:
        training.schedule.build(training.optimizer.lr, max_steps)
    except SettingError as error:
        raise SettingError(
            *(p.within(("training", "schedule"), "training.schedule") for p in error.problems)
        ) from error


def _warnings(loaded: LoadedStudy, config: TrialConfig, dataset: Dataset) -> Iterator[str]:
    for name, split in (("training", dataset.train), ("validation", dataset.valid)):
        infeasible = int(infeasible_targets(config.model, split).sum())
        if infeasible:
            yield (
                f"{infeasible} of {len(split)} {name} targets are longer than CTC can align with the model's "
                f"output: their loss is infinite"
            )
    study = loaded.study
    update = config.training.batch_size * config.training.accumulate
    if update > len(dataset.train):
        yield f"one update takes {update} utterances, but there are {len(dataset.train)}: every update takes them all"
    if study.design is not None:
        return
    if not study.space and study.budget.trials > study.repeats:
        yield "space is empty, so there is one setting to train; repeats: N trains it over N seeds"
    if isinstance(study.search, GridSearch):
        available = sum(1 for _ in grid_settings(study.space))
        if num_settings(study) < available:
            yield f"the grid has {available} settings, and budget.trials lets only the first {num_settings(study)} run"

    yield from _search_warnings(study)


def _search_warnings(study: Study) -> Iterator[str]:
    if isinstance(study.search, CmaEsSearch):
        alone = [path for path, dim in study.space.items() if dim.when or isinstance(dim, Choice | Grid)]
        if alone:
            named = ", ".join(alone)
            yield f"cmaes draws {named} at random: choices, grids and conditional dimensions do not move along"
    if isinstance(study.search, Nsga2Search) and num_settings(study) < 2 * study.search.population_size:
        yield (
            f"nsga2 draws its first generation of {study.search.population_size} settings at random, and the budget "
            f"holds {num_settings(study)}: lower search.population_size or raise budget.trials"
        )


@torch.no_grad()
def _check_forward(model: Any, config: TrialConfig, dataset: Dataset) -> None:
    features = torch.from_numpy(dataset.train.utterance(0).copy())[None]
    lengths = torch.tensor([features.shape[1]])
    model.eval()
    try:
        logits = model(features, lengths)
    except Exception as error:
        if not isinstance(config.model, CustomModelConfig):
            raise
        raise UserError(f"model: its forward failed on one utterance: {raised_text(error)}") from error
    expected = (1, config.model.output_length(features.shape[1]), len(dataset.vocabulary))
    if tuple(logits.shape) != expected:
        raise UserError(
            f"model: its output has the shape {tuple(logits.shape)}, but (batch, output frames, vocabulary) "
            f"should be {expected}"
        )
