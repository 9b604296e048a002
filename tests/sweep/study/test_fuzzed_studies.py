"""Studies that nobody wrote: made of shipped ones by chance. A study is taken, or told of; nothing else happens."""

import copy
from pathlib import Path
from typing import Any

import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from slr_models.errors import SettingError
from sweep.study import num_settings, stored, validate
from sweep.study.loading import _override
from sweep.yaml_source import parse

SHIPPED = [path.read_text() for path in sorted((Path(__file__).parents[3] / "studies").glob("*.yaml"))]
# The same examples each time, unless more of them are asked for by a profile.
FUZZ = settings(
    derandomize=settings.default.max_examples <= 100,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
WORDS = ["kind", "choice", "grid", "int", "uniform", "loguniform", "when", "training.optimizer.lr", "model.width", "lr"]
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from([*WORDS, "adamw", "fp16"]),
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(WORDS) | st.text(max_size=5), inner),
    max_leaves=8,
)


def taken(text: str) -> None:
    """Tries a study; whatever is not told of as a mistake of the user's is an error here."""
    try:
        loaded = validate(parse(text, "x.yaml"))
        loaded.trial_config(loaded.first_settings())
        num_settings(loaded.study)
        stored(loaded.study)
    except SettingError as error:
        assert all(len(line) < 2500 for line in str(error).splitlines())
        str(error).encode()


def places(content: Any) -> list[tuple[Any, Any]]:
    """Each mapping or list of a study and each of its keys."""
    items = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    return [place for key, inner in items for place in [(content, key), *places(inner)]]


@FUZZ
@given(st.sampled_from(SHIPPED), st.data())
def test_a_study_with_parts_of_it_changed(text: str, data: st.DataObject) -> None:
    content = copy.deepcopy(parse(text, "x.yaml").content)
    for _ in range(data.draw(st.integers(1, 3))):
        holder, key = data.draw(st.sampled_from(places(content) or [(content, "name")]))
        match data.draw(st.sampled_from(["value", "value", "delete", "rename", "copy"])):
            case "delete":
                del holder[key]
            case "rename" if isinstance(holder, dict):
                holder[data.draw(st.sampled_from(WORDS) | st.text(max_size=5))] = holder.pop(key)
            case "copy":
                other, its_key = data.draw(st.sampled_from(places(content)))
                holder[key] = copy.deepcopy(other[its_key])
            case _:
                holder[key] = data.draw(values)
    taken(yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=1000))


@FUZZ
@given(st.sampled_from(SHIPPED), st.data())
def test_the_text_of_a_study_with_characters_changed(text: str, data: st.DataObject) -> None:
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(text)))
        end = start + data.draw(st.integers(0, 20))
        put = data.draw(st.text(max_size=6) | st.text("[]{}:,&*!|>'\"%@`#-? \n\t\\\0", max_size=6))
        text = text[:start] + put + text[end:]
    taken(text)


@FUZZ
@given(st.text() | st.text("[]{}:,&*!|>'\"%@`#-? \n\t\\0123456789abe.~<="))
def test_any_text(text: str) -> None:
    taken(text)
    try:
        validate(_override(parse(SHIPPED[0], "x.yaml"), text))
    except SettingError as error:
        str(error).encode()


@FUZZ
@given(st.sampled_from(SHIPPED), st.sampled_from(["space", "budget.steps", "model.kind", "design.factors"]), st.text())
def test_any_value_on_the_command_line(text: str, path: str, value: str) -> None:
    try:
        validate(_override(parse(text, "x.yaml"), f"{path}={value}"))
    except SettingError as error:
        str(error).encode()
