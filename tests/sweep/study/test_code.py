"""Which code a study names, wherever it names it."""

import pytest

from slr_models.errors import SettingError
from sweep import yaml_source
from sweep.study import LoadedStudy, validate
from sweep.study.code import named_by, named_in

STUDY = """
name: s
model: {model}
data: {data}
space: {space}
search: {{kind: random}}
budget: {{trials: 4, steps: 60}}
"""
SYNTHETIC, BASELINE = "{kind: synthetic}", "{kind: baseline}"
MODEL = "{kind: custom, factory: 'mine.nets:small', output_stride: 4}"


def loaded(data: str = SYNTHETIC, model: str = BASELINE, space: str = "{}", more: str = "") -> LoadedStudy:
    return validate(yaml_source.parse(STUDY.format(data=data, model=model, space=space) + more, "s.yaml"))


def test_most_studies_name_none() -> None:
    assert named_by(loaded().study) == {}


@pytest.mark.parametrize(
    ("sections", "expected"),
    [
        ({"data": "{kind: custom, factory: 'mine:make'}"}, {"mine:make": ("data", "factory")}),
        (
            {"data": "{kind: memorize, source: {kind: custom, factory: 'mine:make'}}"},
            {"mine:make": ("data", "source", "factory")},
        ),
        ({"model": MODEL}, {"mine.nets:small": ("model", "factory")}),
        (
            {"model": MODEL, "space": "{model.factory: {choice: ['mine.nets:small', 'mine.nets:large']}}"},
            {"mine.nets:small": ("model", "factory"), "mine.nets:large": ("space", "model.factory")},
        ),
    ],
)
def test_every_place_that_names_code_is_found(sections: dict[str, str], expected: dict[str, object]) -> None:
    assert named_by(loaded(**sections).study) == expected


def test_a_factor_of_a_design_names_code_too() -> None:
    factors = "{net: {small: {model.factory: 'mine.nets:small'}, large: {model.factory: 'mine.nets:large'}}}"
    text = f"name: s\nmodel: {MODEL}\ndata: {SYNTHETIC}\nbudget: {{steps: 60}}\n"
    study = validate(yaml_source.parse(f"{text}design: {{kind: paired, blocks: 4, factors: {factors}}}\n", "s.yaml"))
    assert named_by(study.study)["mine.nets:large"] == ("design", "factors")


def test_what_one_training_needs_is_less_than_what_its_study_names() -> None:
    study = loaded(model=MODEL, space="{model.factory: {choice: ['mine.nets:small', 'mine.nets:large']}}")
    config = study.trial_config({"model.factory": "mine.nets:large"})
    assert named_in(study.study.data, config.model) == ("mine.nets:large",)


@pytest.mark.parametrize(
    ("sections", "line"),
    [
        ({"data": "{kind: custom, factory: 'os:system'}"}, "s.yaml:4: data.factory: 'os:system'"),
        (
            {"data": "{kind: memorize, source: {kind: custom, factory: 'os:system'}}"},
            "s.yaml:4: data.source.factory: 'os:system'",
        ),
        ({"model": MODEL.replace("mine.nets:small", "torch.hub:load")}, "s.yaml:3: model.factory: 'torch.hub:load'"),
        (
            {"model": MODEL, "space": "{model.factory: {choice: ['mine.nets:small', 'os:popen']}}"},
            "s.yaml:5: space.model.factory: 'os:popen'",
        ),
    ],
)
def test_what_must_not_be_named_is_told_with_its_place(sections: dict[str, str], line: str) -> None:
    with pytest.raises(SettingError) as caught:
        loaded(**sections)
    assert str(caught.value).startswith(f"{line} must not be used: ")


@pytest.mark.parametrize(
    "settings",
    [
        {"model.kind": "custom", "model.factory": "mine:evil", "model.output_stride": 4},
        {"model.factory": "mine:evil"},
        {"model.options.path": 3},
        {"data.factory": "mine:evil"},
    ],
)
def test_settings_of_a_results_folder_bring_no_code_that_the_study_has_not(settings: dict[str, object]) -> None:
    study = loaded(model=MODEL, space="{model.factory: {choice: ['mine.nets:small', 'mine.nets:large']}}")
    study.check_stored({"model.factory": "mine.nets:large", "training.optimizer.lr": 0.1})
    with pytest.raises(SettingError, match="s.yaml:5: a training in the results has .*, and the space of the study"):
        study.check_stored(settings)
