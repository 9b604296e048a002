"""What a results folder can do without: checkpoints of finished trials, Ray's own files, what killed runs left behind.

The report, a comparison, an explanation and a study that goes on read none of it, apart from what has a price. What
lies behind a link is another folder's, and is left alone.
"""

import os
import shutil
import stat
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from slr_models.errors import ResultsError
from sweep.store.files import TEMPORARY
from sweep.store.ledger_lines import LEDGER_FILE, LedgerTail
from sweep.wording import plural

CHECKPOINTS, EVIDENCE, RAY = "checkpoints", "evidence", "ray"


@dataclass(frozen=True)
class Leftover:
    """Files and folders of one kind."""

    what: str
    """In words, with their number."""
    paths: tuple[Path, ...]
    num_bytes: int
    price: str = ""
    """What is lost with it, in a clause, so that it is kept where nobody asks for more room; empty: nothing."""


def leftovers(results_dir: Path) -> list[Leftover]:
    """What could be freed, the largest kinds first; it changes nothing.

    Raises:
        ResultsError: the folder is not the results folder of a study, or its ledger is damaged.
    """
    if not (results_dir / LEDGER_FILE).is_file():
        raise ResultsError(
            f"{results_dir / LEDGER_FILE} does not exist, which tells what a study still needs: give the results "
            f"folder of a study, such as results/smoke"
        )
    ledger = LedgerTail(results_dir)
    ledger.update()
    folders = _own(results_dir / CHECKPOINTS)
    ended = [path for path in folders if path.name in ledger.told]
    open_ = [path for path in folders if path.name not in ledger.told]
    temporary = list(_temporary(results_dir, besides=[*ended, results_dir / RAY]))
    half_written = _leftover(f"{plural(len(temporary), 'half-written file')} of killed runs", temporary)
    needed = _leftover(f"checkpoints of {plural(len(open_), 'unfinished trial')}", open_, price="those then begin anew")
    evidence = [path for path in _own(results_dir / EVIDENCE) if path.is_dir() or path.is_symlink()]
    explained = _leftover(
        f"evidence about {plural(len(evidence), 'failed trial')}",
        evidence,
        price="of a cause only its name is left then",
    )
    within = sum(path.lstat().st_size for path in temporary if path.parent in open_)
    found = [
        _leftover(f"checkpoints of {plural(len(ended), 'finished trial')}", ended),
        _leftover("Ray's own files", _own(results_dir / RAY)),
        half_written,
        replace(needed, num_bytes=needed.num_bytes - within),
        explained,
    ]
    return sorted((one for one in found if one.paths), key=lambda one: (one.price != "", -one.num_bytes))


def remove(leftover: Leftover) -> None:
    """Frees it.

    Raises:
        OSError: it cannot be removed.
    """
    for path in leftover.paths:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _leftover(what: str, paths: Collection[Path], *, price: str = "") -> Leftover:
    return Leftover(what, tuple(paths), sum(map(_num_bytes, paths)), price)


def _own(folder: Path) -> list[Path]:
    """What lies in a folder; nothing where it is a link to another one, or is not there."""
    return sorted(folder.iterdir()) if folder.is_dir() and not folder.is_symlink() else []


def _temporary(folder: Path, besides: Collection[Path]) -> Iterator[Path]:
    for root, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if Path(root, name) not in besides]
        for name in files:
            path = Path(root, name)
            if TEMPORARY.fullmatch(name) and stat.S_ISREG(path.lstat().st_mode):
                yield path


def _num_bytes(path: Path) -> int:
    own = path.lstat().st_size
    if path.is_symlink() or not path.is_dir():
        return own
    return own + sum(os.lstat(os.path.join(root, name)).st_size for root, _, files in os.walk(path) for name in files)
