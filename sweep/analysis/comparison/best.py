"""The recommended settings of two studies and their results over fresh seeds."""

import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import ttest_ind

from sweep.analysis.answer.recommend import Recommendation, recommend
from sweep.analysis.answer.safe_setting import chance_text, safety_rule
from sweep.analysis.claims.stated import tested
from sweep.analysis.comparison.changes import Incomparable, StudyChange, Told, told
from sweep.analysis.comparison.settings import Difference, other_data
from sweep.analysis.comparison.shared import StudyRun
from sweep.analysis.comparison.stability import share_text
from sweep.analysis.trials.groups import Spread
from sweep.analysis.trials.outcomes import judged
from sweep.records import Metric, Phase
from sweep.wording import number, percent, plural, setting_text, short_names, value_text

_NAMES: Mapping[Metric, str] = {"wer": "WER", "val_loss": "validation loss, nats a label", "score": "score"}


def recommended(run: StudyRun) -> Recommendation:
    """What a study recommends; nothing where its claims are its answer."""
    evidence = run.evidence if run.study.recommends else run.evidence.nothing()
    return recommend(evidence, run.study.metric, safety_rule(run.stored))


def best_facts(a: StudyRun, b: StudyRun, first: Recommendation, second: Recommendation) -> Iterator[Told]:
    """Settings, safety and results of what each study recommends."""
    if first.chosen is None and second.chosen is None:
        return
    both = (first, second)
    names = short_names([*a.space, *b.space])
    yield told("setting", (setting_text(r.setting, names) if r.chosen else "none" for r in both))
    yield told("safety rule", (_safety_text(r) for r in both))
    yield told("stable over fresh seeds", (share_text(r.chosen.group.fresh) if r.chosen else "none" for r in both))
    metrics: tuple[Metric, ...] = ("score",) if a.study.is_own and b.study.is_own else ("wer", "val_loss")
    for metric in metrics:
        yield told(_name(metric, a, b), (_result_text(r, metric, run) for r, run in zip(both, (a, b), strict=True)))


def best_change(
    a: StudyRun, b: StudyRun, first: Recommendation, second: Recommendation, settings: Sequence[Difference]
) -> StudyChange | Incomparable | None:
    """The result of the recommended settings over fresh seeds; None where neither recommends any.

    Args:
        a: with the recommendation `first`.
        b: with the recommendation `second`.
        first: of A.
        second: of B.
        settings: what differs between the studies: results on other data are not compared.
    """
    if first.chosen is None and second.chosen is None:
        return None
    kinds = (a.study.metric, b.study.metric)
    metric: Metric = "wer" if "wer" in kinds else "score" if "score" in kinds else "val_loss"
    subject = f"{_name(metric, a, b)} of the recommended setting"
    if a.study.score != b.study.score:
        return Incomparable(subject, "the studies judge their trainings by different results")
    if first.chosen is None or second.chosen is None:
        return Incomparable(subject, f"{'A' if first.chosen is None else 'B'} recommends no setting")
    if other := other_data(settings):
        return Incomparable(subject, other)
    values = [_fresh_values(run, r, metric) for run, r in ((a, first), (b, second))]
    if min(len(one) for one in values) < 2:
        seeds = " and ".join(f"{name} {len(one)}" for name, one in zip("AB", values, strict=True))
        return Incomparable(subject, f"cannot be told from so few fresh seeds with a result ({seeds}; 2 are needed)")
    if max(float(np.ptp(one)) for one in values) == 0:
        return Incomparable(subject, "all fresh seeds gave the same result, so nobody knows how results scatter")
    with warnings.catch_warnings():  # that all seeds of one study gave the same
        warnings.simplefilter("ignore", RuntimeWarning)
        found = ttest_ind(values[1], values[0], equal_var=False)
    interval = found.confidence_interval(0.95)
    estimate, low, high = float(values[1].mean() - values[0].mean()), float(interval.low), float(interval.high)
    is_maximized = a.study.score is not None and a.study.score.is_maximized
    if is_maximized:
        estimate, low, high = -estimate, -high, -low
    if metric == "wer":
        points = [f"{100 * value:+.1f}" for value in (estimate, low, high)]
        difference = f"{points[0]} points ({points[1]} to {points[2]})"
    else:
        difference = f"{number(estimate)} ({number(low)} to {number(high)})"
    return StudyChange(
        subject=subject,
        before=_result_text(first, metric, a),
        after=_result_text(second, metric, b),
        difference=difference,
        estimate=estimate,
        low=low,
        high=high,
        unit={"wer": "share", "val_loss": "nats a label", "score": ""}[metric],
        worse_if="lower" if is_maximized else "higher",
        test=f"Welch's t test of {len(values[0])} and {plural(len(values[1]), 'fresh seed')}",
        p=float(found.pvalue),
    )


def _fresh_values(run: StudyRun, found: Recommendation, metric: Metric) -> npt.NDArray[np.float64]:
    """The results of the recommended setting's fresh seeds, those that have one."""
    assert found.chosen is not None, "asked only where there is one"
    trials = judged(run.trials)
    own = trials[(trials["group"] == found.chosen.group.group) & (trials["phase"] == Phase.CONFIRM)]
    values = own[metric].astype(float).to_numpy()
    return np.asarray(values[np.isfinite(values)], dtype=np.float64)


def _safety_text(found: Recommendation) -> str:
    if found.chosen is None:
        return "nothing recommended"
    safety = found.safety
    if safety is None:
        return "not known (no rule or no map)"
    return (
        f"{'met' if safety.meets else 'not met'}, estimated chance of a stable training {chance_text(safety.p_stable)}"
    )


def _name(metric: Metric, a: StudyRun, b: StudyRun) -> str:
    score = a.study.score or b.study.score
    return score.name if metric == "score" and score is not None else _NAMES[metric]


def _result_text(found: Recommendation, metric: Metric, run: StudyRun) -> str:
    if found.chosen is None:
        return "none"
    group = found.chosen.group
    spread: Spread | None = group.measured(metric)
    if spread is None:
        return "not known"
    score = run.study.score

    def turned(value: float) -> float:
        return value if score is None else score.as_reported(value)

    def text(value: float) -> str:
        return percent(value, 1) if metric == "wer" else number(turned(value))

    seeds = plural(spread.num, "fresh seed") if group.fresh.total else f"{spread.num} by which it was chosen"
    if math.isnan(spread.ci_low):
        return f"{text(spread.mean)} ({seeds}: no interval)"
    ends = sorted((spread.ci_low, spread.ci_high), key=turned)
    low, high = (text(end).removesuffix(" %") for end in ends)
    return f"{text(spread.mean)} ({low} to {high}{' %' if metric == 'wer' else ''}, {seeds})"


def claim_facts(a: StudyRun, b: StudyRun) -> tuple[list[Told], list[Incomparable], int]:
    """Claims of the same name whose verdict changed, claims that only one study judged, and how many are as before."""
    first, second = ({str(f["claim"]["name"]): f for f in run.claims} for run in (a, b))
    changed, same, alone = [], 0, []
    for name in dict.fromkeys([*first, *second]):
        if name not in first or name not in second:
            alone.append(Incomparable(f"claim {name}", f"only {'A' if name in first else 'B'} judged it"))
        elif first[name]["verdict"] == second[name]["verdict"]:
            same += 1
        else:
            both = [tested(found[name]["claim"]) for found in (first, second)]
            note = "stated otherwise in B" if both[0] != both[1] else ""
            changed.append(Told(f"claim {name}", _finding_text(first[name]), _finding_text(second[name]), note))
    return changed, alone, same


def _finding_text(finding: Mapping[str, Any]) -> str:
    ends = ["no limit" if finding[k] is None else value_text(finding[k]) for k in ("low", "high")]
    effect = "effect not known" if finding["estimate"] is None else f"effect {value_text(finding['estimate'])}"
    return f"{finding['verdict']}, {effect} ({ends[0]} to {ends[1]}), {plural(int(finding['num_pairs']), 'pair')}"
