"""python -m sweep.replay FILE: judges a training from its log, with the rules that watch live trainings."""

import argparse
import json
import sys
import textwrap
from pathlib import Path

from sweep.command_line import EXIT_DONE, Command
from sweep.logs.columns import SPELLINGS

_FORMATS = """\
FILE is CSV (also TSV, Markdown), Parquet, JSON (lines, a list, an object of lists), a TensorBoard event file or a
folder that holds one, MLflow's metric file or the folder of its run, or a plain text log; any of them gzipped.
A steps/<trial>.parquet (.jsonl while it trains) of a results folder is judged with its study's own settings.
Columns or tags are found by their names in any case and with any separators, with or without "train/". Of several
losses the best name counts that holds about as much as any; parts without a total are summed. Notes say what was taken:
"""


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = _columns_help()
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("file", type=Path, metavar="FILE", help="the log")
    parser.add_argument("--json", action="store_true", help="print the JSON object as one compact line")
    parser.add_argument("--l-const", type=float, metavar="X", help="zero-information loss, nats a label")
    parser.add_argument("--l-unif", type=float, metavar="X", help="loss of a uniform output, nats a label")
    parser.add_argument("--budget", type=int, metavar="N", help="steps that the run was planned for")
    columns = parser.add_argument_group(
        "what the log calls what", "found by itself where it is left out; notes say how"
    )
    columns.add_argument(
        "--loss",
        action="append",
        default=[],
        metavar="NAME",
        help="the training loss: a column, its number where columns have no names, or in a text any words before a "
        "number; A,B (or twice) sums several",
    )
    columns.add_argument("--norm", metavar="NAME", help="the gradient norm before clipping")
    columns.add_argument("--scale", metavar="NAME", help="the loss scale")
    columns.add_argument("--step", metavar="NAME", help="the number of the step")
    columns.add_argument(
        "--run", metavar="NAME", help="which run, where the file holds several; those of a text are 1, 2, ..."
    )


def _columns_help() -> str:
    lines = [f"  {field}: {', '.join(names[1:])}" for field, names in SPELLINGS.items()]
    return _FORMATS + "\n".join(textwrap.fill(line, 100, subsequent_indent="    ") for line in lines)


def _work(options: argparse.Namespace) -> int:
    from sweep import store
    from sweep.logs.answer import replay
    from sweep.logs.choice import ColumnChoice

    choice = ColumnChoice(tuple(options.loss), options.norm, options.scale, options.step, options.run)
    answer = replay(options.file, l_const=options.l_const, l_unif=options.l_unif, budget=options.budget, choice=choice)
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
