"""python -m sweep.check STUDY.yaml: what is wrong or odd in a study's data, found before any training."""

import argparse
import json

from sweep.command_line import EXIT_DONE, EXIT_FOUND, Command, add_json, add_study, answer_alone, console


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    add_study(parser)
    add_json(parser)


def _work(options: argparse.Namespace) -> int:
    from dataclasses import asdict

    from sweep import store
    from sweep.check.lines import lines
    from sweep.check.report import check
    from sweep.study import load
    from sweep.study.code import named_by, told

    with answer_alone(options.json):
        loaded = load(options.study, options.overrides)
        if code := tuple(named_by(loaded.study)):
            print(f"this study runs code of {told(code)}", flush=True)
        report = check(loaded)
    if options.json:
        content = {"ok": not report.has_errors, **asdict(report)}
        print(json.dumps(store.without_nonfinite(content), allow_nan=False))
    else:
        screen = console()
        for text, style in lines(report):
            screen.print(text, style=style or None, highlight=False, markup=False)
    return EXIT_FOUND if report.has_errors else EXIT_DONE


COMMAND = Command(
    name="check",
    summary="check the data of a study before any training",
    description="Check the data of a study before any training. Exit code 1 where the data have errors.",
    add_arguments=_add_arguments,
    work=_work,
)
main = COMMAND.main
