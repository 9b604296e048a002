"""python -m sweep.queue RESULTS setting=value ...: has a setting of your own trained next."""

import argparse
import sys
from typing import TYPE_CHECKING

from sweep.command_line import EXIT_DONE, Command, add_results

if TYPE_CHECKING:
    from sweep.space import Settings, Space


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    add_results(parser)
    parser.add_argument(
        "settings",
        nargs="+",
        metavar="setting=value",
        help="a searched setting by its path or the end of it, such as lr=3e-4; the search draws those left out",
    )


def _work(options: argparse.Namespace) -> int:
    from slr_models.errors import SettingError
    from sweep.records import Phase
    from sweep.search import GridSearch
    from sweep.store import wishes
    from sweep.store.ledger_lines import LedgerTail
    from sweep.store.lock import in_use
    from sweep.study import num_settings, read_study
    from sweep.wording import plural

    study = read_study(options.results).study
    if study.design is not None or isinstance(study.search, GridSearch):
        kind = "a design" if study.design is not None else "a grid search"
        raise SettingError(f"{options.results} is a study with {kind}, which trains a fixed list of settings")
    settings = settings_in(study.space, options.settings)
    wishes.enqueue(options.results, settings)
    ledger = LedgerTail(options.results)
    ledger.update()
    num_groups = len({ask.group for ask in ledger.asks.values() if ask.phase is Phase.EXPLORE})
    is_spent = num_groups >= num_settings(study)
    if is_spent:
        when = f"all {plural(num_groups, 'setting')} of the budget are drawn: --trials +1 goes on with it"
    elif in_use(options.results):
        when = "it is trained next, as one of the budget's"
    else:
        when = "it is trained first when the study goes on"
    print(f"queued {', '.join(f'{path}={value}' for path, value in settings.items())}: {when}")
    return EXIT_DONE


def settings_in(space: "Space", words: list[str]) -> "Settings":
    """Settings as a user writes them, `lr=3e-4`, by their paths.

    Raises:
        SettingError: one is not searched, given twice or does not exist beside the others, or its value lies outside.
    """
    from slr_models.errors import SettingError
    from sweep import yaml_source
    from sweep.space import Choice, Grid, contains
    from sweep.wording import short_keys, value_text

    keys = short_keys(space)
    names = {**{key: path for path, key in keys.items()}, **{path: path for path in space}}
    found: Settings = {}
    for word in words:
        name, equals, text = word.partition("=")
        if not equals:
            raise SettingError(f"{word!r}: write it as setting=value, such as {next(iter(keys.values()), 'lr')}=...")
        path = names.get(name.strip())
        if path is None:
            raise SettingError(
                f"{word!r}: the study does not search {name.strip()!r}: it has {', '.join(keys.values())}"
            )
        if path in found:
            raise SettingError(f"{word!r}: {name.strip()} is given twice")
        value = yaml_source.parse_scalar(text)
        if not contains(space[path], value):
            ends = [value_text(one) for one in space[path].ends]
            is_list = isinstance(space[path], Choice | Grid)
            inside = f"one of {', '.join(ends)}" if is_list else f"{ends[0]} to {ends[-1]}"
            raise SettingError(f"{word!r} lies outside of what the study searches: {inside}")
        found[path] = value
    for path in found:
        for other, values in space[path].when.items():
            if found.get(other) not in values:
                needed = f"{keys[other]}={values[0]}"
                raise SettingError(f"{keys[path]} exists only with {needed}: give that, too")
    return found


COMMAND = Command(
    name="queue",
    summary="have a setting of your own trained next",
    description="Have a setting of your own trained next, by the run that is at work in a results folder or by the "
    "next one. It is one of the budget's trials: map, search and report learn from it as from any other.",
    add_arguments=_add_arguments,
    work=_work,
)
main = COMMAND.main

if __name__ == "__main__":
    sys.exit(main())
