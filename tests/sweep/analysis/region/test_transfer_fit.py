import math
from typing import Any

import numpy as np
import pytest
from pydantic import TypeAdapter

from sweep.analysis.region.transfer_fit import WidthFit, band, fit_line, width_fit
from sweep.boundary.encoding import Encoding
from sweep.boundary.model import MarginModel
from sweep.records import NotKnown
from sweep.space import Space

LR, WIDTH = "training.optimizer.lr", "model.width"
SPACE: dict[str, Any] = {
    LR: {"loguniform": [1e-4, 1.0]},
    WIDTH: {"grid": [0.0625, 0.125, 0.25, 0.5]},
    "training.precision.kind": {"choice": ["fp32", "fp16"]},
}


def model_of(space: dict[str, Any], law: Any, num: int = 160) -> MarginModel:
    """Trainings that are stable below log10(edge) = law(log10(width))."""
    known = TypeAdapter(Space).validate_python(space)
    settings = Encoding(known).sobol(num, 1)
    gaps = [math.log10(float(s[LR])) - law(math.log10(float(s[WIDTH]))) for s in settings]
    return MarginModel.fit(known, settings, [min(max(gap, -1.0), 1.0) or 0.01 for gap in gaps])


def test_an_edge_that_falls_with_the_width_is_followed_to_full_size() -> None:
    model = model_of(SPACE, lambda log_width: -2.5 - log_width)
    fit = width_fit(model, WIDTH, 1.0, {"training.precision.kind": "fp32"})
    assert isinstance(fit, WidthFit)
    assert fit.widths == (0.0625, 0.125, 0.25, 0.5)
    np.testing.assert_allclose(np.log10(fit.edges), -2.5 - np.log10(fit.widths), atol=0.12)
    assert fit.slope == pytest.approx(-1.0, abs=0.15) and fit.slope_low < -1 < fit.slope_high
    assert fit.low < 10**-2.5 < fit.high and fit.expected == pytest.approx(10**-2.5, rel=0.35)
    assert fit.low < fit.expected < fit.high and all(error > 0 for error in fit.errors)
    assert band(fit, 1.0) == (fit.expected, fit.low, fit.high)
    middle = band(fit, 0.2)
    assert middle[1] < 10**-2.5 / 0.2 < middle[2], "narrower, where there is data"
    assert math.log(middle[2] / middle[1]) < math.log(fit.high / fit.low)


def test_widths_of_a_continuous_range_and_of_whole_numbers() -> None:
    whole = {**SPACE, WIDTH: {"int": [1, 4]}}
    fit = width_fit(model_of(whole, lambda log_width: -1.5 - log_width), WIDTH, 8, {})
    assert isinstance(fit, WidthFit) and fit.widths == (1, 2, 3, 4)
    real = {**SPACE, WIDTH: {"loguniform": [0.05, 0.5]}}
    fit = width_fit(model_of(real, lambda _: -1.5), WIDTH, 1.0, {})
    assert isinstance(fit, WidthFit) and len(fit.widths) == 4
    assert fit.slope_low < 0 < fit.slope_high, "an edge that does not move"


def test_what_cannot_be_told_is_said() -> None:
    two = {**SPACE, WIDTH: {"grid": [0.125, 0.25]}}
    fit = width_fit(model_of(two, lambda _: -1.5), WIDTH, 1.0, {})
    assert fit == NotKnown(
        "A trend over model.width needs a hot edge at 3 of its values or more; there is one within the range at 2 of 2."
    )
    model = model_of(SPACE, lambda _: -1.5)
    for path in ("training.precision.kind", "model.depth", LR):
        assert "numeric setting above 0" in str(width_fit(model, path, 1.0, {}))
    no_edge = model_of(SPACE, lambda log_width: 3.0 if log_width > -0.7 else -1.5)
    assert "at 2 of 4." in str(width_fit(no_edge, WIDTH, 1.0, {})), "stable up to the end at two widths"


@pytest.mark.parametrize("num_widths", [3, 5])
@pytest.mark.parametrize("understated", [1.0, 3.0])
def test_intervals_hold_the_truth_as_often_as_they_say(num_widths: int, understated: float) -> None:
    """Also where the edges scatter three times as much as their errors say."""
    rng = np.random.default_rng(0)
    widths = np.geomspace(0.1, 0.5, num_widths)
    slopes = edges = 0
    for _ in range(400):
        errors = rng.uniform(0.05, 0.2, num_widths)
        scatter = rng.normal(0, understated * errors)
        fit = fit_line(widths, 10 ** (-2 - np.log10(widths) + scatter), errors, 1.0)
        slopes += fit.slope_low <= -1 <= fit.slope_high
        new = -2 + rng.normal(0, understated * math.sqrt((errors**2).mean()))
        edges += fit.low <= 10**new <= fit.high
    assert slopes >= 370 and edges >= 370, "0.925: three standard errors below 95 %"


def test_a_fit_far_beyond_the_widths_or_hardly_known_warns() -> None:
    widths, exact = np.array([0.25, 0.3, 0.35]), np.array([0.02, 0.02, 0.02])
    edges = 0.001 / widths
    assert "farther from the tried widths" in str(fit_line(widths, edges, exact, 1.0).reason)
    assert fit_line(np.array([0.125, 0.25, 0.5]), np.array([8e-3, 4e-3, 2e-3]), exact, 1.0).reason is None
    wild = fit_line(widths, np.array([1e-3, 1e-1, 1e-3]), exact, 1.0)
    assert "say little about 1" in str(wild.reason) and math.isfinite(wild.low) and math.isfinite(wild.high)
