"""The terminal: plain lines where output is a file, a live table where it is a terminal."""

import dataclasses
import io
import re
import threading
import time

from rich.console import Console

from sweep.live.terminal import Terminal
from sweep.records import Outcome
from sweep.running.job import Job, Progress, RunOptions
from sweep.running.judged import crashed_result

SETTINGS = {"training.precision.kind": "fp16", "training.optimizer.lr": 0.00123}
JOB = Job("0007", 7, 7, 0, "explore", SETTINGS, None, 100)


def result(verdict: Outcome):
    blank = crashed_result(JOB, RunOptions(None, "wer", None, True, "none"), "loss rose to 9.8")
    return dataclasses.replace(
        blank,
        verdict=verdict,
        wer=0.25,
        val_loss=0.61,
        objective=0.25,
        stop_step=None if verdict.is_stable else 40,
        num_steps=40,
        wall_s=12.0,
        cause=None if verdict.is_stable else "learning rate too high (0.00123): LR / 10 from step 25 keeps it down",
    )


class Course:
    """A study with ten trials before it at most, and three more to confirm."""

    stop_reason = None

    def num_at_most(self, phase):
        return {"explore": 10, "confirm": 3, "full_size": 1}[phase]


def show(*, terminal: bool) -> str:
    out = io.StringIO()
    console = Console(file=out, force_terminal=terminal, width=120, soft_wrap=True)
    course = Course()
    with Terminal(console, course=course, search="stability search, map mode", done=[]) as view:
        view.started(JOB)
        view.progressed(JOB, Progress(50, 100, 1.5, 1.6, 0.75))
        if terminal:
            console.print(view._render())
        view.finished(result(Outcome.STABLE))
        view.started(JOB)
        view.explaining(JOB)
        if terminal:
            console.print(view._render())
        view.finished(result(Outcome.DIVERGED_LOSS))
        audited = {"audited": True, "stop_step": 30, "num_steps": 100}
        view.finished(dataclasses.replace(result(Outcome.STABLE), alarm=Outcome.STALLED, **audited))
        view.finished(dataclasses.replace(result(Outcome.STALLED), alarm=Outcome.STALLED, cause=None, **audited))
        view.retried(JOB, "its process died; trying once more")
        course.stop_reason = "map known"
        confirm = dataclasses.replace(JOB, phase="confirm", seed=10000)
        view.started(confirm)
        if terminal:
            console.print(view._render())
        view.finished(dataclasses.replace(result(Outcome.STABLE), phase="confirm", seed=10000))
        view.started(dataclasses.replace(JOB, phase="full_size"))
        view.finished(dataclasses.replace(result(Outcome.PRUNED), phase="full_size", cause=None, reason="too slow"))
    return out.getvalue()


def test_a_file_gets_one_plain_line_a_trial() -> None:
    lines = show(terminal=False).splitlines()
    assert lines == [
        "exploring (stability search, map mode)",
        "[1/10] 0007 precision=fp16 lr=0.00123: stable, WER 0.25, val. loss 0.61 (12 s)",
        "[2/10] 0007 precision=fp16 lr=0.00123: diverged-loss at step 40 of 100: loss rose to 9.8; "
        "cause: learning rate too high (12 s)",
        "at this pace: 0 s so far, up to about 0 s to go",
        "[3/10] 0007 precision=fp16 lr=0.00123: stable, WER 0.25, val. loss 0.61; "
        "the alarm stalled at step 30 was wrong (12 s)",
        "[4/10] 0007 precision=fp16 lr=0.00123: stalled at step 30 of 100: loss rose to 9.8 (12 s)",
        "trial 0007: its process died; trying once more",
        "exploration ended early: map known; confirming with fresh seeds, up to 3 trainings",
        "[confirm 1/3] 0007 precision=fp16 lr=0.00123, fresh seed 10000: stable, WER 0.25, val. loss 0.61 (12 s)",
        "testing at full size, up to 1 training",
        "[full size 1/1] 0007 precision=fp16 lr=0.00123, at full size, seed 0: pruned at step 40 of 100: "
        "too slow (12 s)",
    ]


def test_a_terminal_shows_what_runs() -> None:
    text = show(terminal=True)
    for part in (
        "0 of 10 explored",
        "50/100",
        "0.75",
        "precision=fp16 lr=0.00123",
        "no stable trial yet",
        "explaining",
        "exploring (stability search, map mode)",
        "4 of 10 explored, 0 of up to 3 with fresh seeds",
    ):
        assert part in text


def test_open_ends_are_counted_apart() -> None:
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, color_system=None, width=120, soft_wrap=True)
    done = [result(verdict) for verdict in (Outcome.TOO_SHORT, Outcome.PRUNED, Outcome.MEMORISED)]
    with Terminal(console, course=Course(), search="random search", done=done) as view:
        console.print(view._render())
    assert "0 stable  0 diverged  1 learned nothing or failed  2 open (nobody can tell)" in out.getvalue()


def test_a_training_of_a_design_is_named_by_its_block_and_cell_and_what_was_drawn() -> None:
    out = io.StringIO()
    console = Console(file=out, width=120, soft_wrap=True)
    job = dataclasses.replace(JOB, block=3, cell="precision=fp16")
    search = "paired design, 4 blocks x 2 cells"
    with Terminal(console, course=Course(), search=search, done=[], drawn=["training.optimizer.lr"]) as view:
        view.started(job)
        view.finished(dataclasses.replace(result(Outcome.STABLE), block=3, cell="precision=fp16"))
    text = out.getvalue()
    assert "training (paired design, 4 blocks x 2 cells)" in text
    assert "[1/10] 0007 block 3: precision=fp16 (lr=0.00123): stable, WER 0.25" in text


def shown(width: int, height: int, num_running: int) -> list[str]:
    """The live part on a terminal of this size, line by line."""
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, color_system=None, width=width, height=height, soft_wrap=True)
    settings = {
        "training.precision.kind": "fp16",
        "training.optimizer.lr": 0.00123,
        "training.clip.max_norm": 0.5,
        "model.init_scale": 1.25,
        "training.optimizer.weight_decay": 1e-4,
        "training.schedule.warmup_steps": 200,
    }
    view = Terminal(console, course=Course(), search="stability search, map mode", done=[])
    for number in range(num_running):
        job = dataclasses.replace(JOB, trial_id=f"{number:04d}", settings=settings)
        view.started(job)
        view.progressed(job, Progress(50, 100, 1.5, 1.6, 0.75))
    view.finished(dataclasses.replace(result(Outcome.STABLE), settings=settings, trial_id="0000"))
    out.seek(0)
    out.truncate()
    console.print(view._render())
    return out.getvalue().splitlines()


def test_a_narrow_terminal_loses_nothing() -> None:
    lines = shown(80, 40, 3)
    assert max(map(len, lines)) <= 80
    words = " ".join(" ".join(lines).split())
    assert "warmup_steps=200, WER 0.25, val. loss 0.61" in words, "the best setting is told whole"
    assert "so far" in words and words.count("50/100") == 2
    for part in ("precision=fp16", "max_norm=0.5", "init_scale=1.25", "weight_decay=0.0001"):
        assert words.count(part) == 3, "of both that run, and of the best"


def test_many_lanes_fit_on_the_terminal() -> None:
    lines = shown(80, 24, 65)
    assert len(lines) <= 23 and max(map(len, lines)) <= 80
    assert sum("50/100" in line for line in lines) == 13 and "and 51 more" in lines[-1]


def test_a_cause_of_an_earlier_run_s_training_gets_a_line_and_counts_as_no_training() -> None:
    out = io.StringIO()
    console = Console(file=out, force_terminal=False, width=120)
    told = result(Outcome.DIVERGED_LOSS)
    with Terminal(console, course=Course(), search="random search", done=[told]) as view:
        view.explaining(JOB)
        assert "explaining" in _shown(view)
        view.explained(told)
        assert "explaining" not in _shown(view) and "1 of 10 explored" in _shown(view)
        view.explained(dataclasses.replace(told, cause=None))
    assert out.getvalue().splitlines() == [
        "0007 precision=fp16 lr=0.00123, diverged-loss before; cause: learning rate too high",
        "0007 precision=fp16 lr=0.00123, diverged-loss before; cause: nobody knows",
    ]


def _shown(view: Terminal) -> str:
    console = Console(file=io.StringIO(), width=120)
    console.print(view._render())
    return console.file.getvalue()


def test_where_nothing_redraws_itself_a_line_says_what_runs_when_nothing_else_was_said() -> None:
    out = io.StringIO()
    console = Console(file=out, force_terminal=False, width=40)
    done = [result(Outcome.STABLE)] * 2
    with Terminal(console, course=Course(), search="random search", done=done, heartbeat_s=0.2) as view:
        view.started(JOB)
        view.progressed(JOB, Progress(50, 100, 1.5, 1.6, 0.75))
        for number in range(5):
            view.started(dataclasses.replace(JOB, trial_id=f"01{number:02d}"))
        time.sleep(0.5)
    heading, *lines = out.getvalue().splitlines()
    assert heading == "exploring (random search)" and 1 <= len(lines) <= 3
    assert re.fullmatch(
        r"running: 0007 step 50/100 \(0 s\), 0100 starting \(0 s\), 0101 .*, 0102 .* and 2 more; "
        r"2 of 10 explored; [01] s so far",
        lines[0],
    )
    assert "heartbeat" not in {t.name for t in threading.enumerate()}


def test_a_terminal_and_a_run_that_talks_get_no_such_line() -> None:
    out = io.StringIO()
    with Terminal(
        Console(file=out, force_terminal=False), course=Course(), search="s", done=[], heartbeat_s=0.3
    ) as view:
        for _ in range(6):
            view.retried(JOB, "again")
            time.sleep(0.1)
    assert "running:" not in out.getvalue()
    terminal = Console(file=(shown := io.StringIO()), force_terminal=True)
    with Terminal(terminal, course=Course(), search="s", done=[], heartbeat_s=0.05):
        time.sleep(0.2)
    assert "nothing runs now" not in shown.getvalue()
