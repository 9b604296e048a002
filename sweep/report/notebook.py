"""A results folder in a notebook: tables as pandas frames, and the report's figures as Plotly figures.

`sweep.load("results/x")` gives a `Results`. Needs neither torch, Ray nor Optuna.
"""

import copy
import html
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import plotly.graph_objects as go

from slr_models.errors import ResultsError
from sweep import store
from sweep.analysis.answer.recommend import Recommendation
from sweep.analysis.figures.parallel import parallel_info
from sweep.analysis.region.region import region_tables
from sweep.analysis.trials.dimensions import Dimension
from sweep.analysis.trials.outcomes import open_ends_text
from sweep.records import NotKnown, Outcome
from sweep.report.contents.files import Files
from sweep.report.contents.folder import FolderContent, read_source, read_traces
from sweep.report.contents.importance import ImportanceTable
from sweep.report.contents.view import View
from sweep.report.figures.combined import ALONE, combined
from sweep.report.figures.course import course_figure
from sweep.report.figures.importance import importance_figure
from sweep.report.figures.panel import Panel
from sweep.report.figures.parallel import parallel_figure
from sweep.report.panels import (
    headroom_panels,
    loss_scale_panels,
    lr_panels,
    map_name,
    map_panels,
    size_panels,
    together_panels,
)
from sweep.report.sections.claims import headline
from sweep.report.sections.courses import courses
from sweep.wording import plural

_COLUMNS = 3
"""Panels beside each other, at most."""
_OUTCOMES = {outcome.value for outcome in Outcome}
_CLAIM_FIELDS = (
    "name", "verdict", "estimate", "low", "high", "num_pairs", "num_planned", "p", "level", "look", "num_looks",
    "settled_at", "response", "effect", "factor", "expected", "value", "smallest_effect", "text", "source", "sentence",
    "power", "note", "test",
)  # fmt: skip


@dataclass(frozen=True, eq=False, repr=False)
class Results:
    """What a results folder held when it was loaded; load it again to see more of a running study.

    Losses are in nats a label; WER, rates, shares and chances lie in [0, 1]; times are in seconds, memory in MiB. NaN
    or None is what was not measured. What needs the map or the recommendation takes seconds the first time.
    """

    folder: Path
    _source: FolderContent

    @cached_property
    def study(self) -> dict[str, Any]:
        """study.yaml with all its defaults; `provenance` has versions, machine and data facts."""
        stored = self._source.stored
        return copy.deepcopy({**stored.content, "provenance": stored.made})

    @cached_property
    def trials(self) -> pd.DataFrame:
        """A row a finished trial, by number: the fixed columns of `store.TRIAL_SCHEMA`, then one a searched setting.

        `verdict` is an outcome such as `stalled`, `reason` and `cause` say why; `stable`; `stop_step` and `num_steps`
        count steps; `val_loss`, `l_const` nats a label; `wer`, `applied_update_rate` in [0, 1]; `wall_s`, `cpu_s`;
        `peak_memory_mib`. A setting's column is named by its dotted path, such as `training.optimizer.lr`.
        """
        return self._source.trials.copy()

    def steps(self, trial_id: str) -> pd.DataFrame:
        """A row a training step of a trial: `step`, `loss` (nats a label), `grad_norm` (L2, before clipping),
        `loss_scale`, `applied` or `skip_reason`, `lr`, `time_s` and what was sampled.

        Raises:
            ResultsError: there is no such trial, or it left no steps.
        """
        return store.read_steps(self.folder, self._known(trial_id, "steps"))

    def evals(self, trial_id: str) -> pd.DataFrame:
        """A row an evaluation of a trial: `step`, `val_loss` (nats a label), `wer`, the error counts, `blank_rate`.

        Raises:
            ResultsError: there is no such trial, or it was never evaluated.
        """
        return store.read_evals(self.folder, self._known(trial_id, "evals"))

    def health(self, trial_id: str) -> pd.DataFrame:
        """A row a sampled number of a trial's model: `step`, `metric`, `path` (of the layer), `value`.

        Raises:
            ResultsError: there is no such trial, or its health was not sampled.
        """
        return store.read_health(self.folder, self._known(trial_id, "health"))

    @property
    def edges(self) -> pd.DataFrame:
        """Where training stops being stable, a row an edge; empty where the trials show no map.

        `along` is the setting's dotted path, `value` the edge (P(stable) = 0.5), `inner` P = 0.9, `outer` P = 0.1,
        `width` and `stable_decades` in decades (units where the axis is not logarithmic), `side` which end of the
        stable range it is; without an edge `always` tells what the slice is. Other columns: the slice's settings.
        """
        return self._map_tables[1].copy()

    @property
    def stability_map(self) -> pd.DataFrame:
        """P(stable) on a grid, a row a point: `level` of the setting that panels are split by, both axes by their
        dotted paths, `p_stable`; empty where the trials show no map."""
        return self._map_tables[0].copy()

    @property
    def importance(self) -> pd.DataFrame:
        """How much each setting matters: its dotted path as index, `name`, and a share in [0, 1] for each measure.

        `sobol_alone`, `sobol_total`: of the variation of P(stable), alone and with interactions; `margin` (where there
        is no map): of how far trainings were from the boundary; `fanova`: of the objective; `ped_anova`: what the best
        settings have in common. NaN where a setting cannot be told from noise. Empty where too little is known.
        """
        known = self._weights
        columns = [column.key for column in known.columns] if known else []
        rows = [(row.path, row.name, *row.told_shares) for row in known.rows] if known else []
        return pd.DataFrame(rows, columns=["path", "name", *columns]).set_index("path")

    @property
    def claims(self) -> pd.DataFrame:
        """A row a claim, judged as in the report; empty where the study states none.

        `estimate` with its interval `low` to `high` is in the unit of `response` (a share for `stable`, nats a label
        for losses), a factor where `effect` is a ratio, decades for `edge_lr`; `p` is to be compared with `level`.
        """
        rows = [{**vars(finding), **finding.claim.model_dump(mode="json")} for finding in self._view.findings]
        return pd.DataFrame([{name: row[name] for name in _CLAIM_FIELDS} for row in rows], columns=list(_CLAIM_FIELDS))

    @property
    def recommendation(self) -> Recommendation:
        """What to use: `headline`, `setting` (dotted path -> value; empty if nothing is recommended), and the evidence:
        `chosen`, `sureness`, `safety`, `avoid`, `notes`."""
        return self._view.recommendation

    @property
    def headline(self) -> str:
        """The answer of the study in a sentence, as in the report: what to use, or what became of its claims."""
        view = self._view
        return headline(view.findings) if view.claims_answer else view.recommendation.headline

    @property
    def damaged(self) -> tuple[str, ...]:
        """Damaged files that were met so far and done without, each in a sentence that says what to do."""
        return self._source.files.damaged

    @cached_property
    def figures(self) -> "Figures":
        """The report's figures."""
        return Figures(self)

    def __repr__(self) -> str:
        return f"<Results of {self.folder}: {self._counted()}>"

    def _repr_html_(self) -> str:
        """The answer and the counts, as a notebook shows the object; it takes as long as a report the first time."""
        name, outcomes = self._source.stored.study.name, self._source.trials["verdict"].value_counts()
        rows = "".join(f"<tr><td>{html.escape(str(o))}</td><td>{n}</td></tr>" for o, n in outcomes.items())
        table = f"<table><thead><tr><th>outcome</th><th>trials</th></tr></thead><tbody>{rows}</tbody></table>"
        told = f"<p><b>{html.escape(name)}</b><br>{html.escape(self.headline)}</p><p>{html.escape(self._counted())}</p>"
        return told + table * bool(rows)

    def _counted(self) -> str:
        """`46 trials, 30 of them stable`; with open ends: `46 trials, 30 of them stable (4 too short to tell)`."""
        trials = self._source.trials
        if trials.empty:
            return "no trial has finished yet"
        stable, left_open = int(trials["stable"].astype(bool).sum()), open_ends_text(trials)
        return f"{plural(len(trials), 'trial')}, {stable} of them stable" + (f" ({left_open})" if left_open else "")

    def _known(self, trial_id: str, records: Literal["steps", "evals", "health"]) -> str:
        """The id, if the folder has such records of it: those of a trial that still runs may be there too."""
        if store.has_records(self.folder, records, trial_id):
            return trial_id
        ids = [str(known) for known in self._source.trials["trial_id"]]
        if trial_id in ids:
            raise ResultsError(f"{self.folder} has no {records} of trial {trial_id}: it left none")
        there = f"its trials are {ids[0]} to {ids[-1]}" if ids else "no trial has finished yet"
        raise ResultsError(f"{self.folder} has no trial {trial_id!r}: {there}")

    @cached_property
    def _view(self) -> View:
        return View(self._source)

    @cached_property
    def _map_tables(self) -> tuple[pd.DataFrame, pd.DataFrame]:
        if isinstance(self._view.region, NotKnown):
            empty = [schema.empty_table().to_pandas() for schema in (store.MAP_SCHEMA, store.EDGE_SCHEMA)]
            return empty[0], empty[1]
        return region_tables(self._view.region)

    @property
    def _weights(self) -> ImportanceTable | None:
        return self._view.importance_table


@dataclass(frozen=True, eq=False, repr=False)
class Figures:
    """The report's figures, each made anew: change one as you like. All raise ResultsError where there is none to show,
    and say why."""

    _results: Results

    def map(self, *over: str) -> go.Figure:
        """The chance of a stable training over two settings with every trial upon it, a panel a precision.

        Thick line 50 %, thin line 95 %, as in the report.

        Args:
            over: two settings by their dotted paths or short names; none for those that the report begins with.

        Raises:
            ResultsError: there is no map, or none over these.
        """
        planes = self._results._view.planes
        known = [{plane.info.x.path, plane.info.x.name, *_called(plane.info.y)} for plane in planes]
        index = next((at for at, names in enumerate(known) if len(over) == 2 and set(over) <= names), None)
        if over and index is None:
            have = "; ".join(plane.name for plane in planes) or "none"
            raise ResultsError(f"{self._results.folder}: no map over {' and '.join(over)}: there are {have}")
        return self._drawn(map_panels(self._results._view)[map_name(index or 0)], "there is no map")

    def lr(self) -> go.Figure:
        """Validation loss (nats a label) and WER of every trial against the learning rate with their means, a panel a
        precision."""
        return self._drawn(lr_panels(self._results._view), "there is no learning rate to plot against")

    def size(self) -> go.Figure:
        """The upper edge of the learning rate against the model's width, with what is expected at full size."""
        found = self._results._view.transfer
        panels = [] if found is None else size_panels(found)
        return self._drawn(panels, "the study does not ask how the edge moves with a size (full_size)")

    def importance(self) -> go.Figure:
        """How much each setting matters for stability and for the result: shares, a colour a measure."""
        known = self._results._weights
        if known is None:
            raise ResultsError(f"{self._results.folder} does not tell yet which settings matter: too few trials")
        return importance_figure(known)

    def together(self) -> go.Figure:
        """How the boundary of one setting moves with another, for the pair that acts together most."""
        return self._drawn(together_panels(self._results._view), "no two settings can be told to act together")

    def headroom(self) -> go.Figure:
        """How many doublings fp16 had left before overflow, over the steps of failed and of stable trials."""
        half = self._results._view.failures.half
        return self._drawn(headroom_panels(half), "no numeric health of a training in fp16 was sampled")

    def scales(self) -> go.Figure:
        """The loss scale over the steps of failed and of stable trials in fp16."""
        return self._drawn(loss_scale_panels(self._results._view.failures.half), "no training had a loss scale")

    def parallel(self) -> go.Figure:
        """All trials as lines over their settings, loss, WER and outcome; drag along an axis to keep some."""
        view = self._results._view
        info = parallel_info(view.searched, view.dims, view.study.score)
        if isinstance(info, NotKnown):
            raise ResultsError(f"{self._results.folder}: {info.reason}")
        return parallel_figure(info)

    def compare(self, *trial_ids: str) -> go.Figure:
        """Courses of several trials in one figure, a colour a trial.

        Raises:
            ResultsError: no trial is named, or one is not there or left no records.
        """
        results, view = self._results, self._results._view
        if not trial_ids:
            raise ResultsError('name the trials to compare, such as compare("0003", "0007")')
        for trial_id in trial_ids:
            self._finished(view, trial_id)
        found = list(read_traces(Files(results.folder, strict=True), dict.fromkeys(trial_ids)))
        if lost := set(trial_ids) - {one.trial_id for one in found}:
            raise ResultsError(f"{results.folder}: trial {min(lost)} left no records of its steps")
        figure = course_figure(*courses(found, view.trials, view.study, view.dims))
        for curve in figure.data:
            curve.showlegend = curve.name.endswith("training loss")
        above = {"orientation": "h", "yanchor": "bottom", "y": 1.02}
        return figure.update_layout(ALONE | {"showlegend": len(found) > 1, "legend": above, "margin_t": 50})

    def traces(self, *trial_ids: str) -> go.Figure:
        """Courses of trials below each other: loss, gradient norm before clipping, loss scale, skipped steps.

        Args:
            trial_ids: of finished trials, such as `"0003"`; none for the examples that the report offers: the
                recommended one, and a typical one of each outcome.

        Raises:
            ResultsError: a trial is not there.
        """
        results, view = self._results, self._results._view
        wanted = list(dict.fromkeys(trial_ids or (trial_id for _, trial_id in view.examples)))
        if not wanted:
            raise ResultsError(f"{results.folder}: no trial has finished yet")
        return combined([self._course(view, trial_id) for trial_id in wanted], 1, ("training loss", "validation loss"))

    def _course(self, view: View, trial_id: str) -> Panel:
        title = f"Trial {trial_id}: {self._finished(view, trial_id)['verdict']}"
        found = next(read_traces(Files(self._results.folder, strict=True), [trial_id]), None)
        if found is None:
            return Panel(title, "", None, "It left no records of its steps.")
        return Panel(title, "", course_figure(next(courses([found], view.trials, view.study, view.dims))))

    def _finished(self, view: View, trial_id: str) -> "pd.Series[Any]":
        """The row of a trial."""
        rows = view.trials[view.trials["trial_id"] == trial_id]
        if rows.empty:
            self._results.steps(trial_id)
            raise ResultsError(f"trial {trial_id} of {self._results.folder} had not ended when the results were loaded")
        return rows.iloc[0]

    def _drawn(self, panels: Sequence[Panel], otherwise: str) -> go.Figure:
        if all(panel.figure is None for panel in panels):
            why = next((panel.why_empty for panel in panels if panel.why_empty), otherwise)
            raise ResultsError(f"{self._results.folder}: {why}")
        names = _OUTCOMES | {"recommended", "edge", "expected"}
        return combined(panels, _COLUMNS, names)


def _called(dim: Dimension | None) -> set[str]:
    return set() if dim is None else {dim.path, dim.name}


def load_results(folder: Path) -> Results:
    """Loads a results folder.

    Raises:
        ResultsError: it is not the results folder of a study.
    """
    return Results(folder, read_source(folder))
