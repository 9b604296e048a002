"""python -m sweep.replay FILE: judges a training from its log, with the rules that watch live trainings."""

import argparse
import json
import sys
import textwrap
from pathlib import Path

from sweep.command_line import EXIT_DONE, Command
from sweep.logs.columns import SPELLINGS

_FORMATS = """\
FILE is CSV (also TSV), Parquet, JSON lines, a TensorBoard event file or a folder that holds one, or a plain text log.
A steps/<trial>.parquet of a results folder is judged with its study's own settings.
Columns or tags are found by their names in any case and with any separators, with or without "train/":
"""


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = _columns_help()
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("file", type=Path, metavar="FILE", help="the log")
    parser.add_argument("--json", action="store_true", help="print the JSON object as one compact line")
    parser.add_argument("--l-const", type=float, metavar="X", help="zero-information loss, nats a label")
    parser.add_argument("--l-unif", type=float, metavar="X", help="loss of a uniform output, nats a label")
    parser.add_argument("--budget", type=int, metavar="N", help="steps that the run was planned for")


def _columns_help() -> str:
    lines = [f"  {field}: {', '.join(names[1:])}" for field, names in SPELLINGS.items()]
    return _FORMATS + "\n".join(textwrap.fill(line, 100, subsequent_indent="    ") for line in lines)


def _work(options: argparse.Namespace) -> int:
    from sweep import store
    from sweep.logs.answer import replay

    answer = replay(options.file, l_const=options.l_const, l_unif=options.l_unif, budget=options.budget)
    for note in answer["notes"]:
        print(f"note: {note}", file=sys.stderr)
    print(json.dumps(store.without_nonfinite(answer), indent=None if options.json else 2, allow_nan=False))
    return EXIT_DONE


COMMAND = Command(
    name="replay",
    summary="judge a training of any other program from its log",
    description="Judge a training from its log: prints one JSON object with verdict, stop_step, detector, reason.",
    add_arguments=_add_arguments,
    work=_work,
)
main = COMMAND.main

if __name__ == "__main__":
    sys.exit(main())
