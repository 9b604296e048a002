"""python -m sweep.explain RESULTS TRIAL: says why a trial of a finished or running study went as it did."""

import argparse
import sys

from sweep.command_line import EXIT_DONE, Command, add_json, add_results, answer_alone


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    add_results(parser)
    parser.add_argument("trial", metavar="TRIAL", help="a trial's name as in the report, such as 0007")
    parser.add_argument(
        "--trust", action="store_true", help="run the code that the study names, although no run of yours has signed it"
    )
    add_json(parser)


def _work(options: argparse.Namespace) -> int:
    from sweep import store
    from sweep.forensics.sentences import explanation_lines
    from sweep.machine import try_to_write
    from sweep.running.past_trial import explain_trial

    if options.results.is_dir():
        # It is to be written at the end; the training before that may take long.
        try_to_write(options.results)
    with answer_alone(options.json):
        path = explain_trial(options.results, options.trial, trust=options.trust)
    if options.json:
        print(path.read_text(encoding="utf-8"), end="")
    else:
        trial_id = path.parent.name
        explanation = store.read_explanation(options.results, trial_id)
        assert explanation is not None, "just written"
        print("\n".join(explanation_lines(trial_id, explanation)))
    return EXIT_DONE


COMMAND = Command(
    name="explain",
    summary="say why a trial went as it did",
    description="Say why a trial went as it did: what was first non-finite, and which single change rescues it. "
    "Trains it again where nothing cheaper tells, and says before how many steps that takes.",
    add_arguments=_add_arguments,
    work=_work,
)
main = COMMAND.main

if __name__ == "__main__":
    sys.exit(main())
