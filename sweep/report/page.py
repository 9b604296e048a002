"""View -> HTML."""

import base64
import dataclasses
import gzip
import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape
from plotly.offline import get_plotlyjs

from sweep.analysis.audit import audit_text, saving_text
from sweep.analysis.claims.stated import removed_note
from sweep.analysis.costs import cost_text
from sweep.analysis.dimensions import plain
from sweep.analysis.parallel import common_text, parallel_info
from sweep.analysis.recommend import result_text
from sweep.analysis.spending import elapsed_text, parts_text
from sweep.analysis.traces import MAX_POINTS, MAX_TRACES, Trace
from sweep.analysis.wording import duration, number, percent, setting_text, value_text
from sweep.explanation import Explanation, few_words
from sweep.records import Outcome
from sweep.report import answer, facts, region_text
from sweep.report.claims import MEANINGS, claim_cards, headline, null_name
from sweep.report.courses import course_info
from sweep.report.edge_table import edge_table
from sweep.report.figures.course import course_content
from sweep.report.figures.panel import Panel
from sweep.report.figures.parallel import draw_parallel
from sweep.report.panels import figure_panels
from sweep.report.theme import PAGE_COLOURS, css_variables, dark_swaps, svg_symbol, svg_verdict
from sweep.report.view import View
from sweep.report.weights import Weights, pairs_text, told_text, weights

NUM_ALTERNATIVES = 4
"""Settings shown after the recommended one."""

_TEMPLATES = Path(__file__).parent / "templates"


@dataclasses.dataclass(frozen=True)
class _Section:
    """A part of the page; its template has the anchor's name."""

    anchor: str
    title: str


def _sections(view: View, matters: Weights | None) -> list[_Section]:
    """The parts that this study has, in the order of a reader's questions."""
    claims = ("claims", "Claims", bool(view.findings))
    every = [
        ("answer", "Answer", True),
        *([claims] if view.claims_answer else []),
        ("map", "Stable region", view.shows_map),
        ("size", "Full size", view.stable_region.transfer is not None),
        ("lr", "Learning rate", view.shows_lr),
        ("front", "Result against cost", bool(view.front)),
        ("failures", "Failures", True),
        *([] if view.claims_answer else [claims]),
        ("matters", "What matters", matters is not None or bool(view.dims) and bool(view.total.num_trials)),
        ("trials", "Trials", True),
        ("traces", "Courses", True),
        ("cost", "Cost", bool(view.costs.by_outcome)),
        ("made", "How it was made", True),
    ]
    return [_Section(anchor, title) for anchor, title, has in every if has]


def render(view: View) -> str:
    """The whole page; it needs nothing but itself."""
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_unbroken,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        number=number, percent=percent, value=value_text, duration=duration, plain=plain, few_words=few_words,
        verdict_mark=lambda verdict: Markup(svg_verdict(verdict)),
    )  # fmt: skip
    region, transfer = view.region, view.stable_region.transfer
    known = view.stable_region.matters
    matters = weights(region, view.importance, view.dims, known)
    every = figure_panels(view)
    figures = {
        "lr": every["lr"] if view.shows_lr else [],
        "map": every["map"] if view.shows_map else [],
        "size": every["size"],
        "together": every["together"],
    }
    names = {dim.path: dim.name for dim in view.dims}
    lines = parallel_info(view.searched, view.dims)
    traced = [t.trial_id for t in view.traces]
    return environment.get_template("page.html").render(
        view=view,
        sections=_sections(view, matters),
        rec=view.recommendation,
        cards=claim_cards(view.findings),
        verdict_count=headline(view.findings),
        meanings=MEANINGS,
        null_name=null_name(view.findings),
        removed_claims=removed_note({"provenance": view.provenance}),
        names=names,
        setting_text=lambda setting: setting_text(setting, names),
        result_text=result_text,
        number=number,
        percent=percent,
        exact_percent=lambda rate: percent(rate, 1),
        duration=duration,
        value_text=value_text,
        whole="{:.0f}".format,
        thousands="{:,.0f}".format,
        recipe=escape(view.recipe_yaml or ""),
        outcomes=[o for o in Outcome if o in view.total.counts],
        symbol=lambda outcome: Markup(svg_symbol(Outcome(outcome))),
        lr_panels=every["lr"],
        map_panels=every["map"],
        size_panels=every["size"],
        safety=answer.safety_card(view),
        sureness=view.recommendation.sureness,
        results=answer.results(view),
        results_from=answer.results_from(view),
        region=region,
        map_notes=region_text.map_notes(view.stability, view.stable_region.region, view.recommendation.setting, names),
        openness=region_text.open_text(region) if region else "",
        ended=facts.exploration_ended(view),
        reliability=region_text.calibration_text(region.calibration) if region else "",
        volumes=region.volumes if region else (),
        edges=edge_table(region, names) if region else None,
        sensitivity_note=region_text.SENSITIVITY_NOTE,
        weights=matters,
        told=told_text(known, names),
        pairs=known.pairs,
        pairs_told=pairs_text(known, names, region is not None),
        together_panels=every["together"],
        parallel=None
        if isinstance(lines, str)
        else draw_parallel(lines, traced, common_text(view.searched, view.dims)),
        parallel_info=lines,
        parallel_why=lines if isinstance(lines, str) else "",
        transfer=transfer,
        transfer_lines=region_text.transfer_lines(transfer) if transfer else (),
        front=answer.front(view),
        outcome_notes=facts.outcome_notes(view),
        tiles=facts.tiles(view),
        audit_text=audit_text(view.audit),
        saved_texts=[text for text in (cost_text(view.costs), saving_text(view.audit, view.costs)) if text],
        elapsed_text=elapsed_text(view.spending),
        parts_text=parts_text(view.spending.parts) if view.spending.parts else "",
        example=_worked_example(view),
        limits=facts.limits(view),
        study_facts=facts.study_sections(view),
        rows=view.trials.to_dict("records"),
        traced=traced,
        num_alternatives=NUM_ALTERNATIVES,
        max_points=MAX_POINTS,
        max_traces=MAX_TRACES,
        light_css=Markup(css_variables(dark=False)),
        dark_css=Markup(css_variables(dark=True)),
        css=Markup((_TEMPLATES / "page.css").read_text(encoding="utf-8")),
        script=Markup((_TEMPLATES / "page.js").read_text(encoding="utf-8")),
        plotly=_plotly(),
        payload=packed(json.dumps(_payload(view, figures), allow_nan=False)),
    )


@dataclasses.dataclass(frozen=True)
class _Example:
    """The worked example of an explanation."""

    trial_id: str
    title: str
    explanation: Explanation
    first_nonfinite: str | None
    replays: str
    """How the replays were made; empty where there were none."""


def _worked_example(view: View) -> _Example | None:
    if view.worked_example is None:
        return None
    explanation = view.explanations[view.worked_example]
    row = view.trials[view.trials["trial_id"] == view.worked_example].iloc[0]
    names = {dim.path: dim.name for dim in view.dims}
    setting = setting_text({path: plain(row.get(path)) for path in names}, names)
    replays = ""
    if explanation.counterfactuals:
        since = explanation.snapshot_step
        start = "" if since is None else f" from the {'initial model' if since == 0 else f'state after step {since}'}"
        replays = (
            f"Replayed{start} with one thing changed at a time, {explanation.num_replayed_steps} steps in all. The "
            "first replay of each change takes the same batches, any other the data in another order."
        )
    return _Example(
        trial_id=view.worked_example,
        title=f"trial {row['number']}, {row['verdict']} ({setting})",
        explanation=explanation,
        first_nonfinite=facts.first_nonfinite(explanation.first_nonfinite) if explanation.first_nonfinite else None,
        replays=replays,
    )


def _payload(view: View, panels: Mapping[str, Sequence[Panel]]) -> dict[str, Any]:
    """What the page's script draws."""
    figures = {
        f"{name}-{index}": json.loads(panel.figure.to_json())
        for name, row in panels.items()
        for index, panel in enumerate(row)
        if panel.figure is not None
    }
    rows = {str(row["trial_id"]): row for row in view.trials.to_dict("records")}
    return {
        "figures": figures,
        "swaps": dark_swaps(),
        "colours": {name: both[0] for name, both in PAGE_COLOURS.items()},
        "traces": {t.trial_id: _trace(view, t, rows[t.trial_id]) for t in view.traces},
    }


def _trace(view: View, trace: Trace, row: dict[Any, Any]) -> dict[str, Any]:
    info = course_info(view, trace)
    names = {dim.path: dim.name for dim in view.dims}
    setting = setting_text({path: plain(row.get(path)) for path in names}, names)
    return {
        "figure": course_content(info),
        "number": int(row["number"]),
        "verdict": info.verdict.value,
        "reason": str(plain(row["reason"]) or ""),
        "setting": f"seed {int(row['seed'])}, {setting}",
        "cause": plain(row["cause"]),
        "warnings": "; ".join(view.warnings.get(trace.trial_id, ())),
    }


def _unbroken(value: Any) -> Any:
    """Keeps a number and its percent sign on one line."""
    return value.replace(" %", "\u00a0%") if type(value) is str else value


def packed(text: str) -> str:
    """Text as gzip in base64: about a third of its size, and free of anything that HTML could misread."""
    return base64.b64encode(gzip.compress(text.encode(), compresslevel=9, mtime=0)).decode("ascii")


@lru_cache(maxsize=1)
def _plotly() -> str:
    return packed(get_plotlyjs())
