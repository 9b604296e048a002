"""How the study was made, as labelled lines of text."""

from collections.abc import Iterator, Mapping
from typing import Any

from sweep.analysis.cost.audit import audit_text
from sweep.analysis.cost.foregone import foregone_text
from sweep.analysis.trials.outcomes import open_ends_text
from sweep.analysis.trials.tried import of_space
from sweep.report.contents.view import View
from sweep.report.sections.section import Content
from sweep.wording import duration, number, percent, plural

_UNITS = {"_s": "seconds", "_hz": "per second", "_mib": "MiB"}


def fact_rows(content: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Flattens nested facts into (label, text) rows; what is empty is left out."""
    if isinstance(content, Mapping):
        for key, value in content.items():
            label = str(key) if "." in str(key) else str(key).replace("_", " ")
            yield from fact_rows(value, f"{prefix} / {label}" if prefix else label)
    elif isinstance(content, list | tuple):
        if content:
            yield prefix, "; ".join(_text(item) for item in content)
    elif content is not None and content != "":
        yield prefix, _text(content)


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return number(value, 5)
    return str(value)


def _size(model: Mapping[str, Any], data: Mapping[str, Any]) -> dict[str, Any]:
    """How large the model is, and for which input."""
    size = dict(model)
    features, labels, total = data.get("num_features"), data.get("vocabulary_size"), size.pop("total_layers", None)
    if "num_parameters" in size and features is not None and labels is not None:
        size["num_parameters"] = f"{size['num_parameters']} at {features} features and a vocabulary of {labels}"
    # Without a total it is a number from before all models were counted alike.
    if total is not None:
        size["num_layers"] = f"{size.get('num_layers')} on the longest path, {total} in total"
    return size


def study_sections(view: View) -> list[tuple[str, list[tuple[str, str]]]]:
    """Titled lists of facts: data, model and training, search, software and machine."""
    study, made = view.stored.content, view.stored.made
    data_facts = dict(made.get("data") or {})
    unit = "" if view.study.is_own else ", nats a label"
    floors = {
        f"loss of learning nothing (L_const{unit})": made.get("l_const"),
        f"loss of a uniform output (L_unif{unit})": made.get("l_unif"),
    }
    known = ("versions", "host", "data", "model", "l_const", "l_unif")
    rest = {key: value for key, value in made.items() if key not in known}
    sections = [
        ("Data", data_facts | floors),
        ("Data settings", study.get("data")),
        ("Model", {**_size(dict(made.get("model") or {}), data_facts), "settings": study.get("model")}),
        ("Training, where it is not searched", study.get("training")),
        ("Program", study.get("trial") if view.study.is_own else None),
        (
            "Search",
            {
                key: study.get(key)
                for key in (
                    "space",
                    "search",
                    "objective",
                    "budget",
                    "repeats",
                    "seed",
                    "confirm",
                    "safety",
                    "full_size",
                )
            },
        ),
        ("Design", study.get("design")),
        ("Claims", {claim["name"]: claim for claim in study.get("claims") or ()}),
        ("Watching", {key: study.get(key) for key in ("scheduler", "early_stop", "audit", "monitor", "forensics")}),
        ("Machine", {**dict(made.get("host") or {}), "resources of a trial": study.get("resources")}),
        ("Software", made.get("versions")),
        ("Run", rest),
    ]
    rows = [(title, list(fact_rows(content))) for title, content in sections]
    return [(title, lines) for title, lines in rows if lines]


def made_content(view: View) -> Content:
    """What the results do not show, and all settings of the study."""
    return Content({"limits": limits(view), "study_facts": study_sections(view)})


def limits(view: View) -> list[str]:
    """What the results do not show."""
    trials, measures = view.trials, view.provenance.data.valid_measures
    found = []
    if measures:
        found.append(f"What the validation measures: {measures}")
    found.append(
        "An outcome is a rule's verdict on the steps that were run. Stable says that the numbers stayed sound and "
        "something was learned, not how good the result is; a training that was stable for "
        f"{_steps_run(view)} may still diverge later."
    )
    found.append("Results hold for this model, this data and this budget. Other models have other edges.")
    if view.is_experiment:
        found.append(
            "A verdict on a claim holds for the levels that were compared and the settings that were drawn for them. "
            "The chance that any verdict of the study is wrong is kept to the alpha of its claims."
        )
    else:
        found.append(
            "The search decides where trials lie, so shares of stable trials describe the places it looked at, not a "
            "setting as such. Intervals are exact for independent trials; trials of one study are not quite that."
        )
    if wrong := audit_text(view.audit):
        found.append(wrong)
    if labels := foregone_text(view.foregone):
        found.append(labels)
    emulated = trials["precision_implementation"].dropna().astype(str)
    emulated = emulated[emulated.str.contains("emulat", case=False)]
    if len(emulated):
        found.append(
            f"In {plural(len(emulated), 'trial')} half precision was emulated ({emulated.iloc[0]}). "
            "Speed and memory of such trials say nothing about a GPU."
        )
    return found


def _steps_run(view: View) -> str:
    known = view.trials["max_steps"].dropna()
    return plural(int(known.max()), "step") if len(known) else "its budget"


def tiles(view: View) -> list[tuple[str, str, str]]:
    """The headline counts as (number, label, detail)."""
    total, cost = view.total, view.costs
    planned = f"{view.num_explored} of {view.num_planned} planned"
    confirming = f"{view.num_confirming} to confirm" if view.num_confirming else ""
    full_size = f"{view.num_full_size} at full size" if view.num_full_size else ""
    share = total.stable
    detail = f"95 % interval {percent(share.low)} to {percent(share.high)}" if share.total else ""
    detail += ", confirming ones included" if view.num_confirming else ""
    return [
        (str(len(view.trials)), "trials finished", ", ".join(filter(None, (planned, confirming, full_size)))),
        (percent(share.rate), "stable", f"{plural(share.count, 'trial')}, {detail}" if share.total else ""),
        (
            str(len(view.groups)),
            "settings tried" if total.num_trials == share.total else "settings judged",
            f"{sum(g.all_stable for g in view.groups)} stable throughout",
        ),
        (
            percent(cost.saved_rate),
            "of steps saved",
            f"{cost.num_stopped} stopped early, "
            + (f"{cost.num_foregone} foregone, " if cost.num_foregone else "")
            + f"{cost.steps_saved} steps",
        ),
        _applied_updates(view),
        (duration(cost.wall_s), "training time", "summed over trials"),
    ]


def _applied_updates(view: View) -> tuple[str, str, str]:
    """How many steps changed the weights, and why the others did not."""
    trials = view.trials
    num_steps = float(trials["num_steps"].sum()) if len(trials) else 0.0
    if not num_steps:
        return "n/a", "of updates applied", ""
    applied = float((trials["applied_update_rate"].fillna(0.0) * trials["num_steps"]).sum())
    reasons = ("calibration", "nonfinite", "threshold", "infeasible")
    skipped = {reason: int(trials[f"skipped_{reason}"].sum()) for reason in reasons}
    told = ", ".join(f"{count} {reason}" for reason, count in skipped.items() if count)
    return percent(applied / num_steps, 1), "of updates applied", f"skipped: {told}" if told else "none skipped"


def outcome_notes(view: View) -> list[str]:
    """What to know about the counted outcomes."""
    notes = []
    num_open = view.total.num_trials - view.total.stable.total
    if num_open:
        they, count = ("it", "It counts") if num_open == 1 else ("they", "They count")
        why = open_ends_text(view.searched)
        notes.append(
            f"Of {plural(num_open, 'trial')} nobody can tell how {they} would have gone: {why}. {count} neither as "
            "stable nor as failed."
        )
    if num_outside := len(of_space(view.searched)) - len(view.evidence.tried):
        notes.append(
            f"{plural(num_outside, 'trial')} of ranges that were changed since {'lies' if num_outside == 1 else 'lie'} "
            "outside of those that are searched now: counted and listed, but without a part in map, edges and answer."
        )
    notes += [
        f"The map learns from {plural(num, 'trial')} of {name}, too, as far as they agree with those of this study: "
        f"{percent(shared)}."
        for name, num, shared in view.others
    ]
    if view.num_full_size:
        notes.append(
            f"{plural(view.num_full_size, 'training')} at full size lie outside the searched space and stand apart."
        )
    return notes


def exploration_ended(view: View) -> str:
    """Why the search or experiment ended before its budget did, in a sentence; empty where it did not."""
    reason = (view.provenance.exploration_ended or "").rstrip(".")
    if reason and view.is_experiment:
        return f"The study ended early: {reason}."
    return f"The search ended before its budget: {reason}." if reason else ""
