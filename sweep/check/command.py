"""python -m sweep.check STUDY.yaml: what is wrong or odd in a study's data, found before any training."""

import argparse
import json
from pathlib import Path

from sweep.command_line import EXIT_DONE, EXIT_FOUND, Command, add_json, add_study, answer_alone, console


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    add_study(parser)
    add_json(parser)


def _work(options: argparse.Namespace) -> int:
    from dataclasses import asdict

    from slr_models import user_code
    from sweep import store
    from sweep.check.lines import lines
    from sweep.check.report import check
    from sweep.study import load
    from sweep.study.code import named_by, told
    from sweep.study.shipped import study_file

    with answer_alone(options.json):
        options.study = study_file(options.study)
        loaded = load(options.study, options.overrides)
        if code := tuple(named_by(loaded.study)):
            user_code.look_in(Path.cwd(), options.study.parent)
            print(f"this study runs code of {told(code)}", flush=True)
    if (own := loaded.study.own) is not None:
        from sweep.running.own_study import own_program, trained
        from sweep.running.plan import resource_lines

        with answer_alone(options.json):
            own_program(loaded, None)
            trains = trained(own, None)
            print(f"{loaded.study.name}: {trains}: nothing wrong found; its data are its own, and were not looked at")
            for line in resource_lines(loaded.study.resources):
                print(line)
        if options.json:
            print(json.dumps({"ok": True, "study": loaded.study.name, "problems": []}))
        return EXIT_DONE
    with answer_alone(options.json):
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
