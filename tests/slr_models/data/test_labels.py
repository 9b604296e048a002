"""Clean-up of glosses: the presets against what the corpora's own scripts make of the same lines, and own rules."""

import pickle

import pytest
from pydantic import ValidationError

from slr_models.data import LandmarksConfig
from slr_models.data.labels import LabelsConfig

X17 = " ".join(["REGEN"] * 17)
SCRIPTS = [
    # Glosses; then, as the sed, perl, grep and awk of the scripts gave them: the reference of 2014 (a line), the
    # hypothesis of 2014 (a line a gloss), and both of 2014T. None: as the glosses are.
    (
        "__ON__ loc-NORD cl-lh-BERG qu-WAS poss-MEIN __OFF__",
        *["__ON__ NORD BERG WAS MEIN __OFF__"] * 2,
        *["NORD lh-BERG qu-WAS poss-MEIN"] * 2,
    ),
    ("S0NNE HABEN2 HABEN", "SONNE HABEN", "SONNE HABEN HABEN", None, None),
    ("REGEN __EMOTION__ REGEN __PU__ __LEFTHAND__ WIND", *["REGEN REGEN WIND"] * 2, *["REGEN WIND"] * 2),
    (
        "WIE AUSSEHEN ZEIGEN WETTER ANZEIGEN ZEIGEN",
        "WIE-AUSSEHEN ZEIGEN-BILDSCHIRM WETTER ANZEIGEN-BILDSCHIRM ZEIGEN-BILDSCHIRM",
        "WIE AUSSEHEN ZEIGEN-BILDSCHIRM WETTER ANZEIGEN-BILDSCHIRM ZEIGEN-BILDSCHIRM",
        "WIE-AUSSEHEN ZEIGEN WETTER ANZEIGEN ZEIGEN",
        None,
    ),
    ("A S REGEN", "A+S REGEN", None, "A+S REGEN", None),
    ("REGEN A B", "REGEN A+B", None, "REGEN A+B", None),
    ("S H VOR K U N A", "S+H VOR K+U+N+A", None, "S+H VOR K+U+N+A", None),
    ("IX S+H A NN B SCH C", "IX S+H+A+NN+B SCH C", None, "IX S+H+A+NN+B SCH C", None),
    ("IX SCH A B", "IX SCH+A+B", None, "IX SCH+A+B", None),
    ("KLEIN+A B WIND", "KLEIN A+B WIND", None, "KLEIN A+B WIND", None),
    (
        "NORDRAUM RAUM SUEDOSTRAUM 2NORDRAUM",
        *["NORD RAUM SUEDOST 2NORD"] * 2,
        *["NORD RAUM SUEDOST 2NORDRAUM"] * 2,
    ),
    ("REGEN-PLUSPLUS REGEN", "REGEN", "REGEN REGEN", "REGEN", "REGEN"),
    (
        "REGEN REGEN REGEN NICHT-VIEL NICHT-VIEL IX2 IX2",
        "REGEN NICHT-VIEL NICHT-VIEL IX2 IX2",
        None,
        "REGEN NICHT-VIEL NICHT-VIEL IX2 IX2",
        "REGEN NICHT-VIEL IX2",
    ),
    ("loc- poss-", "", "", None, "poss-"),
    ("K\u00d6LN K\u00d6LN LN LN", "K\u00d6LN K\u00d6LN", None, "K\u00d6LN K\u00d6LN", "K\u00d6LN LN"),
    (X17, "REGEN REGEN", None, "REGEN REGEN", "REGEN"),
]


@pytest.mark.parametrize("case", SCRIPTS, ids=[case[0][:20] for case in SCRIPTS])
def test_presets_do_what_the_scripts_of_the_corpora_do(case: tuple[str, ...]) -> None:
    glosses = case[0].split()
    presets = [LabelsConfig(preset="phoenix2014"), LabelsConfig(preset="phoenix2014T")]
    found = [f(glosses) for preset in presets for f in (preset.reference, preset.hypothesis)]
    assert [" ".join(labels) for labels in found] == [case[0] if part is None else part for part in case[1:]]


def test_a_movement_between_signs_is_never_a_label() -> None:
    """The script of 2014 drops its line, which in a hypothesis is the gloss alone."""
    preset = LabelsConfig(preset="phoenix2014")
    assert preset.hypothesis(["REGEN", "__EPENTHESIS__", "WIND"]) == ("REGEN", "WIND")
    assert preset.reference(["REGEN", "__EPENTHESIS__", "WIND"]) == ("REGEN", "WIND")


def test_a_published_ground_truth_is_clean_already() -> None:
    line = "id-7 1 signer05 0.0 1.79769e+308 __ON__ ICH REGEN S+H NICHT-VIEL NICHT-VIEL WIE-AUSSEHEN ZEIGEN-BILDSCHIRM"
    glosses = tuple(line.split()[5:])
    assert LabelsConfig(preset="phoenix2014").reference(glosses) == glosses
    raw = "__ON__ __EMOTION__ ICH ICH loc-REGEN S H NICHT-VIEL NICHT-VIEL WIE AUSSEHEN ZEIGEN"
    assert LabelsConfig(preset="phoenix2014").reference(raw.split()) == glosses


def test_own_rules_follow_those_of_the_preset() -> None:
    own = LabelsConfig(preset="phoenix2014", replace={"NORD": "OBEN", "WIE-AUSSEHEN": "WIE SEIN"}, drop=("__ON__",))
    assert own.reference("__ON__ loc-NORD WIE AUSSEHEN".split()) == ("OBEN", "WIE", "SEIN")
    assert LabelsConfig(replace={"A": "B", "B": "A"}).hypothesis(["A", "B", "C"]) == ("B", "A", "C")
    assert own.without_effect([["loc-NORD"], ["__ON__", "X"]]) == ("WIE-AUSSEHEN",)
    assert pickle.loads(pickle.dumps(own)) == own


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "changes nothing"),
        ({"when": "evaluation"}, "changes nothing"),
        ({"drop": ["A"], "replace": {"A": "B"}}, "both name A"),
        ({"drop": ["A B"]}, "'A B' is not one gloss"),
        ({"replace": {"A": " "}}, "labels.replace.A"),
        ({"preset": "phoenix"}, "phoenix2014"),
    ],
)
def test_rules_without_sense_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        LandmarksConfig.model_validate({"path": "x", "labels": settings})
