"""What a study trains once its exploration has ended: fresh seeds of the best settings, then tests at full size.

Both are functions of the ledger alone, so a killed study that goes on wants what it would have wanted. What they are
derived with is imported where it is used: the first training does not wait for it.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from sweep.boundary.encoding import edge_path
from sweep.boundary.prior import NONE, Prior
from sweep.records import Metric, NotKnown, Phase, TrialResult
from sweep.space import Dimension, Scalar, Settings
from sweep.store.ledger import Ledger
from sweep.store.ledger_lines import Ask
from sweep.study import Study, num_leaders
from sweep.study.full_size import FullSize, at_full_size

FRESH_SEED_OFFSET = 10_000
"""Fresh seeds start so far above the study's first seed, away from those of the exploration."""
BEYOND_EDGE = 3.0
"""The second training at full size lies this factor above the predicted edge, where it should diverge."""
NEAR = 0.1
"""Settings that differ by less than this share of each range, and in no category, are the same place for a race."""
SPARE_CONFIRMATIONS = 2
"""So many settings after the first may be confirmed in place of those that fail."""


@dataclass(frozen=True)
class Wanted:
    """A training that is to be asked for."""

    phase: Phase
    group: int | None
    """None for settings that have no group of this phase yet."""
    settings: Settings
    seed: int
    recommended: bool = False
    """Whether the settings are those that are recommended now."""
    block: int | None = None
    """Of a design: which block it belongs to."""
    cell: str | None = None
    """Of a design: its levels."""


@dataclass(frozen=True)
class Leader:
    """A setting that is to be confirmed."""

    group: int | None
    """None for settings that were never tried."""
    settings: Settings
    recommended: bool
    """Whether it is the one that is recommended now, rather than one of the best."""


def leaders(study: Study, ledger: Ledger, prior: Prior = NONE) -> list[Leader]:
    """The recommended setting, then the best ones; ask when the exploration has ended.

    A setting of which a fresh seed was unstable gives way to the next one. What this says changes only with
    `leaders_state`; it takes seconds.
    """
    if study.confirm.settings == 0 or not ledger.results:
        return []
    recommended = _recommended(study, ledger, prior)
    first = [] if recommended is None else [recommended]
    failed = _failed_fresh(ledger)
    ranked = [group for group in _ranking(study, ledger, prior) if group not in {leader.group for leader in first}]
    others = _apart_first(study, [leader.settings for leader in first], {g: settings_of(ledger, g) for g in ranked})
    within_reach = [g for g in others[: study.confirm.settings + SPARE_CONFIRMATIONS] if g not in failed]
    best = [Leader(group, settings_of(ledger, group), recommended=False) for group in within_reach]
    return [*first, *best][: num_leaders(study)]


def _apart_first(study: Study, before: Sequence[Settings], ranked: Mapping[int, Settings]) -> list[int]:
    """Ranked groups, those last that lie near `before` or near a better one.

    A search that closes in on a good place tries it again and again: a race among such settings decides nothing.
    """
    import numpy as np

    from sweep.boundary.encoding import Encoding

    features = Encoding(study.searched).encode([*before, *ranked.values()])
    kept, apart, near = list(features[: len(before)]), [], []
    for group, place in zip(ranked, features[len(before) :], strict=True):
        if any(np.abs(place - other).max() < NEAR for other in kept):
            near.append(group)
        else:
            kept.append(place)
            apart.append(group)
    return apart + near


def leaders_state(ledger: Ledger) -> object:
    """What the leaders follow from, to be compared with an earlier one."""
    asked = ledger.asks_by_phase
    return len(asked[Phase.EXPLORE]), {a.group for a in asked[Phase.CONFIRM] if a.recommended}, _failed_fresh(ledger)


def confirmations(study: Study, ledger: Ledger, every: Sequence[Leader]) -> list[Wanted]:
    """Trainings of the leaders that may start now, in their order: seed by seed, all over the same fresh seeds."""
    if not every:
        return []
    from sweep.analysis.answer.race import next_seeds, rules, standing
    from sweep.analysis.trials.ranking import ranking

    first = study.seed + FRESH_SEED_OFFSET
    asked: dict[int, int] = {}
    told: dict[int, dict[int, float]] = {}
    for place, leader in enumerate(every):
        asks = (
            [a for a in ledger.asks_by_group[leader.group] if a.phase == Phase.CONFIRM]
            if leader.group is not None
            else []
        )
        seeds = {a.seed - first: ledger.results.get(a.trial_id) for a in asks}
        asked[place] = next(n for n in range(len(seeds) + 1) if n not in seeds)
        told[place] = {n: _result(r, study.metric) for n, r in seeds.items() if r is not None}
    race = rules(study, ranking(study.metric, study.score).scale(table(ledger.results.values())))
    return [
        Wanted(Phase.CONFIRM, every[place].group, every[place].settings, first + n, every[place].recommended)
        for place, n in next_seeds(asked, standing(told, race), race)
    ]


def _result(result: TrialResult, metric: Metric) -> float:
    """Lower is better; NaN where nobody knows."""
    value: float = getattr(result, metric)
    return value if result.stable and math.isfinite(value) else math.nan


def _recommended(study: Study, ledger: Ledger, prior: Prior) -> Leader | None:
    """The setting with the stated safety margin.

    It is chosen anew only after more exploration, or where it failed; in between it stands in the ledger.
    """
    if not study.confirm.recommended:
        return None
    from sweep.analysis.trials.tried import lies_in

    asks = ledger.asks
    unstable = {r.group for r in ledger.results.values() if _failed(r)}
    last = max((i for i, ask in enumerate(asks) if ask.phase == Phase.EXPLORE), default=-1)
    chosen = list(dict.fromkeys(ask.group for ask in asks[last + 1 :] if ask.recommended))
    if chosen and chosen[-1] not in unstable and lies_in(study.searched, settings_of(ledger, chosen[-1])):
        return Leader(chosen[-1], settings_of(ledger, chosen[-1]), recommended=True)
    if len(chosen) > SPARE_CONFIRMATIONS:
        return None
    from sweep.analysis.answer.safe_setting import rule_of, safe_setting
    from sweep.analysis.region.evidence import Evidence

    evidence = Evidence(table(ledger.results.values()), study.searched, prior, study.score)
    found = safe_setting(evidence, rule_of(study), study.metric)
    if found is None:
        return None
    # A model learns nothing from a setting that crashed, and may name it again.
    tried = (ask.group for ask in asks if ask.phase != Phase.FULL_SIZE and ask.settings == found.setting)
    group = next(tried, None) if found.tried_group is None else found.tried_group
    if group in unstable:
        return None
    return Leader(group, dict(found.setting) if group is None else settings_of(ledger, group), recommended=True)


def _failed_fresh(ledger: Ledger) -> set[int]:
    """Groups of which a fresh seed was unstable."""
    asks = ledger.asks_by_phase[Phase.CONFIRM]
    return {a.group for a in asks if a.trial_id in ledger.results and _failed(ledger.results[a.trial_id])}


def _failed(result: TrialResult) -> bool:
    """Whether a training was judged and was not stable; of an open end nobody can tell."""
    return not (result.stable or result.verdict.is_open)


def _ranking(study: Study, ledger: Ledger, prior: Prior) -> list[int]:
    """Groups that were stable in the exploration, best first."""
    from sweep.analysis.answer.recommend import recommend
    from sweep.analysis.region.evidence import Evidence

    explored = table(r for r in ledger.results.values() if r.phase == Phase.EXPLORE)
    answer = recommend(Evidence(explored, study.searched, prior, study.score), study.metric)
    candidates = () if answer.chosen is None else (answer.chosen, *answer.alternatives)
    return [c.group.group for c in candidates]


def is_full_size_test(full_size: FullSize | None, training: Ask | TrialResult) -> bool:
    """Whether it tests the full size that the study names now: another one may have been named before."""
    at_size = full_size is not None and training.settings.get(full_size.path) == full_size.target
    return at_size and training.phase == Phase.FULL_SIZE


def full_size_tests(study: Study, ledger: Ledger, prior: Prior = NONE) -> list[Wanted] | NotKnown:
    """Trainings at full size that are still to be started, or why nobody knows which.

    Call it when nothing is under way and all is confirmed. The settings are those of the recommendation, apart from
    the size, and from the learning rate (the edge dimension), which lies below or above the edge predicted there.
    """
    full_size = study.full_size
    if full_size is None or full_size.trainings == 0:
        return []
    asked = [ask for ask in ledger.asks if is_full_size_test(full_size, ask)]
    if len(asked) >= full_size.trainings:
        return []
    from sweep.analysis.answer.recommend import recommend
    from sweep.analysis.answer.safe_setting import rule_of
    from sweep.analysis.region.evidence import Evidence
    from sweep.analysis.region.transfer_fit import width_fit

    evidence = Evidence(table(ledger.results.values()), study.searched, prior, study.score)
    model = evidence.model
    if isinstance(model, NotKnown):
        return model
    along = edge_path(model.encoding)
    assert along is not None, "checked when the study was loaded"
    factor = study.safety.lr_factor
    if asked:
        at = asked[0].settings
    else:
        answer = recommend(evidence, study.metric, rule_of(study))
        if answer.chosen is None:
            return NotKnown("No setting is recommended that could be tried at full size.")
        at = settings_of(ledger, answer.chosen.group.group)
    others = {path: value for path, value in at.items() if path not in (along, full_size.path)}
    fit = width_fit(model, full_size.path, full_size.target, others)
    if isinstance(fit, NotKnown):
        return fit
    below = {**at, along: _readable(fit.expected / factor, study.space[along])}
    # The first test stands, although safety.lr_factor may have changed since.
    safe = at if asked else at_full_size(full_size, study.space, below)
    beyond = {**safe, along: _readable(fit.expected * BEYOND_EDGE, study.space[along])}
    more = range(1, full_size.trainings - 1)
    tests = [(safe, 0), (beyond, 0), *((safe, seed) for seed in more)][: full_size.trainings]
    first = study.seed + FRESH_SEED_OFFSET
    return [Wanted(Phase.FULL_SIZE, None, settings, first + seed) for settings, seed in tests[len(asked) :]]


def _readable(value: float, dimension: Dimension) -> Scalar:
    """A value of three digits, in the type of its dimension."""
    from sweep.analysis.trials.tried import as_searched

    rounded = as_searched(float(f"{value:.3g}"), dimension)
    assert rounded is not None, "a number is no missing value"
    return rounded


def settings_of(ledger: Ledger, group: int) -> Settings:
    """The settings of a group: as they were drawn, or those that it ended with where a scheduler changed them."""
    of_group = (r for r in ledger.results.values() if r.group == group)
    changed = (r.settings for r in of_group if r.settings_changed_at_step is not None)
    return next(changed, None) or next(ask.settings for ask in ledger.asks if ask.group == group)


def table(results: Iterable[TrialResult]) -> pd.DataFrame:
    """Rows of the trials inside the searched space, as the analysis reads them."""
    return pd.DataFrame([r.row() for r in results if r.phase != Phase.FULL_SIZE])
