import math
from collections.abc import Callable

import pandas as pd

from sweep.analysis.trials.tried import settings_of, space_of, telling
from sweep.boundary.encoding import Encoding
from sweep.boundary.thinning import MAX_TRAININGS, informative

LR = "training.optimizer.lr"
Table = Callable[..., pd.DataFrame]


def test_settings_have_the_studys_types_and_no_inactive_ones(table: Table) -> None:
    space = space_of(
        {
            LR: {"loguniform": [1e-4, 1.0]},
            "training.batch_size": {"int": [2, 16]},
            "training.precision.initial_scale": {"grid": [256, 65536]},
            "model.attention": {"choice": [True, False]},
            "model.mixed": {"choice": [1, True, "a"]},
        }
    )
    rows = [
        {LR: 1e-3, "training.batch_size": 4.0, "model.attention": True, "model.mixed": "True"},
        {LR: None, "training.precision.initial_scale": 256.0, "model.attention": False, "model.mixed": "1"},
    ]
    first, second = settings_of(table(rows), space)
    assert first == {LR: 1e-3, "training.batch_size": 4, "model.attention": True, "model.mixed": True}
    assert type(first["training.batch_size"]) is int and first["model.mixed"] is True
    assert second == {"training.precision.initial_scale": 256, "model.attention": False, "model.mixed": 1}
    assert type(second["training.precision.initial_scale"]) is int and second["model.mixed"] is not True
    assert settings_of(table(rows), {}) == [{}, {}] and settings_of(table([]), space) == []


def test_settings_that_a_scheduler_changed_tell_nothing(table: Table) -> None:
    trials = table([{LR: 1e-3, "margin": -0.5}, {LR: 1e-2, "margin": -0.5, "settings_changed_at_step": 40}])
    assert telling(trials)[LR].tolist() == [1e-3]


def test_many_trainings_are_thinned_to_those_at_the_boundary_and_all_over(table: Table) -> None:
    """1,000 trainings, two seeds a setting, edge at 1e-2."""
    space = space_of({LR: {"loguniform": [1e-4, 1.0]}, "training.clip.max_norm": {"loguniform": [0.1, 10.0]}})
    settings = [s for s in Encoding(space).sobol(500, 1) for _ in range(2)]
    margins = [min(max(math.log10(float(s[LR]) / 1e-2), -1.0), 1.0) or 0.01 for s in settings]
    model = informative(space, settings, margins, most=80)
    _, stable = model.left_out()
    assert 78 <= len(stable) <= 80 < MAX_TRAININGS
    places = [{LR: lr, "training.clip.max_norm": 1.0} for lr in (1e-4, 5e-3, 2e-2, 1.0)]
    p = model.p_stable(places)
    assert p[0] > 0.95 and p[1] > 0.8 and p[2] < 0.2 and p[3] < 0.05
    few = informative(space, settings[:60], margins[:60], most=80)
    assert len(few.left_out()[1]) == 60
