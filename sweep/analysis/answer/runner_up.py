"""What separates the recommended setting from the next best one, in a sentence."""

from collections.abc import Mapping

from sweep.analysis.answer.race import PairedDifference, Rules, difference
from sweep.analysis.trials.groups import SettingGroup
from sweep.analysis.trials.ranking import Ranking
from sweep.wording import plural, setting_text


def runner_up_text(
    chosen: SettingGroup,
    other: SettingGroup,
    names: Mapping[str, str],
    by: Ranking,
    race: Rules,
    *,
    is_safer: bool,
) -> str:
    """How far it is ahead of the next best one, over the fresh seeds of both.

    Args:
        chosen: the recommended setting.
        other: the next best one.
        names: dotted path -> short name.
        by: what they are ranked by.
        race: over the fresh seeds; its `failure` is what `by` counts one as.
        is_safer: whether the recommended one alone keeps the safety rule.
    """
    differing = {path: value for path, value in other.setting.items() if value != chosen.setting[path]}
    name = f"{setting_text(differing or other.setting, names)} (trial {other.best_trial_id})"
    if not (chosen.confirmed and other.confirmed):
        return f"Next best is {name}; what separates them was not tried with fresh seeds."
    found = difference(chosen.fresh_results[by.metric], other.fresh_results[by.metric], race)
    if found.num < 2:
        return f"Next best is {name}; what separates them cannot be told from {plural(found.num, 'paired seed')}."
    but = ", which does not keep the safety rule" if is_safer else ""
    ends = f"{by.difference_text(found.low)} to {by.difference_text(found.high)}"
    range_ = f"{ends} over {found.num} paired seeds"
    size = f"{by.difference_text(abs(found.mean))} {by.difference_unit}"
    if found.is_equal(race):
        either = ": take either" if not is_safer and not _prefers(chosen, other, by) else ""
        why = "; its validation loss is lower" if _prefers(chosen, other, by) else ""
        apart = f"{ends} {by.difference_unit} over {found.num} paired seeds"
        return f"It is equal within what matters to {name}{but} ({apart}){why}{either}."
    if found.is_better:
        return f"It is ahead of {name}{but}, by {size} ({range_})."
    if found.high < 0:
        why = "does not keep the safety rule" if is_safer else "is likelier to fail"
        return f"Better by {size} ({_mirrored(found, by)}) was {name}, but it {why}."
    ahead = "ahead" if found.mean >= 0 else "behind"
    return f"It cannot be told apart from {name}{but}: {size} {ahead} ({range_})."


def _prefers(chosen: SettingGroup, other: SettingGroup, by: Ranking) -> bool:
    """Whether of two with equal WERs the validation loss is lower in every seed."""
    ours, theirs = (group.fresh_results["val_loss"] for group in (chosen, other))
    return by.metric == "wer" and all(ours[seed] < theirs[seed] for seed in ours.keys() & theirs.keys())


def _mirrored(found: PairedDifference, by: Ranking) -> str:
    return f"{by.difference_text(-found.high)} to {by.difference_text(-found.low)} over {found.num} paired seeds"
