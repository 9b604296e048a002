"""`sweep.function_study`: a study of a Python function, begun from Python, a script or a notebook."""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from slr_models.errors import UserError
from sweep.command_line import EXIT_INTERRUPTED, console, path_or_address
from sweep.own.program import Target
from sweep.run.driver import run_study
from sweep.run.kept import worked_in
from sweep.run.time_limit import time_limit
from sweep.study import LoadedStudy, validate
from sweep.yaml_source import YamlSource

if TYPE_CHECKING:
    from sweep.report.notebook import Results

_NAME = "function_study"
"""Stands for the file in messages."""


@dataclass(frozen=True, eq=False)
class FunctionStudy:
    """A study of a function; `run()` runs it, or goes on with it."""

    function: Target
    loaded: LoadedStudy
    """The study, validated."""
    results: Path | str
    """Where its folder is made; a text is an address of an object store."""

    def run(
        self,
        *,
        trials: int | str | None = None,
        jobs: int | None = None,
        time: str | None = None,
        log: Sequence[str] = (),
        notify: Sequence[str] = (),
        storage: str | None = None,
        address: str | None = None,
        retry: Sequence[str] = (),
        private: bool = False,
        dry_run: bool = False,
    ) -> "Results | None":
        """Runs it to its end, writes the report, and opens the results; the same call goes on with what is there.

        Args:
            trials: as `--trials`: how many in all, or "+20" for twenty more.
            jobs: most at the same time.
            time: as `--time`: such as "30m".
            log: as `--log`: such as "tensorboard".
            notify: as `--notify`: such as "ntfy://my-topic", or "env:NAME" for an address in an environment variable.
            storage: as `--storage`: a database that shows the search too, such as "env:NAME" for a URL in a variable.
            address: of a running Ray cluster; None starts Ray on this machine.
            retry: as `--retry`: trainings that ended so run again, such as "crashed".
            private: as `--private`: the report is one to be shared.
            dry_run: only say what would be done; gives None.

        Raises:
            UserError: a mistake in what was given; its message says what to do.
            MachineError: Ray does not start on this machine, or it failed.
            KeyboardInterrupt: Ctrl-C; what had finished is kept.
        """
        started = monotonic()
        options = argparse.Namespace(
            results=self.results,
            trials=None if trials is None else str(trials),
            jobs=None if jobs is None else str(jobs),
            retry=list(retry),
            private=private,
            time=time,
            started=started,
            dry_run=dry_run,
            loggers=list(log),
            notify=list(notify),
            storage=storage,
            address=address,
        )
        code = run_study(self.loaded, options, console(), time_limit(time, started), self.function)
        if code == EXIT_INTERRUPTED:
            raise KeyboardInterrupt
        if dry_run:
            return None
        from sweep.report.notebook import load_results

        return load_results(worked_in(self.results, self.loaded.study.name))


def function_study(
    train: Target,
    *,
    space: Mapping[str, Any],
    name: str,
    trials: int = 32,
    steps: int | None = None,
    objective: str | Mapping[str, str] | None = None,
    config: Mapping[str, Any] | None = None,
    references: Mapping[str, Any] | None = None,
    search: str | Mapping[str, Any] | None = None,
    results: str | Path = "results",
    **sections: Any,
) -> FunctionStudy:
    """A study of `train(config, run)`, which trains with the settings in `config` and reports through `run`.

        def train(config, run):
            for batch in batches:
                ...
                run.step(loss=loss, grad_norm=norm)      # raises sweep.Stop where the run is lost
            return {"val_loss": val_loss, "accuracy": accuracy}

        sweep.function_study(
            train, space={"lr": sweep.loguniform(1e-5, 1), "precision": ["fp32", "bf16"]}, trials=40, name="mine"
        ).run()

    Args:
        train: the function; it is sent to the processes that train, with what it refers to.
        space: name of a setting -> how it varies: `sweep.loguniform`, `uniform`, `integer`, `grid`, `choice`; a list of
            numbers is a grid, of anything else a choice.
        name: of the study, and of its folder.
        trials: trainings of the exploration.
        steps: how many steps a training has; None where the function decides.
        objective: what a stable training is judged by: a result to be small, or {"maximize": "accuracy"}. By default
            `val_loss` if it is reported, else the last training loss.
        config: values that all trainings share.
        references: losses of learning nothing: `l_const`, `l_unif`, or `cross_entropy` (how often each class occurs).
        search: its kind, such as "random", or its section.
        results: where the study's folder is made: a folder, or an address such as "s3://bucket/results".
        **sections: any other section of a study file, such as resources={"cpus": 2}, confirm=..., monitor=..., seed=1.

    Raises:
        SettingError: one line for each mistake.
        UserError: `train` is no function.
    """
    if not callable(train):
        raise UserError(f"function_study: train is {train!r}; give a function that is called as train(config, run)")
    for what, given in (("space", space), ("budget", sections.get("budget", {}))):
        if not isinstance(given, Mapping):
            raise UserError(f"function_study: {what} is {given!r}; give a dict")
    if not isinstance(results, str | Path):
        raise UserError(f"function_study: results is {results!r}; give the folder in which the study's own is made")
    budget = {"trials": trials, **_given(steps=steps), **dict(sections.pop("budget", {}))}
    trial = {"kind": "function", **_given(config=config, references=references)}
    content = {
        "name": name,
        "trial": trial,
        "space": {path: _dimension(value) for path, value in space.items()},
        "budget": budget,
        **_given(objective=objective, search={"kind": search} if isinstance(search, str) else search),
        **sections,
    }
    return FunctionStudy(train, validate(YamlSource(_NAME, _plain(content), {})), path_or_address(str(results)))


def _given(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _dimension(value: Any) -> Any:
    """A dimension as a study file has it."""
    if isinstance(value, BaseModel | Mapping):
        return value
    if hasattr(value, "tolist"):
        # An array of NumPy's.
        value = value.tolist()
    if isinstance(value, list | tuple | range):
        values = list(value)
        is_grid = all(isinstance(one, int | float) and not isinstance(one, bool) for one in values)
        return {"grid" if is_grid else "choice": values}
    return {"choice": [value]}


def _plain(value: Any, place: str = "") -> Any:
    """Settings as a parsed file has them.

    Raises:
        UserError: one is of a kind that no file holds.
    """
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    if isinstance(value, Mapping):
        return {str(key): _plain(one, f"{place}.{key}" if place else str(key)) for key, one in value.items()}
    if isinstance(value, list | tuple | range):
        return [_plain(one, place) for one in value]
    if hasattr(value, "tolist"):
        # An array or a number of NumPy's.
        return _plain(value.tolist(), place)
    if isinstance(value, Path):
        return str(value)
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise UserError(
        f"function_study: {place} is {value!r}, which no study file can hold: give numbers, texts, lists and dicts, "
        f"and make objects inside of the function"
    )
