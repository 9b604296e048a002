"""python -m sweep.clean RESULTS: frees the disk of what a results folder can do without, and says how much that is."""

import argparse
import sys
from typing import TYPE_CHECKING

from sweep.command_line import EXIT_DONE, Command, add_results

if TYPE_CHECKING:
    from sweep.store.leftovers import Leftover


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    add_results(parser)
    parser.add_argument("--dry-run", action="store_true", help="say what would be freed, and free nothing")
    parser.add_argument(
        "--all",
        action="store_true",
        help="also the checkpoints of unfinished trials, which then begin anew, and the evidence about failed ones, of "
        "whose causes the report then knows the name alone",
    )


def _work(options: argparse.Namespace) -> int:
    from sweep.store.leftovers import leftovers, remove
    from sweep.store.lock import FolderLock, check_free

    found = leftovers(options.results)
    if options.dry_run:
        check_free(options.results)
        _say(found, options.all, verb="would free")
        return EXIT_DONE
    lock = FolderLock(options.results)
    try:
        # A run may have gone on, and ended, in between.
        found = leftovers(options.results)
        for one in found:
            if options.all or not one.price:
                remove(one)
    finally:
        lock.release()
    _say(found, options.all, verb="freed")
    return EXIT_DONE


def _say(found: "list[Leftover]", everything: bool, verb: str) -> None:
    freed = [one for one in found if everything or not one.price]
    for one in freed:
        print(f"{one.what}: {_mib(one.num_bytes)}")
    for one in found:
        if one not in freed:
            print(f"kept: {one.what}, {_mib(one.num_bytes)} (--all frees it too: {one.price})")
    print(f"{verb} {_mib(sum(one.num_bytes for one in freed))}" if freed else "nothing to free")


def _mib(num_bytes: int) -> str:
    return f"{num_bytes / 2**20:.1f} MiB"


COMMAND = Command(
    name="clean",
    summary="free the disk of checkpoints and other files that a study has no more use for",
    description="Free the disk of what a results folder can do without: checkpoints of finished trials, Ray's own "
    "files, half-written files of killed runs. Report, comparison, explanations and going on with the study need none "
    "of it. A folder in which a run is at work is left alone.",
    add_arguments=_add_arguments,
    work=_work,
)
main = COMMAND.main

if __name__ == "__main__":
    sys.exit(main())
