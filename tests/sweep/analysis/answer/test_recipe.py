from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from sweep import yaml_source
from sweep.analysis.answer.recipe import recipe
from sweep.analysis.answer.recommend import recommend
from sweep.analysis.answer.safe_setting import Rule
from sweep.analysis.region.evidence import Evidence
from sweep.analysis.trials.tried import space_of
from sweep.study import load, stored, validate
from sweep.study.sparse import without_defaults
from sweep.yaml_source import YamlSource

STUDY: dict[str, Any] = {
    "name": "s",
    "model": {"kind": "teacher"},
    "data": {"kind": "synthetic"},
    "training": {"precision": {"kind": "fp32"}, "optimizer": {"kind": "adamw", "lr": 1e-3}, "batch_size": 8},
    "space": {
        "training.precision.kind": {"choice": ["fp32", "fp16"]},
        "training.precision.initial_scale": {"grid": [256, 65536], "when": {"training.precision.kind": ["fp16"]}},
        "training.optimizer.lr": {"loguniform": [1e-4, 1e-1]},
        "training.batch_size": {"int": [2, 16]},
        "training.clip.max_norm": {"uniform": [0.5, 2.0]},
    },
    "search": {"kind": "tpe"},
    "budget": {"trials": 32, "steps": 100},
    "repeats": 2,
    "confirm": {"settings": 1, "seeds": 3},
    "provenance": {"host": {}},
}
ROW = {
    "training.precision.kind": "fp16",
    "training.precision.initial_scale": 256.0,
    "training.optimizer.lr": 2e-3,
    "training.batch_size": 4.0,
    "training.clip.max_norm": 1.5,
}
Table = Callable[..., pd.DataFrame]


def evidence(trials: pd.DataFrame, space: dict[str, Any]) -> Evidence:
    return Evidence(trials, space_of(space))


def test_settings_stand_at_their_paths_in_their_types(table: Table) -> None:
    made = recipe(recommend(evidence(table([ROW]), STUDY["space"])), STUDY, space_of(STUDY["space"]))
    training = made["training"]
    assert training["precision"] == {"kind": "fp16", "initial_scale": 256}
    assert type(training["precision"]["initial_scale"]) is int and type(training["batch_size"]) is int
    assert training["optimizer"] == {"kind": "adamw", "lr": 2e-3}
    assert training["clip"] == {"max_norm": 1.5}
    assert "space" not in made and "search" not in made
    assert (
        made["budget"] == {"trials": 1, "steps": 100} and "repeats" not in made and made["confirm"] == {"settings": 0}
    )
    assert made["provenance"]["evidence"]["seeds_stable"] == "1 of 1"
    assert STUDY["training"]["precision"] == {"kind": "fp32"}, "the study itself is left as it was"


def test_inactive_settings_leave_no_trace(table: Table) -> None:
    row = {**ROW, "training.precision.kind": "fp32", "training.precision.initial_scale": None}
    made = recipe(recommend(evidence(table([row]), STUDY["space"])), STUDY, space_of(STUDY["space"]))
    assert made["training"]["precision"] == {"kind": "fp32"}
    assert "caution" not in made["provenance"]["evidence"]


def test_a_changed_kind_drops_the_fields_of_the_former_one_and_says_so(table: Table) -> None:
    study = {**STUDY, "space": {"training.optimizer.kind": {"choice": ["adamw", "sgd"]}}}
    made = recipe(
        recommend(evidence(table([{"training.optimizer.kind": "sgd"}]), study["space"])),
        study,
        space_of(study["space"]),
    )
    assert made["training"]["optimizer"] == {"kind": "sgd"}
    assert "training.optimizer.kind" in made["provenance"]["evidence"]["caution"]


def test_sections_as_trained_are_taken_as_they_are(table: Table) -> None:
    sections = {"training": {"optimizer": {"kind": "sgd", "lr": 0.3}}}
    made = recipe(recommend(evidence(table([ROW]), STUDY["space"])), STUDY, space_of(STUDY["space"]), sections)
    assert made["training"] == sections["training"] and made["model"] == STUDY["model"]


def test_it_says_what_differs_from_the_defaults_and_what_is_recommended(table: Table) -> None:
    """All defaults stand in the study of a results folder; a recipe is to be read, and written on."""
    studies = Path(__file__).parents[4] / "studies"
    loaded = load(studies / "smoke.yaml", ["resources.max_parallel=2"])
    row = {"training.precision.kind": "fp32", "training.optimizer.lr": 3e-3}
    sections = loaded.trial_config(row).model_dump(mode="json", by_alias=True)
    made = recipe(
        recommend(evidence(table([row]), loaded.study.space)), stored(loaded.study), loaded.study.space, sections
    )
    assert made.pop("provenance")["evidence"]["defaults_of"].startswith("slr-stability-sweep ")
    assert made == {
        "name": "smoke-recipe",
        "description": "The settings that the study smoke recommends.",
        "model": {"kind": "baseline", "width": 0.0625, "norm": "batch"},
        "data": yaml_source.load(studies / "smoke.yaml").content["data"],
        "training": {
            "precision": {"kind": "fp32"},
            "optimizer": {"kind": "adamw", "lr": 3e-3},
            "batch_size": 16,
            "eval_every_steps": 45,
        },
        "budget": {"trials": 1, "steps": 90},
        "confirm": {"settings": 0},
    }
    again = validate(YamlSource("recipe.yaml", made))
    assert again.trial_config({}) == loaded.trial_config(row)
    written = without_defaults(stored(again.study))
    assert written == {**made, "model": written["model"], "training": written["training"], "objective": "wer"}
    assert validate(YamlSource("recipe.yaml", written)).trial_config({}) == loaded.trial_config(row)


def test_the_evidence_holds_the_safety_rule(table: Table) -> None:
    lr = "training.optimizer.lr"
    space = {lr: STUDY["space"][lr]}
    rows = [
        {lr: 1e-4 * 1.4**k, "margin": -0.3, "wer": 0.5} if k < 12 else
        {lr: 1e-4 * 1.4**k, "margin": 0.6, "verdict": "diverged-loss"}
        for k in range(20)
    ]  # fmt: skip
    told = recipe(recommend(evidence(table(rows), space)), STUDY, space_of(space))["provenance"]["evidence"]
    assert "safety" not in told
    answer = recommend(evidence(table(rows), space), safety=Rule(3.0, 0.9))
    safety = recipe(answer, STUDY, space_of(space))["provenance"]["evidence"]["safety"]
    assert safety["rule_met"] is True and safety["p_stable"] > 0.9 and "Safety rule met" in safety["why"]
    assert 1e-4 * 1.4**10 < safety["hot_edge_lr"] < 1e-4 * 1.4**13
    assert safety["margin_decades"] >= 0.477


def test_there_is_no_recipe_without_a_recommendation(table: Table) -> None:
    with pytest.raises(ValueError, match="No trial has finished"):
        recipe(recommend(evidence(table([]), {})), STUDY, {})


def test_the_recipe_is_a_valid_study(table: Table) -> None:
    """What the report offers must load; this alone needs the training side."""
    study = {
        **STUDY,
        "model": {"kind": "teacher", "width": 0.125},
        "search": {"kind": "random"},
        "training": {
            "precision": {"kind": "fp32"},
            "optimizer": {"kind": "adamw", "lr": 1e-3},
            "clip": {"kind": "norm"},
        },
    }
    space = {k: v for k, v in STUDY["space"].items() if "precision" not in k}
    made = recipe(recommend(evidence(table([ROW]), space)), {**study, "space": space}, space_of(space))
    loaded = validate(YamlSource("recipe.yaml", made))
    assert loaded.study.training.optimizer.lr == 2e-3 and loaded.study.training.batch_size == 4
    assert loaded.study.budget.trials == 1 and loaded.study.confirm.settings == 0
