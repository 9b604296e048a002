"""`--time`: what it means, what it leaves for the end of a run, and what is no time."""

import math

import pytest

from slr_models.errors import UserError
from sweep.run.time_limit import time_limit


@pytest.mark.parametrize(
    ("text", "limit_s", "rest_s"),
    [("45s", 45, 15), ("30m", 1800, 60), ("2h", 7200, 60), ("1h30m", 5400, 60), ("5m", 300, 30), ("4s", 4, 2)],
)
def test_trainings_end_before_the_time_is_over(text: str, limit_s: float, rest_s: float) -> None:
    assert time_limit(text, 100.0).trainings_end_at == pytest.approx(100.0 + limit_s - rest_s)
    assert time_limit(text, -1e9).is_over and not time_limit(text, 1e12).is_over


def test_without_it_a_run_takes_the_time_that_it_needs() -> None:
    assert time_limit(None, 0.0).trainings_end_at == math.inf and not time_limit(None, 0.0).is_over


@pytest.mark.parametrize(
    "text",
    [
        "0",
        "-5",
        "abc",
        "",
        " ",
        "0s",
        "0h0m",
        "30",
        "m",
        "1.5h",
        "30 m",
        "30min",
        "1m1h",
        "\u0663m",
        "nan",
        "inf",
        "9" * 400 + "h",
    ],
)
def test_what_is_no_time_is_one_clear_error(text: str) -> None:
    with pytest.raises(UserError, match="such as 45s, 30m, 2h or 1h30m") as caught:
        time_limit(text, 0.0)
    assert f"--time {text[:30]}" in str(caught.value) and len(str(caught.value)) < 120
