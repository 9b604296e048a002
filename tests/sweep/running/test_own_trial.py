"""A trial of a program of the user's own, from its start to its row."""

import dataclasses
import json
import logging
import math
import os
import random
import sys
import threading
import time
from pathlib import Path

import pytest
import torch

from sweep import store
from sweep.forensics.settings import ForensicsConfig
from sweep.judging.monitor import MonitorConfig
from sweep.own import output
from sweep.own.program import CommandProgram, FunctionProgram, OwnConfig, OwnProgram, References, Score, Turns
from sweep.records import Outcome, TrialResult
from sweep.running import own_trial
from sweep.running.job import Job, Progress, RunOptions
from sweep.running.own_trial import OwnTrial
from sweep.store import wishes

REPLAYED = ForensicsConfig(trials=4, max_replayed_steps=2000)
ACCURACY = Score("accuracy", is_maximized=True)


def descends(config, run) -> dict[str, float]:
    """A loss that falls from 2.3 as fast as the learning rate says, and blows up above 1."""
    noise, loss, lr = random.Random(run.seed), 2.3, config["lr"]
    for step in range(run.steps or 200):
        loss *= (1.0 - 0.02 * lr) if lr <= 1 else 1.1
        run.step(loss=loss * (1 + 0.05 * noise.random()), grad_norm=loss, lr=lr)
        if step % 50 == 49:
            run.report(val_loss=loss, accuracy=math.exp(-loss))
    return {"val_loss": loss, "accuracy": math.exp(-loss)}


def trial(
    folder: Path, function=descends, *, lr: float = 0.5, steps: int | None = 200, score: Score = ACCURACY, **more
) -> OwnTrial:
    program = more.pop("program", FunctionProgram(references=References(cross_entropy=(1,) * 10)))
    own = OwnProgram(program, score, function, more.pop("own_turns", Turns()))
    job = Job("0000", 0, 0, 7, "explore", {"lr": lr}, OwnConfig(values={"lr": lr}), steps)
    no_replays = ForensicsConfig(trials=0)
    defaults = RunOptions(folder, "score", MonitorConfig(), True, "none", own=own, forensics=no_replays)
    return OwnTrial(dataclasses.replace(job, **more.pop("job", {})), dataclasses.replace(defaults, **more))


def ended(one: OwnTrial) -> TrialResult:
    while isinstance(reached := one.advance(), Progress):
        pass
    assert not one.is_stuck
    return reached


def test_a_function_is_judged_like_any_training_and_its_results_are_kept(tmp_path) -> None:
    result = ended(trial(tmp_path))
    assert result.verdict is Outcome.STABLE and result.stable
    assert (result.num_steps, result.max_steps, result.seed) == (200, 200, 7)
    assert result.score == pytest.approx(-math.exp(-2.3 * 0.99**200)), "smaller is better"
    assert json.loads(result.metrics) == {"val_loss": result.val_loss, "accuracy": -result.score}
    assert result.l_const == pytest.approx(math.log(10)) == result.l_unif
    assert 0 < result.objective < 1 and -1 <= result.margin < 0
    assert "the zero-information loss" in result.judged_with
    assert [r.step for r in store.load_steps(tmp_path, "0000")] == list(range(1, 201))
    evals = store.load_evals(tmp_path, "0000")
    assert [e.step for e in evals] == [50, 100, 150, 200] and all(e.score < 0 and math.isnan(e.wer) for e in evals)


def test_one_that_diverges_is_stopped_and_worth_more_the_longer_it_lived(tmp_path) -> None:
    result = ended(trial(tmp_path, lr=2.0))
    assert result.verdict is Outcome.DIVERGED_LOSS and result.stop_step == result.num_steps < 200
    assert result.objective > 2 and result.margin > 0.3 and math.isnan(result.val_loss)
    unplanned = ended(trial(tmp_path, lr=2.0, steps=None))
    assert unplanned.verdict is Outcome.DIVERGED_LOSS and unplanned.max_steps == unplanned.num_steps
    assert unplanned.objective == 3.0, "of how much it lived through, nobody knows"


def test_without_references_it_is_judged_by_its_own_beginning(tmp_path) -> None:
    result = ended(trial(tmp_path, program=FunctionProgram(), score=Score()))
    assert result.verdict is Outcome.STABLE and math.isnan(result.l_const) and result.margin < -0.1
    assert result.score == result.val_loss, "the usual score"


def test_by_default_the_last_training_loss_stands_for_a_validation_loss(tmp_path) -> None:
    def train(config, run) -> None:
        for step in range(60):
            run.step(loss=2.0 * 0.95**step)

    result = ended(trial(tmp_path, train, steps=None, score=Score()))
    assert result.stable and result.score == result.final_train_loss and math.isnan(result.val_loss)


@pytest.mark.parametrize(
    ("train", "outcome", "said"),
    [
        (lambda config, run: config["nothing"], Outcome.CRASHED, "KeyError: 'nothing'"),
        (lambda config, run: sys.exit(3), Outcome.CRASHED, "SystemExit: 3"),
        (lambda config, run: 0.5, Outcome.CRASHED, "it returned float: return a dict"),
        (lambda config, run: {"accuracy": 1.0}, Outcome.UNJUDGED, "it reported no step"),
        (
            lambda config, run: [run.step(loss=1.0 / (i + 1)) for i in range(50)] and None,
            Outcome.TOO_SHORT,
            "50 of 200",
        ),
        (lambda config, run: run.step(loss="one"), Outcome.CRASHED, "after step 0: run.step: loss is 'one'"),
        (lambda config, run: {**descends(config, run), "accuracy": math.nan}, Outcome.DIVERGED_NONFINITE, "is nan"),
        (
            lambda config, run: [run.step(loss=2 * 0.95**i) for i in range(160)] and {"acc": 0.5},
            Outcome.CRASHED,
            "it ended without accuracy, which the study judges trainings by (its results: acc): call run.result",
        ),
        (
            lambda config, run: [run.step(loss=math.nan) for _ in range(2)] and 1 / 0,
            Outcome.DIVERGED_NONFINITE,
            "then it failed: division by zero",
        ),
    ],
)
def test_a_function_that_misbehaves_costs_one_clear_line(tmp_path, train, outcome, said) -> None:
    result = ended(trial(tmp_path, train))
    assert result.verdict is outcome and said in result.reason, result.reason
    assert "\n" not in result.reason and math.isfinite(result.objective)


def test_a_function_that_ignores_stop_is_ended_and_its_process_is_lost(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(own_trial, "GRACE_S", 0.3)

    def deaf(config, run) -> None:
        until = time.monotonic() + 1.5
        while time.monotonic() < until:
            try:
                run.step(loss=math.nan)
            except BaseException:
                time.sleep(0.01)

    one = trial(tmp_path, deaf)
    while isinstance(result := one.advance(), Progress):
        pass
    assert result.verdict is Outcome.DIVERGED_NONFINITE and one.is_stuck
    time.sleep(1.5)
    assert not one.is_stuck


def test_one_that_evaluates_nothing_tells_how_far_it_is(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(own_trial, "TELL_EVERY_S", 0.05)

    def slow(config, run) -> None:
        for step in range(30):
            time.sleep(0.01)
            run.step(loss=2.0 * 0.9**step)

    one, seen = trial(tmp_path, slow, steps=None, score=Score()), []
    while isinstance(reached := one.advance(), Progress):
        seen.append(reached.step)
    assert len(seen) >= 3 and seen == sorted(seen) and reached.stable
    assert all(progress is not None for progress in seen)


def test_somebody_may_stop_it(tmp_path) -> None:
    def endless(config, run) -> None:
        for step in range(100_000):
            time.sleep(0.01)
            run.step(loss=2.0 / (1 + step))

    one = trial(tmp_path, endless)
    assert isinstance(one.advance(), Progress)
    wishes.call_off(tmp_path, "0000")
    result = ended(one)
    assert result.verdict is Outcome.PRUNED and "stopped by hand" in result.reason


def test_a_program_that_was_killed_goes_on_from_its_checkpoint(tmp_path) -> None:
    def train(config, run):
        loss, first = 2.3, 0
        if (state := run.restore()) is not None:
            loss, first = state["loss"], state["step"]
            assert torch.equal(state["weights"], torch.full((3,), float(first)))
        for step in range(first, 100):
            loss *= 0.98
            run.step(loss=loss)
            if step == 59 and not config.get("again"):
                run.report(val_loss=loss, accuracy=0.5)
                run.checkpoint({"loss": loss, "step": step + 1, "weights": torch.full((3,), float(step + 1))})
                raise KeyboardInterrupt
        return {"val_loss": loss, "accuracy": 0.9}

    first = ended(trial(tmp_path, train, checkpoints="last"))
    assert first.verdict is Outcome.CRASHED and first.num_steps == 60
    again = trial(tmp_path, train, checkpoints="last", job={"config": OwnConfig(values={"lr": 0.5, "again": True})})
    result = ended(again)
    assert result.stable and again.note is None
    whole = ended(trial(tmp_path / "other", lambda config, run: train({**config, "again": True}, run)))
    assert [r.loss for r in store.load_steps(tmp_path, "0000")] == [
        r.loss for r in store.load_steps(tmp_path / "other", "0000")
    ]
    for name in ("verdict", "num_steps", "score", "val_loss", "objective", "margin", "final_train_loss", "metrics"):
        assert getattr(result, name) == getattr(whole, name), name
    (tmp_path / "checkpoints" / "0000" / "own.pt").write_bytes(b"damaged")
    anew = trial(tmp_path, lambda config, run: train({**config, "again": True}, run), checkpoints="last")
    assert ended(anew).num_steps == 100 and anew.note is not None and "it begins anew" in anew.note


def test_a_slow_start_costs_no_checkpoint_and_references_may_come_after_it(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(own_trial, "TELL_EVERY_S", 0.05)

    def train(config, run):
        time.sleep(0.4)
        state = run.restore()
        run.references(l_const=2.3, l_unif=2.3)
        first = 0 if state is None else state["step"]
        for step in range(first, 100):
            run.step(loss=2.0 * 0.98**step)
            if step == 59 and state is None:
                run.checkpoint({"step": 60})
                raise KeyboardInterrupt
        return {"accuracy": 0.9}

    assert ended(trial(tmp_path, train, steps=100, checkpoints="last")).num_steps == 60
    again = trial(tmp_path, train, steps=100, checkpoints="last")
    result = ended(again)
    assert result.stable and again.note is None and "100 losses" in result.judged_with
    assert [r.step for r in store.load_steps(tmp_path, "0000")] == list(range(1, 101))


def test_each_evaluation_is_told_once(tmp_path, monkeypatch) -> None:
    def train(config, run):
        for step in range(60):
            run.step(loss=2.0 * 0.97**step)
            if step % 10 == 9:
                run.report(val_loss=1.0 / (1 + step), accuracy=step / 100)
        return {"accuracy": 0.9}

    one, told = trial(tmp_path, train, steps=60), []
    time.sleep(0.2)
    while isinstance(reached := one.advance(), Progress):
        told.append((reached.step, reached.val_loss))
    assert told == [(s, 1.0 / s) for s in (10, 20, 30, 40, 50, 60)][: len(told)]


def test_a_logger_of_an_earlier_trial_writes_into_that_of_the_present(tmp_path) -> None:
    logger = logging.getLogger("of a test of own trials")

    def train(config, run):
        if not logger.handlers:
            logger.addHandler(logging.StreamHandler(sys.stdout))
        logger.warning("hello from %s", run.trial_id)
        return descends(config, run)

    for name in ("0001", "0002"):
        assert ended(trial(tmp_path, train, job={"trial_id": name})).stable
    assert "hello from 0002" in (tmp_path / "files" / "0002" / "output.txt").read_text()
    logger.handlers.clear()


def test_what_a_function_does_with_its_settings_is_no_matter_to_who_runs_it_again(tmp_path) -> None:
    def train(config, run):
        return descends({"lr": config.pop("lr")}, run)

    one = trial(tmp_path, train, lr=2.0, forensics=REPLAYED, own_turns=Turns("lr", {}))
    assert not ended(one).stable
    assert "LR / 10 from the start rescues it" in one.explain().cause


def test_a_state_that_could_hold_code_is_refused(tmp_path) -> None:
    class Own:
        pass

    def train(config, run) -> None:
        run.step(loss=1.0)
        run.checkpoint({"model": torch.nn.Linear(2, 2)})

    result = ended(trial(tmp_path, train, checkpoints="last"))
    assert result.verdict is Outcome.CRASHED and "keep what a state_dict() gives" in result.reason
    assert not (tmp_path / "checkpoints" / "0000" / "own.pt").exists(), "nothing is half written"


def test_what_a_function_prints_is_kept_within_bounds(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(output, "HEAD", 1000)
    monkeypatch.setattr(output, "TAIL", 200)

    def talks(config, run):
        for step in range(200):
            print(f"step {step} of many", file=sys.stderr if step % 2 else sys.stdout)
            run.step(loss=2 * 0.98**step)
        return {"accuracy": 0.5}

    assert ended(trial(tmp_path, talks)).stable
    text = (tmp_path / "files" / "0000" / "output.txt").read_text()
    assert text.startswith("step 0 of many\nstep 1") and text.endswith("step 199 of many\n")
    assert len(text) < 1500 and "characters are left out" in text
    said = capsys.readouterr()
    assert "of many" not in said.out + said.err
    ended(trial(tmp_path / "silent"))
    assert not (tmp_path / "silent" / "files").exists()


def test_a_child_that_comes_back_is_ended(tmp_path) -> None:
    def forks(config, run):
        if (pid := os.fork()) == 0:
            return {"accuracy": 1.0}
        os.waitpid(pid, 0)
        return descends(config, run)

    assert ended(trial(tmp_path, forks)).stable


PROGRAM = """
import sys, time
lr, kind = float(sys.argv[1]), sys.argv[2]
loss = 2.3
if kind == "fail":
    sys.exit("no data: give some")
for step in range(1, 121):
    loss *= (1 - 0.02 * lr) if lr <= 1 else 1.2
    if kind == "fail-late" and step == 60:
        raise ValueError("lost")
    if kind == "hang" and step == 60:
        time.sleep(600)
    print(f"step {step} loss {loss:.6g} grad_norm {loss:.4g}", flush=True)
    if step % 40 == 0:
        print(f"validation: val_loss {loss:.6g} accuracy = {1 / (1 + loss):.4f}", flush=True)
    if kind == "slow":
        time.sleep(0.05)
"""


@pytest.fixture
def program(tmp_path: Path) -> Path:
    path = tmp_path / "a program.py"
    path.write_text(PROGRAM)
    return path


def command(program: Path, kind: str = "plain", **more) -> CommandProgram:
    usual = {
        "run": (sys.executable, str(program), "{lr}", kind),
        "metrics": {"accuracy": "accuracy", "val_loss": "val_loss"},
        "grace_s": 1.0,
    }
    return CommandProgram(**{**usual, **more})


@pytest.mark.slow
def test_a_command_is_read_as_it_grows_and_judged(tmp_path, program) -> None:
    result = ended(trial(tmp_path, None, steps=120, program=command(program)))
    assert result.verdict is Outcome.STABLE, result.reason
    assert result.num_steps == 120 and result.score == pytest.approx(-1 / (1 + 2.3 * 0.99**120), abs=1e-4)
    assert len(store.load_steps(tmp_path, "0000")) == 120
    assert (tmp_path / "files" / "0000" / "output.txt").read_text().count("\n") == 123


@pytest.mark.slow
def test_a_command_that_is_lost_ends_at_once_with_all_that_it_started(tmp_path, program) -> None:
    started = time.monotonic()
    endless = command(
        program, "slow", run=("bash", "-c", f"sleep 971 & {sys.executable} '{program}' {{lr}} slow; sleep 973")
    )
    result = ended(trial(tmp_path, None, lr=3.0, steps=2000, program=endless))
    assert result.verdict is Outcome.DIVERGED_LOSS and result.num_steps < 120
    assert time.monotonic() - started < 30
    time.sleep(0.3)
    assert not processes("sleep 971") and not processes("sleep 973")


@pytest.mark.slow
def test_a_command_is_asked_to_end_before_it_is_made_to(tmp_path) -> None:
    """Also its children that have a session of their own."""
    script = (
        "trap 'echo bye > {dir}/bye; exit 0' TERM; setsid sleep 977 & "
        'for i in $(seq 1 1000); do echo "step $i loss $((i * i))"; sleep 0.02; done'
    )
    own = CommandProgram(run=("bash", "-c", script), grace_s=5.0)
    started = time.monotonic()
    one = trial(tmp_path, None, steps=None, program=own, score=Score())
    result = ended(one)
    assert result.verdict is Outcome.DIVERGED_LOSS, result.reason
    assert (tmp_path / "files" / "0000" / "bye").exists() and time.monotonic() - started < 25
    time.sleep(0.3)
    assert not processes("sleep 977")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "more", "outcome", "said"),
    [
        ("fail", {}, Outcome.CRASHED, "the command ended with exit code 1: no data: give some"),
        ("fail-late", {}, Outcome.CRASHED, "exit code 1: ValueError: lost"),
        ("hang", {"silence_s": 1.0}, Outcome.HUNG, "wrote nothing for 1 s (trial.silence_s)"),
        ("slow", {"timeout_s": 1.0}, Outcome.TIMED_OUT, "took more than 1 s (trial.timeout_s)"),
        ("plain", {"run": ("no-such-program",)}, Outcome.CRASHED, "no-such-program"),
        ("plain", {"run": ("true",)}, Outcome.CRASHED, "its log tells no losses"),
        ("plain", {"run": ("echo", "hello")}, Outcome.CRASHED, "its log tells no losses"),
        ("plain", {"run": ("bash", "-c", "kill -9 $$")}, Outcome.CRASHED, "was ended by signal 9"),
    ],
)
def test_a_command_that_misbehaves_costs_one_clear_line(tmp_path, program, kind, more, outcome, said) -> None:
    result = ended(trial(tmp_path, None, steps=120, program=command(program, kind, **more)))
    assert result.verdict is outcome and said in result.reason, result.reason
    assert "\n" not in result.reason


@pytest.mark.slow
def test_a_command_that_prints_much_never_waits_for_its_reader(tmp_path) -> None:
    script = "import sys\nfor i in range(60_000): print(f'step {i} loss {2 / (1 + i):.6g} ' + 'x' * 80)"
    started = time.monotonic()
    own = CommandProgram(run=(sys.executable, "-c", script.replace("{", "{{").replace("}", "}}")))
    result = ended(trial(tmp_path, None, steps=None, program=own, score=Score()))
    assert result.stable and result.num_steps == 60_000, result.reason
    assert time.monotonic() - started < 60


@pytest.mark.slow
def test_half_a_line_at_the_end_costs_that_line_alone(tmp_path) -> None:
    script = (
        'for i in range(60): print(f\'{{"step": {i}, "loss": {2 / (1 + i)}}}\')\nprint(\'{"step": 60, "lo\', end=\'\')'
    )
    own = CommandProgram(run=(sys.executable, "-c", script.replace("{", "{{").replace("}", "}}")))
    result = ended(trial(tmp_path, None, steps=None, program=own, score=Score()))
    assert result.stable and result.num_steps == 60, result.reason


@pytest.mark.slow
def test_a_log_file_is_read_and_values_stay_words(tmp_path) -> None:
    rows = 'for i in $(seq 0 60); do echo "$i,$((200 - 3 * i)),0.$i" >> "$1"; done'
    script = f'printf "step,loss,acc\\n" > "$1"; {rows}'
    own = CommandProgram(
        run=("bash", "-c", script, "x", "{dir}/log of it.csv"), log="{dir}/log of it.csv", metrics={"accuracy": "acc"}
    )
    result = ended(trial(tmp_path, None, steps=None, program=own))
    assert result.stable and result.num_steps == 61 and result.score == -0.6, result.reason
    assert [r.step for r in store.load_steps(tmp_path, "0000")] == list(range(1, 62)), "its first step was 0"


TWO_PROCESSES = """
import gc, os, socket
import torch, torch.distributed as dist, torch.multiprocessing as mp
import sweep


def worker(rank, port, lr, run=None):
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    dist.init_process_group("gloo", rank=rank, world_size=2)
    num_steps = trained(lr, run)
    # What is left of the model would hold the group: torch may then wait for ever for a thread that waits for Python.
    gc.collect()
    dist.destroy_process_group()
    return num_steps


def trained(lr, run):
    torch.manual_seed(0)
    model = torch.nn.parallel.DistributedDataParallel(torch.nn.Linear(4, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=lr)
    target = torch.ones(4)
    num_steps = 0
    for _ in range(150):
        features = torch.randn(16, 4)
        loss = (model(features) - (features @ target)[:, None]).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        num_steps += 1
        stop = torch.zeros(1)
        if run is not None:
            try:
                run.step(loss=loss)
            except sweep.Stop:
                stop += 1
        dist.broadcast(stop, 0)
        if stop:
            break
    return num_steps


def other(port, lr, told):
    told.put(worker(1, port, lr))


def train(config, run):
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    context = mp.get_context("spawn")
    told = context.Queue()
    process = context.Process(target=other, args=(port, config["lr"], told))
    process.start()
    own = worker(0, port, config["lr"], run)
    theirs = told.get(timeout=60)
    process.join(60)
    assert own == theirs and process.exitcode == 0
    return None if run.should_stop else {"accuracy": 1.0, "steps": own}
"""


@pytest.mark.slow
@pytest.mark.parametrize(("lr", "outcome"), [(0.1, Outcome.STABLE), (5.0, Outcome.DIVERGED_LOSS)])
def test_a_training_of_several_processes_reports_from_one_and_all_stop_together(
    tmp_path, monkeypatch, lr, outcome
) -> None:
    (tmp_path / "two_processes.py").write_text(TWO_PROCESSES)
    monkeypatch.syspath_prepend(str(tmp_path))
    import two_processes

    result = ended(trial(tmp_path, two_processes.train, lr=lr, steps=150, program=FunctionProgram()))
    assert result.verdict in (outcome, Outcome.DIVERGED_NONFINITE if lr > 1 else outcome), result.reason
    assert result.num_steps == 150 if lr < 1 else result.num_steps < 150
    monkeypatch.delitem(sys.modules, "two_processes")


def processes(named: str) -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            text = path.read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
        except OSError:
            continue
        if text == named:
            found.append(text)
    return found


@pytest.mark.parametrize(
    ("lr", "cause", "said"),
    [
        (2.0, "learning rate too high", "with lr 2, loss rose"),
        (2.0, "learning rate too high", "LR / 10 from the start rescues it"),
        (1e-3, "learning rate too low", "LR x 100 from the start makes it begin to learn, LR x 10, LR / 10"),
    ],
)
def test_why_one_went_bad_is_found_by_running_it_again(tmp_path, lr, cause, said) -> None:
    one = trial(tmp_path, lr=lr, forensics=REPLAYED, own_turns=Turns("lr", {}))
    result = ended(one)
    assert not result.stable and one.can_explain
    explained = one.explain()
    assert explained.cause is not None and explained.cause.startswith(cause), explained.cause
    assert said in explained.cause and explained.forensics_s > 0 and not one.can_explain
    told = store.read_explanation(tmp_path, "0000")
    assert told.counterfactuals[-1].rescues and told.num_replayed_steps > 0
    assert not (tmp_path / "files" / "0000-replay").exists()
    assert len(store.load_steps(tmp_path, "0000")) == result.num_steps, "its own records stay as they are"


def test_a_replay_of_a_function_that_decides_its_own_length_ends_where_the_function_does(tmp_path) -> None:
    one = trial(tmp_path, lr=1e-3, steps=None, forensics=REPLAYED, own_turns=Turns("lr", {}))
    result = ended(one)
    assert result.verdict is Outcome.STALLED and result.num_steps == 200
    cause = one.explain().cause
    assert cause is not None and "LR x 100 from the start makes it begin to learn" in cause


def test_half_precision_is_the_first_suspect_of_one_that_broke(tmp_path) -> None:
    def train(config, run):
        for step in range(120):
            lost = config["format"] == "fp16" and step > 40
            run.step(loss=math.nan if lost else 2.0 * 0.98**step)
        return {"accuracy": 0.9}

    turns = Turns("lr", {"format": "fp32"})
    values = OwnConfig(values={"lr": 0.1, "format": "fp16"})
    one = trial(tmp_path, train, steps=120, forensics=REPLAYED, own_turns=turns, job={"config": values})
    assert ended(one).verdict is Outcome.DIVERGED_NONFINITE
    assert one.explain().cause.startswith("half precision: with format fp16")


def test_what_no_change_rescues_stays_unknown_and_a_failing_replay_costs_nothing(tmp_path) -> None:
    calls = []

    def train(config, run):
        calls.append(config["lr"])
        if len(calls) == 2:
            raise RuntimeError("out of licences")
        for _ in range(100):
            run.step(loss=math.nan)

    one = trial(tmp_path, train, forensics=REPLAYED, own_turns=Turns("lr", {}))
    assert ended(one).verdict is Outcome.DIVERGED_NONFINITE
    cause = one.explain().cause
    assert (
        cause.startswith("unknown:")
        and "in vain: LR / 10 (no finite loss), LR / 100 (no finite loss), LR / 1000" in cause
    )
    assert calls == pytest.approx([0.5, 0.05, 0.005, 0.0005])
    another = trial(tmp_path, train, forensics=ForensicsConfig(trials=0), own_turns=Turns("lr", {}))
    ended(another)
    assert not another.can_explain, "the study explains none"


def with_snapshots(config, run) -> dict[str, float]:
    """A network that breaks at a high rate, and keeps its steps."""
    torch.manual_seed(run.seed)
    model = torch.nn.Sequential(torch.nn.Linear(8, 32), torch.nn.ReLU(), torch.nn.Linear(32, 10))
    optimizer = torch.optim.SGD(model.parameters(), config["lr"], momentum=0.9)
    centres = 2 * torch.randn(10, 8)

    def step(features, labels):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(features), labels)
        loss.backward()
        optimizer.step()
        if config.get("reports_itself"):
            run.step(loss=loss)
        return config.get("told", {"loss": loss, "lr": config["lr"]})

    train = run.snapshot(step, *(() if config.get("nothing") else (model, optimizer)))
    if config.get("twice"):
        run.snapshot(step, model, optimizer)
    for _ in range(run.steps):
        labels = torch.randint(10, (32,))
        told = train(centres[labels] + torch.randn(32, 8), labels)
    return {"accuracy": float(told["loss"] < 1)}


def test_why_one_broke_is_found_in_the_steps_that_it_kept(tmp_path) -> None:
    one = trial(tmp_path, with_snapshots, lr=30.0, forensics=ForensicsConfig(trials=1), own_turns=Turns("lr", {}))
    result = ended(one)
    assert result.verdict.is_diverged and one.can_explain
    cause = one.explain().cause
    assert cause.startswith("learning rate too high: with 30 "), cause
    told = store.read_explanation(tmp_path, "0000")
    assert told.counterfactuals[0].change == "same" and told.counterfactuals[-1].num_repeats == 2
    assert 0 < told.num_replayed_steps <= 600 and any("the first value" in detail for detail in told.details)
    assert one._run.kept_steps.states == [], "nothing is held any longer"
    more = trial(tmp_path, with_snapshots, lr=30.0, forensics=ForensicsConfig(trials=1), job={"trial_id": "0001"})
    ended(more)
    assert not more.can_explain and more._run.kept_steps.states == [], "the study explains no more"


def test_one_that_learned_nothing_is_run_again_as_a_whole_though_it_kept_its_steps(tmp_path) -> None:
    one = trial(tmp_path, with_snapshots, lr=1e-6, forensics=REPLAYED, own_turns=Turns("lr", {}))
    assert ended(one).verdict is Outcome.STALLED
    assert "from the start makes it begin to learn" in one.explain().cause


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"nothing": True}, "there is no model (torch.nn.Module) among what was given"),
        ({"twice": True}, "run.snapshot is called once"),
        ({"reports_itself": True}, "the step calls run.step itself; let it return what it gave instead"),
        ({"told": [1, 2]}, "the step returned list: return what run.step takes"),
        ({"told": {"lost": 1}}, "unexpected keyword argument 'lost'"),
    ],
)
def test_mistakes_with_snapshots_cost_one_line(tmp_path, settings, said) -> None:
    config = OwnConfig(values={"lr": 0.1, **settings})
    result = ended(trial(tmp_path, with_snapshots, steps=20, job={"config": config}))
    assert result.verdict is Outcome.CRASHED and said in result.reason, result.reason


def test_a_step_that_waits_for_ever_when_it_is_trained_again_ends_nothing(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(own_trial.replays, "LEAST_S", 0.3)
    monkeypatch.setattr(own_trial.replays, "SLOWER", 0.0)
    ended_once, others_answer = [], threading.Event()

    def train(config, run):
        model = torch.nn.Linear(1, 1)

        def step(batch):
            if ended_once:
                others_answer.wait(60)
            return {"loss": math.nan}

        keep = run.snapshot(step, model, torch.optim.SGD(model.parameters(), 0.1))
        try:
            for index in range(50):
                keep(index) if index > 20 else run.step(loss=1.0)
        finally:
            ended_once.append(True)

    one = trial(tmp_path, train, forensics=REPLAYED, own_turns=Turns("lr", {}))
    assert ended(one).verdict is Outcome.DIVERGED_NONFINITE
    assert one.explain().verdict is Outcome.DIVERGED_NONFINITE and one.is_stuck
    others_answer.set()
    one._replaying.join(60)
    assert not one.is_stuck


def test_a_log_that_is_no_plain_file_is_not_read(tmp_path) -> None:
    own = CommandProgram(run=("sleep", "1"), log="/dev/zero")
    result = ended(trial(tmp_path, None, steps=None, program=own))
    assert result.verdict is Outcome.CRASHED and "/dev/zero is neither a plain file nor a folder" in result.reason


def test_steps_of_a_log_that_counts_tokens_are_refused_in_a_line(tmp_path) -> None:
    script = 'for i in $(seq 3000000001 3000000050); do echo "step $i loss 1.5"; done'
    result = ended(trial(tmp_path, None, steps=None, program=CommandProgram(run=("bash", "-c", script))))
    assert result.verdict is Outcome.CRASHED and "beyond 2147483647: count updates" in result.reason


def test_a_command_that_never_ends_its_line_takes_no_memory(tmp_path) -> None:
    script = "for i in $(seq 0 60); do echo \"step $i loss 1.$i\"; done; head -c 5000000 /dev/zero | tr '\\0' x"
    own = CommandProgram(run=("bash", "-c", script), metrics={})
    result = ended(trial(tmp_path, None, steps=None, score=Score(), program=own))
    assert result.num_steps == 61, result.reason
    assert (tmp_path / "files" / "0000" / "output.txt").stat().st_size > 5_000_000


def test_a_command_without_its_result_is_told_where_to_name_it(tmp_path) -> None:
    script = 'for i in $(seq 0 60); do echo "step $i loss 0.$((99 - i))"; done'
    result = ended(trial(tmp_path, None, steps=None, program=CommandProgram(run=("bash", "-c", script))))
    assert result.verdict is Outcome.CRASHED and "trial.metrics, as its log does, {accuracy: ...}" in result.reason


def test_an_error_without_words_costs_no_more_than_its_trial(tmp_path) -> None:
    class WordlessError(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no words")

    def train(config, run):
        run.step(loss=1.0)
        raise WordlessError

    result = ended(trial(tmp_path, train))
    assert result.verdict is Outcome.CRASHED and "WordlessError" in result.reason


@pytest.mark.parametrize(
    ("limits", "outcome", "said"),
    [
        ({"silence_s": 1.0}, Outcome.HUNG, "the function reported nothing for 1 s (trial.silence_s)"),
        ({"timeout_s": 1.0}, Outcome.TIMED_OUT, "the function took more than 1 s (trial.timeout_s)"),
    ],
)
def test_a_function_that_hangs_or_takes_too_long_is_given_up(tmp_path, monkeypatch, limits, outcome, said) -> None:
    monkeypatch.setattr(own_trial, "GRACE_S", 0.2)
    released = threading.Event()

    def train(config, run):
        for step in range(10):
            run.step(loss=2.0 - 0.1 * step)
        released.wait(60)

    program = FunctionProgram(references=References(cross_entropy=(1,) * 10), **limits)
    one = trial(tmp_path, train, program=program)
    while isinstance(reached := one.advance(), Progress):
        pass
    assert reached.verdict is outcome and said in reached.reason and reached.num_steps == 10, reached.reason
    assert one.is_stuck, "its process is lost to others"
    released.set()
    one._thread.join(30)
    assert not one.is_stuck
