"""One task of a job array: it leads the study, or trains for the task that does. `slurm-array.sh` starts it.

The first task leads: it starts a Ray cluster on its node, and runs the study there; the others join with theirs. When
the leader's time is up, or it is lost, another one leads in a new term, and goes on with the same results.

What they tell each other is in files of RESULTS/.array-<job>, each made once and never changed:

| file         | says                                                                       |
|--------------|----------------------------------------------------------------------------|
| 0001.leader  | which task leads the first term, as Slurm names it                         |
| 0001.address | where its cluster listens                                                  |
| 0001.end     | how the term ended: with which exit code of `slr-sweep run`, or by a `lost` leader |

A term begins once the one before has its end. A leader that is killed writes none; those who find it silent ask Slurm,
and write that it is lost where Slurm says that it runs no more. So no two lead at once, however slow one is.
"""

import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import NoReturn

DONE, MISTAKE, MACHINE, UNFINISHED = 0, 2, 3, 75
"""Exit codes of `slr-sweep run`, as README.md has them."""
LOST = "lost"
MOST_FAILED = 3
"""Terms in a row that ended with a failure of another kind: it would go on so, whoever leads."""
MOST_SILENT = 3
"""Looks in a row at which a cluster does not answer, until it is given up."""
MOST_REFUSED = 5
"""Times in a row that Ray does not come up on a node: it takes 30 s at most, where many may read its files at once."""
LEAVE_S = 60.0
"""Of a task's time, in which it trains no more."""
LEAST_S = 300.0
"""The shortest time for which a task leads: with each leader trainings begin anew, or at their checkpoints."""
GRACE_S = 60.0
"""Between asking a process to end and making it."""
MAY_LIVE = {"RUNNING", "COMPLETING", "SUSPENDED", "STOPPED", "SIGNALING"}
"""States that Slurm has for a job of which processes may be left."""


@dataclass(frozen=True)
class Task:
    """This task, as Slurm describes it, and what `slurm-array.sh` can be told."""

    array: str
    name: str
    """Such as 4711_3: the SLURM_JOB_ID of one of the tasks is that of the whole array."""
    node: str
    end_at: float
    """When its time is up, in seconds since 1970."""
    num_restarts: int
    num_cpus: str
    num_gpus: str
    keep_back_s: float
    """Of the time of a task that leads: a busy run ends late."""
    most_requeues: int
    wait_s: float
    """For Ray to start, and for what a lost leader has locked to be free again."""
    look_s: float
    """Between two looks at who leads."""

    @classmethod
    def here(cls) -> "Task":
        told = os.environ
        array = told["SLURM_ARRAY_JOB_ID"]
        return cls(
            array,
            f"{array}_{told['SLURM_ARRAY_TASK_ID']}",
            told["SLURMD_NODENAME"],
            float(told["SLURM_JOB_END_TIME"]),
            int(told.get("SLURM_RESTART_COUNT", 0)),
            told["SLURM_CPUS_PER_TASK"],
            told.get("SLURM_GPUS_ON_NODE") or "0",
            float(told["KEEP_BACK_S"]),
            int(told["MOST_REQUEUES"]),
            float(told["WAIT_S"]),
            float(told["LOOK_S"]),
        )

    @property
    def left_s(self) -> float:
        return self.end_at - time.time()

    @property
    def least_s(self) -> float:
        """Of its time, that it leads."""
        return self.keep_back_s + LEAST_S

    @property
    def ray_options(self) -> list[str]:
        """Of its node. Other jobs and tasks may share the machine: their ports and files are not to be met."""
        name = f"--node-name={self.node}-task{self.name.rpartition('_')[2]}"
        own = [f"--temp-dir=/tmp/ray-{self.name}", "--min-worker-port=0", "--max-worker-port=0"]
        agent = "--dashboard-agent-listen-port=0"
        return [name, f"--num-cpus={self.num_cpus}", f"--num-gpus={self.num_gpus}", *own, agent, "--block"]

    def leave(self) -> int:
        """Goes into the queue again, where it may; returns the exit code."""
        if self.num_restarts < self.most_requeues:
            say(f"the time of {self.name} is up: it is queued again")
            subprocess.run(["scontrol", "requeue", self.name], check=False)
        else:
            say(f"not done after {self.most_requeues} requeues: sbatch with the same arguments goes on")
        return UNFINISHED


@dataclass(frozen=True)
class Term:
    """The time in which one task leads."""

    number: int
    leader: str
    address: str | None
    """Of its cluster, once there is one."""
    end: str | None


class Terms:
    """All terms of an array."""

    def __init__(self, folder: Path, task: str) -> None:
        """Of the folder that the tasks share, and the name of this one."""
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._task = folder, task

    @property
    def last(self) -> Term | None:
        found = max(self._folder.glob("*.leader"), default=None)
        if found is None:
            return None
        return Term(int(found.stem), found.read_text(), self._read(found, ".address"), self._read(found, ".end"))

    @property
    def verdict(self) -> int | None:
        """The exit code of every task, once the study is done or cannot be; None where another task is to lead."""
        ends = [path.read_text() for path in sorted(self._folder.glob("*.end"))[-MOST_FAILED:]]
        if ends and ends[-1] in (str(DONE), str(MISTAKE)):
            return int(ends[-1])
        failed = [end for end in ends if end not in (LOST, str(UNFINISHED))]
        return int(failed[-1]) if len(failed) == MOST_FAILED else None

    def write(self, number: int, what: str, text: str) -> bool:
        """Makes a file of a term, unless there is one; returns whether this did.

        Every file system that machines share makes a link whole or not at all; not every one locks for all of them.
        """
        new = self._folder / f".{self._task}"
        new.write_text(text)
        try:
            os.link(new, self._folder / f"{number:04}.{what}")
        except FileExistsError:
            # NFS asks once more where an answer is lost, and then finds what it made itself.
            return new.stat().st_nlink == 2
        finally:
            new.unlink()
        return True

    def _read(self, leader: Path, ending: str) -> str | None:
        try:
            return leader.with_suffix(ending).read_text()
        except FileNotFoundError:
            return None


def work(task: Task, terms: Terms, arguments: Sequence[str]) -> int:
    """Leads or trains until the study has ended or this task's time is up; returns the exit code."""
    if (term := terms.last) is not None and term.leader == task.name:
        # Before it was queued again.
        terms.write(term.number, "end", LOST)
    asked_at, num_refused = time.monotonic(), 0
    while True:
        term = terms.last
        if term is None or term.end is not None:
            if (code := terms.verdict) is not None:
                say(f"the study has ended with exit code {code}" + (f", says the log of {term.leader}" if term else ""))
                return code
            if task.left_s < task.least_s:
                return task.leave()
            number = term.number + 1 if term else 1
            if terms.write(number, "leader", task.name):
                return lead(task, terms, number, arguments)
        elif task.left_s < LEAVE_S:
            return task.leave()
        elif term.address is not None and answers(term.address):
            num_refused = 0 if train(task, terms, term.address) else num_refused + 1
            if num_refused == MOST_REFUSED:
                say(f"Ray has ended {MOST_REFUSED} times on {task.node}: what it says stands above")
                return MACHINE
            if num_refused:
                pause(task)
        elif time.monotonic() - asked_at < MOST_SILENT * task.look_s:
            pause(task)
        else:
            asked_at = time.monotonic()
            if not may_live(term.leader, task.array) and terms.write(term.number, "end", LOST):
                say(f"{term.leader}, which led, is lost")


def lead(task: Task, terms: Terms, number: int, arguments: Sequence[str]) -> int:
    """Has the study run in a term of this task's own; returns the exit code."""
    say(f"{task.name} leads on {task.node}, term {number}")
    code = MACHINE
    try:
        for _ in range(MOST_REFUSED):
            with head(task) as address:
                if address is not None:
                    terms.write(number, "address", address)
                    code = run(task, address, arguments, patience_s=task.wait_s if number > 1 else 0)
                    break
    except SystemExit:
        # Slurm takes this task away, which is no failure of the study.
        terms.write(number, "end", LOST)
        raise
    terms.write(number, "end", str(code))
    return task.leave() if code == UNFINISHED else code


@contextmanager
def head(task: Task) -> Iterator[str | None]:
    """Has a cluster on this node, within; gives its address, or None where it does not come up."""
    host = socket.gethostbyname(task.node)
    port, dashboard_port, client_port = free_ports(3)
    address = f"{host}:{port}"
    options = [
        "--head", f"--node-ip-address={host}", f"--port={port}",
        "--dashboard-host=127.0.0.1", f"--dashboard-port={dashboard_port}", f"--ray-client-server-port={client_port}",
    ]  # fmt: skip
    with running(["ray", "start", *options, *task.ray_options]) as ray:
        yield address if is_up(address, ray, task.wait_s) else None


def run(task: Task, address: str, arguments: Sequence[str], patience_s: float) -> int:
    """Runs the study on a cluster; returns the exit code.

    Args:
        task: this one, whose time it is to keep.
        address: of the cluster.
        arguments: of the script.
        patience_s: how long a mistake is none yet: a server may hold a lost leader's lock for some minutes more.
    """
    study, results, *more = arguments
    give_up_at = time.monotonic() + patience_s
    while (left_s := int(task.left_s - task.keep_back_s)) > 0:
        command = ["slr-sweep", "run", study, "--results", results, "--address", address, "--time", f"{left_s}s", *more]
        with running(command) as process:
            code = process.wait()
        if code != MISTAKE or time.monotonic() >= give_up_at:
            # As a shell has it of a process that a signal ended.
            return code if code >= 0 else 128 - code
        time.sleep(task.look_s)
    # Ray took all of it to start.
    return UNFINISHED


def train(task: Task, terms: Terms, address: str) -> bool:
    """Has this node in the cluster until its term or this task's time is over; False where Ray ends here by itself."""
    say(f"{task.name} trains on {task.node}, for {address}")
    num_silent = 0
    with running(["ray", "start", f"--address={address}", *task.ray_options]) as ray:
        while (term := terms.last) is not None and term.end is None and task.left_s >= LEAVE_S:
            num_silent = 0 if answers(address) else num_silent + 1
            if num_silent == MOST_SILENT:
                return True
            try:
                ray.wait(task.look_s)
            except subprocess.TimeoutExpired:
                continue
            return not answers(address)
    return True


def is_up(address: str, ray: "subprocess.Popen[bytes]", wait_s: float) -> bool:
    """Waits until a cluster is there; False where it does not come."""
    program = str(Path(__file__).with_name("wait_for_nodes.py"))
    with running(["python", program, "--address", address, "--nodes=1", f"--seconds={wait_s:g}"]) as waiting:
        while waiting.poll() is None and ray.poll() is None:
            time.sleep(0.2)
        return waiting.poll() == 0


def may_live(task: str, array: str) -> bool:
    """Whether processes of a task may be left, as far as Slurm knows."""
    # Of the whole array, since this task is in it: of one that has long ended Slurm knows nothing, which is an error.
    command = ["squeue", "--noheader", "--array", f"--jobs={array}", "--format=%i %T"]
    listed = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    states = dict(line.split(maxsplit=1) for line in listed.stdout.splitlines() if line.strip())
    return listed.returncode != 0 or states.get(task, "").strip() in MAY_LIVE


def answers(address: str) -> bool:
    """Whether something listens there."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=3).close()
    except OSError:
        return False
    return True


def free_ports(number: int) -> list[int]:
    """Ports of this machine that nobody has."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(number)]
        for one in sockets:
            one.bind(("", 0))
        return [one.getsockname()[1] for one in sockets]


@contextmanager
def running(command: Sequence[str]) -> Iterator["subprocess.Popen[bytes]"]:
    """Runs a program, which ends with the block."""
    process = subprocess.Popen(command)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def pause(task: Task) -> None:
    """Waits until the next look: not all tasks of an array look in the same moment."""
    time.sleep(task.look_s * random.uniform(0.5, 1))


def say(line: str) -> None:
    """Prints a line at once, also into a file."""
    print(line, flush=True)


def on_signal(number: int, _frame: FrameType | None) -> NoReturn:
    """Ends this program in good order, once."""
    signal.signal(number, signal.SIG_IGN)
    sys.exit(128 + number)


def main(arguments: Sequence[str]) -> int:
    """The command line."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, on_signal)
    task, results = Task.here(), arguments[1]
    if "://" in results:
        print(f"error: {results}: tasks of an array share a folder: give one that all nodes have", file=sys.stderr)
        return MISTAKE
    if task.left_s < task.least_s:
        print(f"error: no time is left: ask for more than {task.least_s:g} s, or set KEEP_BACK_S", file=sys.stderr)
        return MISTAKE
    try:
        return work(task, Terms(Path(results) / f".array-{task.array}", task.name), arguments)
    except OSError as error:
        print(f"error: {error}", file=sys.stderr)
        return MACHINE


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
