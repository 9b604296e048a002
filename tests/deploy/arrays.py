"""Tasks of a job array as processes of this machine, which `sbatch --array` would start on nodes."""

import contextlib
import subprocess
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import psutil

from benchmarks.reliability.runs import MARK, marked, wait_until

ROOT = Path(__file__).parents[2]
SLURM = {
    "scontrol": "",
    # Of the tasks that were started, those that are still there.
    "squeue": 'cd "$FOLDER/tasks"; for one in *; do kill -0 "$(<"$one")" 2>&- && echo "$one RUNNING"; done; true',
}


class Array:
    """An array of the script; each command that it calls by its name is a stand-in, which notes the call."""

    def __init__(self, folder: Path, stand_ins: Mapping[str, str], study: str, environment: Mapping[str, str]) -> None:
        """Starts nothing yet.

        Args:
            folder: of all that it needs and makes.
            stand_ins: what each command does, in bash.
            study: as the script is given it.
            environment: of all tasks.
        """
        self.folder, self.results = folder, folder / "results"
        # Ray's folders have its name.
        self.job = str(time.time_ns() % 10**9)
        self._study, self._environment = study, environment
        self._tasks: dict[int, subprocess.Popen[bytes]] = {}
        self._mark = uuid.uuid4().hex
        for name in ("bin", "home", "tasks"):
            (folder / name).mkdir()
        for name, what in {**SLURM, **stand_ins}.items():
            path = folder / "bin" / name
            path.write_text(f'#!/bin/bash\necho "{name} $SLURM_ARRAY_TASK_ID $*" >> "$FOLDER/calls"\n{what}\n')
            path.chmod(0o755)

    def start(self, *tasks: int, left_s: float = 3600, **environment: str) -> None:
        for task in tasks:
            variables = {
                "PATH": f"{self.folder / 'bin'}:/usr/bin:/bin",
                "HOME": str(self.folder / "home"),
                "FOLDER": str(self.folder),
                MARK: f"{self._mark}-{task}",
                "SLURM_ARRAY_JOB_ID": self.job,
                "SLURM_ARRAY_TASK_ID": str(task),
                "SLURM_JOB_ID": str(int(self.job) + task - 1),
                "SLURMD_NODENAME": "localhost",
                "SLURM_JOB_END_TIME": str(time.time() + left_s),
                **self._environment,
                **environment,
            }
            with self._log(task).open("ab") as log:
                self._tasks[task] = subprocess.Popen(
                    ["bash", "deploy/slurm-array.sh", self._study, str(self.results), "--trials", "12"],
                    cwd=ROOT, env=variables, stdout=log, stderr=log, start_new_session=True,
                )  # fmt: skip
            (self.folder / "tasks" / self.name(task)).write_text(str(self._tasks[task].pid))

    def together(self, *tasks: int, **environment: str) -> None:
        """Starts tasks, of which the first leads, and waits until the others train for it."""
        first, *others = tasks
        num = self.num_runs
        self.start(first, **environment)
        wait_until(lambda: self.num_runs > num, 300)
        self.start(*others, **environment)
        wait_until(lambda: all(self.trains(task) for task in others), 30)

    def kill(self, task: int) -> None:
        """All of it at once, as the loss of a node does."""
        process = self._tasks[task]
        while found := self.left(task) + ([psutil.Process(process.pid)] if process.poll() is None else []):
            for one in found:
                with contextlib.suppress(psutil.Error):
                    one.kill()
            process.wait()

    def left(self, task: int) -> list[psutil.Process]:
        """Processes of it that are alive."""
        found = marked(f"{self._mark}-{task}")
        # Some write their names over their environment.
        with contextlib.suppress(psutil.Error):
            found += [two for one in found for two in one.children(recursive=True) if two not in found]
        return found

    def end(self, *tasks: int, within_s: float = 30) -> list[int]:
        """Their exit codes, once they have ended."""
        return [self._tasks[task].wait(within_s) for task in tasks]

    def signal(self, task: int, number: int) -> None:
        self._tasks[task].send_signal(number)

    def kill_head(self, task: int) -> None:
        children = psutil.Process(self._tasks[task].pid).children()
        next(one for one in children if "--head" in one.cmdline()).kill()

    def name(self, task: int) -> str:
        """As Slurm has it."""
        return f"{self.job}_{task}"

    def calls(self, command: str, task: int | None = None) -> list[str]:
        path = self.folder / "calls"
        found = path.read_text().splitlines() if path.is_file() else []
        return [one for one in found if one.startswith(f"{command} {'' if task is None else f'{task} '}")]

    def trains(self, task: int) -> bool:
        return any("--address" in one for one in self.calls("ray", task))

    @property
    def num_runs(self) -> int:
        return len(self.calls("slr-sweep"))

    def said(self, task: int) -> str:
        return self._log(task).read_text()

    def told(self, file: str) -> str:
        """What tasks tell each other."""
        return (self.results / f".array-{self.job}" / file).read_text()

    def _log(self, task: int) -> Path:
        return self.folder / f"log-{task}"

    def end_all(self) -> None:
        for task in self._tasks:
            self.kill(task)
        for folder in Path("/tmp").glob(f"ray-{self.job}_*"):
            subprocess.run(["rm", "-rf", str(folder)], check=True)


@contextmanager
def array(folder: Path, stand_ins: Mapping[str, str], study: str, **environment: str) -> Iterator[Array]:
    """An array, all tasks of which are gone after the block."""
    made = Array(folder, stand_ins, study, environment)
    try:
        yield made
    finally:
        made.end_all()
