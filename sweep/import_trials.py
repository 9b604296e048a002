"""slr-sweep import SOURCE TABLE.csv: trials of another tool as a table that a study's `search.warm_start` reads."""

import argparse
import sys
from pathlib import Path

from sweep.command_line import EXIT_DONE, Command


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "source",
        metavar="SOURCE",
        help="an Optuna storage (sqlite:///x.db, x.db, a journal file), a results folder of Ray Tune, or a CSV file",
    )
    parser.add_argument("table", type=Path, metavar="TABLE.csv", help="what to write")
    parser.add_argument("--study", help="which study of an Optuna storage, where it holds several")
    parser.add_argument(
        "--map",
        action="append",
        default=[],
        metavar="column=setting",
        help="call a column by the path of a setting, such as lr=training.optimizer.lr; may be given several times",
    )
    parser.add_argument("--metric", help="the column that tells whether a trial was stable (of an Optuna study: value)")
    rule = parser.add_mutually_exclusive_group()
    rule.add_argument("--stable-below", type=float, metavar="X", help="stable is what ended with less, and finite")
    rule.add_argument("--stable-above", type=float, metavar="X", help="stable is what ended with more, and finite")


def _work(options: argparse.Namespace) -> int:
    from sweep.search.foreign import StableRule, read_foreign, told_stable
    from sweep.store.files import atomic_path
    from sweep.wording import plural

    rule = StableRule(options.metric, options.stable_below, options.stable_above)
    table = told_stable(read_foreign(options.source, options.study), rule, options.source)
    table = table.rename(columns=_names(options.map, list(table.columns), options.source))
    with atomic_path(options.table) as temporary:
        table.to_csv(temporary, index=False)
    num_stable = int(table["stable"].sum()) if "stable" in table else int((table["margin"] < 0).sum())
    print(f"{options.table}: {plural(len(table), 'trial')}, {num_stable} stable")
    print(f"in a study: search: {{kind: stability, warm_start: [{options.table}]}}")
    return EXIT_DONE


def _names(words: list[str], columns: list[str], source: str) -> dict[str, str]:
    """What the columns are to be called.

    Raises:
        SettingError: a column is none, or two would be called alike.
    """
    from slr_models.errors import SettingError

    found: dict[str, str] = {}
    for word in words:
        column, equals, name = (part.strip() for part in word.partition("="))
        if not equals or not name:
            raise SettingError(f"--map {word}: write it as column=setting, such as lr=training.optimizer.lr")
        if column not in columns:
            raise SettingError(f"--map {word}: {source} has no column {column!r}: it has {', '.join(columns)}")
        found[column] = name
    called = [found.get(column, column) for column in columns]
    if twice := next((name for name in called if called.count(name) > 1), None):
        raise SettingError(f"--map: two columns would be called {twice}")
    return found


COMMAND = Command(
    name="import",
    summary="bring trials of another tool into a study's map and search",
    description="Write trials of another tool as a table that a study begins with (search.warm_start): its map and its "
    "search learn from them as far as they agree with the study's own trainings.",
    add_arguments=_add_arguments,
    work=_work,
)
main = COMMAND.main

if __name__ == "__main__":
    sys.exit(main())
