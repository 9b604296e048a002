"""python -m sweep.stop RESULTS TRIAL ...: ends trainings that are under way, without a verdict."""

import argparse
import sys

from sweep.command_line import EXIT_DONE, Command, add_results


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    add_results(parser)
    parser.add_argument("trials", nargs="+", metavar="TRIAL", help="its number or name, such as 17 or 0017")


def _work(options: argparse.Namespace) -> int:
    from slr_models.errors import ResultsError, SettingError
    from sweep.store import wishes
    from sweep.store.files import check_is_folder
    from sweep.store.ledger_lines import LedgerTail
    from sweep.store.lock import in_use

    check_is_folder(options.results, "give the results folder of a study")
    ledger = LedgerTail(options.results)
    ledger.update()
    found = []
    for word in options.trials:
        trial_id = next((i for i, ask in ledger.asks.items() if word in (i, str(ask.number))), None)
        if trial_id is None:
            raise SettingError(f"{options.results} has no trial {word}: it has asked for {len(ledger.asks)}")
        if trial_id in ledger.told:
            raise ResultsError(f"trial {trial_id} of {options.results} has ended already")
        found.append(trial_id)
    if not in_use(options.results):
        raise ResultsError(f"no run is at work in {options.results}, so that nothing trains there")
    for trial_id in found:
        wishes.call_off(options.results, trial_id)
        print(f"trial {trial_id} ends within a second or a step, whichever is longer; it is not judged")
    return EXIT_DONE


COMMAND = Command(
    name="stop",
    summary="end a training that is under way",
    description="End trainings that are under way. They are not judged, the search learns nothing from them, and the "
    "study goes on with the next setting.",
    add_arguments=_add_arguments,
    work=_work,
)
main = COMMAND.main

if __name__ == "__main__":
    sys.exit(main())
