"""What types cannot say of what trains: our own loop needs a model and data, a program of the user's its own parts."""

import re
from collections.abc import Iterator
from pathlib import PurePath

from slr_models import user_code
from slr_models.errors import SettingProblem
from sweep.own.command import OWN_NAMES, TEXTS, names_in, words
from sweep.own.program import CommandProgram, FunctionProgram, Goal, entropies
from sweep.records import LOSS_SCORE, RESULT_COLUMNS
from sweep.space import flat
from sweep.study.loaded import TRIAL_SECTIONS, LoadedStudy
from sweep.study.messages import suggest
from sweep.study.scheduler import Asha, Median
from sweep.study.settings import Study
from sweep.yaml_source import KeyPath

_TAKEN = ("jobs", "share")
"""Names in Ray's own configuration of a training."""
_OF_OUR_LOOP = ("wer", "edge_lr", "samples_per_s", "leading_infs")
"""Responses of claims that only our own loop has."""
_PART = re.compile(r"[A-Za-z_][\w-]*")


def program_problems(loaded: LoadedStudy) -> Iterator[SettingProblem]:
    """What is wrong with what trains, and with what only one kind of it has."""
    study = loaded.study
    if study.own is None:
        yield from _ctc_problems(study)
        return
    kind = f"trial.kind: {study.trial.kind}"
    for section in TRIAL_SECTIONS:
        if section in loaded.source.content:
            yield SettingProblem(
                (section,),
                f"{section} belongs to our own loop, and {kind} has none",
                "leave it out; values that all trainings share stand in trial.config",
            )
    if study.resources.out_of_memory == "accumulate":
        yield SettingProblem(
            ("resources", "out_of_memory"), f"resources.out_of_memory: accumulate is for our own loop, not for {kind}"
        )
    if study.resources.stacked > 1:
        yield SettingProblem(("resources", "stacked"), f"resources.stacked is for our own loop, not for {kind}")
    if study.full_size is not None:
        yield SettingProblem(("full_size",), f"full_size is for our own loop, not for {kind}")
    if study.scheduler is not None:
        yield from _scheduler_problems(study, kind)
    yield from _goal_problems(study)
    for index, claim in enumerate(study.claims):
        if claim.response in _OF_OUR_LOOP:
            yield SettingProblem(
                ("claims", index, "response"),
                f"claim {claim.name}: response {claim.response} is measured in our own loop, not with {kind}",
                "take stable, broken, learned, score, val_loss or train_loss",
            )
    references = study.own.references
    if references.cross_entropy:
        try:
            entropies(references.cross_entropy)
        except ValueError as error:
            yield SettingProblem(("trial", "references", "cross_entropy"), f"trial.references.cross_entropy: {error}")
    if isinstance(study.own, CommandProgram):
        yield from _command_problems(study, study.own)
    else:
        yield from _function_problems(study.own)


def own_path_problems(path: str, key: KeyPath, name: str) -> Iterator[SettingProblem]:
    """Whether a name can be that of a setting of the user's own."""
    if not all(_PART.fullmatch(part) for part in path.split(".")):
        yield SettingProblem(key, f"{name}: write a name such as lr, or sections and a name such as optimizer.lr")
    elif path in RESULT_COLUMNS or path in OWN_NAMES or path in _TAKEN:
        yield SettingProblem(key, f"{name}: {path!r} has a meaning of its own in results", "give it another name")


def _ctc_problems(study: Study) -> Iterator[SettingProblem]:
    for section in ("model", "data"):
        if getattr(study, section) is None:
            yield SettingProblem((section,), f"{section} is missing: it has no default")
    if isinstance(study.objective, Goal) or study.objective not in (None, "wer", "val_loss"):
        yield SettingProblem(("objective",), "objective: should be 'wer' or 'val_loss' where our own loop trains")
    for index, claim in enumerate(study.claims):
        if claim.response == "score":
            yield SettingProblem(
                ("claims", index, "response"),
                f"claim {claim.name}: response score is of trainings of the user's own, and our own loop trains here",
                "take wer or val_loss",
            )


def _scheduler_problems(study: Study, kind: str) -> Iterator[SettingProblem]:
    if not isinstance(study.scheduler, Asha | Median):
        yield SettingProblem(
            ("scheduler",), f"this scheduler pauses or copies trainings, which {kind} cannot", "use asha or median"
        )
    elif study.budget.steps is None:
        yield SettingProblem(
            ("budget", "steps"), "a scheduler goes by how far a training has come: give budget.steps, its whole length"
        )


def _goal_problems(study: Study) -> Iterator[SettingProblem]:
    goal = study.objective
    if isinstance(goal, Goal) and (goal.minimize is None) == (goal.maximize is None):
        yield SettingProblem(("objective",), "objective needs either minimize or maximize, with the name of a result")


def _function_problems(program: FunctionProgram) -> Iterator[SettingProblem]:
    if program.target is not None and (problem := user_code.refusal(program.target)) is not None:
        said = f"trial.target: {program.target!r} must not be used: {problem}"
        yield SettingProblem(("trial", "target"), said, user_code.ADVICE)


def _command_problems(study: Study, program: CommandProgram) -> Iterator[SettingProblem]:
    try:
        command = words(program)
    except ValueError as error:
        yield SettingProblem(("trial", "run"), f"trial.run cannot be split into words: {error}")
        return
    if not command:
        yield SettingProblem(("trial", "run"), "trial.run is empty")
    texts: list[tuple[KeyPath, str]] = [(("trial", "run"), word) for word in command]
    texts += [(("trial", key), text) for key in ("log", "cwd") if (text := getattr(program, key)) is not None]
    texts += [(("trial", "env", key), text) for key, text in program.env.items()]
    known, given = {*flat(program.config), *study.searched, *OWN_NAMES}, set[str]()
    for key, text in texts:
        for name in names_in(text):
            if name not in known and name not in given:
                said = f"{'.'.join(map(str, key))} names {{{name}}}, which is no setting"
                yield SettingProblem(key, f"{said}.", suggest(name, sorted(known)))
            given.add(name)
    for path, dimension in study.searched.items():
        if dimension.when and path in given and path not in flat(program.config):
            yield SettingProblem(
                ("space", path),
                f"space.{path} is not always there, and the command names {{{path}}}",
                f"give its value elsewhere in trial.config, such as {path}: 0",
            )
        if path not in given:
            yield SettingProblem(
                ("space", path),
                f"space.{path} changes nothing: the command does not name {{{path}}}",
                "put it into trial.run, or leave the dimension out",
            )
    yield from _log_problems(study, program)
    if "steps" in given and study.budget.steps is None:
        yield SettingProblem(("budget", "steps"), "the command names {steps}: give budget.steps")


def _log_problems(study: Study, program: CommandProgram) -> Iterator[SettingProblem]:
    """What would have a command judged by another one's log, or by nothing."""
    if study.resources.gpus == "auto":
        yield SettingProblem(
            ("resources", "gpus"),
            "resources.gpus: auto asks torch how much memory a training took, which knows nothing of a command's",
            "give a number, such as 1 or 0.5",
        )
    if program.log is not None and "dir" not in {*names_in(program.log), *names_in(program.cwd or "")}:
        yield SettingProblem(
            ("trial", "log"),
            f"trial.log is {program.log!r}: all trainings would write to one file",
            "put it into the folder of each, such as {dir}/log.csv, and name that in trial.run",
        )
    name = None if study.score is None else study.score.name
    if name not in (None, LOSS_SCORE, "val_loss", *program.metrics):
        yield SettingProblem(
            ("objective",),
            f"objective is {name}, which trial.metrics does not find in the log",
            f"say under which name the log tells it, such as trial.metrics: {{{name}: {name}}}",
        )
    suffix = "" if program.log is None else PurePath(program.log).suffix.lower()
    if program.metrics and suffix not in TEXTS:
        yield SettingProblem(
            ("trial", "metrics"),
            f"trial.metrics reads text, and trial.log is {program.log!r}",
            "have the command print its results, or write them to a text log",
        )
