"""The schema of a study file says what the loader says, as far as one setting by itself tells it."""

import copy
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from slr_models.errors import SettingError
from sweep import yaml_source
from sweep.schema import COMMAND
from sweep.study import load, stored, validate
from sweep.study.schema import study_schema
from sweep.yaml_source import YamlSource

ROOT = Path(__file__).parents[3]
STUDIES = sorted((ROOT / "studies").rglob("*.yaml"))
SCHEMA = study_schema()
SEARCH: dict[str, Any] = {
    "name": "search",
    "model": {"kind": "baseline", "width": 0.125},
    "data": {"kind": "synthetic"},
    "training": {"optimizer": {"kind": "adamw"}},
    "space": {
        "training.optimizer.lr": {"loguniform": [1e-4, 10]},
        "training.precision.kind": {"choice": ["fp32", "fp16"]},
        "training.precision.initial_scale": {"grid": [256, 65536], "when": {"training.precision.kind": ["fp16"]}},
    },
    "search": {"kind": "random", "try_first": [{"training.optimizer.lr": 1e-3, "training.precision.kind": "fp32"}]},
    "budget": {"trials": 4, "steps": 90},
}
DESIGN: dict[str, Any] = {
    "name": "design",
    "model": {"kind": "teacher", "width": 0.125},
    "data": {"kind": "synthetic"},
    "space": {"training.optimizer.lr": {"loguniform": [1e-4, 1e-2]}},
    "design": {
        "factors": {
            "attention": {"model.attention": [True, False]},
            "batch": {2: {"training.batch_size": 2, "training.accumulate": 2}, "large": {"training.batch_size": 8}},
        }
    },
    "claims": [
        {
            "name": "it_matters",
            "text": "It matters.",
            "factor": "attention",
            "levels": [True, False],
            "where": {"batch": 2},
            "response": "wer",
            "expected": "lower",
            "smallest_effect": 0.1,
        }
    ],
    "budget": {"steps": 90},
}
OWN: dict[str, Any] = {
    "name": "own",
    "trial": {
        "kind": "command",
        "run": ["./train", "{lr}", "{mein.größe}"],
        "config": {"any": {"thing": [1, None, "x"]}, "lr": 1},
        "metrics": {"val_loss": "valid/loss", "trefferquote": "acc"},
        "env": {"OMP_NUM_THREADS": "1"},
    },
    "space": {"lr": {"loguniform": [1e-4, 10]}, "mein.größe": {"int": [1, 8], "log": True}},
    "objective": {"maximize": "trefferquote"},
}
PLUG_INS: list[dict[str, Any]] = [
    {
        **SEARCH,
        "model": {"kind": "custom", "factory": "modèle.réseau:make", "output_stride": 2, "options": {"any": [1, {}]}},
        "data": {"kind": "custom", "factory": "mine:data", "options": {"path": "/x", "deep": {"er": None}}},
        "space": {"model.options.depth": {"int": [1, 4]}, "model.options.block.norm": {"choice": ["a", "b"]}},
        "search": {"kind": "random"},
    },
    {**OWN, "trial": {"kind": "function", "target": "my_train:train", "config": {"model": {"kind": "mine"}}}},
]


def changed(content: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """With a value at a path of keys that are parted by slashes."""
    result = copy.deepcopy(content)
    *parents, last = path.split("/")
    here: Any = result
    for key in parents:
        here = here[int(key)] if isinstance(here, list) else here.setdefault(key, {})
    here[last] = value
    return result


GPUS = [changed(SEARCH, "resources/gpus", "auto"), *(changed(OWN, "resources/gpus", n) for n in (0, 0.25, 1, 2))]


def refusals(content: Any) -> list[str]:
    """What the schema refuses of a study, as JSON has it."""
    errors = jsonschema.Draft202012Validator(SCHEMA).iter_errors(json.loads(json.dumps(content)))
    return [f"{'.'.join(map(str, error.absolute_path))}: {error.message}" for error in errors]


def is_loaded(content: dict[str, Any]) -> bool:
    try:
        validate(YamlSource("study.yaml", content))
    except SettingError:
        return False
    return True


def test_the_file_beside_the_studies_is_what_the_command_prints(capsys: pytest.CaptureFixture[str]) -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    assert COMMAND.main([]) == 0
    printed = capsys.readouterr().out
    assert json.loads(printed) == SCHEMA
    kept = (ROOT / "studies" / "study.schema.json").read_text(encoding="utf-8")
    assert json.loads(kept) == SCHEMA, "python -m sweep schema > studies/study.schema.json"


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_every_shipped_study_names_it_and_is_one_as_written_and_as_stored(path: Path) -> None:
    named = re.fullmatch(r"# yaml-language-server: \$schema=(\S+)", path.read_text(encoding="utf-8").split("\n")[0])
    assert named is not None and (path.parent / named[1]).resolve() == ROOT / "studies" / "study.schema.json"
    assert refusals(yaml_source.load(path).content) == []
    assert refusals({**stored(load(path).study), "provenance": {"any": ["thing"]}}) == []


@pytest.mark.parametrize("content", [SEARCH, DESIGN, OWN, *PLUG_INS, *GPUS])
def test_what_the_loader_takes_is_taken(content: dict[str, Any]) -> None:
    if "custom" not in str(content["name"]):
        assert is_loaded(content)
    assert refusals(content) == []


@pytest.mark.parametrize("content", [SEARCH, DESIGN, OWN])
def test_a_study_of_a_results_folder_is_taken(content: dict[str, Any]) -> None:
    kept = {**stored(validate(YamlSource("study.yaml", content)).study), "provenance": {"num_lanes": 2}}
    assert refusals(yaml_source.parse(yaml_source.dump_whole(kept), "study.yaml").content) == []


@pytest.mark.parametrize(
    ("content", "path", "value"),
    [
        (SEARCH, "nmae", "x"),
        (SEARCH, "name", 3),
        (SEARCH, "model/widht", 0.5),
        (SEARCH, "model/width", "wide"),
        (SEARCH, "model/width", 3.5),
        (SEARCH, "model/kind", "techer"),
        (SEARCH, "model", {"width": 0.5}),
        (SEARCH, "model", None),
        (SEARCH, "data/num_train", 1.5),
        (SEARCH, "training/optimizer", {"lr": 1e-3}),
        (SEARCH, "training/optimizer/momentum", 0.9),
        (SEARCH, "training/normalization", "twice"),
        (SEARCH, "space/training.optimizer.lrr", {"loguniform": [1e-4, 10]}),
        (SEARCH, "space/data.num_train", {"int": [1, 8]}),
        (SEARCH, "space/training.optimizer.lr", {"logunifrom": [1e-4, 10]}),
        (SEARCH, "space/training.optimizer.lr", {"loguniform": [1e-4]}),
        (SEARCH, "space/training.optimizer.lr", {"loguniform": ["low", "high"]}),
        (SEARCH, "space/training.optimizer.lr", 1e-3),
        (SEARCH, "space/training.optimizer.lr/choice", [1]),
        (SEARCH, "search/try_first", [{"training.lr": 1e-3}]),
        (SEARCH, "search/kind", "bayes"),
        (SEARCH, "budget/trials", 0),
        (SEARCH, "objective", "accuracy"),
        (SEARCH, "resources/gpus", 1.5),
        (SEARCH, "resources/gpus", "all"),
        (SEARCH, "checkpoints", "some"),
        (DESIGN, "design/factors", {}),
        (DESIGN, "design/factors/attention", {"model.attention": [[True]]}),
        (DESIGN, "design/factors/attention", {"model.atention": [True, False]}),
        (DESIGN, "design/factors/attention", {"a": {"model.atention": True}, "b": {}}),
        (DESIGN, "design/factors/attention", ["model.attention"]),
        (DESIGN, "design/fraction", "third"),
        (DESIGN, "claims/0/response", "accuracy"),
        (DESIGN, "claims/0/expceted", "lower"),
        (OWN, "trial/comand", "x"),
        (OWN, "trial/run", 3),
        (OWN, "trial/metrics/2nd", "acc"),
        (OWN, "model", {"kind": "baseline"}),
        (PLUG_INS[0], "model/factory", "no_colon"),
        (PLUG_INS[0], "model/option", {}),
        (PLUG_INS[1], "trial/target", "a b:c"),
    ],
)
def test_a_mistake_is_refused_by_both(content: dict[str, Any], path: str, value: Any) -> None:
    wrong = changed(content, path, value)
    assert not is_loaded(wrong)
    assert refusals(wrong) != []


def test_what_is_missing_is_told() -> None:
    for key in ("name", "model", "data"):
        wrong = {name: value for name, value in SEARCH.items() if name != key}
        assert not is_loaded(wrong) and refusals(wrong) == [f": {key!r} is a required property"]


def fields(here: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every setting of a schema, by name."""
    if isinstance(here, list):
        for item in here:
            yield from fields(item)
    if isinstance(here, dict):
        if isinstance(properties := here.get("properties"), dict):
            yield from properties.items()
        for value in here.values():
            yield from fields(value)


def test_every_setting_is_told_in_a_line_with_its_default() -> None:
    parts = {**SCHEMA["$defs"], "Study": {"properties": SCHEMA["properties"]}}
    told = {(part, name): field for part, content in parts.items() for name, field in fields(content)}
    assert len(told) > 300
    for place, field in told.items():
        assert re.fullmatch(r"\S.*[.!?)]", field["description"]), place
    assert told["Budget", "trials"]["description"].endswith("on top. A `design` has its own number. Default: 32.")
    assert told["AdamW", "lr"]["description"].endswith("Default: 0.001.")
    assert told["Study", "search"]["description"] == "Which setting is tried next. Default: {kind: stability}."
    assert told["Study", "budget"]["description"] == "How much a study may spend."
    searched = SCHEMA["else"]["properties"]["space"]["properties"]
    assert searched["training.optimizer.lr"]["description"].startswith("Base learning rate")
    assert {"model.width", "training.precision.initial_scale", "training.clip.max_norm"} <= set(searched)
