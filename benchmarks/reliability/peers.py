"""What Ray Tune, Optuna and Weights & Biases do under the faults that a run of ours is tried with.

Each fault is done to the installed library, in a process of its own, used as its guide shows it; what is printed was
observed, in a table of Markdown. Trials take half a second, so what is lost is lost to the library's own bookkeeping.
A small disk is a tmpfs in a mount namespace (Linux, `unshare`). No network: Weights & Biases runs offline.

    python -m benchmarks.reliability.peers [--only NAME]
"""

import argparse
import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path

import psutil

NUM_TRIALS = 10
NAMES = ("größe 日本", "../outside", "a/b", "con: 1?")
_MARK = "SLR_SWEEP_PEER"
_TIMEOUT_S, _GRACE_S = 120.0, 3.0

_COMMON = """
import os, sys, time, pathlib
folder = pathlib.Path(sys.argv[1])
def note(what, number=""):
    with open(os.environ["NOTES"], "a") as file:
        file.write(f"{what} {number}\\n")
"""

_RAY = (
    _COMMON
    + """
import logging, ray
from ray import tune
def train(config):
    note("begin", config["n"])
    time.sleep(0.5)
    tune.report({"loss": 1.0})
    note("end", config["n"])
def begin():
    ray.init(address="local", include_dashboard=False, num_cpus=2, log_to_driver=False, logging_level=logging.ERROR)
def tuner(name="study"):
    return tune.Tuner(
        tune.with_resources(train, {"cpu": 1}),
        param_space={"n": tune.grid_search(list(range(NUM_TRIALS)))},
        run_config=tune.RunConfig(name=name, storage_path=str(folder), verbose=0),
    )
def again():
    return tune.Tuner.restore(str(folder / "study"), tune.with_resources(train, {"cpu": 1}), resume_unfinished=True)
"""
).replace("NUM_TRIALS", str(NUM_TRIALS))

_OPTUNA = (
    _COMMON
    + """
import optuna
from optuna.storages import JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
optuna.logging.set_verbosity(optuna.logging.ERROR)
def storage():
    if KIND == "journal":
        return JournalStorage(JournalFileBackend(str(folder / "study.journal")))
    return RDBStorage(f"sqlite:///{folder}/study.db")
def study(name="study"):
    return optuna.create_study(storage=storage(), study_name=name, load_if_exists=True)
def objective(trial):
    x = trial.suggest_float("x", 0, 1)
    note("begin", trial.number)
    time.sleep(0.5)
    note("end", trial.number)
    return x
"""
)

_WANDB = (
    _COMMON
    + """
import struct, wandb
from wandb.proto import wandb_internal_pb2
def begin(**more):
    return wandb.init(dir=str(folder), mode="offline", **({"project": "study"} | more))
def rows():
    # The file is LevelDB's log format: blocks of 32 KiB, in them checksum, length, kind (1: whole, 4: last), content.
    (path,) = folder.glob("wandb/offline-run-*/*.wandb")
    content, place, part, num = path.read_bytes(), 7, b"", 0
    while place + 7 <= len(content):
        if 32768 - place % 32768 < 7:
            place += 32768 - place % 32768
            continue
        length, kind = struct.unpack_from("<HB", content, place + 4)
        part += content[place + 7 : place + 7 + length]
        if kind in (1, 4):
            record = wandb_internal_pb2.Record()
            try:
                record.ParseFromString(part)
            except Exception:
                break
            num += record.WhichOneof("record_type") == "history"
            part = b""
        place += 7 + length
    return num
"""
)

_BOMB = """
import pickle, pathlib
class Bomb:
    def __reduce__(self):
        return pathlib.Path.touch, (pathlib.Path(os.environ["NOTES"] + ".code"),)
"""


class Place:
    """A folder in which a peer works, and the file in which its trials note that they begin and end."""

    def __init__(self, base: Path, name: str, prelude: str, **environment: str) -> None:
        """Makes it below `base`; every script begins with the prelude."""
        self.folder = base / f"{name}-{uuid.uuid4().hex[:6]}"
        self.folder.mkdir()
        self._prelude = prelude
        self._notes = base / f"{self.folder.name}.notes"
        self.mark = uuid.uuid4().hex
        self._environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith("RAY_")},
            "NOTES": str(self._notes),
            _MARK: self.mark,
            "RAY_USAGE_STATS_ENABLED": "0",
            "WANDB_ERROR_REPORTING": "false",
            "WANDB_SILENT": "true",
            **environment,
        }

    @property
    def notes(self) -> list[list[str]]:
        """What was noted, in its order."""
        return [line.split() for line in self._notes.read_text().splitlines()] if self._notes.is_file() else []

    @property
    def ended(self) -> set[str]:
        """Trials that noted their end."""
        return {number for what, *rest in self.notes if what == "end" for number in rest}

    @property
    def code_ran(self) -> bool:
        """Whether a pickle that was put there was executed."""
        return Path(f"{self._notes}.code").exists()

    def run(self, script: str, *, disk_kib: int | None = None) -> str:
        """Runs a script to its end; returns what its last line says, and how it ended where that was badly."""
        with self.started(script, disk_kib=disk_kib) as process:
            try:
                out, err = process.communicate(timeout=_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                return f"hangs ({_TIMEOUT_S:.0f} s)"
        said = _last_line(out)
        if process.returncode == 0:
            return said
        traced = "a traceback: " if "Traceback (most recent call last)" in err else ""
        return f"{said + '; ' if said else ''}exit code {process.returncode}, {traced}{_raised(err)[:160]}"

    def kill_after(self, num_ended: int, script: str) -> None:
        """Kills a script with SIGKILL once so many trials have noted their end."""
        with self.started(script) as process:
            deadline = time.monotonic() + _TIMEOUT_S
            while len(self.ended) < num_ended and process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.02)
            process.kill()
            # What the library has beside the driver may still write what it has.
            time.sleep(_GRACE_S)

    @contextlib.contextmanager
    def started(self, script: str, *, disk_kib: int | None = None) -> Iterator["subprocess.Popen[str]"]:
        """A script under way; what it leaves running ends with the block."""
        code = self._prelude + textwrap.dedent(script)
        command = [sys.executable, "-W", "ignore", "-c", code, str(self.folder)]
        if disk_kib is not None:
            mount = f'mount -t tmpfs -o size={disk_kib}k none "$0" && exec "$@"'
            command = ["unshare", "-rm", "sh", "-c", mount, str(self.folder), *command]
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=self._environment,
            start_new_session=True,
        )
        try:
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            for left in _marked(self.mark):
                with contextlib.suppress(psutil.Error):
                    left.kill()


def _marked(mark: str) -> Iterator[psutil.Process]:
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get(_MARK) == mark:
                yield process


def _last_line(text: str) -> str:
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "")


def _raised(text: str) -> str:
    """The exception at the end of a traceback, behind which some print more."""
    found = re.findall(r"^[\w.]+(?:Error|Exception)\b.*", text, re.MULTILINE)
    return found[-1] if found else _last_line(text)


def _run_again(place: Place, before: list[list[str]]) -> str:
    """Of the trials that had ended before a kill, how many began once more."""
    ended = {number for what, *rest in before if what == "end" for number in rest}
    begun = Counter(number for what, *rest in place.notes[len(before) :] if what == "begin" for number in rest)
    return f"of {len(ended)} trials that had ended {sum(number in begun for number in ended)} run again"


def ray_tune(base: Path) -> Iterator[tuple[str, str]]:
    """Ray Tune with its own resume, `Tuner.restore`."""
    place = Place(base, "ray", _RAY)
    place.kill_after(5, "begin(); tuner().fit()")
    before = place.notes
    said = place.run("begin(); found = again().fit(); print(len(found), 'results,', found.num_errors, 'errors')")
    yield "SIGKILL of the driver after 5 trials", f"{_run_again(place, before)}; {said}"

    fit = """
    begin()
    found = tuner().fit()
    print(len(found), "results,", found.num_errors, "errors, exit code 0;", end=" ")
    print("state on disk:", [path.stat().st_size for path in folder.glob("study/experiment_state-*")], "bytes")
    """
    for kib in (16, 64):
        yield f"disk of {kib} KiB", Place(base, "ray", _RAY).run(fit, disk_kib=kib)

    for damaged, what in (("experiment_state-*.json", "cut in half"), ("tuner.pkl", "cut in half")):
        place = Place(base, "ray", _RAY)
        place.kill_after(5, "begin(); tuner().fit()")
        for path in (place.folder / "study").glob(damaged):
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        before = place.notes
        said = place.run(f"begin(); found = again().fit(); print(len(found), 'results of {NUM_TRIALS} trials')")
        yield f"{damaged} {what}, then resumed", f"{said}; {_run_again(place, before)}"

    for name in NAMES:
        place = Place(base, "ray", _RAY)
        said = place.run(f"begin(); print(len(tuner({name!r}).fit()), 'results')")
        outside = base / "outside"
        yield f"name {name!r}", said + ("; files are written outside of the storage path" if outside.exists() else "")
        shutil.rmtree(outside, ignore_errors=True)

    place = Place(base, "ray", _RAY + _BOMB)
    place.kill_after(1, "begin(); tuner().fit()")
    for path in (place.folder / "study").glob("tuner.pkl"):
        place.run(f"pathlib.Path({str(path)!r}).write_bytes(pickle.dumps(Bomb()))")
    place.run("begin(); again()")
    yield "tuner.pkl replaced by a pickle with code", f"the code {'runs' if place.code_ran else 'does not run'}"


def _optuna(kind: str, file: str) -> Callable[[Path], Iterator[tuple[str, str]]]:
    prelude = f"KIND = {kind!r}\n" + _OPTUNA
    optimize = f"study().optimize(objective, n_trials={NUM_TRIALS})"
    count = "from collections import Counter; print(dict(Counter(t.state.name for t in study().trials)))"

    def observe(base: Path) -> Iterator[tuple[str, str]]:
        place = Place(base, "optuna", prelude)
        place.kill_after(5, optimize)
        before = place.notes
        said = place.run(f"{optimize}\n{count}")
        more = len(place.ended) - len({n for what, *rest in before if what == "end" for n in rest})
        yield "SIGKILL of the driver after 5 trials", f"the same script runs {more} more of {NUM_TRIALS}: {said}"

        place = Place(base, "optuna", prelude)
        yield (
            "disk of 64 KiB",
            place.run(
                """
                s = study()
                try:
                    s.optimize(lambda t: t.suggest_float("x", 0, 1), n_trials=2000)
                finally:
                    print("after", len(s.trials), "trials")
                """,
                disk_kib=64,
            ),
        )
        for what, share in (("cut in half", 0.5), ("its last 10 bytes cut off", None)):
            place = Place(base, "optuna", prelude)
            place.run("study().optimize(objective, n_trials=3)")
            path = place.folder / file
            content = path.read_bytes()
            path.write_bytes(content[: int(len(content) * share)] if share else content[:-10])
            yield f"{file} {what}, then gone on with", place.run(f"study().optimize(objective, n_trials=1)\n{count}")
        place = Place(base, "optuna", prelude)
        place.run("study().optimize(objective, n_trials=3)")
        path = place.folder / file
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 0xFF
        path.write_bytes(bytes(content))
        yield f"one byte of {file} flipped", place.run(f"study().optimize(objective, n_trials=1)\n{count}")
        for name in NAMES:
            place = Place(base, "optuna", prelude)
            yield f"name {name!r}", place.run(f"study({name!r}).optimize(objective, n_trials=1); print('works')")
        place = Place(base, "optuna", prelude)
        place.run("study().optimize(objective, n_trials=1)")
        yield "pickles read when a study is loaded", place.run(_pickles("study().trials"))

    return observe


def _pickles(code: str) -> str:
    """A script that counts what is unpickled meanwhile."""
    return f"""
found = []
sys.addaudithook(lambda event, args: found.append(event) if event == "pickle.find_class" else None)
{code}
print("none" if not found else len(found))
"""


def wandb(base: Path) -> Iterator[tuple[str, str]]:
    """Weights & Biases, offline."""
    log = """
    run = begin()
    for step in range(200):
        run.log({"loss": 1.0})
        note("end", step)
        time.sleep(0.01)
    """
    in_file = "print(rows() if list(folder.glob('wandb/offline-run-*/*.wandb')) else 'no file')"
    ends = "\n    run.finish()\n    print(rows(), 'of 200 steps are in the file, and the script ends well')"
    yield "none", Place(base, "wandb", _WANDB).run(log + ends)
    place = Place(base, "wandb", _WANDB)
    place.kill_after(100, log)
    yield "SIGKILL after 100 steps were logged", f"{place.run(in_file)} of {len(place.ended)} are in the file"
    place = Place(base, "wandb", _WANDB)
    yield "disk of 64 KiB", f"{place.run(log + ends, disk_kib=64)}; {len(place.ended)} steps were done"
    for name in NAMES:
        place = Place(base, "wandb", _WANDB)
        yield f"project {name!r}", place.run(f"run = begin(project={name!r}); run.finish(); print('works')")


PEERS: dict[str, Callable[[Path], Iterator[tuple[str, str]]]] = {
    "ray": ray_tune,
    "optuna-journal": _optuna("journal", "study.journal"),
    "optuna-rdb": _optuna("rdb", "study.db"),
    "wandb": wandb,
}


def main(arguments: list[str] | None = None) -> int:
    """Runs as the module says; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=PEERS)
    options = parser.parse_args(arguments)
    print("| peer | fault | what happens |\n|---|---|---|")
    with tempfile.TemporaryDirectory() as base:
        for name, observe in PEERS.items():
            if options.only in (None, name):
                title = f"{name} {version(name.partition('-')[0])}"
                for fault, observed in observe(Path(base)):
                    print(f"| {title} | {fault} | {observed.replace('|', '/').replace(base, 'FOLDER')} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
