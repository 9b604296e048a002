"""What is found out before the first trial: mistakes that only building shows, warnings, and the expected time."""

import math
import os
import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch

from slr_models.ctc import beam_decode
from slr_models.data.batch import Dataset
from slr_models.errors import SettingError, UserError
from slr_models.models.custom import CustomModelConfig, raised_text
from sweep.optim import Constant
from sweep.records import EvalRecord, StepRecord
from sweep.search import GridSearch
from sweep.space import corner_settings, grid_settings
from sweep.study import LoadedStudy, Study, num_settings
from sweep.train import Beam, Training, TrainingConfig, TrialConfig, infeasible_targets, steps_per_epoch
from sweep.trial import RunOptions, TrialRunner

DRY_RUN_STEPS = 6


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
    for settings in [first, *(settings for _, settings in corner_settings(loaded.study.space))]:
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


def _build_schedule(training: TrainingConfig, max_steps: int) -> None:
    try:
        training.schedule.build(training.optimizer.lr, max_steps)
    except SettingError as error:
        raise SettingError(f"training.schedule: {error}") from error


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
    if not study.space and study.budget.trials > study.repeats:
        yield "space is empty, so there is one setting to train; repeats: N trains it over N seeds"
    if isinstance(study.search, GridSearch):
        available = sum(1 for _ in grid_settings(study.space))
        if num_settings(study) < available:
            yield f"the grid has {available} settings, and budget.trials lets only the first {num_settings(study)} run"


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


def plan(loaded: LoadedStudy, dataset: Dataset, options: RunOptions) -> list[str]:
    """The plan of a study in lines for a person; times a few steps."""
    study = loaded.study
    explore = num_settings(study) * study.repeats
    confirm = study.confirm.settings * study.confirm.seeds
    config = loaded.trial_config(loaded.first_settings())
    max_steps = loaded.max_steps(config, len(dataset.train))
    step_s, eval_s, device = _time_steps(config, dataset, options, study.resources.cpus)
    num_evals = math.ceil(
        max_steps / (config.training.eval_every_steps or steps_per_epoch(config.training, len(dataset.train)))
    )
    lanes = max(1, (os.cpu_count() or 1) // study.resources.cpus)
    if study.resources.gpus and torch.cuda.is_available():
        lanes = min(lanes, int(torch.cuda.device_count() / study.resources.gpus + 1e-9))
    total_s = (explore + confirm) * (max_steps * step_s + num_evals * eval_s) / lanes
    lines = [
        f"space: {len(study.space)} dimensions, {study.search.kind} search",
        *(
            f"  {path}: {dimension.model_dump(mode='json', by_alias=True, exclude_defaults=True)}"
            for path, dimension in study.space.items()
        ),
        f"trials: {explore} to explore ({num_settings(study)} settings x {study.repeats} seeds), {confirm} to confirm",
        f"steps: up to {max_steps} a trial",
        *_alarm_lines(study),
        f"expected time: about {_duration(total_s)} with {lanes} at a time on this machine, if every trial ran to "
        f"its end ({step_s * 1000:.0f} ms a step and {eval_s:.1f} s an evaluation of the first setting, measured "
        f"now on the {device.type}, one training alone; several at once share memory bandwidth and may take longer)",
    ]
    if study.resources.gpus and device.type == "cpu":
        lines.append("this machine has no GPU: the times above are a CPU's, the study itself needs GPUs")
    if study.budget.wall_time_s is not None:
        lines.append(f"wall time limit: {_duration(study.budget.wall_time_s)}")
    return lines


def _alarm_lines(study: Study) -> Iterator[str]:
    """What happens to trials that go bad."""
    if not study.early_stop:
        yield "alarms: nothing is stopped early"
    else:
        yield f"alarms: stop a trial; {study.audit.rate:.0%} run on all the same, to measure how often that is wrong"
    if study.forensics.trials:
        yield f"causes: up to {study.forensics.trials} bad trials are explained by replays, beside the time below"


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def _time_steps(
    config: TrialConfig, dataset: Dataset, options: RunOptions, num_threads: int
) -> tuple[float, float, torch.device]:
    """Median seconds of a step, seconds of an evaluation, and the device that they were measured on."""
    torch.set_num_threads(num_threads)
    device = torch.device(options.device if torch.cuda.is_available() else "cpu")
    training = config.training.model_copy(update={"eval_every_steps": DRY_RUN_STEPS})
    # The schedule does not matter for the time, and may need more steps than these.
    training = training.model_copy(update={"schedule": Constant(warmup_steps=0)})
    timed = Training(
        config.model_copy(update={"training": training}), dataset, seed=0, max_steps=DRY_RUN_STEPS, device=device
    )
    records = list(timed.records())
    # The first step warms up.
    steps = [record.time_s for record in records if isinstance(record, StepRecord)][1:]
    evals = [record.time_s for record in records if isinstance(record, EvalRecord)]
    return statistics.median(steps), statistics.median(evals), device
