"""What a study is too small to tell, and what it tells of all its settings alike."""

import math

import numpy as np

from sweep.analysis.answer.race import EQUAL
from sweep.analysis.answer.safe_setting import Rule
from sweep.analysis.region.evidence import MIN_SETTINGS, MIN_TRAININGS, Evidence
from sweep.analysis.region.noise import noise_chances, told_apart
from sweep.analysis.trials.ranking import VAL_LOSS, WER, score_ranking
from sweep.boundary.encoding import edge_path
from sweep.wording import number, plural

HARDLY_BEGUN = 0.9
"""A model with a higher WER has hardly begun to recognise signs."""


def trainings_needed(rule: Rule) -> int:
    """Judged trainings from which on a setting can keep the rule: N justify no more than (N + 1) / (N + 2)."""
    return max(math.ceil((2 * rule.p_stable - 1) / (1 - rule.p_stable) * (1 - 1e-9)), MIN_TRAININGS)


def too_few_text(evidence: Evidence, rule: Rule | None) -> str:
    """That no setting could keep the safety rule whatever became of it, and how many more trainings would let one."""
    num, num_settings = len(evidence.breaking_rows[0]), evidence.telling["group"].nunique()
    # Without a numeric setting no number of trainings makes a map.
    if rule is None or not num or edge_path(evidence.encoding) is None:
        return ""
    needed = trainings_needed(rule)
    more = max(needed - num, MIN_SETTINGS - num_settings)
    if more <= 0:
        return ""
    return (
        f"Too few trainings for the safety rule, whatever comes of them: its chance of at least "
        f"{number(rule.p_stable, 2)} takes {needed} judged trainings of {MIN_SETTINGS} settings or more, and there are "
        f"{num} of {num_settings}. {more} more may do: --trials +{more}."
    )


def alike_text(evidence: Evidence) -> str:
    """That all settings did alike: all trainings were stable, and their results are equal within what matters."""
    known = evidence.telling
    num = len({int(group) for group in known["group"]})
    if num < MIN_SETTINGS or not known["stable"].astype(bool).all():
        return ""
    wer, loss, score = (known[name].to_numpy(dtype=float) for name in ("wer", "val_loss", "score"))
    by_wer = bool(np.isfinite(wer).all())
    if by_wer and wer.min() > HARDLY_BEGUN:
        return ""
    if evidence.score is not None:
        # How much of a score matters, nobody knows.
        spans = [float(np.ptp(score)) / max(float(np.abs(score).max()), 1e-300)]
    else:
        spans = ([float(np.ptp(wer))] if by_wer else []) + [float(np.ptp(loss)) / VAL_LOSS.scale(known)]
    if not max(spans) < EQUAL:
        return ""
    results = score if evidence.score is not None else wer if by_wer else loss
    chances = noise_chances(evidence.encoding, evidence.settings, [results.tolist()])
    told = set() if chances is None else told_apart(chances[0])
    ranked_by = WER if by_wer else VAL_LOSS if evidence.score is None else score_ranking(evidence.score)
    apart = f"{ranked_by.difference_text(float(np.ptp(results)))} {ranked_by.difference_unit}"
    beyond = (
        "no searched setting matters beyond noise"
        if chances is not None and not told
        else "no searched setting makes a difference that matters"
    )
    return (
        f"All settings are alike: {beyond}. The results of all {plural(num, 'setting')} that were tried, stable in "
        f"every seed, lie within {apart}: take any of them, or widen the ranges."
    )
