"""The check of a study's data: every injected fault is named with its place and rank; exit codes; calibration."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from slr_models.data import LandmarksConfig, SyntheticConfig
from slr_models.errors import UserError
from sweep.check.calibration import expected_skips, largest_half_gradient, leading_skips
from sweep.check.command import main
from sweep.check.lines import shortened
from sweep.check.reading import feature_values
from sweep.judging.monitor import MonitorConfig
from sweep.running.job import RunOptions
from sweep.running.preflight import preflight
from sweep.study import load
from sweep.training.config import TrialConfig
from sweep.training.precision import Fp16

STUDY = """
name: tiny
model: {kind: baseline, width: 0.0625}
data: {kind: synthetic, vocabulary_size: 4, num_train: 48, num_valid: 8, frames_per_label: 6, max_labels: 3}
training: {batch_size: 4}
space: {training.optimizer.lr: {loguniform: [1e-3, 1]}}
search: {kind: random}
budget: {trials: 2, steps: 60}
"""


@pytest.fixture
def study(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(STUDY)
    return path


def checked(capsys, study: Path, *overrides: str) -> tuple[int, dict]:
    code = main([str(study), "--json", *(part for override in overrides for part in ("--set", override))])
    out, err = capsys.readouterr()
    assert err == "" or err.startswith("this study runs code of ")
    assert err.count("\n") <= 1 and out.count("\n") == 1
    return code, json.loads(out)


def kinds(report: dict, severity: str) -> list[str]:
    return [problem["kind"] for problem in report["problems"] if problem["severity"] == severity]


def test_clean_data_have_no_errors(study, capsys) -> None:
    code, report = checked(capsys, study)
    assert code == 0 and report["ok"] and not report["problems"]
    assert report["num_train"] == 48 and 0.5 < report["l_const"] < report["l_unif"]
    assert report["least_spare_outputs"] >= 0 and report["calibration"] == [] and report["largest_gradient"] is None
    assert main([str(study)]) == 0
    assert "nothing wrong found" in capsys.readouterr().out


def test_infeasible_targets_and_nan_are_errors_with_their_places(study, capsys) -> None:
    code, report = checked(capsys, study, "data.infeasible_rate=0.1", "data.min_labels=2", "data.nan_rate=0.05")
    assert code == 1 and not report["ok"]
    assert kinds(report, "error") == ["infeasible targets", "non-finite features"]
    infeasible, nonfinite = report["problems"][:2]
    assert len(infeasible["items"]) == 5 and all("needs" in item for item in infeasible["items"])
    assert len(nonfinite["items"]) == 2 and "24 NaN in features[0]" in nonfinite["items"][0]
    assert report["least_spare_outputs"] == -1
    assert main([str(study), "--set", "data.nan_rate=0.5"]) == 1
    out = capsys.readouterr().out
    assert "error: non-finite features: 24 of 48" in out and "and 19 more" in out and "1 error" in out


def test_no_feasible_target_at_all_is_an_error(study, capsys) -> None:
    code, report = checked(
        capsys, study, "data.infeasible_rate=1.0", "data.min_labels=2", "training.precision.kind=fp16"
    )
    assert code == 1 and "nothing to learn" in kinds(report, "error") and report["l_const"] is None


CUSTOM = """
from dataclasses import replace
import numpy as np
from slr_models.data import SyntheticConfig
from slr_models.data.batch import Split

def faulty():
    data = SyntheticConfig(vocabulary_size=4, num_train=48, num_valid=8).build()
    train, valid = data.train, data.valid
    features = train.features.copy()
    features[train.offsets[5]:train.offsets[6]] *= 1e6
    features[:, 3] = 0.5
    labels = np.where(train.labels == 2, 1, train.labels)
    first = len(train.utterance(0))
    blocks = [valid.utterance(i) for i in range(len(valid))] + [features[:first]]
    targets = [valid.target(i).tolist() for i in range(len(valid))] + [labels[: train.label_offsets[1]].tolist()]
    ids = [*valid.ids, "leak"]
    valid = Split.from_utterances(blocks, targets, ids, [""] * len(ids), valid.num_features)
    return replace(data, train=replace(train, features=features, labels=labels), valid=valid)
"""


def test_faults_of_scale_labels_and_splits(study, tmp_path, capsys, monkeypatch) -> None:
    (tmp_path / "faulty_data.py").write_text(CUSTOM)
    monkeypatch.syspath_prepend(tmp_path)
    data = "data={kind: custom, factory: 'faulty_data:faulty'}"
    code, report = checked(capsys, study, data)
    assert code == 0 and kinds(report, "warning") == [
        "constant features",
        "scale outliers (training utterances)",
        "untrained labels",
        "validation data in training",
    ]
    items = [problem["items"] for problem in report["problems"]]
    assert items[0] == ["features[3]"] and "train-5: largest absolute value" in items[1][0]
    assert items[2] == ["w2"] and items[3] == ["train-0 = leak"]
    space = "space={training.precision.kind: {choice: [fp32, fp16]}}"
    code, report = checked(capsys, study, data, space)
    assert code == 1 and kinds(report, "error") == ["features too large for fp16"]


Change = Callable[[np.ndarray], np.ndarray]


def manifest(folder: Path, changes: dict[int, Change] | None = None, labels: dict[int, str] | None = None) -> str:
    """A folder of 15 training and 3 validation utterances, some of them changed; returns the override that reads it."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    rows = ["id,path,labels,signer,split"]
    for k in range(18):
        block = rng.normal(size=(30, 5)).astype(np.float32)
        np.save(folder / f"{k}.npy", (changes or {}).get(k, np.asarray)(block))
        target = (labels or {}).get(k, "A B" if k % 2 else "B C A")
        rows.append(f"u{k},{k}.npy,{target},s{k % 3},{'valid' if k > 14 else 'train'}")
    (folder / "manifest.csv").write_text("\n".join(rows) + "\n")
    return f"data={{kind: landmarks, path: {folder}}}"


def with_nan(block: np.ndarray) -> np.ndarray:
    block[3, 1] = np.nan
    return block


def test_a_source_that_stops_at_the_first_bad_file_is_read_to_the_end(study, tmp_path, capsys) -> None:
    """Every bad file is named, under its reason, whether it ends the run or is left out."""
    changes = {2: with_nan, 7: with_nan, 9: lambda block: block[:, :4]}
    data = manifest(tmp_path / "bad", changes, {4: "", 11: "A " * 20})
    reasons = ["empty target", "non-finite features", "target too long", "feature size"]
    named = [["'u4'"], ["2.npy holds NaN", "7.npy holds NaN"], ["11.npy has 30 frames"], ["9.npy has 4 features"]]
    code, report = checked(capsys, study, data)
    assert code == 1 and kinds(report, "error") == reasons and report["num_train"] == 10
    assert report["exclusions"] == dict(zip(reasons, (1, 2, 1, 1), strict=True))
    excluding = data[:-1] + ", on_bad: exclude}"
    code, excluded = checked(capsys, study, excluding)
    assert code == 0 and kinds(excluded, "warning") == [f"left out: {reason}" for reason in reasons]
    for found in (report, excluded):
        for problem, parts in zip(found["problems"], named, strict=True):
            for item, part in zip(problem["items"], parts, strict=True):
                assert "manifest.csv line " in item and part in item
    assert main([str(study), "--set", excluding]) == 0
    assert "7.npy holds NaN" in capsys.readouterr().out
    code, report = checked(capsys, study, manifest(tmp_path / "good"))
    assert code == 0 and not report["problems"]


@pytest.mark.parametrize("on_bad", ["error", "exclude"])
def test_where_nothing_usable_is_left_a_file_is_named(study, tmp_path, capsys, on_bad) -> None:
    data = manifest(tmp_path / "bad", dict.fromkeys(range(18), with_nan))
    assert main([str(study), "--set", f"{data[:-1]}, on_bad: {on_bad}}}"]) == 2
    assert "0.npy holds NaN (first at frame 3, column 1)" in capsys.readouterr().err


@pytest.mark.parametrize("factor", [100.0, 1e6])
def test_the_size_of_a_wild_utterance_is_that_of_its_file(study, tmp_path, capsys, factor) -> None:
    data = manifest(tmp_path / "wild", {5: lambda block: block * np.float32(factor)})
    code, report = checked(capsys, study, data)
    (problem,) = report["problems"]
    assert code == 0 and problem["kind"] == "scale outliers (training utterances)"
    (item,) = problem["items"]
    assert item.startswith("u5: largest absolute value ") and "in the files" in item
    absmax = factor * float(np.abs(np.load(tmp_path / "wild" / "4.npy")).max())
    value = float(item.split("largest absolute value ")[1].split(",")[0])
    times = float(item.split(", ")[1].split(" times the usual")[0])
    assert 0.5 < value / absmax < 2 and 0.5 < times / factor < 2
    assert main([str(study), "--set", data]) == 0
    assert "features were checked after standardization" in capsys.readouterr().out
    assert (
        checked(capsys, study, data[:-1] + ", standardize: false}")[1]["feature_values"] == "as the source gives them"
    )


def test_features_in_the_body_frame_are_said_to_be_cut_off() -> None:
    values = feature_values(LandmarksConfig(path="folder", points="hands"))
    assert "by the signer's body, cut off at 5" in values


def test_utterances_that_say_nothing_are_named(study, tmp_path, capsys) -> None:
    changes = {5: np.zeros_like, 16: lambda block: np.repeat(block[:1], 30, axis=0), 8: lambda block: block[:1]}
    code, report = checked(capsys, study, manifest(tmp_path / "still", changes, {8: "A"}))
    found = {problem["kind"]: problem["items"] for problem in report["problems"]}
    assert code == 0 and found["utterances without change"] == ["u5 (train)", "u16 (valid)"]
    assert found["utterances of a single frame"] == ["u8 (train)"] and len(found) == 2


def test_labels_with_hardly_any_examples_are_named(study, tmp_path, capsys) -> None:
    few = {3: "A D", 6: "E A"}
    code, report = checked(capsys, study, manifest(tmp_path / "few", labels=few))
    assert code == 0 and kinds(report, "warning") == ["rare labels"]
    assert report["problems"][0]["items"] == ["E: 1", "D: 1"] and "'A' (15)" in report["problems"][0]["text"]


def test_one_label_in_all_is_an_error_and_ends_a_run(study, tmp_path, capsys) -> None:
    for labels in ("A", "A A"):
        data = manifest(tmp_path / labels, labels=dict.fromkeys(range(18), labels))
        code, report = checked(capsys, study, data)
        assert code == 1 and "nothing to learn" in kinds(report, "error")
        assert "made of one label, 'A', so that there is nothing to learn" in report["problems"][0]["text"]
        loaded = load(study, (data,))
        options = RunOptions(tmp_path, "wer", MonitorConfig(), True, "none")
        with pytest.raises(UserError, match="data: all training targets are made of one label, 'A'"):
            preflight(loaded, loaded.study.made[1].build(), options)


@pytest.mark.parametrize(
    ("few", "kind", "item"),
    [
        ({3: "A b", 16: "A b"}, "labels that look alike", "'B' (16) and 'b' (2)"),
        ({3: "K\u00f6LN A", 4: "KOLN A"}, None, ""),
        ({3: "K\u00f6ln A", 4: "k\u00f6LN A"}, "labels that look alike", "'K\\xf6ln' (1) and 'k\\xf6LN' (1)"),
        ({3: "A D\x00"}, "hidden characters in labels", "'D\\x00': U+0000 (1)"),
        (dict.fromkeys(range(18), "A/B"), "unsplit labels", "'A/B' (18)"),
        ({k: f"A-{k % 3}-C" for k in range(18)}, "unsplit labels", "'A-0-C' (6)"),
    ],
)
def test_labels_that_cannot_be_what_was_meant_are_named(study, tmp_path, capsys, few, kind, item) -> None:
    _, report = checked(capsys, study, manifest(tmp_path / "odd", labels=few))
    others = {"rare labels", "nothing to learn", "untrained labels"}
    found = {p["kind"]: p["items"] for p in report["problems"] if p["kind"] not in others}
    assert set(found) == ({kind} if kind else set())
    assert kind is None or item in found[kind]


def test_what_an_official_split_dictates_is_not_to_be_corrected(study, tmp_path, capsys) -> None:
    data = manifest(tmp_path / "own", labels={16: "A X"})[:-1] + ", unseen_glosses: count_as_errors}"
    code, report = checked(capsys, study, data)
    (problem,) = report["problems"]
    assert code == 0 and problem["kind"] == "untrained labels" and problem["items"] == ["X"]
    assert (
        "1 of 6 labels, in 1 utterance; the WER cannot be lower than 16.67 %. In a published split" in problem["text"]
    )
    assert main([str(study), "--set", data]) == 0
    assert "note: validation holds glosses that no training utterance holds: 1 (" in capsys.readouterr().out


UNUSUAL = """
from dataclasses import replace
from slr_models.data import SyntheticConfig
from slr_models.data.batch import Split

def unusual():
    data = SyntheticConfig(vocabulary_size=4, num_train=700, num_valid=8).build()
    train = data.train
    targets = [[1, 2, 1] for _ in range(len(train))]
    targets[4:12] = [[3]] * 8
    blocks = [train.utterance(i) for i in range(len(train))]
    ids = [*train.ids[:-1], train.ids[0]]
    return replace(data, train=Split.from_utterances(blocks, targets, ids, train.signers, train.num_features))
"""


def test_duplicated_ids_and_imbalance_of_a_custom_source(study, tmp_path, capsys, monkeypatch) -> None:
    (tmp_path / "unusual_data.py").write_text(UNUSUAL)
    monkeypatch.syspath_prepend(tmp_path)
    code, report = checked(capsys, study, "data={kind: custom, factory: 'unusual_data:unusual'}")
    found = {problem["kind"]: problem["items"] for problem in report["problems"]}
    assert code == 0 and found["duplicated ids"] == ["train-0 (train)"]
    assert found["rare labels"] == ["w3: 8"] and report["label_counts"]["w1"] > 800


def test_one_line_is_never_left_out_alone() -> None:
    assert shortened("abcdef") == list("abcdef")
    assert shortened("abcdefg") == [*"abcde", "and 2 more (--json lists all)"]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("model.kind=basline", "model.kind is 'basline'"),
        ("data={kind: landmarks, path: /no/such/folder}", "/no/such/folder"),
        ("nonsense", "dotted.path=value"),
    ],
)
def test_mistakes_end_with_code_2(study, capsys, override, message) -> None:
    assert main([str(study), "--set", override]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("error: ") and message in err and "Traceback" not in err


def test_the_formula_of_calibration() -> None:
    assert expected_skips(Fp16(initial_scale=65536), 3.97) == 2
    assert expected_skips(Fp16(initial_scale=65536), 0.5) == 0
    assert expected_skips(Fp16(initial_scale=2.0**32), 3.97) == 18
    assert expected_skips(Fp16(initial_scale=65536, backoff_factor=0.25), 3.97) == 1
    assert expected_skips(Fp16(), float("nan")) is None


def test_expected_skips_are_those_of_a_real_start() -> None:
    """On one batch that is the whole set, so that both look at the same gradients."""
    data = SyntheticConfig(vocabulary_size=4, num_train=4, num_valid=2, frames_per_label=6, max_labels=3)
    dataset = data.build()
    content = {"model": {"kind": "teacher", "width": 0.0625}, "data": data, "training": {"batch_size": 4}}
    config = TrialConfig.model_validate({**content, "data": data.model_dump()})
    largest = largest_half_gradient(config, dataset, range(4), seed=0)
    for exponent in (4, 16, 24):
        precision = Fp16(initial_scale=2.0**exponent)
        measured = leading_skips(config, precision, dataset, seed=0, limit_s=60)
        assert measured == expected_skips(precision, largest)
    assert leading_skips(config, Fp16(initial_scale=2.0**60), dataset, seed=0, limit_s=0) is None


def test_every_scale_of_a_study_is_measured(study, capsys) -> None:
    scales = "space={training.precision.initial_scale: {grid: [1, 16777216]}}"
    code, report = checked(capsys, study, "training.precision={kind: fp16}", scales)
    assert code == 0 and [start["initial_scale"] for start in report["calibration"]] == [1, 16777216]
    assert report["calibration"][0]["measured_skips"] == 0 < report["calibration"][1]["measured_skips"]
    assert main([str(study), "--set", "training.precision={kind: fp16}"]) == 0
    assert "loss scale 65536: first steps skipped to calibrate" in capsys.readouterr().out


def test_large_sets_are_looked_at_in_seconds(study, capsys) -> None:
    code, report = checked(capsys, study, "data.num_train=2000", "data.num_valid=200")
    assert code == 0 and report["num_train"] == 2000
