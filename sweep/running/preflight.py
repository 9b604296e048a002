"""What is found out before the first trial: mistakes that only building shows, warnings, and the expected time."""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from slr_models.ctc import beam_decode
from slr_models.data.batch import Dataset
from slr_models.errors import SettingError, SettingProblem, UserError
from slr_models.memory import check_memory
from slr_models.models.base import CtcModel, check_inputs
from slr_models.models.configs import CustomModelConfig, ModelConfig
from slr_models.user_code import raised_text
from sweep.running.job import RunOptions
from sweep.search import CmaEsSearch, GridSearch, Nsga2Search
from sweep.space import Choice, Grid, grid_settings
from sweep.study import LoadedStudy, Study, num_settings
from sweep.study.full_size import at_full_size
from sweep.training.config import Beam, TrainingConfig, TrialConfig, eval_every_steps
from sweep.training.learnable import floors, nothing_to_learn, output_lengths
from sweep.training.train import infeasible_targets
from sweep.yaml_source import KeyPath

_BYTES_A_WEIGHT = 16
"""Itself, its gradient and Adam's two means, in float32."""
MAX_LISTED = 100_000
"""Settings of a grid that are counted; budgets go as far."""


@dataclass(frozen=True)
class Checked:
    """What was found out before the first trial."""

    num_parameters: int
    num_layers: int
    """On the longest path."""
    total_layers: int
    l_const: float
    l_unif: float
    warnings: tuple[str, ...]


def preflight(loaded: LoadedStudy, dataset: Dataset, options: RunOptions) -> Checked:
    """Builds everything at the ends of the space and trains nothing, so that mistakes show before any trial."""
    config = loaded.trial_config(loaded.first_settings())
    model = _build_model(config.model, dataset)
    _check_forward(model, config, dataset)
    if wrong := [*_corner_problems(loaded, dataset, options), *_scheduler_problems(loaded, len(dataset.train))]:
        raise SettingError(*wrong)
    l_const, l_unif = floors(output_lengths(config, dataset), dataset)
    if (reason := nothing_to_learn(dataset, l_const)) is not None:
        raise UserError(f"data: {reason}")
    return Checked(
        num_parameters=sum(p.numel() for p in model.parameters()),
        num_layers=model.num_layers,
        total_layers=model.total_layers,
        l_const=l_const,
        l_unif=l_unif,
        warnings=tuple(_warnings(loaded, config, dataset)),
    )


def _build_model(config: ModelConfig, dataset: Dataset) -> CtcModel:
    """The model, unless to train it takes more memory than there is."""
    if not isinstance(config, CustomModelConfig):
        check_inputs(dataset.num_features, dataset.groups, len(dataset.vocabulary))
        count = config.num_parameters(dataset.groups, len(dataset.vocabulary))
        what = f"model: its {count:.3g} weights, with gradients and what an optimizer keeps of them,"
        check_memory(count * _BYTES_A_WEIGHT, what, "lower model.width, or another of its sizes")
    return config.build(dataset.num_features, dataset.groups, len(dataset.vocabulary), 0)


def _corner_problems(loaded: LoadedStudy, dataset: Dataset, options: RunOptions) -> Iterator[SettingProblem]:
    """Mistakes that only show when settings are built for this data and machine, each with the first that show it."""
    first = loaded.first_settings()
    # The model of the first settings has been built by the caller.
    built = {loaded.trial_config(first).model.model_dump_json()}
    corners = [first, *(settings for _, settings in loaded.corners())]
    if loaded.study.full_size is not None:
        corners.append(at_full_size(loaded.study.full_size, loaded.study.space, first))
    told: set[KeyPath | str] = set()
    for settings in corners:
        config = loaded.trial_config(settings)
        shown = ", ".join(f"{path} = {value}" for path, value in settings.items())
        steps = _building(config, loaded.max_steps(config, len(dataset.train)), options)
        key = config.model.model_dump_json()
        if key not in built:
            built.add(key)
            steps.append(partial(_build_model, config.model, dataset))
        for problem in (problem for step in steps for problem in _problems_of(step)):
            # A setting is told of once, since the sentence about it has other numbers at other corners.
            mistake = problem.path or problem.sentence
            if mistake not in told:
                told.add(mistake)
                yield SettingProblem(problem.path, f"{problem.sentence} (with {shown})") if shown else problem


def _building(config: TrialConfig, max_steps: int, options: RunOptions) -> list[Callable[[], object]]:
    """What is built of a training besides its model."""
    training = config.training
    device = torch.device(options.device if torch.cuda.is_available() else "cpu")
    steps: list[Callable[[], object]] = [partial(_build_schedule, training, max_steps)]
    if options.device == "cpu" or device.type == "cuda":
        steps.append(partial(training.precision.build, device))
    if isinstance(training.decoder, Beam):
        steps.append(partial(beam_decode, torch.zeros(1, 1, 2), torch.tensor([1]), training.decoder.width))
    return steps


def _problems_of(step: Callable[[], object]) -> tuple[SettingProblem, ...]:
    try:
        step()
    except SettingError as error:
        return error.problems
    except UserError as error:
        return (SettingProblem((), f"{error}"),)
    return ()


def _scheduler_problems(loaded: LoadedStudy, num_train: int) -> Iterator[SettingProblem]:
    """Evaluations that come too rarely for the scheduler to act on, told of at the first settings where they do."""
    scheduler = loaded.study.scheduler
    if scheduler is None:
        return
    for settings in [loaded.first_settings(), *(settings for _, settings in loaded.corners())]:
        config = loaded.trial_config(settings)
        max_steps = loaded.max_steps(config, num_train)
        every = eval_every_steps(config.training, num_train)
        if scheduler.first_action_step(max_steps, every) >= max_steps:
            yield SettingProblem(
                ("scheduler",),
                f"scheduler.kind: {scheduler.kind} acts on evaluations, and none comes when it could act: trainings "
                f"take {max_steps} steps and are evaluated every {every}",
                f"set training.eval_every_steps to less, such as {max(1, max_steps // 10)}",
            )
            return


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
        wanted = num_settings(study)
        listed = sum(1 for _ in itertools.islice(grid_settings(study.space), MAX_LISTED + 1))
        available = f"more than {MAX_LISTED}" if listed > MAX_LISTED else listed
        if wanted < listed:
            yield f"the grid has {available} settings, and budget.trials lets only the first {wanted} run"

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
