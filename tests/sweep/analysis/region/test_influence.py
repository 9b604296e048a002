import math

import numpy as np
import pytest
from pydantic import TypeAdapter

from sweep.analysis.region.influence import influences, sobol_indices
from sweep.boundary.encoding import Encoding, Floats
from sweep.boundary.model import MarginModel
from sweep.space import Space


def ishigami(places: Floats) -> Floats:
    """Ishigami and Homma 1990, a = 7, b = 0.1; the third factor acts only together with the first."""
    x = math.pi * (2 * places - 1)
    values: Floats = np.sin(x[:, 0]) + 7 * np.sin(x[:, 1]) ** 2 + 0.1 * x[:, 2] ** 4 * np.sin(x[:, 0])
    return values


def test_the_known_indices_of_ishigamis_function() -> None:
    found = sobol_indices(ishigami, 3)
    np.testing.assert_allclose(found.alone, [0.3139, 0.4424, 0.0], atol=0.02)
    np.testing.assert_allclose(found.total, [0.5576, 0.4424, 0.2437], atol=0.02)
    np.testing.assert_allclose(found.pairs, np.array([[0, 0, 0.2437], [0, 0, 0], [0.2437, 0, 0]]), atol=0.02)


def test_a_product_of_signs_is_interaction_alone() -> None:
    found = sobol_indices(lambda places: np.sign(places[:, 0] - 0.5) * np.sign(places[:, 1] - 0.5), 2)
    np.testing.assert_allclose(found.alone, 0.0, atol=0.02)
    np.testing.assert_allclose(found.total, 1.0, atol=0.02)
    assert found.pairs[0, 1] == pytest.approx(1.0, abs=0.02)


def test_nothing_matters_to_a_constant() -> None:
    found = sobol_indices(lambda places: np.full(len(places), 0.7), 4)
    assert not found.alone.any() and not found.total.any() and not found.pairs.any()


def test_the_boundary_depends_on_the_settings_that_it_was_made_of() -> None:
    """Stable below an edge that the second setting moves; the third one does nothing, the fourth moves it if active."""
    space = TypeAdapter(Space).validate_python(
        {
            "a.lr": {"loguniform": [1e-4, 1.0]},
            "a.clip": {"loguniform": [0.1, 10]},
            "a.batch": {"int": [2, 16]},
            "a.kind": {"choice": ["x", "y"]},
            "a.scale": {"uniform": [0.0, 1.0], "when": {"a.kind": ["y"]}},
        }
    )
    settings = Encoding(space).sobol(128, 3)
    margins = [
        math.tanh(math.log10(float(s["a.lr"])) + 2 - 0.5 * math.log10(float(s["a.clip"]))) or 0.01 for s in settings
    ]
    found, pairs = influences(MarginModel.fit(space, settings, margins), {path: path[2:] for path in space})
    by_name = {one.name: one for one in found}
    assert [one.name for one in found[:2]] == ["lr", "clip"], "strongest first"
    assert by_name["lr"].alone > 0.7 and by_name["clip"].total > 0.05
    assert max(by_name[name].total for name in ("batch", "kind", "scale")) < 0.03
    assert all(0 <= one.alone <= 1 and 0 <= one.total <= 1 for one in found)
    assert [set(pair.paths) for pair in pairs[:1]] in ([], [{"a.lr", "a.clip"}])
