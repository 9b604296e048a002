"""slr-sweep schema > study.schema.json: prints the JSON schema of a study file, for editors and other programs."""

import argparse
import sys

from sweep.command_line import EXIT_DONE, Command, loading


def _work(_options: argparse.Namespace) -> int:
    with loading():
        from sweep.study.schema import study_schema_text
    print(study_schema_text(), end="")
    return EXIT_DONE


COMMAND = Command(
    name="schema",
    summary="print the JSON schema of a study file, for an editor",
    description="Print the JSON schema of a study file, by which an editor completes settings, explains them and marks "
    "mistakes while you write. Save it as study.schema.json beside your studies and begin each of them with the line "
    "# yaml-language-server: $schema=study.schema.json",
    work=_work,
)
main = COMMAND.main

if __name__ == "__main__":
    sys.exit(main())
