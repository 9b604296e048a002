"""What building shows before the first trial, and what the plan of a design says of its claims."""

from pathlib import Path

import pytest

from slr_models.errors import SettingError, UserError
from sweep import yaml_source
from sweep.judging.monitor import MonitorConfig
from sweep.running.job import RunOptions
from sweep.running.plan import claim_lines, hopeless
from sweep.running.preflight import preflight
from sweep.study import Study, validate

TEXT = """
name: planned
model: {kind: baseline, width: 0.0625}
data: {kind: synthetic}
budget: {steps: 10}
design:
  blocks: 40
  looks: 1
  factors:
    model: {teacher: {model.kind: teacher}, baseline: {model.kind: baseline}}
    precision: {training.precision.kind: [fp32, fp16]}
claims:
  - {name: alone, text: a, factor: precision, where: {model: teacher}, response: stable, expected: lower,
     smallest_effect: 0.15}
  - {name: averaged, text: b, factor: precision, response: stable, expected: lower, smallest_effect: 0.15}
  - {name: slower, text: c, factor: precision, where: {model: teacher}, response: step_time_s, expected: lower,
     smallest_effect: 0.1}
"""


def study(text: str = TEXT) -> Study:
    return validate(yaml_source.parse(text, "x.yaml")).study


def lines(of: Study) -> list[str]:
    assert of.design is not None
    return list(claim_lines(of, of.design))


def test_a_plan_says_what_a_claim_on_stability_takes_where_the_design_decides_it() -> None:
    told = lines(study())
    assert told[0] == "claims, judged after 40 blocks:"
    assert told[1].endswith("where model=teacher: lower by 15 points against 0 (alpha 0.05)")
    assert told[2] == (
        "    at best: needs at least 6 of 40 pairs that differ, all one way (15 points); "
        "4 once the other claims are settled"
    )
    assert [line.strip().split(":")[0] for line in told[3:]] == ["averaged", "slower"], "no more is known of these"
    assert list(hopeless(study())) == []


def test_a_claim_that_its_design_cannot_support_is_warned_of() -> None:
    few = study(TEXT.replace("blocks: 40", "blocks: 5"))
    says = "cannot be supported: 5 pairs are too few for the exact test, which needs at least 6"
    assert f"    warning: {says}" in lines(few)
    assert list(hopeless(few)) == [f"claim alone {says}"]


def test_a_search_has_no_claims_to_warn_of() -> None:
    assert list(hopeless(study(TEXT.split("design:")[0]))) == []


SEARCH = """
name: built
model: {kind: baseline, width: 0.0625}
data: {kind: synthetic, vocabulary_size: 4, num_train: 16, num_valid: 4, frames_per_label: 6, max_labels: 3}
training: {batch_size: 4, eval_every_steps: 20}
space:
  model.width: {grid: [0.0625, 0.125]}
  training.schedule.warmup_steps: {int: [20, 30]}
  training.precision.kind: {choice: [fp32, tf32]}
search: {kind: random}
scheduler: {kind: asha}
budget: {trials: 6, steps: 20}
"""


def test_all_mistakes_that_building_shows_are_told_once_with_settings_that_show_them(tmp_path: Path) -> None:
    loaded = validate(yaml_source.parse(SEARCH, "x.yaml"))
    options = RunOptions(tmp_path, "wer", MonitorConfig(), True, "none")
    with pytest.raises(SettingError) as caught:
        preflight(loaded, loaded.study.data.build(), options)
    warmup, precision, scheduler = caught.value.problems
    assert warmup.path == ("training", "schedule") and scheduler.path == ("scheduler",)
    first = "model.width = 0.0625, training.schedule.warmup_steps = 20, training.precision.kind"
    assert str(warmup).startswith("training.schedule: `warmup_steps` must be below") and "20 >= 20" in str(warmup)
    assert str(warmup).endswith(f" (with {first} = fp32)")
    assert "tf32" in str(precision) and str(precision).endswith(f" (with {first} = tf32)")
    assert str(scheduler).startswith("scheduler.kind: asha acts on evaluations") and "(with" not in str(scheduler)


def test_a_model_that_fills_the_memory_is_told_of_before_it_is_built(tmp_path: Path) -> None:
    huge = "{kind: teacher, width: 2, hidden_size: 65536, num_encoder_layers: 16, attention: false}"
    text = SEARCH.replace("{kind: baseline, width: 0.0625}", huge).replace("grid: [0.0625, 0.125]", "grid: [2, 0.0625]")
    loaded = validate(yaml_source.parse(text, "x.yaml"))
    options = RunOptions(tmp_path, "wer", MonitorConfig(), True, "none")
    with pytest.raises(UserError, match=r"model: its .* weights, .* more than half of the .*; lower model\.width"):
        preflight(loaded, loaded.study.data.build(), options)
