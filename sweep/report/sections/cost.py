"""The section on what the study cost."""

from sweep.analysis.cost.audit import audit_text, saving_text
from sweep.analysis.cost.costs import cost_text
from sweep.analysis.cost.foregone import foregone_text
from sweep.analysis.cost.sharing import sharing_text
from sweep.analysis.cost.spending import elapsed_text, how_evaluated, parts_text
from sweep.report.contents.view import View
from sweep.report.sections.section import Content


def cost_content(view: View) -> Content:
    """Steps and time by outcome and by phase, and what stopping early saved."""
    parts = view.spending.parts
    return Content(
        {
            "view": view,
            "saved_texts": [text for text in (cost_text(view.costs), saving_text(view.audit, view.costs)) if text],
            "audit_texts": [text for text in (audit_text(view.audit), foregone_text(view.foregone)) if text],
            "elapsed_text": elapsed_text(view.spending),
            "sharing_text": sharing_text(view.sharing),
            "parts_text": ""
            if parts is None
            else parts_text(parts, how_evaluated(view.study, view.provenance.data.num_valid)),
        }
    )
