"""What trainings ask for by their settings: which entry holds, and what is wrong with one, in a line each."""

import pytest

from slr_models.errors import SettingError
from sweep import yaml_source
from sweep.study import Study, stored, validate

SPACE = """space:
  model.width: {grid: [0.0625, 0.125]}
  model.norm: {choice: [group, layer]}
  training.optimizer.lr: {loguniform: [1e-3, 1e-1]}
"""
STUDY = """
name: tiny
model: {kind: baseline, width: 0.0625}
data: {kind: synthetic}
budget: {steps: 10}
"""


def study(where: str, more: str = "", space: str = SPACE) -> Study:
    text = f"{STUDY}{space}resources:\n  cpus: 1\n  node_with: [zone=a]\n{more}  where:\n  - {where}\n"
    return validate(yaml_source.parse(text, "x.yaml")).study


def problem(where: str, more: str = "", space: str = SPACE) -> str:
    with pytest.raises(SettingError) as caught:
        study(where, more, space)
    (line,) = map(str, caught.value.problems)
    return line


def test_the_first_entry_that_holds_decides_and_leaves_the_rest_as_it_is() -> None:
    second = "\n  - {when: {training.optimizer.lr: {at_least: 0.01, below: 0.05}}, node_with: []}"
    resources = study(f"{{when: {{model.width: 0.125, model.norm: [group]}}, cpus: 3}}{second}").resources
    both = {"model.width": 0.125, "model.norm": "group", "training.optimizer.lr": 0.02}
    assert (resources.of(both).cpus, resources.of(both).node_with) == (3, ("zone=a",))
    for lr, nodes in ((0.009, ("zone=a",)), (0.01, ()), (0.05, ("zone=a",))):
        found = resources.of({**both, "model.norm": "layer", "training.optimizer.lr": lr})
        assert (found.cpus, found.node_with, found.where) == (1, nodes, ())
    assert resources.of({}).cpus == 1, "a setting that a training does not have never holds"
    assert list(resources.by_settings) == [
        "",
        "model.width is 0.125 and model.norm is group",
        "training.optimizer.lr is at least 0.01 and below 0.05",
    ]


def test_it_stands_in_a_results_folder_as_it_was_given() -> None:
    given = study("{when: {model.width: {at_least: 0.1}}, cpus: 2, node_with: [fast_disk]}")
    again = validate(yaml_source.YamlSource("study.yaml", stored(given), {})).study
    assert again.resources == given.resources


@pytest.mark.parametrize(
    ("when", "said"),
    [
        (
            "model.widht: 0.125",
            "names 'model.widht', which does not vary between the trainings of this study. Did you",
        ),
        ("model.width: 0.5", "asks for model.width = 0.5, which is not one of its values [0.0625, 0.125]"),
        ("model.norm: [group, batch]", "asks for model.norm = 'batch', which is not one of its values"),
        ("model.width: {at_least: 0.2}", "asks for model.width at least 0.2, which no training of this study has"),
        ("model.norm: {below: 1}", "asks for model.norm below 1, which no training"),
        (
            "training.optimizer.lr: 0.01",
            "lists values of training.optimizer.lr, which lies anywhere between two bounds",
        ),
        ("training.optimizer.lr: {below: 0.001}", "asks for training.optimizer.lr below 0.001, which no training"),
        ("model.width: {at_least: 1, below: 1}", "no number is at least 1 and below 1"),
        ("model.width: {}", "give at_least, below, or both"),
        ("model.width: []", "is too short: it needs at least 1"),
    ],
)
def test_settings_that_no_training_has_are_told(when: str, said: str) -> None:
    line = problem(f"{{when: {{{when}}}, cpus: 2}}")
    assert said in line and line.startswith("x.yaml:14: ")


@pytest.mark.parametrize(
    ("where", "more", "said"),
    [
        ("{when: {model.width: 0.125}}", "", "resources.where.0 asks for nothing: give cpus, gpus or node_with"),
        ("{when: {}, cpus: 2}", "", "when is too short"),
        ("{cpus: 2}", "", "when is missing"),
        ("{when: {model.width: 0.125}, memory: 2}", "", "memory is not a setting"),
        ("{when: {model.width: 0.125}, gpus: auto}", "", "auto is for all trainings"),
        ("{when: {model.width: 0.125}, gpus: 0.5}", "", "GPUs for some trainings and for none for others"),
        ("{when: {model.width: 0.125}, gpus: 2}", "  gpus: 0.5\n", "gpus of resources.where is 2, but a training of"),
        ("{when: {model.width: 0.125}, cpus: 2}", "  gpus: auto\n", "resources.gpus: auto measures one training for"),
        ("{when: {model.width: 0.125}, cpus: 2}", "  stacked: 2\n", "trainings of one process take the same"),
        (
            "{when: {model.width: 0.125}, cpus: 2}\n  - {when: {model.width: [0.125]}, cpus: 3}",
            "",
            "resources.where has two entries for where model.width is 0.125: leave one of them out",
        ),
    ],
)
def test_what_does_not_go_together_is_told(where: str, more: str, said: str) -> None:
    assert said in problem(where, more)


def test_a_scheduler_that_pauses_trainings_is_refused_and_one_that_ends_them_is_not() -> None:
    where, space = "{when: {model.width: 0.125}, cpus: 2}", "search: {kind: random}\n" + SPACE
    assert "scheduler.kind: hyperband pauses" in problem(where, space=space + "scheduler: {kind: hyperband}\n")
    study(where, space=space + "scheduler: {kind: asha}\n")


def test_a_size_that_is_trained_at_the_end_alone_may_ask_for_more() -> None:
    sized = SPACE.replace("[0.0625, 0.125]", "[0.0625, 0.125, 0.25]")
    sized += "full_size: {path: model.width, target: 1.0, trainings: 2}\n"
    found = study("{when: {model.width: 1.0}, cpus: 4}", space=sized)
    assert found.resources.of({"model.width": 1.0}).cpus == 4
    study("{when: {model.width: {at_least: 0.5}}, cpus: 4}", space=sized)


def test_a_design_goes_by_what_its_levels_set() -> None:
    design = "design: {kind: paired, factors: {size: {small: {model.width: 0.0625}, large: {model.width: 0.125}}}}\n"
    assert study("{when: {model.width: 0.125}, cpus: 2}", space=design).resources.of({"model.width": 0.125}).cpus == 2
    line = problem("{when: {size: large}, cpus: 2}", space=design)
    assert "It is a factor: name what its levels set: model.width" in line
