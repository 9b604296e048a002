"""From a results folder to what `status` says. Reads the ledger, study.yaml, the recipe, and the ends of a few files.

The ledger's lines are read once, then only new ones; nothing is locked, but for the instant in which `in_use` asks.
"""

import time
from collections import Counter
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from slr_models.errors import ResultsError
from sweep.forensics.allowance import taken_by
from sweep.own.program import Score, score_of
from sweep.records import EvalRecord, Outcome, Phase, StepRecord, TrialResult
from sweep.report import PRIVATE_REPORT, REPORT
from sweep.status.answer import SILENT_AFTER_S, Activity, Best, LastProblem, Recommended, Running, State, Status
from sweep.status.documents import Documents, RecipeEvidence, StudyDocument
from sweep.store.documents import STUDY_FILE
from sweep.store.latest_run import RunEnd, latest_run, this_machine
from sweep.store.ledger_lines import LEDGER_FILE, Ask, LedgerTail
from sweep.store.lock import HELD_FILE
from sweep.store.record_stream import last_record
from sweep.store.tables import stream_path
from sweep.watch.folder import Folder, Standing
from sweep.wording import number, percent

_STEP, _EVAL = TypeAdapter(StepRecord), TypeAdapter(EvalRecord)
_WRITTEN_TO = (".", LEDGER_FILE, STUDY_FILE, "steps", "evals", "health", "evidence", "checkpoints", "ray")
_SECOND_LOOK_S = 0.5
_FEW = 2
"""Trainings that must have ended before a rest is expected."""


class Reader:
    """Reads a results folder that a run may be writing, again and again."""

    def __init__(self, path: Path) -> None:
        """Reads nothing yet.

        Raises:
            ResultsError: it exists and is something else.
        """
        self.path = path
        self._folder = Folder(path, with_results=True)
        self._documents = Documents(path)

    def read(self) -> Status:
        """How far the study is now.

        Raises:
            ResultsError: a file that all rests on is damaged.
        """
        try:
            return self._read()
        except ResultsError:
            # A file system of several machines may show half of what was just written.
            time.sleep(_SECOND_LOOK_S)
            return self._read()

    def _read(self) -> Status:
        standing = self._folder.standing()
        study, evidence = self._documents.study(), self._documents.evidence()
        return _Moment(self.path, self._folder.ledger, standing, study, evidence, time.time()).status()


class _Moment:
    """What was read at one moment, and what follows from it."""

    def __init__(
        self,
        path: Path,
        ledger: LedgerTail,
        standing: Standing,
        study: StudyDocument,
        evidence: RecipeEvidence | None,
        now: float,
    ) -> None:
        self._path, self._standing, self._study, self._evidence, self._now = path, standing, study, evidence, now
        self._asks, self._results = ledger.asks, ledger.results
        self._spent_s, self._explained = ledger.spent_s, ledger.explained
        self._is_explored = ledger.explored is not None or standing.phase not in (None, Phase.EXPLORE)
        self._run = latest_run(study.provenance)
        self._quiet_s = self._since_written()
        self._state, self._why = self._judged()
        self._works = self._state is State.RUNNING or (self._state is State.SILENT and standing.status == "running")

    def status(self) -> Status:
        standing, works = self._standing, self._works
        outcomes = Counter(result.verdict for result in self._results.values())
        kinds = Counter[str](result.verdict.kind for result in self._results.values())
        explaining = self._explaining() if works else []
        return Status(
            study=self._study.name or self._path.resolve().name,
            results=str(self._path),
            state=self._state,
            why=self._why,
            writer_alive=self._writer_alive,
            quiet_s=self._quiet_s,
            activity=self._activity(explaining) if works else None,
            done=standing.num_done,
            planned=self._planned(),
            waiting=standing.num_open,
            kinds={kind: kinds[kind] for kind in ("stable", "diverged", "failed", "open")},
            outcomes={one.value: outcomes[one] for one in Outcome if outcomes[one]},
            running=tuple([*map(self._running, standing.running), *map(self._being_explained, explaining)]),
            elapsed_s=self._elapsed_s(),
            rest_s=self._rest_s(),
            best=self._best(),
            recommended=self._recommended(),
            safety_rule=self._safety_rule(),
            last_problem=self._last_problem(),
            report=self._report(),
        )

    @property
    def _writer_alive(self) -> bool | None:
        if self._standing.status == "running":
            # A file that another machine left says nothing of whether its process still lives.
            return None if (self._path / HELD_FILE).exists() and not self._is_here else True
        is_known = self._run is None or self._run.ended is not None or self._is_here
        return False if is_known or self._standing.status == "absent" else None

    @property
    def _is_here(self) -> bool:
        """Whether the latest run is, or was, one of this machine, so that its lock is seen."""
        return self._run is not None and self._run.machine == this_machine()

    def _judged(self) -> tuple[State, str | None]:
        """The state, and why it is that."""
        run, alive, quiet_s = self._run, self._writer_alive, self._quiet_s or 0.0
        if self._standing.status == "absent":
            return State.WAITING, None
        if alive or (alive is None and quiet_s <= SILENT_AFTER_S):
            if quiet_s > SILENT_AFTER_S:
                return State.SILENT, "a run holds the folder, but has written nothing for so long"
            return State.RUNNING, None
        if alive is None:
            return State.SILENT, "nothing was written, and whether a run is at work on another machine cannot be told"
        if run is None:
            return self._judged_by_count(), None
        if run.ended is None:
            return State.SILENT, "no run is at work, and the last one said no end: killed, or its machine went down"
        if run.ended is RunEnd.FINISHED:
            return State.FINISHED, None
        return State.ENDED_EARLY, f"{run.ended.value}: {run.why}" if run.why else run.ended.value

    def _judged_by_count(self) -> State:
        """Of a folder whose runs did not say how they ended."""
        budget = self._study.budget.trials
        is_done = self._is_explored or (budget is not None and len(self._asks) >= budget)
        return State.FINISHED if is_done and self._asks and not self._standing.num_open else State.ENDED_EARLY

    def _since_written(self) -> float | None:
        paths = [self._path / name for name in _WRITTEN_TO]
        for ask in self._standing.running:
            paths += [stream_path(self._path, kind, ask.trial_id) for kind in ("steps", "evals")]
            paths += (self._path / "files" / ask.trial_id).glob("*")
        latest = max((at for at in map(_written_at, paths) if at is not None), default=None)
        return None if latest is None else max(self._now - latest, 0.0)

    def _activity(self, explaining: list[str]) -> Activity:
        standing, planned = self._standing, self._planned()
        if standing.phase is None:
            return "starting"
        if not standing.running and explaining:
            return "explaining"
        if not standing.running and not standing.num_open and planned == standing.num_done:
            return "concluding"
        phase: Activity = standing.phase.value
        return phase

    def _planned(self) -> int | None:
        if self._run is None or self._state is State.FINISHED:
            return self._standing.num_asked if self._state is State.FINISHED else None
        exploring = sum(ask.phase is Phase.EXPLORE for ask in self._asks.values())
        following = self._standing.num_asked - exploring
        if not self._is_explored:
            exploring = max(exploring, self._run.num_exploring)
        return exploring + max(following, self._run.num_following)

    def _elapsed_s(self) -> float | None:
        run = self._run
        if not self._works or run is None or run.ended is not None:
            return self._spent_s if self._asks else None
        return run.spent_before_s + max(self._now - run.began_at.timestamp(), 0.0)

    def _rest_s(self) -> float | None:
        elapsed_s, planned, done = self._elapsed_s(), self._planned(), self._standing.num_done
        if self._state is not State.RUNNING or elapsed_s is None or planned is None or done < _FEW:
            return None
        return elapsed_s / done * max(planned - done, 0)

    def _explaining(self) -> list[str]:
        """Trials whose cause is being looked for."""
        try:
            allowed = taken_by(self._path)
        except (OSError, ValueError):
            return []
        told = ((one, self._results.get(one)) for one in allowed if one not in self._explained)
        return [trial_id for trial_id, result in told if result is not None and result.cause is None]

    def _running(self, ask: Ask) -> Running:
        step = last_record(stream_path(self._path, "steps", ask.trial_id), _STEP)
        evaluated = last_record(stream_path(self._path, "evals", ask.trial_id), _EVAL)
        return Running(
            **_of(ask),
            activity="starting" if step is None else "training",
            step=None if step is None else step.step,
            steps=self._steps(ask),
            train_loss=None if step is None else step.loss,
            val_loss=None if evaluated is None else evaluated.val_loss,
        )

    def _steps(self, ask: Ask) -> int | None:
        steps = self._study.budget.steps
        if steps is not None and ask.phase is not Phase.FULL_SIZE:
            return steps
        # A budget in epochs: as many as those of the phase had so far, if all had as many.
        known = {result.max_steps for result in self._results.values() if result.phase is ask.phase}
        return known.pop() if len(known) == 1 else None

    def _being_explained(self, trial_id: str) -> Running:
        result = self._results[trial_id]
        return Running(
            **_of(result),
            activity="explaining",
            step=result.num_steps,
            steps=result.max_steps,
            train_loss=result.final_train_loss,
            val_loss=result.val_loss,
        )

    @property
    def _score(self) -> Score | None:
        """What programs of the user's own are ranked by; None where our own loop trains."""
        return score_of(self._study.objective) if self._study.training is None else None

    def _best(self) -> Best | None:
        known = [r for r in self._results.values() if r.stable and r.phase is not Phase.FULL_SIZE]
        ended = (r for r in known if r.verdict is not Outcome.FOREGONE)
        best = min(ended, key=lambda r: r.objective, default=None)
        return None if best is None else Best(**_of(best), result=self._result(best), objective=best.objective)

    def _result(self, result: TrialResult) -> str:
        score = self._score
        if score is None:
            return f"WER {result.wer:.2f}, val. loss {result.val_loss:.2f}"
        return f"{score.name} {number(score.as_reported(result.score))}"

    def _recommended(self) -> Recommended | None:
        confirmed = [ask for ask in self._asks.values() if ask.recommended]
        if self._works and confirmed:
            latest = confirmed[-1].settings
            trials = tuple(ask.trial_id for ask in confirmed if ask.settings == latest)
            return Recommended(latest, trials, "being confirmed", None, None)
        evidence = self._evidence
        trials = tuple(trial for trial in evidence.trials if trial in self._asks) if evidence else ()
        if evidence is None or not trials:
            return None
        result = self._results.get(trials[0])
        settings = self._asks[trials[0]].settings if result is None else result.settings
        safety = None if evidence.safety is None else evidence.safety.why
        return Recommended(settings, trials, evidence.status, evidence.result, safety)

    def _report(self) -> str | None:
        paths = [self._path / name for name in (REPORT, PRIVATE_REPORT)]
        written = [(at, path) for path in paths if (at := _written_at(path)) is not None]
        return str(max(written)[1]) if written else None

    def _safety_rule(self) -> str | None:
        rule = self._study.safety
        if rule is None:
            return None
        return (
            f"P(breaking) at most {number(1 - rule.p_stable, 2)} with a credibility of {percent(rule.credibility)}, "
            f"and the learning rate at least {number(rule.lr_factor, 2)} times below its hot edge"
        )

    def _last_problem(self) -> LastProblem | None:
        failed = (r for r in reversed(self._results.values()) if r.verdict.kind in ("diverged", "failed"))
        last = next(failed, None)
        if last is None:
            return None
        step = last.num_steps if last.stop_step is None else last.stop_step
        return LastProblem(
            **_of(last),
            outcome=last.verdict.value,
            step=step,
            steps=last.max_steps,
            reason=last.reason,
            cause=last.cause,
        )


def _of(training: Ask | TrialResult) -> dict[str, Any]:
    """What is said of every training."""
    settings = dict(training.settings)
    return {"trial": training.trial_id, "settings": settings, "block": training.block, "cell": training.cell}


def _written_at(path: Path) -> float | None:
    try:
        return path.stat().st_mtime
    except OSError:
        return None
