"""An object store: conditional puts, patience with a network, and errors in a line. Only here is `obstore` used."""

import json
import os
import random
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

from slr_models.errors import MachineError, SettingError, UserError
from sweep.store.remote.address import StoreAddress

FIRST_PATIENCE_S, PATIENCE_S = 20.0, 600.0
"""How long a store that cannot be reached is tried again: before anything was heard of it, and then."""
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.5, 20.0
_TOLD_AFTER_S = 5.0
_CHUNK = 8 * 2**20
_NO_CREDENTIALS = ("169.254.169.254", "169.254.170.2", "metadata.google", "NoCredential", "MissingAccessKey")
"""Where a library looks for credentials last: in vain, unless the machine is one of that cloud."""
_HOW_TO_SIGN = {
    "s3": "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or name a profile with AWS_PROFILE (which takes boto3)",
    "gs": "set GOOGLE_APPLICATION_CREDENTIALS to a file, or run `gcloud auth application-default login`",
    "az": "set AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY",
}
T = TypeVar("T")


class ExistsError(Exception):
    """There is such an object already."""


@dataclass(frozen=True)
class Found:
    """An object, as a listing has it."""

    key: str
    size: int
    e_tag: str
    changed_at: datetime
    """By the store's clock."""


class ObjectStore:
    """The objects below an address. Safe to use from several threads."""

    def __init__(self, address: StoreAddress, store: Any = None) -> None:
        """Asks nothing yet.

        Args:
            address: its place, for messages too.
            store: one of `obstore`; None makes that of the address.

        Raises:
            SettingError: `obstore` is not installed, or the address is none for it.
        """
        try:
            import obstore
        except ImportError as error:
            raise SettingError(
                f"{address}: results on an object store need obstore: pip install 'slr-stability-sweep[remote]'"
            ) from error
        self.address = address
        self.patience_s = FIRST_PATIENCE_S
        """Seconds for which what may pass is tried again."""
        self.say: Callable[[str], None] = lambda line: None
        """Hears once of each time in which it cannot be reached."""
        self._api, self._errors = obstore, obstore.exceptions
        self._was_reached = self._is_told = False
        try:
            self._store = _opened(address) if store is None else store
        except (obstore.exceptions.BaseError, ValueError) as error:
            raise SettingError(f"{address} cannot be opened: {_first_words(error)}") from error

    def get(self, key: str) -> bytes | None:
        """What an object holds; None where there is none."""
        try:
            return bytes(self._tried(lambda: self._api.get(self._store, key).bytes()))
        except FileNotFoundError:
            return None

    def download(self, key: str, path: Path) -> bool:
        """Writes an object into a file; False where there is none."""

        def act() -> None:
            found = self._api.get(self._store, key)
            with path.open("wb") as file:
                for chunk in found.stream(min_chunk_size=_CHUNK):
                    file.write(chunk)

        try:
            self._tried(act)
        except FileNotFoundError:
            return False
        return True

    def put(self, key: str, content: bytes | Path) -> str:
        """Makes an object of some bytes or of a file, whatever was there before; returns its tag."""
        return str(self._tried(lambda: self._api.put(self._store, key, content))["e_tag"])

    def create(self, key: str, content: bytes) -> None:
        """Makes an object where there is none.

        Raises:
            ExistsError: there is one. A put whose answer was lost finds its own, which the content tells.
        """
        try:
            self._tried(lambda: self._api.put(self._store, key, content, mode="create"))
        except self._errors.AlreadyExistsError:
            raise ExistsError(key) from None

    def delete(self, key: str) -> None:
        """Removes an object, if there is one."""
        try:
            self._tried(lambda: self._api.delete(self._store, key))
        except FileNotFoundError:
            pass

    def head(self, key: str) -> Found | None:
        """What a listing would have of an object; None where there is none."""
        try:
            return _found(self._tried(lambda: self._api.head(self._store, key)))
        except FileNotFoundError:
            return None

    def listing(self, folder: str = "", after: str | None = None) -> list[Found]:
        """The objects below a name, in their order; only those whose names come after another, where one is given."""

        def act() -> list[Found]:
            pages: Iterator[Any] = self._api.list(self._store, folder or None, offset=after)
            return [_found(one) for page in pages for one in page]

        return sorted(self._tried(act), key=lambda one: one.key)

    def _tried(self, act: Callable[[], T]) -> T:
        """What `act` gives, tried again while what fails may pass.

        Raises:
            FileNotFoundError: there is no such object.
            UserError: there is no such bucket.
            MachineError: it fails for good, or for too long.
        """
        began_at, wait_s = time.monotonic(), _FIRST_WAIT_S
        while True:
            try:
                given = act()
            except self._errors.AlreadyExistsError:
                raise
            except (self._errors.BaseError, FileNotFoundError) as error:
                said = str(error)
                if (lasting := self._lasting(error, said)) is not None:
                    raise lasting from None
                if isinstance(error, FileNotFoundError):
                    raise
                waited_s = time.monotonic() - began_at
                if waited_s + wait_s > self.patience_s:
                    raise self._out_of_reach(said) from None
                if waited_s > _TOLD_AFTER_S and not self._is_told:
                    self._is_told = True
                    self.say(
                        f"{self.address} cannot be reached ({_why(said)}): tried for {self.patience_s:.0f} s at most"
                    )
            else:
                self._was_reached, self._is_told = True, False
                return given
            time.sleep(wait_s * random.uniform(0.5, 1.0))
            wait_s = min(2 * wait_s, _LONGEST_WAIT_S)

    def _lasting(self, error: Exception, said: str) -> Exception | None:
        """What is told of a failure that another try does not mend; None where it may."""
        where, scheme = self.address, self.address.scheme
        status, code = _answer(said)
        if "NoSuchBucket" in said or "ContainerNotFound" in said or "bucket does not exist" in said:
            return UserError(
                f"{where}: there is no bucket {self.address.bucket!r}: make it, or give --results another address"
            )
        if isinstance(error, FileNotFoundError):
            return None
        if not self._was_reached and any(one in said for one in _NO_CREDENTIALS):
            return MachineError(f"{where}: no credentials were found for it: {_HOW_TO_SIGN[scheme]}")
        if isinstance(error, self._errors.PermissionDeniedError | self._errors.UnauthenticatedError):
            return MachineError(
                f"{where}: the store refused the credentials ({code or status}): they have to allow that objects are "
                f"listed, read, written and deleted there"
            )
        if isinstance(error, self._errors.NotSupportedError) or status == 501:
            return MachineError(
                f"{where}: this store knows no conditional puts, which keep two runs apart: use another"
            )
        if status in (301, 307, 308):
            return MachineError(f"{where}: the bucket is in another region: set AWS_REGION to its own")
        if status is not None and 400 <= status < 500 and status not in (408, 409, 425, 429):
            return MachineError(f"{where}: the store refused this ({code or status})")
        return None

    def _out_of_reach(self, said: str) -> MachineError:
        return MachineError(
            f"{self.address} cannot be reached ({_why(said)}, again and again for {self.patience_s:.0f} s): look at "
            f"the network and the address of its server, and repeat the command, which goes on"
        )


def _found(one: Any) -> Found:
    return Found(one["path"], one["size"], one["e_tag"] or "", one["last_modified"])


def _opened(address: StoreAddress) -> Any:
    """The store of an address, with credentials and settings as the environment has them."""
    from obstore.store import AzureStore, GCSStore, S3Store

    endpoint = next(
        filter(None, map(os.environ.get, ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"))), None
    )
    own_server = address.scheme == "s3" and endpoint is not None
    # Requests that fail are tried again here, where it is known for how long.
    common: dict[str, Any] = {
        "prefix": address.prefix or None,
        "retry_config": {"max_retries": 1, "retry_timeout": timedelta(seconds=10)},
        "client_options": {
            "timeout": timedelta(seconds=60),
            "connect_timeout": timedelta(seconds=5),
            "allow_http": own_server and endpoint is not None and endpoint.startswith("http://"),
        },
    }
    if address.scheme == "gs":
        return GCSStore(address.bucket, **common)
    if address.scheme == "az":
        return AzureStore(address.bucket, **common)
    if own_server:
        common["endpoint"] = endpoint
    return S3Store(address.bucket, **common, **_profile())


def _profile() -> dict[str, Any]:
    """Credentials and region of the user's profile, which obstore does not read; none where the environment has any."""
    if os.environ.get("AWS_ACCESS_KEY_ID"):
        return {}
    try:
        import boto3
        from obstore.auth.boto3 import Boto3CredentialProvider
    except ImportError:
        return {}
    try:
        session = boto3.Session()
        if session.get_credentials() is None:
            return {}
        provider = {"credential_provider": Boto3CredentialProvider(session)}
    except Exception as error:
        raise MachineError(
            f"your AWS profile cannot be used ({type(error).__name__}): see `aws sts get-caller-identity`"
        ) from None
    return provider if session.region_name is None else {**provider, "region": session.region_name}


def _answer(said: str) -> tuple[int | None, str | None]:
    """Status and code of what the server answered, if it did. Nothing else of it is told: it may hold keys."""
    status = re.search(r"non-2xx status code: (\d{3})", said)
    code = re.search(r"<Code>(\w{1,60})</Code>", said)
    return None if status is None else int(status[1]), None if code is None else code[1]


def _why(said: str) -> str:
    status, code = _answer(said)
    return f"it answered {code or status}" if status is not None else "the connection failed"


def _first_words(error: Exception) -> str:
    return json.dumps(str(error).partition("\n")[0][:200])
