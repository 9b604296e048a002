"""What types cannot say of a study: settings that do not fit each other, or a budget that cannot be spent.

Each check tells all that it finds. What only follows from another mistake is left out: nobody can say what a study
lacks as long as a name in it is misspelled.
"""

import re
from collections.abc import Collection, Iterator

from slr_models.errors import SettingProblem
from slr_models.spec import Spec
from sweep.space import Space, condition_problems, num_corners
from sweep.study.claim import LR_FACTOR, Claim, unknown_names
from sweep.study.claim import problems as problems_of_claim
from sweep.study.code import code_problems
from sweep.study.corners import corner_problems
from sweep.study.design import cells
from sweep.study.fields import field_named, is_open, specs_in
from sweep.study.loaded import LoadedStudy
from sweep.study.messages import may_mean, suggest
from sweep.study.program_checks import own_path_problems, program_problems
from sweep.study.resource_checks import resource_problems, where_problems
from sweep.study.search_checks import full_size_problems, scheduler_problems, search_problems
from sweep.study.settings import MAX_TRIALS, Study, num_leaders
from sweep.training.config import TrialConfig
from sweep.wording import plural
from sweep.yaml_source import KeyPath

MAX_CORNERS = 20_000
"""Each takes about 0.1 ms to check."""

_RESERVED = re.compile(r"(?:con|prn|aux|nul|com[0-9]|lpt[0-9])(?:\..*)?", re.IGNORECASE)


def failed_checks(loaded: LoadedStudy) -> list[SettingProblem]:
    """All that is wrong with a study whose settings have the right types, each once."""
    study = loaded.study
    if not study.is_own and None in (study.model, study.data):
        return list(program_problems(loaded))
    misspelled = [p for path in study.space for p in _wrong_path(study, path, ("space", path), f"space.{path}")]
    unknown = {str(problem.path[1]) for problem in misspelled}
    conditions = [p for p in condition_problems(study.space) if not _names_misspelled(p, study.space, unknown)]
    factors = list(_factor_problems(loaded))
    found = [*program_problems(loaded), *_beside_design(study), *_budget_and_name(study)]
    found += [*misspelled, *conditions, *factors]
    # Corners need every dimension: one that is missing may make another one valid.
    many = list(_too_many_corners(study))
    found += many
    sound = not (misspelled or conditions or factors or many)
    corners = list(corner_problems(loaded)) if sound else []
    found += corners
    if not study.is_own:
        found += code_problems(study)
    # Dimensions and factors that lack a value, or have one that cannot be used.
    wrong = {problem.path[-1] for problem in [*conditions, *corners]}
    found += where_problems(study, unknown, wrong)
    if study.design is not None:
        found += _claim_problems(study, wrong, wrong.union(p.path[2] for p in factors if p.path[0] == "design"))
    else:
        found += search_problems(study, unknown, wrong)
        found += scheduler_problems(study, unknown)
        found += full_size_problems(loaded, unknown, wrong, sound)
    return list(dict.fromkeys(found))


def budget_problems(study: Study) -> Iterator[SettingProblem]:
    """Why the budget cannot be spent."""
    budget = study.budget
    if study.is_own and budget.epochs is not None:
        yield SettingProblem(
            ("budget", "epochs"),
            f"budget.epochs counts passes over `data`, which trial.kind: {study.trial.kind} has not",
            "give budget.steps, or neither where the program itself decides how long it trains",
        )
    elif not study.is_own and (budget.steps is None) == (budget.epochs is None):
        yield SettingProblem(("budget",), "budget needs either steps or epochs (one of the two)")
    if budget.trials > MAX_TRIALS:
        yield SettingProblem(
            ("budget", "trials"), f"{budget.trials} trials are more than a study can have: {MAX_TRIALS}"
        )
    if study.design is None and budget.trials < study.repeats:
        yield SettingProblem(
            ("budget", "trials"),
            f"budget.trials is {budget.trials}, too few for one setting with repeats: {study.repeats}",
        )


def _confirm_problems(study: Study) -> Iterator[SettingProblem]:
    """Too few trainings for the seeds that every confirmed setting gets."""
    most, least = study.confirm.max_trainings, num_leaders(study) * study.confirm.seeds
    if most is not None and most < least:
        yield SettingProblem(
            ("confirm", "max_trainings"),
            f"confirm.max_trainings is {most}, but {study.confirm.seeds} fresh seeds of "
            f"{plural(num_leaders(study), 'setting')} take {least}",
        )


def _budget_and_name(study: Study) -> Iterator[SettingProblem]:
    yield from budget_problems(study)
    yield from _confirm_problems(study)
    yield from resource_problems(study)
    if (wrong := unfit_for_a_folder(study.name)) is not None:
        yield SettingProblem(("name",), f"name is {study.name!r}, but it names a folder", wrong)


def unfit_for_a_folder(name: str) -> str | None:
    """What to change of a name, so that a folder can have it on any system and in any command; None where it can."""
    if found := re.search(r'[/\\<>:"|?*]', name):
        return f"leave out {found[0]}"
    if not name.isprintable():
        return "leave out what cannot be printed"
    if name != name.strip() or name.endswith("."):
        return "leave out blanks around it, and a full stop at its end"
    if name.startswith((".", "-")):
        return f"begin it with something else than {name[0]}, which hides a folder or makes it an option of a command"
    if _RESERVED.fullmatch(name):
        return "choose another one, since Windows keeps this for a device"
    return None


def _too_many_corners(study: Study) -> Iterator[SettingProblem]:
    """Why not each end of each dimension can be tried before the first training."""
    count = num_corners(study.space) * (1 if study.design is None else len(cells(study.design)))
    if count > MAX_CORNERS:
        yield SettingProblem(
            ("space",),
            f"space has {count} combinations of values to check, more than {MAX_CORNERS}",
            "leave values out of its longest choice, or write a range of numbers as int, uniform or loguniform",
        )


def _wrong_path(study: Study, path: str, key: KeyPath, name: str) -> Iterator[SettingProblem]:
    """What is wrong with the name of a setting."""
    if study.is_own:
        yield from own_path_problems(path, key, name)
    else:
        yield from _unknown_path(path, key, name)


def _unknown_path(path: str, key: KeyPath, name: str) -> Iterator[SettingProblem]:
    """Whether a dotted path names a field that some kind of a trial's sections has.

    Args:
        path: counts from the sections of a trial.
        key: where it stands.
        name: stands for it in messages.
    """
    keys = path.split(".")
    if keys[0] not in ("model", "training"):
        hint = " (data is built once and shared by all trials)" if keys[0] == "data" else ""
        yield SettingProblem(key, f"{name} cannot be searched; what can be is model.*, training.*{hint}")
        return
    candidates: list[type[Spec]] = [TrialConfig]
    for depth, part in enumerate(keys):
        fields = [field for spec in candidates if (field := field_named(spec, part)) is not None]
        if not fields:
            known = sorted({field for spec in candidates for field in spec.model_fields})
            owner = ".".join(keys[:depth]) or "a trial"
            yield SettingProblem(key, f"{name}: {owner} has no setting {part!r}.", suggest(part, known))
            return
        candidates = [spec for field in fields for spec in specs_in(field.annotation)]
        opens = any(is_open(field.annotation) for field in fields)
        if not candidates and depth < len(keys) - 1 and not opens:
            yield SettingProblem(key, f"{name}: {'.'.join(keys[: depth + 1])} is one value, without parts")
            return
        if not candidates and opens:
            return
    if candidates:
        yield SettingProblem(
            key, f"{name} is a section, not one value", f"search one of its settings, such as {path}.kind"
        )


def _names_misspelled(condition: SettingProblem, space: Space, unknown: Collection[str]) -> bool:
    """Whether a condition is wrong just because the dimension that it names is misspelled where it stands."""
    named = str(condition.path[-1])
    return named not in space and may_mean(named, unknown)


def _beside_design(study: Study) -> Iterator[SettingProblem]:
    """What a study with a design cannot have, or one without."""
    if study.design is None:
        if study.claims:
            yield SettingProblem(
                ("claims",),
                "claims need a design that settles them",
                "add one, such as design: {kind: paired, blocks: 24, factors: {precision: {training.precision.kind: "
                "[fp32, fp16]}}}",
            )
        return
    given: list[tuple[KeyPath, bool, str]] = [
        (("budget", "trials"), "trials" in study.budget.model_fields_set, "blocks x cells decide how many there are"),
        (("search",), "search" in study.model_fields_set, "blocks draw their settings by themselves"),
        (("repeats",), study.repeats > 1, "every block has a seed of its own: ask for more blocks"),
        (("scheduler",), study.scheduler is not None, "a training that is not judged leaves its block incomplete"),
        (("full_size",), study.full_size is not None, "it predicts from a search: make it a study of its own"),
    ]
    for path, is_given, why in given:
        if is_given:
            name = ".".join(map(str, path))
            yield SettingProblem(path, f"{name} cannot be used beside design: {why}.", "Leave it out")


def _factor_problems(loaded: LoadedStudy) -> Iterator[SettingProblem]:
    """Paths that the levels of factors should not set; one that stands once for all levels is told of once."""
    space, design = loaded.study.space, loaded.study.design
    told: set[KeyPath] = set()
    for factor, levels in design.factors.items() if design is not None else ():
        for level, settings in levels.items():
            for path in settings:
                key = _key_in_design(factor, level, path, loaded)
                if key in told:
                    continue
                told.add(key)
                unknown = list(_wrong_path(loaded.study, path, key, f"design.factors.{factor}.{level}.{path}"))
                yield from unknown
                if path in space and not unknown:
                    yield SettingProblem(
                        ("space", path),
                        f"space.{path} is set by the factor {factor} of the design",
                        "leave it out of one of them",
                    )


def _key_in_design(factor: str, level: str, path: str, loaded: LoadedStudy) -> KeyPath:
    """Where a setting of a level stands: under the level, or directly under the factor in the short form."""
    place: KeyPath = ("design", "factors", factor)
    short = path in loaded.source.content["design"]["factors"][factor]
    return (*place, path) if short else (*place, level, path)


def _claim_problems(
    study: Study, wrong_levels: Collection[str | int], wrong_factors: Collection[str | int]
) -> Iterator[SettingProblem]:
    """What is wrong with claims.

    Args:
        study: one with a design.
        wrong_levels: factors whose levels set values that cannot be used, so that they will have other names.
        wrong_factors: these, and factors that set what does not exist.
    """
    assert study.design is not None, "claims are settled by a design"
    names = [claim.name for claim in study.claims]
    told_names: set[tuple[str, ...]] = set()
    for index, claim in enumerate(study.claims):
        if claim.name in names[:index]:
            yield SettingProblem(
                ("claims", index, "name"), f"two claims are named {claim.name!r}", "give each a name of its own"
            )
        told: set[KeyPath] = set()
        unknown = unknown_names(claim, study.design)
        for problem in problems_of_claim(claim, study.design):
            # Where several claims name what the design lacks, it is the design that has another name for it.
            name = unknown.get(problem.path)
            follows = name in told_names or _follows(claim, problem.path, wrong_levels, wrong_factors)
            # Of several mistakes at one place the first decides what the others are about.
            if problem.path in told or follows:
                continue
            told.add(problem.path)
            if name is not None:
                told_names.add(name)
            yield problem.within(("claims", index), f"claim {claim.name}")


def _follows(
    claim: Claim, place: KeyPath, wrong_levels: Collection[str | int], wrong_factors: Collection[str | int]
) -> bool:
    """Whether what is wrong at a place of a claim may only follow from a factor that is wrong."""
    match place:
        case ("levels",):
            return claim.factor in wrong_levels
        case ("by_levels",):
            return claim.by in wrong_levels
        case ("where", factor):
            return factor in wrong_levels
        case ("response",):
            return LR_FACTOR in wrong_factors
    return False
