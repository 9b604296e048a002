"""Which setting to use, on what evidence, how sure that is, and what to avoid."""

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import pandas as pd

from sweep.analysis.answer.enough import HARDLY_BEGUN, alike_text, too_few_text
from sweep.analysis.answer.expected import ExpectedResults
from sweep.analysis.answer.neighbours import NUM_NEAREST, Neighbourhood, neighbourhoods
from sweep.analysis.answer.race import rules
from sweep.analysis.answer.runner_up import runner_up_text
from sweep.analysis.answer.safe_setting import Rule, SafeSetting, judge, keeps_rule
from sweep.analysis.answer.unsafe import Caution, claims, common_failure
from sweep.analysis.region.evidence import Evidence
from sweep.analysis.trials.columns import common_value
from sweep.analysis.trials.dimensions import Dimension
from sweep.analysis.trials.groups import SettingGroup
from sweep.analysis.trials.outcomes import judged, open_ends_text
from sweep.analysis.trials.ranking import VAL_LOSS, WER, Ranking, ranking
from sweep.analysis.trials.tried import as_searched
from sweep.boundary.model import MarginModel
from sweep.own.program import Score
from sweep.records import Metric, NotKnown, Outcome
from sweep.space import Settings
from sweep.study import Study
from sweep.wording import number, percent, plural, setting_text, value_text

BORDER = 0.03
"""A value this close (in units of its range) to an end of the searched range is pointed out."""

UNFINISHED = 0.5
"""A validation loss above this multiple of the zero-information loss is that of a training under way."""
LEARNED = 0.95
"""A loss below this multiple of the zero-information loss shows that something was learned."""
EQUAL_SCORES = 0.01
"""Expected WERs that are less apart than this are no reason to prefer a setting."""
TURNED_UP = 1.1
"""A validation loss that ended above this multiple of its lowest has turned up."""

_ADVICE = {
    Outcome.INFEASIBLE_DATA: "Targets are longer than the model's output: check the data and the stride.",
    Outcome.OUT_OF_MEMORY: "Lower the batch size or the model's width.",
    Outcome.CRASHED: "The cause lies in the code or the data, not in the settings: read the reason below.",
    Outcome.HUNG: "It stopped telling of itself: read what it printed in files/, or raise trial.silence_s.",
    Outcome.TIMED_OUT: "Raise trial.timeout_s, or let it do less.",
    Outcome.BLANK_COLLAPSE: "Nothing was learned. Check the data, or train for more steps.",
    Outcome.STALLED: "Nothing was learned. Raise the learning rates or steps, or check the data.",
    Outcome.SKIP_STARVED: "Hardly any update was applied. Loosen the rule that skips batches.",
    Outcome.SCALER_COLLAPSE: "Widen the search to full precision or lower learning rates.",
    Outcome.DIVERGED_LOSS: "Widen the search to lower learning rates.",
    Outcome.DIVERGED_NONFINITE: "Widen the search to lower learning rates or to full precision.",
    Outcome.MEMORISED: "Only the training data were learned. Take more data, augmentation, regularisation or a "
    "smaller model, or stop earlier.",
    Outcome.TOO_SHORT: "Train for more steps.",
    Outcome.CALIBRATING: "The loss scale never settled: train for more steps or start from a lower scale.",
}


@dataclass(frozen=True)
class Candidate:
    """A setting whose every seed was stable."""

    group: SettingGroup
    around: Neighbourhood
    score: float
    """Lower is better: the expected result if an unstable training counted as a complete failure."""


@dataclass(frozen=True)
class Recommendation:
    """The answer of a study."""

    status: Literal["confirmed", "unconfirmed", "none"]
    headline: str
    """The answer in a sentence."""
    chosen: Candidate | None
    """None where no setting was stable over all its seeds."""
    alternatives: tuple[Candidate, ...]
    """All other candidates, best first."""
    num_candidates: int
    sureness: tuple[str, ...]
    """How sure the answer is, a sentence each."""
    method: str
    """What was done, in words."""
    avoid: tuple[Caution, ...]
    notes: tuple[str, ...]
    """What else the reader should know before using it."""
    memorises: bool = False
    """Whether the chosen setting goes on learning its training data alone, as one of the notes says."""
    safety: SafeSetting | None = None
    """The chosen setting held against the safety rule; None without one, or without a model of the boundary."""
    num_picked_from: int = 1
    """Confirmed settings that the chosen one was picked from: the intervals of its results allow for that."""
    expected: str = ""
    """What a fresh training comes to, from the fresh seeds alone, in a sentence; empty without two of them."""
    runner_up: str = ""
    """What separates it from the next best one, in a sentence; empty where there is none, or nobody asked."""
    too_few: str = ""
    """That the trainings are too few for the safety rule, and how many more it takes; empty where they are enough."""
    alike: str = ""
    """That all settings did alike, in a sentence; empty where they did not."""

    @property
    def setting(self) -> dict[str, Any]:
        """Dotted path -> value of the recommended setting; empty where there is none."""
        return {} if self.chosen is None else dict(self.chosen.group.setting)

    @property
    def caveats(self) -> tuple[str, ...]:
        """How sure the answer is, and what else its reader should know, a sentence each."""
        return (*self.sureness, *filter(None, (self.runner_up, self.alike, self.too_few)), *self.notes)


def recommend(
    evidence: Evidence, metric: Metric = "wer", safety: Rule | None = None, study: Study | None = None
) -> Recommendation:
    """Chooses among the settings whose every seed was stable; says so plainly where there is none.

    The order: confirmed with fresh seeds and safe, confirmed, safe, the others; within each by expected result. That of
    settings which are confirmed and safe is the mean over their fresh seeds alone, by which no search chose them.
    Open ends and trials that a scheduler gave other settings on the way say nothing here, nor do those at full size.

    Args:
        evidence: the trials, and what was searched.
        metric: what stable settings are ranked by; the validation loss stands in where a WER is missing.
        safety: the safety rule; None for none. Without a model of the boundary (few trainings, or no numeric setting)
            there is none either.
        study: whose race over fresh seeds the runner-up is told by; None: nothing is told of one.
    """
    known, dims, groups = evidence.tried, evidence.dims, evidence.groups
    avoid = tuple(claims(known, dims)) if len(known) else ()
    foregone = sum(g.all_stable and not g.ran_to_end for g in groups)
    every = [g for g in groups if g.all_stable and g.ran_to_end]
    stable = [g for g in every if not _only_memorises(g, known)]
    if not stable:
        return _nothing(evidence.trials, known, avoid, num_memorising=len(every), num_foregone=foregone)
    by = ranking(metric, evidence.score)
    if by is WER and not all(g.wer is not None for g in stable):
        by = VAL_LOSS
    around = neighbourhoods(stable, groups, dims)
    judgements = _Judgements(evidence, metric, safety, stable)
    scores = judgements.scores or {g.group: _score(g, around[g.group], known, by) for g in stable}
    nothing_failed = len(every) == len(groups)
    for group in stable:
        if group.confirmed and (nothing_failed or judgements.is_safe(group)):
            scores[group.group] = _measured(group, by)
    ranked = sorted(
        (Candidate(g, around[g.group], scores[g.group]) for g in stable),
        key=lambda c: (
            not (c.group.confirmed and judgements.is_safe(c.group)),
            not c.group.confirmed,
            not judgements.is_safe(c.group),
            c.score,
            c.group.group,
        ),
    )
    if by is WER:
        ranked = _of_equals(ranked, judgements.is_safe)
    num_confirmed = sum(c.group.confirmed for c in ranked)
    ranked[0] = replace(ranked[0], group=ranked[0].group.picked_from(max(num_confirmed, 1)))
    chosen = ranked[0]
    safe = judgements.of(chosen.group)
    expected = _expected(chosen.group, by, num_confirmed)
    runner_up = ""
    if study is not None and len(ranked) > 1:
        race = rules(study, by.scale(known))
        is_safer = judgements.is_safe(chosen.group) and not judgements.is_safe(ranked[1].group)
        runner_up = runner_up_text(chosen.group, ranked[1].group, evidence.names, by, race, is_safer=is_safer)
    return Recommendation(
        status="confirmed" if chosen.group.confirmed else "unconfirmed",
        headline=_headline(chosen, evidence, unsafe=safe is not None and not safe.meets),
        chosen=chosen,
        alternatives=tuple(ranked[1:]),
        num_candidates=len(ranked),
        sureness=tuple(_sureness(chosen, expected)),
        method=_method(len(groups), ranked, judgements.num_safe, by, len(dims)),
        avoid=avoid,
        memorises=bool(_memorising(chosen.group, known)),
        notes=(*_notes(chosen, groups, dims, known), *_open_notes(chosen, evidence.trials)),
        safety=safe,
        num_picked_from=max(num_confirmed, 1),
        expected=expected,
        runner_up=runner_up,
        too_few=too_few_text(evidence, safety),
        alike=alike_text(evidence),
    )


class _Judgements:
    """Stable settings, held against the safety rule where there is a model of the boundary."""

    def __init__(
        self,
        evidence: Evidence,
        metric: Metric,
        safety: Rule | None,
        stable: Sequence[SettingGroup],
    ) -> None:
        self._models: tuple[MarginModel, MarginModel] | None = None
        """Of the boundary, and of breaking."""
        self._safe: set[int] = set()
        self.scores: dict[int, float] = {}
        """By group, as `Candidate.score`; empty where there is no model."""
        # Without a rule nobody asks for the models, which take seconds to fit.
        if safety is None or isinstance(evidence.model, NotKnown) or isinstance(evidence.breaking, NotKnown):
            return
        model, breaking = self._models = evidence.model, evidence.breaking
        self._rule = safety
        self._expected = ExpectedResults(evidence.tried, model.encoding, metric)
        settings = [self._settings(g) for g in stable]
        scores = self._expected.cautious(settings, model.p_stable(settings))
        self.scores = {g.group: float(score) for g, score in zip(stable, scores, strict=True)}
        kept = keeps_rule(breaking, settings, self._rule)
        self._safe = {g.group for g, keeps in zip(stable, kept.tolist(), strict=True) if keeps}

    @property
    def num_safe(self) -> int | None:
        """How many of the settings keep the rule; None where there is no model."""
        return None if self._models is None else len(self._safe)

    def is_safe(self, group: SettingGroup) -> bool:
        """Whether it keeps the rule; False where nobody knows."""
        return group.group in self._safe

    def of(self, group: SettingGroup) -> SafeSetting | None:
        """All that is known of one; None where there is no model."""
        if self._models is None:
            return None
        return judge(*self._models, self._settings(group), self._rule, self._expected, group.group)

    def _settings(self, group: SettingGroup) -> Settings:
        assert self._models is not None, "settings are typed by the model's space"
        space = self._models[0].encoding.space
        typed = {path: as_searched(value, space[path]) for path, value in group.setting.items()}
        return {path: value for path, value in typed.items() if value is not None}


def _measured(group: SettingGroup, by: Ranking) -> float:
    found = group.measured(by.metric)
    return math.inf if found is None else found.mean


def _score(group: SettingGroup, around: Neighbourhood, trials: pd.DataFrame, by: Ranking) -> float:
    found = group.measured(by.metric)
    if found is None:
        return math.inf
    return (1 - around.risk) * found.mean + around.risk * max(by.failure(trials), found.mean)


def _of_equals(ranked: list[Candidate], is_safe: Callable[[SettingGroup], bool]) -> list[Candidate]:
    """The ranking, with the lowest validation loss first of those that are level with the first one.

    Level are mean WERs and scores that differ by less than a point, equally confirmed and safe.
    """
    first = ranked[0].group

    def is_level(candidate: Candidate) -> bool:
        group = candidate.group
        same = group.confirmed == first.confirmed and is_safe(group) == is_safe(first)
        known = None not in (group.wer, first.wer, group.val_loss)
        equal = known and abs(group.wer.mean - first.wer.mean) < EQUAL_SCORES  # type: ignore[union-attr]  # known
        return same and equal and candidate.score < ranked[0].score + EQUAL_SCORES

    level = [candidate for candidate in ranked if is_level(candidate)]
    if not level:
        return ranked
    best = min(level, key=lambda c: c.group.val_loss.mean)  # type: ignore[union-attr]  # known
    return [best, *(c for c in ranked if c is not best)]


def _headline(chosen: Candidate, evidence: Evidence, *, unsafe: bool) -> str:
    group = chosen.group
    setting = setting_text(group.setting, evidence.names)
    is_known = group.wer or group.val_loss or group.score
    result = f": {result_text(group, evidence.score)}" if is_known else ""
    if group.confirmed:
        fresh = f"{group.fresh.count} of {plural(group.fresh.total, 'fresh seed')}"
        use = "Best found, but the safety rule is not met:" if unsafe else "Use"
        return f"{use} {setting}{result}, stable in {fresh}."
    return f"Best so far, not confirmed with fresh seeds: {setting}{result}."


def result_text(group: SettingGroup, score: Score | None = None) -> str:
    """`WER 42 %` or, where no WER is known, `validation loss 1.3 nats a label`; of trainings of the user's own their
    score: `accuracy 0.97`."""
    if score is not None and group.score is not None:
        return f"{score.name} {number(score.as_reported(group.score.mean))}"
    if group.wer is not None:
        return f"WER {percent(group.wer.mean)}"
    if group.val_loss is not None:
        return f"validation loss {number(group.val_loss.mean)} nats a label"
    return "no validation result"


def _expected(group: SettingGroup, by: Ranking, num_confirmed: int) -> str:
    spread = group.measured(by.metric)
    if not group.fresh.total or spread is None or spread.num < 2:
        return ""
    low, high, ci = spread.low, spread.high, (spread.ci_low, spread.ci_high)
    if by.is_maximized:
        low, high, ci = high, low, (ci[1], ci[0])
    texts = [by.text(value) for value in (spread.mean, low, high, *ci)]
    unit = f" {by.unit}" if by.unit else ""
    picked = f", corrected for the choice among {num_confirmed} confirmed settings" if num_confirmed > 1 else ""
    return (
        f"Over the {spread.num} fresh seeds alone the {by.name} is {texts[0]}{unit} on average "
        f"({texts[1]} to {texts[2]}); the 95 % interval of its mean is {texts[3]} to {texts[4]}{picked}."
    )


def _sureness(chosen: Candidate, expected: str) -> list[str]:
    group, around = chosen.group, chosen.around
    lines = []
    seeds = group.fresh if group.fresh.total else group.stable
    kind = "fresh seed" if group.fresh.total else "seed"
    were = "was" if seeds.count == 1 else "were"
    lines.append(
        f"{seeds.count} of {plural(seeds.total, kind)} {were} stable; the exact 95 % interval of the stable "
        f"rate is {percent(seeds.low)} to {percent(seeds.high)}."
    )
    if not group.fresh.total:
        lines.append("The search chose this setting by its result, so expect a fresh seed to do a little worse.")
    elif expected:
        lines.append(expected)
    near = around.nearest
    if near.total:
        was = "was" if near.count == 1 else "were"
        lines.append(
            f"{near.count} of the {near.total} nearest other settings {was} stable in every seed "
            f"(they lie within {percent(around.reach)} of the searched ranges)."
        )
    else:
        lines.append("No other setting was tried, so nothing is known about its neighbourhood.")
    return lines


def _method(num_groups: int, ranked: list[Candidate], num_safe: int | None, by: Ranking, num_dims: int) -> str:
    num_stable, confirmed = len(ranked), sum(c.group.confirmed for c in ranked)
    parts = [
        f"{num_stable} of {plural(num_groups, 'tried setting')} were stable in every seed."
        if num_groups > 1
        else "One setting was tried, and it was stable in every seed."
    ]
    if 0 < confirmed < num_stable:
        was, come = ("The one that was", "comes") if confirmed == 1 else (f"The {confirmed} that were", "come")
        parts.append(f"{was} confirmed with fresh seeds {come} first.")
    if num_safe is not None and num_stable > 1:
        keep, come = ("keeps", "comes") if num_safe == 1 else ("keep", "come")
        first = f", and of equals {'it' if num_safe == 1 else 'these'} {come} first." if num_safe else "."
        parts.append(f"{num_safe or 'None'} of them {keep} the safety rule{first}")
    parts.append(
        f"They are ranked by the mean final {by.name} they would have if an unstable training counted as "
        f"{by.failure_text}:"
    )
    if num_safe is None:
        parts.append(
            "the chance of that is estimated from the setting's own seeds and from its tried neighbours, weighted by "
            f"distance in the {plural(num_dims, 'searched setting')} scaled to their ranges (logarithmic where the "
            "search was)."
        )
    else:
        parts.append(
            "both this and the chance of that are what all trials together let expect (Gaussian processes), with one "
            "standard error added, so that a single lucky seed does not win."
        )
    if confirmed > 1:
        parts.append(
            "The confirmed ones that keep the safety rule, or all if nothing failed, are ranked by their fresh seeds "
            "alone, which they share: intervals of their differences are Student's t over pairs of equal seeds, at "
            "95 % over all looks and settings together (Bonferroni)."
        )
    parts.append(f"The {NUM_NEAREST} nearest are counted above.")
    return " ".join(parts)


def _notes(
    chosen: Candidate, groups: Sequence[SettingGroup], dims: Sequence[Dimension], trials: pd.DataFrame
) -> list[str]:
    notes = []
    for dim in dims:
        value = chosen.group.setting[dim.path]
        place = None if dim.kind == "category" else dim.scale(value)
        if place is not None and dim.high > dim.low and not BORDER < place < 1 - BORDER:
            end = "lower" if place <= BORDER else "upper"
            notes.append(
                f"The {dim.name} {value_text(value)} lies at the {end} end of its range: a wider range may do better."
            )
    if all(g.all_stable for g in groups) and len(groups) > 1:
        notes.append(
            "Every setting was stable, so this study did not find the edge of stability: widen the ranges to see it."
        )
    spiky = chosen.group.outcomes.get(Outcome.SPIKY_RECOVERING, 0)
    if spiky:
        notes.append(
            f"{spiky} of its {plural(chosen.group.stable.total, 'training')} had loss spikes that came back "
            "by themselves."
        )
    l_const = common_value(trials, "l_const")
    loss = chosen.group.val_loss
    if memorising := _memorising(chosen.group, trials):
        notes.append(memorising)
    elif loss is not None and loss.mean > UNFINISHED * l_const:
        notes.append(
            f"It is learning but far from done: its validation loss is {percent(loss.mean / l_const)} of the loss of "
            "learning nothing. Train it for longer before you judge its result."
        )
    wer = chosen.group.wer
    if wer is not None and wer.mean > HARDLY_BEGUN:
        notes.append(
            "The WER is still above 90 %: the model has hardly begun to recognise signs, so stability is "
            "all that this study speaks about."
        )
    if (trials["verdict"] == Outcome.CRASHED.value).any():
        crashed = int((trials["verdict"] == Outcome.CRASHED.value).sum())
        notes.append(f"{plural(crashed, 'trial')} crashed; they count as unstable although the setting may not be why.")
    return notes


def _open_notes(chosen: Candidate, every: pd.DataFrame) -> Iterator[str]:
    """Of which of its trainings nobody can tell."""
    if why := open_ends_text(every[every["group"] == chosen.group.group]):
        yield f"Of its other trainings nobody can tell: {why}."


def _only_memorises(group: SettingGroup, trials: pd.DataFrame) -> bool:
    """Whether only the training data were learned: held-out data show no more than learning nothing does."""
    l_const = common_value(trials, "l_const")
    train = float(trials.loc[trials["group"] == group.group, "final_train_loss"].astype(float).mean())
    return group.val_loss is not None and group.val_loss.mean >= l_const > train / LEARNED


def _memorising(group: SettingGroup, trials: pd.DataFrame) -> str:
    """What to do where held-out data show less than the training loss promises; empty where they do not.

    So it is where the training loss fell below the lowest validation loss, which the last one has left.
    """
    if group.val_loss is None:
        return ""
    mine, end = trials[trials["group"] == group.group], group.val_loss.mean
    l_const = common_value(trials, "l_const")
    train, lowest = (float(mine[name].astype(float).mean()) for name in ("final_train_loss", "best_val_loss"))
    if not (end > TURNED_UP * lowest and train < lowest):
        return ""
    relative = f", {percent(end / l_const)} of the loss of learning nothing" if l_const > 0 else ""
    unit = "" if group.score is not None else " nats a label"
    return (
        f"It memorises its training data: the training loss fell to {number(train)}{unit}, but the validation "
        f"loss ended at {number(end)}{relative}, after {number(lowest)} at its lowest. Longer training does not help: "
        "take more data, augmentation, regularisation or a smaller model, or stop where the validation loss is lowest."
    )


def _nearest(trials: pd.DataFrame) -> str:
    """The setting that was stable in most of its seeds."""
    seeds = trials.assign(stable=trials["stable"].astype(bool)).groupby("group")["stable"].agg(["mean", "sum", "size"])
    best = seeds.sort_values(["mean", "size"], ascending=False).iloc[0]
    return f"The best one was stable in {int(best['sum'])} of {plural(int(best['size']), 'seed')}."


def _why_open(every: pd.DataFrame) -> str:
    """The end of a sentence: why none of the trials was judged; and what to do where all ended alike."""
    num_changed, same = len(judged(every)), common_failure(every)
    changed = f"{num_changed} changed settings on the way" if num_changed else ""
    advice = "" if same is None else _ADVICE.get(same, "")
    return f" ({', '.join(filter(None, (open_ends_text(every), changed)))}). {advice}".rstrip()


def _most_need(every: pd.DataFrame) -> str:
    """What to do about the end that more than half of the trials came to; empty where there is none."""
    ((most, count),) = Counter(str(v) for v in every["verdict"]).most_common(1)
    return _ADVICE.get(Outcome(most), "") if 2 * count > len(every) else ""


def _nothing(
    every: pd.DataFrame, trials: pd.DataFrame, avoid: tuple[Caution, ...], *, num_memorising: int, num_foregone: int
) -> Recommendation:
    sureness: tuple[str, ...] = ()
    if num_memorising:
        what = "The one setting that was" if num_memorising == 1 else f"All {num_memorising} settings that were"
        learned = "learned its" if num_memorising == 1 else "learned their"
        headline = (
            f"No setting can be recommended. {what} stable in every seed {learned} training data alone: held-out data "
            f"show no more than learning nothing. {_ADVICE[Outcome.MEMORISED].partition('. ')[2]}"
        )
    elif num_foregone:
        were = "was as good as stable and was" if num_foregone == 1 else "were as good as stable and were"
        headline = (
            f"No setting can be recommended yet: {plural(num_foregone, 'setting')} {were} ended there, and no stable "
            "training ran to its end. Explore on (--trials), or confirm some (confirm.settings)."
        )
    elif every.empty:
        headline = "No trial has finished yet, so there is nothing to recommend."
    elif trials.empty:
        headline = f"No setting can be recommended: none of {plural(len(every), 'trial')} was judged{_why_open(every)}"
    else:
        total, left_open = len(trials), open_ends_text(every)
        same = None if left_open else common_failure(trials)
        counts = Counter(str(v) for v in trials["verdict"])
        kinds = ", ".join(f"{n} {kind}" for kind, n in counts.most_common())
        if same is not None:
            those = "The only trial" if total == 1 else f"All {total} trials"
            advice = _ADVICE.get(same, "")
            headline = f"No setting can be recommended. {those} ended as {same.value}. {advice}".strip()
        elif trials["stable"].any():
            headline = f"No setting can be recommended: none was stable in every one of its seeds. {_nearest(trials)}"
        else:
            of, left = plural(total, "judged trial" if left_open else "trial"), f"; {left_open}" if left_open else ""
            headline = (
                f"No setting can be recommended: none of {of} was stable ({kinds}{left}). {_most_need(every)}".strip()
            )
        alike = "" if same is None or total == 1 else " The same end everywhere points to a common cause."
        sureness = (f"{plural(total, 'trial')} finished: {kinds}.{alike}",)
        if left_open:
            sureness = (
                f"{plural(total, 'trial')} could be judged: {kinds}.",
                f"Of the others nobody can tell: {left_open}.",
            )
        if same is None and not left_open and all(Outcome(kind).is_diverged for kind in counts):
            sureness += ("All of them diverged: widen the search to lower learning rates or full precision.",)
    return Recommendation(
        status="none",
        headline=headline,
        chosen=None,
        alternatives=(),
        num_candidates=0,
        sureness=sureness,
        method="A setting is recommended only if every one of its seeds was stable.",
        avoid=avoid,
        notes=(),
    )
