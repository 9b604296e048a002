"""View -> HTML."""

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape
from plotly.offline import get_plotlyjs

from sweep.analysis.answer.recommend import result_text
from sweep.analysis.claims.stated import removed_note
from sweep.analysis.cost.audit import audit_text, saving_text
from sweep.analysis.cost.costs import cost_text
from sweep.analysis.cost.spending import elapsed_text, parts_text
from sweep.analysis.failures.half_precision import nearest_modules
from sweep.analysis.figures.course import points_kept
from sweep.analysis.figures.parallel import common_text, parallel_info
from sweep.analysis.trials.dimensions import plain
from sweep.records import Outcome, few_words
from sweep.report.contents.importance import ImportanceTable, importance_table
from sweep.report.contents.view import View
from sweep.report.figures.panel import Panel
from sweep.report.figures.parallel import draw_parallel
from sweep.report.panels import figure_panels, map_name
from sweep.report.payload import courses_payload, figures_payload, packed, trials_payload
from sweep.report.sections import answer, facts, failure_text, region_text
from sweep.report.sections.claims import MEANINGS, claim_cards, headline, null_name
from sweep.report.sections.edge_table import edge_table
from sweep.report.sections.matters import pairs_text, told_text
from sweep.report.sections.story import story
from sweep.report.sections.trial_table import Column, audit_notes, trial_columns
from sweep.report.theme import css_variables, svg_symbol, svg_verdict
from sweep.wording import duration, number, percent, setting_text, value_text

NUM_ALTERNATIVES = 4
"""Settings shown after the recommended one."""
NUM_MODULES = 8
"""Modules whose headroom is listed."""
NUM_FIRST_ROWS = 200
"""Rows of the table of trials that can be read without JavaScript; all are in the page."""
_SCRIPTS = ("figures", "trials", "courses", "parallel", "page")
"""In their order; they share one scope."""

_TEMPLATES = Path(__file__).parent / "templates"


@dataclasses.dataclass(frozen=True)
class _Section:
    """A part of the page; its template has the anchor's name."""

    anchor: str
    title: str


def _sections(view: View, matters: ImportanceTable | None) -> list[_Section]:
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
    environment.globals["symbol"] = lambda outcome: Markup(svg_symbol(Outcome(outcome)))
    region, transfer = view.region, view.stable_region.transfer
    known = view.stable_region.matters
    matters = importance_table(region, view.importance, view.dims, known)
    every = figure_panels(view)
    shown = {"lr": view.shows_lr, "map": view.shows_map}
    figures = {name: panels for name, panels in every.items() if shown.get(name.rstrip("0123456789"), True)}
    names = {dim.path: dim.name for dim in view.dims}
    lines = parallel_info(view.searched, view.dims)
    columns, traced = trial_columns(view), {one.trial_id for one in view.traces}
    rows = _rows(environment, view, columns, traced)
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
        lr_panels=every["lr"],
        planes=_planes(view, every, names) if view.shows_map else [],
        size_panels=every["size"],
        safety=answer.safety_card(view),
        sureness=view.recommendation.sureness,
        results=answer.results(view),
        results_from=answer.results_from(view),
        region=region,
        openness=region_text.open_text(region) if region else "",
        ended=facts.exploration_ended(view),
        reliability=region_text.calibration_text(region.calibration) if region else "",
        volumes=region.volumes if region else (),
        edges=edge_table(region, names) if region else None,
        sensitivity_note=region_text.SENSITIVITY_NOTE,
        importances=matters,
        told=told_text(known, names, {column.question for column in matters.columns} if matters else ()),
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
        example=story(view.failures.example, view.dims) if view.failures.example else None,
        headroom_panels=every["headroom"],
        scale_panels=every["scale"],
        modules=nearest_modules(view.failures.half.headroom)[:NUM_MODULES],
        calibrations=failure_text.calibrations(view.failures.half),
        failures_lead=failure_text.lead(view.failures),
        thickness=failure_text.thickness(view.failures.by_setting),
        of_limit=failure_text.of_limit,
        limits=facts.limits(view),
        study_facts=facts.study_sections(view),
        rows=rows,
        trial_columns=columns,
        num_first_rows=NUM_FIRST_ROWS,
        num_traced=len(view.traces),
        traced=traced,
        traced_examples=[(label, trial_id) for label, trial_id in view.examples if trial_id in traced],
        num_points=points_kept(len(view.traces)),
        num_alternatives=NUM_ALTERNATIVES,
        light_css=Markup(css_variables(dark=False)),
        dark_css=Markup(css_variables(dark=True)),
        css=Markup((_TEMPLATES / "page.css").read_text(encoding="utf-8")),
        script=Markup("".join((_TEMPLATES / f"{name}.js").read_text(encoding="utf-8") for name in _SCRIPTS)),
        plotly=_plotly(),
        payload=packed(figures_payload(figures)),
        trials_payload=packed(trials_payload(view, columns, rows)),
        courses_payload=packed(courses_payload(view)),
    )


@dataclasses.dataclass(frozen=True)
class _Plane:
    """A map as the page shows it."""

    anchor: str
    name: str
    panels: Sequence[Panel]
    notes: Sequence[str]


def _planes(view: View, panels: Mapping[str, Sequence[Panel]], names: Mapping[str, str]) -> list[_Plane]:
    """The maps, the first of which the page shows; one without a figure where there is none."""
    region, setting = view.stable_region.region, view.recommendation.setting
    if not view.planes:
        return [_Plane(map_name(0), "", panels[map_name(0)], [])]
    return [
        _Plane(
            map_name(index),
            plane.name,
            panels[map_name(index)],
            region_text.map_notes(plane.info, region, plane.grids, setting, names),
        )
        for index, plane in enumerate(view.planes)
    ]


def _rows(environment: Environment, view: View, columns: Sequence[Column], traced: Collection[str]) -> list[Markup]:
    """The rows of the table of trials, in the order of their numbers."""
    row = environment.get_template("trial_row.html").module.row  # type: ignore[attr-defined]
    trials = view.trials
    ids, notes = [str(trial_id) for trial_id in trials["trial_id"]], audit_notes(trials)
    every = zip(ids, trials["number"], trials["verdict"], notes, strict=True)
    return [
        row(columns, at, trial_id, number, verdict, trial_id in traced, note)
        for at, (trial_id, number, verdict, note) in enumerate(every)
    ]


def _unbroken(value: Any) -> Any:
    """Keeps a number and its percent sign on one line."""
    return value.replace(" %", "\u00a0%") if type(value) is str else value


@lru_cache(maxsize=1)
def _plotly() -> str:
    return packed(get_plotlyjs())
