"""What every search owes, asked and told as a study asks and tells it.

    import pytest

    from sweep.testing import SamplerKit

    class TestMySearch(SamplerKit):
        @pytest.fixture
        def search(self):
            return MySearch(num_startup=3)

Let a search with a random start leave it after three or four settings, so that its own method is checked. A sampler for
plain Optuna is checked by `optuna.testing.pytest_samplers`.
"""

import math
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import optuna
from pydantic import TypeAdapter

from sweep.search import SearchConfig
from sweep.search.bridge import OptunaBridge, SettingResult
from sweep.space import Settings, Space, contains, is_active
from sweep.testing.configuration import check_configuration

SPACE = TypeAdapter(Space).validate_python(
    {
        "kind": {"choice": ["fp32", "fp16"]},
        "scale": {"loguniform": [256, 65536], "when": {"kind": ["fp16"]}},
        "lr": {"loguniform": [1e-4, 1.0]},
        "depth": {"int": [1, 4]},
    }
)
"""A choice, a dimension that exists for one of its values alone, a real and a whole number."""
FINITE_SPACE = TypeAdapter(Space).validate_python({"kind": {"choice": ["fp32", "fp16"]}, "depth": {"int": [1, 2]}})
NUM_SETTINGS = 8


class SamplerKit:
    """Checks of a search; a subclass gives the fixture `search`, an entry of `sweep.search.SearchConfig`."""

    def test_the_configuration_is_one(self, search: SearchConfig) -> None:
        """It comes back from a file as it went, and refuses a setting that it does not know."""
        check_configuration(search)

    def test_settings_lie_in_the_space(self, search: SearchConfig) -> None:
        """Each has one value for every dimension that exists for it, in its range, as a plain number, text or bool."""
        _assert_in_space(_explore(search), SPACE)

    def test_settings_differ(self, search: SearchConfig) -> None:
        """Most of them are new, and every dimension is varied, a conditional one too."""
        settings = _explore(search)
        assert len({str(setting) for setting in settings}) > len(settings) // 2, f"{settings}: too few differ"
        for path in SPACE:
            values = [setting[path] for setting in settings if path in setting]
            assert len(values) < 3 or len(set(values)) > 1, f"{path} is always {values[0]}"

    def test_trials_without_a_conditional_dimension_are_understood(self, search: SearchConfig) -> None:
        """The search goes on where every second trial lacks a dimension, and where none or all have it."""
        for kinds in (("fp16", "fp32"), ("fp16",), ("fp32",)):
            known = [
                {"kind": kinds[i % len(kinds)], "lr": 10 ** (-0.5 * i), "depth": i % 4 + 1}
                | ({"scale": 256.0 * 2**i} if kinds[i % len(kinds)] == "fp16" else {})
                for i in range(6)
            ]
            _assert_in_space(_explore(search, known=known), SPACE)

    def test_a_resumed_search_goes_on_as_an_uninterrupted_one(self, search: SearchConfig) -> None:
        """What is drawn follows from the seed and the trials so far: a search holds no memory of its own."""
        whole = _explore(search)
        num_done = NUM_SETTINGS - 3
        resumed = _explore(search, known=whole[:num_done])
        assert resumed == whole, f"built anew after {num_done} settings, it draws {resumed} instead of {whole}"

    def test_another_seed_draws_other_settings(self, search: SearchConfig) -> None:
        """The setting `seed` has an effect."""
        other = search.model_copy(update={"seed": search.seed + 1})
        assert _explore(search, 3) != _explore(other, 3), f"seed {search.seed} and {other.seed} draw the same settings"

    def test_several_may_run_at_once(self, search: SearchConfig) -> None:
        """Settings are asked for while others are still without a result, and most of them differ."""
        with _bridge(search, SPACE) as bridge:
            for group, setting in _asked(bridge, NUM_SETTINGS - 4):
                bridge.tell(group, _result(setting))
            running = [setting for _, setting in _asked(bridge, 4)]
        different = {str(setting) for setting in running}
        assert len(different) >= len(running) - 1, f"{len(running)} workers get {len(different)} settings: {running}"

    def test_results_of_every_kind_are_survived(self, search: SearchConfig) -> None:
        """Open and crashed ones; nothing but open, stable or unstable ones."""
        pruned = SettingResult(0.7, math.nan, {"verdict": "pruned"}, is_open=True, evaluations={10: 0.9, 20: 0.7})
        crashed = SettingResult(1e3, 1.0, {"verdict": "crashed"})
        stable = SettingResult(0.5, -0.5, {"verdict": "stable"}, cost=0.1)
        unstable = SettingResult(2.5, 0.5, {"verdict": "diverged-loss"}, cost=0.1)
        at_once = replace(pruned, evaluations={})
        for results in ([pruned], [stable], [unstable], [stable, pruned, unstable, crashed, at_once]):
            _assert_in_space(_explore(search, results=results), SPACE)

    def test_a_finite_space_may_be_used_up(self, search: SearchConfig) -> None:
        """When every setting was tried, the search ends or draws one again; it neither fails nor invents one."""
        _assert_in_space(_explore(search, space=FINITE_SPACE), FINITE_SPACE)


def _assert_in_space(settings: Sequence[Settings], space: Space) -> None:
    for setting in settings:
        for path, dimension in space.items():
            assert (path in setting) == is_active(dimension, setting), f"whether {path} is in {setting}"
        for path, value in setting.items():
            assert type(value) in (bool, int, float, str), f"{path} is a {type(value).__name__}: {value!r}"
            assert contains(space[path], value), f"{path} = {value!r} lies outside of {space[path]}"


def _result(setting: Settings) -> SettingResult:
    """A training that diverges, fast, at a high learning rate."""
    lr = setting.get("lr", 0.01 if setting["kind"] == "fp32" else 1.0)
    assert isinstance(lr, float), "the learning rate is a real number"
    stable = lr < 0.05
    return SettingResult(
        objective=lr if stable else 2.5,
        margin=max(-1.0, min(math.log10(lr / 0.05) / 3, 1.0)),
        attributes={"verdict": "stable" if stable else "diverged-loss"},
        cost=0.1 if stable else 0.001,
    )


@contextmanager
def _bridge(search: SearchConfig, space: Space, history: Sequence[Settings] = ()) -> Iterator[OptunaBridge]:
    told = [(setting, _result(setting)) for setting in history]
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        # Optuna's own searches are experimental in part.
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        # Its Gaussian process divides by a sum of zeros, and goes on, where all results are equal.
        warnings.filterwarnings("ignore", category=RuntimeWarning, module=r"optuna\.")
        yield OptunaBridge(Path(folder), "kit", space, search, told)


def _asked(bridge: OptunaBridge, num: int) -> Iterator[tuple[int, Settings]]:
    for _ in range(num):
        asked = bridge.ask()
        if asked is None:
            return
        yield asked


def _explore(
    search: SearchConfig,
    num: int = NUM_SETTINGS,
    *,
    space: Space = SPACE,
    known: Sequence[Settings] = (),
    results: Sequence[SettingResult] = (),  # told in turn; empty: what `_result` says
) -> list[Settings]:
    """So many settings in order, the known ones first; each is told before the next is asked for."""
    settings = list(known)
    with _bridge(search, space, known) as bridge:
        for group, setting in _asked(bridge, num - len(known)):
            settings.append(setting)
            bridge.tell(group, results[group % len(results)] if results else _result(setting))
    return settings
