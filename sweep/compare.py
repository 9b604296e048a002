"""python -m sweep.compare A B: what changed between two studies, regressions first."""

import argparse
import json
import sys
from pathlib import Path

from slr_models.errors import SettingError
from sweep.command_line import EXIT_DONE, EXIT_FOUND, Command, add_json, console, path_or_address


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    what = "results folder of a study, such as results/before, or s3://BUCKET/PREFIX/before"
    parser.add_argument("before", type=path_or_address, metavar="A", help=what)
    parser.add_argument("after", type=path_or_address, metavar="B", help="results folder that is held against it")
    add_json(parser)
    parser.add_argument("--output", type=Path, metavar="FILE", help="write the JSON object to a file")


def _work(options: argparse.Namespace) -> int:
    from sweep.analysis.comparison.folders import compare_folders
    from sweep.analysis.comparison.sentences import as_json, lines
    from sweep.store.remote.study import study_copy

    before, after = (
        given if (copy := study_copy(given)) is None else copy.folder for given in (options.before, options.after)
    )
    found = compare_folders(before, after)
    text = json.dumps(as_json(found, options.before, options.after), indent=2, allow_nan=False) + "\n"
    if options.output is not None:
        _write(options.output, text)
    if options.json:
        print(text, end="")
    else:
        screen = console()
        for line, style in lines(found, options.before, options.after):
            screen.print(line, style=style or None, highlight=False, markup=False)
    return EXIT_FOUND if found.of("regression") else EXIT_DONE


def _write(path: Path, text: str) -> None:
    from sweep import store

    if path.is_dir():
        raise SettingError(f"--output {path} is a folder: give the name of a file")
    if path.exists() and not path.is_file():
        # A pipe or a device is written to, not replaced.
        path.write_text(text, encoding="utf-8")
    else:
        store.write_text(path, text)


COMMAND = Command(
    name="compare",
    summary="tell what changed from one study to another",
    description="Tell what changed from one study to another: stable region, losses and WER, outcomes, cost, claims. "
    "Exit code 1 where something became worse beyond chance, 4 where nothing can be compared.",
    add_arguments=_add_arguments,
    work=_work,
)
main = COMMAND.main

if __name__ == "__main__":
    sys.exit(main())
