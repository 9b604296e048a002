"""When a search may end."""

import math
from typing import Any

import numpy as np
from pydantic import TypeAdapter

from sweep.boundary.encoding import Encoding
from sweep.boundary.known import stable_slices, what_is_open
from sweep.boundary.model import MarginModel
from sweep.space import Space

SPACE: Space = TypeAdapter(Space).validate_python(
    {"kind": {"choice": ["a", "b"]}, "lr": {"loguniform": [1e-5, 1.0]}, "clip": {"loguniform": [0.1, 10]}}
)


def trained(num: int, seed: int = 0, noise: float = 0.0) -> tuple[list[dict[str, Any]], list[float]]:
    """Stable below 1e-2; some outcomes are chance."""
    rng = np.random.default_rng(seed)
    settings = [
        {"kind": "ab"[k % 2], "lr": float(10 ** rng.uniform(-5, 0)), "clip": float(10 ** rng.uniform(-1, 1))}
        for k in range(num)
    ]
    margins = [float(np.clip(math.log10(s["lr"] / 1e-2) / 2, -1, 1)) for s in settings]
    return settings, [-m if rng.random() < noise else m for m in margins]


def opened(
    settings: list[dict[str, Any]],
    margins: list[float],
    later: list[dict[str, Any]],
    width: float | None = None,
    accuracy: float = 0.9,
) -> str | None:
    model = MarginModel(Encoding(SPACE), settings, margins)
    stable = [s for s, m in zip(settings, margins, strict=True) if m < 0]
    return what_is_open(model, "lr", stable, later, accuracy, width)


def at_edge(kind: str) -> dict[str, Any]:
    return {"kind": kind, "lr": 1e-2, "clip": 1.0}


def test_it_is_known_when_its_edges_are_narrow_foretell_and_were_tried() -> None:
    settings, margins = trained(60)
    assert opened(settings, margins, [at_edge("a"), at_edge("b")]) is None
    assert opened(settings, margins, [at_edge("a"), at_edge("b")], width=0.01).endswith("wide")  # type: ignore[union-attr]
    told = opened(settings, margins, [at_edge("a"), at_edge("b")], accuracy=1.0)
    assert told is not None and told.endswith("% of all settings are expected to be told right (balanced)")
    assert opened(settings, margins, [at_edge("a")]) == "no training after the start-up lies at the hot edge at b"
    assert opened(settings, margins, [{**at_edge("a"), "lr": 1.0}, at_edge("b")]) is not None


def test_what_is_chance_is_not_known() -> None:
    settings, margins = trained(60, noise=0.4)
    assert "told right" in (opened(settings, margins, [at_edge("a"), at_edge("b")]) or "")
    told = opened(settings, margins, [at_edge("a"), at_edge("b")], accuracy=0.0)
    assert told == "settings left out are foretold little better than by the overall rate"


def test_an_island_that_nobody_found_is_not_known() -> None:
    """Everything is surely unstable: an edge of width 0 would be no edge at all."""
    settings, _ = trained(40)
    assert "told right" in (opened(settings, [0.5] * 40, settings) or "")
    assert opened(settings, [0.5] * 40, settings, accuracy=0.0) is not None


def test_slices_go_through_what_is_stable() -> None:
    found = stable_slices(Encoding(SPACE), "lr", [at_edge("a"), {**at_edge("a"), "lr": 1e-4}, at_edge("b")])
    assert found == [{"kind": "a", "clip": 1.0}, {"kind": "b", "clip": 1.0}]
    assert len(stable_slices(Encoding(SPACE), "lr", trained(200)[0])) <= 32
