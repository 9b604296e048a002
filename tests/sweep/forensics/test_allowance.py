"""The explanations of a study are counted over all of its processes."""

from concurrent.futures import ThreadPoolExecutor

from sweep.forensics import allowance
from sweep.records import Outcome

LOSS, NAN = Outcome.DIVERGED_LOSS, Outcome.DIVERGED_NONFINITE


def test_so_many_in_all_and_so_many_of_one_outcome(tmp_path) -> None:
    limits = {"num_trials": 3, "per_outcome": 2}
    assert allowance.is_left(tmp_path, 3)
    assert allowance.take(tmp_path, "0001", LOSS, **limits)
    assert allowance.take(tmp_path, "0002", LOSS, **limits)
    assert not allowance.take(tmp_path, "0003", LOSS, **limits)
    assert allowance.is_left(tmp_path, 3)
    assert allowance.take(tmp_path, "0004", NAN, **limits)
    assert not allowance.take(tmp_path, "0005", NAN, **limits)
    assert not allowance.is_left(tmp_path, 3) and allowance.is_left(tmp_path, 4)
    assert allowance.take(tmp_path, "0002", LOSS, **limits), "a trial that runs again has its share already"


def test_none_is_none_and_leaves_no_trace(tmp_path) -> None:
    assert not allowance.is_left(tmp_path, 0)
    assert not allowance.take(tmp_path, "0001", LOSS, num_trials=0, per_outcome=2)
    assert not list(tmp_path.iterdir())


def test_trials_that_end_together_do_not_share_a_share(tmp_path) -> None:
    with ThreadPoolExecutor(8) as pool:
        takes = [pool.submit(allowance.take, tmp_path, f"{n:04d}", LOSS, num_trials=5, per_outcome=5) for n in range(8)]
    assert sum(take.result() for take in takes) == 5
