"""Study files with a design: what a mistake is told, and what a results folder holds."""

import pytest
import yaml

from slr_models.errors import SettingError
from sweep import yaml_source
from sweep.study import LoadedStudy, num_confirmations, num_settings, stored, validate

TEXT = """
name: claimed
model: {kind: baseline, width: 0.0625}
data: {kind: synthetic}
space: {training.optimizer.lr: {loguniform: [1e-4, 1e-2]}}
budget: {steps: 10}
design:
  kind: paired
  blocks: 4
  looks: 2
  factors:
    model: {teacher: {model.kind: teacher}, baseline: {model.kind: baseline}}
    precision: {training.precision.kind: [fp32, fp16]}
claims:
  - name: diverges
    text: "fp16 is why the teacher diverges"
    factor: precision
    where: {model: teacher}
    response: stable
    expected: lower
    smallest_effect: 0.1
"""
PRECISION = "{training.precision.kind: [fp32, fp16]}"


def study(text: str = TEXT) -> LoadedStudy:
    return validate(yaml_source.parse(text, "x.yaml"))


def error(old: str, new: str) -> str:
    assert TEXT.count(old) == 1, old
    with pytest.raises(SettingError) as caught:
        study(TEXT.replace(old, new))
    return str(caught.value)


def test_a_design_takes_the_place_of_search_and_confirmation() -> None:
    loaded = study()
    assert num_settings(loaded.study) == 16 and num_confirmations(loaded.study) == 0
    (claim,) = loaded.study.claims
    assert claim.levels == ("fp32", "fp16") and claim.value == 0
    confirmed = study(TEXT + "confirm: {seeds: 2}\n").study
    assert num_confirmations(confirmed) == 4, "the best and the recommended setting, where it was asked for"


def test_the_first_settings_are_those_of_the_first_cell() -> None:
    assert study().first_settings() == {
        "training.optimizer.lr": 1e-4,
        "model.kind": "teacher",
        "training.precision.kind": "fp32",
    }
    assert len(list(study().corners())) == 8, "both ends of the learning rate in each of four cells"


def test_what_a_results_folder_holds_knows_all_that_varies_and_can_be_run_again() -> None:
    loaded = study()
    content = stored(loaded.study)
    assert list(content["space"]) == ["model.kind", "training.precision.kind", "training.optimizer.lr"]
    assert content["space"]["training.precision.kind"]["choice"] == ["fp32", "fp16"]
    assert content["design"]["factors"]["precision"]["fp16"] == {"training.precision.kind": "fp16"}
    assert content["claims"][0]["levels"] == ["fp32", "fp16"]
    again = study(yaml.safe_dump(content, sort_keys=False))
    told = loaded.study.model_copy(update={"objective": "wer"})  # what was left out is written out
    assert again.study == told and list(again.study.space) == ["training.optimizer.lr"]


def test_a_study_without_a_design_is_held_as_ever() -> None:
    plain = TEXT.split("design:")[0]
    content = stored(study(plain).study)
    assert content["search"]["kind"] == "stability" and content["budget"]["trials"] == 32
    assert content["design"] is None and content["claims"] == []


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("{steps: 10}", "{steps: 10, trials: 9}", "x.yaml:6: budget.trials cannot be used beside design"),
        ("design:", "search: {kind: random}\ndesign:", "x.yaml:7: search cannot be used beside design"),
        ("design:", "repeats: 2\ndesign:", "x.yaml:7: repeats cannot be used beside design"),
        ("design:", "scheduler: {kind: asha}\ndesign:", "x.yaml:7: scheduler cannot be used beside design"),
        (
            "design:",
            "full_size: {path: model.width, target: 1}\ndesign:",
            "x.yaml:7: full_size cannot be used beside design",
        ),
        ("  kind: paired\n", "  kind: pared\n", "x.yaml:8: design.kind: input should be 'paired', got 'pared'"),
        ("{training.optimizer.lr:", "{model.kind: {choice: [teacher]}, training.optimizer.lr:", "x.yaml:5: space.mod"),
        (PRECISION, "{training.precision.kind: [fp32, fp8]}", "x.yaml:13: design.factors.precision cannot be used"),
        (PRECISION, "{training.precision.knd: [fp32, fp8]}", "Did you mean kind"),
        (PRECISION, "{training.precision: [fp32, fp8]}", "is a section, not one value"),
        (PRECISION, "{data.noise: [0, 1]}", "cannot be searched"),
        (PRECISION, "\n      few: {model.num_heads: 2}\n      many: {model.num_heads: 4}", "Set it in the levels"),
        ("[1e-4, 1e-2]", "[1e-4, 2]}, model.num_heads: {int: [1, 2]", "x.yaml:5: space.model.num_heads cannot be used"),
        ("factor: precision", "factor: precison", "x.yaml:17: claim diverges: factor names 'precison'"),
        ("response: stable", "response: steble", "x.yaml:19: claims.0.response: input should be"),
        ("{model: teacher}", "{model: techer}", "x.yaml:18: claim diverges: where names 'techer'"),
        ("response: stable", "response: edge_lr", "x.yaml:19: claim diverges: response: edge_lr needs a factor lr"),
        ("effect: 0.1", "effect: 0.1\n    effect: slope", "claim diverges: effect: slope needs at least 3 levels"),
        ("effect: 0.1", "effect: 0.1\n    by: modl", "x.yaml:22: claim diverges: by names 'modl'"),
        ("looks: 2", "looks: 2\n  fraction: half", "needs at least 3 factors"),
        ("blocks: 4", "blocks: 1", "x.yaml:9: design.blocks"),
        ("blocks: 4", "blocks: many", "x.yaml:9: design.blocks is 'many': write a whole number"),
        (PRECISION, "{training.precision.kind: [fp32, fp16, bf16]}", "precision has 3 levels (fp32, fp16, bf16): name"),
        (PRECISION, "{training.precision.kind: [fp32, null]}", "to a value, and null is none"),
        (PRECISION, "{a: {training.precision.kind: null}}", "precision.a.training.precision.kind is null: write one"),
        (
            PRECISION,
            "{training.precision.kind: [[fp32], fp16]}",
            "to one value, such as a number or a word, got ['fp32']",
        ),
        (PRECISION, "{a: {training.precision.kind: [fp32]}, b: {}}", "training.precision.kind is ['fp32']: write one"),
        (PRECISION, "{training.optimizer.lr: [1e-3, 1e200]}", "the level 1e+200 of precision: 1e+200 is out of range"),
        (PRECISION, f"{{training.accumulate: {list(range(1, 1002))}}}", "make 2002 combinations, more than 1000"),
        ("blocks: 4", "blocks: 60000", "blocks x cells make 240000 trainings, more than 100000: lower blocks"),
        (PRECISION, "{a: null, b: {}}", "x.yaml:13: design.factors.precision: the level a is null"),
        ("effect: 0.1", "effect: 0.1\n    smalest_effect: 0.2", "is not a setting. Did you mean smallest_effect"),
        ("effect: 0.1", "effect: 0.1\n    levels: fp32", "claims.0.levels is a list: write it in brackets, as [fp32]"),
    ],
)
def test_a_mistake_is_told_with_its_line(old: str, new: str, says: str) -> None:
    message = error(old, new)
    assert says in message and len(message.splitlines()) == 1 and message.startswith("x.yaml:")


def test_claims_that_are_no_list_are_told_how_to_be_written() -> None:
    message = error("claims:\n  - name", "claims:\n    name")
    assert message == 'x.yaml:14: claims is a list: start each entry with "- name: ...", got a mapping'


def test_claims_need_a_design_and_names_of_their_own() -> None:
    before, claims = TEXT.split("claims:")
    with pytest.raises(SettingError, match="x.yaml:7: claims need a design that settles them"):
        study(before.split("design:")[0] + "claims:" + claims)
    with pytest.raises(SettingError, match="x.yaml:22: two claims are named 'diverges'"):
        study(TEXT + claims.lstrip("\n"))
