"""The courses that a page keeps, unpacked as its script does it."""

import json
import math
from typing import Any

import numpy as np
import pytest

from sweep.analysis.figures.course import CourseRows, trace
from sweep.records import Outcome
from sweep.report.figures.course import Course, course_figure
from sweep.report.sections.courses import COARSE, SHARP, packed_course


def made(num_steps: int = 500, **columns: Any) -> CourseRows:
    rng = np.random.default_rng(0)
    steps = {
        "step": np.arange(1, num_steps + 1),
        "loss": np.exp(rng.normal(0, 1, num_steps)),
        "grad_norm": np.exp(rng.normal(3, 2, num_steps)),
        "loss_scale": np.full(num_steps, np.nan),
        "skip_reason": np.full(num_steps, None, dtype=object),
    }
    return trace(
        "t",
        steps | columns,
        {"step": np.array([100]), "val_loss": np.array([0.6714]), "wer": np.array([0.2]), "score": np.array([np.nan])},
    )


def course(one: CourseRows, **changes: Any) -> Course:
    values: dict[str, Any] = {
        "trace": one, "number": 3, "verdict": Outcome.STABLE, "alarm": None, "stop_step": None, "clip": 1.0,
        "l_const": 3.1,
    }  # fmt: skip
    return Course(**values | changes)


def unlogged(differences: list[int | None], sharpness: int) -> list[float]:
    last, found = 0, []
    for difference in differences:
        last += difference or 0
        found.append(math.nan if difference is None else 10 ** (last / sharpness))
    return found


@pytest.mark.parametrize(("sharpness", "error"), [(SHARP, 3e-4), (COARSE, 2.3e-3)])
def test_packing_keeps_steps_and_curves_within_its_sharpness(sharpness: int, error: float) -> None:
    one = made()
    content = json.loads(packed_course(course(one), sharpness))
    assert np.cumsum(content["step"]).tolist() == one.step.tolist() and content["n"] == 500
    assert unlogged(content["loss"], content["q"]) == pytest.approx(one.loss.tolist(), rel=error)
    assert unlogged(content["norm"], content["q"]) == pytest.approx(one.grad_norm.tolist(), rel=error)
    assert unlogged(content["valLoss"], SHARP) == pytest.approx([0.6714], rel=3e-4) and content["results"] == [
        ", WER 20.0 %"
    ]


def test_what_has_no_logarithm_is_a_gap_that_moves_nothing() -> None:
    loss = np.array([2.0, np.nan, -1.0, 0.0, 4.0, np.inf])
    one = made(6, loss=loss, grad_norm=np.full(6, np.nan))
    content = json.loads(packed_course(course(one), SHARP))
    assert unlogged(content["loss"], SHARP) == pytest.approx(
        [2, math.nan, math.nan, math.nan, 4, math.nan], nan_ok=True, rel=1e-3
    )
    assert "norm" not in content and [row for row, _, _ in content["levels"]] == ["loss"], "no norms, no clip line"
    assert [(name, count) for name, count, _ in content["events"]] == [("loss not finite", 2)]


def test_the_figure_of_one_trial_has_a_row_for_what_was_recorded() -> None:
    scale = np.repeat([65536.0, 32768.0], 250)
    reasons = np.full(500, None, dtype=object)
    reasons[249] = "nonfinite"
    full = course_figure(course(made(loss_scale=scale, skip_reason=reasons), alarm=Outcome.STALLED, stop_step=200))
    assert [one.name for one in full.data] == [
        "training loss", "validation loss", "gradient norm", "loss scale", "skipped: nonfinite",
    ]  # fmt: skip
    assert full.layout.yaxis4.ticktext == ("skipped: nonfinite (1)",)
    texts = {label.text for label in full.layout.annotations}
    assert texts == {"learned nothing (L_const)", "clipped to 1", "would have been stopped: stalled", "stable"}
    bare = course_figure(course(made(grad_norm=np.full(500, np.nan)), l_const=None))
    assert bare.layout.yaxis.domain == (0, 1) and len(bare.data) == 2
    assert "yaxis2" not in bare.layout.to_plotly_json() and bare.layout.xaxis.anchor == "y"


def test_several_trials_share_a_figure_each_in_its_colour() -> None:
    first, second = course(made()), course(made(100), number=4, verdict=Outcome.STALLED, clip=2.0, stop_step=100)
    both = course_figure(first, second)
    losses = [one for one in both.data if one.name.endswith("training loss")]
    assert [(one.name, one.x[-1]) for one in losses] == [("3: training loss", 500), ("4: training loss", 100)]
    assert len({one.line.color for one in losses}) == 2
    clips = [line for line in both.layout.shapes if line.yref == "y2"]
    assert [(line.y0, line.line.color) for line in clips] == [(1.0, losses[0].line.color), (2.0, losses[1].line.color)]
    assert {note.text for note in both.layout.annotations} == {"learned nothing (L_const)"}
    assert both.layout.xaxis.range == (0, 1.02 * 500)
