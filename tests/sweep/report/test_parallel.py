"""The drawing of parallel coordinates holds every trial in its outcome's colour, within its frame."""

import math
import re

from sweep.analysis.figures.parallel import ParallelAxis, ParallelInfo, ParallelLine
from sweep.records import Outcome
from sweep.report.figures.parallel import draw_parallel

AXES = (
    ParallelAxis("learning rate", "number", True, 1e-4, 1.0, (), None, None),
    ParallelAxis("scale", "number", True, 2.0, 64.0, (), "off", None),
    ParallelAxis("val. loss (nats/label)", "number", True, 1.0, 4.0, (), None, "diverged or failed"),
    ParallelAxis("WER", "number", False, 0.0, 1.0, (), None, "none", is_share=True),
    ParallelAxis("outcome", "category", False, 0.0, 1.0, ("stable", "diverged-loss")),
)
LINES = (
    ParallelLine("t1", Outcome.STABLE, (1e-4, -math.inf, 1.0, 0.0, 0.0), "Trial 1: stable"),
    ParallelLine("t2", Outcome.DIVERGED_LOSS, (1.0, 64.0, math.inf, math.inf, 1.0), "Trial 2 <b>"),
)


def test_every_line_has_its_place_and_colour() -> None:
    drawn = str(draw_parallel(ParallelInfo(AXES, LINES, 2), {"t1"}, "in words"))
    height = float(re.search(r'viewBox="0 0 \d+ (\d+)"', drawn).group(1))  # type: ignore[union-attr]
    found = re.findall(r'<polyline points="([^"]+)" class="o-([a-z-]+)" data-good="(\d)"( data-line)?', drawn)
    assert [(outcome, good, bool(click)) for _, outcome, good, click in found] == [
        ("stable", "1", True), ("diverged-loss", "0", False),
    ]  # fmt: skip
    good, bad = ([float(point.split(",")[1]) for point in points.split()] for points, *_ in found)
    assert good[1] > good[0] > bad[0], "inactive lies below the low end"
    assert bad[2] < bad[0], "a lost loss lies above the high end"
    assert all(0 < y < height for y in good + bad)
    assert "Trial 2 &lt;b&gt;" in drawn and 'aria-label="in words"' in drawn
    assert all(text in drawn for text in (">0.01<", ">off<", ">100 %<", ">none<", ">diverged-loss<", ">log scale<"))


def test_an_axis_with_one_value_has_its_tick() -> None:
    one = ParallelAxis("learning rate", "number", True, 0.1, 0.1, (), None, None)
    line = ParallelLine("t1", Outcome.STABLE, (0.1,), "")
    assert ">0.1<" in str(draw_parallel(ParallelInfo((one,), (line,), 1), (), ""))
