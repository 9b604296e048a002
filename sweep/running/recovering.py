"""Brings back a ledger from what is left in a results folder, and says what it could not."""

import dataclasses
import itertools
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from slr_models.errors import ResultsError
from sweep import store
from sweep.records import Phase
from sweep.running.fitting import Fitting, lacking
from sweep.search import GridSearch
from sweep.space import grid_settings
from sweep.store.files import spare
from sweep.store.ledger_lines import LEDGER_FILE, Ask, read_ledger
from sweep.store.lock import FolderLock
from sweep.store.recovery import (
    LeftOut,
    Rebuilt,
    ask_of,
    rebuilt,
    salvage,
    salvage_table,
    set_aside,
    set_aside_derived,
    write_ledger,
)
from sweep.study import read_study
from sweep.study.design import cells, training
from sweep.study.reading import StoredStudy
from sweep.wording import listed, plural


@dataclasses.dataclass(frozen=True)
class Recovery:
    """What was brought back."""

    folder: Path
    made: Rebuilt
    num_damaged: int
    """Lines of the old ledger that nobody can read."""
    kept_as: Path | None
    """The ledger as it was; None where there was none."""
    set_aside: Path | None
    """Where the records of trainings lie that no line speaks of; None where there are none."""
    lost: Sequence[str]
    """Ids of these trainings."""
    table_problem: str
    """Why the table of trials could not be used; empty where it could, or was not there."""
    left_out: Sequence[LeftOut]
    """Results that were found, and cannot be believed."""
    derived: Sequence[Path]
    """What contradicted the new ledger, by its new name: a run writes it anew."""

    def sentences(self) -> Iterator[str]:
        """For a person, a line each."""
        made = self.made
        of_table = f" ({made.num_from_table} of them from {store.TRIALS_FILE})" if made.num_from_table else ""
        yield f"{self.folder / LEDGER_FILE} is rebuilt: {plural(made.num_results, 'result')}{of_table}"
        if made.num_open:
            yield f"  {plural(made.num_open, 'training')} asked for, without a result: the next run trains them"
        if self.num_damaged:
            yield f"  {plural(self.num_damaged, 'line')} of the old file could not be read and were left out"
        if self.table_problem:
            yield f"  {store.TRIALS_FILE} was of no use: {self.table_problem}"
        reasons: dict[str, list[str]] = {}
        for one in self.left_out:
            reasons.setdefault(one.reason, []).append(one.what)
        for reason, ones in reasons.items():
            yield f"  left out: {listed(ones)} ({reason})"
        if self.left_out:
            yield "  to have these back, restore the files from a backup and recover again; else they are trained anew"
        if self.lost:
            ids = listed(self.lost)
            yield f"  what was asked for is lost of {plural(len(self.lost), 'training')} under way ({ids}): the search"
            yield f"  asks anew; what they had recorded is in {self.set_aside}"
        if made.is_time_estimated:
            yield "  the study's wall time is estimated from that of its trainings"
        if self.kept_as is not None:
            yield f"  the old file is kept as {self.kept_as}"
        for path in self.derived:
            yield f"  {path.stem} did not fit the new ledger and is kept as {path}: the next run writes it anew"
        if made.roster.asks:
            yield "run the study's command again: it goes on from here"
        else:
            yield "nothing could be brought back: if you have a backup of the folder, restore it; the study's command"
            yield "begins the study anew"

    def as_json(self) -> dict[str, Any]:
        """The same for a program."""
        return {
            "ledger": str(self.folder / LEDGER_FILE),
            "results": self.made.num_results,
            "results_from_table": self.made.num_from_table,
            "open": self.made.num_open,
            "damaged_lines": self.num_damaged,
            "lost": list(self.lost),
            "set_aside": None if self.set_aside is None else str(self.set_aside),
            "kept_as": None if self.kept_as is None else str(self.kept_as),
            "time_is_estimated": self.made.is_time_estimated,
            "table_problem": self.table_problem or None,
            "left_out": [dataclasses.asdict(one) for one in self.left_out],
            "derived_set_aside": [str(path) for path in self.derived],
        }


def recover(results_dir: Path) -> Recovery:
    """Rebuilds the ledger of a results folder. Nothing is destroyed: what is replaced or of no use is kept beside it.

    Raises:
        ResultsError: it is not the results folder of a study, or in use, or its study.yaml is damaged.
    """
    stored = read_study(results_dir)
    path = results_dir / LEDGER_FILE
    was_there = path.exists()
    # What is no file, or one without end, is told before anything is written.
    read_ledger(results_dir)
    if not (was_there or (results_dir / store.TRIALS_FILE).exists()):
        raise ResultsError(f"{results_dir} has neither {LEDGER_FILE} nor {store.TRIALS_FILE}: nothing can be rebuilt")
    lock = FolderLock(results_dir)
    try:
        content = read_ledger(results_dir)
        salvaged = salvage(content)
        fitting = Fitting(stored.study)
        left_out = fitting.of_ledger(salvaged)
        found = salvage_table(results_dir)
        table = fitting.of_table(found)
        asked = {line.trial_id for line in salvaged.lines if isinstance(line, Ask)}
        salvaged.lines += _planned(stored, [*(x for x in salvaged.lines if isinstance(x, Ask)), *map(ask_of, table)])
        made = rebuilt(salvaged, table, stored.provenance.num_lanes or 1)
        # What is asked for anew under the number of one that was left out may have other settings.
        unfit = {one.what for one in (*left_out, *found.left_out)} - asked
        aside, lost = set_aside(results_dir, made.roster.asks.keys() - unfit | made.roster.told)
        kept = spare(path) if was_there else None
        if kept is not None:
            shutil.copy2(path, kept)
        write_ledger(path, made.lines)
        of_table = [*found.left_out, *made.left_out]
        derived = set_aside_derived(results_dir, made.roster, keep_table=bool(of_table or found.problem))
        left_out = [one for one in (*left_out, *of_table) if one.what not in made.roster.told]
        return Recovery(results_dir, made, salvaged.num_damaged, kept, aside, lost, found.problem, left_out, derived)
    finally:
        lock.release()


def _planned(stored: StoredStudy, asks: Sequence[Ask]) -> list[Ask]:
    """Trainings whose line is lost, but which follow from the study: of a design, or of a grid.

    What comes next there is counted from what was asked for, so none may be missing in between.
    """
    explored = sorted((a for a in {a.trial_id: a for a in asks}.values() if a.phase == Phase.EXPLORE), key=_number)
    order = dict(_order(stored))
    known = {_key(stored, ask) for ask in explored}
    last = max((at for at, key in enumerate(order) if key in known), default=-1)
    taken = {a.number for a in asks}
    lost = [ask for at, (key, ask) in enumerate(order.items()) if at <= last and key not in known]
    free = (number for number in range(max(taken, default=0)) if number not in taken)
    groups = {tuple(sorted(a.settings.items())): a.group for a in explored}
    new = itertools.count(1 + max((a.group for a in asks), default=-1))
    found = []
    for ask, number in zip(lost, free, strict=False):
        group = groups.setdefault(tuple(sorted(ask.settings.items())), -1)
        if group < 0:
            group = groups[tuple(sorted(ask.settings.items()))] = next(new)
        found.append(dataclasses.replace(ask, trial_id=f"{number:04d}", number=number, group=group))
    return found


def _number(ask: Ask) -> int:
    return ask.number


def _key(stored: StoredStudy, ask: Ask) -> tuple[Any, ...]:
    """What tells a training from the others of its design or grid."""
    if stored.study.design is not None:
        return ask.block, ask.cell
    return tuple(sorted(ask.settings.items())), ask.seed


def _order(stored: StoredStudy) -> Iterator[tuple[tuple[Any, ...], Ask]]:
    """The trainings that a design or a grid asks for, in their order; of other searches nobody can tell."""
    study = stored.study
    if study.design is not None:
        for index in range(len(cells(study.design)) * study.design.blocks):
            one = training(study.design, study.space, index, study.seed)
            ask = Ask("0", index, 0, one.seed, Phase.EXPLORE, one.settings, False, one.block, one.cell.name)
            yield _key(stored, ask), ask
    elif isinstance(study.search, GridSearch):
        # What the search filled in of one that is not complete, nobody can tell.
        complete = (settings for settings in study.search.try_first if not lacking(study.space, settings))
        for settings in itertools.chain(complete, grid_settings(study.space)):
            for seed in range(study.seed, study.seed + study.repeats):
                ask = Ask("0", 0, 0, seed, Phase.EXPLORE, dict(settings))
                yield _key(stored, ask), ask
