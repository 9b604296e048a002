"""`slr-sweep status` as a program: exit codes, JSON, following a run to its end, and what it waits for."""

import io
import json
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from sweep import store
from sweep.__main__ import main
from sweep.records import Outcome, Phase, TrialResult
from sweep.status import follow as module
from sweep.status.follow import follow
from sweep.status.reading import Reader
from sweep.store import latest_run
from sweep.store.latest_run import RunEnd, note_end
from sweep.store.ledger import Ledger
from sweep.store.ledger_lines import Ask

STUDY = {"name": "made", "training": {}, "budget": {"trials": 2, "steps": 100}}


def asked(number: int) -> Ask:
    return Ask(f"{number:04d}", number, number, 0, Phase.EXPLORE, {"training.optimizer.lr": 0.1})


def result(ask: Ask, objective: float) -> TrialResult:
    return TrialResult(
        trial_id=ask.trial_id, number=ask.number, group=ask.group, seed=ask.seed, phase=ask.phase,
        settings=ask.settings, verdict=Outcome.STABLE, reason="made up", num_steps=100, max_steps=100, margin=0.0,
        objective=objective, wer=objective, val_loss=1.0,
    )  # fmt: skip


@pytest.fixture
def begun(tmp_path: Path) -> Callable[[], Ledger]:
    """Begins a run in the folder `made`."""

    def begin() -> Ledger:
        ledger = Ledger(tmp_path / "made")
        made = {latest_run.KEY: latest_run.begun(0.0, 2, 0)}
        store.write_study(tmp_path / "made", {**STUDY, "provenance": made})
        return ledger

    return begin


def test_json_is_one_object_in_a_line_and_the_exit_code_tells_the_state(
    tmp_path: Path, begun: Callable[[], Ledger], capsys: pytest.CaptureFixture[str]
) -> None:
    ledger, folder = begun(), str(tmp_path / "made")
    assert main(["status", folder, "--json"]) == 75
    out = capsys.readouterr().out
    told = json.loads(out)
    assert out.count("\n") == 1 and (told["version"], told["study"], told["state"]) == (1, "made", "running")
    note_end(tmp_path / "made", RunEnd.INTERRUPTED)
    ledger.close()
    assert main(["status", folder]) == 5
    assert capsys.readouterr().out.startswith("made: ended early, 0 of 2 trainings done\n  why          interrupted\n")


def test_a_folder_without_a_study_is_a_mistake(
    tmp_path: Path, begun: Callable[[], Ledger], capsys: pytest.CaptureFixture[str]
) -> None:
    begun().close()
    assert main(["status", str(tmp_path / "mad")]) == 2
    assert capsys.readouterr().err == f"error: there is no study in {tmp_path / 'mad'}: beside it are made\n"
    assert main(["status", str(tmp_path)]) == 2
    assert "is not the results folder of a study" in capsys.readouterr().err


def run_to_its_end(folder: Path, begin: Callable[[], Ledger], looked: threading.Semaphore) -> None:
    """A run of two trainings, each of whose steps is looked at before the next."""
    looked.acquire()
    ledger = begin()
    for number in range(2):
        looked.acquire()
        ledger.ask(asked(number))
        looked.acquire()
        ledger.tell(result(asked(number), 0.5 - number / 10), spent_s=1.0)
    looked.acquire()
    note_end(folder, RunEnd.FINISHED)
    ledger.close()


@pytest.mark.parametrize("kind", ["lines", "json", "terminal"])
def test_a_study_is_followed_from_before_its_begin_to_its_end(
    tmp_path: Path,
    begun: Callable[[], Ledger],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
) -> None:
    folder, looked = tmp_path / "made", threading.Semaphore(0)
    run = threading.Thread(target=run_to_its_end, args=(folder, begun, looked))
    run.start()
    pauses = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        looked.release()
        threading.Event().wait(0.05)

    monkeypatch.setattr(module.time, "sleep", pause)
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=kind == "terminal", width=100, soft_wrap=True)
    status = follow(Reader(folder), console, json=kind == "json")
    run.join()
    out = capsys.readouterr().out.splitlines()
    assert status.state.exit_code == 0 and set(pauses) == {module.TICK_S}
    if kind == "json":
        states = [json.loads(line)["state"] for line in out]
        assert states[0] == "waiting" and states[-1] == "finished" and set(states[1:-1]) == {"running"}
    elif kind == "lines":
        assert out[0] == "made: waiting for a run to begin it"
        assert out[-1] == "made: finished, 2 of 2 trainings done (2 stable)" and screen.getvalue() == ""
        assert sum("1 of 2 trainings done" in line for line in out) == 1, "one line a change"
    else:
        assert out == [] and "finished, 2 of 2 trainings done (2 stable)" in screen.getvalue()


def test_it_needs_neither_torch_nor_ray(tmp_path: Path, begun: Callable[[], Ledger]) -> None:
    begun().close()
    code = (
        "import sys; from sweep.__main__ import main; code = main(['status', sys.argv[1]]);"
        "print(code, *(name for name in ('torch', 'ray', 'optuna', 'sklearn', 'scipy') if name in sys.modules))"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "made")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "6"
