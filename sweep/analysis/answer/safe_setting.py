"""The setting to rely on: not the best one, but the best of those that keep clear of instability."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from sweep.analysis.answer.expected import ExpectedResults
from sweep.analysis.region.evidence import Evidence
from sweep.analysis.region.region import hot_edge
from sweep.analysis.region.slices import readable
from sweep.analysis.trials.outcomes import finished
from sweep.analysis.trials.tried import settings_of
from sweep.boundary.encoding import Axis, edge_path
from sweep.boundary.model import MarginModel
from sweep.records import Metric, NotKnown
from sweep.space import Scalar, Settings, contains, is_learning_rate
from sweep.study import Study
from sweep.study.reading import StoredStudy
from sweep.wording import number, percent

_NUM_SAMPLE = 1024
"""Untried settings that are looked at."""
_NUM_LOWERED = 32
"""Tried settings of which a cooler copy is looked at, the best ones."""
_RUNG = 0.02
"""Decades between the places up to the factor at which a setting must still be stable, at most."""
_SPARE = 1.25
"""Times the factor that an untried setting keeps: the edge moves a little when the model learns of its trainings."""
_GAIN = 0.95
"""Share of the best tried setting's result that an untried one must promise to be preferred."""
_SEED = 0
_EXACT = 1 - 1e-9
"""Share of a factor that passes for the whole of it: products of factors round."""


@dataclass(frozen=True)
class Rule:
    """What a setting must keep to be called safe."""

    lr_factor: float
    """Least factor from the learning rate up to its hot edge, or to the range's end where no edge is seen; >= 1."""
    p_stable: float
    """Least chance that a training with a fresh seed does not break, in [0, 1]."""
    credibility: float = 0.95
    """That neither is lower, in [0, 1]."""

    @property
    def num_rungs(self) -> int:
        """Into how many equal steps the factor is divided."""
        return math.ceil(math.log10(self.lr_factor) / _RUNG)

    @property
    def rung(self) -> float:
        """Decades of each."""
        return math.log10(self.lr_factor) / self.num_rungs if self.num_rungs else _RUNG


@dataclass(frozen=True)
class SafeSetting:
    """A setting, held against the safety rule."""

    setting: dict[str, Any]
    """Dotted path -> value; inactive settings are absent."""
    p_stable: float
    """Chance that a training with a fresh seed is stable, as the model of the boundary has it."""
    p_break: float
    """Chance that it breaks; a training may also be too slow to learn."""
    p_break_most: float
    """What that chance is at most, with the rule's credibility."""
    margin_decades: float
    """From its learning rate up to its hot edge, in powers of ten; inf where there is none above it within the range,
    NaN where no learning rate is searched."""
    margin_least: float
    """What that is at least, with the rule's credibility."""
    edge: float | None
    """The hot edge of its own slice: the learning rate above which it breaks more often than not; None where there is
    none."""
    expected: float | None
    """Expected WER or validation loss (nats a label) of a stable training; None where too few are known."""
    meets: bool
    """Whether it keeps the rule."""
    why: str
    """The rule and whether it is kept, in a sentence."""
    tried_group: int | None
    """The group that was trained with these settings; None if none was."""


def rule_of(study: Study) -> Rule:
    """The rule that a study asks for."""
    return Rule(study.safety.lr_factor, study.safety.p_stable, study.safety.credibility)


def safety_rule(stored: StoredStudy) -> Rule | None:
    """The rule that a stored study asks for; None for the results of a version without one."""
    return rule_of(stored.study) if stored.says("safety") else None


def safe_setting(evidence: Evidence, rule: Rule, metric: Metric = "wer") -> SafeSetting | None:
    """The setting with the best expected result among those that keep the rule; None without a model or candidates.

    Candidates are the settings that were stable in every seed, the best of these with their learning rate lowered to
    `lr_factor` below where the slice is still surely stable (the range's end where no edge is seen), and a sample of
    the whole space. A setting of which a seed was unstable is none. The rule is about breaking alone. The result is
    taken cautiously (`ExpectedResults.cautious`): an unstable training counts as a complete failure. Where no candidate
    keeps the rule, the tried one with the highest P(stable) is given, with `meets` False. Equal trials give an equal
    answer, whatever their order.

    Args:
        evidence: the trials, and what was searched.
        rule: the safety rule.
        metric: what stable settings are ranked by; the validation loss stands in where a WER is missing.
    """
    model, breaking = evidence.model, evidence.breaking
    if isinstance(model, NotKnown) or isinstance(breaking, NotKnown):
        return None
    tried, unstable = _tried(evidence)
    if not tried:
        return None
    expected = ExpectedResults(evidence.trials, model.encoding, metric)
    p_tried = model.p_stable(tried)
    worth_tried = expected.cautious(tried, p_tried)
    stricter = replace(rule, lr_factor=_SPARE * rule.lr_factor)
    best = np.argsort(worth_tried, kind="stable")[:_NUM_LOWERED]
    untried = [cooler for i in best.tolist() for cooler in _lowered(breaking, tried[i], stricter)]
    if expected.known:
        untried += [readable(model.encoding, s) for s in model.encoding.sobol(_NUM_SAMPLE, _SEED)]
    untried = [s for s in untried if s not in unstable and s not in tried]
    candidates = [*tried, *untried]
    kept = np.concatenate([keeps_rule(breaking, tried, rule), keeps_rule(breaking, untried, stricter)])
    worth = expected.cautious(candidates, model.p_stable(candidates))
    # Scores may be negative: smaller is better all the same.
    worth[len(tried) :] += (1 / _GAIN - 1) * np.abs(worth[len(tried) :])
    for index in sorted(np.flatnonzero(kept).tolist(), key=lambda i: (worth[i], i)):
        found = judge(model, breaking, candidates[index], rule, expected, _group(evidence, candidates[index]))
        if found.meets:
            return found
    safest = tried[int(np.lexsort((worth_tried, -p_tried))[0])]
    return judge(model, breaking, safest, rule, expected, _group(evidence, safest))


def keeps_rule(breaking: MarginModel, settings: Sequence[Mapping[str, Scalar]], rule: Rule) -> npt.NDArray[np.bool_]:
    """Whether each setting keeps the rule, [M], to within the steps at which the way up to the edge is looked at.

    The edge itself is known to some tenths of a decade only, and the best settings are those that seem to lie just far
    enough from it: held against where it most likely lies, one in four would be too near (docs/LOG.md).
    """
    if not settings:
        return np.zeros(0, dtype=np.bool_)
    kept = breaking.least_p_stable(settings, rule.credibility) >= rule.p_stable
    along = _learning_rate(breaking)
    if along is None:
        return kept
    scale = _scale(breaking, along)
    # Nobody knows what lies beyond the range.
    kept &= np.array([along not in s or _reaches(scale, float(s[along]), rule) for s in settings], dtype=np.bool_)
    for place in range(1, rule.num_rungs + 1):
        rows = np.flatnonzero(kept)
        if not len(rows):
            break
        hotter = [_hotter(settings[i], along, 10 ** (place * rule.rung)) for i in rows.tolist()]
        kept[rows] = breaking.p_mostly_stable(hotter) >= rule.credibility
    return kept


def judge(
    model: MarginModel,
    breaking: MarginModel,
    setting: Mapping[str, Scalar],
    rule: Rule,
    expected: ExpectedResults,
    tried_group: int | None,
) -> SafeSetting:
    """Holds one setting against the rule, as the models of the boundary and of breaking have it."""
    p_break = 1 - float(breaking.p_stable([setting])[0])
    along = _learning_rate(model)
    lr = None if along is None else setting.get(along)
    edge = None if lr is None else hot_edge(breaking, setting)
    margin = least = math.nan
    if along is not None and lr is not None and edge is not None:
        margin = edge if math.isinf(edge) else math.log10(edge / float(lr))
        least = min(margin, _sure_margin(breaking, setting, along, rule))
    p_break_most = 1 - float(breaking.least_p_stable([setting], rule.credibility)[0])
    likely = 1 - p_break_most >= rule.p_stable
    clear = math.isnan(least) or least >= math.log10(rule.lr_factor) * _EXACT
    if least == math.inf and along is not None and lr is not None:
        # Nobody knows what lies beyond the range.
        clear = _reaches(_scale(model, along), float(lr), rule)
    result = float(expected.of_stable([setting])[0])
    return SafeSetting(
        setting=dict(setting),
        p_stable=float(model.p_stable([setting])[0]),
        p_break=p_break,
        p_break_most=p_break_most,
        margin_decades=margin,
        margin_least=least,
        edge=None if edge is None or math.isinf(edge) else edge,
        expected=None if math.isnan(result) else result,
        meets=likely and clear,
        why=_why(model, rule, p_break_most, lr, edge, least, likely, clear),
        tried_group=tried_group,
    )


def chance_text(p: float) -> str:
    """P(stable) as finely as a few dozen trainings can tell it: `0.93`, `above 0.99`."""
    if p > 0.99:
        return "above 0.99"
    # Rounded down: a rule that asks for 0.95 is not kept by 0.947.
    return "below 0.01" if p < 0.01 else f"{math.floor(p * 100) / 100:.2f}"


def risk_text(p: float) -> str:
    """P(breaking) as finely as a few dozen trainings can tell it: `0.03`, `below 0.01`."""
    if p < 0.01:
        return "below 0.01"
    # Rounded up: a rule that asks for 0.05 at most is not kept by 0.053.
    return "above 0.99" if p > 0.99 else f"{math.ceil(p * _EXACT * 100) / 100:.2f}"


def _why(
    model: MarginModel,
    rule: Rule,
    p_break_most: float,
    lr: Scalar | None,
    edge: float | None,
    least: float,
    likely: bool,
    clear: bool,
) -> str:
    risk = risk_text(p_break_most)
    parts = [
        f"P(breaking) is {risk if risk.startswith('below') else f'at most {risk}'} with a credibility of "
        f"{percent(rule.credibility)} (at most {number(1 - rule.p_stable, 2)} asked)"
    ]
    if lr is not None and edge is not None:
        asked = f"at least {number(rule.lr_factor, 2)} asked"
        if least == math.inf:
            along = _learning_rate(model)
            assert along is not None, "a learning rate was given"
            high = _scale(model, along).high
            so_far = f"there is no hot edge up to {number(high)}, the end of the range"
            advice = "" if clear else ": widen the range"
            parts.append(f"{so_far}, {_times(high / float(lr), clear)} the learning rate ({asked}){advice}")
        elif edge == -math.inf:
            parts.append(f"every learning rate breaks with these settings ({asked})")
        elif edge <= float(lr):
            parts.append(f"the learning rate lies above its hot edge {number(edge)} ({asked})")
        else:
            which = "a hot edge" if edge == math.inf else f"the hot edge {number(edge)}"
            factor = edge / float(lr)
            if clear:
                times = f"is at least {_times(10**least, clear)}"
            else:
                times = (
                    f"is {_times(factor, clear)}" if factor < rule.lr_factor else f"may be {_times(10**least, clear)}"
                )
            parts.append(f"{which} {times} the learning rate ({asked})")
    verdict = "Safety rule met" if likely and clear else "Safety rule not met"
    return f"{verdict}: {' and '.join(parts)}."


def _times(factor: float, clear: bool) -> str:
    """The factor, rounded towards the side that the verdict is on."""
    if clear:
        return f"{number(math.ceil(factor * _EXACT * 100) / 100)} times"
    return f"only {number(math.floor(factor * 100) / 100)} times"


def _reaches(scale: Axis, lr: float, rule: Rule) -> bool:
    """Whether the range goes on for the factor that the rule asks for."""
    return scale.high >= lr * rule.lr_factor * _EXACT


def _scale(model: MarginModel, along: str) -> Axis:
    scale = model.encoding.axis(along)
    assert scale is not None, "edges lie along a numeric dimension"
    return scale


def _learning_rate(model: MarginModel) -> str | None:
    """The edge dimension if it is a learning rate."""
    along = edge_path(model.encoding)
    return along if along is not None and is_learning_rate(along) else None


def _hotter(setting: Mapping[str, Scalar], along: str, factor: float) -> dict[str, Scalar]:
    return {**setting, **({along: float(setting[along]) * factor} if along in setting else {})}


def _tried(evidence: Evidence) -> tuple[list[Settings], list[Settings]]:
    """The settings that were stable in every seed, and those that were not, in the order of their first trial.

    One of which no training ran to its end counts as untried: what it comes to, nobody has seen.
    """
    known = evidence.tried
    good: dict[int, bool] = {}
    settings: dict[int, Settings] = {}
    rows = zip(known["group"], known["stable"], settings_of(known, evidence.space), strict=True)
    for group, stable, setting in rows:
        good[int(group)] = good.get(int(group), True) and bool(stable)
        settings[int(group)] = setting
    ended = set(finished(known)["group"].astype(int))
    unstable = [settings[group] for group in good if not good[group]]
    stable_ones = [settings[g] for g in good if good[g] and g in ended and settings[g] not in unstable]
    return [s for i, s in enumerate(stable_ones) if s not in stable_ones[:i]], unstable


def _sure_margin(model: MarginModel, setting: Mapping[str, Scalar], along: str, rule: Rule) -> float:
    """Decades from the learning rate up to where its slice is surely stable; inf where that is the range's end."""
    room = math.log10(_scale(model, along).high / float(setting[along]))
    num = math.ceil(room / rule.rung)
    hotter = [_hotter(setting, along, 10 ** (place * rule.rung)) for place in range(num + 1)]
    unsure = np.flatnonzero(model.p_mostly_stable(hotter) < rule.credibility)
    return math.inf if not len(unsure) else max(int(unsure[0]) - 1, 0) * rule.rung


def _lowered(model: MarginModel, setting: Settings, rule: Rule) -> list[Settings]:
    """The setting with its learning rate at where the edge surely is not / factor, if that is lower and in the range.

    The range's end stands in for the edge where none is seen.
    """
    along = _learning_rate(model)
    edge = hot_edge(model, setting)
    if along is None or edge is None or edge == -math.inf:
        return []
    scale = _scale(model, along)
    end = min(edge, scale.high)
    places = end * 10 ** -np.arange(0.0, math.log10(end / scale.low), rule.rung)
    sure = model.p_mostly_stable([{**setting, along: place} for place in places.tolist()]) >= rule.credibility
    if not sure.any():
        return []
    lr = _rounded_down(float(places[int(np.argmax(sure))]) / rule.lr_factor)
    allowed = contains(model.encoding.space[along], lr)
    return [{**readable(model.encoding, setting), along: lr}] if allowed and lr < float(setting[along]) else []


def _rounded_down(value: float) -> float:
    """The number with three digits just below a positive one."""
    unit = 10.0 ** (math.floor(math.log10(value)) - 2)
    return float(f"{math.floor(value / unit) * unit:.3g}")


def _group(evidence: Evidence, setting: Settings) -> int | None:
    known = evidence.tried
    same = [g for g, s in zip(known["group"], settings_of(known, evidence.space), strict=True) if s == setting]
    return int(same[0]) if same else None
