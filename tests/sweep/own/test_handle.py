"""What a training of the user's own says through its run, and how that ends it."""

import math
import os

import pytest
import torch

import sweep
from slr_models.errors import UserError
from sweep.own.handle import Alone, Run, Stop
from sweep.records import Outcome, StepRecord


def test_a_run_by_itself_judges_a_training_and_ends_it() -> None:
    sink = Alone()
    run = Run(sink)
    with pytest.raises(Stop, match="not finite"):
        for _ in range(100):
            run.step(loss=math.nan)
    assert run.should_stop and run.reason is not None
    with pytest.raises(Stop):
        run.step(loss=1.0)
    assert sink.monitor.finish().outcome is Outcome.DIVERGED_NONFINITE


def test_stop_is_no_exception_that_a_loop_would_swallow() -> None:
    run = sweep.Run()
    run.stop("enough")
    with pytest.raises(sweep.Stop, match="enough"):
        try:
            run.step(loss=1.0)
        except Exception:
            pytest.fail("a training loop takes no Stop for an error of its own")


@pytest.mark.parametrize("is_late", [False, True])
def test_numbers_may_be_tensors_and_are_read_in_order(is_late: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if is_late:  # as those of a GPU are
        monkeypatch.setattr("sweep.own.handle._at_hand", lambda value: value)
    sink = Recorded()
    run = Run(sink)
    for value in (3.0, 2.0, 1.0):
        run.step(loss=torch.tensor(value, requires_grad=True), grad_norm=torch.tensor(value / 2), num_samples=7)
    run.report(val_loss=torch.tensor(0.5), accuracy=torch.tensor(0.25, dtype=torch.float64))
    run.result({"accuracy": 0.75}, val_loss=0.4)
    assert [(r.step, r.loss, r.grad_norm, r.num_samples) for r in sink.steps] == [
        (1, 3.0, 1.5, 7),
        (2, 2.0, 1.0, 7),
        (3, 1.0, 0.5, 7),
    ]
    assert all(r.time_s is not None and r.time_s >= 0 for r in sink.steps)
    assert sink.evaluations == [(3, 0.5, {"val_loss": 0.5, "accuracy": 0.25})]
    assert sink.results == {"accuracy": 0.75, "val_loss": 0.4}


def test_steps_are_counted_or_given_and_rise() -> None:
    sink = Recorded()
    run = Run(sink)
    run.step(loss=1.0)
    run.step(loss=1.0, step=50)
    with pytest.raises(UserError, match="step 50 comes after step 50"):
        run.step(loss=1.0, step=50)
    run.step(loss=1.0, applied=False)
    run.step(loss=math.inf, applied=False)
    assert [r.step for r in sink.steps] == [1, 50, 51, 52]
    assert [None if r.skip_reason is None else r.skip_reason.value for r in sink.steps[2:]] == [
        "nonfinite",
        "nonfinite",
    ], "without a norm nobody knows that a threshold refused it"


@pytest.mark.parametrize(
    ("act", "said"),
    [
        (lambda run: run.step(loss="low"), "loss is 'low'"),
        (lambda run: run.step(loss=torch.zeros(3)), "3 elements"),
        (lambda run: run.step(loss=1.0, step="first"), "step is 'first'"),
        (lambda run: run.result(accuracy=None), "the result accuracy is None"),
        (lambda run: run.folder, "no folder"),
        (lambda run: run.references(labels=[1, 1, 1]), "at least two classes"),
        (lambda run: (run.step(loss=1.0), run.references(l_const=2.0)), "before the first step"),
        (lambda run: (run.step(loss=1.0), run.restore()), "before the first step"),
    ],
)
def test_what_is_wrong_is_told_in_a_line(act, said) -> None:
    with pytest.raises((UserError, RuntimeError, ValueError), match=said):
        act(Run(Recorded()))


def test_references_follow_from_labels() -> None:
    sink = Recorded()
    Run(sink).references(labels=torch.tensor([0, 0, 1, 1]))
    assert sink.references == (math.log(2), math.log(2))
    Run(sink).references(labels=["a", "a", "a", "b"], l_unif=5.0)
    assert sink.references == (-(0.75 * math.log(0.75) + 0.25 * math.log(0.25)), 5.0)


def test_a_process_that_was_forked_cannot_report() -> None:
    run = Run(Recorded())
    pid = os.fork()
    if pid == 0:
        try:
            run.step(loss=1.0)
        except UserError:
            os._exit(3)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 3


class Recorded:
    """A sink that keeps what it hears."""

    def __init__(self) -> None:
        self.steps, self.evaluations, self.results, self.references = [], [], {}, None

    def refer(self, l_const, l_unif) -> None:
        self.references = (l_const, l_unif)

    def observe(self, record):
        self.steps.append(record)

    def evaluated(self, record, metrics):
        self.evaluations.append((record.step, record.val_loss, metrics))

    def ended(self, metrics) -> None:
        self.results |= metrics

    def keep(self, state, step) -> None:
        self.state = state, step

    def kept(self):
        return getattr(self, "state", None)


def test_steps_and_samples_beyond_what_is_counted_are_refused() -> None:
    for given, said in (
        ({"step": 3 * 10**9}, "step is 3000000000, beyond 2147483647: count updates"),
        ({"step": 10**30}, "beyond 2147483647"),
        ({"num_samples": "many"}, "num_samples is 'many'; write a whole number"),
        ({"num_samples": [1]}, "write a whole number"),
    ):
        with pytest.raises(UserError, match=said):
            Run().step(loss=1.0, **given)
    with pytest.raises(UserError, match="beyond 2147483647"):
        Run().record(StepRecord(3 * 10**9, 1.0))
