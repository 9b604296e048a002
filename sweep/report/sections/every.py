"""The sections of the page, in the order of a reader's questions."""

from sweep.report.contents.view import View
from sweep.report.sections.answer import answer_content, front_content
from sweep.report.sections.claims import claims_content
from sweep.report.sections.cost import cost_content
from sweep.report.sections.courses import traces_content
from sweep.report.sections.facts import made_content
from sweep.report.sections.failure_text import failures_content
from sweep.report.sections.learning_rate import lr_content
from sweep.report.sections.matters import matters_content
from sweep.report.sections.region_text import map_content, size_content
from sweep.report.sections.section import Section
from sweep.report.sections.trial_table import trials_content

SECTIONS = (
    Section("answer", "Answer", answer_content),
    Section("map", "Stable region", map_content, lambda view: view.shows_map),
    Section("size", "Full size", size_content, lambda view: view.study.full_size is not None),
    Section("lr", "Learning rate", lr_content, lambda view: view.shows_lr),
    Section("front", "Result against cost", front_content, lambda view: bool(view.front)),
    Section("failures", "Failures", failures_content),
    Section("claims", "Claims", claims_content, lambda view: bool(view.study.claims)),
    Section(
        "matters",
        "What matters",
        matters_content,
        lambda view: view.importance_table is not None or bool(view.dims and view.total.num_trials),
    ),
    Section("trials", "Trials", trials_content),
    Section("traces", "Courses", traces_content),
    Section("cost", "Cost", cost_content, lambda view: bool(view.costs.by_outcome)),
    Section("made", "How it was made", made_content),
)


def sections_of(view: View) -> tuple[Section, ...]:
    """All of them; where the claims are a study's answer, they come right after it."""
    if not view.claims_answer:
        return SECTIONS
    answer, *others = SECTIONS
    claims = next(section for section in others if section.anchor == "claims")
    return answer, claims, *(section for section in others if section is not claims)
