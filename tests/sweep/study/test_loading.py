"""Study files: what is accepted, how settings are put in, and what a mistake is told."""

from pathlib import Path

import pytest

from slr_models.errors import SettingError
from sweep import yaml_source
from sweep.study import apply_settings, load, load_stored, num_confirmations, num_settings, validate
from sweep.study.full_size import at_full_size

BASE = """
name: tiny
model: {kind: baseline, width: 0.0625}
data: {kind: synthetic}
training:
  precision: {kind: fp16, initial_scale: 1024}
  optimizer: {kind: adamw, lr: 1e-3}
budget: {trials: 4, steps: 10}
"""


def study(text: str = "", base: str = BASE):
    return validate(yaml_source.parse(base + text, "x.yaml"))


def error(text: str = "", base: str = BASE) -> str:
    with pytest.raises(SettingError) as caught:
        study(text, base)
    return str(caught.value)


def test_the_audit_chooses_by_seed_and_number_alone() -> None:
    audit = study("audit: {rate: 0.1}\n").study.audit
    chosen = [n for n in range(20_000) if audit.chooses(7, n)]
    assert abs(len(chosen) / 20_000 - 0.1) < 0.008, "four standard errors"
    assert chosen == [n for n in range(20_000) if audit.chooses(7, n)]
    assert chosen != [n for n in range(20_000) if audit.chooses(8, n)]
    more = study("audit: {rate: 0.3}\n").study.audit
    assert all(more.chooses(7, n) for n in chosen), "a higher rate keeps what a lower one chose"
    none, every = (study(f"audit: {{rate: {rate}}}\n").study.audit for rate in (0, 1))
    assert not any(none.chooses(7, n) or not every.chooses(7, n) for n in range(1000))
    assert study().study.audit.rate == 0.1
    assert "audit.rate" in error("audit: {rate: 1.5}\n")
    assert "forensics.trials" in error("forensics: {trials: -1}\n")


def test_numbers_in_scientific_notation_are_numbers() -> None:
    assert study().trial_config({}).training.optimizer.lr == 1e-4 * 10


def test_settings_go_in_at_their_dotted_paths() -> None:
    config = study().trial_config(
        {"training.optimizer.lr": 0.5, "model.width": 0.125, "training.precision.initial_scale": 2.0}
    )
    assert config.training.optimizer.lr == 0.5
    assert config.model.width == 0.125
    assert config.training.precision.initial_scale == 2.0


def test_a_changed_kind_drops_the_fields_of_the_old_one() -> None:
    loaded = study()
    assert loaded.trial_config({"training.precision.kind": "fp32"}).training.precision.kind == "fp32"
    kept = loaded.trial_config({"training.optimizer.kind": "sgd"})
    assert kept.training.optimizer.kind == "sgd" and kept.training.optimizer.lr == 1e-3, "shared fields stay"
    base = {
        "training": {"precision": {"kind": "fp16", "initial_scale": 4}},
        "model": {"kind": "teacher"},
        "data": {"kind": "synthetic"},
    }
    before = str(base)
    apply_settings(base, {"training.precision.kind": "fp32"})
    assert str(base) == before, "the base is not changed"


def test_a_misspelled_key_names_its_neighbours_and_its_line() -> None:
    message = error(base=BASE.replace("lr: 1e-3", "learning_rate: 1e-3, lrr: 2"))
    assert "x.yaml:7: training.optimizer.learning_rate is not a setting" in message
    assert "training.optimizer.lrr is not a setting. Did you mean lr" in message
    assert "Known here: " in message and "weight_decay" in message
    assert "x.yaml:9: bugdet" in error("bugdet: 1\n")
    listed = error("monitor: {detectors: [{kind: nonfinit}, {knd: 4}]}\n")
    assert "monitor.detectors.0.kind is 'nonfinit', which does not exist. Did you mean nonfinite?" in listed
    assert "monitor.detectors.1 needs a kind: one of nonfinite" in listed
    assert not any(line.endswith(" ") for line in error("space: {training.optimizer.lr.x: {a: 1}}\n").splitlines())


def test_kinds_are_listed_when_one_is_wrong_or_missing() -> None:
    message = error(base=BASE.replace("kind: baseline", "kind: baselin"))
    assert "x.yaml:3: model.kind is 'baselin'" in message and "Did you mean baseline" in message
    message = error(base=BASE.replace("{kind: synthetic}", "{num_train: 4}"))
    assert "x.yaml:4: data needs a kind" in message and "fingerspelling" in message


def test_the_dimension_that_is_wrong_is_blamed_and_not_its_neighbour() -> None:
    message = error(
        """space:
  training.optimizer.lr: {loguniform: [1e-4, 1]}
  training.precision.kind: {choice: [fp32, fp16]}
  training.precision.initial_scale: {grid: [2, 4]}
"""
    )
    assert message.startswith("x.yaml:12: space.training.precision.initial_scale cannot be used")


def test_a_section_that_is_one_word_is_told_how_to_be_written() -> None:
    message = error(base=BASE.replace("{kind: adamw, lr: 1e-3}", "adamw"))
    assert "x.yaml:7: training.optimizer is a section" in message and "'adamw'" in message


def test_missing_and_wrong_values_say_what_they_got() -> None:
    assert "model is missing" in error(base=BASE.replace("model: {kind: baseline, width: 0.0625}\n", ""))
    message = error(base=BASE.replace("trials: 4", "trials: many"))
    assert "x.yaml:8: budget.trials is 'many': write a whole number" in message
    assert "steps is 1.5: write a whole number" in error(base=BASE.replace("steps: 10", "steps: 1.5"))
    assert "early_stop is null: write true or false" in error("early_stop: null\n")
    assert 'monitor.detectors is a list: start each entry with "- kind: ...", got a mapping' in error(
        "monitor: {detectors: {kind: nonfinite}}\n"
    )
    assert "choice is a list: write it in brackets, as [3], got 3" in error("space: {model.width: {choice: 3}}\n")
    assert "either steps or epochs" in error(base=BASE.replace("steps: 10", "steps: 10, epochs: 2"))
    assert "names a folder" in error(base=BASE.replace("name: tiny", "name: a/b"))


@pytest.mark.parametrize(
    ("space", "expected"),
    [
        ("{training.optimizer.lrr: {loguniform: [1e-4, 1]}}", ["has no setting 'lrr'", "Did you mean lr"]),
        ("{training.optimiser.lr: {loguniform: [1e-4, 1]}}", ["has no setting 'optimiser'", "Did you mean optimizer"]),
        ("{training.optimizer: {choice: [adamw]}}", ["is a section", "training.optimizer.kind"]),
        ("{training.optimizer.lr.x: {choice: [1]}}", ["training.optimizer.lr is one value"]),
        ("{data.noise: {uniform: [0, 1]}}", ["cannot be searched", "shared by all trials"]),
        ("{training.optimizer.lr: {loguniform: [-1, 1]}}", ["above 0"]),
        ("{training.optimizer.lr: {uniform: [-1, 1]}}", ["cannot be used with training.optimizer.lr = -1"]),
        ("{training.precision.kind: {choice: [fp32, fp8]}}", ["cannot be used", "fp8"]),
        ("{training.optimizer.lr: {log_uniform: [1e-4, 1]}}", ["one of the keys choice", "Did you mean loguniform"]),
        (
            "{training.optimizer.lr: {uniform: [0.1, 1], when: {training.clip.kind: [norm]}}}",
            ["which is no dimension", "leave out `when`"],
        ),
        (
            "{training.precision.kind: {choice: [fp32, fp16]}, training.precision.initial_scale: {grid: [2, 4]}}",
            ["training.precision.initial_scale", "add `when`"],
        ),
    ],
)
def test_a_dimension_that_cannot_work_is_found_before_any_trial(space: str, expected: list[str]) -> None:
    message = error(f"space: {space}\n")
    assert message.startswith("x.yaml:9")
    for part in expected:
        assert part in message


def test_a_condition_makes_a_dimension_valid() -> None:
    loaded = study(
        "space: {training.precision.kind: {choice: [fp32, fp16]},"
        " training.precision.initial_scale: {grid: [2, 4], when: {training.precision.kind: [fp16]}}}\n"
    )
    assert set(loaded.first_settings()) == {"training.precision.kind"}


def test_try_first_has_to_lie_in_the_space() -> None:
    space = "space: {training.optimizer.lr: {loguniform: [1e-4, 1]}}\n"
    assert "no dimension of space" in error(space + "search: {kind: tpe, try_first: [{training.optimizer.lrr: 1}]}\n")
    assert "outside its dimension" in error(space + "search: {kind: tpe, try_first: [{training.optimizer.lr: 7}]}\n")


def test_a_grid_search_needs_a_grid_and_knows_its_size() -> None:
    assert "continuous" in error("space: {training.optimizer.lr: {uniform: [0.1, 1]}}\nsearch: {kind: grid}\n")
    loaded = study("space: {training.optimizer.lr: {grid: [0.1, 1, 2]}}\nsearch: {kind: grid}\n")
    assert num_settings(loaded.study) == 3
    loaded = study("space: {training.optimizer.lr: {grid: [0.1, 1, 2]}}\nsearch: {kind: grid}\nrepeats: 2\n")
    assert num_settings(loaded.study) == 2


def test_overrides_come_before_validation(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(BASE)
    loaded = load(path, ["budget.trials=7", "training.optimizer.lr=1e-5", "space.model.width={grid: [0.0625, 0.125]}"])
    assert loaded.study.budget.trials == 7
    assert loaded.trial_config({}).training.optimizer.lr == 1e-5
    assert list(loaded.study.space) == ["model.width"]
    assert load(path, ["training.schedule.warmup_steps=3"]).study.training.schedule.warmup_steps == 3
    with pytest.raises(SettingError, match="write it as dotted.path=value"):
        load(path, ["budget.trials"])
    with pytest.raises(SettingError, match="budget.trails is not a setting. Did you mean trials"):
        load(path, ["budget.trails=7"])


def test_data_are_also_found_beside_the_study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home, elsewhere = tmp_path / "home", tmp_path / "elsewhere"
    (home / "mine").mkdir(parents=True)
    elsewhere.mkdir()
    file = home / "study.yaml"
    for data in ("{kind: landmarks, path: mine}", "{kind: memorize, source: {kind: landmarks, path: mine}}"):
        file.write_text(BASE.replace("data: {kind: synthetic}", f"data: {data}"))
        assert data in file.read_text()
        monkeypatch.chdir(elsewhere)
        _, found = load(file).study.made
        assert getattr(found, "source", found).path == str(home / "mine")
        # What is found from where one stands is meant.
        monkeypatch.chdir(home)
        _, found = load(Path("study.yaml")).study.made
        assert getattr(found, "source", found).path == "mine"
    file.write_text(file.read_text().replace("mine", "none"))
    monkeypatch.chdir(elsewhere)
    assert load(file).study.made[1].source.path == "none"


def test_epochs_become_steps() -> None:
    loaded = study(base=BASE.replace("steps: 10", "epochs: 2.5"))
    config = loaded.trial_config({})
    assert loaded.max_steps(config, num_train=80) == 25
    assert loaded.max_steps(config, num_train=3) == 3, "an incomplete batch is a step if it is the only one"


def test_the_study_as_written_out_is_the_same_study() -> None:
    import yaml

    loaded = study(
        "space: {model.num_heads: {int: [1, 2]}, training.optimizer.lr: {loguniform: [1e-5, 1]}}\n",
        BASE.replace("baseline", "teacher"),
    )
    text = yaml.safe_dump(loaded.study.model_dump(mode="json", by_alias=True))
    assert study(base=text).study == loaded.study


SIZES = """
space:
  model.width: {grid: [0.0625, 0.125, 0.25]}
  training.optimizer.lr: {loguniform: [1e-4, 1e-1]}
"""
FULL = "full_size: {path: model.width, target: 1.0, trainings: 2}\n"


def test_a_full_size_needs_a_size_that_is_searched_at_three_values_and_an_edge_to_follow() -> None:
    assert study(SIZES + FULL).study.full_size.trainings == 2
    assert study(SIZES).study.full_size is None
    assert "Did you mean model.width" in error(SIZES + FULL.replace("model.width", "model.widht"))
    for few in ("{grid: [0.0625, 0.125]}", "{grid: [0, 0.125, 0.25]}", "{choice: [0.125, 0.25]}"):
        text = SIZES.replace("{grid: [0.0625, 0.125, 0.25]}", few).replace("model.width", "model.dropout")
        message = error(text + FULL.replace("model.width", "model.dropout").replace("1.0", "0.5"))
        assert "at least 3 different positive numbers" in message and "x.yaml:" in message
    alone = SIZES.replace("  training.optimizer.lr: {loguniform: [1e-4, 1e-1]}\n", "")
    assert "second numeric dimension" in error(alone + FULL)
    assert "x.yaml:13: full_size.target is" in error(
        SIZES.replace("width", "dropout") + FULL.replace("width", "dropout")
    )


def test_a_full_size_of_a_whole_number_stays_one() -> None:
    text = SIZES.replace("model.width: {grid: [0.0625, 0.125, 0.25]}", "training.batch_size: {int: [2, 8]}")
    loaded = study(text + "full_size: {path: training.batch_size, target: 64}\n")
    full = at_full_size(loaded.study.full_size, loaded.study.space, {"training.optimizer.lr": 0.1})
    assert full == {"training.optimizer.lr": 0.1, "training.batch_size": 64}
    assert type(full["training.batch_size"]) is int
    wrong = error(text + "full_size: {path: training.batch_size, target: 2.5}\n")
    assert "full_size.target is 2.5" in wrong


def test_what_is_confirmed_and_how_safe_a_recommendation_is_can_be_set() -> None:
    given = study(SIZES + "safety: {lr_factor: 10, p_stable: 0.9}\nconfirm: {settings: 2, seeds: 4}\n").study
    assert (given.safety.lr_factor, given.safety.p_stable) == (10, 0.9)
    assert num_confirmations(given) == 12, "two of the best, and the recommended one"
    assert num_confirmations(study("confirm: {settings: 2, seeds: 4}\n").study) == 8, "one setting is all there is"
    assert num_confirmations(study(SIZES + "confirm: {settings: 0}\n").study) == 0
    assert num_confirmations(study(SIZES + "confirm: {recommended: false}\n").study) == 3
    assert "safety.lr_factor" in error("safety: {lr_factor: 0.5}\n")
    assert "safety.p_stable" in error("safety: {p_stable: 1.0}\n")
    assert "full_size.target" in error(SIZES + "full_size: {path: model.width, target: 0}\n")


def test_rules_of_another_version_do_not_keep_a_stored_study_from_being_read(tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    rule = "monitor:\n  detectors:\n    - {kind: diverged_loss, recovery_steps: 200}\n"
    path.write_text(BASE + rule, encoding="utf-8")
    with pytest.raises(SettingError, match="recovery_steps is not a setting"):
        load(path)
    assert load_stored(path).study.monitor == load(Path(__file__).parents[3] / "studies/smoke.yaml").study.monitor
    path.write_text(BASE + rule + "confirm: {stepz: 3}\n", encoding="utf-8")
    with pytest.raises(SettingError, match="stepz"):
        load_stored(path)
