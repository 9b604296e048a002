"""All that is wrong with a study is told at once, each mistake once and with the line of its own key."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from slr_models.errors import SettingError, SettingProblem
from sweep import yaml_source
from sweep.study import load, num_settings, validate

BASE = """
name: tiny
model: {kind: baseline, width: 0.0625}
data: {kind: synthetic}
training:
  precision: {kind: fp16, initial_scale: 1024}
  optimizer: {kind: adamw, lr: 1e-3}
"""
BUDGET = "budget: {trials: 4, steps: 10}\n"


def problems(text: str, base: str = BASE) -> tuple[SettingProblem, ...]:
    with pytest.raises(SettingError) as caught:
        validate(yaml_source.parse(base + text, "x.yaml"))
    assert str(caught.value).splitlines()[0] == str(caught.value.problems[0])
    return caught.value.problems


def lines(text: str, base: str = BASE) -> list[str]:
    return [str(problem) for problem in problems(text, base)]


def paths(text: str) -> list[tuple[str | int, ...]]:
    return [problem.path for problem in problems(text)]


SEARCHED = """space:
  training.optimizer.lrr: {loguniform: [1e-4, 1]}
  model.dropout: {uniform: [0.0, 0.5]}
search:
  kind: tpe
  try_first:
    - model.dropout: 0.7
scheduler:
  kind: pbt
full_size: {path: model.width, target: 1}
budget: {trials: 4}
"""


def test_mistakes_of_different_checks_are_all_told_in_the_order_of_the_file() -> None:
    unknown, outside, scheduler, size, budget = lines(SEARCHED)
    assert unknown.startswith("x.yaml:9: space.training.optimizer.lrr: training.optimizer has no setting 'lrr'.")
    assert outside == "x.yaml:14: search.try_first sets model.dropout to 0.7, outside its dimension"
    assert scheduler.startswith("x.yaml:15: scheduler.kind: pbt changes settings in the middle")
    assert size.startswith("x.yaml:17: full_size.path names 'model.width', which is no dimension of space.")
    assert budget == "x.yaml:18: budget needs either steps or epochs (one of the two)"


DESIGNED = """budget: {trials: 9}
repeats: 2
space:
  training.optimizer.lrr: {loguniform: [1e-4, 1]}
design:
  kind: paired
  factors:
    precision: {training.precision.knd: [fp32, fp16]}
    model: {big: {model.widht: 1.0}, small: {model.width: 0.5}}
claims:
  - name: one
    text: said
    factor: precison
    response: stable
    expected: lower
    smallest_effect: 0.1
  - name: one
    text: said
    factor: precision
    levels: [fp32, fp8]
    response: stable
    expected: lower
    smallest_effect: 2
"""


def test_all_mistakes_of_a_study_with_a_design_are_told() -> None:
    found = problems(DESIGNED)
    assert [(p.where, p.path) for p in found] == [
        ("x.yaml:8", ("budget", "trials")),
        ("x.yaml:8", ("budget",)),
        ("x.yaml:9", ("repeats",)),
        ("x.yaml:11", ("space", "training.optimizer.lrr")),
        ("x.yaml:15", ("design", "factors", "precision", "training.precision.knd")),
        ("x.yaml:16", ("design", "factors", "model", "big", "model.widht")),
        ("x.yaml:20", ("claims", 0, "factor")),
        ("x.yaml:24", ("claims", 1, "name")),
        ("x.yaml:27", ("claims", 1, "levels")),
        ("x.yaml:30", ("claims", 1, "smallest_effect")),
    ]


def test_a_long_list_is_cut_short_in_the_message_alone() -> None:
    with pytest.raises(SettingError) as caught:
        validate(yaml_source.parse(BASE + DESIGNED, "x.yaml"))
    assert len(caught.value.problems) == 10
    assert str(caught.value).splitlines()[6:] == ["... and 4 more"]
    given = BASE + BUDGET + "".join(f"wrong{i}: 1\n" for i in range(9))
    with pytest.raises(SettingError, match=r"\n\.\.\. and 3 more$"):
        validate(yaml_source.parse(given, "x.yaml"))


def test_a_mistake_stands_at_its_own_dimension_whatever_its_sentence_names() -> None:
    """The value asked for reads like the place of another dimension, with a longer path."""
    space = """space:
  training.precision.initial_scale: {grid: [2, 4]}
  training.precision.kind: {choice: [fp16]}
  model.width:
    grid: [0.0625, 0.125]
    when:
      training.precision.kind: [space.training.precision.initial_scale]
"""
    (line,) = lines(BUDGET + space)
    assert line.startswith("x.yaml:15: space.model.width.when asks for training.precision.kind = 'space.training.prec")


def test_a_file_whose_name_has_a_blank_is_named_once() -> None:
    space = "space:\n  training.optimizer.lr: {uniform: [-1, 1]}\n"
    with pytest.raises(SettingError) as caught:
        validate(yaml_source.parse(BASE + BUDGET + space, "my study.yaml"))
    assert str(caught.value) == (
        "my study.yaml:10: space.training.optimizer.lr cannot be used with training.optimizer.lr = -1.0: "
        "training.optimizer.lr: input should be greater than 0, got -1.0."
    )


def test_each_condition_that_is_wrong_is_told() -> None:
    space = """space:
  model.kind: {choice: [baseline, teacher]}
  model.dropout: {uniform: [0, 0.5]}
  model.num_heads:
    int: [1, 2]
    when:
      model.kind: [teachr]
      model.dropout: [0.5]
      training.clip.kind: [norm]
"""
    found = problems(BUDGET + space)
    assert [p.where for p in found] == ["x.yaml:15", "x.yaml:16", "x.yaml:17"]
    assert [p.path[-1] for p in found] == ["model.kind", "model.dropout", "training.clip.kind"]


def test_a_circle_is_told_only_of_conditions_that_are_right() -> None:
    circle = """space:
  model.num_heads: {grid: [1, 2], when: {model.width: [1]}}
  model.width: {grid: [1, 0.5], when: {model.num_heads: [1]}}
"""
    (line,) = lines(BUDGET + circle)
    assert line == "x.yaml:9: the conditions of ['model.num_heads', 'model.width'] in space go in a circle"
    (line,) = lines(BUDGET + circle.replace("model.width: [1]", "model.width: [3]"))
    assert "which is none of its values" in line


@pytest.mark.parametrize(
    "text",
    [
        # A name that is right, of a dimension that is not.
        "space: {training.optimizer.lrr: {grid: [1, 2]}}\nsearch: {kind: tpe, try_first: [{training.optimizer.lr: 1}]}",
        "space: {model.widht: {grid: [0.1, 0.2, 0.4]}}\nfull_size: {path: model.width, target: 1}",
        "space: {training.optimizer.lr: {grid: [1, 2]}, model.kind: {choice: [teacher]}, model.num_hads: {int: [1, 2], "
        "when: {model.kind: [teacher]}}, model.num_modules: {int: [1, 2], when: {model.num_heads: [1]}}}",
        "space: {training.optimiser.lr: {uniform: [0.1, 1]}}\nsearch: {kind: random}\nscheduler: {kind: pbt}",
        # Corners without the dimension that makes another one valid.
        "space: {model.knd: {choice: [teacher]}, model.num_heads: {int: [1, 2]}}",
        # Two values of one dimension that break the same rule, and every corner of the other dimension.
        "space: {training.optimizer.lr: {uniform: [-2, -1]}, model.dropout: {uniform: [0, 0.5]}}",
        "space: {model.kind: {choice: [baseline, teacher, mobilenet_teacher]}, model.num_heads: {int: [1, 2]}}",
        "space: {training.optimizer.lr: {uniform: [-2, 1]}, model.width: {grid: [0.0625, 0.125, 0.25]}}\n"
        "full_size: {path: model.width, target: 1}",
        # Values that are right, of a dimension that lacks them.
        "space: {training.precision.kind: {choice: [fp32, fp61]}}\nsearch: {kind: tpe, try_first: "
        "[{training.precision.kind: fp16}]}",
        "space: {training.precision.kind: {choice: [fp32]}, training.precision.initial_scale: {grid: [2, 4], "
        "when: {training.precision.kind: [fp16]}}}\n"
        "search: {kind: tpe, try_first: [{training.precision.kind: fp16}]}",
        "space: {training.optimizer.lr: {grid: [1, 2]}, model.width: {grid: [0.0625, -0.125, 0.25]}}\n"
        "full_size: {path: model.width, target: 1}",
        # One dimension that is missing, named twice.
        "space: {model.width: {grid: [0.0625, 0.125]}}\nsearch: {kind: tpe, try_first: "
        "[{training.optimizer.lr: 1}, {training.optimizer.lr: 2}]}",
    ],
)
def test_what_follows_from_a_mistake_is_not_told(text: str) -> None:
    assert len(lines(BUDGET + text)) == 1


@pytest.mark.parametrize(
    "text",
    [
        # The claim needs rungs of the learning rate, and has them, misspelled.
        """budget: {steps: 4}
design: {factors: {precision: {training.precision.kind: [fp32, fp16]}, lr: {training.optimizer.lrr: [1, 2, 3]}}}
claims: [{name: a, text: a, factor: precision, response: edge_lr, expected: lower, smallest_effect: 0.1}]
""",
        # Rungs of which one cannot be used, and a level that is misspelled in the design alone.
        """budget: {steps: 4}
design: {factors: {precision: {training.precision.kind: [fp32, fp16]}, lr: {training.optimizer.lr: [0.1, 0.2, -1]}}}
claims: [{name: a, text: a, factor: precision, response: edge_lr, expected: lower, smallest_effect: 0.1}]
""",
        """budget: {steps: 4}
design: {factors: {precision: {training.precision.kind: [fp32, fp61]}}}
claims:
  - {name: a, text: a, factor: precision, levels: [fp32, fp16], response: wer, expected: lower, smallest_effect: 0.1}
""",
        # A factor, or a level, that has another name in the design than in the claims.
        """budget: {steps: 4}
design: {factors: {precison: {training.precision.kind: [fp32, fp16]}, width: {model.width: [0.25, 0.5]}}}
claims:
  - {name: a, text: a, factor: precision, response: stable, expected: lower, smallest_effect: 0.1}
  - {name: b, text: b, factor: width, where: {precision: fp16}, response: wer, expected: lower, smallest_effect: 0.1}
""",
        """budget: {steps: 4}
design: {factors: {model: {techer: {model.kind: teacher}, small: {}}, width: {model.width: [0.25, 0.5]}}}
claims:
  - {name: a, text: a, factor: width, where: {model: teacher}, response: stable, expected: lower, smallest_effect: 0.1}
  - {name: b, text: b, factor: width, where: {model: teacher}, response: wer, expected: lower, smallest_effect: 0.1}
""",
        # What is wrong in every cell.
        """budget: {steps: 4}
space: {training.optimizer.lr: {uniform: [-1, 1]}}
design: {factors: {precision: {training.precision.kind: [fp32, fp16]}, width: {model.width: [0.25, 0.5]}}}
""",
        # What is impossible needs no right size, and no levels.
        """budget: {steps: 4}
design: {factors: {precision: {training.precision.kind: [fp32, fp16]}}}
claims: [{name: a, text: a, factor: precision, response: wer, effect: ratio, expected: lower, smallest_effect: 0.1}]
""",
        # Settings that a design has no place for need not be right.
        """budget: {steps: 4}
search: {kind: tpe, try_first: [{model.width: 3}]}
design: {factors: {precision: {training.precision.kind: [fp32, fp16]}}}
""",
    ],
)
def test_what_follows_from_a_mistake_in_a_design_is_not_told(text: str) -> None:
    assert len(lines(text)) == 1


def test_every_dimension_that_is_wrong_is_told_at_the_corners() -> None:
    space = """space:
  training.optimizer.lr: {uniform: [-1, 1]}
  model.dropout: {uniform: [-0.5, 2]}
  training.precision.kind: {choice: [fp16, fp8]}
"""
    rate, low, high, kind = lines(BUDGET + space)
    assert rate.startswith("x.yaml:10: space.training.optimizer.lr") and "greater than 0, got -1.0" in rate
    assert low.startswith("x.yaml:11: space.model.dropout") and "greater than or equal to 0, got -0.5" in low
    assert high.startswith("x.yaml:11: space.model.dropout") and "less than 1, got 2.0" in high
    assert kind.startswith("x.yaml:12: space.training.precision.kind") and "'fp8', which does not exist" in kind


def test_a_full_size_that_is_wrong_is_told_beside_a_dimension_that_is() -> None:
    space = """space:
  training.optimizer.lr: {uniform: [-1, 1]}
  model.dropout: {grid: [0.1, 0.2, 0.3]}
full_size: {path: model.dropout, target: 1}
"""
    rate, target = lines(BUDGET + space)
    assert rate.startswith("x.yaml:10: space.training.optimizer.lr cannot be used")
    assert target == "x.yaml:12: full_size.target is 1: model.dropout: input should be less than 1, got 1.0"


def test_a_grid_search_names_every_dimension_that_it_cannot_list() -> None:
    space = "space: {training.optimizer.lr: {uniform: [0.1, 1]}, model.dropout: {uniform: [0, 0.5]}}\n"
    assert paths(BUDGET + space + "search: {kind: grid}\n") == [
        ("space", "training.optimizer.lr"),
        ("space", "model.dropout"),
    ]


def test_all_that_does_not_go_with_a_population_is_told() -> None:
    text = "scheduler: {kind: pbt}\nrepeats: 2\ncheckpoints: last\n"
    found = problems(BUDGET + text)
    assert {p.path for p in found} == {("scheduler",)} and {p.where for p in found} == {"x.yaml:9"}
    assert [p.advice.split(",")[0] for p in found] == [
        "use search.kind: random or grid with it",
        "use repeats: 1 with it",
        "use checkpoints: none with it",
        "space needs a number under training.optimizer",
    ]


@pytest.mark.parametrize(
    "text",
    [
        SEARCHED,
        DESIGNED,
        BUDGET + "early_stop: 3\nrepeats: many\nsafty: 1\naudit: {rate: 2}\n",
        BUDGET + "monitor:\n  detectors:\n    - kind:\n        nonfinit\n    - threshold: 3\n",
        BUDGET + "scheduler:\n  grace_rate: 0.1\n  kind: ashaa\n",
        BUDGET + "space:\n  training.optimizer.lr:\n    uniform: [-1, 1]\n",
        BUDGET + "space:\n  model.width:\n    choice: 3\n  model.dropout: {uniform: [1, 0]}\n",
        BUDGET + "name2: 1\nforensics:\n  trials: -1\n",
    ],
)
def test_the_path_of_a_problem_leads_to_its_key(text: str) -> None:
    source = yaml_source.parse(BASE + text, "x.yaml")
    with pytest.raises(SettingError) as caught:
        validate(source)
    for problem in caught.value.problems:
        here = source.content
        for key in problem.path:
            assert key in here if isinstance(here, Mapping) else isinstance(key, int) and key < len(here), problem
            here = here[key]
        assert problem.where == f"x.yaml:{source.lines[problem.path]}"
        assert str(problem) == f"{problem.where}: {problem.sentence}"


def test_a_kind_that_does_not_exist_has_the_line_of_the_kind() -> None:
    (line,) = lines(BUDGET + "scheduler:\n  grace_rate: 0.1\n  kind: ashaa\n")
    assert line.startswith("x.yaml:11: scheduler.kind is 'ashaa'")


def test_every_override_that_is_wrong_is_told(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(BASE + "budget: {trials: many, steps: 10}\n")
    with pytest.raises(SettingError) as caught:
        load(path, ["budget.trials", "budget.trials=[1", "=3", "repeats=none", "modle.width=1"])
    assert str(caught.value).splitlines() == [
        "--set budget.trials: write it as dotted.path=value, such as budget.trials=8",
        "--set budget.trials=[1: '[1' is not a value that YAML can read",
        "--set =3: write it as dotted.path=value, such as budget.trials=8",
        *str_of(caught.value.problems[3:]),
    ]
    unknown, value = caught.value.problems[3:]
    assert unknown.path == ("modle",) and "Did you mean model" in unknown.advice
    assert value.path == ("repeats",) and "write a whole number" in value.advice
    assert caught.value.problems[1].path == ("budget", "trials"), "which the file's own value is no mistake of"


def str_of(found: tuple[SettingProblem, ...]) -> list[str]:
    return [str(problem) for problem in found]


def test_an_override_that_is_wrong_is_told_of_a_study_that_is_right(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(BASE + BUDGET)
    with pytest.raises(SettingError, match=r"^--set seed=\]: '\]' is not a value that YAML can read$"):
        load(path, ["seed=]"])


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("a/b", "leave out /"),
        ("a\\b", "leave out \\"),
        ("a:b", "leave out :"),
        ("..", "full stop at its end"),
        (" a", "leave out blanks around it"),
        ("a.", "full stop at its end"),
        ("a\nb", "leave out what cannot be printed"),
        ("a\u202eb", "leave out what cannot be printed"),
        (".hidden", "begin it with something else than ."),
        ("-rf", "begin it with something else than -"),
        ("con", "Windows keeps this for a device"),
        ("Com1.x", "Windows keeps this for a device"),
    ],
)
def test_a_name_has_to_name_a_folder_everywhere(name: str, advice: str) -> None:
    source = yaml_source.parse(BASE + BUDGET, "x.yaml")
    source.content["name"] = name
    with pytest.raises(SettingError) as told:
        validate(source)
    assert str(told.value) == f"x.yaml:2: name is {name!r}, but it names a folder: {advice}" or advice in str(
        told.value
    )
    assert len(told.value.problems) == 1


@pytest.mark.parametrize("name", ["größe", "日本", "a b", "v1.2", "a-b_c", "console"])
def test_a_name_may_be_of_any_script(name: str) -> None:
    source = yaml_source.parse(BASE + BUDGET, "x.yaml")
    source.content["name"] = name
    assert validate(source).study.name == name


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("budget: {trials: true, steps: 9_0}", "x.yaml:8: budget.trials is true: write a whole number"),
        ("budget: {trials: true, steps: 9_0}", "x.yaml:8: budget.steps is '9_0': write a whole number"),
        ("budget: {trials: '90', steps: 9}", "x.yaml:8: budget.trials is '90': write a whole number"),
        ("budget: {trials: -1, steps: 9}", "x.yaml:8: budget.trials: input should be greater than or equal to 1"),
        ("budget: {trials: 1e24, steps: 9}", "x.yaml:8: budget.trials: input should be less than or equal to 100000"),
        ("budget: {epochs: .nan}", "x.yaml:8: budget.epochs: input should be a finite number, got nan"),
        ("seed: 9223372036854775808", "x.yaml:8: seed: input should be less than or equal to 9007199254740992"),
        ("space: {training.clip.max_norm: {choice: [true, 1]}}", "training.clip.max_norm is true: write a number"),
        ("space: {model.dropout: {choice: [0, 0.1], when: {a: 1}}}", "x.yaml:8: space.model.dropout.when.a is a list"),
        ("space: {model.dropout: {choice: [0, 0.1], when: 1}}", "x.yaml:8: space.model.dropout.when is a section"),
        ("space: {model.dropout: {choice: [0, 0.1], when: {a: []}}}", "space.model.dropout.when.a is too short"),
        ("repeats: 1e9", "x.yaml:8: repeats: input should be less than or equal to 1000"),
    ],
)
def test_a_number_is_told_of_by_its_own_key(line: str, says: str) -> None:
    assert any(says in text for text in lines(f"{line}\n{'' if 'budget' in line else BUDGET}"))


def test_whole_numbers_may_be_written_with_an_exponent() -> None:
    loaded = validate(yaml_source.parse(f"{BASE}budget: {{trials: 1e1, steps: 90.0}}\n", "x.yaml"))
    assert (loaded.study.budget.trials, loaded.study.budget.steps) == (10, 90)
    assert isinstance(loaded.study.budget.trials, int)


def test_a_space_that_takes_too_long_to_check_is_told_of() -> None:
    long = ", ".join(str(value / 1000) for value in range(1000))
    text = f"{BUDGET}space: {{model.dropout: {{choice: [{long}]}}, model.width: {{choice: [{long}]}}}}\n"
    assert [line[:70] for line in lines(text)] == [
        "x.yaml:9: space has 2002000 combinations of values to check, more than"
    ]


def test_a_wide_grid_is_counted_as_far_as_the_budget_goes() -> None:
    text = "space: {training.batch_size: {int: [1, 1e6]}, model.hidden_size: {int: [1, 65536]}}\nsearch: {kind: grid}\n"
    base = BASE.replace("baseline", "teacher")
    study = validate(yaml_source.parse(base + BUDGET + text, "x.yaml")).study
    assert num_settings(study) == 4


def test_messages_are_no_longer_than_a_person_reads() -> None:
    (told,) = lines(f"{BUDGET}repeats: {'y' * 100_000}\n")
    assert len(told) < 1500
    assert told.startswith("x.yaml:9: repeats is 'yyy") and told.endswith("write a whole number")


@pytest.mark.parametrize("override", ["a." * 60_000 + "b=1", "space." + "a" * 100_000 + "=1", "name=" + "[" * 100_000])
def test_an_override_of_any_length_is_told_of_in_a_line(override: str, tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(BASE + BUDGET)
    with pytest.raises(SettingError) as told:
        load(path, [override])
    assert len(str(told.value).splitlines()) == 1 and len(str(told.value)) < 1500


def test_several_gpus_are_for_a_model_of_one_s_own_that_uses_them() -> None:
    (line,) = lines(BUDGET + "resources: {gpus: 2}\n")
    assert "resources.gpus is 2, but a training of model.kind baseline uses one GPU: give 1" in line
    own = BASE.replace("{kind: baseline, width: 0.0625}", "{kind: custom, factory: 'mine:model', output_stride: 4}")
    assert validate(yaml_source.parse(own + BUDGET + "resources: {gpus: 2}\n", "x.yaml")).study.resources.gpus == 2
    (line,) = lines(BUDGET + "resources: {gpus: 1.5}\n", own)
    assert "1.5 GPUs cannot be had: give a fraction below 1, or a whole number" in line


@pytest.mark.parametrize("most", ["0", "-1", "1.5", "many", "true", "200000"])
def test_a_number_of_lanes_that_is_none_is_told(most: str) -> None:
    (line,) = lines(BUDGET + f"resources: {{max_parallel: {most}}}\n")
    assert "resources.max_parallel" in line
