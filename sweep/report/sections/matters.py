"""The section on what matters, and its words: which settings can be told from noise, and which act together."""

from collections.abc import Collection, Mapping

from sweep.analysis.figures.parallel import common_text, parallel_info
from sweep.analysis.region.matters import Matters
from sweep.analysis.region.noise import MIN_SETTINGS
from sweep.records import NotKnown
from sweep.report.contents.importance import Question
from sweep.report.contents.view import View
from sweep.report.figures.parallel import draw_parallel
from sweep.report.panels import together_panels
from sweep.report.sections.section import Content
from sweep.wording import plural


def matters_content(view: View) -> Content:
    """What can be told from noise, which settings act together, and all trials as lines."""
    known, table = view.matters, view.importance_table
    panels = together_panels(view)
    lines = parallel_info(view.searched, view.dims, view.study.score)
    drawn = None
    if not isinstance(lines, NotKnown):
        drawn = draw_parallel(lines, view.traced, common_text(view.searched, view.dims))
    words = {
        "outcomes": view.outcomes,
        "names": view.names,
        "importances": table,
        "told": told_text(known, view.names, {column.question for column in table.columns} if table else ()),
        "pairs": known.pairs,
        "pairs_told": pairs_text(known, view.names, not isinstance(view.region, NotKnown)),
        "together_panels": panels,
        "parallel": drawn,
        "parallel_info": lines,
    }
    return Content(words, {"together": panels})


def told_text(matters: Matters, names: Mapping[str, str], questions: Collection[Question]) -> str:
    """Which settings can be told from noise, in a sentence or two.

    Args:
        matters: what can be told.
        names: dotted path -> short name.
        questions: those that the table has shares for: what it does not show is not claimed.
    """
    if matters.stability is None or matters.result is None:
        was = "was" if matters.num_settings == 1 else "were"
        return (
            f"{plural(matters.num_settings, 'different setting')} {was} judged: too few to tell any influence from "
            f"noise (at least {MIN_SETTINGS})."
        )
    stability, result = (_listed(names, told) for told in (matters.stability, matters.result))
    if not stability and not result:
        return (
            f"No setting can be told from noise, neither for stability nor for the result: with "
            f"{matters.num_settings} settings tried, chance alone looks like this as well."
        )
    if "result" not in questions and stability:
        return f"Stability depends on {stability}."
    if stability == result:
        return f"Stability and the result depend on {stability}."
    stable = f"Stability depends on {stability}" if stability else "For stability no setting can be told from noise"
    depends = f"the result depends on {result}" if result else "for the result no setting can be told from noise"
    return f"{stable}; {depends}."


def pairs_text(matters: Matters, names: Mapping[str, str], has_model: bool) -> str:
    """Which settings decide stability together, in a sentence; empty where nobody could look."""
    if not has_model or len(names) < 2:
        return ""
    if not matters.pairs:
        return "No two settings can be told to act together on stability: where they seem to, chance does as much."
    first, second = (names.get(path, path) for path in matters.pairs[0].paths)
    return f"On stability {first} and {second} act together: how much one of them may be depends on the other."


def _listed(names: Mapping[str, str], told: frozenset[str]) -> str:
    words = [name for path, name in names.items() if path in told]
    return " and ".join(filter(None, (", ".join(words[:-1]), *words[-1:])))
