"""The answer, and the best results for their cost: what the sections hold, and their texts."""

import functools
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import escape

from sweep.analysis.answer.pareto import ParetoRow
from sweep.analysis.answer.recommend import result_text
from sweep.analysis.claims.verdict import to_json
from sweep.analysis.trials.groups import BOOTSTRAP_FROM, Spread
from sweep.analysis.trials.ranking import VAL_LOSS, ranking, score_ranking
from sweep.records import LOSS_SCORE, Cost, NotKnown, Phase
from sweep.report.contents.view import View
from sweep.report.sections.claims import claim_cards, headline
from sweep.report.sections.facts import exploration_ended, tiles
from sweep.report.sections.section import Content
from sweep.search import Nsga2Search
from sweep.store import without_nonfinite
from sweep.wording import number, percent, plural, setting_text

Line = tuple[str, str, str]
"""(label, value, detail)"""

NUM_ALTERNATIVES = 4
"""Settings shown after the recommended one."""
_LARGE_ERROR = 0.15
"""Expected calibration error above which the card says how little a chance is worth."""
_COSTS: dict[Cost, str] = {"step_time_s": "time of a step, s", "peak_memory_mib": "peak memory, MiB"}


@dataclass(frozen=True)
class SafetyCard:
    """The recommended setting held against the safety rule, in texts."""

    chance: str
    edge: str
    """A sentence; empty where no learning rate is searched."""
    margin: str
    """`3.2 times`; empty where the setting does not lie below an edge."""
    decades: str
    meets: bool
    why: str
    caution: str
    """How little the chance is worth, where the model foretells badly what it has not seen; empty where it does not."""


@dataclass(frozen=True)
class Front:
    """The best results for their cost."""

    rows: tuple[ParetoRow, ...]
    result_name: str
    result_text: Callable[[float], str]
    cost_name: str


def answer_content(view: View) -> Content:
    """The recommendation with its evidence; of an experiment the verdicts on its claims."""
    cards = claim_cards(view.findings)
    return Content(
        data={"answer": json.dumps(answer_as_data(view), allow_nan=False)},
        words={
            "view": view,
            "rec": view.recommendation,
            "names": view.names,
            "verdict_count": headline(view.findings),
            "cards": cards,
            "ended": exploration_ended(view),
            "tiles": tiles(view),
            "safety": safety_card(view),
            "results": results(view),
            "results_from": results_from(view),
            "lowest_at": lowest_at(view),
            "recipe": escape(view.recipe_yaml or ""),
            "setting_text": lambda setting: setting_text(setting, view.names),
            "result_text": functools.partial(result_text, score=view.study.score),
            "is_runnable": view.study.own is None or getattr(view.study.own, "target", "") is not None,
            "num_alternatives": NUM_ALTERNATIVES,
        },
    )


def answer_as_data(view: View) -> dict[str, Any]:
    """The answer as a reader takes it along: what JSON holds; null for what is unknown or unbounded."""
    answer, safety = view.recommendation, view.recommendation.safety
    if view.claims_answer:
        told: dict[str, Any] = {"headline": headline(view.findings)}
    else:
        told = {
            "headline": answer.headline,
            "status": answer.status,
            "settings": {path: value for path, value in answer.setting.items() if value is not None},
            "safety": None
            if safety is None
            else {name: getattr(safety, name) for name in ("p_stable", "margin_decades", "edge", "meets", "why")},
            "results": [dict(zip(("name", "value", "detail"), line, strict=True)) for line in results(view)],
            "caveats": list(caveats(view)),
            "avoid": [one.text for one in answer.avoid],
        }
    return without_nonfinite({"study": view.study.name, **told, "claims": to_json(view.findings)})  # type: ignore[no-any-return]


def front_content(view: View) -> Content:
    """The best results for their cost."""
    return Content({"front": front(view), "setting_text": lambda setting: setting_text(setting, view.names)})


def safety_card(view: View) -> SafetyCard | None:
    """How safe the recommended setting is; None where no model can tell."""
    safety = view.recommendation.safety
    if safety is None:
        return None
    lr, below = view.evidence.lr, safety.edge is not None and safety.margin_decades > 0
    edge = ""
    if lr is not None and safety.edge is not None:
        edge = f"The hot edge of the {lr.name} lies at {number(safety.edge)}."
    elif lr is not None and safety.margin_decades > 0:
        edge = f"No hot edge of the {lr.name} up to {number(lr.high)}."
    return SafetyCard(
        chance=chance_percent(safety.p_stable),
        edge=edge,
        margin=f"{number(10**safety.margin_decades, 2)} times" if below else "",
        decades=f"{number(safety.margin_decades, 2)} decades" if below else "",
        meets=safety.meets,
        why=safety.why,
        caution=_caution(view),
    )


def caveats(view: View) -> tuple[str, ...]:
    """What stands beside the recommendation but for its safety rule, a sentence each, as where there is no page."""
    answer = view.recommendation
    caution = _caution(view) if answer.safety is not None else ""
    return tuple(filter(None, (caution, *answer.caveats, lowest_at(view))))


def _caution(view: View) -> str:
    if isinstance(view.region, NotKnown):
        return ""
    calibration = view.region.calibration
    if not calibration.beats_base:
        return (
            "Take the chance with care: for settings that it had not seen, the model foretold no better than the "
            "overall rate."
        )
    if calibration.ece > _LARGE_ERROR:
        return (
            f"Take the chance with care: for settings that the model had not seen, it was off by "
            f"{number(100 * calibration.ece, 2)} percentage points on average."
        )
    return ""


def chance_percent(p: float) -> str:
    """A model's probability as a percentage, rounded down; never 0 or 100 %, which no finite study shows."""
    if p > 0.99:
        return "over 99 %"
    return "under 1 %" if p < 0.01 else percent(math.floor(100 * p) / 100)


def results(view: View) -> list[Line]:
    """What came of the recommended setting, over fresh seeds where there are any."""
    chosen = view.recommendation.chosen
    if chosen is None:
        return []
    group = chosen.group
    lines: list[Line] = []
    score = view.study.score
    if score is not None and group.score is not None:
        by = score_ranking(score)
        low, high = sorted(by.as_reported(end) for end in (group.score.ci_low, group.score.ci_high))
        detail = f"{number(low)} to {number(high)}" if math.isfinite(low) and math.isfinite(high) else ""
        lines.append((score.name, by.text(group.score.mean), detail))
    if group.wer is not None:
        lines.append(("WER", percent(group.wer.mean, 1), _interval(group.wer, percent)))
        of_group = view.trials[view.trials["trial_id"].isin(group.trial_ids)]
        fresh = of_group[of_group["phase"] == Phase.CONFIRM] if group.fresh.total else of_group
        if math.isfinite(raw := float(fresh["wer_raw"].mean())):
            lines.append(("WER before clean-up", percent(raw, 1), "of the labels as the files write them"))
    if group.val_loss is not None and (score is None or score.name not in (LOSS_SCORE, VAL_LOSS.metric)):
        detail, unit = _interval(group.val_loss, number), "nats/label" if score is None else ""
        lines.append(("validation loss", number(group.val_loss.mean), ", ".join(filter(None, (unit, detail)))))
    if group.applied is not None:
        lines.append(("updates applied", percent(group.applied.mean, 1), ""))
    return lines


def lowest_at(view: View) -> str:
    """Of a setting that memorises: where its validation losses were lowest, in a sentence; empty for others."""
    chosen = view.recommendation.chosen
    if chosen is None or not view.recommendation.memorises:
        return ""
    steps = []
    for trial_id in chosen.group.trial_ids:
        evals = view.source.files.columns("evals", trial_id, ("step", "val_loss"))
        if evals is not None and np.isfinite(evals["val_loss"]).any():
            steps.append(int(evals["step"][np.nanargmin(evals["val_loss"])]))
    if not steps:
        return ""
    where = f"step {min(steps)}" if min(steps) == max(steps) else f"steps {min(steps)} to {max(steps)}"
    return f"Its validation loss was lowest at {where}."


def _interval(spread: Spread, text: Callable[[float], str]) -> str:
    if not math.isfinite(spread.ci_low) or not math.isfinite(spread.ci_high):
        return ""
    return f"{text(spread.ci_low)} to {text(spread.ci_high)}"


def results_from(view: View) -> str:
    """Which trainings the results are of, and what their intervals are."""
    chosen = view.recommendation.chosen
    if chosen is None:
        return ""
    fresh = chosen.group.fresh.total
    seeds = plural(fresh, "fresh seed") if fresh else plural(chosen.group.stable.total, "seed")
    by = "" if fresh else ", by which the search chose it"
    kind = f"bootstrap from {BOOTSTRAP_FROM} seeds on, Student's t below"
    if (num := view.recommendation.num_picked_from) > 1:
        kind += f"; Bonferroni for the choice among {num}"
    known = any(
        spread and math.isfinite(spread.ci_low)
        for spread in (chosen.group.wer, chosen.group.val_loss, chosen.group.score)
    )
    interval = f"; with the 95 % interval of the mean ({kind})" if known else ""
    return f"Means over {seeds}{by}{interval}."


def front(view: View) -> Front | None:
    """The best results for their cost; None where the search did not look at cost."""
    if not view.front:
        return None
    assert isinstance(view.study.search, Nsga2Search), "no other search looks at cost"
    by = ranking(view.study.metric, view.study.score)
    name = f"{by.name[:1].upper()}{by.name[1:]}"
    return Front(
        rows=view.front,
        result_name=f"{name}, nats/label" if by is VAL_LOSS else name,
        result_text=by.text,
        cost_name=_COSTS[view.study.search.cost],
    )
