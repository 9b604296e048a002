"""A claim that a study's design settles: what somebody said, as a comparison of levels of a factor."""

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from slr_models.errors import SettingProblem
from slr_models.spec import Spec
from sweep.space import Scalar, Settings
from sweep.study.design import LevelName, Paired, level_name, words
from sweep.study.responses import RESPONSES, ResponseName
from sweep.yaml_source import KeyPath

Effect = Literal["difference", "ratio", "slope", "mean"]

_AT_MOST_ONE = ("stable", "broken", "learned", "skipped_rate")
"""Shares that cannot exceed 1, as a WER can."""
_ABOVE_ZERO = ("val_loss", "steps_to_loss", "step_time_s", "samples_per_s", "peak_memory_mib", "train_loss")
"""Responses that have ratios."""
LR_PATH = "training.optimizer.lr"
LR_FACTOR, MIN_RUNGS = "lr", 3
"""The factor over whose levels the edge of the learning rate is looked for, and the fewest that it needs."""
MIN_SLOPE_LEVELS = 3
_DIRECTIONS = {"higher": "higher by", "lower": "lower by", "equal": "equal within"}


def _printable(name: str) -> str:
    if not name.strip() or not name.isprintable():
        raise ValueError(f"{name!r} cannot be read in a line: write a word or a few")
    return name


class Claim(Spec):
    """What somebody claims, as an effect of one factor of the design on one response, with the error allowed."""

    name: Annotated[str, AfterValidator(_printable)] = Field(min_length=1, max_length=60)
    """Names it in results; unique in the study."""
    text: str = Field(min_length=1)
    """The claim in the words of whoever made it; stands in the report."""
    source: str = ""
    """Where it was said."""
    factor: str
    """The design's factor whose effect is claimed."""
    levels: tuple[LevelName, ...] = ()
    """Its levels that are compared, the reference first: two of them; effect slope: three or more, effect mean: one.
    May be left out where the factor has no more levels than that; slope: all of them."""
    by: str | None = None
    """Another factor: the claim is then about how far the effect differs between two of its levels (an interaction)."""
    by_levels: tuple[LevelName, ...] = ()
    """The two levels of `by`, the reference first. May be left out where it has no more."""
    where: dict[str, LevelName] = {}
    """Other factor -> level: only trainings with these levels count. What is not named is averaged over."""
    response: ResponseName
    """What is measured of each training. A training that failed counts as a complete failure, never as missing.
    stable (1 or 0); wer; val_loss (nats a label); steps_to_loss (steps until the validation loss is below
    `loss_fraction` of L_const); edge_lr (log10 of the learning rate between the highest stable and the lowest unstable
    level of the factor lr); step_time_s; samples_per_s; peak_memory_mib; leading_infs (steps skipped while the loss
    scale was calibrated); skipped_rate (share of the later steps that were skipped); train_loss (nats a label); score
    (what `objective` names, of trainings of the user's own)."""
    loss_fraction: float = Field(0.5, gt=0, le=1)
    """Share of L_const that ends steps_to_loss; of no effect on other responses."""
    effect: Effect = "difference"
    """difference or ratio of the second level and the first; slope: change for each doubling of the level's number;
    mean: of one level, not compared with another."""
    expected: Literal["higher", "lower", "equal"]
    """What is claimed: the effect against `value`."""
    value: float | None = None
    """What the effect is compared with, in its unit. Null: 0; of a ratio: 1."""
    smallest_effect: float = Field(gt=0)
    """Distance from `value` that matters, in the unit of the effect. Of a ratio: the factor, such as 1.1 for 10 %."""
    alpha: float = Field(0.05, ge=1e-9, lt=0.5)
    """Error allowed, two-sided, over all looks; Holm's procedure shares it with the study's other claims."""
    stated_after: int = Field(0, ge=0)
    """Trainings that had finished when it was stated as it is. Written by the tool into results; ignored when read."""

    @property
    def null(self) -> float:
        """`value`, or what stands for it: 0, of a ratio 1."""
        return float(self.effect == "ratio") if self.value is None else self.value


def resolved(claim: Claim, design: Paired) -> Claim:
    """The claim with what it leaves out filled in from the design, where there is one way to; `problems` tells of the
    rest."""
    own, other = (tuple(design.factors.get(name or "", {})) for name in (claim.factor, claim.by))
    most = {"slope": len(own), "mean": 1}.get(claim.effect, 2)
    return claim.model_copy(
        update={
            "levels": claim.levels or (own if len(own) <= most else ()),
            "by_levels": claim.by_levels or (other if len(other) <= 2 else ()),
            "value": claim.null,
        }
    )


def in_words(claim: Claim, design: Paired) -> str:
    """What is tested, for a person; of a resolved claim."""
    levels = claim.levels
    if claim.effect == "slope":
        what = f"the {RESPONSES[claim.response].name} for each doubling of {claim.factor} ({levels[0]} to {levels[-1]})"
    elif claim.effect == "mean":
        what = f"mean of the {RESPONSES[claim.response].name} with {claim.factor}={levels[0]}"
    else:
        what = f"{claim.effect} of the {RESPONSES[claim.response].name}, {claim.factor}={levels[1]} against {levels[0]}"
    if claim.by is not None:
        what += f", with {claim.by}={claim.by_levels[1]} against {claim.by_levels[0]}"
    if claim.where:
        what += ", where " + " and ".join(f"{name}={level}" for name, level in claim.where.items())
    free = [f for f in design.factors if f not in (claim.factor, claim.by, *claim.where) and not _spans(claim, f)]
    if free:
        what += f", averaged over {' and '.join(free)}"
    if claim.effect == "ratio":
        size, against = f"a factor {claim.smallest_effect:g}", f"{claim.value:g}"
    else:
        unit = RESPONSES[claim.response].unit
        size = _amount(claim, claim.smallest_effect, unit)
        alone = claim.effect == "mean" and RESPONSES[claim.response].is_share
        against = _amount(claim, claim.value, "%" if alone else unit) if claim.value else "0"
    return f"{what}: {_DIRECTIONS[claim.expected]} {size} against {against} (alpha {claim.alpha:g})"


def _amount(claim: Claim, effect: float, unit: str) -> str:
    """An effect as a reader sees it, shares in points: `15 points`."""
    shown = 100 * effect if RESPONSES[claim.response].is_share else effect
    return f"{shown:g} {unit}{' a doubling' if claim.effect == 'slope' else ''}"


def _spans(claim: Claim, factor: str) -> bool:
    """Whether the response is measured over the levels of a factor."""
    return claim.response == "edge_lr" and factor == LR_FACTOR


def problems(claim: Claim, design: Paired) -> Iterator[SettingProblem]:
    """What is wrong with a resolved claim, paths counting from the claim; nothing where it can be tested."""
    unknown = [*_unknown_factors(claim, design)]
    if unknown:
        yield from unknown
        return
    yield from _wrong_levels(claim, design)
    impossible = [*_impossible_effect(claim)]
    # How many levels a slope or a mean needs says nothing where the claim can have neither.
    if not impossible or claim.effect in ("difference", "ratio"):
        yield from _wrong_number_of_levels(claim, design)
    yield from impossible
    if not impossible:
        yield from _wrong_size(claim)
    if claim.response == "edge_lr":
        yield from _wrong_edge(claim, design)
    yield from _aliased(claim, design)


def unknown_names(claim: Claim, design: Paired) -> dict[KeyPath, tuple[str, ...]]:
    """Where a claim names a factor that the design lacks, or a level: place in the claim -> (factor,) or (factor,
    level)."""
    factors: dict[KeyPath, str] = {("factor",): claim.factor, **{("where", name): name for name in claim.where}}
    if claim.by is not None:
        factors[("by",)] = claim.by
    result: dict[KeyPath, tuple[str, ...]]
    result = {place: (name,) for place, name in factors.items() if name not in design.factors}
    for place, factor, levels in _named_levels(claim):
        missing = [level for level in levels if level not in design.factors.get(factor, {})]
        if missing and factor in design.factors:
            result[place] = (factor, missing[0])
    return result


def _named_levels(claim: Claim) -> Iterator[tuple[KeyPath, str, tuple[str, ...]]]:
    """Where a claim names levels, of which factor, and which."""
    yield ("levels",), claim.factor, claim.levels
    if claim.by is not None:
        yield ("by_levels",), claim.by, claim.by_levels
    for factor, level in claim.where.items():
        yield ("where", factor), factor, (level,)


def _unknown_factors(claim: Claim, design: Paired) -> Iterator[SettingProblem]:
    for place, unknown in unknown_names(claim, design).items():
        if len(unknown) == 1:
            yield SettingProblem(
                place,
                f"{place[0]} names {unknown[0]!r}, which is no factor of the design.",
                f"Known here: {', '.join(design.factors)}",
            )
    if claim.by == claim.factor:
        yield SettingProblem(("by",), f"by names {claim.by!r}, the claim's own factor", "name another one")
    for name in claim.where:
        if name in (claim.factor, claim.by):
            yield SettingProblem(
                ("where", name), f"where names {name!r}, whose levels are compared", "leave it out there"
            )


def _wrong_levels(claim: Claim, design: Paired) -> Iterator[SettingProblem]:
    """Names of levels that do not exist or stand twice, and the levels of `by`."""
    unknown = unknown_names(claim, design)
    for place, factor, levels in _named_levels(claim):
        if place in unknown:
            yield SettingProblem(
                place,
                f"{place[0]} names {unknown[place][-1]!r}, which is no level of {factor}.",
                f"Known here: {', '.join(design.factors[factor])}",
            )
        elif len(set(levels)) < len(levels):
            yield SettingProblem(place, f"{place[0]} names a level twice: {', '.join(levels)}")
    if claim.by is None and claim.by_levels:
        yield SettingProblem(("by_levels",), "by_levels says nothing without `by`", "name the other factor there")
    if claim.by is not None and not claim.by_levels:
        yield _open("by_levels", claim.by, design, "the two to compare, the reference first")
    elif claim.by is not None and len(claim.by_levels) != 2:
        yield SettingProblem(("by_levels",), f"by_levels needs two levels of {claim.by}", got=str(len(claim.by_levels)))


def _wrong_number_of_levels(claim: Claim, design: Paired) -> Iterator[SettingProblem]:
    place, num = ("levels",), len(claim.levels)
    match claim.effect:
        case "mean" if not num:
            yield _open("levels", claim.factor, design, "the one whose mean is claimed")
        case "difference" | "ratio" if not num:
            yield _open("levels", claim.factor, design, "the two to compare, the reference first")
        case "mean" if num != 1:
            yield SettingProblem(
                place, f"effect: mean is of one level, got {num}", "name one, or compare with effect: difference"
            )
        case "slope" if num < MIN_SLOPE_LEVELS:
            yield SettingProblem(
                place, f"effect: slope needs at least {MIN_SLOPE_LEVELS} levels of {claim.factor}", got=str(num)
            )
        case "difference" | "ratio" if num != 2:
            yield SettingProblem(place, f"effect: {claim.effect} compares two levels of {claim.factor}", got=str(num))
    if claim.effect == "slope" and not all(
        _is_number(level, design.factors[claim.factor].get(level, {})) for level in claim.levels
    ):
        yield SettingProblem(
            place,
            f"effect: slope needs levels that each set one number above 0, and those of {claim.factor} do not",
            "write the factor in short, as path: [numbers]",
        )


def _open(field: str, factor: str, design: Paired, which: str) -> SettingProblem:
    """What to name where the design leaves a choice."""
    levels = design.factors[factor]
    return SettingProblem(
        (field,), f"{field}: {factor} has {len(levels)} levels ({', '.join(levels)})", f"name {which}"
    )


def _impossible_effect(claim: Claim) -> Iterator[SettingProblem]:
    """Effects that this response, or an interaction, does not have."""
    if claim.effect == "slope" and claim.response == "edge_lr":
        yield SettingProblem(
            ("effect",), "response: edge_lr has no slope", "compare two levels with effect: difference"
        )
    if claim.effect == "ratio" and claim.response not in _ABOVE_ZERO:
        yield SettingProblem(
            ("effect",),
            f"effect: ratio needs a response that is always above 0, which {claim.response} is not",
            f"use difference, or one of {', '.join(_ABOVE_ZERO)}",
        )
    if claim.by is not None and claim.effect in ("slope", "mean"):
        yield SettingProblem(
            ("effect",), f"effect: {claim.effect} has no `by`: an interaction compares two differences or two ratios"
        )


def _wrong_size(claim: Claim) -> Iterator[SettingProblem]:
    if claim.effect == "ratio":
        if claim.smallest_effect <= 1:
            yield SettingProblem(
                ("smallest_effect",),
                "smallest_effect of a ratio is a factor above 1, such as 1.1 for 10 %",
                got=f"{claim.smallest_effect:g}",
            )
        if claim.value is not None and claim.value <= 0:
            yield SettingProblem(("value",), "value of a ratio must be above 0", got=f"{claim.value:g}")
    if claim.response in _AT_MOST_ONE and claim.effect in ("difference", "mean") and claim.smallest_effect >= 1:
        yield SettingProblem(
            ("smallest_effect",),
            f"smallest_effect is a share where {claim.response} is one, such as 0.1 for 10 points",
            got=f"{claim.smallest_effect:g}",
        )


def _wrong_edge(claim: Claim, design: Paired) -> Iterator[SettingProblem]:
    rungs = design.factors.get(LR_FACTOR, {})
    if len(rungs) < MIN_RUNGS or not all(list(s) == [LR_PATH] and _is_number(name, s) for name, s in rungs.items()):
        yield SettingProblem(
            ("response",),
            f"response: edge_lr needs a factor {LR_FACTOR} with at least {MIN_RUNGS} learning rates, such as "
            f"{LR_FACTOR}: {{{LR_PATH}: [1e-3, 1e-2, 1e-1]}}",
        )
    elif LR_FACTOR in (claim.factor, claim.by, *claim.where):
        yield SettingProblem(
            ("response",), f"response: edge_lr is looked for over all levels of {LR_FACTOR}", "do not name it otherwise"
        )


def _aliased(claim: Claim, design: Paired) -> Iterator[SettingProblem]:
    """Effects that a fraction cannot tell from the effect of one other factor, or cannot show at all."""
    effect = {claim.factor, *([] if claim.by is None else [claim.by])}
    for word in words(design):
        others = (word ^ effect) - set(claim.where)
        if len(others) <= 1:
            rest = f"from the effect of {next(iter(others))}" if others else "at all"
            yield SettingProblem(
                ("factor",),
                f"a {design.fraction} of the cells cannot tell the effect of {' x '.join(sorted(effect))} {rest}"
                f"{' under `where`' if claim.where else ''}",
                "use fraction: full",
            )


def _is_number(level: str, settings: Settings) -> bool:
    """Whether a level sets one path to a number above 0, and is named by it."""
    values: list[Scalar] = list(settings.values())
    return (
        len(values) == 1
        and isinstance(values[0], int | float)
        and not isinstance(values[0], bool)
        and values[0] > 0
        and level == level_name(values[0])
    )
