"""A study under way: which training is next, and who hears what came of it. Knows nothing of Ray.

explore:   the search asks for a setting -> `repeats` trainings of it -> one result told to the search;
           with a design: its next training, until all its blocks are trained or its claims are settled
confirm:   when all of those are done, the best settings and the recommended one, seed by seed over the same fresh ones
full_size: then, where the study asks for it, tests of the predicted edge at another size (`course` chooses both)

A group is a setting. A recommended setting that was never explored gets a group of its own, and so do those at full
size. The search knows explored settings alone and counts them by itself, from 0. A design has no search, and no Optuna
study: its next training follows from the number of trainings asked for.
"""

import dataclasses
import functools
import itertools
import math
import statistics
import time
from collections.abc import Callable, Collection
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from slr_models.errors import MachineError, ResultsError, SettingError
from sweep import store
from sweep.analysis.claims.stated import tested
from sweep.analysis.trials.carried import prior_of
from sweep.forensics import allowance
from sweep.judging.objective import interim, own_objective
from sweep.records import NotKnown, Outcome, Phase, TrialResult
from sweep.running.continuing import check_same_study, essence, with_record
from sweep.running.course import (
    Leader,
    Wanted,
    confirmations,
    full_size_tests,
    is_full_size_test,
    leaders,
    leaders_state,
    settings_of,
)
from sweep.running.job import Job
from sweep.running.room import Room
from sweep.search import Nsga2Search
from sweep.search.bridge import OptunaBridge, SettingResult
from sweep.space import Settings, contains
from sweep.store import wishes
from sweep.store.ledger import Ledger
from sweep.store.ledger_lines import LEDGER_FILE, RECOVER, Ask, Explored
from sweep.store.prior import NOTHING, CarriedOver, write_prior
from sweep.study import LoadedStudy, num_confirmations, num_settings
from sweep.study.design import Paired, cells, training

if TYPE_CHECKING:
    from sweep.search.database import DatabaseMirror

RECENT_TRAININGS = 5
"""So many of the latest stable trainings say how long one takes: the machine may be busier than before, or less."""
TABLE_SHARE = 0.002
"""Share of a study's time in which its table of trials is written: a table of 10,000 trials takes a second or two."""
FAILURES_AT_START = 5
"""Trainings of a program of the user's own that all fail before their first step, after which none follows."""
MAX_ATTEMPTS = 2
"""A training whose process dies is tried once more; then it counts as crashed."""


class StudySession:
    """Owns ledger and search of one results folder, decides what runs next and keeps trials.parquet current."""

    def __init__(
        self,
        loaded: LoadedStudy,
        results_dir: Path,
        num_train: int,
        *,
        retry: Collection[Outcome] = (),
        carried: CarriedOver = NOTHING,
        mirror: "DatabaseMirror | None" = None,
        clock: Callable[[], float] = time.monotonic,
        keep: Callable[[bytes], None] = lambda line: None,
    ) -> None:
        """Opens the results folder and takes up what an earlier run left there.

        Args:
            loaded: the study.
            results_dir: its own folder, made where it does not exist.
            num_train: utterances of the training split; decides the steps of a budget in epochs.
            retry: trainings that ended so are forgotten, and run again.
            carried: trainings of other studies that the search learns from.
            mirror: shows the search in a database.
            clock: seconds, for the limit of wall time.
            keep: keeps each line of the ledger elsewhere too; see `Ledger`.

        Raises:
            ResultsError: the folder is in use, damaged, or holds another study's results.
        """
        self.results_dir = results_dir
        self._loaded = loaded
        self._num_train = num_train
        before = check_same_study(results_dir, loaded.study)
        self._ledger = Ledger(results_dir, keep=keep)
        self._check_ledger()
        self._prior = prior_of(carried)
        if carried.trials:
            write_prior(results_dir, carried)
        self.notes: list[str] = list(self._ledger.notes)
        """What was found damaged in the folder and is done without, or was mended: a sentence each."""
        self.notes += [str(one) for one in wishes.waiting(results_dir) if isinstance(one, ResultsError)]
        self.study, self.claims_withdrawn_after = with_record(loaded.study, before, len(self._ledger.results))
        """The study, knowing when its claims were stated; and those that were removed or changed since, and when."""
        self._clock = clock
        self._started = clock()
        self._attempts: dict[str, int] = {}
        self._micro_batches: dict[str, int] = {}
        """Of trainings that ran out of memory: utterances a micro-batch now, by trial id."""
        self.num_retried = self._forget(retry)
        """Trainings of earlier runs that run again."""
        self._queue: list[Ask] = [a for a in self._ledger.asks if a.trial_id not in self._ledger.results]
        self._unexplained = self._left_unexplained()
        self._running: dict[str, Phase] = {}
        self._num_lanes = 1
        """Most trainings that ran at once so far, or as many as were said to."""
        self._last_look: int | None = None
        """The last look of a design at which its claims were judged."""
        self._leaders: tuple[object, list[Leader]] | None = None
        """What they follow from, and the settings that are confirmed."""
        self._settled: tuple[int, int] | None = None
        """Asks and results under which nothing was left to do after the exploration."""
        self.full_size_problem: str | None = None
        """Why the study's test at full size cannot be made, in a sentence."""
        explored = self._ledger.explored
        self._exhausted = self.search_has_ended
        self._stop_reason = explored.reason if explored is not None and self._exhausted else None
        self._outside = self._groups_outside()
        """Explored settings that do not lie in the ranges of now: they were asked for before these were changed."""
        if self._outside:
            count = f"{self._num_explored} of {len(self._asks(Phase.EXPLORE))}"
            self.notes.append(f"ranges of the space were changed: {count} explored trials lie in them, and count")
        self._queue = [a for a in self._queue if a.group not in self._outside]
        self._complete_groups()
        self._search_numbers: dict[int, int] = {}
        """Group -> its number in the search, which counts what it was asked for alone."""
        self._wished: set[int] = set()
        """Groups that somebody queued, in this run."""
        self._bridge = None if loaded.study.design is not None else self._new_bridge(mirror)
        self._table_due = 0.0
        """When the table of trials may be written again, on the clock."""
        self.write_trials()

    @property
    def loaded(self) -> LoadedStudy:
        """The study, able to make the configuration of any trial."""
        return self._loaded

    @property
    def results(self) -> list[TrialResult]:
        """All finished trials."""
        return list(self._ledger.results.values())

    @property
    def num_planned(self) -> int:
        """Trials that the study will have when it is done, as far as is known now."""
        if self._settled is not None:
            return len(self._ledger.asks)
        return self.num_exploring + self.num_following

    @property
    def num_exploring(self) -> int:
        """Trials that the exploration will have, as far as is known now."""
        return len(self._asks(Phase.EXPLORE)) if self._exhausted else self.num_at_most(Phase.EXPLORE)

    @property
    def num_following(self) -> int:
        """Trials that may follow the exploration."""
        return self.num_at_most(Phase.CONFIRM) + self.num_at_most(Phase.FULL_SIZE)

    def num_at_most(self, phase: Phase) -> int:
        """Trials of a phase if nothing ends it early, also where something has."""
        asked = len(self._asks(phase))
        if phase is Phase.EXPLORE:
            return asked + max(self._num_trainings - self._num_explored, 0)
        if phase is Phase.CONFIRM:
            return max(asked, num_confirmations(self.study))
        if self.study.full_size is None:
            return asked
        now = sum(is_full_size_test(self.study.full_size, ask) for ask in self._ledger.asks)
        return asked + max(self.study.full_size.trainings - now, 0)

    @property
    def spent_s(self) -> float:
        """Wall time of the study so far, over all its runs."""
        return self._elapsed()

    @property
    def stop_reason(self) -> str | None:
        """Why the exploration ended before its trials were spent; None where it did not."""
        short = self._num_explored < self._num_trainings
        if self._stop_reason is None and short and self._out_of_time():
            return "budget.wall_time_s is spent"
        return self._stop_reason

    @property
    def search_has_ended(self) -> bool:
        """Whether the search said that it has found out enough, so that more trials alone bring no more exploration."""
        explored = self._ledger.explored
        return explored is not None and explored.terms == self._terms()

    @property
    def num_waiting(self) -> int:
        """Trainings that could start now, as far as is known: all but those that follow from the results of others."""
        to_ask = 0 if self._exhausted else max(self._num_trainings - self._num_explored, 0)
        return len(self._queue) + (to_ask or len(self._confirmations()))

    def next_job(self, num_paused: int = 0, room: Room | None = None) -> Job | None:
        """The next training to start; None if nothing can start now (see `done`).

        Args:
            num_paused: trainings under way that a scheduler keeps waiting, so that they take no lane.
            room: says which may start; None: any.
        """
        if self._out_of_time() or (room is not None and not room.is_open):
            return None
        if self._unexplained:
            if room is not None and not room.admits(self._unexplained[0].settings):
                return None
            result = self._unexplained.pop(0)
            return dataclasses.replace(self._job(self._ask_of(result.trial_id)), told=result)
        self._refill()
        ask = self._first_for(room)
        if ask is None:
            return None
        self._queue.remove(ask)
        self._running[ask.trial_id] = ask.phase
        if room is None:
            self._num_lanes = max(self._num_lanes, len(self._running) - num_paused)
        return self._job(ask)

    def _first_for(self, room: Room | None) -> Ask | None:
        """The first that was asked for and may start.

        Where what waits leaves room for trainings that ask for something else, more are asked for, until as many wait
        as may run at once.
        """
        if room is None:
            return self._queue[0] if self._queue else None
        num_seen = 0
        while True:
            for ask in self._queue[num_seen:]:
                if room.admits(ask.settings):
                    return ask
            num_seen = len(self._queue)
            if num_seen < room.num_ahead and room.is_open:
                self._queue.extend(self._ask_explore() or [self._ask(one) for one in self._confirmations()[:1]])
            if num_seen == len(self._queue):
                return None

    @property
    def done(self) -> bool:
        """Whether nothing is running and nothing is left to start."""
        if self._running:
            return False
        if self._out_of_time():
            return True
        if self._unexplained:
            return False
        self._refill()
        return not self._queue

    def _refill(self) -> None:
        if not self._queue:
            self._queue.extend(self._ask_explore() or self._ask_after_exploration())

    def tell(self, result: TrialResult) -> None:
        """Takes a finished training: ledger first, then the search and the table."""
        self._ledger.tell(result, spent_s=self._elapsed())
        self._running.pop(result.trial_id, None)
        if self._bridge is not None and result.phase == Phase.EXPLORE and result.group not in self._outside:
            told = self._setting_result(result.group)
            if told is not None:
                self._bridge.tell(self._search_numbers[result.group], told)
        wishes.forget_call(self.results_dir, result.trial_id)
        # A training that a scheduler ended, or whose process died, could not do that itself.
        store.settle_records(self.results_dir, result.trial_id)
        self._trials_changed()

    def note_cause(self, result: TrialResult) -> None:
        """Takes a result that was told before, now with its cause."""
        self._ledger.note_cause(result, spent_s=self._elapsed())
        if self._bridge is not None and result.phase == Phase.EXPLORE and result.cause is not None:
            self._bridge.note_cause(result.trial_id, result.cause)
        self._trials_changed()

    def result(self, job: Job) -> TrialResult | None:
        """What came of a training; None as long as nobody told."""
        return self._ledger.results.get(job.trial_id)

    def lost(self, job: Job) -> bool:
        """Takes note that a training's process died; returns whether it is going to be tried again."""
        self._running.pop(job.trial_id, None)
        self._attempts[job.trial_id] = self._attempts.get(job.trial_id, 0) + 1
        if self._attempts[job.trial_id] >= MAX_ATTEMPTS:
            return False
        self._next(job)
        return True

    def preempted(self, job: Job) -> None:
        """Takes note that a training's node was lost: it goes on elsewhere, and that counts for nothing."""
        self._running.pop(job.trial_id, None)
        self._next(job)

    def try_smaller(self, job: Job, micro_batch: int) -> None:
        """Takes note that a training ran out of memory, and is going to be tried again with smaller micro-batches."""
        self._running.pop(job.trial_id, None)
        self._micro_batches[job.trial_id] = micro_batch
        self._next(job)

    def again(self, job: Job) -> None:
        """Takes note that a training is going to be tried again, as if it had not been."""
        self._running.pop(job.trial_id, None)
        store.remove_trial(self.results_dir, job.trial_id)
        self._next(job)

    def lanes_changed(self, num_lanes: int) -> None:
        """Takes note of how many trainings may run at once from now on."""
        self._num_lanes = num_lanes

    def _next(self, job: Job) -> None:
        self._queue.insert(0, self._ask_of(job.trial_id))

    def _ask_of(self, trial_id: str) -> Ask:
        return next(ask for ask in self._ledger.asks if ask.trial_id == trial_id)

    def settings(self, group: int) -> Settings:
        """The settings of a group: as they were drawn, or those that it ended with where a scheduler changed them."""
        return settings_of(self._ledger, group)

    def importances(self) -> dict[str, dict[str, float]]:
        """Which searched settings matter, as Optuna estimates it from what the search was told; empty of a design."""
        return {} if self._bridge is None else self._bridge.importances()

    def write_trials(self) -> None:
        """Brings trials.parquet up to date."""
        started = self._clock()
        store.write_trials(self.results_dir, [r.row() for r in self.results])
        ended = self._clock()
        self._table_due = ended + (ended - started) / TABLE_SHARE

    def _trials_changed(self) -> None:
        if self._clock() >= self._table_due:
            self.write_trials()

    def close(self) -> None:
        """Brings trials.parquet up to date and releases the results folder."""
        try:
            self._ledger.check_place()
            self.write_trials()
        finally:
            self._ledger.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.close()
        except (OSError, MachineError):
            # What ended the run says more than that the table cannot be written either.
            if error is None:
                raise

    def _forget(self, outcomes: Collection[Outcome]) -> int:
        """Forgets the trainings that ended so, with all that they left; returns how many."""
        ended = [result.trial_id for result in self.results if result.verdict in outcomes]
        for trial_id in ended:
            self._ledger.retry(trial_id)
            store.remove_trial(self.results_dir, trial_id)
        return len(ended)

    def _left_unexplained(self) -> list[TrialResult]:
        """Bad trainings whose cause an earlier run was about to look for when it ended."""
        if self.study.is_own:
            # What that takes of a program of the user's own, only its own process knows.
            return []
        try:
            allowed = allowance.taken_by(self.results_dir)[: self.study.forensics.trials]
        except (OSError, ValueError):
            # What cannot be read allows nothing.
            return []
        found = (self._ledger.results.get(trial_id) for trial_id in allowed)
        explained = self._ledger.explained_s
        return [r for r in found if r is not None and r.cause is None and r.trial_id not in explained]

    def _new_bridge(self, mirror: "DatabaseMirror | None") -> OptunaBridge:
        """The search, having heard all that was asked and told so far."""
        settings = {g: setting for g, setting in self._explored_settings().items() if g not in self._outside}
        self._search_numbers = {group: number for number, group in enumerate(settings)}
        return OptunaBridge(
            self.results_dir,
            self.study.name,
            self.study.space,
            self.study.search,
            [(setting, self._setting_result(group)) for group, setting in settings.items()],
            objective=self.study.metric,
            prior=self._prior,
            mirror=mirror,
        )

    @property
    def _num_trainings(self) -> int:
        """Trainings of the whole exploration, if nothing ends it early."""
        return num_settings(self.study) * self.study.repeats

    @property
    def _num_explored(self) -> int:
        """Trainings of the exploration that were asked for, of settings that the space holds."""
        outside = (a for group in self._outside for a in self._ledger.asks_by_group[group])
        return len(self._asks(Phase.EXPLORE)) - sum(a.phase == Phase.EXPLORE for a in outside)

    def _groups_outside(self) -> set[int]:
        """Explored settings that the space does not hold; of a design none."""
        if self.study.design is not None:
            return set()
        return {group for group, setting in self._explored_settings().items() if not self._holds(setting)}

    def _holds(self, settings: Settings) -> bool:
        space = self.study.space
        return all(path in space and contains(space[path], value) for path, value in settings.items())

    def _asks(self, phase: Phase) -> list[Ask]:
        return self._ledger.asks_by_phase[phase]

    def _explored_settings(self) -> dict[int, Settings]:
        """Group -> settings, in the order in which the search asked for them."""
        return {a.group: a.settings for a in self._asks(Phase.EXPLORE)}

    def _check_ledger(self) -> None:
        """Raises SettingError if the ledger asks for a model that is not the study's, or ResultsError for a setting."""
        searched = self._loaded.study.searched
        try:
            every: list[Ask | TrialResult] = [*self._ledger.asks, *self.results]
            for one in every:
                unknown = one.settings.keys() - searched.keys()
                # What a model or data are made of is told of below.
                if unknown := {path for path in unknown if self._loaded.study.is_own or not _is_made(path)}:
                    raise ResultsError(
                        f"{self.results_dir / LEDGER_FILE}: trial {one.trial_id} has {min(unknown)}, which this study "
                        f"does not search: restore the file from a backup, or bring back what can be with {RECOVER} "
                        f"{self.results_dir}"
                    )
            for one in every:
                self._loaded.check_stored(one.settings)
        except (SettingError, ResultsError):
            self._ledger.close()
            raise

    def _complete_groups(self) -> None:
        """Asks for the seeds of a setting that a killed run had not written down yet."""
        for group, settings in self._explored_settings().items():
            if group in self._outside:
                continue
            asked = sum(a.phase == Phase.EXPLORE for a in self._ledger.asks_by_group[group])
            for seed in range(self.study.seed + asked, self.study.seed + self.study.repeats):
                self._queue.append(self._ask(Wanted(Phase.EXPLORE, group, settings, seed)))

    def _job(self, ask: Ask) -> Job:
        config = self._loaded.job_config(ask.settings)
        return Job(
            trial_id=ask.trial_id,
            number=ask.number,
            group=ask.group,
            seed=ask.seed,
            phase=ask.phase,
            settings=ask.settings,
            config=config,
            max_steps=self._loaded.length(config, self._num_train),
            # A test at full size tells nothing of how often an alarm is wrong in the exploration.
            audit=ask.phase != Phase.FULL_SIZE and self.study.audit.chooses(self.study.seed, ask.number),
            maps=ask.phase == Phase.EXPLORE and self._maps(ask.group),
            num_threads=self.study.resources.of(ask.settings).cpus,
            block=ask.block,
            cell=ask.cell,
            micro_batch=self._micro_batches.get(ask.trial_id),
        )

    def _maps(self, group: int) -> bool:
        """Whether the trainings of a group are to tell where the boundary lies alone. One that somebody queued is not,
        nor is one that an earlier run asked for before a range was changed."""
        number = self._search_numbers.get(group)
        return (
            self._bridge is not None and number is not None and group not in self._wished and self._bridge.maps(number)
        )

    def _ask(self, wanted: Wanted) -> Ask:
        """Writes down that a training is asked for; settings without a group get their own."""
        # Not their count: a recovered ledger may have gaps.
        number, group = self._ledger.asks[-1].number + 1 if self._ledger.asks else 0, wanted.group
        if group is None:
            same = (a.group for a in self._asks(wanted.phase) if a.settings == wanted.settings)
            group = next(same, self._next_group())
        ask = Ask(
            f"{number:04d}",
            number,
            group,
            wanted.seed,
            wanted.phase,
            wanted.settings,
            wanted.recommended,
            wanted.block,
            wanted.cell,
        )
        self._ledger.ask(ask)
        return ask

    def _next_group(self) -> int:
        return self._ledger.next_group

    def _ask_explore(self) -> list[Ask]:
        if self._exhausted or self._num_explored >= self._num_trainings:
            return []
        if (reason := self._fails_from_the_start()) is not None:
            self._exhausted = True
            self._stop_reason = reason
            return []
        if self._confirmation_is_due():
            self._exhausted = True
            self._stop_reason = "what is left of budget.wall_time_s is kept for the confirmation"
            return []
        if self.study.design is not None:
            return self._ask_design(self.study.design)
        assert self._bridge is not None, "a study without a design has a search"
        wish = self._wish() if self._bridge.takes_wishes else None
        proposal = self._bridge.ask() if wish is None else self._bridge.ask_for(wish.settings)
        if proposal is None:
            self._exhausted = True
            self._stop_reason = self._bridge.stop_reason
            if self._stop_reason is not None:
                self._ledger.end_exploration(Explored(self._stop_reason, self._terms()))
            return []
        number, settings = proposal
        group = self._next_group()
        self._search_numbers[group] = number
        seeds = range(self.study.seed, self.study.seed + self.study.repeats)
        asked = [self._ask(Wanted(Phase.EXPLORE, group, settings, seed)) for seed in seeds]
        if wish is not None:
            self._wished.add(group)
            # Only now that it stands in the ledger: no wish is lost.
            wish.path.unlink(missing_ok=True)
        return asked

    def _fails_from_the_start(self) -> str | None:
        """Why exploring on has no use: a program of the user's own fails before its first step, every time."""
        results = list(itertools.islice(self._ledger.results.values(), FAILURES_AT_START))
        if not self.study.is_own or len(results) < FAILURES_AT_START:
            return None
        if not all(r.verdict.is_broken_off and r.num_steps == 0 for r in self._ledger.results.values()):
            return None
        kinds = " ".join(f"--retry {kind}" for kind in dict.fromkeys(r.verdict for r in self._ledger.results.values()))
        return (
            f"all of its {len(self._ledger.results)} trainings failed before their first step ({results[0].reason}); "
            f"mend that, then the same command with {kinds} goes on"
        )

    def _wish(self) -> wishes.Wish | None:
        """The oldest setting that somebody queued, of those that the space holds."""
        found = (one for one in wishes.waiting(self.results_dir) if isinstance(one, wishes.Wish))
        return next((wish for wish in found if self._holds(wish.settings)), None)

    def _ask_design(self, design: Paired) -> list[Ask]:
        """The design's next training; none once a look has found every claim settled."""
        reason = self._settled_at_look(design)
        if reason is not None:
            self._exhausted = True
            self._stop_reason = reason
            self._ledger.end_exploration(Explored(reason, self._terms()))
            return []
        planned = training(design, self.study.space, len(self._asks(Phase.EXPLORE)), self.study.seed)
        wanted = Wanted(
            Phase.EXPLORE, None, planned.settings, planned.seed, block=planned.block, cell=planned.cell.name
        )
        return [self._ask(wanted)]

    def _settled_at_look(self, design: Paired) -> str | None:
        """Why a design needs no more blocks; None while it does. Claims are judged once at each look that was reached.

        A look is reached when every training of its blocks was told, those that crashed too.
        """
        # Their imports take a second, which a study without a design does not need.
        from sweep.analysis.claims.sequential import look
        from sweep.analysis.claims.verdict import settled

        ends = (ask.trial_id in self._ledger.results for ask in self._asks(Phase.EXPLORE))
        num_done = sum(1 for _ in itertools.takewhile(bool, ends)) // len(cells(design))
        reached = look(num_done, design.blocks, design.looks)
        if reached is None or reached == self._last_look or not self.study.claims:
            return None
        self._last_look = reached
        self.write_trials()
        return settled(
            store.read_trials(self.results_dir),
            self.study,
            functools.partial(store.read_evals, self.results_dir),
        )

    def _terms(self) -> dict[str, Any]:
        """What the word that enough is found out depends on."""
        content = self.study.model_dump(mode="json", by_alias=True)
        if self.study.design is not None:
            from sweep.analysis.claims.verdict import RULES

            claims = [tested(claim) for claim in content["claims"]]
            return {"rules": RULES, "design": essence("design", content), "claims": claims}
        return {"search": content["search"], "trials": content["budget"]["trials"], "space": content["space"]}

    def _ask_after_exploration(self) -> list[Ask]:
        state = (len(self._ledger.asks), len(self._ledger.results))
        if state == self._settled:
            return []
        # One at a time: what comes after it may follow from what is told until then.
        wanted = self._confirmations()[:1]
        if not wanted and self._running:
            return []
        if not wanted:
            tests = full_size_tests(self.study, self._ledger, self._prior)
            self.full_size_problem = tests.reason if isinstance(tests, NotKnown) else None
            wanted = [] if isinstance(tests, NotKnown) else tests
        self._settled = None if wanted else state
        return [self._ask(one) for one in wanted]

    def _confirmations(self) -> list[Wanted]:
        """Confirming trainings that could start now; none before the whole exploration is told."""
        if Phase.EXPLORE in (*self._running.values(), *(ask.phase for ask in self._queue)):
            return []
        state = leaders_state(self._ledger)
        if self._leaders is None or self._leaders[0] != state:
            self._leaders = state, leaders(self.study, self._ledger, self._prior)
        return confirmations(self.study, self._ledger, self._leaders[1])

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
        """Whether exploring on would leave no time for what follows: a late stable training's time for each round."""
        to_follow = num_confirmations(self.study)
        if self.study.full_size is not None:
            to_follow += self.study.full_size.trainings
        if self.left_s == math.inf or to_follow == 0:
            return False
        ended = (r for r in reversed(self._ledger.results.values()) if r.stable and r.verdict is not Outcome.FOREGONE)
        latest = (r.wall_s for r in ended if math.isfinite(r.wall_s))
        full = list(itertools.islice(latest, RECENT_TRAININGS))
        if not full:
            return False
        rounds = math.ceil(to_follow / self._num_lanes)
        # One round more: the trainings that run now have to end first.
        reserve_s = (rounds + 1) * statistics.median(full) + self._explanation_s()
        return self.left_s <= reserve_s

    def _explanation_s(self) -> float:
        """What one more search for a cause would take, as those so far did; 0 if there will be none."""
        explained_s = self._ledger.explained_s.values()
        may_come = len(explained_s) < self.study.forensics.trials
        return statistics.median(explained_s) if explained_s and may_come else 0.0

    def _setting_result(self, group: int) -> SettingResult | None:
        """What the search hears of a setting: the worst of its seeds decides whether it is stable."""
        trials = [a.trial_id for a in self._ledger.asks_by_group[group] if a.phase == Phase.EXPLORE]
        results = [self._ledger.results[t] for t in trials if t in self._ledger.results]
        if len(results) < self.study.repeats:
            return None
        # What became of a training that a scheduler gave other settings says nothing of those that the search drew.
        judged = [r for r in results if not r.verdict.is_open and r.settings_changed_at_step is None]
        # One unstable seed says more than one not judged, and one not judged leaves open what a stable one says.
        is_open = len(judged) < len(results) and all(r.stable for r in judged)
        stable = all(r.stable for r in results)
        objectives = [r.objective for r in (results if is_open else judged)]
        worst = max(results if is_open else judged, key=lambda r: r.objective)
        foregone = [r for r in results if r.verdict is Outcome.FOREGONE] if stable and not is_open else []
        unfinished = [r for r in results if r not in judged] if is_open else foregone
        cost = self.study.search.cost if isinstance(self.study.search, Nsga2Search) else None
        attributes = {
            "verdict": worst.verdict.value,
            "reason": worst.reason,
            "cause": worst.cause,
            "alarm": None if worst.alarm is None else worst.alarm.value,
            "stop_step": worst.stop_step,
            "wer": _json_number(worst.wer),
            "val_loss": _json_number(worst.val_loss),
            "num_steps": sum(r.num_steps for r in results),
            "num_seeds": len(results),
            "trials": ", ".join(trials),
        }
        return SettingResult(
            objective=sum(objectives) / len(objectives) if stable else max(objectives),
            margin=math.nan if is_open else max(r.margin for r in judged),
            margins=[r.margin for r in judged],
            cost=math.nan if cost is None else statistics.fmean(r.cost(cost) for r in results),
            is_foregone=bool(foregone),
            is_open=is_open,
            evaluations=self._evaluations(unfinished[0]) if unfinished else {},
            attributes={key: value for key, value in attributes.items() if value is not None},
        )

    def _evaluations(self, result: TrialResult) -> dict[int, float]:
        """What the evaluations of a training were worth to its scheduler, by step."""
        try:
            evals = store.load_evals(self.results_dir, result.trial_id)
        except ResultsError as error:
            # The search then knows that the training was left open, and not how it went until then.
            self.notes.append(str(error))
            return {}
        metric, l_const = self.study.metric, result.l_const
        if metric == "score":
            return {e.step: own_objective(math.nan if e.score is None else e.score, stable=True) for e in evals}
        return {e.step: interim(metric, wer=e.wer, val_loss=e.val_loss, l_const=l_const) for e in evals}


def _is_made(path: str) -> bool:
    """Whether a setting says what a model or data are made of."""
    return path.partition(".")[0] in ("model", "data")


def _json_number(value: float) -> float | None:
    return value if math.isfinite(value) else None
