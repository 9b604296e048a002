"""What follows from the finished trials at the end of a run: recommendation, recipe, map, claims."""

import math
from collections.abc import Iterator, Sequence

from sweep import store, yaml_source
from sweep.analysis.answer.recipe import recipe
from sweep.analysis.answer.recommend import Recommendation, recommend
from sweep.analysis.answer.safe_setting import rule_of
from sweep.analysis.answer.script import script
from sweep.analysis.claims.verdict import ClaimFinding, to_json
from sweep.analysis.cost.sharing import sharing, sharing_text
from sweep.analysis.region.region import region_tables
from sweep.records import NotKnown
from sweep.report.contents.view import View, load_view
from sweep.report.sections.claims import headline, terminal_lines
from sweep.running.course import is_full_size_test
from sweep.running.session import StudySession
from sweep.study import LoadedStudy
from sweep.wording import settings_line


def conclude(session: StudySession, loaded: LoadedStudy) -> tuple[Recommendation, Sequence[ClaimFinding], View]:
    """Writes what follows from the finished trials, besides the report.

    Returns:
        It, what became of the claims, and what the report shows, which need not be found out again.
    """
    results_dir, study = session.results_dir, session.study
    session.write_trials()
    content = store.read_study(results_dir)
    content["provenance"].pop("exploration_ended", None)
    if session.stop_reason is not None:
        content["provenance"]["exploration_ended"] = session.stop_reason
    store.write_study(results_dir, content)
    view = load_view(results_dir)
    evidence = view.evidence
    if view.claims_answer:
        answer = recommend(evidence, study.metric, rule_of(study))
    else:
        answer = view.recommendation
    recipe_path, script_path = results_dir / "recipe.yaml", results_dir / "recipe.py"
    # A design without a confirmation compares; what it would recommend, nobody has tried with fresh seeds.
    if answer.chosen is not None and study.recommends:
        settings = session.settings(answer.chosen.group.group)
        if study.own is not None:
            sections = {"trial": {**content["trial"], "config": loaded.own_config(settings).values}}
            script_path.unlink(missing_ok=True)
        else:
            sections = loaded.trial_config(settings).model_dump(mode="json", by_alias=True)
            store.write_text(script_path, script(sections["training"], sections["model"]))
        made = recipe(answer, content, evidence.space, sections, study.score)
        store.write_text(recipe_path, yaml_source.dump_study(made))
    else:
        recipe_path.unlink(missing_ok=True)
        script_path.unlink(missing_ok=True)
    if isinstance(view.region, NotKnown):
        store.remove_map(results_dir)
    else:
        store.write_map(results_dir, *region_tables(view.region))
    store.write_importance(results_dir, session.importances())
    if study.design is not None:
        store.write_claims(results_dir, to_json(view.findings))
    return answer, view.findings, view


def details(
    session: StudySession,
    answer: Recommendation,
    findings: Sequence[ClaimFinding] = (),
    caveats: Sequence[str] = (),
) -> Iterator[str]:
    """What a person should know of the answer besides its headline: the claims, a line each, among it.

    Args:
        session: the study.
        answer: which setting to use.
        findings: what became of the study's claims.
        caveats: what the report says beside the answer, a sentence each.
    """
    if session.stop_reason is not None:
        yield f"The {'exploration' if session.study.design is None else 'study'} ended early: {session.stop_reason}."
    if findings and session.study.recommends:
        yield headline(findings)
    yield from terminal_lines(findings)
    if session.study.recommends:
        if answer.safety is not None:
            margin = answer.safety.margin_decades
            yield answer.safety.why + (f" Margin: {margin:.2f} decades." if math.isfinite(margin) else "")
        yield from caveats
    if text := sharing_text(sharing(store.read_trials(session.results_dir), session.study)):
        yield text
    if session.full_size_problem is not None:
        yield f"Nothing was tested at full size: {session.full_size_problem}"
    full_size = session.study.full_size
    tests = sorted((r for r in session.results if is_full_size_test(full_size, r)), key=lambda r: r.number)
    for test in tests:
        where = "below" if test.group == tests[0].group else "above"
        outcome = f"stable, WER {test.wer:.2f}" if test.stable else f"{test.verdict.value}: {test.reason}"
        trial = f"trial {test.trial_id} {settings_line(test.settings)}"
        yield f"At full size, {where} the predicted edge, {trial}: {outcome}"
