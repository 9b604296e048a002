"""The section on results against the learning rate."""

from sweep.analysis.figures.learning_rate import LR_BINS
from sweep.records import NotKnown, Outcome
from sweep.report.contents.view import View
from sweep.report.panels import lr_panels
from sweep.report.sections.section import Content

SENSITIVITY_NOTE = (
    "How much loss a learning rate drawn from the searched range costs on average, against the best one: 0 % where "
    f"every one does as well, or as badly. The range is cut into {LR_BINS} stretches; those without a trial are "
    "interpolated. An unstable training counts with its loss, L_unif at most."
)


def lr_content(view: View) -> Content:
    """Results against the learning rate, what its choice costs, and where its upper edge was seen."""
    panels = lr_panels(view)
    foregone = 0 if isinstance(view.lr, NotKnown) else view.lr.num_foregone
    words = {
        "view": view,
        "is_ctc": view.study.score is None,
        "result_name": "WER" if view.study.score is None else view.study.score.name,
        "outcomes": [o for o in view.outcomes if o is not Outcome.FOREGONE],
        "lr_panels": panels,
        "sensitivity_note": SENSITIVITY_NOTE,
        "foregone_note": _foregone_note(foregone),
    }
    return Content(words, {"lr": panels})


def _foregone_note(num: int) -> str:
    """That some trainings are not shown; empty where none is left out."""
    if not num:
        return ""
    if num == 1:
        return "1 training that was ended as good as stable is not shown: its end is not known."
    return f"{num} trainings that were ended as good as stable are not shown: their ends are not known."
