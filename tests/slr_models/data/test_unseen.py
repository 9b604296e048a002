"""Glosses of an official split that training lacks, and clean-up of labels, through the source landmarks."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from slr_models.data import Dataset, LandmarksConfig
from slr_models.data.unseen import unseen_glosses, unseen_targets
from slr_models.errors import DataError
from slr_models.wer import ErrorCounts, Scoring

TRAIN = {"a-0": "__ON__ ICH REGEN loc-NORD WOLKE", "a-1": "WOLKE SONNE REGEN", "a-2": "ICH SONNE WIND"}
DEV = {"b-0": "ICH REGEN ORKAN", "b-1": "WOLKE SONNE"}


def corpus(folder: Path, train: dict[str, str] = TRAIN, dev: dict[str, str] = DEV) -> Path:
    """A folder of the form of PHOENIX-2014."""
    for split, part in (("train", train), ("dev", dev)):
        (folder / "features" / split).mkdir(parents=True)
        rows = [f"{id}|{id}/1/*.png|Signer01|{text}" for id, text in part.items()]
        (folder / f"{split}.corpus.csv").write_text("\n".join(["id|folder|signer|annotation", *rows]) + "\n")
        for index, id in enumerate(part):
            np.save(folder / "features" / split / f"{id}.npy", np.random.default_rng(index).normal(size=(40, 4)))
    return folder


def build(folder: Path, **settings: object) -> Dataset:
    return LandmarksConfig.model_validate({"path": str(folder), **settings}).build()


def glosses(data: Dataset, split: str, index: int) -> list[str]:
    return [data.vocabulary[label] for label in getattr(data, split).target(index)]


def test_an_official_split_is_used_whole_and_what_it_costs_is_told(tmp_path: Path) -> None:
    data = build(corpus(tmp_path))
    assert data.valid.ids == ("b-0", "b-1") and data.facts.exclusions == {}
    assert data.vocabulary[1:] == ("ICH", "REGEN", "SONNE", "WIND", "WOLKE", "__ON__", "loc-NORD", "ORKAN")
    assert unseen_targets(data).tolist() == [True, False]
    (note,) = data.facts.notes
    assert "1 (1 that the training list lacks), 1 of 5 labels, in 1 of 2 utterances" in note
    assert "cannot be lower than 20.00 %" in note and "over the 1 utterances" in note


def test_it_can_be_refused_or_left_out_instead(tmp_path: Path) -> None:
    folder = corpus(tmp_path)
    with pytest.raises(DataError, match="dev.corpus.csv line 2: the validation glosses 'ORKAN' occur in no training"):
        build(folder, unseen_glosses="refuse")
    assert build(folder, unseen_glosses="refuse", on_bad="exclude").facts.exclusions == {"unknown gloss": 1}
    data = build(folder, unseen_glosses="exclude")
    assert data.valid.ids == ("b-1",) and data.facts.exclusions == {"unseen gloss": 1} and data.facts.notes == ()


@pytest.mark.parametrize("policy", ["count_as_errors", "refuse"])
def test_a_bad_training_file_makes_no_gloss_a_misspelling(tmp_path: Path, policy: str) -> None:
    folder = corpus(tmp_path, dev={"b-0": "ICH WIND", "b-1": "WOLKE SONNE"})
    (folder / "features" / "train" / "a-2.npy").unlink()
    data = build(folder, on_bad="exclude", unseen_glosses=policy)
    assert data.facts.exclusions == {"missing file": 1} and data.valid.ids == ("b-0", "b-1")
    assert "1 (1 only in training utterances that were left out)" in data.facts.notes[0]
    assert build(folder, on_bad="exclude", unseen_glosses="exclude").valid.ids == ("b-1",)


def test_a_selection_of_training_utterances_is_told_as_the_reason(tmp_path: Path) -> None:
    folder = corpus(tmp_path, dev={"b-0": "ICH WIND", "b-1": "ICH"})
    found = [build(folder, max_train=2, seed=seed).facts.notes for seed in range(9)]
    told = [notes[0] for notes in found if notes]
    assert told and all("1 only in training utterances that max_train did not choose" in note for note in told)


def test_nothing_that_is_said_by_an_untrained_output_is_right(tmp_path: Path) -> None:
    data = build(corpus(tmp_path))
    scoring, perfect = Scoring(data), data.valid.target(0).tolist()
    assert scoring.count(0, perfect) == (ErrorCounts(substitutions=1, num_labels=3), None)
    assert scoring.count(1, data.valid.target(1).tolist()) == (ErrorCounts(num_labels=2), None)
    assert unseen_glosses(data).lowest_wer == scoring.count(0, perfect).errors.num_errors / 5


def test_labels_are_cleaned_as_they_are_read(tmp_path: Path) -> None:
    clean = {"preset": "phoenix2014", "drop": ["__ON__", "__OFF__"], "replace": {"ICH": "IX"}}
    data = build(corpus(tmp_path), labels=clean)
    assert glosses(data, "train", 0) == ["IX", "REGEN", "NORD", "WOLKE"] and data.clean_up is None
    absent, changed, _ = data.facts.notes
    assert absent == "labels.replace and labels.drop name __OFF__, which no utterance has"
    assert "(preset phoenix2014, replace 1, drop 2): of 8 glosses in 16 places, 7 in 15 were left" in changed


def test_or_before_errors_are_counted(tmp_path: Path) -> None:
    dev = {"b-0": "ICH REGEN REGEN NORD", "b-1": "__EMOTION__ WIE AUSSEHEN"}
    data = build(corpus(tmp_path, dev=dev), labels={"preset": "phoenix2014", "when": "evaluation"})
    assert glosses(data, "train", 0) == TRAIN["a-0"].split() and glosses(data, "valid", 0) == dev["b-0"].split()
    said = [data.vocabulary.index(gloss) for gloss in ("ICH", "REGEN", "loc-NORD")]
    errors, raw = Scoring(data).count(0, said)
    assert errors == ErrorCounts(num_labels=3)
    assert raw == ErrorCounts(substitutions=1, deletions=1, num_labels=4)
    unseen = unseen_glosses(data)
    assert unseen.glosses == ("WIE-AUSSEHEN",) and (unseen.num_occurrences, unseen.num_labels) == (1, 4)
    assert "wer_raw is the WER before it" in data.facts.notes[0]


def test_an_utterance_of_which_clean_up_leaves_nothing_has_an_empty_target(tmp_path: Path) -> None:
    folder = corpus(tmp_path, train={**TRAIN, "a-3": "__ON__"})
    with pytest.raises(DataError, match="line 5: utterance 'a-3' has no labels left of __ON__ after clean-up"):
        build(folder, labels={"drop": ["__ON__"]})
    data = build(folder, labels={"drop": ["__ON__"]}, on_bad="exclude")
    assert data.facts.exclusions == {"empty target": 1}


@pytest.mark.parametrize(
    ("text", "reason", "message"),
    [
        ("ICH <blank>", "reserved label", "'a-3' has the label <blank>, which is CTC's own; remove or rename"),
        ("['ICH', 'WIND']", "labels as a list", r"written as a Python list \(\['ICH', 'WIND'\]\); .* \(ICH WIND\)"),
        ("\u200b", "empty target", "'a-3' has no labels but invisible ones"),
    ],
)
def test_targets_that_are_none(tmp_path: Path, text: str, reason: str, message: str) -> None:
    folder = corpus(tmp_path, train={**TRAIN, "a-3": text})
    with pytest.raises(DataError, match=f"train.corpus.csv line 5: .*{message}"):
        build(folder)
    assert build(folder, on_bad="exclude").facts.exclusions == {reason: 1}


def test_one_gloss_in_several_spellings_is_one_label(tmp_path: Path) -> None:
    train = {"a-0": "KO\u0308LN REGEN", "a-1": "K\u00d6LN RE\u200bGEN"}
    data = build(corpus(tmp_path, train, {"b-0": "K\u00d6LN"}))
    assert data.vocabulary[1:] == ("K\u00d6LN", "REGEN")
    (note,) = data.facts.notes
    assert "in 2 of 3 targets; spellings replaced: 2 ('KO\\u0308LN', 'RE\\u200bGEN')" in note


def test_characters_of_a_phrase_are_composed_before_they_are_labels(tmp_path: Path) -> None:
    import pandas as pd

    pd.DataFrame({"sequence_id": np.repeat([1, 2], 30), "x": np.arange(60.0), "y": 1.0}).to_parquet(
        tmp_path / "7.parquet"
    )
    lines = ["path,sequence_id,phrase,participant_id", "7.parquet,1,ne\u0301 a,3", "7.parquet,2,a n\u00e9,4"]
    (tmp_path / "train.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    data = build(tmp_path, valid_rate=0.5, frames_per_output=1)
    assert set(data.vocabulary[1:]) == {"n", "\u00e9", "<space>", "a"} and len(data.train) == len(data.valid) == 1


def test_a_dataset_carries_its_clean_up(tmp_path: Path) -> None:
    data = build(corpus(tmp_path), labels={"preset": "phoenix2014T", "when": "evaluation"})
    assert data.clean_up is not None and dataclasses.replace(data).clean_up == data.clean_up
