"""Everything that the page shows, as plain data: asks the analysis, each question when its answer is first wanted."""

import dataclasses
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import TypeAdapter, ValidationError

from slr_models.errors import SettingError
from slr_models.models import ModelConfig
from sweep import yaml_source
from sweep.analysis.answer.pareto import ParetoRow, pareto_front
from sweep.analysis.answer.recipe import recipe
from sweep.analysis.answer.recommend import Recommendation, recommend
from sweep.analysis.answer.safe_setting import safety_rule
from sweep.analysis.answer.snippet import snippet
from sweep.analysis.answer.unsafe import LrBracket, lr_brackets
from sweep.analysis.claims.verdict import ClaimFinding, judge
from sweep.analysis.cost.audit import AuditResult, audit
from sweep.analysis.cost.costs import Costs, costs
from sweep.analysis.cost.foregone import ForegoneResult, foregone_labels
from sweep.analysis.cost.sharing import GpuSharing, sharing
from sweep.analysis.cost.spending import Spending, Timed, spending
from sweep.analysis.failures.causes import OutcomeCauses, causes_by_outcome
from sweep.analysis.figures.course import CourseRows, examples, points_kept, traced_trials
from sweep.analysis.figures.learning_rate import LrInfo, LrSensitivity, lr_info, lr_sensitivity
from sweep.analysis.figures.stability_map import MapInfo, map_info
from sweep.analysis.region.evidence import Evidence
from sweep.analysis.region.matters import Matters, matters
from sweep.analysis.region.region import Region, region
from sweep.analysis.region.region import RegionPanel as Grid
from sweep.analysis.trials.carried import prior_of, warm_start_of
from sweep.analysis.trials.dimensions import Dimension
from sweep.analysis.trials.groups import SettingGroup, setting_groups
from sweep.analysis.trials.outcomes import OutcomeCounts, failed, judged, mapped, outcome_counts
from sweep.analysis.trials.tried import as_searched
from sweep.forensics.health_alerts import health_warnings
from sweep.records import Explanation, NotKnown, Outcome, Phase
from sweep.report.contents.failures import Failures, failures
from sweep.report.contents.files import Files
from sweep.report.contents.folder import FolderContent, read_source, read_traces
from sweep.report.contents.importance import ImportanceTable, importance_table
from sweep.report.contents.transfer import Transfer, transfer
from sweep.search import Nsga2Search
from sweep.store.prior import NOTHING, CarriedOver
from sweep.study.design import num_trainings
from sweep.study.loaded import LoadedStudy
from sweep.study.reading import Provenance, StoredStudy
from sweep.study.settings import Study
from sweep.training.config import TrainingConfig
from sweep.yaml_source import YamlSource

MAX_TIMED = 300
"""Trials whose steps and evaluations are timed: reading a file of each takes milliseconds."""
MAX_OTHER_MARKS = 20_000
"""Marks on all maps but the first: a large study has fewer maps."""
_MODEL: TypeAdapter[ModelConfig] = TypeAdapter(ModelConfig)


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


@dataclass(frozen=True, eq=False)
class View:
    """What the page shows.

    Each part is made when it is first asked for, and once: what one part of the page cannot have costs the others
    nothing. A file that is damaged counts as one that is not there; `damaged` tells of it.
    """

    source: FolderContent

    @property
    def stored(self) -> StoredStudy:
        """The study as its folder has it."""
        return self.source.stored

    @property
    def study(self) -> Study:
        """What was asked for."""
        return self.stored.study

    @property
    def provenance(self) -> Provenance:
        """Where the results come from."""
        return self.stored.provenance

    @property
    def trials(self) -> pd.DataFrame:
        """All finished trials, also open ends and those at full size."""
        return self.source.trials

    @property
    def explanations(self) -> Mapping[str, Explanation]:
        """Of bad trials, by trial id."""
        return self.source.explanations

    @property
    def damaged(self) -> tuple[str, ...]:
        """What is wrong with the damaged files that were met so far, and what to do: a sentence each."""
        return self.source.files.damaged

    @cached_property
    def evidence(self) -> Evidence:
        """What all answers rest on."""
        return Evidence(self.trials, self.study.searched, prior_of(self._carried), self.study.score)

    @cached_property
    def _carried(self) -> CarriedOver:
        return self.source.files.prior() if warm_start_of(self.study) else NOTHING

    @cached_property
    def others(self) -> list[tuple[str, int, float]]:
        """Of each study that the map learns from as well: its name, its trials, and how far they are believed."""
        model, counts = self.evidence.model, Counter(one.source for one in self._carried.trials)
        if isinstance(model, NotKnown):
            return []
        return [(name, counts[k], model.shared(k + 1)) for k, name in enumerate(self._carried.sources)]

    @property
    def dims(self) -> tuple[Dimension, ...]:
        """The searched settings."""
        return self.evidence.dims

    @property
    def names(self) -> Mapping[str, str]:
        """Dotted path of a searched setting -> short name."""
        return self.evidence.names

    @property
    def panel(self) -> Dimension | None:
        """The category that panels are split by."""
        return self.evidence.panel

    @cached_property
    def searched(self) -> pd.DataFrame:
        """The trials of the searched space: without those at full size."""
        return self.trials[self.trials["phase"] != Phase.FULL_SIZE]

    @property
    def num_explored(self) -> int:
        """Trials of the search or the experiment."""
        return int((self.searched["phase"] != Phase.CONFIRM).sum())

    @property
    def num_confirming(self) -> int:
        """Trials that repeat a setting with fresh seeds."""
        return int((self.searched["phase"] == Phase.CONFIRM).sum())

    @property
    def num_full_size(self) -> int:
        """Trials at full size."""
        return len(self.trials) - len(self.searched)

    @property
    def num_planned(self) -> int:
        """Trials that the study's budget allows before confirmation."""
        return self.study.budget.trials if self.study.design is None else num_trainings(self.study.design)

    @property
    def is_experiment(self) -> bool:
        """Whether the trainings were designed to settle claims."""
        return self.study.design is not None

    @property
    def claims_answer(self) -> bool:
        """Whether the claims are the study's answer: only what is confirmed is recommended in an experiment."""
        return not self.study.recommends

    @property
    def shows_map(self) -> bool:
        """Whether there is a numeric setting to draw over: in an experiment, one that was drawn, not a factor."""
        factors = {} if self.study.design is None else self.study.design.factors
        fixed = {path for levels in factors.values() for settings in levels.values() for path in settings}
        return not fixed or any(dim.kind == "number" and dim.path not in fixed for dim in self.dims)

    @property
    def shows_lr(self) -> bool:
        """Whether results stand against the learning rate; a study without a design says why not."""
        return not self.is_experiment or self.evidence.lr is not None

    @cached_property
    def recommendation(self) -> Recommendation:
        """Of a study whose answer is its claims: none."""
        return recommend(
            self.evidence.nothing() if self.claims_answer else self.evidence,
            self.study.metric,
            safety_rule(self.stored),
            self.study,
        )

    @cached_property
    def findings(self) -> tuple[ClaimFinding, ...]:
        """What became of the study's claims, in their order."""
        return tuple(judge(self.trials, self.study, self.source.files.eval_frame))

    @cached_property
    def groups(self) -> tuple[SettingGroup, ...]:
        """All judged settings, also those that a scheduler changed on the way."""
        return tuple(setting_groups(judged(self.searched), self.dims)) if len(self.searched) else ()

    @cached_property
    def recipe_yaml(self) -> str | None:
        """The folder's own recipe where it is about the recommended trials, else one made from the study."""
        chosen = self.recommendation.chosen
        if chosen is None:
            return None
        known = self.source.files.recipe()
        if known is not None and _trials_of(known[1]) == list(chosen.group.trial_ids):
            return known[0]
        content, space, sections = self.stored.content, self.evidence.space, None
        if self.study.own is not None:
            typed = {path: as_searched(value, space[path]) for path, value in self.recommendation.setting.items()}
            given = {path: value for path, value in typed.items() if value is not None}
            loaded = LoadedStudy(self.study, YamlSource("study.yaml", dict(content), {}))
            sections = {"trial": {**content["trial"], "config": loaded.own_config(given).values}}
        return yaml_source.dump_study(recipe(self.recommendation, content, space, sections, self.study.score))

    @cached_property
    def snippet(self) -> str | None:
        """The recommended settings as PyTorch code."""
        return None if self.recipe_yaml is None else _snippet(self.recipe_yaml)

    @cached_property
    def total(self) -> OutcomeCounts:
        """Of the searched space: trials at full size are counted in `num_full_size` alone."""
        return outcome_counts(self.searched)

    @property
    def outcomes(self) -> list[Outcome]:
        """Those that occurred, good ends first."""
        return [outcome for outcome in Outcome if outcome in self.total.counts]

    @cached_property
    def brackets(self) -> tuple[LrBracket, ...]:
        """Where the upper edge of the learning rate was seen."""
        lr = self.evidence.lr
        return tuple(lr_brackets(mapped(self.searched), lr, self.panel)) if lr else ()

    @cached_property
    def lr(self) -> LrInfo | NotKnown:
        """The results against the learning rate."""
        lr = self.evidence.lr
        if lr is None:
            return NotKnown("This study does not search the learning rate, so there is nothing to plot against it.")
        info = lr_info(self.searched, lr, self.panel, self.study.score)
        return dataclasses.replace(
            info,
            l_const=_known_or(info.l_const, self.provenance.l_const),
            l_unif=_known_or(info.l_unif, self.provenance.l_unif),
        )

    @cached_property
    def lr_sensitivity(self) -> tuple[LrSensitivity, ...]:
        """What the choice of the learning rate costs, by level."""
        lr = self.evidence.lr
        return lr_sensitivity(self.searched, lr, self.panel, self.study.score) if lr else ()

    @cached_property
    def region(self) -> Region | NotKnown:
        """Where training is stable."""
        return region(self.evidence)

    @cached_property
    def stability(self) -> MapInfo | NotKnown:
        """The trials on the map."""
        axes = None if isinstance(self.region, NotKnown) else (self.region.along, self.region.y)
        return map_info(self.searched, self.dims, self.panel, axes)

    @cached_property
    def planes(self) -> tuple[MapPlane, ...]:
        """The map over two settings, first over those that its edges are told of; none where there is no map."""
        if isinstance(self.stability, NotKnown):
            return ()
        if isinstance(self.region, NotKnown):
            return (MapPlane(self.stability, ()),)
        num = MAX_OTHER_MARKS // max(len(self.searched), 1)
        maps = (
            (map_info(self.searched, self.dims, self.panel, (plane.x, plane.y)), plane)
            for plane in self.region.others[:num]
        )
        others = (MapPlane(info, plane.panels) for info, plane in maps if not isinstance(info, NotKnown))
        return (MapPlane(self.stability, self.region.panels), *others)

    @cached_property
    def transfer(self) -> Transfer | None:
        """How the edge moves with the model's width; None where the study does not ask for a full size."""
        full_size = self.study.full_size
        return transfer(self.evidence, self.region, full_size, self.recommendation.setting) if full_size else None

    @cached_property
    def matters(self) -> Matters:
        """Which settings can be told from noise."""
        return matters(self.evidence, self.region)

    @cached_property
    def importance(self) -> Mapping[str, Mapping[str, float]]:
        """Measure -> dotted path -> share; empty where the study has none yet."""
        return self.source.files.importance()

    @cached_property
    def importance_table(self) -> ImportanceTable | None:
        """How much each setting matters; None where no measure is known."""
        return importance_table(self.region, self.importance, self.dims, self.matters)

    @cached_property
    def front(self) -> tuple[ParetoRow, ...]:
        """The best results for their cost, where the search looked at both."""
        search = self.study.search
        if not isinstance(search, Nsga2Search):
            return ()
        return pareto_front(self.evidence, self.study.metric, search.cost)

    @cached_property
    def costs(self) -> Costs:
        """Steps and time by outcome."""
        return costs(self.trials)

    @cached_property
    def audit(self) -> AuditResult:
        """How often alarms were right."""
        return audit(self.searched)

    @cached_property
    def foregone(self) -> ForegoneResult:
        """How often it was right to call a training stable before its end."""
        return foregone_labels(self.searched)

    @cached_property
    def spending(self) -> Spending:
        """Where the time went."""
        return spending(
            self.trials,
            self.audit,
            _timed(self.source.files, self._to_trace),
            self.is_experiment,
            self.source.files.elapsed_s(),
            self.provenance.num_lanes,
        )

    @cached_property
    def sharing(self) -> tuple[GpuSharing, ...]:
        """How fast trainings were that shared a GPU."""
        return sharing(self.trials, self.study)

    @cached_property
    def causes(self) -> tuple[OutcomeCauses, ...]:
        """What was found to be the cause, by outcome."""
        return tuple(causes_by_outcome(judged(self.searched), self.explanations))

    @cached_property
    def failures(self) -> Failures:
        """Where and how trainings failed, with one of them traced."""
        return failures(self.source.files, self.stored, self.evidence, self.explanations)

    @cached_property
    def examples(self) -> tuple[tuple[str, str], ...]:
        """Trials worth a look: (label, trial id)."""
        chosen = self.recommendation.chosen
        return tuple(examples(self.trials, chosen.group.best_trial_id if chosen else None))

    @cached_property
    def _to_trace(self) -> tuple[str, ...]:
        """Trials whose courses are in the page, if they left records."""
        return tuple(traced_trials(self.trials, [trial_id for _, trial_id in self.examples]))

    @cached_property
    def traced(self) -> frozenset[str]:
        """Trials whose courses are in the page."""
        return frozenset(trace.trial_id for trace in self.traces)

    @cached_property
    def traces(self) -> tuple[CourseRows, ...]:
        """Their courses."""
        return tuple(read_traces(self.source.files, self._to_trace, points_kept(len(self._to_trace))))

    @cached_property
    def warnings(self) -> Mapping[str, tuple[str, ...]]:
        """Of the bad trials among them, by trial id: where their numbers came near their limits."""
        bad = set(failed(self.trials)["trial_id"].astype(str))
        sampled = {t: self.source.files.health(t) for t in self._to_trace if t in bad}
        found = {t: tuple(health_warnings(rows)) for t, rows in sampled.items() if rows is not None}
        return {trial_id: warnings for trial_id, warnings in found.items() if warnings}


def load_view(results_dir: Path) -> View:
    """Reads a results folder.

    Raises:
        ResultsError: it is not the results folder of a study.
    """
    return View(read_source(results_dir))


def _snippet(recipe_yaml: str) -> str | None:
    """Code made of a recipe's settings; None where they are not settings of this version.

    A recipe may come with a folder from anywhere, and readers copy this code: no text of it gets in, and no recipe.py
    beside it is shown in its place.
    """
    try:
        content = yaml_source.parse(recipe_yaml, "recipe.yaml").content
        training = TrainingConfig.model_validate(content.get("training", {}))
        model = _MODEL.validate_python(content["model"])
        return snippet(training.model_dump(mode="json"), model.model_dump(mode="json"))
    except (SettingError, KeyError, TypeError, ValidationError):
        return None


def _trials_of(recipe: Mapping[str, Any]) -> Any:
    """The trials that a recipe names as its evidence; None where it names none."""
    made = recipe.get("provenance")
    evidence = made.get("evidence") if isinstance(made, Mapping) else None
    return evidence.get("trials") if isinstance(evidence, Mapping) else None


def _timed(files: Files, trial_ids: Sequence[str]) -> Iterator[Timed]:
    """What the records of at most MAX_TIMED of these trials, evenly spread, say of their time."""
    for trial_id in trial_ids[:: 1 + max(len(trial_ids) - 1, 0) // MAX_TIMED]:
        steps = files.columns("steps", trial_id, ("time_s",))
        if steps is not None:
            evals = files.columns("evals", trial_id, ("time_s",))
            yield Timed(trial_id, float(steps["time_s"].sum()), 0.0 if evals is None else float(evals["time_s"].sum()))


def _known_or(value: float, other: float | None) -> float:
    return other if math.isnan(value) and other is not None else value
