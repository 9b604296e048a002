"""A study under way: which training is next, and who hears what came of it. Knows nothing of Ray.

explore: the search asks for a setting -> `repeats` trainings of it -> one result told to the search
confirm: when all of those are done, the best settings again, over seeds that the search has not seen
"""

import math
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import ValidationError

from slr_models.errors import ResultsError, SettingError
from sweep import store
from sweep.analysis.recommend import recommend
from sweep.ledger import LEDGER_FILE, Ask, Ledger
from sweep.records import TrialResult
from sweep.search.bridge import OptunaBridge, SettingResult
from sweep.space import Settings
from sweep.study import LoadedStudy, Study, check_budget, num_settings
from sweep.trial import Job

CONFIRM_SEED_OFFSET = 10_000
"""Confirmation seeds start so far above the study's first seed, away from those of the exploration."""
SPARE_CONFIRMATIONS = 2
"""So many settings after the best may be confirmed in place of those that fail."""
RECENT_TRAININGS = 5
"""So many of the latest stable trainings say how long one takes: the machine may be busier than before, or less."""
MAX_ATTEMPTS = 2
"""A training whose process dies is tried once more; then it counts as crashed."""

# A study may change in these without becoming another one.
_FREE_KEYS = ("description", "confirm", "checkpoints", "audit", "forensics", "provenance")
_FREE_BUDGET_KEYS = ("trials", "wall_time_s")


class StudySession:
    """Owns ledger and search of one results folder, decides what runs next and keeps trials.parquet current."""

    def __init__(
        self,
        loaded: LoadedStudy,
        results_dir: Path,
        num_train: int,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Opens the results folder and takes up what an earlier run left there.

        Args:
            loaded: the study.
            results_dir: its own folder, made where it does not exist.
            num_train: utterances of the training split; decides the steps of a budget in epochs.
            clock: seconds, for the limit of wall time.

        Raises:
            ResultsError: the folder is in use, damaged, or holds another study's results.
        """
        self.study = loaded.study
        self.results_dir = results_dir
        self._loaded = loaded
        self._num_train = num_train
        _check_same_study(results_dir, loaded.study)
        self._ledger = Ledger(results_dir)
        self._clock = clock
        self._started = clock()
        self._attempts: dict[str, int] = {}
        self._queue: list[Ask] = [a for a in self._ledger.asks if a.trial_id not in self._ledger.results]
        self._running: set[str] = set()
        self._num_lanes = 1
        """Most trainings that ran at once so far."""
        self._exhausted = False
        self._complete_groups()
        settings = self._settings_by_group()
        self._bridge = OptunaBridge(
            results_dir,
            loaded.study.name,
            loaded.study.space,
            loaded.study.search,
            [(settings[group], self._setting_result(group)) for group in sorted(settings)],
        )
        self._write_trials()

    @property
    def results(self) -> list[TrialResult]:
        """All finished trials."""
        return list(self._ledger.results.values())

    @property
    def num_planned(self) -> int:
        """Trials that the study will have when it is done, as far as is known now."""
        explore = max(num_settings(self.study) * self.study.repeats, len(self._asks("explore")))
        confirm = self.study.confirm.settings * self.study.confirm.seeds
        return explore + max(confirm, len(self._asks("confirm")))

    def next_job(self) -> Job | None:
        """The next training to start; None if nothing can start now (see `done`)."""
        if self._out_of_time():
            return None
        self._refill()
        if not self._queue:
            return None
        ask = self._queue.pop(0)
        self._running.add(ask.trial_id)
        self._num_lanes = max(self._num_lanes, len(self._running))
        return self._job(ask)

    @property
    def done(self) -> bool:
        """Whether nothing is running and nothing is left to start."""
        if self._running:
            return False
        if self._out_of_time():
            return True
        self._refill()
        return not self._queue

    def _refill(self) -> None:
        if not self._queue:
            self._queue.extend(self._ask_explore() or self._ask_confirm())

    def tell(self, result: TrialResult) -> None:
        """Takes a finished training: ledger first, then the search and the table."""
        self._ledger.tell(result, spent_s=self._elapsed())
        self._running.discard(result.trial_id)
        told = self._setting_result(result.group) if result.phase == "explore" else None
        if told is not None:
            self._bridge.tell(result.group, told)
        self._write_trials()

    def note_cause(self, result: TrialResult) -> None:
        """Takes a result that was told before, now with its cause."""
        self._ledger.note_cause(result, spent_s=self._elapsed())
        self._write_trials()

    def result(self, job: Job) -> TrialResult | None:
        """What came of a training; None as long as nobody told."""
        return self._ledger.results.get(job.trial_id)

    def lost(self, job: Job) -> bool:
        """Takes note that a training's process died; returns whether it is going to be tried again."""
        self._running.discard(job.trial_id)
        self._attempts[job.trial_id] = self._attempts.get(job.trial_id, 0) + 1
        if self._attempts[job.trial_id] >= MAX_ATTEMPTS:
            return False
        self._queue.insert(0, next(a for a in self._ledger.asks if a.trial_id == job.trial_id))
        return True

    def settings(self, group: int) -> Settings:
        """The settings of a group, as they were drawn."""
        return self._settings_by_group()[group]

    def close(self) -> None:
        """Releases the results folder."""
        self._ledger.close()

    def _asks(self, phase: str) -> list[Ask]:
        return [a for a in self._ledger.asks if a.phase == phase]

    def _settings_by_group(self) -> dict[int, Settings]:
        return {a.group: a.settings for a in self._asks("explore")}

    def _complete_groups(self) -> None:
        """Asks for the seeds of a setting that a killed run had not written down yet."""
        for group, settings in self._settings_by_group().items():
            asked = sum(a.group == group for a in self._asks("explore"))
            seeds = range(self.study.seed + asked, self.study.seed + self.study.repeats)
            self._queue += self._new_asks(group, settings, "explore", seeds)

    def _job(self, ask: Ask) -> Job:
        config = self._loaded.trial_config(ask.settings)
        return Job(
            trial_id=ask.trial_id,
            number=ask.number,
            group=ask.group,
            seed=ask.seed,
            phase=ask.phase,
            settings=ask.settings,
            config=config,
            max_steps=self._loaded.max_steps(config, self._num_train),
            audit=self.study.audit.chooses(self.study.seed, ask.number),
        )

    def _new_asks(self, group: int, settings: Settings, phase: str, seeds: range) -> list[Ask]:
        asks = []
        for seed in seeds:
            number = len(self._ledger.asks)
            ask = Ask(f"{number:04d}", number, group, seed, phase, settings)
            self._ledger.ask(ask)
            asks.append(ask)
        return asks

    def _ask_explore(self) -> list[Ask]:
        asked = len(self._settings_by_group())
        if self._exhausted or asked >= num_settings(self.study) or self._confirmation_is_due():
            return []
        proposal = self._bridge.ask()
        if proposal is None:
            self._exhausted = True
            return []
        group, settings = proposal
        seeds = range(self.study.seed, self.study.seed + self.study.repeats)
        return self._new_asks(group, settings, "explore", seeds)

    def _ask_confirm(self) -> list[Ask]:
        confirm = self.study.confirm
        if self._running or confirm.settings == 0 or not self.results:
            return []
        settings = self._settings_by_group()
        failed = {r.group for r in self.results if r.phase == "confirm" and not r.stable}
        within_reach = self._ranking()[: confirm.settings + SPARE_CONFIRMATIONS]
        best = [group for group in within_reach if group not in failed][: confirm.settings]
        asks: list[Ask] = []
        for group in best:
            present = sum(a.group == group for a in self._asks("confirm"))
            first = self.study.seed + CONFIRM_SEED_OFFSET
            seeds = range(first + present, first + confirm.seeds)
            asks += self._new_asks(group, settings[group], "confirm", seeds)
        return asks

    def _ranking(self) -> list[int]:
        """Groups that were stable in the exploration, best first."""
        explored = pd.DataFrame([r.row() for r in self.results if r.phase == "explore"])
        space = self.study.model_dump(mode="json", by_alias=True)["space"]
        answer = recommend(explored, space, self.study.objective)
        candidates = () if answer.chosen is None else (answer.chosen, *answer.alternatives)
        return [c.group.group for c in candidates]

    def _elapsed(self) -> float:
        return self._ledger.spent_s + self._clock() - self._started

    @property
    def left_s(self) -> float:
        """Seconds until nothing is started any more, neither trainings nor explanations; infinite without a limit."""
        limit = self.study.budget.wall_time_s
        return math.inf if limit is None else limit - self._elapsed()

    def _out_of_time(self) -> bool:
        return self.left_s <= 0

    def _confirmation_is_due(self) -> bool:
        """Whether exploring on would leave no time to confirm: a late stable training's time, once for each round."""
        full = [r.wall_s for r in self.results if r.stable and math.isfinite(r.wall_s)]
        if self.left_s == math.inf or not full or self.study.confirm.settings == 0:
            return False
        rounds = math.ceil(self.study.confirm.settings * self.study.confirm.seeds / self._num_lanes)
        # One round more: the trainings that run now have to end first.
        reserve_s = (rounds + 1) * statistics.median(full[-RECENT_TRAININGS:]) + self._explanation_s()
        return self.left_s <= reserve_s

    def _explanation_s(self) -> float:
        """What one more search for a cause would take, as those so far did; 0 if there will be none."""
        explained_s = self._ledger.explained_s
        may_come = len(explained_s) < self.study.forensics.trials
        return statistics.median(explained_s) if explained_s and may_come else 0.0

    def _setting_result(self, group: int) -> SettingResult | None:
        """What the search hears of a setting: the worst of its seeds decides whether it is stable."""
        trials = [a.trial_id for a in self._asks("explore") if a.group == group]
        results = [self._ledger.results[t] for t in trials if t in self._ledger.results]
        if len(results) < self.study.repeats:
            return None
        stable = all(r.stable for r in results)
        objectives = [r.objective for r in results]
        worst = max(results, key=lambda r: r.objective)
        return SettingResult(
            objective=sum(objectives) / len(objectives) if stable else max(objectives),
            margin=max(r.margin for r in results),
            attributes={
                "verdict": worst.verdict.value,
                "reason": worst.reason,
                "wer": _json_number(worst.wer),
                "val_loss": _json_number(worst.val_loss),
                "num_steps": sum(r.num_steps for r in results),
                "num_seeds": len(results),
                "trials": ", ".join(trials),
            },
        )

    def _write_trials(self) -> None:
        store.write_trials(self.results_dir, [r.row() for r in self.results])


def _json_number(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _check_same_study(results_dir: Path, study: Study) -> None:
    if not (results_dir / "study.yaml").is_file():
        if results_dir.is_dir() and any(results_dir.iterdir()) and not (results_dir / LEDGER_FILE).is_file():
            raise ResultsError(
                f"{results_dir} exists but holds no study: move it away, or give --results another folder"
            )
        return
    now = study.model_dump(mode="json", by_alias=True)
    before = _with_defaults(store.read_study(results_dir))
    changed = [key for key in now if key not in _FREE_KEYS and _essence(key, before) != _essence(key, now)]
    if changed:
        raise ResultsError(
            f"{results_dir} holds results of another version of this study (changed: {', '.join(changed)}): "
            f"give the study another name, or --results another folder, or move the old results away"
        )


def _with_defaults(content: dict[str, Any]) -> dict[str, Any]:
    """A stored study with the defaults of settings that an earlier version of the tool did not have."""
    try:
        return Study.model_validate(content).model_dump(mode="json", by_alias=True)
    except ValidationError:
        return content


def _essence(key: str, content: Mapping[str, Any]) -> Any:
    """The part of a section that makes results comparable."""
    value = content.get(key)
    if key == "budget" and isinstance(value, Mapping):
        return {k: v for k, v in value.items() if k not in _FREE_BUDGET_KEYS}
    if key == "resources" and isinstance(value, Mapping):
        return bool(value.get("gpus"))
    return value


def with_trials(study: Study, option: str | None, results_dir: Path) -> Study:
    """The study with its number of trials as the command line and an earlier run have it.

    Without an option a study goes on to the number that it was extended to. `N` sets the number. `+N` extends a
    study that is done; one that is not goes on to its present number first, so the same command can be repeated.

    Raises:
        SettingError: the option is neither, or leaves too few trials.
    """
    stored, explored = _stored_trials(results_dir)
    trials = max(study.budget.trials, stored)
    if option is not None:
        digits = option.removeprefix("+")
        if not (digits.isascii() and digits.isdecimal() and int(digits)):
            raise SettingError(f"--trials {option}: give a number of trials such as 40, or +20 for twenty more")
        if not option.startswith("+"):
            trials = int(digits)
        elif explored >= trials:
            trials = explored + int(digits)
    changed = study.model_copy(update={"budget": study.budget.model_copy(update={"trials": trials})})
    check_budget(changed, "--trials" if option is not None else str(results_dir))
    return changed


def _stored_trials(results_dir: Path) -> tuple[int, int]:
    """What an earlier run planned and what it finished, in trials of the exploration."""
    if not (results_dir / "study.yaml").is_file() or not (results_dir / "trials.parquet").is_file():
        return 0, 0
    trials = store.read_trials(results_dir)
    planned = store.read_study(results_dir).get("budget", {}).get("trials", 0)
    return int(planned), int((trials["phase"] == "explore").sum())
