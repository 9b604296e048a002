"""The recommended settings as a study that trains once."""

import copy
import math
from collections.abc import Mapping
from typing import Any

from sweep.analysis.answer.recommend import Recommendation, result_text
from sweep.analysis.trials.tried import as_searched
from sweep.command_line import DISTRIBUTION, version
from sweep.own.program import Score
from sweep.space import Space
from sweep.study import Resources
from sweep.study.changed_defaults import CHANGED
from sweep.study.sparse import without_defaults


def recipe(
    recommendation: Recommendation,
    study: Mapping[str, Any],
    space: Space,
    sections: Mapping[str, Any] | None = None,
    score: Score | None = None,
) -> dict[str, Any]:
    """A study without a search: the recommended settings at their dotted paths, one trial, with the evidence.

    Of everything else it says what differs from this version's defaults.

    Args:
        recommendation: must recommend something.
        study: study.yaml, of which all that is not about its many trials is copied.
        space: what it searched.
        sections: `model`, `data` and `training` exactly as the recommended trials had them. Without them
            the settings are put into the study's own sections; where a setting changes a `kind` there, the
            other fields of that kind fall back to their defaults, and the evidence carries a caution. Of a program
            of the user's own, `trial`.
        score: what such programs are ranked by.

    Raises:
        ValueError: nothing is recommended.
    """
    chosen = recommendation.chosen
    if chosen is None:
        raise ValueError(f"there is no recipe: {recommendation.headline}")
    source = copy.deepcopy({k: v for k, v in study.items() if k not in ("space", "provenance")})
    every = {path: as_searched(value, space[path]) for path, value in recommendation.setting.items()}
    settings = {path: value for path, value in every.items() if value is not None}
    reset: list[str] = []
    if sections is not None:
        source |= copy.deepcopy(dict(sections))
    else:
        # A `kind` goes first: it decides which fields its neighbours may be.
        for path in sorted(settings, key=lambda p: (not p.endswith(".kind"), p.count("."))):
            if _put(source, path, settings[path]):
                reset.append(path)
    source["name"] = f"{study['name']}-recipe"
    source["description"] = f"The settings that the study {study['name']} recommends."
    source["budget"] = {**source["budget"], "trials": 1}
    source["confirm"] = {"settings": 0}
    # They are about a study's many trials.
    for section in ("search", "design", "claims", "scheduler", "full_size", "repeats"):
        source.pop(section, None)
    resources = Resources.model_validate(source.get("resources", {})).of(settings)
    source["resources"] = resources.model_copy(update={"max_parallel": None}).model_dump(mode="json")
    if score is None and source.get("objective") == "wer":  # as in any study of our own loop that does not say
        del source["objective"]
    # Where a default has changed, a study has to say which one it means.
    source = without_defaults(source, keep=[*settings, *(f"{one.section}.{one.key}" for one in CHANGED)])
    group = chosen.group
    evidence: dict[str, Any] = {
        "study": study["name"],
        "status": recommendation.status,
        "result": result_text(group, score),
        "seeds_stable": f"{group.stable.count} of {group.stable.total}",
        "fresh_seeds_stable": f"{group.fresh.count} of {group.fresh.total}",
        "trials": list(group.trial_ids),
        "how_sure": list(recommendation.sureness),
        "avoid": [claim.text for claim in recommendation.avoid if claim.kind != "difference"],
        "defaults_of": f"{DISTRIBUTION} {version()}",
    }
    safe = recommendation.safety
    if safe is not None:
        evidence["safety"] = {
            "rule_met": safe.meets,
            "why": safe.why,
            "p_stable": round(safe.p_stable, 4),
            "p_break": round(safe.p_break, 4),
            # No edge within the range, or no learning rate: there is no number to give.
            "hot_edge_lr": None if safe.edge is None else float(f"{safe.edge:.4g}"),
            "margin_decades": round(safe.margin_decades, 3) if math.isfinite(safe.margin_decades) else None,
        }
    if reset:
        evidence["caution"] = f"Beside {', '.join(reset)}, defaults stand here: compare with the study's file."
    source["provenance"] = {"evidence": evidence}
    return source


def _put(tree: dict[str, Any], path: str, value: Any) -> bool:
    """Sets the value; returns whether a changed `kind` made it drop other fields."""
    *parents, last = path.split(".")
    node = tree
    for key in parents:
        if not isinstance(node.get(key), dict):
            node[key] = {}
        node = node[key]
    dropped = False
    if last == "kind" and node.get("kind") != value:
        dropped = len(node) > 1
        node.clear()  # the other fields belong to the former kind
    node[last] = value
    return dropped
