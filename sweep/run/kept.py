"""Where a run works, and where its results are kept: in a folder, or on an object store, with a folder here for it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from slr_models.errors import ResultsError, SettingError
from sweep.run import place
from sweep.store.remote.address import StoreAddress, as_address
from sweep.store.remote.objects import ObjectStore
from sweep.store.remote.study import RemoteStudy, StudyCopy, remote_study
from sweep.study.scheduler import HyperBand, Pbt, SchedulerConfig


@dataclass(frozen=True)
class Kept:
    """A study's results, as a run has them."""

    folder: Path
    """In which it works."""
    stored: RemoteStudy | None = None
    """What keeps them on an object store; None where the folder is all."""
    is_cluster: bool = False
    """Whether trainings may run on other machines than this one."""

    def keep(self, line: bytes) -> None:
        """Keeps a line of the ledger where it does not stand yet; see `RemoteStudy.add_line`."""
        if self.stored is not None:
            self.stored.add_line(line)

    @property
    def stored_at(self) -> str | None:
        """The address, where processes that train have to send their files themselves."""
        return None if self.stored is None or not self.is_cluster else str(self.stored.address)

    def gather(self) -> None:
        """Brings here what the trainings left, before anything is made of it; see `RemoteStudy.gather`."""
        if self.stored is not None:
            self.stored.gather()

    def leave(self) -> None:
        """Sends what is left, where the process of a run that failed ends at once."""
        if self.stored is not None:
            self.stored.end(failed=True)

    def report(self, path: Path) -> str:
        """Where the report is, for a person, once all is where it is kept.

        Raises:
            MachineError: the store cannot be reached.
        """
        if self.stored is None:
            return str(path)
        self.stored.send()
        return f"{path}\n{self.stored.address / path.name}"


@contextmanager
def kept(
    results: Path | str, name: str, *, writes: bool, address: str | None, say: Callable[[str], None]
) -> Iterator[Kept]:
    """A study's results, within.

    Args:
        results: as `--results`.
        name: of the study.
        writes: False where the run only says what it would do.
        address: of a Ray cluster, which may have more machines than this one.
        say: hears what is worth a line.

    Raises:
        UserError: another run is at work, or the address is none.
        MachineError: results cannot be written there.
    """
    at = _address(results, name)
    if at is None:
        yield _folder(place.results_dir(Path(results), name), writes=writes)
        return
    if not writes:
        yield Kept(_copy(at))
        return
    _folder(at.folder("work"), writes=True)
    is_cluster = address is not None
    with remote_study(at, say, sent_by_trainings=is_cluster) as study:
        say(f"results go to {study.address}; worked on in {study.folder}")
        yield Kept(study.folder, study, is_cluster)


def check_scheduler(kept: Kept, scheduler: SchedulerConfig | None) -> None:
    """Raises SettingError for a scheduler that passes states of trainings on by Ray, which takes a shared folder."""
    if kept.stored_at is not None and isinstance(scheduler, HyperBand | Pbt):
        raise SettingError(
            f"scheduler.kind {scheduler.kind} pauses trainings or copies them, which takes a folder that all machines "
            f"of the cluster share: give --results such a folder, choose asha or median, or leave --address out"
        )


def worked_in(results: Path | str, name: str) -> Path:
    """The folder of this machine in which a run of a study works."""
    at = _address(results, name)
    return place.results_dir(Path(results), name) if at is None else at.folder("work")


def _address(results: Path | str, name: str) -> StoreAddress | None:
    """The address of a study; None where its results are in a folder."""
    at = as_address(results)
    return None if at is None else at / place.portable(name)


def _folder(folder: Path, *, writes: bool) -> Kept:
    place.check_place(folder, writes=writes)
    return Kept(folder)


def _copy(at: StoreAddress) -> Path:
    """A copy of a study; of one that is not there yet an empty folder's path."""
    try:
        return StudyCopy(ObjectStore(at)).folder
    except ResultsError:
        return at.folder("read")
