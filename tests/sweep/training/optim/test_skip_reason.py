"""Names of skipped steps, on hand-made histories."""

import math

from sweep.records import SkipReason
from sweep.training.optim import SkipNamer


def name(
    namer: SkipNamer,
    *,
    applied: bool = False,
    refusal: SkipReason | None = SkipReason.NONFINITE,
    loss: float = 1.0,
    norm: float = math.inf,
    scale: float = math.nan,
    num_infeasible: int = 0,
) -> SkipReason | None:
    return namer.name(
        applied=applied,
        refusal=refusal,
        loss=loss,
        grad_norm=norm,
        loss_scale=scale,
        num_infeasible=num_infeasible,
    )


def test_an_overflow_is_calibration_until_a_scale_has_held_and_above_it() -> None:
    namer = SkipNamer()
    assert name(namer, scale=1024.0) is SkipReason.CALIBRATION
    for _ in range(19):
        assert name(namer, applied=True, refusal=None, norm=1.0, scale=512.0) is None
    assert name(namer, scale=512.0) is SkipReason.CALIBRATION, "19 good steps are too few"
    for _ in range(20):
        name(namer, applied=True, refusal=None, norm=1.0, scale=256.0)
    resumed = SkipNamer()
    resumed.load_state_dict(namer.state_dict())
    for each in (namer, resumed):
        assert name(each, scale=256.0) is SkipReason.NONFINITE
        assert name(each, scale=512.0) is SkipReason.CALIBRATION, "it just grew"
        assert name(each, scale=256.0, loss=math.nan) is SkipReason.NONFINITE


def test_an_overflow_of_a_loss_that_runs_away_is_no_calibration() -> None:
    namer = SkipNamer()
    assert name(namer, scale=65536.0, loss=3.0) is SkipReason.CALIBRATION
    assert name(namer, applied=True, refusal=None, norm=1e4, scale=32768.0, loss=3.0) is None
    assert name(namer, scale=32768.0, loss=202.0) is SkipReason.NONFINITE
    assert name(namer, scale=16384.0, loss=4400.0) is SkipReason.NONFINITE
    assert name(namer, scale=8192.0, loss=5.0) is SkipReason.CALIBRATION, "back where it came from"


def test_without_a_scaler() -> None:
    namer = SkipNamer()
    assert name(namer) is SkipReason.NONFINITE
    assert name(namer, refusal=SkipReason.THRESHOLD, norm=9.0) is SkipReason.THRESHOLD
    assert name(namer, loss=math.inf, num_infeasible=1) is SkipReason.INFEASIBLE
    assert name(namer, loss=1.0, num_infeasible=1) is SkipReason.NONFINITE, "its target was not what made it bad"
