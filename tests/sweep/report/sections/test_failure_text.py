"""What the section on failures says of the sides on which trainings failed."""

from typing import Any

from sweep.records import Outcome, Side
from sweep.report.contents.failures import Failures
from sweep.report.sections.failure_text import lead


def failures(**more: Any) -> Failures:
    return Failures(
        **{
            "outcomes": ((Outcome.STALLED, 3),),
            "causes": (),
            "sides": {},
            "num_failed": 3,
            "num_broken": 0,
            "num_sound": 3,
            "num_judged": 9,
            "num_explained": 0,
            "num_compared": 9,
            "by_setting": (),
            "operations": (),
            "half": None,
            "example": None,
            **more,
        }
    )


def test_how_many_failed_too_hot_and_how_many_too_cold() -> None:
    told = lead(failures(sides={Side.TOO_COLD: 2, Side.TOO_HOT: 1}))
    assert "1 failed too hot (it broke" in told and "2 failed too cold (nothing broke" in told
    assert told.index("too hot") < told.index("too cold") and "nobody can tell" not in told
    assert "nobody can tell" in lead(failures(sides={Side.UNTOLD: 3}))
    assert "too hot" not in lead(failures())
