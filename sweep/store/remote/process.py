"""The files of a process that trains on a cluster whose machines share no folder: it sends and fetches them itself."""

import shutil
import tempfile
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

from slr_models.errors import MachineError, UserError
from sweep.machine import storing
from sweep.store.remote.address import as_address
from sweep.store.remote.lines import STORED_AT_FILE
from sweep.store.remote.mirror import Mirror, Sending
from sweep.store.remote.objects import PATIENCE_S, ObjectStore
from sweep.store.remote.study import SEND_EVERY_S


class TrainingFiles:
    """A folder of one process, for the trainings that it is given, and their copies where the study is stored.

    | call     | when                            | effect                                                           |
    |----------|---------------------------------|------------------------------------------------------------------|
    | `bring`  | before a training begins        | what an earlier process left of it is here, and of others nothing |
    | `send`   | before its result is told       | its records, and why it ended badly, are there                   |
    | `settle` | when nothing follows            | all else of it is there too                                      |
    """

    def __init__(self, address: str) -> None:
        """Makes the folder; asks nothing yet.

        Args:
            address: of the study.
        """
        self._address = address
        self._above = Path(tempfile.mkdtemp(prefix="slr-sweep-"))
        self.folder = self._above / address.rpartition("/")[2]
        self.folder.mkdir()
        (self.folder / STORED_AT_FILE).write_text(address, encoding="utf-8")
        self._mirror: Mirror | None = None
        self._sending: Sending | None = None

    def bring(self, trial_ids: Collection[str]) -> None:
        """Fetches what is stored of trainings, and begins to send what becomes of them.

        Raises:
            MachineError: this machine does not reach the store, lacks `obstore`, or is refused.
        """
        try:
            mirror = self._mirror or self._begun()
            with storing(self.folder):
                mirror.send(everything=True)
                mirror.let_go()
                mirror.bring_trials(trial_ids)
        except UserError as error:
            raise MachineError(f"{error} (on a machine of the cluster)") from error

    def send(self, trial_ids: Collection[str]) -> None:
        """Sends the records of trainings, and why they ended badly.

        Raises:
            MachineError: they cannot be sent.
        """
        if self._mirror is not None:
            for trial_id in trial_ids:
                self._mirror.send_records(trial_id)

    def settle(self) -> None:
        """Sends all that is not there yet.

        Raises:
            MachineError: it cannot be sent.
        """
        if self._mirror is not None:
            self._mirror.send(everything=True)

    def _begun(self) -> Mirror:
        address = as_address(self._address)
        assert address is not None, "the address of a study"
        objects = ObjectStore(address)
        # It is heard of first, with less patience: what a machine lacks is to be told at once.
        objects.head(STORED_AT_FILE)
        objects.patience_s = PATIENCE_S
        self._mirror = Mirror(objects, self.folder)
        # The study's run tells the user of a network that is gone.
        self._sending = Sending(self._mirror.send, SEND_EVERY_S, lambda _: None)
        return self._mirror

    def end(self) -> None:
        """Sends what is left, and removes the folder."""
        if self._sending is not None:
            self._sending.end(SEND_EVERY_S)
        with suppress(MachineError, ValueError):
            self.settle()
        shutil.rmtree(self._above, ignore_errors=True)
