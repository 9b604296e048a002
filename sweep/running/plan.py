"""The plan of a study in lines for a person, with the time that it takes, from a few timed steps."""

import math
import statistics
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from slr_models.data.batch import Dataset
from sweep.analysis.claims.attainable import Attainable, attainable, is_foreseeable
from sweep.analysis.claims.sequential import look_blocks
from sweep.records import EvalRecord, StepRecord, is_finite
from sweep.running.job import RunOptions
from sweep.running.placements import Placements
from sweep.running.this_machine import limits, this_machine
from sweep.search import StabilitySearch
from sweep.study import LoadedStudy, Resources, Study, num_confirmations, num_settings
from sweep.study.claim import LR_PATH, Claim, in_words
from sweep.study.design import Paired, cells, num_trainings, words
from sweep.study.full_size import at_full_size
from sweep.training.config import TrainingConfig, TrialConfig, eval_every_steps
from sweep.training.optim import Constant
from sweep.training.stacked import shape, train_together
from sweep.training.train import Training
from sweep.wording import duration, listed, plural

DRY_RUN_STEPS = 6


@dataclass(frozen=True)
class Timing:
    """What a training costs on this machine."""

    step_s: float
    """Median of a few steps."""
    eval_s: float
    """Of the whole validation split."""
    device: torch.device
    """Where it was measured."""

    def training_s(self, training: TrainingConfig, max_steps: int, dataset: Dataset) -> float:
        """Seconds of a whole training that runs to its end."""
        return max_steps * self.step_s + self.evals_s(training, max_steps, dataset)

    def evals_s(self, training: TrainingConfig, max_steps: int, dataset: Dataset) -> float:
        """Seconds of all its evaluations, of which the last takes the whole validation split."""
        num_evals = math.ceil(max_steps / eval_every_steps(training, len(dataset.train)))
        num_valid = len(dataset.valid)
        share = min(training.eval_subset or num_valid, num_valid) / num_valid
        return self.eval_s * (1 + share * (num_evals - 1))


@dataclass(frozen=True)
class PlannedPhase:
    """A part of a study."""

    name: str
    num_trainings: int
    training_s: float
    """Of one training that runs to its end, alone."""
    what: str
    """What is trained, in a few words."""


def _phase_line(phase: PlannedPhase, placements: Placements) -> str:
    expected = _expected(phase.num_trainings * phase.training_s, placements)
    return f"{phase.what}, about {expected}" if phase.num_trainings else phase.what


def _expected(alone_s: float, placements: Placements) -> str:
    """How long trainings take together that take so long one after another, for a person."""
    fewest, most = placements.foreseen
    return " to ".join(dict.fromkeys((duration(alone_s / most), duration(alone_s / fewest))))


def _confirmed(study: Study) -> str:
    confirm = study.confirm
    if not confirm.settings:
        return "confirmation is off"
    best = "the best setting" if confirm.settings == 1 else f"the {confirm.settings} best settings"
    safe = " and the recommended one" if confirm.recommended and study.searched else ""
    more = "" if confirm.max_trainings is None else ", and more seeds of those that cannot be told apart"
    return f"{best}{safe} x {confirm.seeds} fresh seeds{more}"


def _full_size_phase(loaded: LoadedStudy, dataset: Dataset, options: RunOptions) -> Iterator[PlannedPhase]:
    """The tests at full size, timed at that size."""
    study = loaded.study
    if study.full_size is None or not study.full_size.trainings:
        return
    settings = at_full_size(study.full_size, study.space, loaded.first_settings())
    config = loaded.trial_config(settings)
    timing = _time_steps(config, dataset, options, study.resources.of(settings).cpus)
    max_steps = loaded.max_steps(config, len(dataset.train))
    training_s = timing.training_s(config.training, max_steps, dataset)
    what = f"{study.full_size.path} {study.full_size.target:g}"
    yield PlannedPhase("at full size", study.full_size.trainings, training_s, what)


def plan(loaded: LoadedStudy, dataset: Dataset, options: RunOptions, *, is_here: bool = True) -> list[str]:
    """The plan of a study in lines for a person; times a few steps.

    Args:
        loaded: the study.
        dataset: all trainings'.
        options: all trainings'.
        is_here: whether it is to run on this machine, and not on a cluster elsewhere.
    """
    study = loaded.study
    explore = num_settings(study) * study.repeats
    first = loaded.first_settings()
    config = loaded.trial_config(first)
    max_steps = loaded.max_steps(config, len(dataset.train))
    timing = _time_steps(config, dataset, options, study.resources.of(first).cpus)
    training_s, device = timing.training_s(config.training, max_steps, dataset), timing.device
    evals_rate = timing.evals_s(config.training, max_steps, dataset) / training_s
    what, measured = f"{explore // study.repeats} settings x {study.repeats} seeds", "the first setting"
    if study.design is not None:
        training_s = _mean_of_cells_s(loaded, study.design, dataset, options)
        what, measured = f"{study.design.blocks} blocks x {len(cells(study.design))} cells", "the first cell"
    placements = _placements_here(study.resources)
    phases = [
        PlannedPhase("to explore" if study.design is None else "to train", explore, training_s, what),
        PlannedPhase("to confirm", num_confirmations(study), training_s, _confirmed(study)),
        *_full_size_phase(loaded, dataset, options),
    ]
    trainings_s = sum(phase.num_trainings * phase.training_s for phase in phases)
    explained = study.forensics.most_explained(sum(phase.num_trainings for phase in phases))
    replayed = study.forensics.most_steps(max_steps)
    replays_s = explained * replayed * timing.step_s
    at_most = duration((trainings_s + replays_s) / min(placements.foreseen))
    with_replays = f", to {at_most} with all replays," if explained else ""
    lines = [
        *(_design_lines(study, study.design) if study.design is not None else _space_lines(study)),
        *(f"{phase.num_trainings} {phase.name}: {_phase_line(phase, placements)}" for phase in phases),
        f"steps: up to {max_steps} a trial",
        *_alarm_lines(study),
        *_cause_lines(explained, replayed, f"about {_expected(replays_s, placements)} in all if all were needed"),
        f"{'' if is_here else 'if it ran on this machine, and not on the cluster: '}{placements.line}",
        *resource_lines(study.resources),
        f"expected time: about {_expected(trainings_s, placements)}{with_replays} with {placements.at_once} at a time "
        f"on this machine, if every trial ran to its end; the start of Ray and the report come on top "
        f"({timing.step_s * 1000:.0f} ms a step and {timing.eval_s:.1f} s an evaluation of {measured}, evaluations "
        f"{evals_rate:.0%} of its time; measured now on the {device.type}, one training alone; several at once share "
        f"memory bandwidth and may take longer)",
    ]
    if placements.num_together > 1:
        lines.append(_together_line(config, dataset, timing, placements.num_together))
    if study.resources.gpus and device.type == "cpu":
        lines.append("this machine has no GPU: the times above are a CPU's, the study itself needs GPUs")
    if study.budget.wall_time_s is not None:
        lines.append(f"wall time limit: {duration(study.budget.wall_time_s)}")
    return lines


def _together_line(config: TrialConfig, dataset: Dataset, alone: Timing, num: int) -> str:
    """What is gained by computing the gradients of several trainings together."""
    if shape(config) is None:
        return (
            f"side by side: nothing is gained by resources.stacked: {num}, since the gradients of the first setting "
            f"cannot be computed with others': that takes fp32, no dropout, no LSTM and no model of your own"
        )
    trainings = [_timed_training(config, dataset, alone.device) for _ in range(num)]
    steps = [record for _, record in train_together(trainings) if isinstance(record, StepRecord)]
    step_s = statistics.median(r.time_s for r in steps if r.step > 1 and is_finite(r.time_s))
    gain = f"{step_s / alone.step_s:.2f} of the time that a step takes alone"
    return f"side by side: with {num} trainings in one process a step of each takes {1000 * step_s:.0f} ms, {gain}"


def _placements_here(resources: Resources) -> Placements:
    """As on this machine; where it has no GPU, as if none were asked for. What else it has, Ray finds out."""
    unknown = {"node_with": None} if torch.cuda.is_available() else {"node_with": None, "gpus": None}
    where = tuple(demand.model_copy(update=unknown) for demand in resources.where)
    without = {name: Resources.model_fields[name].default for name in unknown}
    resources = resources.model_copy(update={**without, "where": where})
    return Placements(resources, [this_machine(resources)], limits())


def resource_lines(resources: Resources) -> Iterator[str]:
    """Which nodes trainings may run on, where that is not any; and what is asked for by their settings."""
    if not resources.where and resources.node_with:
        yield f"nodes: trainings run only on those with {listed(resources.node_with)} (resources.node_with)"
    if resources.where:
        for words, one in resources.by_settings.items():
            yield f"resources {f'where {words}' if words else 'of a trial'}: {_asked(one)}"


def _asked(one: Resources) -> str:
    gpus = f", {one.gpus:g} GPU{'s' if float(one.gpus) > 1 else ''}" if one.gpus else ""
    nodes = f", on nodes with {listed(one.node_with)}" if one.node_with else ""
    return f"{plural(one.cpus, 'core')}{gpus}{nodes}"


def _space_lines(study: Study) -> Iterator[str]:
    """What a search varies."""
    yield f"space: {len(study.space)} dimensions, {study.search.kind} search"
    yield from _dimension_lines(study)


def _dimension_lines(study: Study) -> Iterator[str]:
    for path, dimension in study.space.items():
        yield f"  {path}: {dimension.model_dump(mode='json', by_alias=True, exclude_defaults=True)}"


def _design_lines(study: Study, design: Paired) -> Iterator[str]:
    """What a design compares, in which trainings, and which claims it settles when."""
    every = cells(design)
    yield (
        f"design: {design.kind}, {design.blocks} blocks x {len(every)} cells "
        f"({design.fraction} factorial) = {num_trainings(design)} trainings"
    )
    for factor, levels in design.factors.items():
        yield f"  factor {factor}:"
        for index, (level, settings) in enumerate(levels.items()):
            shown = ", ".join(f"{path} = {value}" for path, value in settings.items()) or "as the study has it"
            yield f"    {level}{' (reference)' if index == 0 else ''}: {shown}"
    yield "  cells, each once a block, in an order of its own: " + "; ".join(cell.name for cell in every)
    for word in words(design):
        yield f"  not told apart: any effect of some of {', '.join(sorted(word))} and that of the others of them"
    seeds = f"seeds {study.seed} to {study.seed + design.blocks - 1}"
    yield f"  each block has one seed ({seeds}) and draws{':' if study.space else ' nothing else'}"
    yield from (f"  {line}" for line in _dimension_lines(study))
    if not study.claims:
        yield "claims: none, so that all blocks are trained"
        return
    yield from claim_lines(study, design)


def claim_lines(study: Study, design: Paired) -> Iterator[str]:
    """Which claims a design settles, when, and what that takes at best."""
    *early, last = look_blocks(design.blocks, design.looks)
    ends = f"; ends after {' or '.join(map(str, early))} if every claim is settled" if early else ""
    judged = f"{', '.join(map(str, early))} and {last}" if early else str(last)
    yield f"claims, judged after {judged} blocks{ends}:"
    for claim in study.claims:
        yield f"  {claim.name}: {in_words(claim, design)}"
        if (best := _at_best(claim, study, design)) is not None:
            yield f"    {'at best' if best.possible else 'warning'}: {best.text}"


def own_plan(study: Study) -> list[str]:
    """The plan of a study whose trainings are programs of the user's own, in lines for a person."""
    explore, placements = num_settings(study) * study.repeats, _placements_here(study.resources)
    what = f"{explore // study.repeats} settings x {study.repeats} seeds"
    if study.design is not None:
        what = f"{study.design.blocks} blocks x {len(cells(study.design))} cells"
    steps = study.budget.steps
    return [
        *(_design_lines(study, study.design) if study.design is not None else _space_lines(study)),
        f"{explore} {'to explore' if study.design is None else 'to train'}: {what}",
        f"{num_confirmations(study)} to confirm: {_confirmed(study)}",
        f"steps: {'as many as the program likes' if steps is None else f'up to {steps} a trial'}",
        *_alarm_lines(study),
        *_cause_lines(
            study.forensics.most_explained(explore + num_confirmations(study)),
            study.forensics.max_replayed_steps,
            "of times that are not known before",
        ),
        placements.line,
        *resource_lines(study.resources),
        "how long a training takes is known when the first has ended: a dry run does not run programs",
    ]


def hopeless(study: Study) -> Iterator[str]:
    """The claims that the design cannot support whatever comes out, a sentence each."""
    if study.design is None:
        return
    for claim in study.claims:
        best = _at_best(claim, study, study.design)
        if best is not None and not best.possible:
            yield f"claim {claim.name} {best.text}"


def _at_best(claim: Claim, study: Study, design: Paired) -> Attainable | None:
    """How strong the evidence for a claim can get; None where its design does not decide that alone."""
    every = [cell.levels.items() for cell in cells(design)]
    columns = [{**claim.where, claim.factor: level}.items() for level in claim.levels]
    if not is_foreseeable(claim) or any(sum(column <= cell for cell in every) != 1 for column in columns):
        return None
    return attainable(claim, design.blocks, design.looks, len(study.claims))


def _mean_of_cells_s(loaded: LoadedStudy, design: Paired, dataset: Dataset, options: RunOptions) -> float:
    """Seconds of a training, on average over the cells: they may cost very different amounts."""
    timed: dict[str, float] = {}
    total_s = 0.0
    for cell in cells(design):
        settings = loaded.first_settings(cell)
        config = loaded.trial_config(settings)
        # The learning rate changes nothing of the time.
        key = str([item for item in cell.settings.items() if item[0] != LR_PATH])
        if key not in timed:
            timing = _time_steps(config, dataset, options, loaded.study.resources.of(settings).cpus)
            max_steps = loaded.max_steps(config, len(dataset.train))
            timed[key] = timing.training_s(config.training, max_steps, dataset)
        total_s += timed[key]
    return total_s / len(cells(design))


def _alarm_lines(study: Study) -> Iterator[str]:
    """What happens to trials that go bad."""
    if not study.early_stop:
        yield "alarms: nothing is stopped early"
    else:
        yield f"alarms: stop a trial; {study.audit.rate:.0%} run on all the same, to measure how often that is wrong"
        if isinstance(study.search, StabilitySearch) and study.search.foregone is not None:
            yield (
                f"foregone: what only maps ends where it is as good as stable; {study.audit.rate:.0%} run on; the time "
                "below is without it"
            )
    if study.scheduler is not None:
        yield f"scheduler: {study.scheduler.kind}, on the trainings of the exploration; the time below is without it"


def _cause_lines(num_explained: int, num_steps: int, cost: str) -> Iterator[str]:
    """How many bad trials are explained at most, by how many steps each, and what all of that takes."""
    if num_explained:
        bad = f"up to {num_explained} bad trials are" if num_explained > 1 else "one bad trial is"
        yield f"causes: {bad} explained by replays of up to {plural(num_steps, 'step')} each, {cost}"


def _time_steps(config: TrialConfig, dataset: Dataset, options: RunOptions, num_threads: int) -> Timing:
    """Trains a few steps."""
    torch.set_num_threads(num_threads)
    device = torch.device(options.device if torch.cuda.is_available() else "cpu")
    records = list(_timed_training(config, dataset, device).records())
    # The first step warms up.
    steps = [r.time_s for r in records if isinstance(r, StepRecord) and is_finite(r.time_s)][1:]
    evals = [record.time_s for record in records if isinstance(record, EvalRecord)]
    return Timing(statistics.median(steps), statistics.median(evals), device)


def _timed_training(config: TrialConfig, dataset: Dataset, device: torch.device) -> Training:
    """A training of a few steps."""
    training = config.training.model_copy(update={"eval_every_steps": DRY_RUN_STEPS})
    # The schedule does not matter for the time, and may need more steps than these.
    training = training.model_copy(update={"schedule": Constant(warmup_steps=0)})
    shortened = config.model_copy(update={"training": training})
    return Training(shortened, dataset, seed=0, max_steps=DRY_RUN_STEPS, device=device)
