"""What the plan of a design says of its claims."""

from sweep.running.plan import claim_lines, hopeless
from sweep.study import Study, validate, yaml_source

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
        "    at best: needs at least 7 of 40 pairs that differ, all one way (18 points); "
        "6 once the other claims are settled"
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
