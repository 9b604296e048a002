"""Everything that the page shows, as plain data: reads the results folder and asks the analysis."""

import dataclasses
import functools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from slr_models.errors import ResultsError
from sweep import store
from sweep.analysis.answer.pareto import ParetoRow, pareto_front
from sweep.analysis.answer.recipe import recipe
from sweep.analysis.answer.recommend import Recommendation, recommend
from sweep.analysis.answer.snippet import snippet
from sweep.analysis.answer.unsafe import LrBracket, lr_brackets
from sweep.analysis.claims.pairs import num_cells
from sweep.analysis.claims.verdict import ClaimFinding, judge
from sweep.analysis.cost.audit import AuditResult, audit
from sweep.analysis.cost.costs import Costs, costs
from sweep.analysis.cost.spending import Spending, Timed, spending
from sweep.analysis.failures.causes import OutcomeCauses, causes_by_outcome
from sweep.analysis.failures.health import health_warnings
from sweep.analysis.figures.course import (
    EVAL_COLUMNS,
    MAX_POINTS,
    STEP_COLUMNS,
    CourseRows,
    examples,
    points_kept,
    trace,
    traced_trials,
)
from sweep.analysis.figures.learning_rate import LrInfo, LrSensitivity, lr_info, lr_sensitivity
from sweep.analysis.figures.stability_map import MapInfo, map_info
from sweep.analysis.region.region import Region
from sweep.analysis.region.region import RegionPanel as Grid
from sweep.analysis.trials.dimensions import Dimension, dimensions, learning_rate, panel_dimension
from sweep.analysis.trials.groups import SettingGroup, setting_groups
from sweep.analysis.trials.outcomes import OutcomeCounts, judged, mapped, outcome_counts
from sweep.records import Explanation, Metric, Phase
from sweep.report.contents.failures import Failures, failures
from sweep.report.contents.stable_region import StableRegion, stable_region
from sweep.store.ledger_lines import LEDGER_FILE, elapsed_s

MAX_TIMED = 300
"""Trials whose steps and evaluations are timed: reading a file of each takes milliseconds."""
MAX_OTHER_MARKS = 20_000
"""Marks on all maps but the first: a large study has fewer maps."""


@dataclass(frozen=True)
class MapPlane:
    """The map over two settings."""

    info: MapInfo
    grids: tuple[Grid, ...]
    """P(stable), one a panel; none without a model of the boundary."""

    @property
    def name(self) -> str:
        """`learning rate and clip norm`."""
        return self.info.x.name + (f" and {self.info.y.name}" if self.info.y else "")


@dataclass(frozen=True)
class View:
    """What the page shows."""

    study: dict[str, Any]
    """study.yaml without `provenance`."""
    provenance: dict[str, Any]
    trials: pd.DataFrame
    """All finished trials, also pruned ones and those at full size."""
    dims: tuple[Dimension, ...]
    panel: Dimension | None
    recommendation: Recommendation
    """Of a study whose answer is its claims: none."""
    findings: tuple[ClaimFinding, ...]
    """What became of the study's claims, in their order."""
    groups: tuple[SettingGroup, ...]
    recipe_yaml: str | None
    snippet: str | None
    """The recommended settings as PyTorch code."""
    total: OutcomeCounts
    """Of the searched space: trials at full size are counted in `num_full_size` alone."""
    brackets: tuple[LrBracket, ...]
    lr: LrInfo | str
    """Or why there is no such figure."""
    lr_sensitivity: tuple[LrSensitivity, ...]
    stability: MapInfo | str
    """The map, or why there is none."""
    other_planes: tuple[MapPlane, ...]
    """The map over other pairs of settings."""
    stable_region: StableRegion
    importance: Mapping[str, Mapping[str, float]]
    """Measure -> dotted path -> share; empty where the study has none yet."""
    front: tuple[ParetoRow, ...]
    """The best results for their cost, where the search looked at both."""
    costs: Costs
    audit: AuditResult
    spending: Spending
    explanations: Mapping[str, Explanation]
    """Of bad trials, by trial id."""
    causes: tuple[OutcomeCauses, ...]
    failures: Failures
    """Where and how trainings failed, with one of them traced."""
    examples: tuple[tuple[str, str], ...]
    """Trials worth a look: (label, trial id)."""
    traces: tuple[CourseRows, ...]
    warnings: Mapping[str, tuple[str, ...]]
    """Of the bad trials among the traces, by trial id: where their numbers came near their limits."""
    num_planned: int | None
    """Trials that the study's budget allows before confirmation; None if it does not say."""
    num_explored: int
    num_confirming: int
    num_full_size: int

    @property
    def planes(self) -> tuple[MapPlane, ...]:
        """The map over two settings, first over those that its edges are told of; none where there is no map."""
        if isinstance(self.stability, str):
            return ()
        return (MapPlane(self.stability, self.region.panels if self.region else ()), *self.other_planes)

    @property
    def is_experiment(self) -> bool:
        """Whether the trainings were designed to settle claims."""
        return bool(self.study.get("design"))

    @property
    def claims_answer(self) -> bool:
        """Whether the claims are the study's answer, since it recommends nothing."""
        return _claims_answer(self.study)

    @property
    def shows_map(self) -> bool:
        """Whether there is a numeric setting to draw over: in an experiment, one that was drawn, not a factor."""
        factors = (self.study.get("design") or {}).get("factors") or {}
        fixed = {path for levels in factors.values() for settings in levels.values() for path in settings}
        return not fixed or any(dim.kind == "number" and dim.path not in fixed for dim in self.dims)

    @property
    def shows_lr(self) -> bool:
        """Whether results stand against the learning rate; a study without a design says why not."""
        return not self.is_experiment or not isinstance(self.lr, str)

    @property
    def searched(self) -> pd.DataFrame:
        """The trials of the searched space: without those at full size."""
        return self.trials[self.trials["phase"] != Phase.FULL_SIZE]

    @property
    def region(self) -> Region | None:
        """Where training is stable; None where there is no model."""
        return None if isinstance(self.stable_region.region, str) else self.stable_region.region


@dataclass(frozen=True)
class FolderContent:
    """What a results folder held when it was read."""

    folder: Path
    study: dict[str, Any]
    """study.yaml without `provenance`."""
    provenance: dict[str, Any]
    trials: pd.DataFrame
    """All finished trials, each with the newest known cause."""
    explanations: Mapping[str, Explanation]
    """Of bad trials, by trial id."""


def read_source(results_dir: Path) -> FolderContent:
    """Reads the study and its trials, quickly; `view_of` makes all that the page shows of it, which takes seconds.

    Raises:
        ResultsError: it is not the results folder of a study.
    """
    study = store.read_study(results_dir)
    provenance = dict(study.pop("provenance", None) or {})
    trials = _trials(results_dir)
    explanations = _explanations(results_dir, trials)
    # An explanation may be younger than the trial's row.
    trials["cause"] = [
        explanations[t].text if t in explanations else c
        for t, c in zip(trials["trial_id"], trials["cause"], strict=True)
    ]
    return FolderContent(results_dir, study, provenance, trials, explanations)


def load_view(results_dir: Path) -> View:
    """Reads a results folder.

    Raises:
        ResultsError: it is not the results folder of a study.
    """
    return view_of(read_source(results_dir))


def view_of(source: FolderContent) -> View:
    """Asks the analysis.

    Raises:
        ResultsError: a file of the folder is damaged.
    """
    results_dir, study, provenance = source.folder, source.study, source.provenance
    trials, explanations = source.trials, source.explanations
    space = dict(study.get("space") or {})
    searched = trials[trials["phase"] != Phase.FULL_SIZE]
    dims = dimensions(space, searched)
    panel, lr = panel_dimension(dims), learning_rate(dims)
    metric: Metric = "val_loss" if study.get("objective") == "val_loss" else "wer"
    candidates = searched.iloc[:0] if _claims_answer(study) else searched
    recommendation = recommend(candidates, space, metric, _safety(study))
    chosen = recommendation.chosen
    known_region = stable_region(trials, study, dims, panel, recommendation.setting)
    found = known_region.region
    recipe_yaml = _recipe_yaml(results_dir, recommendation, study) if chosen else None
    shown = tuple(examples(trials, chosen.group.best_trial_id if chosen else None))
    traced = traced_trials(trials, [t for _, t in shown])
    audited = audit(searched)
    return View(
        study=study,
        provenance=provenance,
        trials=trials,
        dims=dims,
        panel=panel,
        recommendation=recommendation,
        findings=tuple(judge(trials, study, functools.partial(store.read_evals, results_dir)))
        if study.get("claims")
        else (),
        groups=tuple(setting_groups(judged(searched), dims)) if len(searched) else (),
        recipe_yaml=recipe_yaml,
        snippet=_snippet(results_dir, recipe_yaml) if recipe_yaml else None,
        total=outcome_counts(searched),
        brackets=tuple(lr_brackets(mapped(searched), lr, panel)) if lr else (),
        lr=_lr(searched, lr, panel, provenance),
        lr_sensitivity=lr_sensitivity(searched, lr, panel) if lr else (),
        stability=map_info(searched, dims, panel, None if isinstance(found, str) else (found.along, found.y)),
        other_planes=_other_planes(searched, dims, panel, found),
        stable_region=known_region,
        importance=store.read_importance(results_dir),
        front=_front(searched, study, space, metric),
        costs=costs(trials),
        audit=audited,
        spending=spending(
            trials,
            audited,
            _timed(results_dir, traced),
            bool(study.get("design")),
            elapsed_s(results_dir),
            provenance.get("num_lanes"),
        ),
        explanations=explanations,
        causes=tuple(causes_by_outcome(judged(searched), explanations)),
        failures=failures(results_dir, study, trials, dims, panel, explanations),
        examples=shown,
        traces=tuple(read_traces(results_dir, traced, points_kept(len(traced)))),
        warnings=_warnings(results_dir, trials, traced),
        num_planned=_num_planned(study),
        num_explored=int((searched["phase"] != Phase.CONFIRM).sum()),
        num_confirming=int((searched["phase"] == Phase.CONFIRM).sum()),
        num_full_size=len(trials) - len(searched),
    )


def _other_planes(
    trials: pd.DataFrame, dims: tuple[Dimension, ...], panel: Dimension | None, found: Region | str
) -> tuple[MapPlane, ...]:
    if isinstance(found, str):
        return ()
    num = MAX_OTHER_MARKS // max(len(trials), 1)
    maps = ((map_info(trials, dims, panel, (plane.x, plane.y)), plane) for plane in found.others[:num])
    return tuple(MapPlane(info, plane.panels) for info, plane in maps if not isinstance(info, str))


def _claims_answer(study: Mapping[str, Any]) -> bool:
    """Whether a study has claims to settle and nothing to recommend: only what is confirmed is recommended there."""
    return bool(study.get("design")) and not (study.get("confirm") or {}).get("settings")


def _num_planned(study: Mapping[str, Any]) -> int | None:
    design, budget = study.get("design"), study.get("budget") or {}
    if not design:
        return int(budget["trials"]) if budget.get("trials") else None
    return int(design["blocks"]) * num_cells(design)


def _safety(study: Mapping[str, Any]) -> tuple[float, float] | None:
    """The study's safety rule; None for the results of a version without one."""
    rule = study.get("safety")
    return (float(rule["lr_factor"]), float(rule["p_stable"])) if rule else None


def _front(
    trials: pd.DataFrame, study: Mapping[str, Any], space: Mapping[str, Any], metric: Metric
) -> tuple[ParetoRow, ...]:
    search = study.get("search") or {}
    if search.get("kind") != "nsga2":
        return ()
    return pareto_front(trials, space, metric, search["cost"])


def _snippet(results_dir: Path, recipe_yaml: str) -> str | None:
    """The folder's own code where its recipe is shown, else code made from the recipe.

    None where the recipe leaves fields to their defaults, which the training code alone knows: a setting changed a
    kind there, and the study has not ended yet.
    """
    recipe_path, path = results_dir / "recipe.yaml", results_dir / "recipe.py"
    if path.is_file() and recipe_path.is_file() and recipe_path.read_text(encoding="utf-8") == recipe_yaml:
        return path.read_text(encoding="utf-8")
    content = yaml.safe_load(recipe_yaml) or {}
    try:
        return snippet(content["training"], content["model"])
    except KeyError:
        return None


def _trials(results_dir: Path) -> pd.DataFrame:
    """The finished trials; none while the first ones still run."""
    if (results_dir / "trials.parquet").is_file():
        return store.read_trials(results_dir)
    ledger = results_dir / LEDGER_FILE
    if ledger.is_file() and b'"event": "tell"' in ledger.read_bytes():
        raise ResultsError(
            f"{results_dir / 'trials.parquet'} is missing, but {ledger.name} holds results: run the study's command "
            f"again, it writes the table anew"
        )
    empty: pd.DataFrame = store.TRIAL_SCHEMA.empty_table().to_pandas()
    return empty


def _explanations(results_dir: Path, trials: pd.DataFrame) -> dict[str, Explanation]:
    """Why the bad trials went bad, as far as anybody looked."""
    ends = judged(trials)
    bad = [str(t) for t in ends["trial_id"][~ends["stable"].astype(bool)]]
    found = {trial_id: store.read_explanation(results_dir, trial_id) for trial_id in bad}
    return {trial_id: explanation for trial_id, explanation in found.items() if explanation is not None}


def _timed(results_dir: Path, trial_ids: Sequence[str]) -> Iterator[Timed]:
    """What the records of at most MAX_TIMED of these trials, evenly spread, say of their time."""
    for trial_id in trial_ids[:: 1 + max(len(trial_ids) - 1, 0) // MAX_TIMED]:
        steps = store.read_columns(results_dir, "steps", trial_id, ("time_s",))
        if steps is not None:
            evals = store.read_columns(results_dir, "evals", trial_id, ("time_s",))
            yield Timed(trial_id, float(steps["time_s"].sum()), 0.0 if evals is None else float(evals["time_s"].sum()))


def _warnings(results_dir: Path, trials: pd.DataFrame, trial_ids: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """What the numeric health of the bad ones of these trials warned of, where it was sampled and did."""
    bad = set(trials["trial_id"][~trials["stable"].astype(bool)].astype(str))
    sampled = [t for t in trial_ids if t in bad and (results_dir / "health" / f"{t}.parquet").is_file()]
    found = {t: tuple(health_warnings(store.read_health(results_dir, t))) for t in sampled}
    return {trial_id: warnings for trial_id, warnings in found.items() if warnings}


def _lr(
    trials: pd.DataFrame, lr: Dimension | None, panel: Dimension | None, provenance: Mapping[str, Any]
) -> LrInfo | str:
    if lr is None:
        return "This study does not search the learning rate, so there is nothing to plot against it."
    info = lr_info(trials, lr, panel)
    return dataclasses.replace(
        info,
        l_const=_known_or(info.l_const, provenance.get("l_const")),
        l_unif=_known_or(info.l_unif, provenance.get("l_unif")),
    )


def _known_or(value: float, other: Any) -> float:
    return float(other) if math.isnan(value) and isinstance(other, int | float) else value


def _recipe_yaml(results_dir: Path, recommendation: Recommendation, study: Mapping[str, Any]) -> str:
    """The folder's own recipe where it is about the recommended trials, else one made from the study."""
    path = results_dir / "recipe.yaml"
    chosen = recommendation.chosen
    assert chosen is not None, "a recipe needs a recommendation"
    if path.is_file():
        text = path.read_text(encoding="utf-8")
        content = yaml.safe_load(text) or {}
        evidence = (content.get("provenance") or {}).get("evidence") or {}
        if evidence.get("trials") == list(chosen.group.trial_ids):
            return text
    text = yaml.safe_dump(recipe(recommendation, study), sort_keys=False, allow_unicode=True, width=100)
    return text


def read_traces(results_dir: Path, trial_ids: Iterable[str], max_points: int = MAX_POINTS) -> Iterator[CourseRows]:
    """The courses of these trials, in their order; a trial that left no records has none."""
    for trial_id in trial_ids:
        steps = store.read_columns(results_dir, "steps", trial_id, STEP_COLUMNS)
        # Its process may have died before it wrote any.
        if steps is not None:
            evals = store.read_columns(results_dir, "evals", trial_id, EVAL_COLUMNS)
            yield trace(trial_id, steps, evals, max_points)
