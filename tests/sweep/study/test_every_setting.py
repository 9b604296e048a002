"""Every setting there is, with values that no setting should have: told in one line that names it, or taken."""

import copy
import itertools
import math
import time
from collections.abc import Iterable, Iterator
from typing import Any, get_origin

import pytest
import yaml
from pydantic import BaseModel

from slr_models.errors import SettingError
from sweep.study import LoadedStudy, Study, num_confirmations, num_settings, stored, validate
from sweep.study.fields import kinds_of, specs_in
from sweep.yaml_source import KeyPath, YamlSource, parse

SEARCHED = """
name: tiny
model: {kind: baseline, width: 0.0625}
data: {kind: synthetic}
space: {training.optimizer.lr: {loguniform: [1e-4, 1]}, model.dropout: {choice: [0.0, 0.5]}}
search: {kind: random}
budget: {trials: 4, steps: 10}
"""
DESIGNED = """
name: tiny
model: {kind: baseline, width: 0.0625}
data: {kind: synthetic}
budget: {steps: 10}
design: {kind: paired, factors: {precision: {training.precision.kind: [fp32, fp16]}}}
claims: [{name: one, text: said, factor: precision, response: stable, expected: lower, smallest_effect: 0.1}]
"""
SOUND_SEARCHED, SOUND_DESIGNED = parse(SEARCHED, "x.yaml"), parse(DESIGNED, "x.yaml")
deep: Any = []
for _ in range(30):
    deep = [deep]
EVIL: tuple[Any, ...] = (
    *(None, True, "x", "", " ", "9_0", "90", [], {}, [[]], [None], [1, 2], {"a": 1}, deep, "y" * 5000),
    *(
        1,
        3,
        1e3,
        -1,
        0,
        0.5,
        1e300,
        -1e300,
        1e-300,
        5e-324,
        math.nan,
        math.inf,
        -math.inf,
        1e24,
        10**30,
        2**63,
        -(10**299),
    ),
    *("a/b", "..", "a\nb", "-x", ".x", "CON", "a,b=c", "größe", {"kind": "x"}, {"kind": [1]}, {"kind": None}, {1: 2}),
    *([True, 0.1], [1, 1.0], [math.nan], [10**30], {"choice": [1]}, {"int": [1, 1e24]}, {"grid": []}, ["x"] * 2000),
    *({"path": []}, {"a": {"b": {"c": [1]}}, "d": None}, {"a": [[1], 2]}, {"a": {"b": [1, 2]}, "c": {"b": [3]}}),
)
DIMENSIONS = (
    ({"choice": [0.0, 0.5]}, ("choice", "when")),
    ({"grid": [0.0, 0.5]}, ("grid",)),
    ({"uniform": [0.0, 0.5]}, ("uniform",)),
    ({"loguniform": [0.1, 0.5]}, ("loguniform",)),
    ({"int": [0, 1]}, ("int", "log")),
)


def places(spec: type[BaseModel], path: KeyPath = (), parts: dict[KeyPath, Any] | None = None) -> Iterator[Any]:
    """Each field, by its path, and the sections that have to be there for it."""
    for name, field in spec.model_fields.items():
        here, needed = (*path, field.alias or name), parts or {}
        yield here, needed
        inner = (*here, 0) if get_origin(field.annotation) is tuple else here
        for part in specs_in(field.annotation):
            kinds = kinds_of(part)
            section = {"kind": kinds[0]} if kinds else {}
            if name not in ("space", "claims"):
                yield from places(part, inner, {**needed, inner: section})
    if spec is Study:
        for field in specs_in(Study.model_fields["claims"].annotation)[0].model_fields:
            yield ("claims", 0, field), {}
        for dimension, keys in DIMENSIONS:
            for key in keys:
                yield ("space", "model.dropout", key), {("space", "model.dropout"): dimension}
        for place in ("model.dropout", "training.precision.kind", "model.widht", "a" * 3000, ""):
            yield ("space", place), {}
        for place in (
            ("precision",),
            ("a",),
            ("",),
            ("precision", "training.precision.kind"),
            ("a", "b"),
            ("a", "b", "c"),
        ):
            yield ("design", "factors", *place), {}


PLACES = [*enumerate({str(place): place for place in places(Study)}.values())]


def with_sections(path: KeyPath, sections: dict[KeyPath, Any]) -> YamlSource:
    """A sound study with sections put in; those of a kind that it has already stay as they are."""
    source = copy.deepcopy(SOUND_DESIGNED if path[0] in ("design", "claims") else SOUND_SEARCHED)
    for place, section in sections.items():
        here: Any = source.content
        for key, after in itertools.pairwise(place):
            if isinstance(key, str) and not isinstance(here.get(key), dict | list):
                here[key] = [] if isinstance(after, int) else {}
            here = here[key]
        if isinstance(here, list) and place[-1] == len(here):
            here.append(None)
        old = here[place[-1]] if isinstance(here, list) else here.get(place[-1])
        if place == path or not (isinstance(old, dict) and old.get("kind", "") == section.get("kind")):
            here[place[-1]] = copy.copy(section)
    return source


def usable(loaded: LoadedStudy) -> None:
    """What a dry run asks of a study before it builds anything."""
    loaded.trial_config(loaded.first_settings())
    assert num_settings(loaded.study) >= 0 and num_confirmations(loaded.study) >= 0
    again = parse(yaml.safe_dump(stored(loaded.study), sort_keys=False, allow_unicode=True), "y.yaml")
    assert validate(again).study.searched == loaded.study.searched


def told(path: KeyPath, sections: dict[KeyPath, Any]) -> list[str]:
    """What is wrong, told in time and in lines that a person reads."""
    source = with_sections(path, sections)
    began = time.process_time()
    try:
        usable(validate(source))
    except SettingError as error:
        lines = str(error).splitlines()
        assert len(lines) <= 7 and all(len(line) < 2500 for line in lines), lines
        return [str(problem) for problem in error.problems]
    finally:
        assert time.process_time() - began < 2
    return []


def check(path: KeyPath, parts: dict[KeyPath, Any], values: Iterable[Any]) -> int:
    """How many of the values are taken; each other one is told of by the name of its key."""
    # A section of its kind may need other settings, which is not asked here.
    before, num_taken = told(path, parts) if parts else [], 0
    # What a dimension or a factor may be is told of by its own name.
    depth = {"space": 2, "design": 3}.get(str(path[0]), len(path))
    named = [key for key in path[:depth] if isinstance(key, str)][-1][:50]
    for value in values:
        new = [text for text in told(path, {**parts, path: value}) if text not in before]
        assert not new or any(named in text for text in new), (value, new)
        num_taken += not new
    return num_taken


def test_a_value_that_no_setting_has_is_told_of() -> None:
    """Three of 64 values a setting; `test_every_value_of_every_setting` has the others."""
    assert told(("space",), {}) == told(("design",), {}) == [], "nothing else is wrong with them"
    taken = [check(*place, [value for j, value in enumerate(EVIL) if (i + j) % 64 < 3]) for i, place in PLACES]
    assert 0 < sum(taken) < 3 * len(taken)


@pytest.mark.long
def test_every_value_of_every_setting() -> None:
    assert sum(check(*place, EVIL) for _, place in PLACES) > len(PLACES)
