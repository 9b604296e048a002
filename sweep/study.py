"""A study: YAML -> validated settings. What a user writes is validated here, before any trial starts."""

import difflib
import hashlib
import importlib.util
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, get_args

from pydantic import Field, ValidationError
from pydantic.fields import FieldInfo

from slr_models.data import DataConfig
from slr_models.errors import SettingError
from slr_models.models import ModelConfig
from slr_models.spec import Spec
from sweep import yaml_source
from sweep.claim import Claim, problems, resolved
from sweep.design import Cell, Paired, cells, num_trainings
from sweep.design import dimensions as design_dimensions
from sweep.forensics.settings import ForensicsConfig
from sweep.full_size import FullSize, at_full_size, problem
from sweep.monitor import MonitorConfig
from sweep.objective import Metric
from sweep.scheduler import Pbt, SchedulerConfig, mutable_dimensions
from sweep.search import CmaEsSearch, GridSearch, RandomSearch, SearchConfig, StabilitySearch
from sweep.space import KINDS as DIMENSION_KINDS
from sweep.space import (
    Integer,
    LogUniform,
    Scalar,
    Settings,
    Space,
    Uniform,
    contains,
    corner_settings,
    grid_settings,
    is_active,
    ordered,
)
from sweep.train import TrainingConfig, TrialConfig, steps_per_epoch
from sweep.trial import Checkpoints
from sweep.yaml_source import KeyPath, YamlSource

TRIAL_SECTIONS = ("model", "data", "training")
MAX_ERRORS_SHOWN = 6
_WANTED = {
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "string_type": "a text (in quotes if it looks like a number)",
}
"""What is to be written, by what pydantic says of a value."""
_SCALAR_TAGS = ("bool", "int", "float", "str")
"""How pydantic tells the kinds of a Scalar apart."""


class Budget(Spec):
    """How much a study may spend."""

    trials: int = Field(32, ge=1)
    """Trainings of the exploration (settings x repeats); confirmations come on top. A `design` has its own number."""
    steps: int | None = Field(None, ge=1)
    """Updates of each training. Give either this or `epochs`."""
    epochs: float | None = Field(None, gt=0)
    """Passes of each training over its training split."""
    wall_time_s: float | None = Field(None, gt=0)
    """No trial starts after this time, over all runs of the study; the confirmation's share is kept free.
    Null: no limit."""


class Resources(Spec):
    """What one trial may use."""

    cpus: int = Field(1, ge=1)
    """CPU cores, and torch threads."""
    gpus: float = Field(0.0, ge=0, le=1)
    """GPUs; a fraction lets several trials share one. Above 0 trains on the GPU; a trial uses one at most."""


class Confirm(Spec):
    """Trains the best settings again, over seeds that the search has not seen."""

    settings: int = Field(1, ge=0)
    """How many of the best settings; 0 turns confirmation off."""
    seeds: int = Field(3, ge=1)
    """Fresh seeds of each."""
    recommended: bool = True
    """Whether the setting that `safety` recommends is trained too, also where the search never tried it."""


class Safety(Spec):
    """The distance from instability that a recommended setting keeps."""

    lr_factor: float = Field(3.0, ge=1)
    """The recommended learning rate lies at least this factor below the one at which training turns unstable."""
    p_stable: float = Field(0.95, ge=0.5, lt=1)
    """Least probability that a training with a fresh seed is stable."""


class Audit(Spec):
    """Lets some trials run on after an alarm, so that the report can say how often stopping is wrong."""

    rate: float = Field(0.1, ge=0, le=1)
    """Share of the trials that would be stopped; 0 for none. An alarm that no later step can undo needs no audit."""

    def chooses(self, study_seed: int, trial_number: int) -> bool:
        """Whether this trial runs on after an alarm: drawn for each trial by itself, and the same when it is repeated.

        A trial that one rate chooses, every higher rate chooses too.
        """
        digest = hashlib.sha256(f"audit of trial {trial_number}, seed {study_seed}".encode()).digest()
        return int.from_bytes(digest[:8], "big") < self.rate * 2**64


class Study(Spec):
    """A whole study, as a file holds it."""

    name: str = Field(min_length=1, max_length=100)
    """Names the results folder."""
    description: str = ""
    """What the study is to find out; stands in the report."""
    model: ModelConfig
    data: DataConfig
    training: TrainingConfig = TrainingConfig()
    space: Space = {}
    """What varies: dotted path -> dimension. Empty: one fixed setting. With a `design`: what each block draws anew; a
    results folder holds the paths of the factors here, too."""
    design: Paired | None = None
    """Trains blocks of settings that differ by chosen levels alone, to settle `claims`, in place of a search."""
    claims: tuple[Claim, ...] = ()
    """What the design is to settle: each ends as supported, refuted, equivalent or undecided."""
    search: SearchConfig = StabilitySearch()
    objective: Metric = "wer"
    """What a stable training is judged by."""
    budget: Budget
    resources: Resources = Resources()
    repeats: int = Field(1, ge=1)
    """Trainings of every setting, over the seeds seed .. seed + repeats - 1."""
    seed: int = Field(0, ge=0)
    """First seed of the trainings; all settings share the seeds, so they differ by their settings alone."""
    confirm: Confirm = Confirm()
    safety: Safety = Safety()
    """What a recommended setting has to meet."""
    full_size: FullSize | None = None
    """Whether the edge of stability is predicted, and tested, at another size than the searched ones."""
    monitor: MonitorConfig = MonitorConfig()
    early_stop: bool = True
    """Whether a trial ends as soon as it is judged; false lets it run on (for reference maps)."""
    scheduler: SchedulerConfig | None = None
    """Ends, pauses or changes trainings that do worse than others; null: each runs to its end or its alarm."""
    audit: Audit = Audit()
    """How many trials run on after an alarm all the same."""
    forensics: ForensicsConfig = ForensicsConfig()
    """Which bad trials are explained by replaying them."""
    checkpoints: Checkpoints = "none"
    """What each trial keeps on disk, for resuming and for later use."""
    provenance: dict[str, Any] = {}
    """Written by the tool into results; ignored when read."""

    @property
    def searched(self) -> Space:
        """All that differs between trainings: what the factors of a design vary, and `space`."""
        return {**(design_dimensions(self.design) if self.design else {}), **self.space}


class LoadedStudy:
    """A validated study with its source, able to make the configuration of any trial."""

    def __init__(self, study: Study, source: YamlSource) -> None:
        self.study = study
        self.source = source
        self._base = {key: source.content[key] for key in TRIAL_SECTIONS if key in source.content}

    def trial_config(self, settings: Mapping[str, Scalar]) -> TrialConfig:
        """The configuration with the settings put in at their dotted paths.

        Raises:
            SettingError: a setting cannot be used.
        """
        content = apply_settings(self._base, settings)
        try:
            return TrialConfig.model_validate(content)
        except ValidationError as error:
            source = YamlSource(self.source.name, content, self.source.lines)
            raise SettingError("\n".join(_messages(error, TrialConfig, source))) from error

    def first_settings(self, cell: Cell | None = None) -> Settings:
        """Some settings of the space: the first to try if any are named, else the low end of each dimension.

        With a design those of a cell, the first one where none is given.
        """
        first: Settings = {}
        for path in ordered(self.study.space):
            dimension = self.study.space[path]
            if is_active(dimension, first):
                known = self.study.search.try_first[0] if self.study.search.try_first else {}
                first[path] = known.get(path, dimension.ends[0])
        if self.study.design is None:
            return first
        return {**first, **(cell or cells(self.study.design)[0]).settings}

    def corners(self) -> Iterator[tuple[str, Settings]]:
        """Settings at the ends of every dimension, see `corner_settings`; with a design those of each of its cells.

        Yields pairs of the path under test, "" where there is none, and the settings.
        """
        if self.study.design is None:
            yield from corner_settings(self.study.space)
            return
        for cell in cells(self.study.design):
            for path, settings in corner_settings(self.study.space) if self.study.space else [("", {})]:
                yield path, {**settings, **cell.settings}

    def max_steps(self, config: TrialConfig, num_train: int) -> int:
        """Updates of a training, for a training split of that many utterances."""
        budget = self.study.budget
        if budget.steps is not None:
            return budget.steps
        assert budget.epochs is not None, "validated when loaded"
        return max(1, math.ceil(budget.epochs * steps_per_epoch(config.training, num_train)))


def load(path: Path, overrides: Sequence[str] = ()) -> LoadedStudy:
    """Reads and validates a study file.

    Args:
        path: the YAML file.
        overrides: `dotted.path=value` each, applied before validation.

    Raises:
        SettingError: with one line for each mistake: where it is, what is wrong, what to do.
    """
    source = yaml_source.load(path)
    for override in overrides:
        source = _override(source, override)
    return validate(source)


def validate(source: YamlSource) -> LoadedStudy:
    """Validates a parsed study, both ends of every dimension included.

    Raises:
        SettingError: with one line for each mistake.
    """
    try:
        study = Study.model_validate(source.content)
    except ValidationError as error:
        raise SettingError("\n".join(_messages(error, Study, source))) from error
    _check_beside_design(study, source)
    study = complete(study)
    loaded = LoadedStudy(study, source)
    check_budget(study, source.where(("budget",)))
    _check_name(study, source)
    _check_space(loaded, source)
    _check_factors(study, source)
    _check_corners(loaded, source)
    _check_claims(study, source)
    _check_search(study, source)
    _check_scheduler(study, source)
    _check_full_size(loaded, source)
    return loaded


def complete(study: Study) -> Study:
    """The study with what follows from its design: claims without gaps, and no confirmation where none was asked for.

    What a results folder holds of the factors in `space` is left out: the design says it.
    """
    design = study.design
    if design is None:
        return study
    varied = design_dimensions(design)
    return study.model_copy(
        update={
            "space": {path: dimension for path, dimension in study.space.items() if varied.get(path) != dimension},
            "claims": tuple(resolved(claim, design) for claim in study.claims),
            "confirm": study.confirm if "confirm" in study.model_fields_set else Confirm(settings=0),
        }
    )


def stored(study: Study) -> dict[str, Any]:
    """The study as study.yaml of a results folder holds it, all defaults written out; it can be run again.

    `space` holds the paths that the factors of a design vary, too, since trials have columns of them.
    """
    content = study.model_dump(mode="json", by_alias=True)
    content["space"] = {path: dim.model_dump(mode="json", by_alias=True) for path, dim in study.searched.items()}
    if study.design is not None:
        del content["search"], content["budget"]["trials"]
    return content


def apply_settings(base: Mapping[str, Any], settings: Mapping[str, Scalar]) -> dict[str, Any]:
    """Puts settings in at their dotted paths of a nested mapping; the base is left as it is.

    Where a setting changes a `kind`, the fields beside it that the new kind does not have are left out: they
    were written for the other kind.
    """
    result: dict[str, Any] = _deep_copy(base)
    # Kinds first: they decide which other fields exist.
    for path, value in sorted(settings.items(), key=lambda item: not item[0].endswith(".kind")):
        keys = path.split(".")
        target = result
        for depth, key in enumerate(keys[:-1]):
            if not isinstance(target.get(key), dict):
                target[key] = _default_section(TrialConfig, tuple(keys[: depth + 1]), result)
            target = target[key]
        if keys[-1] == "kind" and target.get("kind") != value:
            spec = spec_at(TrialConfig, tuple(keys[:-1]), result, kind=value)
            if spec is not None:
                for key in [k for k in target if k not in spec.model_fields]:
                    del target[key]
        target[keys[-1]] = value
    return result


def spec_at(
    root: type[Spec], path: KeyPath, content: Mapping[str, Any], kind: Scalar | None = None
) -> type[Spec] | None:
    """The Spec class that describes the mapping at `path`, chosen by the `kind` that stands there (or given).

    None where the path leads to no Spec, or to one of several that cannot be told apart.
    """
    spec: type[Spec] | None = root
    field: FieldInfo | None = None
    here: Any = content
    for depth, key in enumerate(path):
        if isinstance(key, int):  # an entry of the list that the field holds
            here = here[key] if isinstance(here, list) and key < len(here) else None
        else:
            field = _field(spec, key) if spec is not None else None
            here = here.get(key) if isinstance(here, Mapping) else None
        if field is None:
            return None
        wanted = kind if depth == len(path) - 1 else None
        if wanted is None and isinstance(here, Mapping):
            wanted = here.get("kind")
        if wanted is None:
            wanted = _default_kind(field)
        candidates = _specs_in(field.annotation)
        spec = candidates[0] if len(candidates) == 1 else next((c for c in candidates if wanted in _kinds(c)), None)
    return spec


def _default_section(root: type[Spec], path: KeyPath, content: Mapping[str, Any]) -> dict[str, Any]:
    """What stands for a section that the study leaves out: the kind of its default, if it has kinds."""
    field = _field_at(root, path, content)
    kind = _default_kind(field) if field is not None else None
    return {"kind": kind} if kind is not None else {}


def _default_kind(field: FieldInfo) -> Any:
    kinds = _kinds(type(field.default)) if isinstance(field.default, Spec) else ()
    return kinds[0] if kinds else None


def _field_at(root: type[Spec], path: KeyPath, content: Mapping[str, Any]) -> FieldInfo | None:
    """The field that a path ends in, or that holds the list whose entry it ends in; None where it leads to none."""
    if path and isinstance(path[-1], int):
        return _field_at(root, path[:-1], content)
    parent = spec_at(root, path[:-1], content)
    return _field(parent, str(path[-1])) if parent is not None else None


def _field(spec: type[Spec], name: str) -> FieldInfo | None:
    for key, field in spec.model_fields.items():
        if name in (key, field.alias):
            return field
    return None


def _kinds(spec: type[Spec]) -> tuple[Any, ...]:
    field = spec.model_fields.get("kind")
    return get_args(field.annotation) if field is not None else ()


def _specs_in(annotation: Any) -> list[type[Spec]]:
    if isinstance(annotation, type) and issubclass(annotation, Spec):
        return [annotation]
    return [spec for part in get_args(annotation) for spec in _specs_in(part)]


def _deep_copy(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _deep_copy(item) for key, item in value.items()}
    return value


def _override(source: YamlSource, override: str) -> YamlSource:
    path, equals, text = override.partition("=")
    keys = path.strip().split(".")
    if not equals or not all(keys):
        raise SettingError(f"--set {override}: write it as dotted.path=value, such as budget.trials=8")
    content = _deep_copy(source.content)
    # A dimension's key in `space` is itself a dotted path.
    if keys[0] == "space" and len(keys) > 1:
        keys = ["space", ".".join(keys[1:])]
    target = content
    for depth, key in enumerate(keys[:-1]):
        if not isinstance(target.get(key), dict):
            target[key] = _default_section(Study, tuple(keys[: depth + 1]), content)
        target = target[key]
    target[keys[-1]] = yaml_source.parse_scalar(text)
    lines = {p: line for p, line in source.lines.items() if p[: len(keys)] != tuple(keys)}
    return YamlSource(source.name, content, lines)


def _messages(error: ValidationError, root: type[Spec], source: YamlSource) -> list[str]:
    """One line for each mistake that pydantic found."""
    # A misspelled key comes before what it left missing.
    errors = sorted(_once(error.errors(include_url=False)), key=lambda item: item["type"] != "extra_forbidden")
    lines = []
    for item in errors[:MAX_ERRORS_SHOWN]:
        path = _yaml_path(item["loc"], source.content)
        name = ".".join(str(key) for key in path) or "the study"
        lines.append(f"{source.where(path)}: {_explain(item, path, name, root, source)}")
    if len(errors) > MAX_ERRORS_SHOWN:
        lines.append(f"... and {len(errors) - MAX_ERRORS_SHOWN} more")
    return lines


def _once(errors: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The errors with one for each value that is no Scalar, where pydantic has one for each kind of Scalar."""
    wrong = {i["loc"][:-1]: i["input"] for i in errors if i["type"] == "string_type" and i["loc"][-1] == "str"}
    kept = [i for i in errors if i["loc"][:-1] not in wrong or i["loc"][-1] not in _SCALAR_TAGS]
    return [*kept, *({"type": "no_scalar", "loc": loc, "input": value} for loc, value in wrong.items())]


def _explain(item: Mapping[str, Any], path: KeyPath, name: str, root: type[Spec], source: YamlSource) -> str:
    match item["type"]:
        case "extra_forbidden":
            spec = spec_at(root, path[:-1], source.content)
            known = [field.alias or key for key, field in spec.model_fields.items()] if spec else []
            return f"{name} is not a setting.{_suggest(str(path[-1]), known)}"
        case "missing":
            return f"{name} is missing: it has no default"
        case "union_tag_not_found":
            return f"{name} needs a kind: one of {_listed(_kinds_at(root, path, source.content))}"
        case "union_tag_invalid":
            given = item["ctx"]["tag"]
            known = _kinds_at(root, path, source.content)
            return f"{name}.kind is {given!r}, which does not exist.{_suggest(str(given), known)}"
        case "dimension_kind":
            keys = [str(key) for key in item["input"]] if isinstance(item["input"], Mapping) else []
            hint = _suggest(keys[0], DIMENSION_KINDS) if keys else f" Known here: {_listed(DIMENSION_KINDS)}"
            return f"{name} {item['msg']}.{hint}"
        case "model_attributes_type" | "model_type" | "dict_type" | "dict_attributes_type":
            return f"{name} is a section with settings of its own, such as {{kind: ...}}, got {item.get('input')!r}"
        case "tuple_type":
            return f"{name} is a list: {_as_list(item['input'], _field_at(root, path, source.content))}"
        case "no_scalar":
            return f"{name} is {_shown(item['input'])}: write one value, such as a number or a word"
        case kind if kind in _WANTED:
            return f"{name} is {_shown(item['input'])}: write {_WANTED[kind]}"
        case "value_error":
            return f"{name}: {item['ctx']['error']}"
        case _:
            got = item.get("input")
            shown = "" if isinstance(got, Mapping | Spec) else f", got {got!r}"
            return f"{name}: {item['msg'][0].lower()}{item['msg'][1:]}{shown}"


def _as_list(given: Any, field: FieldInfo | None) -> str:
    """How what was given in place of a list is to be written."""
    specs = _specs_in(field.annotation) if field is not None else []
    if specs:
        return f'start each entry with "- {next(iter(specs[0].model_fields))}: ...", got {_shown(given)}'
    example = "value, value" if isinstance(given, Mapping) else given
    return f"write it in brackets, as [{example}], got {_shown(given)}"


def _shown(value: Any) -> str:
    """A value as the file has it."""
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, bool):
        return str(value).lower()
    return "null" if value is None else repr(value)


def _kinds_at(root: type[Spec], path: KeyPath, content: Mapping[str, Any]) -> list[str]:
    """The kinds to choose from at a path."""
    field = _field_at(root, path, content)
    return [] if field is None else [str(k) for spec in _specs_in(field.annotation) for k in _kinds(spec)]


def _suggest(given: str, known: Sequence[str]) -> str:
    """Sentences that follow what does not exist, each after a blank: its neighbours, and all that is known here."""
    near = difflib.get_close_matches(given, known, n=3, cutoff=0.5)
    hint = f" Did you mean {' or '.join(near)}?" if near else ""
    return f"{hint} Known here: {_listed(known)}" if known else ""


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names)


def _yaml_path(loc: Sequence[str | int], content: Any) -> KeyPath:
    """pydantic's location without the tags of unions, which stand in no file."""
    path: list[str | int] = []
    here = content
    for index, key in enumerate(loc):
        if isinstance(here, Mapping):
            if key in here:
                path.append(key)
                here = here[key]
            elif index == len(loc) - 1 and str(key) not in DIMENSION_KINDS:
                path.append(key)
        elif isinstance(here, list) and isinstance(key, int) and key < len(here):
            path.append(key)
            here = here[key]
    return tuple(path)


def check_budget(study: Study, where: str) -> None:
    """Raises SettingError where the budget cannot be spent; `where` begins the message."""
    budget = study.budget
    if (budget.steps is None) == (budget.epochs is None):
        raise SettingError(f"{where}: budget needs either steps or epochs (one of the two)")
    if budget.trials < study.repeats:
        raise SettingError(
            f"{where}: budget.trials is {budget.trials}, too few for one setting with repeats: {study.repeats}"
        )


def _check_name(study: Study, source: YamlSource) -> None:
    if study.name in (".", "..") or re.search(r"[/\\\x00-\x1f]", study.name):
        raise SettingError(
            f"{source.where(('name',))}: name is {study.name!r}, but it names a folder: leave out / and \\"
        )


def _check_space(loaded: LoadedStudy, source: YamlSource) -> None:
    space = loaded.study.space
    for path in space:
        _check_known_path(path, f"space.{path}", source.where(("space", path)))
    with _at(source, space):
        ordered(space)


@contextmanager
def _at(source: YamlSource, space: Space) -> Iterator[None]:
    """Puts file and line before an error that names a dimension as `space.<path>`."""
    try:
        yield
    except SettingError as error:
        path = next((p for p in sorted(space, key=len, reverse=True) if f"space.{p}" in str(error)), "")
        raise SettingError(f"{source.where(('space', path))}: {error}") from None


def _check_known_path(path: str, name: str, where: str) -> None:
    """A dotted path must name a field that some kind of a trial's sections has; `name` stands for it in messages."""
    keys = path.split(".")
    if keys[0] not in ("model", "training"):
        hint = " (data is built once and shared by all trials)" if keys[0] == "data" else ""
        raise SettingError(f"{where}: {name} cannot be searched; what can be is model.*, training.*{hint}")
    candidates: list[type[Spec]] = [TrialConfig]
    for depth, key in enumerate(keys):
        fields = [field for spec in candidates if (field := _field(spec, key)) is not None]
        if not fields:
            known = sorted({field for spec in candidates for field in spec.model_fields})
            prefix = ".".join(keys[:depth])
            raise SettingError(f"{where}: {name}: {prefix or 'a trial'} has no setting {key!r}.{_suggest(key, known)}")
        candidates = [spec for field in fields for spec in _specs_in(field.annotation)]
        if not candidates and depth < len(keys) - 1 and not any(_is_open(f.annotation) for f in fields):
            raise SettingError(f"{where}: {name}: {'.'.join(keys[: depth + 1])} is one value, without parts")
        if not candidates and any(_is_open(f.annotation) for f in fields):
            return
    if candidates:
        raise SettingError(
            f"{where}: {name} is a section, not one value: search one of its settings, such as {path}.kind"
        )


def _is_open(annotation: Any) -> bool:
    """Whether a field holds free-form options, such as those of a user's own model."""
    return annotation is dict or getattr(annotation, "__origin__", None) is dict


def _check_beside_design(study: Study, source: YamlSource) -> None:
    """What a study with a design cannot have, as the file has it."""
    if study.design is None:
        if study.claims:
            raise SettingError(
                f"{source.where(('claims',))}: claims need a design that settles them: add one, such as design: "
                f"{{kind: paired, blocks: 24, factors: {{precision: {{training.precision.kind: [fp32, fp16]}}}}}}"
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
            raise SettingError(f"{source.where(path)}: {name} cannot be used beside design: {why}. Leave it out")


def _check_factors(study: Study, source: YamlSource) -> None:
    for factor, levels in study.design.factors.items() if study.design is not None else ():
        for level, settings in levels.items():
            for path in settings:
                name = f"design.factors.{factor}.{level}.{path}"
                where = source.where(_place_in_design(factor, level, path, source))
                _check_known_path(path, name, where)
                if path in study.space:
                    raise SettingError(
                        f"{source.where(('space', path))}: space.{path} is set by the factor {factor} of the design: "
                        f"leave it out of one of them"
                    )


def _check_corners(loaded: LoadedStudy, source: YamlSource) -> None:
    """Every end of every dimension must be a valid configuration; with a design, under each of its cells."""
    space, design = loaded.study.space, loaded.study.design
    factors = design.factors if design is not None else {}
    for tested, settings in loaded.corners():
        try:
            loaded.trial_config(settings)
        except SettingError as error:
            shown = ", ".join(f"{key} = {value}" for key, value in settings.items())
            detail = re.sub(r"^\S+: ", "", str(error).splitlines()[0])
            # The message begins with the setting that is wrong; that may be another dimension than the one under test.
            culprit = detail.split(" ")[0].rstrip(":")
            owner = next((f for f, levels in factors.items() if any(culprit in s for s in levels.values())), None)
            place: KeyPath
            if owner is not None:
                place = ("design", "factors", owner)
            elif culprit in space or tested:
                place = ("space", culprit if culprit in space else tested)
            else:
                place = ("design", "factors")
            advice = "Set it in the levels where it has an effect" if factors else "It has no effect there: add `when`"
            hint = f" {advice}" if "is not a setting" in detail else ""
            name = ".".join(map(str, place))
            raise SettingError(f"{source.where(place)}: {name} cannot be used with {shown}: {detail}.{hint}") from None


def _check_claims(study: Study, source: YamlSource) -> None:
    if study.design is None:
        return
    for index, claim in enumerate(study.claims):
        place: KeyPath = ("claims", index)
        if claim.name in [other.name for other in study.claims[:index]]:
            raise SettingError(
                f"{source.where((*place, 'name'))}: two claims are named {claim.name!r}: give each a name of its own"
            )
        for wrong, message in problems(claim, study.design):
            raise SettingError(f"{source.where((*place, *wrong))}: claim {claim.name}: {message}")


def _place_in_design(factor: str, level: str, path: str, source: YamlSource) -> KeyPath:
    """Where a setting of a level stands: under the level, or directly under the factor in the short form."""
    place: KeyPath = ("design", "factors", factor)
    return (*place, path) if (*place, path) in source.lines else (*place, level, path)


def _check_search(study: Study, source: YamlSource) -> None:
    if isinstance(study.search, GridSearch):
        with _at(source, study.space):
            next(grid_settings(study.space))
    if isinstance(study.search, CmaEsSearch):
        _check_cmaes(study, source.where(("search",)))
    for index, known in enumerate(study.search.try_first):
        for path, value in known.items():
            where = source.where(("search", "try_first", index, path))
            if path not in study.space:
                raise SettingError(
                    f"{where}: search.try_first names {path!r}, which is no dimension of space."
                    f"{_suggest(path, list(study.space))}"
                )
            if not contains(study.space[path], value):
                raise SettingError(f"{where}: search.try_first sets {path} to {value!r}, outside its dimension")


def _check_full_size(loaded: LoadedStudy, source: YamlSource) -> None:
    full_size, space = loaded.study.full_size, loaded.study.space
    if full_size is None:
        return
    path = full_size.path
    where = source.where(("full_size", "path"))
    if path not in space:
        raise SettingError(
            f"{where}: full_size.path names {path!r}, which is no dimension of space.{_suggest(path, list(space))}"
        )
    if (wrong := problem(full_size, space)) is not None:
        raise SettingError(f"{where}: {wrong}")
    try:
        loaded.trial_config(at_full_size(full_size, space, loaded.first_settings()))
    except SettingError as error:
        detail = re.sub(r"^\S+: ", "", str(error).splitlines()[0])
        target = source.where(("full_size", "target"))
        raise SettingError(f"{target}: full_size.target is {full_size.target:g}: {detail}") from None


def num_confirmations(study: Study) -> int:
    """Trainings that confirm, at most as long as every fresh seed is stable."""
    confirm = study.confirm
    # A study of one setting has nothing to recommend besides the best.
    recommended = confirm.recommended and bool(study.searched)
    return (confirm.settings + recommended) * confirm.seeds if confirm.settings else 0


def _check_cmaes(study: Study, where: str) -> None:
    if importlib.util.find_spec("cmaes") is None:
        raise SettingError(
            f"{where}: search.kind: cmaes needs the package cmaes: pip install 'slr-stability-sweep[cmaes]', or pip "
            f"install cmaes"
        )
    together = [
        path
        for path, dimension in study.space.items()
        if isinstance(dimension, Uniform | LogUniform | Integer) and not dimension.when
    ]
    if len(together) < 2:
        raise SettingError(
            f"{where}: search.kind: cmaes moves numeric dimensions without `when` together and needs two of them; "
            f"space has {len(together)}: use tpe or stability"
        )


def _check_scheduler(study: Study, source: YamlSource) -> None:
    if not isinstance(study.scheduler, Pbt):
        return
    where = f"{source.where(('scheduler',))}: scheduler.kind: pbt"
    if not isinstance(study.search, RandomSearch | GridSearch):
        raise SettingError(
            f"{where} changes settings in the middle of trainings, so a search cannot learn from their results: use "
            f"search.kind: random or grid with it, got {study.search.kind}"
        )
    if study.repeats > 1:
        raise SettingError(
            f"{where} changes the settings of each training by itself, so seeds of one setting do not stay one: use "
            f"repeats: 1 with it, got {study.repeats}"
        )
    if study.checkpoints != "none":
        raise SettingError(
            f"{where} gives a training other weights and settings on the way, so that its own checkpoints do not fit "
            f"it: use checkpoints: none with it, got {study.checkpoints}"
        )
    if not mutable_dimensions(study.space):
        raise SettingError(
            f"{where} has nothing to change: space needs a number under training.optimizer, training.clip or "
            f"training.bad_batch, such as training.optimizer.lr"
        )


def num_settings(study: Study) -> int:
    """Distinct settings that the exploration will try; of a design all its trainings, told apart by their blocks."""
    if study.design is not None:
        return num_trainings(study.design)
    wanted = study.budget.trials // study.repeats
    if not study.space:
        return 1
    if isinstance(study.search, GridSearch):
        available = sum(1 for _ in grid_settings(study.space)) + len(study.search.try_first)
        return min(wanted, available)
    return wanted
