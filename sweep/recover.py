"""python -m sweep.recover RESULTS: rebuilds a damaged or lost ledger from what is left in a results folder."""

import argparse
import json
import sys

from sweep.command_line import EXIT_DONE, Command, add_json, add_results


def _work(options: argparse.Namespace) -> int:
    from sweep.running.recovering import recover

    found = recover(options.results)
    if options.json:
        print(json.dumps(found.as_json()))
    else:
        print("\n".join(found.sentences()))
    return EXIT_DONE


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    add_results(parser)
    add_json(parser)


COMMAND = Command(
    name="recover",
    summary="bring back a damaged or lost ledger",
    description="Rebuild the ledger of a results folder from its sound lines and the table of finished trials, and say "
    "what could not be brought back. Keeps the file as it was beside it, and destroys nothing; the study's command "
    "goes on from there.",
    add_arguments=_add_arguments,
    work=_work,
)
main = COMMAND.main

if __name__ == "__main__":
    sys.exit(main())
