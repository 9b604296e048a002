"""What separates the recommended setting from the next best one, in a sentence."""

import math
from collections.abc import Mapping

from sweep.analysis.answer.race import PairedDifference, Rules, difference
from sweep.analysis.trials.groups import SettingGroup
from sweep.records import Metric
from sweep.wording import number, plural, setting_text


def runner_up_text(
    chosen: SettingGroup,
    other: SettingGroup,
    names: Mapping[str, str],
    metric: Metric,
    race: Rules,
    *,
    is_safer: bool,
) -> str:
    """How far it is ahead of the next best one, over the fresh seeds of both.

    Args:
        chosen: the recommended setting.
        other: the next best one.
        names: dotted path -> short name.
        metric: what they are ranked by.
        race: over the fresh seeds; its `failure` is that of the metric.
        is_safer: whether the recommended one alone keeps the safety rule.
    """
    apart = {path: value for path, value in other.setting.items() if value != chosen.setting[path]}
    name = f"{setting_text(apart or other.setting, names)} (trial {other.best_trial_id})"
    if not (chosen.confirmed and other.confirmed):
        return f"Next best is {name}; what separates them was not tried with fresh seeds."
    found = difference(chosen.fresh_results[metric], other.fresh_results[metric], race)
    if found.num < 2:
        return f"Next best is {name}; what separates them cannot be told from {plural(found.num, 'paired seed')}."
    but = ", which does not keep the safety rule" if is_safer else ""
    range_ = f"{_text(found.low, metric)} to {_text(found.high, metric)} over {found.num} paired seeds"
    size = f"{_text(abs(found.mean), metric)} {_unit(metric)}"
    if found.is_equal(race):
        either = ": take either" if not is_safer and not _prefers(chosen, other, metric, race) else ""
        why = "; its validation loss is lower" if _prefers(chosen, other, metric, race) else ""
        return f"It is equal within what matters to {name}{but} ({range_} {_unit(metric)}){why}{either}."
    if found.is_better:
        return f"It is ahead of {name}{but}, by {size} ({range_})."
    if found.high < 0:
        why = "does not keep the safety rule" if is_safer else "is likelier to fail"
        return f"{name[:1].upper()}{name[1:]} did better by {size} ({_mirrored(found, metric)}), but {why}."
    ahead = "ahead" if found.mean >= 0 else "behind"
    return f"It cannot be told apart from {name}{but}: {size} {ahead} ({range_})."


def _prefers(chosen: SettingGroup, other: SettingGroup, metric: Metric, race: Rules) -> bool:
    """Whether of two with equal WERs the validation loss is lower in every seed."""
    ours, theirs = (group.fresh_results["val_loss"] for group in (chosen, other))
    return metric == "wer" and all(ours[seed] < theirs[seed] for seed in ours.keys() & theirs.keys())


def _unit(metric: Metric) -> str:
    return "points of WER" if metric == "wer" else "nats a label"


def _text(value: float, metric: Metric) -> str:
    if metric == "wer":
        return f"{100 * value:.1f}"
    return number(value, 2) if math.isfinite(value) else "n/a"


def _mirrored(found: PairedDifference, metric: Metric) -> str:
    return f"{_text(-found.high, metric)} to {_text(-found.low, metric)} over {found.num} paired seeds"
